"""LITE models: determinism, row order, scope, and equality of the runtime's evaluator with LightGBM."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from runtime.errors import DataError, InvariantError
from tests.support.training import HORIZONS_H, SMALL, Small, small
from workbench.training import models
from workbench.training.executor import ProcessExecutor
from workbench.training.matrix import make_matrix, stored
from workbench.training.models import GLOBAL, Lite, fit, require_equal


@pytest.fixture(scope="module")
def run() -> Small:
    return small()


def test_lite_is_what_the_research_kept() -> None:
    found = Lite().parameters()
    expected = {
        "num_leaves": 7, "min_data_in_leaf": 500, "learning_rate": 0.03, "feature_fraction": 0.4, "bagging_fraction": 0.7,
        "bagging_freq": 1, "lambda_l2": 50.0, "max_bin": 63, "seed": 7, "num_threads": 1, "deterministic": True,
    }  # fmt: skip
    assert expected.items() <= found.items()
    assert Lite().num_iterations == 100


def test_a_fold_gives_one_model_per_horizon_that_predicts_every_later_row(run: Small) -> None:
    with stored(run.matrix) as folder:
        fitted = fit(run.task(folder, GLOBAL))
    fold = run.folds[0]
    assert [m.horizon_h for m in fitted] == list(HORIZONS_H)
    expected = np.concatenate(
        [np.arange(*run.matrix.between(w).indices(len(run.matrix.row_n))) for w in (fold.validation, fold.test)]
    )
    for model in fitted:
        np.testing.assert_array_equal(model.rows, expected)
        assert model.rows.min() > run.matrix.between(fold.train).stop - 1
        assert np.isfinite(model.raw).all()
        assert model.rows_train == run.matrix.complete[run.matrix.between(fold.train)].sum()
        assert model.trees_n == SMALL.num_iterations


def test_our_evaluator_gives_lightgbms_bits_on_every_row_and_a_difference_is_refused(run: Small) -> None:
    with stored(run.matrix) as folder:
        fitted = fit(run.task(folder, GLOBAL))
    for model in fitted:
        assert model.evaluator_equal
        theirs = lightgbm.Booster(model_str=model.text).predict(run.matrix.features[model.rows], raw_score=True)
        assert np.asarray(theirs).tobytes() == model.raw.tobytes()
    require_equal(fitted)
    with pytest.raises(InvariantError, match="scores differently"):
        require_equal([*fitted, replace(fitted[0], evaluator_equal=False)])


def test_an_evaluator_that_is_off_by_one_bit_is_seen(run: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = models.raw_scores
    monkeypatch.setattr(models, "raw_scores", lambda model, x: np.nextafter(honest(model, x), np.inf))
    with stored(run.matrix) as folder:
        assert not any(m.evaluator_equal for m in fit(run.task(folder, GLOBAL)))


def test_a_model_whose_score_is_no_logit_is_refused(run: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = Lite.parameters
    monkeypatch.setattr(Lite, "parameters", lambda lite: parameters(lite) | {"sigmoid": 2.0})
    with stored(run.matrix) as folder, pytest.raises(DataError, match="sigmoid:2"):
        fit(run.task(folder, GLOBAL))


def test_a_coin_with_few_rows_gets_no_model_of_its_own(run: Small) -> None:
    with stored(run.matrix) as folder:
        task = run.task(folder, 1, fold_n=1)
        own = fit(task)
        assert fit(replace(task, lite=replace(SMALL, coin_rows_min=own[0].rows_train + 1))) == []
    assert len(own) == 3
    assert (run.matrix.symbol_n[own[0].rows] == 1).all()
    assert own[0].rows_train >= SMALL.coin_rows_min


def test_two_workers_make_the_models_that_one_makes(run: Small) -> None:
    one, two = run.train(), run.train(ProcessExecutor(2))
    assert {m.symbol_n for m in one.models} > {GLOBAL}, "per-coin models take part"
    assert [m.model_hash for m in one.models] == [m.model_hash for m in two.models]
    assert one.calibrations == two.calibrations
    for name in ("prob_ppm", "ret_ppm", "uncertainty_ppm"):
        np.testing.assert_array_equal(getattr(one.predictions, name), getattr(two.predictions, name))


def test_models_do_not_depend_on_anything_after_their_training_window(run: Small) -> None:
    fold = run.folds[0]
    features, up, returns = run.features.copy(), run.labels.up.copy(), run.labels.returns.copy()
    features[fold.validation[0] :] *= 3.0
    up[fold.validation[0] :] = 1.0
    usable = np.zeros(features.shape[:2], bool)
    usable[run.matrix.row_n, run.matrix.symbol_n] = True
    changed = make_matrix(features, up, returns, usable)
    with stored(run.matrix) as folder:
        before = [m.model_hash for m in fit(run.task(folder, GLOBAL))]
    with stored(changed) as folder:
        after = [m.model_hash for m in fit(run.task(folder, GLOBAL))]
    assert before == after


def test_rows_are_time_major_then_in_universe_order(run: Small) -> None:
    key = run.matrix.row_n * 100 + run.matrix.symbol_n
    assert (np.diff(key) > 0).all()
    for n in (0, 5, 700, len(run.matrix.starts) - 2):
        part = run.matrix.between((n, n + 1))
        assert (run.matrix.row_n[part] == n).all()
    np.testing.assert_array_equal(run.matrix.features[77], run.features[run.matrix.row_n[77], run.matrix.symbol_n[77]])


PROGRAM = """
from tests.support.training import small
from workbench.training.executor import executor_for
import hashlib, sys
if __name__ == "__main__":
    trained = small().train(executor_for(int(sys.argv[1])))
    h = hashlib.sha256("".join(m.model_hash for m in trained.models).encode())
    for values in (trained.predictions.prob_ppm, trained.predictions.ret_ppm, trained.predictions.uncertainty_ppm):
        h.update(values.tobytes())
    print(h.hexdigest())
"""


@pytest.mark.slow
def test_workers_and_hash_seed_change_no_bit(tmp_path: Path, repository: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    digests = set()
    for workers, seed in (("1", "0"), ("2", "1")):
        done = subprocess.run(
            [sys.executable, str(program), workers],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(repository)},
            capture_output=True, text=True, check=True, timeout=240,
        )  # fmt: skip
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == 64
