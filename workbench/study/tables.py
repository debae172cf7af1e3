"""The tables of a study as Arrow: fixed column order and types, rows in a fixed order, no clock, no path."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.adapters.projections import PROJECTIONS_NAME
from runtime.home import runs_path
from runtime.inference.panel import Ints
from workbench.backtest import RunSummary
from workbench.study.baselines import BaselineRun
from workbench.study.stages import StudyFeatures
from workbench.training.evaluate import Evaluation
from workbench.training.explain import ShapRow
from workbench.training.folds import test_range
from workbench.training.models import GLOBAL
from workbench.training.walk_forward import Trained

COMPRESSION: Final = "zstd"


def write_table(table: pa.Table, path: Path) -> None:
    """Write one Parquet file; the same table gives the same bytes."""
    pq.write_table(table, path, compression=COMPRESSION)


def folds_table(trained: Trained) -> pa.Table:
    """Return one row per fold: first and last decision time of each window, and the rows in it."""
    at_t, matrix = trained.at_t, trained.matrix
    rows: list[dict[str, int]] = []
    for fold in trained.folds:
        row = {"fold_n": fold.fold_n}
        for name, (first, end) in (("train", fold.train), ("validation", fold.validation), ("test", fold.test)):
            row[f"{name}_first_t"], row[f"{name}_last_t"] = int(at_t[first]), int(at_t[end - 1])
        row["purge_t"], row["embargo_t"] = fold.purge_t, fold.embargo_t
        train = matrix.between(fold.train)
        row["rows_train"] = int(matrix.complete[train].sum())
        for name, window in (("validation", fold.validation), ("test", fold.test)):
            part = matrix.between(window)
            row[f"rows_{name}"] = part.stop - part.start
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.int64()) for name in rows[0]]))


def metrics_table(evaluation: Evaluation) -> pa.Table:
    """Return the scores of every forecaster, horizon and fold; -1 is all folds, NaN is undefined."""
    schema = pa.schema([
        ("model", pa.string()), ("horizon_h", pa.int64()), ("fold_n", pa.int64()), ("n", pa.int64()),
        *((name, pa.float64()) for name in ("auc", "brier", "brier_skill", "log_loss", "ece", "accuracy")),
    ])  # fmt: skip
    rows = [{"model": r.model, "horizon_h": r.horizon_h, "fold_n": r.fold_n, **asdict(r.scores)} for r in evaluation.metrics]
    return pa.Table.from_pylist(rows, schema=schema)


def calibration_table(evaluation: Evaluation) -> pa.Table:
    """Return the calibration bars of the product's forecasts over all test windows."""
    schema = pa.schema([
        ("horizon_h", pa.int64()), ("bin_n", pa.int64()), ("prob_mean", pa.float64()), ("observed", pa.float64()), ("n", pa.int64()),
    ])  # fmt: skip
    rows = [{"horizon_h": r.horizon_h, "bin_n": r.bin_n, **asdict(r.bin)} for r in evaluation.calibration]
    return pa.Table.from_pylist(rows, schema=schema)


def returns_table(evaluation: Evaluation) -> pa.Table:
    """Return expected against realised gross returns, as ratios, by horizon and bin of the expectation, over all test windows."""
    schema = pa.schema([
        ("horizon_h", pa.int64()), ("bin_n", pa.int64()), ("expected", pa.float64()), ("realised", pa.float64()), ("n", pa.int64()),
    ])  # fmt: skip
    return pa.Table.from_pylist([asdict(row) for row in evaluation.returns], schema=schema)


def shap_table(rows: list[ShapRow]) -> pa.Table:
    """Return mean absolute and mean SHAP values, in log-odds, by horizon and feature."""
    schema = pa.schema(
        [("horizon_h", pa.int64()), ("feature", pa.string()), ("mean_abs", pa.float64()), ("mean", pa.float64())]
    )
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)


