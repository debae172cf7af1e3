"""A small walk-forward run on a random market, for tests of the training package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.inference.features import DEFAULT_SPEC, compute, usable
from runtime.inference.panel import BarPanel, Floats
from tests.support.panels import make_panel
from workbench.training.executor import Executor, InProcessExecutor
from workbench.training.folds import Fold, make_folds
from workbench.training.labels import Labels, decision_rows, make_labels
from workbench.training.matrix import Matrix, make_matrix
from workbench.training.models import FitTask, Lite
from workbench.training.walk_forward import Trained, train

HORIZONS_H = (4, 24, 72)
SMALL = Lite(min_data_in_leaf=20, num_iterations=12, lambda_l2=1.0, coin_rows_min=350)


@dataclass(frozen=True)
class Small:
    """A market, its features, labels, folds and training matrix."""

    panel: BarPanel
    features: Floats
    labels: Labels
    folds: list[Fold]
    matrix: Matrix

    def train(self, executor: Executor | None = None) -> Trained:
        """Train it with small trees."""
        return train(
            self.matrix, self.labels.at_t, DEFAULT_SPEC.names, HORIZONS_H, len(self.panel.symbols), self.folds, SMALL,
            executor or InProcessExecutor(),
        )  # fmt: skip

    def task(self, folder: Path, symbol_n: int, fold_n: int = 0) -> FitTask:
        """Return one fitting task."""
        return FitTask(folder, self.folds[fold_n], symbol_n, DEFAULT_SPEC.names, HORIZONS_H, SMALL)


def small(hours: int = 10_500, assets: int = 4, folds_n: int = 2, seed: int = 5) -> Small:
    """Return a small run, ready to be trained."""
    panel = make_panel(hours, assets, seed)
    rows = decision_rows(panel, 4)
    features = compute(panel, rows)
    labels = make_labels(panel, rows, HORIZONS_H)
    known = usable(features)
    folds = make_folds(
        labels.at_t, folds_n=folds_n, horizon_max_h=72, grid_h=4, first_row=int(np.flatnonzero(known.any(axis=1))[0])
    )
    return Small(panel, features, labels, folds, make_matrix(features, labels.up, labels.returns, known))
