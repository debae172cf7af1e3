"""Scores of probability forecasts, computed from integers so that they are the same numbers everywhere.

Probabilities are parts per million. Everything is counted per distinct probability: AUC, Brier score and accuracy are
exact ratios of integers, and only the logarithm of the log loss is a float function. Tested against scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.records import PPM
from runtime.inference.panel import Ints

BINS_N: Final = 10
DECIMALS: Final = 9
"""Reported scores are rounded to this many decimals: the last bits of a logarithm may differ between machines."""
LOG_CLIP_PPM: Final = 1
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one forecaster on one set of rows; NaN where they are undefined.

    Attributes:
        n: rows scored.
        auc: area under the ROC curve; ties count one half.
        brier: mean squared error of the probability.
        brier_skill: 1 - brier / brier of the reference; positive is better than the reference.
        log_loss: mean negative log likelihood, natural logarithm.
        ece: mean absolute distance of forecast and observed share over bins of equal count, weighted by count.
        accuracy: share of rows where `probability > 1/2` equals the outcome.
    """

    n: int
    auc: float
    brier: float
    brier_skill: float
    log_loss: float
    ece: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a calibration table: mean forecast, observed share and number of rows."""

    prob_mean: float
    observed: float
    n: int


def counts(prob_ppm: Ints, up: Bools) -> tuple[Ints, Ints, Ints]:
    """Return distinct probabilities ascending, and how many positive and negative outcomes each has."""
    if not len(prob_ppm):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    lowest = int(prob_ppm.min())
    total = np.bincount(prob_ppm - lowest)  # forecasts lie close together: counting beats sorting
    positive = np.bincount((prob_ppm - lowest)[up], minlength=len(total))
    found = np.flatnonzero(total)
    return found + lowest, positive[found], total[found] - positive[found]


def score(prob_ppm: Ints, up: Bools, reference_ppm: Ints | None = None) -> Scores:
    """Score probabilities against outcomes.

    Args:
        prob_ppm: int64 [M], probability of `up`.
        up: bool [M], outcomes.
        reference_ppm: int64 [M], the forecast that skill is measured against; None leaves the skill undefined.
    """
    n = len(prob_ppm)
    if n == 0:
        return Scores(0, *(math.nan,) * 6)
    values, positive, negative = counts(prob_ppm, up)
    squares = squared_error(prob_ppm, up)
    skill = math.nan
    if reference_ppm is not None:
        reference = squared_error(reference_ppm, up)
        skill = 1.0 - squares / reference if reference else math.nan
    right_n = int(negative[2 * values <= PPM].sum()) + int(positive[2 * values > PPM].sum())
    ece = sum(b.n * abs(b.prob_mean - b.observed) for b in _bins(values, positive, negative, BINS_N)) / n
    return Scores(
        n=n,
        auc=rounded(_auc(positive, negative)),
        brier=rounded(squares / (n * PPM * PPM)),
        brier_skill=rounded(skill),
        log_loss=rounded(_log_loss(values, positive, negative)),
        ece=rounded(ece),
        accuracy=rounded(right_n / n),
    )


def squared_error(prob_ppm: Ints, up: Bools) -> int:
    """Return the sum of squared errors in 1e-12 units; exact for fewer than nine million rows."""
    error = prob_ppm - np.where(up, PPM, 0)
    return int((error * error).sum())


def calibration_bins(prob_ppm: Ints, up: Bools, bins_n: int = BINS_N) -> list[Bin]:
    """Return bins of equal row count in order of the forecast; equal forecasts never straddle a border."""
    return _bins(*counts(prob_ppm, up), bins_n)


def rounded(value: float) -> float:
    """Return a score rounded to the reported decimals (NaN stays)."""
    return value if math.isnan(value) else round(value, DECIMALS)


def _bins(values: Ints, positive: Ints, negative: Ints, bins_n: int) -> list[Bin]:
    total = positive + negative
    ended = np.cumsum(total)
    # A distinct probability belongs to the bin in which its middle row falls.
    bin_n = (2 * ended - total) * bins_n // (2 * max(int(ended[-1]), 1)) if len(values) else np.empty(0, np.int64)
    bins = []
    for b in range(bins_n):
        inside = bin_n == b
        n = int(total[inside].sum())
        if n:
            mean = int((values[inside] * total[inside]).sum()) / (n * PPM)
            bins.append(Bin(rounded(mean), rounded(int(positive[inside].sum()) / n), n))
    return bins


def _auc(positive: Ints, negative: Ints) -> float:
    # Mann-Whitney: pairs won plus half the ties, doubled to stay in integers.
    below = np.cumsum(negative) - negative
    won = int((positive * (2 * below + negative)).sum())
    pairs = int(positive.sum()) * int(negative.sum())
    return won / (2 * pairs) if pairs else math.nan


def _log_loss(values: Ints, positive: Ints, negative: Ints) -> float:
    clipped = np.clip(values, LOG_CLIP_PPM, PPM - LOG_CLIP_PPM).tolist()
    terms = (
        -p * math.log(v / PPM) - q * math.log((PPM - v) / PPM)
        for v, p, q in zip(clipped, positive.tolist(), negative.tolist(), strict=True)
    )
    return math.fsum(terms) / int(positive.sum() + negative.sum())
