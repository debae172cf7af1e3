"""Forecasts refuse forms the core could misread; digests cover every byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.errors import InvariantError
from runtime.inference.bundle import BundleDescription, BundlePart, CoinModel, Forecasts, HorizonModels


def make() -> Forecasts:
    rows = np.zeros((2, INSTRUMENTS), FORECAST)
    rows["valid_n"][:, :2] = 1
    rows["ret_far_ppm"][1, 1] = 77
    return Forecasts(("BTC", "ETH"), np.array([3_600, 7_200], np.int64), rows, [b"a" * 32, b"b" * 32])


def test_the_digest_covers_symbols_times_rows_and_features() -> None:
    base = make()
    other = make()
    other.rows["ret_far_ppm"][1, 1] = 78
    variants = [
        base,
        other,
        replace(base, symbols=("BTC", "SOL")),
        replace(base, at_t=base.at_t + 1),
        replace(base, feature_digests=[b"a" * 32, b"c" * 32]),
    ]
    assert len({v.digest for v in variants}) == 5
    assert make().digest == base.digest
    assert base.digest[:16] == "ec3ee610345b9fab"


def test_forms_the_core_could_misread_are_refused() -> None:
    base = make()
    stray = base.rows.copy()
    stray["valid_n"][0, 5] = 1
    for change in (
        {"rows": base.rows[:1]},
        {"rows": base.rows.view(np.int64)},
        {"at_t": base.at_t[::-1].copy()},
        {"at_t": base.at_t.astype(np.float64)},
        {"feature_digests": [b"a" * 32]},
        {"feature_digests": [b"a" * 32, b"b" * 31]},
        {"symbols": ("BTC", "BTC")},
        {"rows": stray},
    ):
        with pytest.raises(InvariantError):
            replace(base, **change)


def test_a_description_lists_its_models_and_survives_json() -> None:
    a, b, c, d = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
    horizon = HorizonModels(horizon_h=24, global_hash=c, coins=(CoinModel(symbol="BTC", model_hash=a),), calibration_hash=d)
    part = BundlePart(fold_n=0, from_t=0, to_t=10, horizons=(horizon, horizon.model_copy(update={"global_hash": b})))
    bundle = BundleDescription(
        kind="ml", name="ml", feature_set_hash=d, horizons_h=(4, 24, 72), parts=(part,), blend="equal_logit"
    )
    assert bundle.model_hashes == [a, b, c]
    assert BundleDescription.model_validate_json(bundle.model_dump_json()).digest == bundle.digest
    assert bundle.model_copy(update={"assumptions": ("x",)}).digest != bundle.digest
    with pytest.raises(ValidationError):
        BundleDescription(kind="ml", name="ML run", feature_set_hash=d, horizons_h=(4, 24, 72))
    with pytest.raises(ValidationError):
        CoinModel(symbol="BTC", model_hash="not a hash")
