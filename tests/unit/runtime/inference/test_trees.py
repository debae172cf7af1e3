"""The tree evaluator gives LightGBM's raw scores bit for bit, and refuses what it does not evaluate."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from runtime.errors import DataError
from runtime.inference.panel import Floats
from runtime.inference.trees import ZERO, TreeModel, raw_scores, require_logit

LITE = {
    "objective": "binary", "num_leaves": 7, "min_data_in_leaf": 500, "learning_rate": 0.03, "feature_fraction": 0.4,
    "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 50.0, "max_bin": 63, "seed": 7, "num_threads": 1,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip
BASE = {"objective": "binary", "min_data_in_leaf": 5, "num_threads": 1, "deterministic": True, "verbose": -1, "seed": 1}
TINY = float(np.nextafter(ZERO, 1.0))


def table(rows: int, columns: int, seed: int) -> tuple[Floats, Floats]:
    """Return features with NaN, zeros, denormals and ties, and a binary label."""
    g = np.random.default_rng(seed)
    x = np.round(g.normal(size=(rows, columns)), 3)
    x[:, 0] = g.integers(0, 7, rows)
    x[g.random(x.shape) < 0.15] = np.nan
    x[g.random(x.shape) < 0.15] = 0.0
    x[:, 1] = np.abs(np.nan_to_num(x[:, 1]))
    y = (np.nan_to_num(x[:, 2], nan=1.0) + x[:, 1] + g.normal(size=rows) > 0.8).astype(np.float64)
    return x, y


def hard_rows(model: TreeModel, columns: int, seed: int) -> Floats:
    """Return rows made of the values at which a wrong comparison would show."""
    edges = [v for t in model.threshold for v in (t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf))]
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, ZERO, -ZERO, TINY, -TINY, 1e-36, 5e-324, 1e300, -1e300]
    return np.random.default_rng(seed).choice(np.array(edges + special), size=(4_000, columns))


def trained(params: dict[str, object], rounds: int, *, seed: int = 3, rows: int = 4_000, columns: int = 12) -> lgb.Booster:
    x, y = table(rows, columns, seed)
    return lgb.train(params, lgb.Dataset(x, y), rounds)


MODELS = {
    "lite": (LITE, 100, 30_000),
    "default": (BASE | {"num_leaves": 31}, 40, 4_000),
    "deep": (BASE | {"num_leaves": 127, "min_data_in_leaf": 2, "learning_rate": 0.3}, 15, 4_000),
    "zero_as_missing": (BASE | {"zero_as_missing": True}, 20, 4_000),
    "no_missing": (BASE | {"use_missing": False}, 20, 4_000),
    "dart": (BASE | {"boosting": "dart", "drop_rate": 0.5}, 25, 4_000),
    "goss": (BASE | {"data_sample_strategy": "goss"}, 20, 4_000),
    "regression": (BASE | {"objective": "regression"}, 20, 4_000),
    "l1": (BASE | {"objective": "regression_l1"}, 10, 4_000),
    "stump": (BASE | {"num_leaves": 2}, 10, 4_000),
    "constant": (BASE | {"min_data_in_leaf": 100_000}, 3, 4_000),
    "monotone": (BASE | {"monotone_constraints": [1] * 12}, 10, 4_000),
    "extra": (BASE | {"extra_trees": True, "path_smooth": 1.0, "max_delta_step": 0.5}, 10, 4_000),
}


@pytest.mark.parametrize("name", MODELS)
def test_raw_scores_equal_lightgbm(name: str) -> None:
    params, rounds, rows = MODELS[name]
    booster = trained(params, rounds, rows=rows)
    model = TreeModel.parse(booster.model_to_string())
    assert len(model.roots) >= 1
    x, _ = table(6_000, 12, seed=99)
    for features in (x, hard_rows(model, 12, seed=5)):
        expected = booster.predict(features, raw_score=True, num_threads=1)
        assert raw_scores(model, features).tobytes() == np.asarray(expected).tobytes()


def test_the_models_of_this_test_take_every_path() -> None:
    missing: set[int] = set()
    defaults: set[int] = set()
    for params, rounds, rows in MODELS.values():
        model = TreeModel.parse(trained(params, rounds, rows=rows).model_to_string())
        missing |= set(model.missing.tolist())
        defaults |= set(model.default_left.tolist())
    assert missing == {0, 1, 2}
    assert defaults == {0, 1}


def test_a_reloaded_model_gives_the_same_scores() -> None:
    text = trained(BASE, 20).model_to_string()
    x, _ = table(500, 12, seed=4)
    expected = lgb.Booster(model_str=text).predict(x, raw_score=True)
    assert raw_scores(TreeModel.parse(text), x).tobytes() == np.asarray(expected).tobytes()


def test_rows_may_be_read_only_strided_or_split() -> None:
    model = TreeModel.parse(trained(BASE, 5).model_to_string())
    x, _ = table(400, 24, seed=4)
    strided = x[:, ::2]
    strided.setflags(write=False)
    scores = raw_scores(model, strided)
    assert raw_scores(model, np.ascontiguousarray(strided)).tobytes() == scores.tobytes()
    assert raw_scores(model, strided[:150]).tobytes() + raw_scores(model, strided[150:]).tobytes() == scores.tobytes()


def test_names_digest_and_objective_come_from_the_text() -> None:
    x, y = table(500, 3, seed=1)
    text = lgb.train(BASE, lgb.Dataset(x, y, feature_name=["a", "b", "c"]), 2).model_to_string()
    model = TreeModel.parse(text)
    assert model.feature_names == ("a", "b", "c")
    assert len(model.digest) == 64
    require_logit(model)
    other = TreeModel.parse(trained(BASE | {"sigmoid": 2.0}, 2).model_to_string())
    with pytest.raises(DataError, match="sigmoid:2"):
        require_logit(other)


def test_another_number_of_columns_is_refused() -> None:
    model = TreeModel.parse(trained(BASE, 2).model_to_string())
    for shape in ((5, 11), (5,)):
        with pytest.raises(DataError, match="shape"):
            raw_scores(model, np.zeros(shape))


def refused_text(params: dict[str, object], **dataset: object) -> str:
    x, y = table(3_000, 6, seed=2)
    if params.get("objective") == "multiclass":
        y = np.nan_to_num(x[:, 0]) % 3
    data = lgb.Dataset(x, y, categorical_feature=dataset.get("categorical_feature", "auto"), params=params)
    return str(lgb.train(params, data, 8).model_to_string())


def test_what_is_not_evaluated_is_refused_by_name() -> None:
    cases = {
        "categorical": refused_text(BASE, categorical_feature=[0]),
        "linear leaves": refused_text(BASE | {"linear_tree": True, "objective": "regression"}),
        "averaged output": refused_text(BASE | {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}),
        "multiclass": refused_text(BASE | {"objective": "multiclass", "num_class": 3}),
    }
    for words, text in cases.items():
        with pytest.raises(DataError, match=words):
            TreeModel.parse(text)


TEXT = """tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=1
objective=binary sigmoid:1
feature_names=a b

