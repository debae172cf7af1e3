"""The quality gates: each looks at the bars of one series and returns what it found. A gate blocks; it does not warn.

`form_findings` are about malformed bars: such a file is never imported. `history_findings` are about real but defective
history: it is imported as it is (nothing is filled, moved or invented) and blocks a dataset until accepted by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.records import E4, E8
from runtime.inference.panel import Floats, Ints
from runtime.inference.quantise import PRICE_MAX, VOLUME_MAX_E4
from workbench.data.bars import INTERVALS, Bars
from workbench.data.quality.findings import Finding, finding
from workbench.data.universe.versions import Universe, iso

DAY_T: Final = 86_400
EXAMPLES_N: Final = 3
"""Rows named in the detail of a finding that covers many."""
FIRST_T: Final = 1_230_768_000  # 2009-01-01, before the first coin
END_T: Final = 4_102_444_800  # 2100-01-01; a time in milliseconds lies far beyond
INTERVAL_NAMES: Final = {seconds: name for name, seconds in INTERVALS.items()}
WRONG_INTERVAL_N: Final = 24
"""Bars a series must have before their distances can refute the interval it is filed under."""
MIX_RUN_N: Final = 8
"""Equal longer steps in a row that look like bars of a longer interval; real series have at most three."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of the history gates; ratios are multiples, so 1.30 and 1/1.30 are equally far."""

    wick_ratio: float = 1.0 / 0.6
    jump_ratio: float = 1.30
    jump_ratio_daily: float = 1.50
    second_source_ratio: float = 1.001
    stale_tail_t: int = 2 * DAY_T
    """Seconds a series may end before the newest of its dataset."""


THRESHOLDS: Final = Thresholds()


@dataclass(frozen=True, slots=True)
class Series:
    """Names of the bars under a gate: what findings say they are about."""

    symbol: str
    name: str
    interval_t: int


def _rows(gate: str, series: Series, t: Ints, bad: npt.NDArray[np.bool_], what: str) -> list[Finding]:
    """Return one finding for all marked rows, or none."""
    at = t[bad]
    if len(at) == 0:
        return []
    distinct, counts = np.unique(at, return_counts=True)
    shown = [iso(int(x)) + (f" ({n} times)" if n > 1 else "") for x, n in zip(distinct, counts, strict=True)][:EXAMPLES_N]
    times = ", ".join(shown) + (", ..." if len(distinct) > EXAMPLES_N else "")
    detail = f"{len(at)} bars: {what}: {times}"
    return [finding(gate, series.symbol, series.name, int(at.min()), int(at.max()), len(at), detail, distinct)]


def form_findings(bars: Bars, series: Series, now_t: int | None = None) -> list[Finding]:
    """Return what is malformed in the bars of one file: order, times, grid, finiteness, sign, range, OHLC consistency.

    Args:
        bars: as the source gave them.
        series: names.
        now_t: the clock, seconds UTC, against which a bar may be of the future; None = no clock is asked.
    """
    t = bars.t
    step = np.diff(t, prepend=t[:1] - 1)
    values = [v for _, v in bars.columns()]
    prices = (bars.open, bars.high, bars.low, bars.close)
    finite = np.ones(len(t), dtype=np.bool_)
    for v in values:
        finite &= np.isfinite(v)
    positive = np.ones(len(t), dtype=np.bool_)
    for p in prices:
        positive &= ~(p <= 0.0)
    for v in values[4:]:
        positive &= ~(v < 0.0)
    representable = finite & positive & _in_range(prices, bars.volume)
    top, bottom = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    crossed = (bars.high < top) | (bars.low > bottom) | (bars.high < bars.low)
    ordered = np.sort(t)
    repeated = np.isin(t, ordered[1:][ordered[1:] == ordered[:-1]])
    possible = (t >= FIRST_T) & (t < END_T)
    ahead = possible & (t > (now_t if now_t is not None else END_T))
    return [
        *_rows("ordering", series, t, step < 0, "open before the bar in the row above"),
        *_rows("duplicate", series, t, repeated, "share an opening time with another bar"),
        *_rows("timestamp", series, t, ~possible, "opening time before 2009 or after 2099, as of milliseconds or nanoseconds"),
        *_rows("future", series, t, ahead, f"open after the clock of this machine ({iso(now_t or 0)})"),
        *_rows(
            "off_grid",
            series,
            t,
            possible & (t % series.interval_t != 0),
            f"opening time is no multiple of {series.interval_t} s",
        ),
        *_wrong_interval(t, series),
        *_rows("not_finite", series, t, ~finite, "NaN or infinity"),
        *_rows("non_positive", series, t, ~positive, "price zero or negative, or volume negative"),
        *_rows("out_of_range", series, t, finite & positive & ~representable, f"{_RANGE}, the range of the core's integers"),
        *_rows("ohlc", series, t, crossed & positive & finite, "high below or low above another price of the bar"),
    ]


