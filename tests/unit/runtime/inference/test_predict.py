"""Scores become integers once; sigmoid, shrinkage, mapping and uncertainty are exact from there on."""

from __future__ import annotations

import decimal

import numpy as np
import pytest
from pydantic import ValidationError

from runtime.errors import InvariantError
from runtime.inference.predict import (
    LOGIT_MAX,
    PPM,
    STEP,
    Calibration,
    blend,
    divide_even,
    expected_return,
    forecast,
    quantise_logit,
    shrink,
    sigmoid_ppm,
    sigmoid_table,
)

PLAIN = Calibration(base_ppm=500_000, shrink_ppm=0, knots=((400_000, -10_000), (500_000, 0), (600_000, 20_000)))


def exact_sigmoid_ppm(logit: int) -> decimal.Decimal:
    with decimal.localcontext(decimal.Context(prec=40)):
        return PPM / (1 + (decimal.Decimal(-logit) / PPM).exp())


def test_sigmoid_is_within_seven_tenths_of_a_ppm() -> None:
    g = np.random.default_rng(1)
    logits = np.concatenate([
        g.integers(-LOGIT_MAX, LOGIT_MAX + 1, 3_000), g.integers(-2_000_000, 2_000_000, 3_000),
        np.arange(-10, 11), np.array([STEP // 2 + STEP * i for i in range(0, 1_000, 7)]), np.array([-LOGIT_MAX, LOGIT_MAX]),
    ])  # fmt: skip
    found = sigmoid_ppm(logits)
    worst = max(abs(int(p) - exact_sigmoid_ppm(int(x))) for x, p in zip(logits, found, strict=True))
    assert decimal.Decimal("0.4") < worst < decimal.Decimal("0.7")


def test_sigmoid_is_symmetric_monotone_and_saturates() -> None:
    x = np.arange(-LOGIT_MAX - 5_000, LOGIT_MAX + 5_000, 997, dtype=np.int64)
    p = sigmoid_ppm(x)
    assert (np.diff(p) >= 0).all()
    assert (sigmoid_ppm(-x) == PPM - p).all()
    assert sigmoid_ppm(np.array([0, 10 * LOGIT_MAX, -10 * LOGIT_MAX])).tolist() == [500_000, PPM, 0]


def test_the_table_is_on_record() -> None:
    table = sigmoid_table()
    assert len(table) == LOGIT_MAX // STEP + 1
    assert table[[0, 1, 250, 500, 4_000]].tolist() == [500_000_000, 500_999_999, 731_058_579, 880_797_078, 999_999_887]
    assert not table.flags.writeable


def test_division_rounds_half_even() -> None:
    assert divide_even(np.array([-5, -3, -1, 0, 1, 3, 5, 7]), 2).tolist() == [-2, -2, 0, 0, 0, 2, 2, 4]
    assert divide_even(np.array([-4, -2, -1, 1, 2, 4]), 3).tolist() == [-1, -1, 0, 0, 1, 1]


def test_logits_are_quantised_half_even_and_saturate() -> None:
    raw = np.array([0.0, 5e-7, 1.5e-6, -5e-7, 1.0, 99.0, -np.inf, np.inf])
    assert quantise_logit(raw).tolist() == [0, 0, 2, 0, PPM, LOGIT_MAX, -LOGIT_MAX, LOGIT_MAX]


def test_blend_is_the_mean_of_logits() -> None:
    assert blend(np.array([10, 11, -11]), np.array([20, 20, -20])).tolist() == [15, 16, -16]


def test_shrinkage_moves_towards_the_base_rate() -> None:
    half = Calibration(base_ppm=510_000, shrink_ppm=500_000, knots=((0, 0),))
    assert shrink(np.array([610_000, 410_000, 510_000]), half).tolist() == [560_000, 460_000, 510_000]
    full = Calibration(base_ppm=510_000, shrink_ppm=PPM, knots=((0, 0),))
    assert shrink(np.array([0, 999_999]), full).tolist() == [510_000, 510_000]


def test_expected_return_is_piecewise_linear_and_flat_outside() -> None:
    probs = np.array([0, 400_000, 450_000, 500_000, 525_000, 600_000, PPM])
    assert expected_return(probs, PLAIN).tolist() == [-10_000, -10_000, -5_000, 0, 5_000, 20_000, 20_000]
    one = Calibration(base_ppm=500_000, shrink_ppm=0, knots=((500_000, 7),))
    assert expected_return(np.array([0, PPM]), one).tolist() == [7, 7]


def test_forecast_blends_and_states_its_uncertainty() -> None:
    cal = Calibration(base_ppm=500_000, shrink_ppm=0, knots=PLAIN.knots, noise_ppm=1_000, alone_ppm=30_000)
    own, coin = np.array([0.2, 0.2, -0.1]), np.array([0.0, np.nan, -0.1])
    found = forecast(own, coin, cal)
    assert found.prob_ppm.tolist() == [524_979, 549_834, 475_021]
    assert found.uncertainty_ppm.tolist() == [25_917, 31_000, 1_000]
    assert found.ret_ppm.tolist() == [4_996, 9_967, -2_498]
    assert all(column.dtype == np.int64 for column in found)


def test_a_score_that_is_no_number_stops() -> None:
    with pytest.raises(InvariantError, match="not numbers"):
        forecast(np.array([np.nan]), np.array([0.0]), PLAIN)


@pytest.mark.parametrize(
    "knots", [(), ((1, 0), (1, 0)), ((2, 0), (1, 0)), ((1, 5), (2, 4)), ((-1, 0),), ((PPM + 1, 0),), ((1, 10**10),)]
)
def test_calibrations_that_are_no_monotone_mapping_are_refused(knots: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValidationError):
        Calibration(base_ppm=500_000, shrink_ppm=0, knots=knots)


def test_calibration_survives_json_and_its_digest_covers_it() -> None:
    again = Calibration.model_validate_json(PLAIN.model_dump_json())
    assert again == PLAIN
    assert again.digest == PLAIN.digest
    assert PLAIN.model_copy(update={"noise_ppm": 1}).digest != PLAIN.digest
