"""Which bars are there and which are missing, as tables for the researcher's view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from runtime.inference.panel import Ints
from workbench.data.quality.gates import gaps
from workbench.data.view.strands import Name

KEYS = ("venue", "symbol", "quote")
STAMP = pl.Datetime("us", "UTC")


def table(opened: Sequence[tuple[Name, pl.Series]], interval_t: int, by: Literal["series", "month"]) -> pl.DataFrame:
    """Return the rows of `LakeView.coverage`.

    Args:
        opened: opening times of each series, in order.
        interval_t: seconds per bar.
        by: one row per series, or per series and month.
    """
    frames = [_series(name, _seconds(stamps), interval_t, by) for name, stamps in opened]
    return pl.concat(frames).with_columns(
        (pl.col("due_n") - pl.col("bars_n")).alias("missing_n"), (pl.col("bars_n") / pl.col("due_n")).alias("share")
    )


def gap_table(opened: Sequence[tuple[Name, pl.Series]], interval_t: int) -> pl.DataFrame:
    """Return the rows of `LakeView.gaps`."""
    rows = [(*name, *gap) for name, stamps in opened for gap in gaps(_seconds(stamps), interval_t)]
    schema = {**dict.fromkeys(KEYS, pl.String), "first_utc": pl.Int64, "last_utc": pl.Int64, "bars_n": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(_stamps("first_utc"), _stamps("last_utc"))


def _series(name: Name, t: Ints, interval_t: int, by: Literal["series", "month"]) -> pl.DataFrame:
    told = [pl.lit(v, pl.String).alias(k) for k, v in zip(KEYS, name, strict=True)]
    if by == "series":
        due_n = (int(t[-1]) - int(t[0])) // interval_t + 1
        one = pl.DataFrame({"first_utc": [int(t[0])], "last_utc": [int(t[-1])], "bars_n": [len(t)], "due_n": [due_n]})
        return one.select(*told, _stamps("first_utc"), _stamps("last_utc"), "bars_n", "due_n")
    months = np.arange(_month(t[0]), _month(t[-1]) + 1)
    starts = months.astype("M8[s]").astype(np.int64)
    ends = (months + 1).astype("M8[s]").astype(np.int64)
    low, high = np.searchsorted(t, starts), np.searchsorted(t, ends)
    # Of the first and last month only what lies between the first and the last bar is due.
    first = -(-np.maximum(starts, t[0]) // interval_t)
    last = (np.minimum(ends - 1, t[-1])) // interval_t
    bars_n = high - low
    here = bars_n > 0
    safe_low, safe_high = np.minimum(low, len(t) - 1), np.maximum(high - 1, 0)
    frame = pl.DataFrame({
        "month": pl.Series(months.astype("M8[D]")), "first_utc": t[safe_low], "last_utc": t[safe_high], "bars_n": bars_n,
        "due_n": last - first + 1, "here": here,
    })  # fmt: skip
    ends_here = [pl.when("here").then(_stamps(n)).alias(n) for n in ("first_utc", "last_utc")]
    return frame.select(*told, pl.col("month").cast(pl.Date), *ends_here, "bars_n", "due_n")


def _month(at_t: np.int64) -> np.datetime64:
    return np.datetime64(int(at_t), "s").astype("M8[M]")


def _seconds(stamps: pl.Series) -> Ints:
    return np.ascontiguousarray(stamps.dt.epoch("s").to_numpy())


def _stamps(name: str) -> pl.Expr:
    return (pl.col(name) * 1_000_000).cast(STAMP)
