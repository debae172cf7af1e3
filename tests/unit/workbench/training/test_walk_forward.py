"""The walk-forward run: what is learnt from what, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime.errors import InvariantError
from tests.support.training import HORIZONS_H, SMALL, Small, small
from workbench.training import calibrate, walk_forward
from workbench.training.calibrate import OutOfFold
from workbench.training.evaluate import ALL_FOLDS, BASELINES, evaluate
from workbench.training.executor import InProcessExecutor
from workbench.training.labels import HOUR_T, past_returns
from workbench.training.walk_forward import Trained, check_predictions


@pytest.fixture(scope="module")
def run() -> Small:
    return small()


@pytest.fixture(scope="module")
def trained(run: Small) -> Trained:
    return run.train()


def test_every_usable_row_of_the_test_windows_has_a_forecast_and_no_other_row(run: Small, trained: Trained) -> None:
    inside = np.zeros(len(run.matrix.row_n), bool)
    for fold in run.folds:
        inside[run.matrix.between(fold.test)] = True
    np.testing.assert_array_equal(trained.predictions.fold_n >= 0, inside)
    assert (trained.predictions.prob_ppm[inside] > 0).all()
    assert (trained.predictions.prob_ppm[~inside] == 0).all()


def test_calibrations_see_only_out_of_fold_rows_that_were_known_in_time(
    run: Small, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[OutOfFold] = []
    honest = calibrate.fit_calibration

    def watch(rows: OutOfFold, base_ppm: int, horizon_h: int) -> object:
        seen.append(rows)
        return honest(rows, base_ppm, horizon_h)

    monkeypatch.setattr(walk_forward, "fit_calibration", watch)
    again = run.train()
    assert again.calibrations == trained.calibrations
    at_t = run.labels.at_t
    calls = [(fold, h) for fold in run.folds for h in HORIZONS_H]
    assert len(seen) == len(calls)
    for (fold, horizon_h), rows in zip(calls, seen, strict=True):
        assert len(rows.at_t) > 0
        assert (rows.at_t > rows.trained_until_t).all(), "predicted after the model's last label was known"
        assert (rows.at_t + horizon_h * HOUR_T < at_t[fold.test[0]]).all(), "known before the test window"


def test_scores_of_test_windows_do_not_depend_on_their_labels(run: Small, trained: Trained) -> None:
    """Mutate every label of the last test window: no model, calibration or forecast may change."""
    up, returns = run.matrix.up.copy(), run.matrix.returns.copy()
    last = run.matrix.between(run.folds[-1].test)
    up[last], returns[last] = 1.0 - up[last], -5.0 * returns[last]
    changed = Small(run.panel, run.features, run.labels, run.folds, replace(run.matrix, up=up, returns=returns)).train()
    assert [m.model_hash for m in changed.models] == [m.model_hash for m in trained.models]
    assert changed.calibrations == trained.calibrations
    np.testing.assert_array_equal(changed.predictions.prob_ppm, trained.predictions.prob_ppm)
    np.testing.assert_array_equal(changed.predictions.ret_ppm, trained.predictions.ret_ppm)


def test_a_prediction_inside_its_own_training_window_is_refused(run: Small) -> None:
    at_t, folds = run.labels.at_t, run.folds
    known = int(at_t[folds[0].train[1] - 1]) + 72 * HOUR_T
    check_predictions(np.array([0]), np.array([known + 1]), at_t, folds, 72)
    check_predictions(np.array([-1]), np.array([known]), at_t, folds, 72)
    for bad in (known, int(at_t[folds[0].train[0]])):
        with pytest.raises(InvariantError, match="inside its training window"):
            check_predictions(np.array([0]), np.array([bad]), at_t, folds, 72)


def test_a_model_asked_about_its_own_training_rows_stops_the_run(run: Small) -> None:
    wide = [replace(fold, validation=(fold.train[1] - 40, fold.validation[1])) for fold in run.folds]
    with pytest.raises(InvariantError, match="inside their model's training window"):
        walk_forward.train(
            run.matrix, run.labels.at_t, tuple(f"f{i}" for i in range(40)), HORIZONS_H, 4, wide, SMALL, InProcessExecutor()
        )


def test_all_forecasters_are_scored_on_the_same_rows_and_the_verdict_says_who_lost(run: Small, trained: Trained) -> None:
    past = past_returns(run.panel, np.flatnonzero((run.panel.open_t + HOUR_T) % (4 * HOUR_T) == 0), HORIZONS_H)
    evaluation = evaluate(trained, past[run.matrix.row_n, run.matrix.symbol_n])
    for horizon_h in HORIZONS_H:
        counts = {evaluation.overall(name, horizon_h).n for name in ("blend", "global", "blend_raw", *BASELINES)}
        assert len(counts) == 1
        assert evaluation.overall("base_rate", horizon_h).brier_skill == 0.0
        folds = [
            r.scores.n for r in evaluation.metrics if (r.model, r.horizon_h) == ("blend", horizon_h) and r.fold_n != ALL_FOLDS
        ]
        assert sum(folds) == counts.pop()
    assert len(evaluation.verdict) == 3
    # the market is a random walk: whoever claims skill on it is not to be trusted
    assert any("does NOT beat" in sentence for sentence in evaluation.verdict)
    assert sum(row.bin.n for row in evaluation.calibration if row.horizon_h == 4) == evaluation.overall("blend", 4).n
    for k, horizon_h in enumerate(HORIZONS_H):
        found = [row for row in evaluation.returns if row.horizon_h == horizon_h]
        rows = np.flatnonzero((trained.predictions.fold_n >= 0) & ~np.isnan(run.matrix.returns[:, k]))
        assert sum(row.n for row in found) == len(rows)
        assert [row.expected for row in found] == sorted(row.expected for row in found)
        mean = sum(row.n * row.realised for row in found) / len(rows)
        assert mean == pytest.approx(run.matrix.returns[rows, k].mean(), abs=1e-8)
        expected = sum(row.n * row.expected for row in found) / len(rows)
        assert expected == pytest.approx(trained.predictions.ret_ppm[rows, k].mean() / 1e6, abs=1e-8)
    with pytest.raises(KeyError):
        evaluation.overall("blend", 5)
