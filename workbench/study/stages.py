"""The stages of a walk-forward study, one plain function each, in the order in which the notebook calls them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.core.records import E8, FORECAST, INSTRUMENTS
from runtime.genesis import Bundle
from runtime.inference.bundle import BundleDescription, BundlePart, CoinModel, Forecasts, HorizonModels
from runtime.inference.features import DEFAULT_SPEC, FeatureSpec, clip, compute, feature_digests, split, usable
from runtime.inference.forecaster import daily_closes
from runtime.inference.panel import BarPanel, Bools, Floats, Ints
from runtime.inference.trend import TrendSpec, trend_forecasts, widen
from runtime.policy import load_profile
from runtime.progress import Report, silent
from workbench.backtest import Origin, RunSummary, run_backtest
from workbench.data.datasets.manifests import DatasetManifest, load_manifest, load_panel
from workbench.study.baselines import BaselineRun, run_baselines
from workbench.study.spec import StudySpec
from workbench.training import folds as folding
from workbench.training.evaluate import Evaluation
from workbench.training.evaluate import evaluate as evaluate_forecasts
from workbench.training.executor import Executor
from workbench.training.explain import ShapRow, ShapTask, sample_rows
from workbench.training.explain import explain as explain_model
from workbench.training.folds import Fold
from workbench.training.labels import decision_rows, make_labels, past_returns
from workbench.training.matrix import make_matrix
from workbench.training.models import GLOBAL, Lite
from workbench.training.walk_forward import Trained
from workbench.training.walk_forward import train as train_folds

ML, TREND = "ml", "trend"
PARTS_PER_WORKER: Final = 4


@dataclass(frozen=True, slots=True)
class StudyData:
    """The dataset of a study: its manifest and its bars."""

    manifest: DatasetManifest
    panel: BarPanel


@dataclass(frozen=True, slots=True)
class StudyFeatures:
    """Features on the decision grid.

    Attributes:
        spec: what they are; its digest is the feature set hash.
        rows: int64 [N], panel rows of the decisions.
        at_t: int64 [N], decision times.
        values: float64 [N, S, F]; NaN where a window is incomplete.
        usable: bool [N, S], where a model may be asked.
    """

    spec: FeatureSpec
    rows: Ints
    at_t: Ints
    values: Floats
    usable: Bools


@dataclass(frozen=True, slots=True)
class _FeatureTask:
    panel: BarPanel
    rows: Ints
    spec: FeatureSpec


def load(spec: StudySpec, home: Path) -> StudyData:
    """Load and verify the dataset of the spec.

    Raises:
        UsageError: there is no such dataset under `home`.
        VerificationError: manifest or bars are not what their hashes say.
    """
    manifest = load_manifest(home, spec.dataset)
    return StudyData(manifest, load_panel(home, manifest))


def make_features(data: StudyData, spec: StudySpec, executor: Executor, report: Report = silent) -> StudyFeatures:
    """Compute the features of every asset at every decision time; parts go through the executor."""
    rows = decision_rows(data.panel, spec.grid_h)
    parts = split(rows, executor.workers_n * PARTS_PER_WORKER)
    tasks = [_FeatureTask(*clip(data.panel, part), DEFAULT_SPEC) for part in parts]
    values = np.empty((len(rows), len(data.panel.symbols), len(DEFAULT_SPEC.names)))
    done = 0
    report("features", 0, len(rows))
    for found in executor.map(_compute_part, tasks):
        values[done : done + len(found)] = found
        done += len(found)
        report("features", done, len(rows))
    return StudyFeatures(DEFAULT_SPEC, rows, data.panel.open_t[rows] + data.panel.interval_t, values, usable(values))


def _compute_part(task: _FeatureTask) -> Floats:
    return compute(task.panel, task.rows, task.spec)


def make_folds(features: StudyFeatures, spec: StudySpec) -> list[Fold]:
    """Cut the decision grid into purged, embargoed folds, from the first time at which an asset can be forecast.

    Raises:
        DataError: the history is too short for the folds asked for.
    """
    found = np.flatnonzero(features.usable.any(axis=1))
    return folding.make_folds(
        features.at_t,
        folds_n=spec.folds_n,
        horizon_max_h=max(spec.horizons_h),
        grid_h=spec.grid_h,
        first_row=int(found[0]) if len(found) else len(features.at_t),
        first_test_t=spec.first_test_t(),
        train_rule=spec.train_rule,
        rolling_days=spec.rolling_days,
    )


def train(
    data: StudyData, features: StudyFeatures, folds: list[Fold], spec: StudySpec, executor: Executor, report: Report = silent
) -> Trained:
    """Label, train, calibrate and forecast every fold.

    Raises:
        InvariantError: a model that our evaluator does not reproduce, or a leak; nothing is kept then.
    """
    labels = make_labels(data.panel, features.rows, spec.horizons_h)
    matrix = make_matrix(features.values, labels.up, labels.returns, features.usable)
    return train_folds(
        matrix,
        features.at_t,
        features.spec.names,
        spec.horizons_h,
        len(data.panel.symbols),
        folds,
        Lite(seed=spec.seed),
        executor,
        report,
    )


def forecast_ml(data: StudyData, features: StudyFeatures, trained: Trained, spec: StudySpec) -> Forecasts:
    """Return the models' forecasts of all test windows as the core reads them."""
    first, end = folding.test_range(trained.folds)
    part = trained.matrix.between((first, end))
    time_n, symbol_n = trained.matrix.row_n[part] - first, trained.matrix.symbol_n[part]
    rows = np.zeros((end - first, INSTRUMENTS), FORECAST)
    predictions = trained.predictions
    for name, horizon_h in zip(("near", "main", "far"), spec.core_horizons_h, strict=True):
        k = spec.horizons_h.index(horizon_h)
        rows[f"prob_{name}_ppm"][time_n, symbol_n] = predictions.prob_ppm[part, k]
        rows[f"ret_{name}_ppm"][time_n, symbol_n] = predictions.ret_ppm[part, k]
        if name == "main":
            rows["uncertainty_ppm"][time_n, symbol_n] = predictions.uncertainty_ppm[part, k]
    rows["valid_n"][time_n, symbol_n] = 1
    return Forecasts(data.panel.symbols, features.at_t[first:end], rows, feature_digests(features.values[first:end]))


