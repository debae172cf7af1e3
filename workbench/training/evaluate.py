"""How good the forecasts of the test windows are, against forecasters that know nothing or nearly nothing.

Every forecaster of one horizon is scored on the same rows (`per_coin` on those that have such a model). Skill is measured
against the base rate of the fold's own training window. A model that does not beat its baselines is said not to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.records import PPM
from runtime.inference.panel import Floats, Ints
from runtime.inference.predict import sigmoid_ppm
from workbench.training.calibrate import logits
from workbench.training.folds import Fold
from workbench.training.matrix import Matrix
from workbench.training.metrics import Bin, Scores, calibration_bins, rounded, score
from workbench.training.walk_forward import Trained

ALL_FOLDS: Final = -1
SINGLE_FEATURE: Final = "mom_24"
QUANTILES_N: Final = 10
PRODUCT: Final = "blend"
BASELINES: Final = ("base_rate", "persistence", "single_feature")
BASELINE_WORDS: Final = {
    "base_rate": "the base rate",
    "persistence": "persistence (the last move goes on)",
    "single_feature": f"the single feature {SINGLE_FEATURE}",
}
SOLID_SKILL: Final = 0.001
"""Brier skill below a tenth of a percent is called small."""
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """Scores of one forecaster, horizon and fold (`ALL_FOLDS`: all test windows together)."""

    model: str
    horizon_h: int
    fold_n: int
    scores: Scores


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """One bar of the calibration table of the product's forecasts over all test windows."""

    horizon_h: int
    bin_n: int
    bin: Bin


@dataclass(frozen=True, slots=True)
class ReturnRow:
    """One bar of the table of expected returns: what the forecasts of a bin expected and what came, gross, as ratios."""

    horizon_h: int
    bin_n: int
    expected: float
    realised: float
    n: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the forecasts are worth; `verdict` says it in plain words, one sentence per finding."""

    metrics: list[MetricRow]
    calibration: list[CalibrationRow]
    returns: list[ReturnRow]
    verdict: list[str]

    def overall(self, model: str, horizon_h: int) -> Scores:
        """Return the scores over all folds; raises `KeyError` for an unknown forecaster or horizon."""
        for row in self.metrics:
            if (row.model, row.horizon_h, row.fold_n) == (model, horizon_h, ALL_FOLDS):
                return row.scores
        raise KeyError((model, horizon_h))


def evaluate(trained: Trained, past: Floats) -> Evaluation:
    """Score every forecaster on every fold and over all of them.

    Args:
        trained: what training made.
        past: float64 [M, H], return over the horizon's length that ended at the decision, per matrix row; NaN across a gap.
    """
    metrics: list[MetricRow] = []
    calibration: list[CalibrationRow] = []
    returns: list[ReturnRow] = []
    for k, horizon_h in enumerate(trained.horizons_h):
        rows = np.flatnonzero((trained.test.fold_n >= 0) & ~np.isnan(trained.matrix.up[:, k]))
        fold_n = trained.test.fold_n[rows]
        up = trained.matrix.up[rows, k] == 1.0
        forecasters = _forecasters(trained, past, rows, k)
        reference = forecasters["base_rate"]
        for name, prob in forecasters.items():
            known = prob >= 0
            for n in (ALL_FOLDS, *(fold.fold_n for fold in trained.folds)):
                chosen = known if n == ALL_FOLDS else known & (fold_n == n)
                metrics.append(MetricRow(name, horizon_h, n, score(prob[chosen], up[chosen], reference[chosen])))
        bins = calibration_bins(forecasters[PRODUCT], up)
        calibration += [CalibrationRow(horizon_h, b, found) for b, found in enumerate(bins)]
        returns += _return_rows(horizon_h, trained.predictions.ret_ppm[rows, k], trained.matrix.returns[rows, k])
    evaluation = Evaluation(metrics, calibration, returns, [])
    verdict = [sentence for horizon_h in trained.horizons_h for sentence in forecast_verdict(evaluation, horizon_h)]
    return Evaluation(metrics, calibration, returns, verdict)


def _forecasters(trained: Trained, past: Floats, rows: Ints, k: int) -> dict[str, Ints]:
    """Return each forecaster's probability in ppm on the rows; -1 where it has none."""
    of_coin = trained.test.of_coin[rows, k]
    own, coin, both = logits(trained.test.of_global[rows, k], of_coin)
    fold_n = trained.test.fold_n[rows]
    found = {
        PRODUCT: trained.predictions.prob_ppm[rows, k],
        "global": sigmoid_ppm(own),
        "per_coin": np.where(np.isnan(of_coin), -1, sigmoid_ppm(coin)),
        "blend_raw": sigmoid_ppm(both),
        "blend_platt": np.full(len(rows), -1, np.int64),
        "blend_isotonic": np.full(len(rows), -1, np.int64),
        **{name: np.zeros(len(rows), np.int64) for name in BASELINES},
    }
    feature = trained.names.index(SINGLE_FEATURE) if SINGLE_FEATURE in trained.names else 0
    for fold in trained.folds:
        here = fold_n == fold.fold_n
        rival = trained.rivals[fold.fold_n][k]
        if rival is not None and here.any():
            found["blend_platt"][here], found["blend_isotonic"][here] = rival.probabilities(both[here])
        base = trained.base_ppm[fold.fold_n][k]
        found["base_rate"][here] = base
        train = _training_rows(trained.matrix, fold)
        up = trained.matrix.up[train, k] == 1.0
        found["persistence"][here] = _by_group(_sign(past[train, k]), up, _sign(past[rows[here], k]), base)
        learnt = np.asarray(trained.matrix.features[train, feature])
        edges = _edges(learnt)
        asked = np.asarray(trained.matrix.features[rows[here], feature])
        found["single_feature"][here] = _by_group(_quantile(learnt, edges), up, _quantile(asked, edges), base)
    return found


