"""What was known when: as-of joins of moments onto bars, on the time a bar closed, so that nothing is seen before it happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from runtime.errors import UsageError
from workbench.data.view.strands import Name

Moments = Sequence[datetime] | pl.Series | pl.DataFrame
VALUES = ("ts_utc", "open", "high", "low", "close", "volume", "trades")
MICROS = 1_000_000


def known_bars(bars: pl.LazyFrame, names: Sequence[Name], interval_t: int, moments: Moments) -> pl.DataFrame:
    """Return the last closed bar by each moment; see `LakeView.asof`.

    Args:
        bars: columns venue, symbol, quote and VALUES, each series in the order of time.
        names: the series.
        interval_t: seconds per bar: a bar that opened at t is known from t + interval_t on, that instant included.
        moments: see `LakeView.asof`.
    """
    asked = _asked(moments)
    series = pl.DataFrame(
        {"venue": [n.venue for n in names], "symbol": [n.symbol for n in names], "quote": [n.quote for n in names]}
    ).with_row_index("_series")
    keys = [k for k in ("venue", "symbol", "quote") if k in asked.columns]
    moved = asked.with_row_index("_row")
    wanted = moved.join(series, on=keys, how="left") if keys else moved.join(series, how="cross")
    closed = pl.col("ts_utc") + pl.duration(microseconds=interval_t * MICROS)
    known = bars.select("venue", "symbol", "quote", *VALUES, closed.alias("closed_utc"))
    joined = (
        wanted.lazy()
        .sort("at_utc")
        .join_asof(
            known.sort("closed_utc"),
            left_on="at_utc",
            right_on="closed_utc",
            by=["venue", "symbol", "quote"],
            strategy="backward",
            coalesce=False,
            check_sortedness=False,  # sorted just above; with `by` polars cannot check it
        )
        .sort("_row", "_series")
        .with_columns(age=pl.col("at_utc") - pl.col("closed_utc"))
    )
    told = [n for n in ("venue", "symbol", "quote") if n not in keys]
    return joined.select(*asked.columns, *told, *VALUES, "closed_utc", "age").collect()


def _asked(moments: Moments) -> pl.DataFrame:
    """Return the moments as a frame whose `at_utc` is in microseconds UTC."""
    frame = moments if isinstance(moments, pl.DataFrame) else pl.DataFrame({"at_utc": moments})
    kind = frame.schema.get("at_utc")
    if frame.is_empty() and not isinstance(moments, pl.DataFrame):
        return pl.DataFrame(schema={"at_utc": pl.Datetime("us", "UTC")})
    if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
        raise UsageError(
            f"at_utc is {kind or 'missing'}",
            expected="times with a zone",
            action="give the zone; local times cannot be guessed",
        )
    at = pl.col("at_utc").dt.convert_time_zone("UTC")
    # A time in nanoseconds is cut to microseconds, never rounded up: that would see a bar before it closed.
    micros = at.dt.epoch("ns") // 1_000 if kind.time_unit == "ns" else at.dt.epoch("us")
    return frame.with_columns(micros.cast(pl.Datetime("us", "UTC")).alias("at_utc"))
