"""Scores against scikit-learn, and their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from workbench.training.metrics import calibration_bins, score

PPM = 1_000_000


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 400), st.integers(1, 50))
def test_scores_equal_those_of_scikit_learn(seed: int, n: int, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    prob = rng.choice(rng.integers(1, PPM, distinct), n)  # many ties on purpose
    up = rng.random(n) < 0.5
    up[:2] = True, False
    reference = rng.integers(0, PPM + 1, n)
    found = score(prob, up, reference)
    p, y = prob / PPM, up.astype(int)
    assert found.n == n
    assert found.auc == pytest.approx(sk.roc_auc_score(y, p), abs=1e-9)
    assert found.brier == pytest.approx(sk.brier_score_loss(y, p), abs=1e-9)
    assert found.log_loss == pytest.approx(sk.log_loss(y, p, labels=[0, 1]), abs=1e-8)
    assert found.accuracy == pytest.approx(sk.accuracy_score(y, p > 0.5), abs=1e-9)
    skill = 1 - sk.brier_score_loss(y, p) / sk.brier_score_loss(y, reference / PPM)
    assert found.brier_skill == pytest.approx(skill, abs=1e-8)
    bins = calibration_bins(prob, up)
    assert sum(b.n for b in bins) == n
    assert sum(b.n * b.observed for b in bins) == pytest.approx(up.sum())
    assert sum(b.n * b.prob_mean for b in bins) == pytest.approx(p.sum(), rel=1e-6)
    assert [b.prob_mean for b in bins] == sorted(b.prob_mean for b in bins)
    assert found.ece == pytest.approx(sum(b.n * abs(b.prob_mean - b.observed) for b in bins) / n, abs=1e-6)


def test_order_of_rows_changes_no_score() -> None:
    rng = np.random.default_rng(3)
    prob, up = rng.integers(0, PPM, 500), rng.random(500) < 0.4
    order = rng.permutation(500)
    assert score(prob, up, prob) == score(prob[order], up[order], prob[order])


def test_undefined_scores_are_nan_and_no_rows_are_no_error() -> None:
    one_sided = score(np.array([400_000, 600_000]), np.array([True, True]))
    assert math.isnan(one_sided.auc)
    assert math.isnan(one_sided.brier_skill)
    assert one_sided.accuracy == 0.5
    assert score(np.empty(0, np.int64), np.empty(0, bool)).n == 0


def test_certain_and_wrong_has_a_finite_log_loss() -> None:
    assert score(np.array([0, PPM]), np.array([True, False])).log_loss == pytest.approx(-math.log(1e-6), abs=1e-6)
