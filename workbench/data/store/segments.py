"""Segments: the pieces a series is stored in, cut by the calendar, so that an hour of new bars rewrites one small file.

The cut depends on nothing but the interval and the opening times, so every store that holds the same bars has the same
segments, the same digests and the same digest of the whole series, in whatever order and portions the bars arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from workbench.data.bars import Bars, interval_seconds

SERIES_VERSION: Final = b"ballast-series-1\0"
WHOLE: Final = "all"
"""The one period of a series whose bars are four hours or longer: decades of them are one small file."""
ADDRESS_HEX: Final = 16


class Segment(BaseModel):
    """The bars of one series in one calendar period.

    Attributes:
        period: `2024-06` (bars shorter than an hour), `2024` (one hour), or `all` (longer).
        sha256: content digest of the bars (`Bars.digest`).
        rows, first_t, last_t: of the bars; opening times, seconds UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: str
    sha256: str
    rows: int
    first_t: int
    last_t: int

    def path(self, key: str) -> str:
        """Return the path below `lake/` of the file with the segment of the series `venue/interval/SYMBOL`."""
        return f"bars/{key}/{self.period}-{self.sha256[:ADDRESS_HEX]}.parquet"


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment and its bars."""

    segment: Segment
    bars: Bars


def piece(period: str, bars: Bars) -> Piece:
    """Return the bars of one period (N > 0, ordered) as a piece."""
    return Piece(
        Segment(period=period, sha256=bars.digest, rows=len(bars), first_t=int(bars.t[0]), last_t=int(bars.t[-1])), bars
    )


def split(bars: Bars, interval: str) -> list[Piece]:
    """Cut the bars of a series, ordered by time, into its segments; no bars give none."""
    return [piece(period, part) for period, part in cut(bars, interval)]


def cut(bars: Bars, interval: str) -> list[tuple[str, Bars]]:
    """Return (period, bars of it) in time order, not yet hashed."""
    if len(bars) == 0:
        return []
    seconds = interval_seconds(interval)
    if seconds > 3_600:
        return [(WHOLE, bars)]
    unit = "M8[Y]" if seconds == 3_600 else "M8[M]"
    first, last = (np.datetime64(int(t), "s").astype(unit) for t in (bars.t[0], bars.t[-1]))
    periods = np.arange(first, last + 1)
    # Where each period begins is looked up: the bars are ordered, and a calendar date for each of them would cost more than its digest.
    bounds = np.append(np.searchsorted(bars.t, periods.astype("M8[s]").astype(np.int64)), len(bars))
    return [
        (str(period), bars.take(slice(int(a), int(z))))
        for period, a, z in zip(periods, bounds[:-1], bounds[1:], strict=True)
        if z > a
    ]


def series_digest(segments: Iterable[Segment]) -> str:
    """Return the content digest of a series: SHA-256 over the version tag and each segment's period, a zero byte and digest."""
    h = hashlib.sha256(SERIES_VERSION)
    for s in segments:
        h.update(s.period.encode() + b"\0" + bytes.fromhex(s.sha256))
    return h.hexdigest()


def overlapping(segments: Sequence[Segment], since_t: int | None, until_t: int | None) -> tuple[Segment, ...]:
    """Return the segments with bars that may open in `[since_t, until_t)`; None = no bound."""
    return tuple(s for s in segments if (since_t is None or s.last_t >= since_t) and (until_t is None or s.first_t < until_t))
