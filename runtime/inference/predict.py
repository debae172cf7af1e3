"""From raw scores to forecasts: quantised once, integers from there on.

A raw score (a logit) becomes an integer in 1e-6 units; blending, sigmoid, shrinkage, return mapping and uncertainty
follow in int64, so that the same scores give the same forecast on every machine. The sigmoid table is made with `decimal`, whose
`exp` is correctly rounded everywhere, unlike the `exp` of a mathematics library.
"""

from __future__ import annotations

import decimal
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.canonical import digest
from runtime.errors import InvariantError
from runtime.inference.panel import Floats, Ints

PPM: Final = 1_000_000
LOGIT_MAX: Final = 16_000_000
"""Scores beyond +-16 saturate: the probability there is within 0.2 ppm of 0 or 1."""
STEP: Final = 4_000
"""Distance of the sigmoid table's knots, in 1e-6 logits. Linear interpolation errs by at most STEP**2 / 8 * max|s''| = 0.19 ppm."""
TABLE_UNIT: Final = 1_000
"""The table holds parts per billion."""


class Forecast(NamedTuple):
    """Forecast of M rows for one horizon.

    Attributes:
        prob_ppm: int64 [M], calibrated probability that the return is positive.
        ret_ppm: int64 [M], expected gross return.
        uncertainty_ppm: int64 [M], uncertainty of the probability.
    """

    prob_ppm: Ints
    ret_ppm: Ints
    uncertainty_ppm: Ints


class Calibration(BaseModel):
    """How a blended probability becomes a forecast; fitted on out-of-fold predictions only.

    Attributes:
        base_ppm: base rate of the label.
        shrink_ppm: share of the way from the probability to the base rate (500000: half-way).
        knots: pairs (prob_ppm, ret_ppm), strictly increasing in prob_ppm, not decreasing in ret_ppm; between them the expected return is
            linear, outside constant.
        noise_ppm: uncertainty of a probability of which both models agree.
        alone_ppm: further uncertainty where there is no per-coin model to agree with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    base_ppm: int = Field(ge=0, le=PPM)
    shrink_ppm: int = Field(ge=0, le=PPM)
    knots: tuple[tuple[int, int], ...] = Field(min_length=1, max_length=1_000)
    noise_ppm: int = Field(default=0, ge=0, le=PPM)
    alone_ppm: int = Field(default=0, ge=0, le=PPM)

    @model_validator(mode="after")
    def _check_knots(self) -> Calibration:
        probs, rets = [p for p, _ in self.knots], [r for _, r in self.knots]
        if any(b <= a for a, b in pairwise(probs)) or not all(0 <= p <= PPM for p in probs):
            raise ValueError(f"knots need strictly increasing probabilities within 0 .. {PPM}, got {probs}")
        if any(b < a for a, b in pairwise(rets)) or any(abs(r) > 1_000 * PPM for r in rets):
            raise ValueError(f"knots need returns that do not decrease and stay below a thousandfold, got {rets}")
        return self

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON."""
        return digest(self.model_dump(mode="json"))


def forecast(raw_global: Floats, raw_coin: Floats, calibration: Calibration) -> Forecast:
    """Return calibrated forecasts from raw scores.

    Args:
        raw_global: float64 [M], raw scores of the global model.
        raw_coin: float64 [M], raw scores of the per-coin models; NaN where an asset has none.
        calibration: the mapping of this horizon.

    Raises:
        InvariantError: a global score that is not a number.
    """
    if np.isnan(raw_global).any():
        raise InvariantError(
            f"{int(np.count_nonzero(np.isnan(raw_global)))} global scores that are not numbers",
            expected="a score for every row: trees give one even where features are missing",
            action="forecast only rows that were scored",
        )
    alone = np.isnan(raw_coin)
    own = quantise_logit(raw_global)
    coin = np.where(alone, own, quantise_logit(np.where(alone, 0.0, raw_coin)))
    prob = shrink(sigmoid_ppm(blend(own, coin)), calibration)
    spread = np.abs(shrink(sigmoid_ppm(own), calibration) - shrink(sigmoid_ppm(coin), calibration))
    uncertainty = calibration.noise_ppm + divide_even(spread, 2) + np.where(alone, calibration.alone_ppm, 0)
    return Forecast(prob, expected_return(prob, calibration), np.minimum(uncertainty, PPM))


def quantise_logit(raw: Floats) -> Ints:
    """Return raw scores in 1e-6 units, half-even, saturated at +-LOGIT_MAX."""
    return np.asarray(np.clip(np.rint(raw * float(PPM)), -LOGIT_MAX, LOGIT_MAX).astype(np.int64))


def blend(own: Ints, coin: Ints) -> Ints:
    """Return the equal-logit blend of two quantised scores, half-even."""
    return divide_even(own + coin, 2)


def sigmoid_ppm(logit: Ints) -> Ints:
    """Return 1 / (1 + exp(-x)) in ppm for scores in 1e-6 units, within 0.7 ppm; s(-x) = 1 - s(x) and monotone, exactly."""
    table = sigmoid_table()
    x = np.minimum(np.abs(logit), LOGIT_MAX)
    at = np.minimum(x // STEP, LOGIT_MAX // STEP - 1)
    rise = table[at + 1] - table[at]
    upper = divide_even(table[at] * STEP + rise * (x - at * STEP), STEP * TABLE_UNIT)
    return np.where(logit < 0, PPM - upper, upper)


@lru_cache(maxsize=1)
def sigmoid_table() -> Ints:
    """Return the sigmoid at 0, STEP, 2 STEP .. LOGIT_MAX in parts per billion, rounded half-even."""
    context = decimal.Context(prec=30, rounding=decimal.ROUND_HALF_EVEN)
    one, unit = decimal.Decimal(1), decimal.Decimal(PPM * TABLE_UNIT)
    values = []
    for logit in range(0, LOGIT_MAX + 1, STEP):
        x = context.divide(decimal.Decimal(-logit), decimal.Decimal(PPM))
        s = context.divide(one, context.add(one, context.exp(x)))
        values.append(int(context.to_integral_value(context.multiply(s, unit))))
    table = np.array(values, np.int64)
    table.setflags(write=False)
    return table


def shrink(prob_ppm: Ints, calibration: Calibration) -> Ints:
    """Return probabilities moved towards the base rate."""
    return prob_ppm + divide_even((calibration.base_ppm - prob_ppm) * calibration.shrink_ppm, PPM)


def expected_return(prob_ppm: Ints, calibration: Calibration) -> Ints:
    """Return the expected gross return of calibrated probabilities by the monotone mapping."""
    probs = np.array([p for p, _ in calibration.knots], np.int64)
    rets = np.array([r for _, r in calibration.knots], np.int64)
    if len(probs) == 1:
        return np.full(prob_ppm.shape, rets[0])
    x = np.clip(prob_ppm, probs[0], probs[-1])
    at = np.clip(np.searchsorted(probs, x, side="right") - 1, 0, len(probs) - 2)
    return rets[at] + divide_even_by((rets[at + 1] - rets[at]) * (x - probs[at]), probs[at + 1] - probs[at])


def divide_even(numerator: Ints, divisor: int) -> Ints:
    """Return the quotient by a positive constant, rounded half-even."""
    return divide_even_by(numerator, np.asarray(divisor, np.int64))


def divide_even_by(numerator: Ints, divisor: Ints) -> Ints:
    """Return the quotient by positive divisors, rounded half-even."""
    quotient = numerator // divisor
    rest = numerator - quotient * divisor
    up = (2 * rest > divisor) | ((2 * rest == divisor) & (quotient % 2 == 1))
    return np.asarray(quotient + up)
