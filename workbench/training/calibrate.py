"""From raw scores to probabilities and expected returns, learnt on out-of-fold predictions only.

The default is the one the research kept: shrink the blended probability half-way to the base rate. Platt scaling and
isotonic regression are fitted on the same rows and measured beside it. The expected gross return is a monotone,
piecewise linear function of the calibrated probability, drawn to zero where there is little evidence. A rising market
is not an edge: what all rows gained together is taken out of it, and only a common loss is left in. Otherwise "hold while
the edge is positive" would be buy-and-hold in disguise, as the research found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from runtime.core.records import PPM
from runtime.errors import InvariantError
from runtime.inference.panel import Floats, Ints
from runtime.inference.predict import Calibration, blend, quantise_logit, shrink, sigmoid_ppm
from workbench.training.labels import HOUR_T
from workbench.training.metrics import calibration_bins

SHRINK_PPM: Final = 500_000
KNOTS_MAX: Final = 16
BIN_ROWS_MIN: Final = 500
TRUST_BLOCKS: Final = 60
"""Independent spells at which a bin's mean return is believed half-way; a spell is one horizon length of time."""
TAIL_PPM: Final = 10_000
"""Returns beyond the first and last percent are pulled in to them before means are taken."""
PROB_MIN_PPM: Final = 1_000
PLATT_DECIMALS: Final = 6
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predictions of rows that the predicting model never saw, with their outcomes, one horizon.

    Attributes:
        of_global, of_coin: float64 [P], raw scores; the per-coin one is NaN where an asset has no model.
        up: bool [P], outcomes.
        returns: float64 [P], gross returns.
        at_t: int64 [P], decision times.
        trained_until_t: int64 [P], end of the last label window the row's model was trained on.
    """

    of_global: Floats
    of_coin: Floats
    up: Bools
    returns: Floats
    at_t: Ints
    trained_until_t: Ints

    def logits(self) -> tuple[Ints, Ints, Ints]:
        """Return global, per-coin (the global one where there is none) and blended scores, int64 [P], 1e-6 units."""
        return logits(self.of_global, self.of_coin)


def logits(of_global: Floats, of_coin: Floats) -> tuple[Ints, Ints, Ints]:
    """Return global, per-coin (the global one where it is NaN) and blended scores, int64 [P], 1e-6 units."""
    own = quantise_logit(of_global)
    coin = np.where(np.isnan(of_coin), own, quantise_logit(np.nan_to_num(of_coin)))
    return own, coin, blend(own, coin)


def require_out_of_fold(rows: OutOfFold) -> None:
    """Refuse rows that lie inside the training window of the model that predicted them.

    Raises:
        InvariantError: a leak; nothing learnt from these rows can be used.
    """
    inside = rows.at_t < rows.trained_until_t
    if inside.any():
        raise InvariantError(
            f"{int(inside.sum())} of {len(inside)} calibration rows lie inside their model's training window",
            expected="predictions made by models that ended their training earlier",
            action="report this as a bug; the calibration was refused",
        )


def fit_calibration(rows: OutOfFold, base_ppm: int, horizon_h: int, shrink_ppm: int = SHRINK_PPM) -> Calibration:
    """Fit the default calibration of one horizon.

    The uncertainty of a probability is the calibration error that the out-of-fold rows show, plus half the distance of the
    two models; an asset without a model of its own gets the usual distance instead.

    Args:
        rows: out-of-fold predictions.
        base_ppm: base rate of `up` in the training window.
        horizon_h: label horizon, hours; the length of one independent spell.
        shrink_ppm: how far probabilities move towards the base rate.

    Raises:
        InvariantError: a row was trained on.
    """
    require_out_of_fold(rows)
    straight = Calibration(base_ppm=base_ppm, shrink_ppm=shrink_ppm, knots=((base_ppm, 0),))
    if not len(rows.up):
        return straight
    own, coin, both = (shrink(sigmoid_ppm(logit), straight) for logit in rows.logits())
    bins = calibration_bins(both, rows.up)
    error = sum(b.n * abs(b.prob_mean - b.observed) for b in bins) / len(both)
    together = ~np.isnan(rows.of_coin)
    distance = float(np.median(np.abs(own - coin)[together])) / 2 if together.any() else 0.0
    return Calibration(
        base_ppm=base_ppm,
        shrink_ppm=shrink_ppm,
        knots=return_knots(both, rows.returns, rows.at_t // (horizon_h * HOUR_T)),
        noise_ppm=round(error * PPM),
        alone_ppm=round(distance),
    )


def return_knots(prob_ppm: Ints, returns: Floats, spell_n: Ints) -> tuple[tuple[int, int], ...]:
    """Return knots (probability, expected gross return) in ppm: strictly ascending, and never descending.

    Per bin of equal count: mean of the returns with both tails pulled in, less the mean of all rows where that is positive,
    times n / (n + 60) for n distinct spells (rows of one spell move together and count once), then isotonic regression
    over the bins. Outside the outermost knots the mapping stays flat.

    Args:
        prob_ppm: int64 [P], calibrated probabilities; at least one.
        returns: float64 [P], gross returns as ratios.
        spell_n: int64 [P], number of the spell a row belongs to.
    """
    bins_n = max(min(len(prob_ppm) // BIN_ROWS_MIN, KNOTS_MAX), 1)
    low, high = np.quantile(returns, [TAIL_PPM / PPM, 1.0 - TAIL_PPM / PPM])
    pulled = np.clip(returns, low, high)
    drift = max(float(pulled.mean()), 0.0)
    order = np.argsort(prob_ppm, kind="stable")
    probs: list[float] = []
    means: list[float] = []
    weights: list[int] = []
    for part in np.array_split(order, bins_n):
        spells = len(np.unique(spell_n[part]))
        probs.append(float(prob_ppm[part].mean()))
        means.append((float(pulled[part].mean()) - drift) * spells / (spells + TRUST_BLOCKS))
        weights.append(len(part))
    fitted = IsotonicRegression(increasing=True).fit_transform(np.arange(bins_n), means, sample_weight=weights)
    knots: dict[int, int] = {}
    for prob, value in zip(probs, np.asarray(fitted).tolist(), strict=True):
        knots[round(prob)] = round(value * PPM)  # two bins on one probability: the later, higher return
    return tuple(knots.items())


@dataclass(frozen=True, slots=True)
class Rivals:
    """The two calibrations that are measured beside the default, fitted on the same rows.

    Attributes:
        slope, intercept: of Platt's logit, rounded: a threaded sum inside the solver may change its last bits.
    """

    slope: float
    intercept: float
    isotonic: IsotonicRegression

    def probabilities(self, logit: Ints) -> tuple[Ints, Ints]:
        """Return the Platt and the isotonic probability of blended scores, int64 [P] ppm."""
        raw = logit / PPM
        platt = sigmoid_ppm(quantise_logit(self.slope * raw + self.intercept))
        return platt, _ppm(self.isotonic.predict(raw))


def fit_rivals(rows: OutOfFold) -> Rivals | None:
    """Fit Platt scaling and isotonic regression; None when the rows hold one outcome only."""
    require_out_of_fold(rows)
    if not 0 < np.count_nonzero(rows.up) < len(rows.up):
        return None
    raw = rows.logits()[2] / PPM
    platt = LogisticRegression(C=1e6).fit(raw.reshape(-1, 1), rows.up)
    return Rivals(
        slope=round(float(platt.coef_[0, 0]), PLATT_DECIMALS),
        intercept=round(float(platt.intercept_[0]), PLATT_DECIMALS),
        isotonic=IsotonicRegression(out_of_bounds="clip", y_min=PROB_MIN_PPM / PPM, y_max=1 - PROB_MIN_PPM / PPM).fit(
            raw, rows.up.astype(np.float64)
        ),
    )


def _ppm(prob: Floats) -> Ints:
    return np.rint(np.asarray(prob, dtype=np.float64) * PPM).astype(np.int64)
