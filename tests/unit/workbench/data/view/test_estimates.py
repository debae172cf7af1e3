"""Estimates against plain Python and against markets whose spread is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.explored import some_market
from workbench.data.view import estimates
from workbench.data.view.estimates import YEAR_T, Market

MARKET = some_market()


def holed(market: Market, seed: int, share: float) -> Market:
    gone = np.random.Generator(np.random.PCG64(seed)).random(market.close.shape) < share
    return replace(market, **{n: np.where(gone, np.nan, getattr(market, n)) for n in ("high", "low", "close")})


def test_a_return_needs_two_bars_next_to_each_other() -> None:
    market = holed(MARKET, 1, 0.3)
    returns = estimates.log_returns(market)
    for i in range(200):
        before, now = market.close[i - 1, 1] if i else math.nan, market.close[i, 1]
        expected = math.log(now) - math.log(before)
        assert returns[i, 1] == pytest.approx(expected, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.0, 0.4), days=st.sampled_from([5, 17, 60]))
def test_volatility_is_what_plain_python_makes_of_the_window(seed: int, share: float, days: int) -> None:
    market = holed(MARKET, seed, share)
    found, returns = estimates.rolling_volatility(market, days), estimates.log_returns(market)
    for i in (0, days * 24 - 2, days * 24 - 1, days * 24, 2_500, len(returns) - 1):
        known = [r for r in returns[max(0, i - days * 24 + 1) : i + 1, 2].tolist() if not math.isnan(r)]
        if len(known) < 0.8 * days * 24:
            assert math.isnan(found[i, 2])
        else:
            expected = math.sqrt(math.fsum(r * r for r in known) / len(known) * YEAR_T / 3_600)
            assert found[i, 2] == pytest.approx(expected, rel=1e-9)


def test_volatility_sees_no_later_bar() -> None:
    other = MARKET.close.copy()
    other[3_000:] *= 1.5
    found = [estimates.rolling_volatility(m, 10)[:3_000] for m in (MARKET, replace(MARKET, close=other))]
    assert np.array_equal(*found, equal_nan=True)


def test_correlation_is_that_of_the_common_returns() -> None:
    market = holed(MARKET, 7, 0.2)
    found, returns = estimates.correlations(market), estimates.log_returns(market)
    both = ~np.isnan(returns[:, 0]) & ~np.isnan(returns[:, 3])
    assert found.n[0, 3] == found.n[3, 0] == both.sum()
    assert found.matrix[0, 3] == pytest.approx(np.corrcoef(returns[both, 0], returns[both, 3])[0, 1], rel=1e-12)
    assert found.matrix[0, 3] == pytest.approx(0.5, abs=0.05), "one common factor as strong as the own"
    assert np.allclose(np.diag(found.matrix), 1.0)


def test_a_pair_with_few_common_returns_has_no_correlation() -> None:
    close = MARKET.close.copy()
    close[90:, 0] = np.nan
    assert np.isnan(estimates.correlations(replace(MARKET, close=close)).matrix[0, 1:]).all()


def test_the_hour_of_week_is_that_of_the_calendar() -> None:
    close = np.exp(np.cumsum(np.full(MARKET.close.shape, 1e-4), axis=0))
    wednesday_noon = (MARKET.open_t // 3_600 + 3 * 24) % 168 == 2 * 24 + 12  # 1970-01-01 was a Thursday
    jump = np.cumsum(np.where(wednesday_noon, 0.01, 0.0))
    table = estimates.hour_of_week(replace(MARKET, close=close * np.exp(jump)[:, None]))
    assert table.columns == ["day", "hour", "all", *MARKET.symbols]
    assert table.height == 168
    top = table.sort("all", descending=True).row(0, named=True)
    assert (top["day"], top["hour"]) == ("Wed", "12:00")
    mean = math.sqrt(sum(v * v for v in table["ETH"].to_list()) / 168)
    assert mean == pytest.approx(1.0, rel=0.02), "relative to the asset's own average"


@pytest.mark.parametrize("spread", [0.002, 0.005, 0.01])
def test_both_estimators_find_a_spread_that_is_there(spread: float) -> None:
    market = some_market(assets_n=2, days_n=120, spread=spread)
    found = estimates.spreads(market)
    cs = (found["corwin_schultz"] * found["n"]).sum() / found["n"].sum() / 1e4
    ar = (found["abdi_ranaldo"] * found["n"]).sum() / found["n"].sum() / 1e4
    assert 0.8 * spread < cs < 1.5 * spread, "counting negative estimates as zero leans upwards"
    assert ar == pytest.approx(spread, rel=0.25)


def test_corwin_schultz_is_its_formula() -> None:
    found = estimates.corwin_schultz(MARKET)
    h, low = MARKET.high[:, 1], MARKET.low[:, 1]
    for i in (1, 50, 777):
        beta = math.log(h[i] / low[i]) ** 2 + math.log(h[i - 1] / low[i - 1]) ** 2
        gamma = math.log(max(h[i], h[i - 1]) / min(low[i], low[i - 1])) ** 2
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / (3 - 2 * math.sqrt(2)) - math.sqrt(gamma / (3 - 2 * math.sqrt(2)))
        assert found[i, 1] == pytest.approx(max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))), abs=1e-12)
    assert math.isnan(found[0, 1])


def test_an_estimate_across_a_hole_is_not_made() -> None:
    hole = np.flatnonzero(np.isnan(MARKET.close[:, 0]))
    for values in (estimates.corwin_schultz(MARKET), estimates.abdi_ranaldo(MARKET)):
        assert np.isnan(values[hole[0] : hole[-1] + 2, 0]).all()
        assert not np.isnan(values[hole[-1] + 2 :, 0]).any()


def test_venues_are_compared_where_both_have_bars() -> None:
    fewer = {n: getattr(MARKET, n)[:, :3] for n in ("high", "low", "close")}
    second = replace(MARKET, symbols=MARKET.symbols[:3], **{**fewer, "close": fewer["close"] * 0.999})
    table = estimates.venue_spreads(MARKET, second)
    assert set(table["symbol"]) == set(MARKET.symbols[:3])
    assert table["median"].to_list() == pytest.approx([1e4 * math.log(1 / 0.999)] * table.height)
    assert estimates.venue_spreads(MARKET, None).height == 0


def test_venues_of_other_times_have_nothing_to_compare() -> None:
    later = replace(MARKET, open_t=MARKET.open_t + 1_000 * 86_400)
    assert estimates.venue_spreads(MARKET, later).equals(estimates.venue_spreads(MARKET, None))
    assert isinstance(estimates.venue_spreads(MARKET, later), pl.DataFrame)
