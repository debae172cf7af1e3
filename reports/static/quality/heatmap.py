"""The coverage heat map: series by time, each cell the share of its bars that are there. Counting only; the page draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from reports.static.numbers import count, utc
from runtime.inference.panel import Ints
from workbench.data.quality.findings import Finding, blocking

DAY_T: Final = 86_400
DAYS_MAX_T: Final = 92 * DAY_T
WEEKS_MAX_T: Final = 2 * 366 * DAY_T
"""A span up to `DAYS_MAX_T` is shown by days, up to `WEEKS_MAX_T` by weeks that begin on a Monday, and a longer one by months."""
GAPS_TOLD_N: Final = 3

LEVELS: Final = (
    ("full", "complete"),
    ("most", "99 % or more"),
    ("some", "90 to 99 %"),
    ("part", "less than 90 %"),
    ("none", "no bar at all"),
)
"""Class of a cell and what it says, best first."""


@dataclass(frozen=True, slots=True)
class Column:
    """One step of the time axis: bars that open in `[start_t, end_t)`, seconds UTC."""

    label: str
    start_t: int
    end_t: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What one series has in one column, or in several equal ones beside each other.

    Attributes:
        first, last: columns, the last included.
        present_n, expected_n: bars there, and bars between the series' first and last one that could be.
        level: a name of `LEVELS`.
        says: the cell in words.
        settled: every hole in it was accepted by name or is certified.
    """

    first: int
    last: int
    present_n: int
    expected_n: int
    level: str
    says: str
    settled: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of the time axis.

    Attributes:
        first, span: its first column, and how many it stands for.
        text: a year or a month.
        shown: `always`, `wide` (only on a wide screen) or `never`: the line alone.
    """

    first: int
    span: int
    text: str
    shown: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Findings other than gaps in one column.

    Attributes:
        column: which.
        kind: `fatal`, `blocking`, or `settled` (accepted by name, or a note).
        says: gates and numbers in words.
    """

    column: int
    kind: str
    says: str


def columns(first_t: int, last_t: int) -> tuple[str, tuple[Column, ...]]:
    """Return the unit of the time axis (`day`, `week` or `month`) and its columns from one opening time to another."""
    span_t = last_t - first_t
    unit = "day" if span_t <= DAYS_MAX_T else "week" if span_t <= WEEKS_MAX_T else "month"
    at = _floor(datetime.fromtimestamp(first_t, UTC), unit)
    found = []
    while at.timestamp() <= last_t:
        after = _next(at, unit)
        label = at.strftime("%Y-%m" if unit == "month" else "%Y-%m-%d")
        found.append(Column(label, int(at.timestamp()), int(after.timestamp())))
        at = after
    return unit, tuple(found)


def _floor(at: datetime, unit: str) -> datetime:
    at = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        return at - timedelta(days=at.weekday())
    return at.replace(day=1) if unit == "month" else at


def _next(at: datetime, unit: str) -> datetime:
    if unit == "month":
        return (at + timedelta(days=31)).replace(day=1)
    return at + timedelta(days=7 if unit == "week" else 1)


