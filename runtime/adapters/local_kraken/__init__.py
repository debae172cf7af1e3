"""A local Kraken: the venue's public market data over loopback, made from real files, deterministic under a seed.

It stands in for the venue in tests, drills and accelerated runs; the trading path never imports it (a contract in
pyproject.toml). The pure half (`market`, `candles`, `feeds`, `files`, `pairs`, `ladder`, `faults`, `rest`) knows no socket and
no wall clock; `server` and `socket` put it on a loopback port with aiohttp, which the extra `venue` installs.
"""
