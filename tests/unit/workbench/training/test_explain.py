"""SHAP summaries: the numbers of shap.TreeExplainer, on a seeded sample."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from runtime.inference.features import DEFAULT_SPEC
from tests.support.training import Small, small
from workbench.training.explain import SAMPLE_ROWS, ShapTask, explain, sample_rows
from workbench.training.matrix import stored
from workbench.training.models import GLOBAL, FittedModel, fit


@pytest.fixture(scope="module")
def run() -> Small:
    return small()


@pytest.fixture(scope="module")
def model(run: Small) -> FittedModel:
    with stored(run.matrix) as folder:
        return fit(run.task(folder, GLOBAL))[1]


def test_a_summary_names_every_feature_once_strongest_first(run: Small, model: FittedModel) -> None:
    rows = explain(ShapTask(model.text, 24, DEFAULT_SPEC.names, run.matrix.features[model.rows[:300]]))
    assert sorted(row.feature for row in rows) == sorted(DEFAULT_SPEC.names)
    assert [row.mean_abs for row in rows] == sorted((row.mean_abs for row in rows), reverse=True)
    assert rows[0].mean_abs > 0
    assert all(abs(row.mean) <= row.mean_abs + 1e-9 for row in rows)


def test_contributions_add_up_to_the_score(run: Small, model: FittedModel) -> None:
    x = run.matrix.features[model.rows[:200]]
    values = np.asarray(lightgbm.Booster(model_str=model.text).predict(x, pred_contrib=True))
    np.testing.assert_allclose(values.sum(axis=1), model.raw[:200], atol=1e-9)


@pytest.mark.slow
def test_the_summary_is_that_of_shap(run: Small, model: FittedModel) -> None:
    shap = pytest.importorskip("shap")
    x = run.matrix.features[model.rows[:300]]
    found = shap.TreeExplainer(lightgbm.Booster(model_str=model.text)).shap_values(x)
    values = np.asarray(found[-1] if isinstance(found, list) else found)
    ours = {row.feature: row for row in explain(ShapTask(model.text, 24, DEFAULT_SPEC.names, x))}
    for column, name in enumerate(DEFAULT_SPEC.names):
        assert ours[name].mean_abs == pytest.approx(np.abs(values[:, column]).mean(), abs=1e-8)
        assert ours[name].mean == pytest.approx(values[:, column].mean(), abs=1e-8)


def test_the_sample_is_seeded_ascending_and_without_repeats() -> None:
    rows = np.arange(100, 10_000, dtype=np.int64)
    one, same, other = sample_rows(rows, 7), sample_rows(rows, 7), sample_rows(rows, 8)
    np.testing.assert_array_equal(one, same)
    assert len(one) == SAMPLE_ROWS == len(set(one.tolist()))
    assert (np.diff(one) > 0).all()
    assert one.tolist() != other.tolist()
    np.testing.assert_array_equal(sample_rows(rows[:5], 7), rows[:5])
