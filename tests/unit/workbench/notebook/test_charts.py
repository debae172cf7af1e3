from __future__ import annotations

import json
from dataclasses import replace

import altair as alt
import nbformat
import numpy as np
import polars as pl
import pytest

from tests.support.panels import make_panel
from workbench.notebook import charts
from workbench.training.evaluate import CalibrationRow, Evaluation, MetricRow
from workbench.training.explain import ShapRow
from workbench.training.folds import Fold
from workbench.training.metrics import Bin, Scores

LABEL = "SIMULATED"
AT_T = 1_609_459_200 + 14_400 * np.arange(400, dtype=np.int64)
FOLDS = [Fold(n, (0, 100 + n), (110 + n, 150), (160 + n, 200 + n), 3_600, 86_400) for n in range(3)]
SCORES = Scores(100, 0.51, 0.25, 0.001, 0.69, 0.01, 0.5)
EVALUATION = Evaluation(
    metrics=[MetricRow(m, h, n, SCORES) for m in ("blend", "base_rate") for h in (4, 24) for n in (-1, 0, 1)],
    calibration=[CalibrationRow(4, b, Bin(0.4 + b / 20, 0.45 + b / 30, 10)) for b in range(4)],
    returns=[],
    verdict=[],
)
SHAP = [ShapRow(h, f"feature_{n:02d}", n / 100, 0.0) for h in (4, 24) for n in range(20)]
CURVES = pl.DataFrame([
    {"at_t": int(t), "series": s, "pv_e8": 10**13 + i * 10**9} for s in charts.SERIES for i, t in enumerate(AT_T)
])  # fmt: skip
CHARTS = {
    "prices": lambda: charts.prices_chart(make_panel(900, 10), LABEL),
    "folds": lambda: charts.folds_chart(FOLDS, AT_T, LABEL),
    "skill": lambda: charts.skill_chart(EVALUATION, LABEL),
    "calibration": lambda: charts.calibration_chart(EVALUATION, LABEL),
    "shap": lambda: charts.shap_chart(SHAP, LABEL),
    "equity": lambda: charts.equity_chart(CURVES, LABEL),
    "refusals": lambda: charts.refusals_chart({"ML": {"COST": 3}, "trend rule": {}}, LABEL),
    "no refusals": lambda: charts.refusals_chart({"ML": {}}, LABEL),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_valid_in_a_notebook_labelled_and_the_same_every_time(name: str) -> None:
    shown = CHARTS[name]()._repr_mimebundle_()
    output = {"output_type": "display_data", "data": shown, "metadata": {}}
    nbformat.validate(nbformat.from_dict(output), ref="output", version=4)
    assert set(shown) == {charts.VEGA_MIME, "text/plain"}
    assert LABEL in shown["text/plain"]
    assert LABEL in json.dumps(shown[charts.VEGA_MIME])
    assert "http" not in json.dumps({k: v for k, v in shown[charts.VEGA_MIME].items() if k != "$schema"})


def rows(chart: alt.TopLevelMixin) -> list[dict[str, object]]:
    (table,) = chart.to_dict()["datasets"].values()
    return list(table)


def test_thirty_assets_and_eight_years_stay_below_the_limit_of_rows() -> None:
    panel = make_panel(400, 3, holes=False)
    hours = 70_000
    many = replace(
        panel,
        symbols=tuple(f"A{i}" for i in range(30)),
        open_t=panel.open_t[0] + 3_600 * np.arange(hours, dtype=np.int64),
        close=np.full((hours, 30), 5.0),
    )
    assert len(rows(charts.prices_chart(many, LABEL))) <= charts.ROWS_MAX


def test_prices_start_at_one_when_an_asset_lists_and_a_gap_is_not_drawn() -> None:
    panel = make_panel(100, 2, holes=False)
    close = panel.close.copy()
    close[:40, 1] = np.nan
    close[60:70, 1] = np.nan
    drawn = [r for r in rows(charts.prices_chart(replace(panel, close=close), LABEL)) if r["asset"] == panel.symbols[1]]
    assert len(drawn) == 50
    assert drawn[0]["growth"] == 1.0


def test_only_the_features_that_matter_most_are_drawn() -> None:
    drawn = {str(r["feature"]) for r in rows(charts.shap_chart(SHAP, LABEL))}
    assert drawn == {f"feature_{n:02d}" for n in range(20 - charts.FEATURES_SHOWN, 20)}


def test_the_tables_have_one_row_per_horizon_and_forecaster() -> None:
    assert charts.metrics_table(EVALUATION).shape == (4, 7)
