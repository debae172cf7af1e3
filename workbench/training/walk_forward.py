"""The walk-forward run: models of every fold, calibrated on out-of-fold predictions, asked about their test windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.core.records import PPM
from runtime.errors import InvariantError
from runtime.inference.panel import Floats, Ints
from runtime.inference.predict import Calibration, forecast
from runtime.progress import Report, silent
from workbench.training.calibrate import OutOfFold, Rivals, fit_calibration, fit_rivals
from workbench.training.executor import Executor
from workbench.training.folds import Fold
from workbench.training.labels import HOUR_T
from workbench.training.matrix import Matrix, stored
from workbench.training.models import GLOBAL, FitTask, FittedModel, Lite, fit, require_equal


@dataclass(frozen=True, slots=True)
class RawScores:
    """Scores that models gave to rows after their own training window; NaN where none was asked or exists.

    Attributes:
        of_global, of_coin: float64 [M, H].
        fold_n: int64 [M], the fold whose models were asked; -1 where none was.
    """

    of_global: Floats
    of_coin: Floats
    fold_n: Ints


@dataclass(frozen=True, slots=True)
class Predictions:
    """Calibrated forecasts of the test windows.

    Attributes:
        prob_ppm, ret_ppm, uncertainty_ppm: int64 [M, H]; 0 where `fold_n` is -1.
        fold_n: int64 [M].
    """

    prob_ppm: Ints
    ret_ppm: Ints
    uncertainty_ppm: Ints
    fold_n: Ints


@dataclass(frozen=True, slots=True)
class Trained:
    """Everything that training made.

    Attributes:
        at_t: int64 [N], decision times; matrix row m belongs to `at_t[matrix.row_n[m]]`.
        models: in the order fold, scope (global first, then universe order), horizon.
        validation, test: raw scores of the two windows after each training window.
        base_ppm: base rate of `up` in the training window, per fold and horizon.
        calibrations, rivals: per fold and horizon.
        predictions: the forecasts of the test windows.
    """

    at_t: Ints
    horizons_h: tuple[int, ...]
    names: tuple[str, ...]
    folds: list[Fold]
    matrix: Matrix
    models: list[FittedModel]
    validation: RawScores
    test: RawScores
    base_ppm: list[list[int]]
    calibrations: list[list[Calibration]]
    rivals: list[list[Rivals | None]]
    predictions: Predictions


def train(
    matrix: Matrix,
    at_t: Ints,
    names: tuple[str, ...],
    horizons_h: tuple[int, ...],
    symbols_n: int,
    folds: list[Fold],
    lite: Lite,
    executor: Executor,
    report: Report = silent,
) -> Trained:
    """Train, calibrate and forecast every fold.

    Args:
        matrix: usable rows with features and labels.
        at_t: int64 [N], decision times.
        names: feature names.
        horizons_h: label horizons, hours, ascending.
        symbols_n: number of assets.
        folds: in time order.
        lite: model parameters, seed included.
        executor: where models are trained; it never changes a result.
        report: told after every task.

    Raises:
        InvariantError: the runtime's evaluator differs from LightGBM, or a prediction lies inside a training window.
    """
    models = _fit_all(matrix, names, horizons_h, symbols_n, folds, lite, executor, report)
    require_equal(models)
    validation, test = _collect(matrix, models, folds, len(horizons_h), horizons_h)
    base_ppm = [_base_rates(matrix, fold) for fold in folds]
    calibrations: list[list[Calibration]] = []
    rivals: list[list[Rivals | None]] = []
    for fold in folds:
        pools = [_pool(matrix, at_t, validation, folds, fold.fold_n, k, horizons_h) for k in range(len(horizons_h))]
        calibrations.append([fit_calibration(pool, base_ppm[fold.fold_n][k], horizons_h[k]) for k, pool in enumerate(pools)])
        rivals.append([fit_rivals(pool) for pool in pools])
        report("calibrate", fold.fold_n + 1, len(folds))
    predictions = _predict(test, calibrations, folds)
    check_predictions(predictions.fold_n, at_t[matrix.row_n], at_t, folds, max(horizons_h))
    return Trained(
        at_t, horizons_h, names, folds, matrix, models, validation, test, base_ppm, calibrations, rivals, predictions
    )


def _fit_all(
    matrix: Matrix,
    names: tuple[str, ...],
    horizons_h: tuple[int, ...],
    symbols_n: int,
    folds: list[Fold],
    lite: Lite,
    executor: Executor,
    report: Report,
) -> list[FittedModel]:
    with stored(matrix) as folder:
        tasks = [
            FitTask(folder, fold, symbol_n, names, horizons_h, lite)
            for fold in folds
            for symbol_n in (GLOBAL, *range(symbols_n))
        ]
        models: list[FittedModel] = []
        report("train", 0, len(tasks))
        for done, fitted in enumerate(executor.map(fit, tasks), 1):
            models.extend(fitted)
            report("train", done, len(tasks))
    return models


def _collect(
    matrix: Matrix, models: list[FittedModel], folds: list[Fold], horizons_n: int, horizons_h: tuple[int, ...]
) -> tuple[RawScores, RawScores]:
    shape = (len(matrix.row_n), horizons_n)
    validation, test = (
        RawScores(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape[0], -1, np.int64)) for _ in range(2)
    )
    for fold in folds:
        validation.fold_n[matrix.between(fold.validation)] = fold.fold_n
        test.fold_n[matrix.between(fold.test)] = fold.fold_n
    for model in models:
        k = horizons_h.index(model.horizon_h)
        first_test = int(matrix.starts[folds[model.fold_n].test[0]])
        for part, inside in ((validation, model.rows < first_test), (test, model.rows >= first_test)):
            target = part.of_global if model.symbol_n == GLOBAL else part.of_coin
            target[model.rows[inside], k] = model.raw[inside]
    return validation, test


def _base_rates(matrix: Matrix, fold: Fold) -> list[int]:
    part = matrix.between(fold.train)
    up = matrix.up[part][matrix.complete[part]]
    return [(2 * PPM * int(up[:, k].sum()) + len(up)) // (2 * len(up)) for k in range(up.shape[1])]


def _pool(
    matrix: Matrix, at_t: Ints, validation: RawScores, folds: list[Fold], fold_n: int, k: int, horizons_h: tuple[int, ...]
) -> OutOfFold:
    """Return the out-of-fold rows known before the test window of a fold: validation windows up to and including its own."""
    rows = np.flatnonzero((validation.fold_n >= 0) & (validation.fold_n <= fold_n) & ~np.isnan(matrix.up[:, k]))
    ends = np.array([int(at_t[fold.train[1] - 1]) + max(horizons_h) * HOUR_T for fold in folds], np.int64)
    return OutOfFold(
        of_global=validation.of_global[rows, k],
        of_coin=validation.of_coin[rows, k],
        up=matrix.up[rows, k] == 1.0,
        returns=matrix.returns[rows, k],
        at_t=at_t[matrix.row_n[rows]],
        trained_until_t=ends[validation.fold_n[rows]],
    )


def _predict(test: RawScores, calibrations: list[list[Calibration]], folds: list[Fold]) -> Predictions:
    shape = test.of_global.shape
    prob, ret, uncertainty = (np.zeros(shape, np.int64) for _ in range(3))
    for fold in folds:
        rows = np.flatnonzero(test.fold_n == fold.fold_n)
        for k in range(shape[1]):
            prob[rows, k], ret[rows, k], uncertainty[rows, k] = forecast(
                test.of_global[rows, k], test.of_coin[rows, k], calibrations[fold.fold_n][k]
            )
    return Predictions(prob, ret, uncertainty, test.fold_n)


def check_predictions(fold_n: Ints, predicted_t: Ints, at_t: Ints, folds: list[Fold], horizon_max_h: int) -> None:
    """Refuse a prediction that lies inside the training window of its own fold, label windows included.

    Args:
        fold_n: int64 [M], fold of each prediction; -1 is no prediction.
        predicted_t: int64 [M], its decision time.
        at_t: int64 [N], decision grid.
        folds: in time order.
        horizon_max_h: longest label horizon, hours.

    Raises:
        InvariantError: names the first such prediction.
    """
    for fold in folds:
        first_t = int(at_t[fold.train[0]])
        known_t = int(at_t[fold.train[1] - 1]) + horizon_max_h * HOUR_T
        inside = np.flatnonzero((fold_n == fold.fold_n) & (predicted_t >= first_t) & (predicted_t <= known_t))
        if len(inside):
            raise InvariantError(
                f"a prediction of fold {fold.fold_n} at {int(predicted_t[inside[0]])} lies inside its training window",
                expected=f"predictions later than {known_t}",
                action="report this as a bug; the predictions were refused",
            )
