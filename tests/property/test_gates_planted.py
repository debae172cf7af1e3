"""Every gate finds exactly the defect that was planted, at its rows, and nothing else; no gate alters or adds a bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bars import HOUR_T, START_T, changed, some_bars, without
from workbench.data.bars import Bars
from workbench.data.quality.findings import GATES, ROWS_KEPT, Finding
from workbench.data.quality.gates import (
    Series,
    form_findings,
    history_findings,
    second_source_findings,
    stale_findings,
    unclosed,
    unclosed_findings,
)
from workbench.data.quality.live import Clock, live_findings
from workbench.data.quality.second_source import judge_moves

SERIES = Series("BTCUSD", "kraken-spot/1h/BTCUSD", HOUR_T)
Expected = dict[str, list[int]]
"""Opening times by gate; a gap's are those of the missing bars."""


class Planted(NamedTuple):
    """Bars with a defect, the second source if one plays a part, and what must be found."""

    bars: Bars
    expected: Expected
    other: Bars | None = None
    now_t: int | None = None


def at(row: int) -> int:
    return START_T + row * HOUR_T


def copy_of(bars: Bars, row: int, n: int, *, synthetic: bool) -> Bars:
    """Return the bars with n rows that copy the one before: as an interface fills hours without trades, or row for row."""
    for i in range(row, row + n):
        last = float(bars.close[row - 1])
        values = {"open": last, "high": last, "low": last, "close": last, "volume": 0.0}
        if not synthetic:
            values = {name: float(getattr(bars, name)[row - 1]) for name in values}
        bars = changed(bars, i, **values)
    return bars


def moved(bars: Bars, row: int, ratio: float) -> Bars:
    """Return the bars at another price level from a row on: a jump."""
    up = np.where(np.arange(len(bars)) >= row, ratio, 1.0)
    return Bars(bars.t, bars.open * up, bars.high * up, bars.low * up, bars.close * up, bars.volume, bars.trades)


def wrong_step(row: int, n: int, step_t: int) -> Bars:
    """Return hourly bars among which n + 1 are a longer step apart."""
    t = np.concatenate((START_T + HOUR_T * np.arange(row + 1), at(row) + step_t * np.arange(1, n + 1)))
    t = np.concatenate((t, t[-1] + HOUR_T * np.arange(1, 30)))
    return Bars(t, *(getattr(some_bars(len(t)), name) for name in ("open", "high", "low", "close", "volume")))


def form(gate: str, name: str, value: float) -> Callable[[Bars, int, int], Planted]:
    """Return a planter of one malformed value."""

    def plant(bars: Bars, row: int, _n: int) -> Planted:
        return Planted(changed(bars, row, **{name: value}), {gate: [at(row)]})

    return plant


def plant_time(gate: str, shift_t: int) -> Callable[[Bars, int, int], Planted]:
    """Return a planter of one wrong opening time, in the last row so that the order stays."""

    def plant(bars: Bars, _row: int, _n: int) -> Planted:
        last = int(bars.t[-1]) + shift_t
        return Planted(changed(bars, len(bars) - 1, t=last), {gate: [last]})

    return plant


def plant_gap(bars: Bars, row: int, n: int) -> Planted:
    return Planted(without(bars, *range(row, row + n)), {"gap": [at(i) for i in range(row, row + n)]})


def plant_zero_volume(bars: Bars, row: int, n: int) -> Planted:
    for i in range(row, row + n):
        bars = changed(bars, i, volume=0.0)
    return Planted(bars, {"zero_volume": [at(i) for i in range(row, row + n)]})


def plant_synthetic(bars: Bars, row: int, n: int) -> Planted:
    rows = [at(i) for i in range(row, row + n)]
    return Planted(copy_of(bars, row, n, synthetic=True), {"zero_volume": rows, "fill_forward": rows})


def plant_untraded(bars: Bars, row: int, n: int) -> Planted:
    """Flat candles with a volume and the source's own word that nobody traded."""
    filled = copy_of(bars, row, n, synthetic=True)
    trades, rows = np.full(len(bars), 9.0), np.arange(row, row + n)
    trades[rows] = 0.0
    volume = filled.volume.copy()
    volume[rows] = 1.0 + rows
    return Planted(
        Bars(filled.t, filled.open, filled.high, filled.low, filled.close, volume, trades),
        {"fill_forward": [at(i) for i in rows]},
    )


def plant_repeated(bars: Bars, row: int, n: int) -> Planted:
    return Planted(copy_of(bars, row, n, synthetic=False), {"fill_forward": [at(i) for i in range(row, row + n)]})


def plant_interval_mix(_bars: Bars, row: int, n: int) -> Planted:
    long = wrong_step(row, n + 8, 4 * HOUR_T)
    missing = [at(row) + HOUR_T * i for i in range(4 * (n + 8)) if i % 4]
    return Planted(long, {"gap": missing, "interval_mix": [at(row) + 4 * HOUR_T * i for i in range(n + 9)]})


