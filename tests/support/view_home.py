"""A lake with two venues, a second source, two tickers of one asset, a hole and a bar that may not have closed, for views."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tests.support.bars import START_T, changed, some_bars, without, write_series
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars

YEAR_END_T = START_T - 10 * 86_400
BTC = without(some_bars(24 * 40, start_t=YEAR_END_T, trades=True), 100, 101, 102, 400)
MATIC = some_bars(24 * 30, start_t=YEAR_END_T, price=1.0)
POL = some_bars(24 * 14, start_t=YEAR_END_T + 26 * 86_400, price=1.1, trades=True)
ETH = some_bars(24 * 40 - 5, start_t=YEAR_END_T, price=50.0)
"""It ends inside a day, so its last bar may not have closed."""
ALL = ("gap", "stale_tail", "partial_tail", "jump", "second_source")


def make_home(folder: Path) -> Path:
    """Import the lake below a folder and return its home."""
    bars = folder / "bars"
    write_series(bars, "binance-spot/1h/BTCUSDT", BTC)
    write_series(bars, "kraken-spot/1h/MATICUSD", MATIC)
    write_series(bars, "kraken-spot/1h/POLUSD", POL)
    write_series(bars, "binance-spot-b/1h/BTCUSDT", changed(BTC, 5, close=BTC.close[5] * 1.0001))
    write_series(bars, "kraken-spot/1h/ETHUSD", ETH)
    write_series(bars, "kraken-spot/1h/XBTUSD", some_bars(24 * 40, start_t=YEAR_END_T, trades=True))
    write_series(bars, "kraken-spot/1d/XBTUSD", some_bars(40, start_t=YEAR_END_T, step_t=86_400))
    import_bars(folder / "home", FileProvider(bars))
    return folder / "home"


def at(t: int) -> datetime:
    """Return a time in seconds as a datetime."""
    return datetime.fromtimestamp(t, UTC)


def of(frame: pl.LazyFrame | pl.DataFrame, venue: str, symbol: str) -> pl.DataFrame:
    """Return the rows of one series."""
    return frame.lazy().filter(venue=venue, symbol=symbol).collect()


def seconds(frame: pl.DataFrame) -> list[int]:
    """Return the opening times of a frame's rows."""
    return frame["ts_utc"].dt.epoch("s").to_list()
