"""Small well-formed bar series and folders of them, for tests of the data package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from workbench.data.bars import Bars, to_frame

HOUR_T = 3_600
START_T = 1_704_067_200  # 2024-01-01T00:00Z


def some_bars(n: int = 48, *, start_t: int = START_T, step_t: int = HOUR_T, price: float = 100.0, trades: bool = False) -> Bars:
    """Return n gentle bars; with the defaults they end with a UTC day."""
    i = np.arange(n)
    close = price * (1.0 + 0.01 * ((i * 7) % 5 - 2) / 4)
    opened = np.concatenate(([price], close[:-1]))
    return Bars(
        start_t + step_t * i.astype(np.int64),
        opened,
        np.maximum(opened, close) * 1.001,
        np.minimum(opened, close) * 0.999,
        close,
        10.0 + i % 3,
        (20.0 + i % 7) if trades else None,
    )


def changed(bars: Bars, row: int, **values: float) -> Bars:
    """Return the bars with values of one row replaced."""
    copy = bars.take(slice(None))
    columns = {n: getattr(copy, n).copy() for n in ("t", "open", "high", "low", "close", "volume")}
    for name, value in values.items():
        columns[name][row] = value
    return Bars(
        columns["t"], columns["open"], columns["high"], columns["low"], columns["close"], columns["volume"], copy.trades
    )


def without(bars: Bars, *rows: int) -> Bars:
    """Return the bars without some rows."""
    return bars.take(np.delete(np.arange(len(bars)), rows))


def write_series(folder: Path, key: str, bars: Bars) -> Path:
    """Write `VENUE/INTERVAL/SYMBOL` below a folder."""
    path = folder / f"{key}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    to_frame(bars).write_parquet(path)
    return path


def write_frame(folder: Path, key: str, frame: pl.DataFrame) -> Path:
    """Write any frame where a series would be."""
    path = folder / f"{key}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path


def write_ohlcvt(path: Path, bars: Bars, *, header: bool = False) -> Path:
    """Write Kraken's OHLCVT form: unix seconds, open, high, low, close, volume, trades."""
    columns = [("timestamp", bars.t), *bars.columns()]
    if bars.trades is None:
        columns.append(("trades", np.full(len(bars), 5)))
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame([pl.Series(n, v) for n, v in columns]).write_csv(path, include_header=header)
    return path


def tree(folder: Path) -> dict[str, str]:
    """Return every file and folder below a folder with its SHA-256 (folders: `dir`): equal means byte for byte the same."""
    if not folder.exists():
        return {}
    return {
        p.relative_to(folder).as_posix(): "dir" if p.is_dir() else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
    }