def models_table(trained: Trained, symbols: tuple[str, ...]) -> pa.Table:
    """Return one row per model; `scope` is `global` or the asset."""
    schema = pa.schema([
        ("model_hash", pa.string()), ("scope", pa.string()), ("horizon_h", pa.int64()), ("fold_n", pa.int64()),
        ("trees_n", pa.int64()), ("rows_train", pa.int64()), ("bytes_n", pa.int64()), ("evaluator_equal", pa.bool_()),
        ("rows_compared", pa.int64()),
    ])  # fmt: skip
    rows = [
        {
            "model_hash": m.model_hash, "scope": "global" if m.symbol_n == GLOBAL else symbols[m.symbol_n],
            "horizon_h": m.horizon_h, "fold_n": m.fold_n, "trees_n": m.trees_n, "rows_train": m.rows_train,
            "bytes_n": len(m.text.encode()), "evaluator_equal": m.evaluator_equal, "rows_compared": len(m.rows),
        }
        for m in trained.models
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


def predictions_table(trained: Trained, symbols: tuple[str, ...]) -> pa.Table:
    """Return every forecast of the test windows, time-major, with the training window of the models that made it."""
    first, end = test_range(trained.folds)
    part = trained.matrix.between((first, end))
    horizons_n = len(trained.horizons_h)

    def repeated(values: Ints) -> pa.Array:
        return pa.array(np.repeat(values, horizons_n))

    fold_n = trained.predictions.fold_n[part]
    trained_from = np.array([int(trained.at_t[fold.train[0]]) for fold in trained.folds], np.int64)
    trained_to = np.array([int(trained.at_t[fold.train[1] - 1]) for fold in trained.folds], np.int64)
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(trained.matrix.symbol_n[part].astype(np.int32), horizons_n)), pa.array(symbols)
    )
    return pa.table(
        {
            "at_t": repeated(trained.at_t[trained.matrix.row_n[part]]),
            "symbol": names,
            "horizon_h": pa.array(np.tile(np.array(trained.horizons_h, np.int64), part.stop - part.start)),
            "prob_ppm": pa.array(trained.predictions.prob_ppm[part].ravel()),
            "ret_ppm": pa.array(trained.predictions.ret_ppm[part].ravel()),
            "uncertainty_ppm": pa.array(trained.predictions.uncertainty_ppm[part].ravel()),
            "fold_n": repeated(fold_n),
            "train_first_t": repeated(trained_from[fold_n]),
            "train_last_t": repeated(trained_to[fold_n]),
        }
    )


def equity_table(
    home: Path, features: StudyFeatures, trained: Trained, runs: dict[str, RunSummary], baselines: dict[str, BaselineRun]
) -> pa.Table:
    """Return the portfolio value of every run and baseline at every decision time from the first forecast on, and at the end."""
    first, end = test_range(trained.folds)
    curves: dict[str, tuple[Ints, Ints]] = {}
    for name, summary in runs.items():
        table = pq.read_table(
            runs_path(home) / summary.run_id / PROJECTIONS_NAME / "portfolio_hourly_state.parquet", columns=["at_t", "pv_e8"]
        )
        curves[name] = table["at_t"].to_numpy(), table["pv_e8"].to_numpy()
    for name, run in baselines.items():
        curves[name] = run.at_t, run.pv_e8
    last_t = min(int(at_t[-1]) for at_t, _ in curves.values())
    wanted = np.unique(np.append(features.at_t[first:end], last_t))
    wanted = wanted[wanted <= last_t]
    return pa.table(
        {
            "at_t": pa.array(np.tile(wanted, len(curves))),
            "series": pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.arange(len(curves), dtype=np.int32), len(wanted))), pa.array(list(curves))
            ),
            "pv_e8": pa.array(
                np.concatenate([pv[np.searchsorted(at_t, wanted, side="right") - 1] for at_t, pv in curves.values()])
            ),
        }
    )
