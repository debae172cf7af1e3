"""Kraken's market data through ccxt: the adapter of the MarketData port (`runtime.market`) that the daemon trades on.

`feed` is the port. `socket` holds one connection, `wire` reads its messages, `books` and `candles` turn them into verified books and
closed bars, `rest` asks for what the socket does not tell, `pairs` knows the names. ccxt carries the bytes (sessions, pings, REST
signing later); what the bytes mean is read here, from their decimal text. No private endpoint is ever called.
"""
