"""Print one digest per stage of the float side: run in other environments, the lines must be the same.

`python -m tests.support.inference_digests` under another processor name, vector level or without the compiler.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from runtime.inference.bundle import Forecasts
from runtime.inference.features import compute, feature_digests, usable
from runtime.inference.predict import Calibration, forecast
from runtime.inference.quantise import bars_to_core
from runtime.inference.trees import TreeModel, raw_scores
from runtime.inference.trend import trend_forecasts, widen
from tests.support.panels import make_panel

MODEL = Path(__file__).parent / "lite_model.txt"


def digests() -> dict[str, str]:
    """Return the digest of each stage on a small panel with holes."""
    panel = make_panel(1_700, 5, seed=77)
    rows = np.array([0, 40, 200, 719, 720, 900, 1_190, 1_699], np.int64)
    features = compute(panel, rows)
    model = TreeModel.parse(MODEL.read_text())
    scores = raw_scores(model, features.reshape(-1, features.shape[2]))
    calibration = Calibration(
        base_ppm=507_001, shrink_ppm=500_000, knots=((400_000, -9_973), (507_000, 211), (600_000, 30_011)), noise_ppm=17
    )
    own = np.where(np.arange(len(scores)) % 3 == 0, np.nan, scores / 3.0)
    predicted = forecast(scores, own, calibration)
    trend = trend_forecasts(panel, rows)
    bars, close_t = bars_to_core(panel, panel.symbols)
    stages = {
        "features": b"".join(feature_digests(features)),
        "usable": usable(features).tobytes(),
        "raw_scores": scores.tobytes(),
        "predicted": b"".join(column.tobytes() for column in predicted),
        "trend": trend.tobytes(),
        "forecasts": Forecasts(panel.symbols, close_t[rows], widen(trend), feature_digests(features)).digest.encode(),
        "bars": bars.tobytes(),
    }
    return {name: hashlib.sha256(data).hexdigest() for name, data in stages.items()}


if __name__ == "__main__":
    print(json.dumps(digests()))