def _wrong_interval(t: Ints, series: Series) -> list[Finding]:
    """Return a finding when bars are filed under a shorter interval than theirs, such as daily ones under 1h."""
    if len(t) < WRONG_INTERVAL_N:
        return []
    steps, counts = np.unique(np.diff(t), return_counts=True)
    usual = int(steps[counts.argmax()])
    if int(steps[0]) <= series.interval_t or usual not in INTERVAL_NAMES or bool((t % usual != 0).any()):
        return []  # a quiet market has bars of this interval far apart, but not on the grid of a longer one
    what = f"no two are {series.interval_t} s apart and most are {usual} s apart: bars of {INTERVAL_NAMES[usual]}"
    return _rows("interval", series, t, np.ones(len(t), dtype=np.bool_), what)


_RANGE: Final = f"price outside {1 / E8:.8f} to {PRICE_MAX:.0f}, or volume above {VOLUME_MAX_E4 // E4}"


def _in_range(prices: tuple[Floats, ...], volume: Floats) -> npt.NDArray[np.bool_]:
    """Return which bars int64 can hold with eight decimals of price and four of volume (`runtime.inference.quantise`)."""
    inside = volume <= VOLUME_MAX_E4 / E4
    for p in prices:
        inside &= (p <= PRICE_MAX) & (p > 0.5 / E8)  # half a unit rounds half-even to zero
    return inside


