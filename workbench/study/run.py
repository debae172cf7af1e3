"""The whole study in one call; the notebook makes the same calls cell by cell."""

from __future__ import annotations

from pathlib import Path

from runtime.progress import Report, silent
from workbench.study import stages
from workbench.study.result import StudyParts, StudyResult, write_study
from workbench.study.spec import StudySpec
from workbench.training.executor import Executor
from workbench.training.tracking import begin, cancel


def run_study(spec: StudySpec, home: Path, executor: Executor, report: Report = silent, *, track: bool = True) -> StudyResult:
    """Run every stage and write the study's folder.

    Args:
        spec: what to do.
        home: where the dataset is and the study goes.
        executor: where features and models are computed; it never changes a result.
        report: told about each stage.
        track: whether the study is logged in MLflow.

    Raises:
        BallastError: see the stages; nothing of the study is left half-written.
    """
    data = stages.load(spec, home)
    features = stages.make_features(data, spec, executor, report)
    folds = stages.make_folds(features, spec)
    trained = stages.train(data, features, folds, spec, executor, report)
    tracking = begin(home) if track else None  # it gets ready on the processor that the stages below leave idle
    try:
        evaluation = stages.evaluate(data, features, trained, spec)
        shap = stages.explain(trained, spec, executor)
        ml = stages.forecast_ml(data, features, trained, spec)
        trend = stages.forecast_trend(data, features, folds, spec)
        runs = {
            stages.ML: stages.backtest(home, data, ml, stages.describe_ml(data, features, trained, spec), spec, report),
            stages.TREND: stages.backtest(home, data, trend, stages.describe_trend(spec), spec, report),
        }
        baselines = stages.baselines(data, features, folds, spec)
        parts = StudyParts(spec, data, features, trained, evaluation, shap, runs, baselines)
        return write_study(home, parts, tracking)
    finally:
        if tracking is not None:
            cancel(tracking)
