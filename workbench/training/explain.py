"""Which features move the forecasts: exact TreeSHAP values of the last fold's global models on a seeded sample.

LightGBM computes them itself (`pred_contrib`); `shap.TreeExplainer` calls that very function for LightGBM models, and a
test compares the two. Importing shap costs five seconds and nothing here needs the rest of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import lightgbm
import numpy as np

from runtime.inference.panel import Floats, Ints
from workbench.training.metrics import rounded

SAMPLE_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class ShapTask:
    """Explain one model on some rows.

    Attributes:
        text: LightGBM's text form.
        features: float64 [R, F].
    """

    text: str
    horizon_h: int
    names: tuple[str, ...]
    features: Floats


@dataclass(frozen=True, slots=True)
class ShapRow:
    """One feature's SHAP summary in log-odds: mean absolute and mean contribution over the sample."""

    horizon_h: int
    feature: str
    mean_abs: float
    mean: float


def sample_rows(rows: Ints, seed: int, rows_n: int = SAMPLE_ROWS) -> Ints:
    """Return a seeded sample without replacement, ascending; all rows when there are few."""
    if len(rows) <= rows_n:
        return rows
    chosen = np.random.Generator(np.random.PCG64(seed)).choice(len(rows), rows_n, replace=False, shuffle=False)
    return rows[np.sort(chosen)]


def explain(task: ShapTask) -> list[ShapRow]:
    """Return the SHAP summary of one model, most important feature first (ties by name)."""
    booster = lightgbm.Booster(model_str=task.text)
    values = booster.predict(task.features, pred_contrib=True, num_threads=1)
    contributions = np.asarray(values)[:, : len(task.names)]  # the last column is the expected value
    strength, direction = np.abs(contributions).mean(axis=0).tolist(), contributions.mean(axis=0).tolist()
    rows = [
        ShapRow(task.horizon_h, name, rounded(s), rounded(d))
        for name, s, d in zip(task.names, strength, direction, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.mean_abs, row.feature))
