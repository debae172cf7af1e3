"""The very bars a finding is about, beside the neighbour or the second source's bar that made it one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.errors import UsageError
from runtime.inference.panel import Ints
from workbench.data.bars import PRICES, Bars, interval_seconds
from workbench.data.quality.findings import ROWS_KEPT, Finding, names_of
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX

Role = Literal["found", "before", "after", "second source"]
Reader = Callable[[str], Bars | None]
"""Returns the bars of `venue/interval/SYMBOL`, or None where there are none."""
COMPARED = ("wick", "wick_contradicted", "jump", "jump_contradicted", "gap", "second_source", "zero_volume", "fill_forward")
"""Gates whose rows are shown beside the second source's."""


class BarRow(BaseModel):
    """One bar as the source gave it; a value that is not finite is None.

    Attributes:
        finding: full name of the finding.
        series: whose bar it is.
        role: `found`: the finding is about it. `before`, `after`: the bar above it in the source, or around a gap.
            `second source`: the bar of the same time in the `-b` series.
        open_t: opening time, seconds UTC.
    """

    model_config = ConfigDict(frozen=True)

    finding: str
    series: str
    role: Role
    open_t: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    trades: float | None


def rows_of(findings: Iterable[Finding], names: Sequence[str], read: Reader) -> list[BarRow]:
    """Return the bars of the findings that the names cover: `GATE`, `GATE:SYMBOL` or `GATE:SYMBOL:TIME`.

    Args:
        findings: of a check.
        names: as `accept` takes them, of any severity.
        read: gives the bars of a series.

    Raises:
        UsageError: a name covers no finding.
    """
    findings = list(findings)
    for name in names:
        if not any(name in names_of(f) for f in findings):
            raise UsageError(
                f"no finding {name!r}",
                expected="GATE, GATE:SYMBOL or GATE:SYMBOL:TIME of a finding of this check",
                action="copy a name that `ballast data check --json` prints",
            )
    wanted = frozenset(names)
    rows: list[BarRow] = []
    cache: dict[str, Bars | None] = {}

    def cached(key: str) -> Bars | None:
        if key not in cache:
            cache[key] = read(key)
        return cache[key]

    for f in findings:
        if wanted.isdisjoint(names_of(f)):
            continue
        for key in f.series.split("+"):
            bars = cached(key)
            if bars is not None and len(key.split("/")) == 3:
                rows += finding_rows(f, key, bars, cached(_second(key)) if f.gate in COMPARED else None)
    return rows


def _second(key: str) -> str:
    venue, rest = key.split("/", 1)
    return f"{venue}{SECOND_SOURCE_SUFFIX}/{rest}"


def finding_rows(f: Finding, key: str, bars: Bars, other: Bars | None) -> list[BarRow]:
    """Return the bars of one finding in one series, in the order of the source, and those of the second source."""
    at = np.flatnonzero(np.isin(bars.t, np.array(f.rows, dtype=np.int64)))
    above = at[np.diff(at, prepend=-2) > 1] - 1
    above = above[above >= 0] if f.gate != "second_source" else above[:0]
    rows = [_row(f, key, bars, int(i), "before") for i in above] + [_row(f, key, bars, int(i), "found") for i in at]
    times = bars.t[at]
    if f.gate == "second_source":
        times = np.array(f.rows, dtype=np.int64)  # some of them only the second source has
    if f.gate == "gap":
        step = interval_seconds(key.split("/")[1])
        rows += [_row(f, key, bars, int(i), "before") for i in np.flatnonzero(bars.t == f.first_t - step)]
        rows += [_row(f, key, bars, int(i), "after") for i in np.flatnonzero(bars.t == f.last_t + step)]
        times = np.arange(f.first_t, f.last_t + 1, step, dtype=np.int64)
    if f.gate == "stale_tail":
        rows += [_row(f, key, bars, int(i), "found") for i in np.flatnonzero(bars.t == f.first_t)]
    if other is not None:
        rows += _beside(f, _second(key), other, times)
    order: dict[Role, int] = {"before": 0, "found": 1, "second source": 2, "after": 3}
    return sorted(rows, key=lambda r: (r.open_t, order[r.role]))


def _beside(f: Finding, key: str, other: Bars, times: Ints) -> list[BarRow]:
    return [_row(f, key, other, int(i), "second source") for i in np.flatnonzero(np.isin(other.t, times))[:ROWS_KEPT]]


def _row(f: Finding, key: str, bars: Bars, i: int, role: Role) -> BarRow:
    values = {n: float(getattr(bars, n)[i]) for n in (*PRICES, "volume")}
    values["trades"] = float("nan") if bars.trades is None else float(bars.trades[i])
    told = {n: v if math.isfinite(v) else None for n, v in values.items()}
    return BarRow(
        finding=f.name,
        series=key,
        role=role,
        open_t=int(bars.t[i]),
        open=told["open"],
        high=told["high"],
        low=told["low"],
        close=told["close"],
        volume=told["volume"],
        trades=told["trades"],
    )
