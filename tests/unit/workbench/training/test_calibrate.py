"""Calibration: out-of-fold rows only, half-way to the base rate, monotone and cautious expected returns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from runtime.errors import InvariantError
from runtime.inference.predict import forecast, sigmoid_ppm
from workbench.training.calibrate import OutOfFold, fit_calibration, fit_rivals, logits, return_knots

PPM = 1_000_000
HOUR_T = 3_600


def rows(n: int = 8_000, *, skill: float = 1.0, seed: int = 1, coin: bool = True) -> OutOfFold:
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 0.3, n)
    up = rng.random(n) < 1 / (1 + np.exp(-skill * signal))
    returns = np.where(up, 0.02, -0.02) * rng.random(n) * 2
    of_coin = signal + rng.normal(0, 0.05, n) if coin else np.full(n, np.nan)
    at_t = 1_600_000_000 // 3600 * 3600 + 4 * HOUR_T * (np.arange(n, dtype=np.int64) // 4)
    return OutOfFold(signal, of_coin, up, returns, at_t, at_t - 1)


def test_the_default_shrinks_half_way_to_the_base_rate() -> None:
    calibration = fit_calibration(rows(), 510_000, 24)
    raw = np.array([0.4, -0.2])
    prob = forecast(raw, np.full(2, np.nan), calibration).prob_ppm
    np.testing.assert_allclose(prob, (sigmoid_ppm(np.array([400_000, -200_000])) + 510_000) / 2, atol=1)


def test_expected_returns_rise_with_the_probability_and_find_a_real_edge() -> None:
    calibration = fit_calibration(rows(), 500_000, 24)
    probs, rets = zip(*calibration.knots, strict=True)
    assert list(probs) == sorted(set(probs))
    assert list(rets) == sorted(rets)
    assert len(calibration.knots) > 4
    assert rets[0] < -2_000
    assert rets[-1] > 2_000


def test_without_skill_the_mapping_is_flat_near_zero() -> None:
    calibration = fit_calibration(rows(40_000, skill=0.0), 500_000, 24)
    assert max(abs(ret) for _, ret in calibration.knots) < 1_500


def test_little_evidence_draws_expected_returns_to_zero() -> None:
    prob = np.repeat([450_000, 550_000], 600)
    returns = np.where(prob > 500_000, 0.05, -0.05) * np.tile([0.9, 1.1], 600)
    scarce = return_knots(prob, returns, np.zeros(1_200, np.int64))
    plenty = return_knots(prob, returns, np.arange(1_200, dtype=np.int64))
    assert abs(scarce[-1][1]) < 1_000
    assert plenty[-1][1] > 40_000
    assert scarce[0][1] < 0 < scarce[-1][1]


def test_a_rising_market_is_no_edge_and_a_falling_one_is_a_warning() -> None:
    prob = np.repeat([450_000, 500_000, 550_000], 2_000)
    steps = np.tile([0.01, 0.03], 3_000)
    spells = np.arange(6_000, dtype=np.int64)
    assert all(abs(ret) < 100 for _, ret in return_knots(prob, steps, spells))
    assert all(ret < -15_000 for _, ret in return_knots(prob, -steps, spells))


def test_one_monstrous_return_does_not_carry_a_bin() -> None:
    prob = np.full(1_000, 520_000)
    returns = np.zeros(1_000)
    returns[0] = 50.0
    assert abs(return_knots(prob, returns, np.arange(1_000, dtype=np.int64))[0][1]) < 1_000


def test_few_rows_still_give_a_mapping() -> None:
    few = rows(30)
    assert len(fit_calibration(few, 500_000, 24).knots) == 1
    none = OutOfFold(*(getattr(few, name)[:0] for name in OutOfFold.__dataclass_fields__))
    assert fit_calibration(none, 480_000, 24).knots == ((480_000, 0),)


def test_uncertainty_grows_with_the_distance_of_the_two_models() -> None:
    calibration = fit_calibration(rows(), 500_000, 24)
    agree, differ, alone = forecast(np.array([0.1, 0.1, 0.1]), np.array([0.1, 0.9, np.nan]), calibration).uncertainty_ppm
    assert 0 < calibration.noise_ppm == agree < differ
    assert alone == calibration.noise_ppm + calibration.alone_ppm > agree


@pytest.mark.parametrize("fitter", [lambda r: fit_calibration(r, 500_000, 24), fit_rivals])
def test_a_row_inside_its_models_training_window_is_refused(fitter) -> None:  # type: ignore[no-untyped-def]
    clean = rows(2_000)
    late = clean.trained_until_t.copy()
    late[17] = clean.at_t[17] + 1
    with pytest.raises(InvariantError, match="1 of 2000 calibration rows lie inside"):
        fitter(OutOfFold(clean.of_global, clean.of_coin, clean.up, clean.returns, clean.at_t, late))


def test_rivals_are_probabilities_that_rise_with_the_score() -> None:
    rivals = fit_rivals(rows())
    assert rivals is not None
    grid = np.arange(-900_000, 900_001, 100_000)
    for found in rivals.probabilities(grid):
        assert (found > 0).all()
        assert (found < PPM).all()
        assert all(b >= a for a, b in pairwise(found.tolist()))
    one_sided = rows(100)
    assert fit_rivals(OutOfFold(one_sided.of_global, one_sided.of_coin, np.ones(100, bool), *_rest(one_sided))) is None


def _rest(r: OutOfFold) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return r.returns, r.at_t, r.trained_until_t


def test_an_asset_without_a_model_of_its_own_uses_the_global_score() -> None:
    own, coin, both = logits(np.array([0.5, -0.25]), np.array([np.nan, 0.75]))
    assert own.tolist() == [500_000, -250_000]
    assert coin.tolist() == [500_000, 750_000]
    assert both.tolist() == [500_000, 250_000]
