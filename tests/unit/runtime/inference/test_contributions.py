"""Exact TreeSHAP over our own trees: equal to LightGBM's and shap's, adding up, and refusing what it cannot weigh."""

from __future__ import annotations

import re
from itertools import combinations
from math import factorial
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import shap

from runtime.errors import DataError
from runtime.inference.bundle import BundleDescription
from runtime.inference.contributions import Explainer, contributions
from runtime.inference.forecaster import Forecaster, last_bars
from runtime.inference.panel import Floats
from runtime.inference.trees import raw_scores
from runtime.inference.trend import TrendSpec
from tests.support.panels import first_bars, make_panel

LITE = Path(__file__).parents[3] / "support" / "lite_model.txt"
TOLERANCE = 1e-9


def rows_for(model_text: str, rows_n: int = 200, seed: int = 3) -> Floats:
    """Return rows around the model's thresholds, one in ten numbers missing and one in ten zero."""
    model = Explainer.parse(model_text).model
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(rows_n, len(model.feature_names)))
    for feature in range(rows.shape[1]):
        near = model.threshold[model.feature == feature]
        near = near[np.isfinite(near)]
        if len(near):
            rows[:, feature] = draw.choice(near, rows_n) + draw.choice([-1e-3, 0.0, 1e-3], rows_n)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    rows[draw.random(rows.shape) < 0.1] = 0.0
    return rows


def trained(leaves: int, trees: int, *, features: int = 6, seed: int = 1) -> str:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(3_000, features))
    x[draw.random(x.shape) < 0.1] = np.nan
    y = (np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 1]) + draw.normal(size=len(x)) > 0).astype(float)
    parameters = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    return str(lightgbm.train(parameters, lightgbm.Dataset(x, y), trees).model_to_string())


@pytest.mark.parametrize(
    "text",
    [LITE.read_text(), trained(7, 30), trained(63, 12), trained(40, 5, features=2)],
    ids=["lite", "small", "deep", "repeated"],
)
def test_they_are_lightgbms_and_add_up_to_the_raw_score(text: str) -> None:
    explainer, rows = Explainer.parse(text), rows_for(text)
    theirs = np.asarray(lightgbm.Booster(model_str=text).predict(rows, pred_contrib=True, num_threads=1))
    ours = explainer.contributions(rows)
    assert np.abs(theirs[:, :-1]).max() > 1e-4, "a model that explains nothing proves nothing"
    np.testing.assert_allclose(ours, theirs[:, :-1], rtol=0, atol=TOLERANCE)
    assert explainer.expected == pytest.approx(theirs[0, -1], abs=TOLERANCE)
    np.testing.assert_allclose(ours.sum(axis=1) + explainer.expected, raw_scores(explainer.model, rows), rtol=0, atol=TOLERANCE)


def test_they_are_those_of_shap() -> None:
    text = trained(7, 10)
    rows = rows_for(text, 20)
    theirs = np.asarray(shap.TreeExplainer(lightgbm.Booster(model_str=text)).shap_values(rows))
    theirs = theirs[1] if theirs.ndim == 3 else theirs
    np.testing.assert_allclose(Explainer.parse(text).contributions(rows), theirs, rtol=0, atol=TOLERANCE)


def test_they_are_the_shapley_values_by_their_definition() -> None:
    """All 2**4 coalitions, by a walk of the tree that shares nothing with the product but the parsed arrays."""
    text = trained(15, 4, features=4)
    e, row = Explainer.parse(text), rows_for(text, 1)[0]
    m = e.model

    def value(node: int, known: frozenset[int]) -> float:
        if node < 0:
            return float(m.values[-1 - node])
        left, right = int(m.left[node]), int(m.right[node])
        feature = int(m.feature[node])
        if feature in known:
            x = row[feature]
            goes = (
                bool(m.default_left[node])
                if np.isnan(x) and m.missing[node] == 2
                else (0.0 if np.isnan(x) else x) <= m.threshold[node]
            )
            return value(left if goes else right, known)
        shares = [e.leaf_rows[-1 - child] if child < 0 else e.node_rows[child] for child in (left, right)]
        return (shares[0] * value(left, known) + shares[1] * value(right, known)) / sum(shares)

    def game(known: frozenset[int]) -> float:
        return sum(value(int(root), known) for root in m.roots)

    expected = []
    for feature in range(4):
        others = [f for f in range(4) if f != feature]
        expected.append(
            sum(
                factorial(n) * factorial(3 - n) / factorial(4) * (game(frozenset((*c, feature))) - game(frozenset(c)))
                for n in range(4)
                for c in combinations(others, n)
            )
        )
    np.testing.assert_allclose(e.contributions(row[None])[0], expected, rtol=0, atol=TOLERANCE)


def test_a_tree_of_one_leaf_explains_nothing() -> None:
    x, y = np.random.default_rng(1).random((100, 3)), np.zeros(100)
    y[:3] = 1
    parameters = {"objective": "binary", "min_data_in_leaf": 90, "verbosity": -1}
    explainer = Explainer.parse(lightgbm.train(parameters, lightgbm.Dataset(x, y), 1).model_to_string())
    assert not explainer.contributions(x[:2]).any()
    assert explainer.expected == raw_scores(explainer.model, x[:1])[0]


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [(r"leaf_count=\d+ ", "leaf_count="), (r"internal_count=\d+", "internal_count=0"), (r"leaf_count=\d+", "leaf_count=1.5"),
     (r"internal_count=.*\n", "")],
)  # fmt: skip
def test_a_model_without_its_numbers_of_rows_is_refused(pattern: str, replacement: str) -> None:
    with pytest.raises(DataError, match="count"):
        Explainer.parse(re.sub(pattern, replacement, LITE.read_text(), count=1))


def test_another_number_of_columns_is_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        Explainer.parse(LITE.read_text()).contributions(np.zeros((1, 2)))


def test_the_votes_of_the_rule_add_up_to_its_probability() -> None:
    panel, rule = make_panel(1_600, 4), TrendSpec()
    description = BundleDescription(kind="trend", name="trend", feature_set_hash=rule.digest, horizons_h=rule.horizons_h)
    forecaster = Forecaster(description, panel.symbols, 4, rule)
    seen = refused = 0
    for rows_n in range(892, 1_600, 20):
        part = last_bars(first_bars(panel, rows_n), forecaster.window_n)
        made = forecaster.forecast(part)
        assert made is not None
        for s, symbol in enumerate(panel.symbols):
            if not made[0][s]["valid_n"]:
                with pytest.raises(DataError, match="no forecast"):
                    contributions(forecaster, part, symbol)
                refused += 1
                continue
            for found in contributions(forecaster, part, symbol):
                assert found.score == pytest.approx(made[0][s][f"prob_{found.name}_ppm"] / 1e6, abs=1.1e-6)
                assert (found.unit, found.base, len(found.values)) == ("probability", 0.5, rule.looks_n)
                seen += 1
    assert seen > 200
    assert refused > 0
    with pytest.raises(DataError, match="DOGE"):
        contributions(forecaster, panel, "DOGE")
