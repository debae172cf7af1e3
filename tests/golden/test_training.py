"""A small walk-forward run must keep its bits: labels, folds and matrix everywhere, models per platform fingerprint.

When a change is meant to change results, run `BALLAST_WRITE_GOLDEN=1 pytest tests/golden/test_training.py` and say why in the
commit. A platform that the file does not know skips the second test with its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from runtime.canonical import digest
from runtime.inference.trend import trend_forecasts
from tests.support.training import HORIZONS_H, Small, small
from workbench.notebook.environment import environment
from workbench.training.labels import decision_rows
from workbench.training.models import Lite

GOLDEN = Path(__file__).with_name("training.json")


@pytest.fixture(scope="module")
def run() -> Small:
    return small()


def sha256(*arrays: np.ndarray) -> str:
    h = hashlib.sha256()
    for array in arrays:
        h.update(repr((array.dtype.str, array.shape)).encode())
        h.update(np.where(np.isnan(array), np.nan, array).tobytes() if array.dtype.kind == "f" else array.tobytes())
    return h.hexdigest()


def expect(section: str, found: dict[str, str]) -> None:
    """Compare with the golden file, or write it when asked to."""
    stored = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if os.environ.get("BALLAST_WRITE_GOLDEN") == "1":
        stored[section] = found
        GOLDEN.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
    if section not in stored and section != "portable":
        pytest.skip(f"no golden models for {section}: {environment().model_dump_json()}")
    assert found == stored[section]


def test_what_is_made_without_trained_models_is_the_same_everywhere(run: Small) -> None:
    rows = decision_rows(run.panel, 4)
    expect("portable", {
        "labels": sha256(run.labels.at_t, run.labels.returns, run.labels.up),
        "folds": digest([[list(f.train), list(f.validation), list(f.test), f.purge_t, f.embargo_t] for f in run.folds]),
        "matrix": sha256(run.matrix.features, run.matrix.row_n, run.matrix.symbol_n, run.matrix.starts),
        "trend": sha256(trend_forecasts(run.panel, rows).view(np.int64)),
        "lite": digest(dict(Lite().parameters())),
    })  # fmt: skip


def test_models_calibrations_and_forecasts_keep_their_bits_on_this_platform(run: Small) -> None:
    trained = run.train()
    predictions = trained.predictions
    expect(f"platform {environment().fingerprint}", {
        "models": digest([model.model_hash for model in trained.models]),
        "calibrations": digest([calibration.digest for row in trained.calibrations for calibration in row]),
        "forecasts": sha256(predictions.prob_ppm, predictions.ret_ppm, predictions.uncertainty_ppm, predictions.fold_n),
        "horizons": digest(list(HORIZONS_H)),
    })  # fmt: skip