Tree=0
num_leaves=3
num_cat=0
split_feature=0 1
threshold=0.5 inf
decision_type=8 10
left_child=-1 -2
right_child=1 -3
leaf_value=1 2 4
is_linear=0


end of trees
"""


def test_a_hand_written_model() -> None:
    model = TreeModel.parse(TEXT)
    x = np.array([[0.5, 9.0], [0.6, np.nan], [0.6, 9.0], [np.nan, np.nan]])
    assert raw_scores(model, x).tolist() == [1.0, 2.0, 2.0, 2.0]
    assert raw_scores(TreeModel.parse(TEXT.replace("decision_type=8 10", "decision_type=8 8")), x).tolist()[1] == 4.0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tree\nversion", "forest\nversion", "begins with"),
        ("end of trees", "", "truncated"),
        ("version=v4", "version=v9", "format"),
        ("Tree=0", "Tree=1", "in place 0"),
        ("num_cat=0", "num_cat=0\nnum_cat=0", "twice"),
        ("num_leaves=3", "num_leaves=x", "whole numbers"),
        ("num_leaves=3", "", "0 of num_leaves"),
        ("threshold=0.5 inf", "threshold=0.5", "1 of threshold"),
        ("threshold=0.5 inf", "threshold=0.5 nan", "threshold"),
        ("threshold=0.5 inf", "threshold=0.5 x", "not numbers"),
        ("leaf_value=1 2 4", "leaf_value=1 2 inf", "leaf_value"),
        ("right_child=1 -3", "right_child=0 -3", "one tree"),
        ("right_child=1 -3", "right_child=1 -2", "one tree"),
        ("left_child=-1 -2", "left_child=-9 -2", "one tree"),
        ("split_feature=0 1", "split_feature=0 2", "outside 0 .. 1"),
        ("decision_type=8 10", "decision_type=8 12", "decision type"),
        ("decision_type=8 10", "decision_type=8 9", "categorical"),
        ("feature_names=a b", "feature_names=a", "1 feature names"),
    ],
)
def test_malformed_models_are_refused(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(DataError, match=words):
        TreeModel.parse(TEXT.replace(old, new))
