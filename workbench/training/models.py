"""LightGBM LITE, global and per coin: small trees on purpose (bigger ones lose out of sample; see research findings).

One task trains the models of all horizons on one fold and scope from one binned dataset, predicts the rows after its
training window, and compares LightGBM's scores with those of the runtime's own evaluator, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lightgbm
import numpy as np

from runtime.canonical import sha256_hex
from runtime.errors import InvariantError
from runtime.inference.panel import Floats, Ints
from runtime.inference.trees import TreeModel, raw_scores, require_logit
from workbench.training.folds import Fold
from workbench.training.matrix import Matrix, mapped

_NOT_PARAMETERS: Final = ("num_iterations", "coin_rows_min")
GLOBAL: Final = -1
"""Symbol number that stands for all coins."""


@dataclass(frozen=True, slots=True)
class Lite:
    """LightGBM LITE; the fields are LightGBM's own parameter names.

    Attributes:
        coin_rows_min: ours: training rows below which a coin gets no model of its own (500 days of four-hourly decisions).
    """

    seed: int = 7
    num_leaves: int = 7
    min_data_in_leaf: int = 500
    learning_rate: float = 0.03
    num_iterations: int = 100
    feature_fraction: float = 0.4
    bagging_fraction: float = 0.7
    bagging_freq: int = 1
    lambda_l2: float = 50.0
    max_bin: int = 63
    coin_rows_min: int = 3_000

    def parameters(self) -> dict[str, str | int | float | bool]:
        """Return LightGBM's parameters without the number of trees: one thread and a fixed histogram layout."""
        return {
            "objective": "binary",
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _NOT_PARAMETERS},
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "feature_pre_filter": False,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True)
class FitTask:
    """Train one scope on one fold.

    Attributes:
        folder: where the matrix is stored.
        symbol_n: `GLOBAL` or one asset's number.
        names: feature names, F of them.
        horizons_h: H horizons; one model each.
    """

    folder: Path
    fold: Fold
    symbol_n: int
    names: tuple[str, ...]
    horizons_h: tuple[int, ...]
    lite: Lite


@dataclass(frozen=True, slots=True)
class FittedModel:
    """One trained model and what it says about the rows after its training window.

    Attributes:
        text: LightGBM's text form, the only stored form.
        model_hash: SHA-256 of the text.
        rows: int64 [P], matrix rows it predicted: validation, then test.
        raw: float64 [P], raw scores of the runtime's evaluator.
        evaluator_equal: LightGBM's scores are the same bits.
    """

    fold_n: int
    symbol_n: int
    horizon_h: int
    text: str
    model_hash: str
    trees_n: int
    rows_train: int
    rows: Ints
    raw: Floats
    evaluator_equal: bool


def fit(task: FitTask) -> list[FittedModel]:
    """Train, predict and compare; one model per horizon, none when a coin has too few rows.

    Raises:
        DataError: a model's score is no logit, or it holds what the runtime's evaluator does not know.
    """
    matrix = mapped(task.folder)
    train = _rows(matrix, task.fold.train, task.symbol_n)
    train = train[matrix.complete[train]]
    if task.symbol_n != GLOBAL and len(train) < task.lite.coin_rows_min:
        return []
    rows = np.concatenate([_rows(matrix, task.fold.validation, task.symbol_n), _rows(matrix, task.fold.test, task.symbol_n)])
    ahead = np.ascontiguousarray(matrix.features[rows])
    up = matrix.up[train]
    parameters = task.lite.parameters()
    # Binning is half the work and the same for every horizon: the training rows have all labels.
    dataset = lightgbm.Dataset(
        matrix.features[train], label=up[:, 0], feature_name=list(task.names), params=parameters, free_raw_data=False
    ).construct()
    fitted = []
    for k, horizon_h in enumerate(task.horizons_h):
        dataset.set_label(np.ascontiguousarray(up[:, k]))
        booster = lightgbm.train(parameters, dataset, num_boost_round=task.lite.num_iterations)
        text = booster.model_to_string()
        model = TreeModel.parse(text)
        require_logit(model)
        raw = raw_scores(model, ahead)
        theirs = booster.predict(ahead, raw_score=True, num_threads=1) if len(rows) else np.empty(0)
        fitted.append(
            FittedModel(
                fold_n=task.fold.fold_n,
                symbol_n=task.symbol_n,
                horizon_h=horizon_h,
                text=text,
                model_hash=sha256_hex(text.encode()),
                trees_n=booster.num_trees(),
                rows_train=len(train),
                rows=rows,
                raw=raw,
                evaluator_equal=raw.tobytes() == np.asarray(theirs, dtype=np.float64).tobytes(),
            )
        )
    return fitted


def _rows(matrix: Matrix, window: tuple[int, int], symbol_n: int) -> Ints:
    part = matrix.between(window)
    rows = np.arange(part.start, part.stop, dtype=np.int64)
    return rows if symbol_n == GLOBAL else rows[matrix.symbol_n[part] == symbol_n]


def require_equal(models: list[FittedModel]) -> None:
    """Refuse models that the runtime's evaluator does not reproduce bit for bit.

    Raises:
        InvariantError: names the first such model.
    """
    for model in models:
        if not model.evaluator_equal:
            raise InvariantError(
                f"model {model.model_hash[:12]} (fold {model.fold_n}, {model.horizon_h} h) scores differently in our evaluator",
                expected="the same bits as LightGBM",
                action="keep the model text and report it; the model cannot be used",
            )
