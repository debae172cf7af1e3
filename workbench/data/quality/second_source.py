"""What a second, independent source says about the moves a series shows: confirmed, contradicted, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from workbench.data.bars import PRICES, Bars
from workbench.data.quality.findings import Finding, finding
from workbench.data.quality.gates import THRESHOLDS, Thresholds

JUDGED: Final = {"wick": "wick_contradicted", "jump": "jump_contradicted"}
"""Gates whose findings a second source can judge, and the gate of what it contradicts."""


def judge_moves(
    findings: Iterable[Finding],
    bars: Bars,
    other: Bars,
    interval_t: int,
    limits: Thresholds = THRESHOLDS,
    *,
    tell_all: bool = True,
) -> list[Finding]:
    """Return the findings, each wick and jump with what the second source says about it.

    A move is confirmed when the second source has the bar (and, for a jump, the one before) with the same prices, within
    `second_source_ratio`. It is contradicted, and named apart, when a price differs: accepting `wick` does not accept
    `wick_contradicted`. Where the second source has no bar the finding says so.

    Args:
        findings: of the history gates.
        bars: the series they are about.
        other: the second source's bars of the same venue symbol and interval.
        interval_t: seconds per bar.
        limits: as for the gates.
        tell_all: also say where it confirms or has no bar. A manifest does not, so that the hash of a dataset does not depend
            on whether a second source that agrees was at hand.
    """
    judged = [(f, _judged(f, bars, other, interval_t, limits) if f.gate in JUDGED else f) for f in findings]
    return [new if tell_all or new.gate != old.gate else old for old, new in judged]


def _judged(f: Finding, bars: Bars, other: Bars, interval_t: int, limits: Thresholds) -> Finding:
    wanted = (
        [(f.first_t, PRICES)] if f.gate == "wick" else [(f.first_t - interval_t, ("close",)), (f.first_t, ("open", "close"))]
    )
    differences = []
    for at_t, names in wanted:
        mine, theirs = _row(bars, at_t), _row(other, at_t)
        if theirs is None or mine is None:
            return f.model_copy(update={"detail": f"{f.detail}; the second source has no such bar"})
        differences += _differing(bars, mine, other, theirs, names, limits)
    if not differences:
        return f.model_copy(update={"detail": f"{f.detail}; confirmed by the second source"})
    detail = f"{f.detail}; contradicted by the second source: {', '.join(differences)}"
    return finding(JUDGED[f.gate], f.symbol, f.series, f.first_t, f.last_t, f.rows_n, detail, f.rows)


def _row(bars: Bars, at_t: int) -> int | None:
    """Return the row of an opening time in ordered bars."""
    i = int(np.searchsorted(bars.t, at_t))
    return i if i < len(bars) and int(bars.t[i]) == at_t else None


def _differing(bars: Bars, i: int, other: Bars, j: int, names: Sequence[str], limits: Thresholds) -> list[str]:
    told = []
    for name in names:
        a, b = float(getattr(bars, name)[i]), float(getattr(other, name)[j])
        if a > b * limits.second_source_ratio or a * limits.second_source_ratio < b:
            told.append(f"{name} {b:g}")
    return told
