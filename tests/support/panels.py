"""Small reproducible panels with the defects of real data: late listings, single missing bars, long holes, idle hours."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from runtime.inference.forecaster import bars_between
from runtime.inference.panel import BarPanel, Floats

START_T: Final = 1_609_459_200
"""2021-01-01 00:00 UTC, a Friday."""
HOUR_T: Final = 3_600
NAMES: Final = ("BTC", "ETH", "SOL", "XRP", "ADA", "LINK", "LTC", "AVAX", "DOT", "UNI")


def uniform(seed: int, *shape: int) -> Floats:
    """Return numbers in [0, 1) from the raw words of PCG64, whose stream NumPy guarantees."""
    words = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(11)).astype(np.float64) / 2.0**53).reshape(shape)


def make_panel(hours: int, assets: int, seed: int = 1, *, holes: bool = True) -> BarPanel:
    """Return a random walk of prices; with `holes`, one asset lists late, bars go missing, one asset has a long hole."""
    u = uniform(seed, 5, hours, assets)
    steps = 1.0 + (u[0] - 0.5) * 0.02 + (u[0][:, :1] - 0.5) * 0.01
    close = np.empty((hours, assets))
    price = 10.0 + 10.0 * np.arange(assets)
    for t in range(hours):
        price = price * steps[t]
        close[t] = np.rint(price * 1e6) / 1e6
    opened = np.vstack([close[:1], close[:-1]])
    high = np.rint(np.maximum(opened, close) * (1.0 + u[1] * 0.003) * 1e6) / 1e6
    low = np.rint(np.minimum(opened, close) * (1.0 - u[2] * 0.003) * 1e6) / 1e6
    volume = np.rint(u[3] * 1e7) / 1e4
    volume[u[4] > 0.998] = 0.0
    fields = [opened, high, low, close, volume]
    if holes:
        missing = u[4] < 0.004
        if assets > 1:
            missing[: hours // 3, assets - 1] = True
        if assets > 2:
            missing[hours // 2 : hours // 2 + 100, assets - 2] = True
        for values in fields:
            values[missing] = np.nan
    open_t = START_T + HOUR_T * np.arange(hours, dtype=np.int64)
    return BarPanel(NAMES[:assets], HOUR_T, open_t, *fields)


def with_values(panel: BarPanel, *, after: int, factor: float) -> BarPanel:
    """Return the panel with every number above row `after` changed (scaled; present bars vanish, missing ones appear)."""
    fields = []
    for values in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        changed = values.copy()
        future = changed[after + 1 :]
        future[:] = np.where(np.isnan(future), 123.0, future * factor)
        future[::7] = np.nan
        fields.append(changed)
    return BarPanel(panel.symbols, panel.interval_t, panel.open_t.copy(), *fields)


def first_bars(panel: BarPanel, rows_n: int) -> BarPanel:
    """Return the first bars of a panel: what was known when the last of them closed."""
    return bars_between(panel, 0, rows_n)


def permuted(panel: BarPanel, order: list[int]) -> BarPanel:
    """Return the panel with its assets in another order."""
    fields = [f[:, order].copy() for f in (panel.open, panel.high, panel.low, panel.close, panel.volume)]
    return BarPanel(tuple(panel.symbols[i] for i in order), panel.interval_t, panel.open_t.copy(), *fields)


def real_panel(folder: Path, symbols: tuple[str, ...], first_t: int, last_t: int) -> BarPanel:
    """Return hourly Binance bars of the real data between two times, gaps as NaN."""
    import polars as pl

    open_t = np.arange(first_t, last_t + 1, HOUR_T, dtype=np.int64)
    fields = [np.full((len(open_t), len(symbols)), np.nan) for _ in range(5)]
    for s, symbol in enumerate(symbols):
        frame = pl.read_parquet(folder / "binance-spot" / "1h" / f"{symbol}USDT.parquet")
        times = frame["ts_utc"].dt.epoch("s").to_numpy()
        keep = (times >= first_t) & (times <= last_t)
        rows = (times[keep] - first_t) // HOUR_T
        for values, name in zip(fields, ("open", "high", "low", "close", "volume"), strict=True):
            values[rows, s] = frame[name].to_numpy()[keep]
    return BarPanel(symbols, HOUR_T, open_t, *fields)
