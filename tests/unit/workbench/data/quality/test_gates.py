from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UsageError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, without
from workbench.data.bars import Bars
from workbench.data.quality.findings import GATES, Finding, accept, blocking, summarise
from workbench.data.quality.gates import (
    Series,
    form_findings,
    gaps,
    history_findings,
    second_source_findings,
    stale_findings,
    unclosed,
    unclosed_findings,
)
from workbench.data.quality.second_source import judge_moves

SERIES = Series("BTC", "binance-spot/1h/BTCUSDT", HOUR_T)


def gates_of(findings: list[Finding]) -> list[tuple[str, int]]:
    return [(f.gate, f.rows_n) for f in findings]


def test_gentle_bars_pass_every_gate() -> None:
    bars = some_bars()
    assert form_findings(bars, SERIES) == []
    assert history_findings(bars, SERIES) == []
    assert unclosed(bars, HOUR_T, vouched=False) == ()
    assert second_source_findings(bars, bars, SERIES) == []


@pytest.mark.parametrize(
    ("gate", "row", "values"),
    [
        ("off_grid", 9, {"t": START_T + 9 * HOUR_T + 1}),
        ("not_finite", 9, {"volume": float("nan")}),
        ("not_finite", 9, {"high": float("inf")}),
        ("non_positive", 9, {"low": 0.0}),
        ("out_of_range", 9, {"high": 9.1e10}),
        ("out_of_range", 9, {"low": 4e-9}),
        ("out_of_range", 9, {"volume": 9.1e14}),
        ("non_positive", 9, {"open": -1.0}),
        ("non_positive", 9, {"volume": -0.5}),
        ("ohlc", 9, {"high": 90.0}),
        ("ohlc", 9, {"low": 110.0}),
    ],
)
def test_each_malformed_bar_is_found_alone(gate: str, row: int, values: dict[str, float]) -> None:
    found = form_findings(changed(some_bars(), row, **values), SERIES)
    assert gates_of(found) == [(gate, 1)]
    assert (found[0].severity, found[0].first_t // HOUR_T) == ("fatal", START_T // HOUR_T + row)


@pytest.mark.parametrize("name", ["high", "low"])
def test_a_price_inside_the_body_is_no_high_or_low(name: str) -> None:
    bars = some_bars()
    middle = float(bars.open[9] + bars.close[9]) / 2
    assert gates_of(form_findings(changed(bars, 9, **{name: middle}), SERIES)) == [("ohlc", 1)]


def test_order_and_duplicates_are_told_apart() -> None:
    swapped = some_bars().take(np.array([0, 2, 1, 3]))
    assert gates_of(form_findings(swapped, SERIES)) == [("ordering", 1)]
    twice = some_bars().take(np.array([0, 1, 1, 2]))
    assert gates_of(form_findings(twice, SERIES)) == [("duplicate", 2)]
    far_twice = some_bars().take(np.array([0, 1, 2, 0]))
    assert gates_of(form_findings(far_twice, SERIES)) == [("ordering", 1), ("duplicate", 2)]


def test_gaps_are_counted_in_missing_bars() -> None:
    bars = without(some_bars(), 3, 4, 5, 20)
    assert gaps(bars.t, HOUR_T) == [
        (START_T + 3 * HOUR_T, START_T + 5 * HOUR_T, 3),
        (START_T + 20 * HOUR_T, START_T + 20 * HOUR_T, 1),
    ]
    assert gates_of(history_findings(bars, SERIES)) == [("gap", 3), ("gap", 1)]


def test_runs_without_volume_are_one_finding_each() -> None:
    bars = some_bars()
    for row in (5, 6, 7, 30):
        bars = changed(bars, row, volume=0.0)
    assert gates_of(history_findings(bars, SERIES)) == [("zero_volume", 3), ("zero_volume", 1)]
    split = without(bars, 6)
    assert ("zero_volume", 2) not in gates_of(history_findings(split, SERIES)), "a hole ends a run"


def test_only_bars_that_copy_the_one_before_are_called_filled_forward() -> None:
    bars = some_bars()
    last = float(bars.close[8])
    flat = {"open": last, "high": last, "low": last, "close": last}
    assert history_findings(changed(bars, 9, **flat), SERIES) == [], "one trade at the last price is a bar"
    assert gates_of(history_findings(changed(bars, 9, **flat, volume=0.0), SERIES)) == [("zero_volume", 1), ("fill_forward", 1)]
    earlier = dict.fromkeys(flat, float(bars.close[7]))
    across = without(changed(bars, 9, **earlier, volume=0.0), 8)
    assert gates_of(history_findings(across, SERIES)) == [("gap", 1), ("zero_volume", 1)], "across a hole nothing was copied"
    other = {"open": last * 1.01, "high": last * 1.01, "low": last * 1.01, "close": last * 1.01}
    assert gates_of(history_findings(changed(bars, 9, **other, volume=0.0), SERIES)) == [("zero_volume", 1)]


def test_a_whole_file_of_another_interval_is_malformed_from_24_bars_on() -> None:
    assert gates_of(form_findings(some_bars(24, step_t=86_400), SERIES)) == [("interval", 24)]
    assert form_findings(some_bars(23, step_t=86_400), SERIES) == []
    assert form_findings(some_bars(40, step_t=7_200), SERIES) == [], "two hours are no interval: bars with holes"
    quiet = some_bars(40, step_t=86_400)
    quiet.t[20:] += 7_200
    assert form_findings(quiet, SERIES) == [], "off the days' grid: hours of a quiet market"
    mixed = some_bars(40, step_t=86_400)
    mixed.t[39] = mixed.t[38] + HOUR_T
    assert form_findings(mixed, SERIES) == [], "two bars one interval apart: not certain"


def test_a_second_source_judges_the_close_before_a_jump_too() -> None:
    """Our bar before was wrong, the bar after is right: the second source has no jump."""
    bars = changed(some_bars(), 9, close=60.0, low=59.0)
    found = judge_moves(history_findings(bars, SERIES), bars, some_bars(), HOUR_T)
    assert {f.gate for f in found if f.first_t == START_T + 10 * HOUR_T} == {"jump_contradicted"}
    agrees = judge_moves(history_findings(bars, SERIES), bars, bars, HOUR_T)
    assert {f.gate for f in agrees} <= {"wick", "jump"}
    lacks = judge_moves(history_findings(bars, SERIES), bars, without(some_bars(), 9), HOUR_T)
    assert all("has no such bar" in f.detail for f in lacks if f.first_t == START_T + 10 * HOUR_T)
    quiet = judge_moves(history_findings(bars, SERIES), bars, bars, HOUR_T, tell_all=False)
    assert quiet == history_findings(bars, SERIES)


def test_wicks_and_jumps_on_either_side() -> None:
    assert gates_of(history_findings(changed(some_bars(), 7, low=50.0), SERIES)) == [("wick", 1)]
    assert gates_of(history_findings(changed(some_bars(), 7, high=180.0), SERIES)) == [("wick", 1)]
    first = history_findings(changed(some_bars(), 0, high=180.0), SERIES)
    assert "first bar of the series" in first[0].detail
    calm = some_bars(24)
    high = some_bars(24, start_t=START_T + 24 * HOUR_T, price=140.0)
    joined = Bars(
        *(np.concatenate((getattr(calm, n), getattr(high, n))) for n in ("t", "open", "high", "low", "close", "volume"))
    )
    assert gates_of(history_findings(joined, SERIES)) == [("jump", 1)]
    assert ("jump", 1) not in gates_of(history_findings(without(joined, 23), SERIES)), "a move across a hole is no jump"
    daily = Series("BTC", "x", 86_400)
    calm, high = some_bars(5, step_t=86_400), some_bars(5, start_t=START_T + 5 * 86_400, step_t=86_400, price=140.0)
    joined = Bars(
        *(np.concatenate((getattr(calm, n), getattr(high, n))) for n in ("t", "open", "high", "low", "close", "volume"))
    )
    assert history_findings(joined, daily) == [], "a daily bar may move further"


def test_a_series_cut_inside_a_day_has_an_unclosed_bar() -> None:
    bars = some_bars(47)
    last = START_T + 46 * HOUR_T
    assert unclosed(bars, HOUR_T, vouched=False) == (last,)
    assert unclosed(bars, HOUR_T, vouched=True) == ()
    daily = some_bars(5, step_t=86_400)
    assert unclosed(daily, 86_400, vouched=False) == (START_T + 4 * 86_400,), "of daily bars the last one is never certain"
    assert gates_of(unclosed_findings((last,), SERIES)) == [("partial_tail", 1)]


def test_a_second_source_is_compared_and_never_fills() -> None:
    bars, other = without(some_bars(), 10), changed(some_bars(), 20, close=101.9, high=102.5)
    found = second_source_findings(bars, other, SERIES)
    assert gates_of(found) == [("second_source", 1), ("second_source", 1)]
    assert found[0].first_t == START_T + 20 * HOUR_T
    assert "not used to fill" in found[1].detail


def test_a_stale_tail_is_measured_against_the_newest_series() -> None:
    newest = START_T + 100 * HOUR_T
    assert stale_findings(newest - 48 * HOUR_T, newest, SERIES) == []
    assert gates_of(stale_findings(newest - 49 * HOUR_T, newest, SERIES)) == [("stale_tail", 49)]


def test_acceptance_is_by_gate_by_symbol_or_by_one_finding() -> None:
    found = history_findings(without(changed(some_bars(), 7, low=50.0), 3, 20), SERIES)
    assert [f.gate for f in blocking(found)] == ["gap", "gap", "wick"]
    assert [f.gate for f in blocking(accept(found, ["gap"]))] == ["wick"]
    assert [f.gate for f in blocking(accept(found, ["gap:ETH", "wick:BTC"]))] == ["gap", "gap"]
    assert [f.gate for f in blocking(accept(found, ["gap:BTCUSDT:2024-01-01T20:00Z", "wick:BTCUSDT"]))] == ["gap"]
    one = accept(found, [found[1].name])
    assert [f.accepted for f in one] == [False, True, False]
    assert found[1].name == "gap:BTC:2024-01-01T20:00Z"


@pytest.mark.parametrize("name", ["ohlc", "nonsense", "rename", ""])
def test_malformed_bars_cannot_be_accepted(name: str) -> None:
    with pytest.raises(UsageError, match="cannot accept"):
        accept([], [name])


def test_fatal_findings_block_whatever_is_accepted() -> None:
    found = form_findings(changed(some_bars(), 9, high=90.0), SERIES)
    assert blocking(accept(found, [g for g, (s, _) in GATES.items() if s == "blocking"])) == found


def test_the_summary_has_one_row_per_gate_and_symbol() -> None:
    rows = summarise(history_findings(without(changed(some_bars(), 30, low=50.0), 3, 4, 20), SERIES))
    assert [(r.gate, r.findings_n, r.rows_n, r.rows_n_max) for r in rows] == [("gap", 2, 3, 2), ("wick", 1, 1, 1)]


def test_the_reference_names_every_gate_with_its_severity(repository: Path) -> None:
    rows = [
        line.split("|") for line in (repository / "docs/reference/lake.md").read_text().splitlines() if line.count("|") == 4
    ]
    told = {gate.strip(): row[2].strip() for row in rows for gate in row[1].split(",") if gate.strip() in GATES}
    assert told == {gate: severity for gate, (severity, _) in GATES.items()}