def forecast_trend(data: StudyData, features: StudyFeatures, folds: list[Fold], spec: StudySpec) -> Forecasts:
    """Return the trend rule's forecasts at the same times; their feature digests cover the daily closes the rule looks at."""
    first, end = folding.test_range(folds)
    return trend_of(data.panel, features.rows[first:end], spec)


def trend_of(panel: BarPanel, rows: Ints, spec: StudySpec) -> Forecasts:
    """Return the trend rule's forecasts at some rows of a panel."""
    found = widen(trend_forecasts(panel, rows, trend_spec(spec)))
    return Forecasts(panel.symbols, panel.open_t[rows] + panel.interval_t, found, feature_digests(daily_closes(panel, rows)))


def trend_spec(spec: StudySpec) -> TrendSpec:
    """Return the trend rule for the study's horizons."""
    return TrendSpec(horizons_h=spec.core_horizons_h)


def evaluate(data: StudyData, features: StudyFeatures, trained: Trained, spec: StudySpec) -> Evaluation:
    """Score the forecasts of all test windows against the baselines."""
    past = past_returns(data.panel, features.rows, spec.horizons_h)
    return evaluate_forecasts(trained, past[trained.matrix.row_n, trained.matrix.symbol_n])


def explain(trained: Trained, spec: StudySpec, executor: Executor) -> list[ShapRow]:
    """Return the SHAP summary of the last fold's global models over a seeded sample of its test window."""
    fold = trained.folds[-1]
    part = trained.matrix.between(fold.test)
    rows = sample_rows(np.arange(part.start, part.stop, dtype=np.int64), spec.seed)
    sample = np.ascontiguousarray(trained.matrix.features[rows])
    tasks = [
        ShapTask(model.text, model.horizon_h, trained.names, sample)
        for model in trained.models
        if model.fold_n == fold.fold_n and model.symbol_n == GLOBAL
    ]
    return [row for found in executor.map(explain_model, tasks) for row in found]


def describe_ml(data: StudyData, features: StudyFeatures, trained: Trained, spec: StudySpec) -> BundleDescription:
    """Return what the ML bundle is made of: its models and calibrations by time."""
    parts = []
    for fold in trained.folds:
        horizons = []
        for horizon_h in spec.core_horizons_h:
            models = [m for m in trained.models if (m.fold_n, m.horizon_h) == (fold.fold_n, horizon_h)]
            horizons.append(
                HorizonModels(
                    horizon_h=horizon_h,
                    global_hash=next(m.model_hash for m in models if m.symbol_n == GLOBAL),
                    coins=tuple(
                        CoinModel(symbol=data.panel.symbols[m.symbol_n], model_hash=m.model_hash)
                        for m in models
                        if m.symbol_n != GLOBAL
                    ),
                    calibration_hash=trained.calibrations[fold.fold_n][spec.horizons_h.index(horizon_h)].digest,
                )
            )
        first, end = fold.test
        to_t = int(features.at_t[end - 1]) + spec.grid_h * 3_600
        parts.append(BundlePart(fold_n=fold.fold_n, from_t=int(features.at_t[first]), to_t=to_t, horizons=tuple(horizons)))
    return BundleDescription(
        kind="ml",
        name=ML,
        feature_set_hash=features.spec.digest,
        horizons_h=spec.core_horizons_h,
        parts=tuple(parts),
        blend="equal_logit",
        assumptions=("Every forecast is made by models whose training ended before it; see the folds.",),
    )


def describe_trend(spec: StudySpec) -> BundleDescription:
    """Return what the trend bundle is made of: a rule with stated constants."""
    rule = trend_spec(spec)
    return BundleDescription(
        kind="trend",
        name=TREND,
        feature_set_hash=rule.digest,
        horizons_h=rule.horizons_h,
        assumptions=(f"{rule.carry_ppm / 10_000:g} % of a 30-day momentum is expected over the next {rule.horizons_h[-1]} h.",),
    )


def backtest(
    home: Path, data: StudyData, forecasts: Forecasts, description: BundleDescription, spec: StudySpec, report: Report = silent
) -> RunSummary:
    """Run one bundle's forecasts through the decision core.

    Raises:
        DataError, InvariantError, EnvironmentFailure: see `workbench.backtest.run_backtest`.
    """
    manifest = data.manifest
    return run_backtest(
        home,
        data.panel,
        forecasts,
        Origin(manifest.dataset_hash, manifest.source, manifest.simulated, manifest.universe_version),
        Bundle(
            name=description.name,
            bundle_hash=description.digest,
            feature_set_hash=description.feature_set_hash,
            model_hashes=tuple(description.model_hashes),
        ),
        load_profile(spec.profile),
        initial_cash_e8=spec.initial_cash_usd * E8,
        report=report,
    )


def baselines(data: StudyData, features: StudyFeatures, folds: list[Fold], spec: StudySpec) -> dict[str, BaselineRun]:
    """Return the portfolio baselines over the same time as the runs, from the first forecast on."""
    first_row = int(features.rows[folding.test_range(folds)[0]])
    return run_baselines(data.panel, first_row, spec.initial_cash_usd * E8, load_profile(spec.profile))