def plant_interval(_bars: Bars, _row: int, n: int) -> Planted:
    daily = some_bars(24 + n, step_t=86_400)
    return Planted(daily, {"interval": daily.t.tolist()})


def plant_order(bars: Bars, row: int, _n: int) -> Planted:
    rows = np.arange(len(bars))
    rows[[row, row + 1]] = rows[[row + 1, row]]
    return Planted(bars.take(rows), {"ordering": [at(row)]})


def plant_duplicate(bars: Bars, row: int, n: int) -> Planted:
    return Planted(bars.take(np.sort(np.concatenate((np.arange(len(bars)), [row] * n)))), {"duplicate": [at(row)] * (n + 1)})


def plant_wick(bars: Bars, row: int, _n: int) -> Planted:
    return Planted(changed(bars, row, low=float(bars.low[row]) * 0.5), {"wick": [at(row)]})


def plant_jump(bars: Bars, row: int, _n: int) -> Planted:
    return Planted(moved(bars, row, 1.4), {"jump": [at(row)]})


def plant_confirmed(bars: Bars, row: int, n: int) -> Planted:
    bars = moved(changed(bars, row, high=float(bars.high[row]) * 2), row + 1 + n, 0.7)
    return Planted(bars, {"wick": [at(row)], "jump": [at(row + 1 + n)]}, bars)


def plant_false_wick(bars: Bars, row: int, _n: int) -> Planted:
    false = changed(bars, row, high=float(bars.high[row]) * 2)
    return Planted(false, {"wick_contradicted": [at(row)], "second_source": [at(row)]}, bars)


def plant_false_jump(bars: Bars, row: int, _n: int) -> Planted:
    rows = [at(i) for i in range(row, len(bars))]
    return Planted(moved(bars, row, 1.5), {"jump_contradicted": [at(row)], "second_source": rows}, bars)


def plant_difference(bars: Bars, row: int, n: int) -> Planted:
    other = bars
    for i in range(row, row + n):
        other = changed(other, i, high=float(bars.high[i]) * 1.01)
    return Planted(bars, {"second_source": [at(i) for i in range(row, row + n)]}, other)


def plant_disproved_gap(bars: Bars, row: int, n: int) -> Planted:
    rows = [at(i) for i in range(row, row + n)]
    return Planted(without(bars, *range(row, row + n)), {"gap": rows, "second_source": rows}, bars)


def plant_partial_tail(bars: Bars, row: int, _n: int) -> Planted:
    cut = row + (len(bars) - row) // 2
    cut -= (cut + 1) % 24 == 0  # a download that ends with a day is complete
    return Planted(bars.take(slice(0, cut + 1)), {"partial_tail": [at(cut)]})


def plant_stale(bars: Bars, _row: int, n: int) -> Planted:
    """The newest series of the dataset ends two days and n bars later; a finding of a range, which names no rows."""
    return Planted(bars, {"stale_tail": []}, now_t=int(bars.t[-1]) + (48 + n) * HOUR_T)


def plant_future(bars: Bars, row: int, _n: int) -> Planted:
    return Planted(bars, {"future": bars.t[row:].tolist()}, now_t=at(row - 1))


PLANTS: dict[str, Callable[[Bars, int, int], Planted]] = {
    "ordering": plant_order,
    "duplicate": plant_duplicate,
    "timestamp: milliseconds": plant_time("timestamp", START_T * 999),
    "timestamp: before 2009": lambda b, _r, _n: Planted(changed(b, 0, t=86_400), {"timestamp": [86_400]}),
    "future": plant_future,
    "off_grid": plant_time("off_grid", 60),
    "interval": plant_interval,
    "not_finite": form("not_finite", "close", float("nan")),
    "not_finite: volume": form("not_finite", "volume", float("inf")),
    "non_positive": form("non_positive", "open", 0.0),
    "non_positive: volume": form("non_positive", "volume", -1.0),
    "out_of_range": form("out_of_range", "high", 9.1e10),
    "ohlc": form("ohlc", "high", 90.0),
    "gap": plant_gap,
    "zero_volume": plant_zero_volume,
    "fill_forward: synthetic candles": plant_synthetic,
    "fill_forward: no trades": plant_untraded,
    "fill_forward: repeated rows": plant_repeated,
    "interval_mix": plant_interval_mix,
    "wick": plant_wick,
    "jump": plant_jump,
    "wick, jump: confirmed": plant_confirmed,
    "wick_contradicted": plant_false_wick,
    "jump_contradicted": plant_false_jump,
    "second_source": plant_difference,
    "second_source: gap": plant_disproved_gap,
    "partial_tail": plant_partial_tail,
    "stale_tail": plant_stale,
}
ELSEWHERE = {"schema", "stale_live", "clock_skew", "watermark_lag", "unknown_symbol", "absent", "short_history", "rename"}
"""Gates that do not look at bars alone: `test_check_gates`, `test_live` and the tests of datasets plant for them."""


