"""Fewer points for the eye, without hiding extremes: every bucket keeps its lowest and its highest value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.inference.panel import Floats, Ints

Marks = list[tuple[int, str]]


def edges(n: int, buckets_n: int) -> Ints:
    """Return the int64 [B + 1] row numbers at which B equal buckets of n rows begin, with n at the end."""
    b = max(1, min(n, buckets_n))
    return (np.arange(b + 1, dtype=np.int64) * n) // b


def thin(at_t: Ints, value: Floats, buckets_n: int) -> tuple[Ints, Floats]:
    """Return the points of a curve that a chart needs: per bucket its minimum and maximum, in time order, and both ends.

    Args:
        at_t: int64 [N], rising.  value: float64 [N], without NaN.  buckets_n: number of buckets.
    """
    n = len(at_t)
    if n <= 2 * buckets_n:
        return at_t, value
    cut = edges(n, buckets_n)
    keep = {0, n - 1}
    for first, last in zip(cut[:-1].tolist(), cut[1:].tolist(), strict=True):
        keep.add(first + int(np.argmin(value[first:last])))
        keep.add(first + int(np.argmax(value[first:last])))
    rows = np.array(sorted(keep), dtype=np.int64)
    return at_t[rows], value[rows]


def ranges(open_t: Ints, low: Floats, high: Floats, close: Floats, buckets_n: int) -> tuple[Ints, Floats, Floats, Floats]:
    """Return time, lowest low, highest high and last close per bucket; NaN where a bucket has no bar at all.

    Args:
        open_t: int64 [N].  low, high, close: float64 [N], NaN where there is no bar.
    """
    cut = edges(len(open_t), buckets_n)
    out = np.full((3, len(cut) - 1), np.nan)
    for i, (first, last) in enumerate(zip(cut[:-1].tolist(), cut[1:].tolist(), strict=True)):
        seen = np.flatnonzero(~np.isnan(close[first:last]))
        if len(seen):
            rows = first + seen
            out[:, i] = low[rows].min(), high[rows].max(), close[rows[-1]]
    return open_t[cut[:-1]], out[0], out[1], out[2]


def runs_of(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield first and past-the-last row of every unbroken run of True."""
    edge = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    yield from zip(edge[::2].tolist(), edge[1::2].tolist(), strict=True)


STEPS: Final = ((12 * 5, "%Y"), (12 * 2, "%Y"), (12, "%Y"), (6, "%Y-%m"), (3, "%Y-%m"), (1, "%Y-%m"))
"""Months between marks on a time axis, coarse to fine, and how a mark reads."""
DAY_T: Final = 86_400


def month_starts(first_t: int, last_t: int, step_n: int) -> list[int]:
    """Return the beginnings of every `step_n`-th calendar month (counted from January) within a period, in UTC."""
    month = datetime.fromtimestamp(first_t, UTC).year * 12
    found: list[int] = []
    while True:
        at_t = int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())
        if at_t > last_t:
            return found
        if at_t >= first_t:
            found.append(at_t)
        month += step_n


def time_marks(first_t: int, last_t: int, most_n: int) -> Marks:
    """Return where a time axis is marked and how: years or months, never more than `most_n`; days for short periods."""
    best: Marks = []
    for step_n, form in STEPS:
        starts = month_starts(first_t, last_t, step_n)
        if len(starts) > most_n:
            break
        best = [(at_t, datetime.fromtimestamp(at_t, UTC).strftime(form)) for at_t in starts]
    if len(best) >= 2:
        return best
    step_t = max(DAY_T, -(-(last_t - first_t) // max(1, most_n - 1) // DAY_T) * DAY_T)
    days = range(-(-first_t // DAY_T) * DAY_T, last_t + 1, step_t)
    return [(at_t, datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d")) for at_t in days]


def log_marks(low: float, high: float) -> list[float]:
    """Return round values within a range for a logarithmic axis: a few per decade, equal steps for a narrow range."""
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        found = [d * 10.0**k for k in decades for d in digits if low <= d * 10.0**k <= high]
        if len(found) >= 4:
            return found
    for step in (d * 10.0**k for k in reversed(decades) for d in (5, 2, 1)):
        first, last = int(np.ceil(low / step)), int(np.floor(high / step))
        if last - first >= 3:
            return [step * i for i in range(first, last + 1)]
    return [low, high]


def plain(value: float) -> str:
    """Return an axis number as a person writes it: no exponent, no trailing zeros."""
    text = f"{value:,.10f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "\u2212")
