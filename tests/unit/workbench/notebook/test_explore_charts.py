"""The exploring notebook's charts: valid in a notebook, labelled, the same every time, and honest about holes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import nbformat
import numpy as np
import polars as pl
import pytest

from tests.support.explored import some_market
from workbench.data.view import estimates
from workbench.notebook import charts, explore_charts

MARKET = some_market()
MANY = some_market(assets_n=30, days_n=3_000, interval_t=86_400)
CHARTS: dict[str, Callable[[], object]] = {
    "prices": lambda: explore_charts.prices_chart(MARKET),
    "prices of many": lambda: explore_charts.prices_chart(MANY),
    "coverage": lambda: explore_charts.coverage_chart(MARKET),
    "findings": lambda: explore_charts.findings_chart(MARKET.findings, MARKET.label),
    "no findings": lambda: explore_charts.findings_chart((), MARKET.label),
    "correlation": lambda: explore_charts.correlation_chart(estimates.correlations(MARKET), MARKET.label),
    "correlation of many": lambda: explore_charts.correlation_chart(estimates.correlations(MANY), MANY.label),
    "volatility": lambda: explore_charts.volatility_chart(MARKET, estimates.rolling_volatility(MARKET, 10), 10),
    "week": lambda: explore_charts.week_chart(estimates.hour_of_week(MARKET), MARKET.label),
    "spreads": lambda: explore_charts.spreads_chart(estimates.spreads(MARKET), MARKET.symbols, MARKET.label),
    "spreads of many": lambda: explore_charts.spreads_chart(estimates.spreads(MANY), MANY.symbols, MANY.label),
    "venues": lambda: explore_charts.venues_chart(
        estimates.venue_spreads(MARKET, replace(MARKET, close=MARKET.close * 1.001)), MARKET.symbols, MARKET.label, "elsewhere"
    ),
}


def spec_of(name: str) -> str:
    shown = CHARTS[name]()._repr_mimebundle_()  # type: ignore[attr-defined]  # every chart of altair has it
    output = {"output_type": "display_data", "data": shown, "metadata": {}}
    nbformat.validate(nbformat.from_dict(output), ref="output", version=4)
    return json.dumps(shown[charts.VEGA_MIME])


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_valid_in_a_notebook_labelled_and_the_same_every_time(name: str) -> None:
    text = spec_of(name)
    assert "SIMULATED" in text
    assert text == spec_of(name)
    assert "param_" not in text, "a numbered parameter depends on what was drawn before"
    assert "view_" not in text
    assert "NaN" not in text


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_answers_the_pointer(name: str) -> None:
    content = json.loads(spec_of(name))
    assert content.get("params") or "param" in json.dumps(content)
    assert "tooltip" in json.dumps(content)


def rows_of(name: str) -> list[dict[str, object]]:
    content = json.loads(spec_of(name))
    (rows,) = content["datasets"].values()
    return rows  # type: ignore[no-any-return]  # JSON


def test_a_long_hole_is_a_hole_and_a_short_one_is_not() -> None:
    close = MARKET.close.copy()
    close[500:502, 0] = np.nan
    close[2_000:3_000, 0] = np.nan
    shown = explore_charts.prices_chart(replace(MARKET, close=close))._repr_mimebundle_()[charts.VEGA_MIME]
    (rows,) = shown["datasets"].values()
    own = [r["growth"] for r in rows if r["asset"] == MARKET.symbols[0]]
    step = -(-len(MARKET.open_t) // len(own))
    empty = [i for i, v in enumerate(own) if v is None]
    assert empty == [i for i in range(len(own)) if np.isnan(close[i * step : (i + 1) * step, 0]).all()]
    assert len(empty) > 200 > step
    assert 500 // step not in empty
    for row in rows[:40]:
        at = (np.datetime64(row["time"], "s").astype(int) - MARKET.open_t[0]) // MARKET.interval_t
        assert row["close"] == pytest.approx(close[at, 0], rel=1e-5), "each point tells the time of its own bar"


def test_a_month_without_an_estimate_is_an_empty_point() -> None:
    table = pl.DataFrame({
        "month": [date(2024, 1, 1), date(2024, 4, 1)], "symbol": ["BTC", "BTC"], "corwin_schultz": [1.0, 2.0],
        "abdi_ranaldo": [1.0, 2.0], "n": [10, 10],
    })  # fmt: skip
    shown = explore_charts.spreads_chart(table, ["BTC"], "SIMULATED")._repr_mimebundle_()[charts.VEGA_MIME]
    (rows,) = shown["datasets"].values()
    assert [r["Corwin-Schultz"] for r in rows] == [1.0, None, None, 2.0]


def test_points_stay_within_the_limit_of_a_chart() -> None:
    for name in ("prices of many", "spreads of many", "correlation of many"):
        assert len(rows_of(name)) <= charts.ROWS_MAX, name


def test_months_that_do_not_fit_are_told_in_the_title() -> None:
    months = pl.date_range(date(2000, 1, 1), date(2029, 12, 1), "1mo", eager=True)
    symbols = [f"A{n}" for n in range(30)]
    table = pl.DataFrame({"month": months}).join(pl.DataFrame({"symbol": symbols}), how="cross")
    table = table.with_columns(pl.lit(1.0).alias("corwin_schultz"), pl.lit(2.0).alias("abdi_ranaldo"), pl.lit(9).alias("n"))
    shown = explore_charts.spreads_chart(table, symbols, "SIMULATED")._repr_mimebundle_()[charts.VEGA_MIME]
    (rows,) = shown["datasets"].values()
    assert len(rows) == charts.ROWS_MAX == 160 * 30
    assert "since 2016-09 (SIMULATED)" in json.dumps(shown["title"])