def found_in(planted: Planted, name: str) -> list[Finding]:
    """Return what all gates find, in the order in which a check runs them."""
    now_t = planted.now_t if name == "future" else None
    malformed = form_findings(planted.bars, SERIES, now_t)
    if malformed:
        return malformed
    found = history_findings(planted.bars, SERIES)
    found += unclosed_findings(unclosed(planted.bars, HOUR_T, vouched=False) if name == "partial_tail" else (), SERIES)
    if planted.now_t is not None:
        found += stale_findings(int(planted.bars.t[-1]), planted.now_t, SERIES)
    if planted.other is not None:
        found = judge_moves(found, planted.bars, planted.other, HOUR_T)
        found += second_source_findings(planted.bars, planted.other, SERIES)
    return found


def times_of(f: Finding) -> list[int]:
    """Return the opening times a finding is about."""
    if f.gate == "gap":
        return list(range(f.first_t, f.last_t + 1, HOUR_T))
    return list(f.rows)


def test_a_defect_is_planted_for_every_gate() -> None:
    assert {p.split(":")[0] for name in PLANTS for p in name.split(", ")} | ELSEWHERE == set(GATES)


@pytest.mark.parametrize("name", sorted(PLANTS))
@given(hours=st.integers(60, 150), row=st.integers(2, 40), n=st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_each_gate_finds_what_was_planted_and_nothing_else(name: str, hours: int, row: int, n: int) -> None:
    gentle = some_bars(hours)
    assert form_findings(gentle, SERIES) == []
    assert history_findings(gentle, SERIES) == []
    planted = PLANTS[name](gentle, row, n)
    before = (planted.bars.digest, len(planted.bars), planted.other.digest if planted.other else "")
    found = found_in(planted, name)
    assert (planted.bars.digest, len(planted.bars), planted.other.digest if planted.other else "") == before
    for f in found:
        assert f.severity == GATES[f.gate][0]
    got: Expected = {}
    for f in found:
        got.setdefault(f.gate, []).extend(times_of(f))
    expected = {gate: sorted(set(rows))[:ROWS_KEPT] for gate, rows in planted.expected.items()}
    assert {gate: sorted(rows) for gate, rows in got.items()} == expected
    counted = {gate: sum(f.rows_n for f in found if f.gate == gate) for gate in got}
    assert counted == {gate: n if gate != "stale_tail" else 48 + counted_n for gate, n, counted_n in _counts(planted, n)}
    if "confirmed" in name:
        assert all("confirmed by the second source" in f.detail for f in found)


def _counts(planted: Planted, n: int) -> list[tuple[str, int, int]]:
    return [(gate, len(rows), n) for gate, rows in planted.expected.items()]


@given(hours=st.integers(60, 150), row=st.integers(2, 40), n=st.integers(3, 40))
@settings(max_examples=30, deadline=None)
def test_live_gates_find_what_the_clock_says_and_nothing_else(hours: int, row: int, n: int) -> None:
    """The same bars under clocks that are right, late, early and skewed."""
    bars = some_bars(hours)
    last_t = int(bars.t[-1])
    closed_t = last_t + HOUR_T
    fresh = live_findings(SERIES, last_t, Clock(now_t=closed_t + row), watermark_t=closed_t)
    assert fresh == []
    stale = live_findings(SERIES, last_t, Clock(now_t=closed_t + n * HOUR_T), watermark_t=closed_t + (n - 1) * HOUR_T)
    assert [(f.gate, f.rows_n) for f in stale] == [("stale_live", n)]
    early = live_findings(SERIES, last_t, Clock(now_t=last_t - n * HOUR_T))
    assert [(f.gate, f.first_t, f.last_t) for f in early] == [("future", last_t - n * HOUR_T, last_t)]
    lagging = live_findings(SERIES, last_t, Clock(now_t=closed_t + row), watermark_t=closed_t - n * HOUR_T)
    assert [f.gate for f in lagging] == ["watermark_lag"]


COMPOSABLE = {
    "gap": plant_gap,
    "zero_volume": plant_zero_volume,
    "synthetic": plant_synthetic,
    "repeated": plant_repeated,
    "wick": plant_wick,
    "jump": plant_jump,
}


@given(st.lists(st.tuples(st.sampled_from(sorted(COMPOSABLE)), st.integers(1, 5)), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_several_defects_in_one_series_are_all_found_and_told_apart(chosen: list[tuple[str, int]]) -> None:
    """Defects of any kinds, a zone of twenty bars each: every one is found at its rows, none hides or causes another."""
    bars = some_bars(20 * len(chosen) + 20)
    expected: list[tuple[str, tuple[int, ...]]] = []
    for zone, (kind, n) in reversed(list(enumerate(chosen))):  # from the back, so that a gap moves no row still to be planted
        planted = COMPOSABLE[kind](bars, 10 + 20 * zone, n)
        bars = planted.bars
        expected += [(gate, tuple(rows)) for gate, rows in planted.expected.items()]
    digest = bars.digest
    found = history_findings(bars, SERIES)
    assert sorted((f.gate, tuple(times_of(f))) for f in found) == sorted(expected)
    assert bars.digest == digest