def counted(t: Ints, interval_t: int, grid: Sequence[Column]) -> list[tuple[int, int, int]]:
    """Return (column, bars present, bars expected) of every column between a series' first and last bar.

    Args:
        t: opening times, ascending, N > 0.
        interval_t: seconds per bar.
        grid: the time axis; it covers the series.
    """
    edges = np.array([c.start_t for c in grid] + [grid[-1].end_t], dtype=np.int64)
    present = np.diff(np.searchsorted(t, edges))
    first_t, end_t = int(t[0]), int(t[-1]) + interval_t
    begin, end = np.maximum(edges[:-1], first_t), np.minimum(edges[1:], end_t)
    # Opening times are multiples of the interval: those in [begin, end).
    expected = np.maximum(-(-end // interval_t) - -(-begin // interval_t), 0)
    return [(i, int(p), int(e)) for i, (p, e) in enumerate(zip(present, expected, strict=True)) if e > 0]


def level_of(present_n: int, expected_n: int) -> str:
    """Return the level of a share; only a cell without a missing bar is complete."""
    if present_n >= expected_n:
        return "full"
    if present_n == 0:
        return "none"
    if 100 * present_n >= 99 * expected_n:
        return "most"
    return "some" if 100 * present_n >= 90 * expected_n else "part"


def cells(
    t: Ints,
    interval_t: int,
    grid: Sequence[Column],
    gaps: Sequence[tuple[int, int, int]],
    settled: frozenset[int] = frozenset(),
) -> tuple[Cell, ...]:
    """Return a series' cells; neighbours that are complete, or empty, are one cell.

    Args:
        t, interval_t, grid: see `counted`.
        gaps: first and last missing opening time, and bars, in time order.
        settled: first missing opening times of the gaps that are accepted or certified.
    """
    found: list[Cell] = []
    for i, present_n, expected_n in counted(t, interval_t, grid):
        level = level_of(present_n, expected_n)
        before = found[-1] if found and found[-1].level == level and level in {"full", "none"} else None
        if before is not None:
            found.pop()
        first, there_n, could_n = (before.first, before.present_n, before.expected_n) if before else (i, 0, 0)
        there_n, could_n = there_n + present_n, could_n + expected_n
        # One hole may span many cells; its state is theirs.
        inside = [g for g in gaps if g[0] < grid[i].end_t and g[1] >= grid[first].start_t]
        calm = bool(inside) and all(g[0] in settled for g in inside)
        found.append(Cell(first, i, there_n, could_n, level, _says(grid[first], grid[i], there_n, could_n, inside), calm))
    return tuple(found)


def _says(first: Column, last: Column, present_n: int, expected_n: int, gaps: Sequence[tuple[int, int, int]]) -> str:
    when = first.label if first == last else f"{first.label} to {last.label}"
    if present_n >= expected_n:
        return f"{when}: complete, {count(present_n)} bars"
    told = [f"{utc(a)} to {utc(z)} ({count(n)})" if n > 1 else utc(a) for a, z, n in gaps[:GAPS_TOLD_N]]
    more = f" and {len(gaps) - GAPS_TOLD_N} more" if len(gaps) > GAPS_TOLD_N else ""
    return f"{when}: {count(present_n)} of {count(expected_n)} bars; missing {', '.join(told)}{more}"


def marks(findings: Sequence[Finding], grid: Sequence[Column]) -> tuple[Mark, ...]:
    """Return one mark per column with findings, of their worst severity; gaps are the colour of the cells instead.

    Args:
        findings: of one series.
        grid: the time axis.
    """
    starts = [c.start_t for c in grid]
    by_column: dict[int, list[Finding]] = {}
    for f in findings:
        if f.gate != "gap" and grid[0].start_t <= f.first_t < grid[-1].end_t:
            by_column.setdefault(int(np.searchsorted(starts, f.first_t, side="right")) - 1, []).append(f)
    found = []
    for i in sorted(by_column):
        group = by_column[i]
        kinds = {"fatal" if f.severity == "fatal" else "blocking" if stands(f) else "settled" for f in group}
        kind = next(k for k in ("fatal", "blocking", "settled") if k in kinds)
        gates = dict.fromkeys(f.gate for f in group)
        said = ", ".join(f"{gate} {sum(f.gate == gate for f in group)}" for gate in gates)
        found.append(Mark(i, kind, f"{grid[i].label}: {said}"))
    return tuple(found)


def stands(f: Finding) -> bool:
    """Return whether a finding stands in the way of a dataset."""
    return bool(blocking([f]))


def ticks(unit: str, grid: Sequence[Column]) -> tuple[Tick, ...]:
    """Return the labels of the time axis: a year per label, or a month where the axis has days or weeks."""
    size = 4 if unit == "month" else 7
    names = [c.label[:size] for c in grid]
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    ends = [*starts[1:], len(grid)]
    # A label needs room: a twentieth of the axis on a screen, a sixth on a phone. A year cut short at an end has none.
    found, free_wide, free_narrow = [], 0.0, 0.0
    for a, z in zip(starts, ends, strict=True):
        enough = (z - a) * 20 >= len(grid) or len(starts) > 20 or z < len(grid)
        cut = len(starts) > 1 and z - a < max(y - x for x, y in zip(starts, ends, strict=True)) / 2
        wide = enough and not cut and a >= free_wide
        narrow = wide and a >= free_narrow
        free_wide = a + len(grid) / 20 if wide else free_wide
        free_narrow = a + len(grid) / 6 if narrow else free_narrow
        found.append(Tick(a, z - a, names[a], "always" if narrow else "wide" if wide else "never"))
    return tuple(found)
