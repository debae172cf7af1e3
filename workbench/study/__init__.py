"""The walk-forward study: a typed facade whose stages the notebook calls cell by cell, and `run_study` in one call."""

from __future__ import annotations

from workbench.study.baselines import Baseline, BaselineRun
from workbench.study.result import StudyParts, StudyResult, load_result, study_dir, write_study
from workbench.study.run import run_study
from workbench.study.spec import StudySpec, resolve_dataset
from workbench.study.stages import (
    ML,
    TREND,
    StudyData,
    StudyFeatures,
    backtest,
    baselines,
    describe_ml,
    describe_trend,
    evaluate,
    explain,
    forecast_ml,
    forecast_trend,
    load,
    make_features,
    make_folds,
    train,
)

__all__ = [
    "ML", "TREND", "Baseline", "BaselineRun", "StudyData", "StudyFeatures", "StudyParts", "StudyResult", "StudySpec", "backtest",
    "baselines", "describe_ml", "describe_trend", "evaluate", "explain", "forecast_ml", "forecast_trend", "load", "load_result",
    "make_features", "make_folds", "resolve_dataset", "run_study", "study_dir", "train", "write_study",
]  # fmt: skip
