"""Portfolio baselines: exact on a market simple enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.inference.panel import BarPanel
from runtime.policy import RiskProfile
from workbench.study.baselines import run_baselines

CASH_E8 = 1_000 * 10**8
HOUR_T = 3_600


def panel(prices: dict[str, list[float]]) -> BarPanel:
    """Return bars that open and close at the same price."""
    values = np.array(list(prices.values())).T
    open_t = HOUR_T * np.arange(len(values), dtype=np.int64)
    return BarPanel(tuple(prices), HOUR_T, open_t, values, values, values, values, np.ones_like(values))


def test_btc_is_bought_once_at_the_next_open_with_costs_and_held() -> None:
    found = run_baselines(panel({"BTC": [10.0, 10.0, 20.0, 5.0]}), 0, CASH_E8, RiskProfile())["btc_hold"]
    cost = 200 * 0.0045  # 20 % of 1,000 at 0.40 % + 2 bp + 3 bp
    assert found.figures.fees_e8 == pytest.approx(cost * 1e8)
    np.testing.assert_allclose(found.pv_e8 / 1e8, [1_000, 1_000 - cost, 1_200 - cost, 900 - cost], atol=1e-8)
    assert found.at_t.tolist() == [HOUR_T, 2 * HOUR_T, 3 * HOUR_T, 4 * HOUR_T]
    assert found.figures.net_return_ppm == -100_900
    assert found.figures.max_drawdown_ppm == int((1_200 - 900) / (1_200 - cost) * 1e6)


def test_flat_stays_flat() -> None:
    found = run_baselines(panel({"BTC": [10.0, 99.0]}), 0, CASH_E8, RiskProfile())["flat"].figures
    assert (found.final_pv_e8, found.net_return_ppm, found.max_drawdown_ppm, found.fees_e8) == (CASH_E8, 0, 0, 0)


def test_btc_hold_waits_for_the_first_bar_and_values_a_gap_at_the_last_close() -> None:
    nan = float("nan")
    found = run_baselines(panel({"BTC": [nan, nan, 10.0, nan, 20.0], "ETH": [1.0] * 5}), 0, CASH_E8, RiskProfile())["btc_hold"]
    held = 1_000 - 0.9
    np.testing.assert_allclose(found.pv_e8 / 1e8, [1_000, 1_000, held, held, held + 200], atol=1e-8)


def test_equal_weight_is_rebalanced_after_thirty_days_among_the_assets_that_trade() -> None:
    hours = 24 * 31
    up = [1.0] * 100 + [2.0] * (hours - 100)
    gone = [1.0] * 200 + [float("nan")] * (hours - 200)
    found = run_baselines(panel({"BTC": up, "ETH": [1.0] * hours, "XRP": gone}), 0, CASH_E8, RiskProfile())["equal_weight"]
    third, cost = 200 / 3, 0.0045
    before = 1_000 - 200 * cost + third  # BTC doubled
    assert found.pv_e8[24 * 30] / 1e8 == pytest.approx(before, abs=1e-6)
    budget = before * 0.2 - third  # XRP cannot be sold and keeps its share
    traded = abs(budget / 2 - 2 * third) + abs(budget / 2 - third)
    assert found.pv_e8[-1] / 1e8 == pytest.approx(before - traded * cost, abs=1e-6)
    assert found.figures.fees_e8 / 1e8 == pytest.approx((200 + traded) * cost, abs=1e-6)


def test_an_empty_market_stays_in_cash() -> None:
    nan = float("nan")
    found = run_baselines(panel({"ETH": [nan, nan, nan]}), 0, CASH_E8, RiskProfile())
    assert {run.figures.final_pv_e8 for run in found.values()} == {CASH_E8}