def gaps(t: Ints, interval_t: int) -> list[tuple[int, int, int]]:
    """Return the holes of an ordered grid: opening time of the first and last missing bar, and their number."""
    at = np.flatnonzero(np.diff(t) > interval_t)
    return [(int(t[i]) + interval_t, int(t[i + 1]) - interval_t, int(t[i + 1] - t[i]) // interval_t - 1) for i in at]


def _runs(marked: npt.NDArray[np.bool_], t: Ints, interval_t: int) -> list[tuple[int, int]]:
    """Return (first row, last row) of each run of marked rows that follow each other in time."""
    at = np.flatnonzero(marked)
    if len(at) == 0:
        return []
    breaks = np.flatnonzero(np.diff(t[at]) > interval_t)
    first = np.concatenate(([0], breaks + 1))
    last = np.concatenate((breaks, [len(at) - 1]))
    return [(int(at[a]), int(at[b])) for a, b in zip(first, last, strict=True)]


def history_findings(bars: Bars, series: Series, limits: Thresholds = THRESHOLDS) -> list[Finding]:
    """Return what is defective in well-formed bars: gaps, runs without volume, copied bars, mixed intervals, wicks, jumps."""
    t, dt = bars.t, series.interval_t
    found = [
        finding("gap", series.symbol, series.name, first, last, n, f"{n} bars missing from {iso(first)} to {iso(last)}")
        for first, last, n in gaps(t, dt)
    ]
    for a, b in _runs(bars.volume == 0.0, t, dt):
        found.append(
            finding(
                "zero_volume",
                series.symbol,
                series.name,
                int(t[a]),
                int(t[b]),
                b - a + 1,
                f"{b - a + 1} bars without volume at a close of {bars.close[b]:g}",
                t[a : b + 1],
            )
        )
    return [*found, *_copies(bars, series), *_mixed(t, series), *_wicks(bars, series, limits), *_jumps(bars, series, limits)]


def _copies(bars: Bars, series: Series) -> list[Finding]:
    """Return the runs of bars that copy the one before, as a fill-forward and some interfaces write them where nobody traded."""
    follows = np.diff(bars.t) == series.interval_t
    untraded = bars.volume == 0.0 if bars.trades is None else (bars.volume == 0.0) | (bars.trades == 0.0)
    flat, same = np.ones(len(follows), dtype=np.bool_), np.ones(len(follows), dtype=np.bool_)
    for p in (bars.open, bars.high, bars.low, bars.close):
        flat &= p[1:] == bars.close[:-1]
    for _, v in bars.columns():
        same &= v[1:] == v[:-1]
    marked = np.concatenate(([False], follows & (same | (flat & untraded[1:]))))
    found = []
    for a, b in _runs(marked, bars.t, series.interval_t):
        kind = (
            "repeat all values of"
            if bool(same[a - 1 : b].all()) and not untraded[b]
            else "have no trade and all prices at the close of"
        )
        detail = f"{b - a + 1} bars {kind} the one before ({bars.close[b]:g}): filled forward, not traded"
        found.append(
            finding("fill_forward", series.symbol, series.name, bars.t[a], bars.t[b], b - a + 1, detail, bars.t[a : b + 1])
        )
    return found


def _mixed(t: Ints, series: Series) -> list[Finding]:
    """Return the runs of equal steps of a longer interval: bars of that interval among those of this one, or a regular pause."""
    step, found = np.diff(t), []
    edges = np.flatnonzero(np.diff(step)) + 1
    first, last = np.concatenate(([0], edges)), np.concatenate((edges, [len(step)]))
    candidates = (last - first >= MIX_RUN_N) & (step[first] > series.interval_t) if len(step) else first < 0
    for a, b in zip(first[candidates].tolist(), last[candidates].tolist(), strict=True):
        long = int(step[a])
        if long not in INTERVAL_NAMES:
            continue
        detail = f"{b - a + 1} bars {long} s apart among bars of {series.interval_t} s: as of {INTERVAL_NAMES[long]}"
        found.append(finding("interval_mix", series.symbol, series.name, t[a], t[b], b - a + 1, detail, t[a : b + 1]))
    return found


def _wicks(bars: Bars, series: Series, limits: Thresholds) -> list[Finding]:
    body_top, body_bottom = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    far = (bars.high > body_top * limits.wick_ratio) | (bars.low * limits.wick_ratio < body_bottom)
    found = []
    for i in np.flatnonzero(far):
        listing = " in the first bar of the series" if i == 0 else ""
        found.append(
            finding(
                "wick",
                series.symbol,
                series.name,
                int(bars.t[i]),
                int(bars.t[i]),
                1,
                f"low {bars.low[i]:g} high {bars.high[i]:g} around open {bars.open[i]:g} close {bars.close[i]:g}{listing}",
                bars.t[i : i + 1],
            )
        )
    return found


def _jumps(bars: Bars, series: Series, limits: Thresholds) -> list[Finding]:
    ratio = limits.jump_ratio_daily if series.interval_t >= DAY_T else limits.jump_ratio
    before = bars.close[:-1]
    neighbours = np.diff(bars.t) == series.interval_t
    far = np.zeros(len(before), dtype=np.bool_)
    for now in (bars.open[1:], bars.close[1:]):
        far |= (now > before * ratio) | (now * ratio < before)
    return [
        finding(
            "jump",
            series.symbol,
            series.name,
            int(bars.t[i + 1]),
            int(bars.t[i + 1]),
            1,
            f"from a close of {before[i]:g} to open {bars.open[i + 1]:g} close {bars.close[i + 1]:g}",
            bars.t[i + 1 : i + 2],
        )
        for i in np.flatnonzero(far & neighbours)
    ]


def unclosed(bars: Bars, interval_t: int, *, vouched: bool) -> tuple[int, ...]:
    """Return the opening time of the last bar when it may have been cut while it was still forming.

    A file that ends with a UTC day is taken as complete; one that ends inside a day was cut by whoever downloaded it, and
    nothing in it says whether its last bar had closed. Of daily bars the last one is never certain.

    Args:
        bars: one file's bars, ordered.
        interval_t: seconds per bar.
        vouched: the source vouches that every bar had closed (a venue's own interface, or the simulator).
    """
    last = int(bars.t[-1])
    return () if vouched or (interval_t < DAY_T and (last + interval_t) % DAY_T == 0) else (last,)


def unclosed_findings(unclosed_t: tuple[int, ...], series: Series) -> list[Finding]:
    """Return one finding per bar that may not have closed."""
    return [
        finding(
            "partial_tail",
            series.symbol,
            series.name,
            t,
            t,
            1,
            f"the download ends at {iso(t)}: that bar may not have closed; left out",
            (t,),
        )
        for t in unclosed_t
    ]


def second_source_findings(bars: Bars, other: Bars, series: Series, limits: Thresholds = THRESHOLDS) -> list[Finding]:
    """Return a finding when an independent download differs in a price, or has bars this series misses.

    Args:
        bars: the series.
        other: the second source's bars of the same venue symbol and interval.
        series: names.
        limits: prices are equal within `second_source_ratio`.
    """
    _, mine, theirs = np.intersect1d(bars.t, other.t, assume_unique=True, return_indices=True)
    far = np.zeros(len(mine), dtype=np.bool_)
    for name in ("open", "high", "low", "close"):
        a, b = getattr(bars, name)[mine], getattr(other, name)[theirs]
        far |= (a > b * limits.second_source_ratio) | (a * limits.second_source_ratio < b)
    found = _rows("second_source", series, bars.t[mine], far, "a price differs from the second source by more than 0.1 %")
    inside = (other.t >= bars.t[0]) & (other.t <= bars.t[-1])
    extra = inside & ~np.isin(other.t, bars.t)
    return [*found, *_rows("second_source", series, other.t, extra, "only the second source has them (not used to fill)")]


def absent_findings(universe: Universe, venue: str, interval: str) -> list[Finding]:
    """Return a note per asset of the universe that a venue never listed, so that nobody looks for its series."""
    detail = f"{venue} never listed it (universe {universe.version})"
    absent = [a for a in universe.assets if a in universe.venue(venue).absent]
    return [finding("absent", a, f"{venue}/{interval}/{a}", 0, 0, 0, detail) for a in absent]


def stale_findings(last_t: int, newest_t: int, series: Series, limits: Thresholds = THRESHOLDS) -> list[Finding]:
    """Return a finding when a series ends long before the newest series of its dataset."""
    if newest_t - last_t <= limits.stale_tail_t:
        return []
    missing = (newest_t - last_t) // series.interval_t
    return [
        finding(
            "stale_tail",
            series.symbol,
            series.name,
            last_t,
            newest_t,
            missing,
            f"last bar {iso(last_t)}, {missing} bars before the newest of the dataset ({iso(newest_t)})",
        )
    ]
