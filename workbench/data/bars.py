"""Bars of one series in memory, their content digest, and how they are read from and written to Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from runtime.errors import DataError, UsageError
from runtime.inference.panel import Floats, Ints

INTERVALS: Final[dict[str, int]] = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": 86_400}
"""Bar length in seconds by interval name."""

PRICES: Final = ("open", "high", "low", "close")
REQUIRED: Final = ("ts_utc", *PRICES, "volume")
CONTENT_VERSION: Final = b"ballast-bars-1\0"


def interval_seconds(interval: str) -> int:
    """Return the seconds of an interval name.

    Raises:
        UsageError: the name is unknown.
    """
    if interval not in INTERVALS:
        raise UsageError(f"interval {interval!r}", expected="one of " + ", ".join(INTERVALS), action="choose another interval")
    return INTERVALS[interval]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one venue symbol, N rows, in the order of their source.

    Attributes:
        t: int64 [N], opening times, seconds UTC.
        open, high, low, close: float64 [N], prices in the quote currency.
        volume: float64 [N], units of the asset.
        trades: float64 [N], number of trades; None where the source has none.
    """

    t: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    trades: Floats | None = None

    def __len__(self) -> int:
        return len(self.t)

    def columns(self) -> list[tuple[str, Floats]]:
        """Return the value columns by name, in their fixed order."""
        named = [(n, getattr(self, n)) for n in (*PRICES, "volume")]
        return named if self.trades is None else [*named, ("trades", self.trades)]

    def take(self, rows: Ints | slice | np.ndarray) -> Bars:
        """Return the chosen rows."""
        return Bars(
            self.t[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            None if self.trades is None else self.trades[rows],
        )

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the bars themselves, whatever file format, writer version or compression holds them.

        Bytes: the version tag, the row count as little-endian int64, then per column its name, a zero byte, and
        N little-endian 8-byte values: `t` as int64 seconds UTC, the others as IEEE float64.
        """
        h = hashlib.sha256(CONTENT_VERSION)
        h.update(np.array([len(self)], dtype="<i8").tobytes())
        h.update(b"t\0")
        h.update(np.ascontiguousarray(self.t, dtype="<i8").data)
        for name, values in self.columns():
            h.update(name.encode() + b"\0")
            h.update(np.ascontiguousarray(values, dtype="<f8").data)
        return h.hexdigest()


def joined(pieces: Sequence[Bars]) -> Bars:
    """Return the bars of several pieces, one after the other; `trades` only where every piece has them."""
    if len(pieces) == 1:
        return pieces[0]
    o, h, low, c, v = (np.concatenate([getattr(p, name) for p in pieces]) for name in (*PRICES, "volume"))
    counts = [p.trades for p in pieces if p.trades is not None]
    trades = np.concatenate(counts) if len(counts) == len(pieces) else None
    return Bars(np.concatenate([p.t for p in pieces]), o, h, low, c, v, trades)


def within(bars: Bars, since_t: int | None, until_t: int | None) -> Bars:
    """Return the bars that open in `[since_t, until_t)`, seconds UTC; None = no bound."""
    if since_t is None and until_t is None:
        return bars
    keep = np.ones(len(bars), dtype=np.bool_)
    if since_t is not None:
        keep &= bars.t >= since_t
    if until_t is not None:
        keep &= bars.t < until_t
    return bars.take(keep)


def first_text(column: pl.Series) -> str:
    """Return where a text column holds its first value that is no number (rows counted from 1, header aside), or nothing."""
    if column.dtype != pl.String:
        return ""
    bad = (column.str.strip_chars().cast(pl.Float64, strict=False).is_null() & column.is_not_null()).arg_true()
    return "" if len(bad) == 0 else f" (row {int(bad[0]) + 1}: {column[int(bad[0])]!r})"


def _first_null(column: pl.Series) -> str:
    return f"{column.name} has {column.null_count()} empty values (first in row {int(column.is_null().arg_true()[0]) + 1})"


def from_frame(frame: pl.DataFrame, where: str) -> Bars:
    """Return the bars of a frame, checking its schema.

    Args:
        frame: columns `ts_utc` (timestamp with a zone), open, high, low, close, volume and optionally trades.
        where: names the source in messages.

    Raises:
        DataError: columns are missing, of a wrong type, empty, null, or the times are naive.
    """
    missing = [c for c in REQUIRED if c not in frame.columns]
    if missing:
        raise DataError(
            f"{where}: columns {', '.join(frame.columns) or '(none)'}; missing {', '.join(missing)}",
            expected=", ".join(REQUIRED) + " and optionally trades",
            action="fix the file's columns or header",
        )
    if frame.is_empty():
        raise DataError(f"{where}: no rows", expected="at least one bar", action="remove the file or download it again")
    stamps = frame["ts_utc"]
    zone = stamps.dtype.time_zone if isinstance(stamps.dtype, pl.Datetime) else None
    if zone is None:
        raise DataError(
            f"{where}: ts_utc is {stamps.dtype}: naive timestamps",
            expected="timestamps with a time zone (UTC)",
            action="write the column with its zone; local times cannot be guessed",
        )
    names = [*PRICES, "volume", *(["trades"] if "trades" in frame.columns else [])]
    wrong = [f"{n} is {frame[n].dtype}{first_text(frame[n])}" for n in names if not frame[n].dtype.is_numeric()]
    nulls = [n for n in ("ts_utc", *names) if frame[n].null_count()]
    if wrong or nulls:
        raise DataError(
            f"{where}: " + "; ".join([*wrong, *(_first_null(frame[n]) for n in nulls)]),
            expected="numbers in every row of open, high, low, close, volume",
            action="fix the file; a missing bar is a missing row, never an empty value",
        )
    micros = stamps.dt.convert_time_zone("UTC").dt.timestamp("us").to_numpy()
    if bool((micros % 1_000_000).any()):
        raise DataError(f"{where}: fractions of a second in ts_utc", expected="bar opening times", action="fix the times")
    # Adding 0.0 turns -0.0 into 0.0, which compare equal but would have different digests.
    values = {n: np.ascontiguousarray(frame[n].cast(pl.Float64).to_numpy()) + 0.0 for n in names}
    return Bars(
        np.ascontiguousarray(micros // 1_000_000),
        values["open"],
        values["high"],
        values["low"],
        values["close"],
        values["volume"],
        values.get("trades"),
    )


def to_frame(bars: Bars) -> pl.DataFrame:
    """Return the bars as the lake stores them."""
    stamps = pl.Series("ts_utc", bars.t * 1_000_000).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame([stamps, *(pl.Series(name, values) for name, values in bars.columns())])


def read_parquet(path: Path, where: str) -> Bars:
    """Read one Parquet file of bars.

    Raises:
        DataError: the file is empty, truncated, not Parquet, or fails the schema.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{where}: empty file", expected="a Parquet file with bars", action="remove it or download it again")
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as e:
        reason = str(e).splitlines()[0]
        raise DataError(
            f"{where}: not readable as Parquet: {reason}",
            expected="a complete Parquet file",
            action="download or copy it again",
        ) from e
    return from_frame(frame, where)