def _return_rows(horizon_h: int, expected_ppm: Ints, realised: Floats) -> list[ReturnRow]:
    """Return bins of equal row count in order of the expected return; equal expectations never straddle a border."""
    values, inverse = np.unique(expected_ppm, return_inverse=True)
    total = np.bincount(inverse, minlength=len(values))
    ended = np.cumsum(total)
    bin_n = ((2 * ended - total) * QUANTILES_N // (2 * max(len(expected_ppm), 1)))[inverse]
    found = []
    for b in np.unique(bin_n).tolist():
        inside = bin_n == b
        n = int(inside.sum())
        expected = int(expected_ppm[inside].sum()) / (n * PPM)
        found.append(ReturnRow(horizon_h, b, rounded(expected), rounded(math.fsum(realised[inside].tolist()) / n), n))
    return found


def _training_rows(matrix: Matrix, fold: Fold) -> Ints:
    part = matrix.between(fold.train)
    rows = np.arange(part.start, part.stop, dtype=np.int64)
    return rows[matrix.complete[part]]


def _sign(past: Floats) -> Ints:
    """Return 1 after a rise, 0 after a fall or no change, -1 where the past return is missing."""
    return np.where(np.isnan(past), -1, (past > 0.0).astype(np.int64))


def _edges(values: Floats) -> Floats:
    known = values[~np.isnan(values)]
    if not len(known):
        return np.empty(0)
    return np.asarray(np.unique(np.quantile(known, np.arange(1, QUANTILES_N) / QUANTILES_N)))


def _quantile(values: Floats, edges: Floats) -> Ints:
    return np.where(np.isnan(values), -1, np.searchsorted(edges, values)).astype(np.int64)


def _by_group(learnt: Ints, up: Bools, asked: Ints, base_ppm: int) -> Ints:
    """Return for each asked group the share of `up` among the learnt rows of that group; the base rate where it is -1."""
    prob = np.full(len(asked), base_ppm, np.int64)
    for group in range(int(max(learnt.max(initial=-1), asked.max(initial=-1))) + 1):
        members = learnt == group
        n = int(members.sum())
        if n:
            prob[asked == group] = (2 * PPM * int(up[members].sum()) + n) // (2 * n)
    return prob


def forecast_verdict(evaluation: Evaluation, horizon_h: int) -> list[str]:
    """Return what the scores of one horizon say, in plain words."""
    product = evaluation.overall(PRODUCT, horizon_h)
    if product.n == 0 or math.isnan(product.brier_skill):
        return [f"{horizon_h} h: no forecast could be scored."]
    lost = [BASELINE_WORDS[name] for name in BASELINES if evaluation.overall(name, horizon_h).brier <= product.brier]
    figures = f"AUC {product.auc:.3f}, Brier skill {100 * product.brier_skill:+.2f} % on {product.n:,} forecasts"
    if lost:
        return [f"{horizon_h} h: the model does NOT beat {' or '.join(lost)} ({figures})."]
    folds = [
        row.scores.brier_skill
        for row in evaluation.metrics
        if (row.model, row.horizon_h) == (PRODUCT, horizon_h) and row.fold_n != ALL_FOLDS
    ]
    better = sum(skill > 0 for skill in folds)
    size = "by a small margin" if product.brier_skill < SOLID_SKILL else "with real but small skill"
    return [f"{horizon_h} h: the model beats every baseline {size}, in {better} of {len(folds)} folds ({figures})."]
