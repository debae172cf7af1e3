"""The trend rule: consensus of seven daily looks, gated, window-exact, free of lookahead."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.errors import DataError
from runtime.inference.features import clip
from runtime.inference.panel import BarPanel
from runtime.inference.trend import DEFAULT_TREND, trend_forecasts, widen
from tests.support.panels import make_panel, permuted, with_values

W = DEFAULT_TREND.window_n


@pytest.fixture(scope="module")
def panel() -> BarPanel:
    return make_panel(2_600, 6, seed=21)


def rising(growth: list[float], hours: int = 1_000) -> BarPanel:
    """Return a panel whose assets grow by a constant factor per hour."""
    panel = make_panel(hours, len(growth), holes=False)
    for s, factor in enumerate(growth):
        price = 100.0 * np.array([factor**t for t in range(hours)])
        for values in (panel.open, panel.high, panel.low, panel.close):
            values[:, s] = price
    return panel


def naive(panel: BarPanel, i: int, s: int) -> tuple[int, int, float] | None:
    """Return votes, looks and mean look value, by the definition."""
    if math.isnan(panel.close[i, s]):
        return None

    def momentum(j: int, asset: int) -> float:
        if j < 720 or np.isfinite(panel.close[j - 719 : j + 1, asset]).sum() < 648:
            return math.nan
        return float(panel.close[j, asset] / panel.close[j - 720, asset] - 1)

    midnight = max(j for j in range(i - 24, i + 1) if (panel.open_t[j] + 3_600) % 86_400 == 0)
    looks = [(momentum(midnight - 24 * k, s), momentum(midnight - 24 * k, 0)) for k in range(7)]
    known = [(own, 0.0 if math.isnan(btc) else btc) for own, btc in looks if not math.isnan(own)]
    if len(known) < 5:
        return None
    values = [own if own > 0 and btc > 0 else min(own, btc) for own, btc in known]
    return sum(own > 0 and btc > 0 for own, btc in known), len(known), math.fsum(values) / len(values)


def test_forecasts_follow_the_definition(panel: BarPanel) -> None:
    rows = np.arange(700, 2_600, 61)
    found = trend_forecasts(panel, rows)
    assert found.dtype == FORECAST
    valid = 0
    for n, i in enumerate(rows):
        for s in range(6):
            expected, row = naive(panel, int(i), s), found[n, s]
            assert row["valid_n"] == (expected is not None), (i, s)
            if expected is None:
                assert not any(row.item())
                continue
            yes, looks, mean = expected
            valid += 1
            assert row["prob_main_ppm"] == 500_000 + 140_000 * (2 * yes - looks) // looks
            assert abs(row["ret_far_ppm"] - mean * 1e5) <= 0.51
            assert row["ret_main_ppm"] == row["ret_far_ppm"] // 3
            assert row["uncertainty_ppm"] == 140_000 * min(yes, looks - yes) // looks
    assert 50 < valid < found.size


def test_steady_growth_is_a_full_consensus_and_a_falling_btc_closes_the_gate() -> None:
    up = trend_forecasts(rising([1.0003, 1.0005, 0.9995]), np.array([990]))[0]
    assert up["prob_main_ppm"].tolist() == [640_000, 640_000, 360_000]
    assert up["ret_far_ppm"][1] == round((1.0005**720 - 1) * 1e5)
    assert up["ret_far_ppm"][2] < 0
    gated = trend_forecasts(rising([0.9997, 1.0005, 0.9995]), np.array([990]))[0]
    assert gated["prob_main_ppm"].tolist() == [360_000] * 3
    assert (gated["ret_far_ppm"] < 0).all()
    assert not up["uncertainty_ppm"].any()


def test_an_unknown_gate_is_a_closed_one() -> None:
    panel = rising([1.0003, 1.0005, 0.9995])
    for values in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        values[200:, 0] = np.nan
    found = trend_forecasts(panel, np.array([990]))[0]
    assert found["valid_n"][:3].tolist() == [0, 1, 1]
    assert found["prob_main_ppm"][1] == 360_000
    assert found["ret_far_ppm"][1] == 0
    assert found["ret_far_ppm"][2] < 0


def test_forecasts_need_their_window_and_no_more(panel: BarPanel) -> None:
    for i in (W - 1, 1_000, 1_707, 2_599):
        whole = trend_forecasts(panel, np.array([i]))
        part, row = clip(panel, np.array([i]), W)
        assert trend_forecasts(part, row).tobytes() == whole.tobytes()
    part, row = clip(panel, np.array([2_590]), 720 + 4 * 24)
    assert not trend_forecasts(part, row)["valid_n"].any()


def test_the_future_changes_nothing(panel: BarPanel) -> None:
    for t in (900, 1_500, 2_400):
        past = np.array([t - 30, t - 1, t])
        changed = with_values(panel, after=t, factor=4.0)
        assert trend_forecasts(changed, past).tobytes() == trend_forecasts(panel, past).tobytes()


def test_order_and_parts_change_nothing(panel: BarPanel) -> None:
    rows = np.arange(800, 2_600, 41)
    whole = trend_forecasts(panel, rows)
    order = [4, 2, 0, 5, 1, 3]
    assert trend_forecasts(permuted(panel, order), rows).tobytes() == whole[:, order].tobytes()
    assert trend_forecasts(panel, rows[:9]).tobytes() + trend_forecasts(panel, rows[9:]).tobytes() == whole.tobytes()


def test_a_look_changes_at_midnight_only() -> None:
    panel = make_panel(1_200, 3, seed=2, holes=False)
    rows = np.arange(1_000, 1_150)
    found = trend_forecasts(panel, rows)[:, 1]
    changes = rows[1:][found[1:] != found[:-1]]
    assert len(changes)
    assert {int((panel.open_t[i] + 3_600) % 86_400) for i in changes} == {0}


def test_a_panel_that_cannot_serve_is_refused(panel: BarPanel) -> None:
    with pytest.raises(DataError, match="14400 s"):
        trend_forecasts(replace(panel, interval_t=14_400), np.array([1]))
    with pytest.raises(DataError, match="without BTC"):
        trend_forecasts(replace(panel, symbols=("X", "ETH", "SOL", "XRP", "ADA", "LINK")), np.array([1]))
    with pytest.raises(DataError, match="rows"):
        trend_forecasts(panel, np.array([2_600]))


def test_the_digest_covers_the_constants() -> None:
    assert DEFAULT_TREND.digest != replace(DEFAULT_TREND, carry_ppm=50_000).digest
    assert DEFAULT_TREND.digest[:16] == "4fd7c9e79c184b9b"


def test_widen_leaves_the_rest_without_forecasts(panel: BarPanel) -> None:
    found = trend_forecasts(panel, np.array([2_000]))
    wide = widen(found)
    assert wide.shape == (1, INSTRUMENTS)
    assert wide[:, :6].tobytes() == found.tobytes()
    assert not wide["valid_n"][:, 6:].any()
