"""What a study found, and its folder: `study.json`, tables, models, calibrations and bundle descriptions.

Nothing in the folder depends on the clock, the machine's name, a path or the number of workers.
"""

from __future__ import annotations

import filecmp
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from runtime.canonical import canonical_json, digest, sha256_file
from runtime.core.records import PPM
from runtime.errors import EnvironmentFailure
from runtime.files import partial_folder, publish_folder
from runtime.inference.bundle import BundleDescription
from workbench.backtest import RunSummary
from workbench.study import tables
from workbench.study.baselines import Baseline, BaselineRun
from workbench.study.spec import StudySpec
from workbench.study.stages import ML, TREND, StudyData, StudyFeatures, describe_ml, describe_trend
from workbench.training.evaluate import ALL_FOLDS, BASELINES, PRODUCT, Evaluation
from workbench.training.explain import ShapRow
from workbench.training.metrics import Scores
from workbench.training.tracking import FoldMetric, TrackedStudy, Tracking, finish
from workbench.training.walk_forward import Trained

STUDIES_NAME: Final = "studies"
RESULT_NAME: Final = "study.json"
SUMMARISED: Final = (PRODUCT, "global", "per_coin", *BASELINES)


class MetricSummary(BaseModel):
    """Scores of one forecaster and horizon over all test windows; None where undefined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    horizon_h: int
    n: int
    auc: float | None
    brier: float | None
    brier_skill: float | None
    log_loss: float | None
    ece: float | None
    accuracy: float | None


class FoldWindow(BaseModel):
    """One fold's windows: first and last decision time of each, seconds UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fold_n: int
    train_first_t: int
    train_last_t: int
    validation_first_t: int
    validation_last_t: int
    test_first_t: int
    test_last_t: int


class StudyResult(BaseModel):
    """The content of study.json; its digest is compared across kernels and machines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_n: int = 1
    study_id: str
    spec: StudySpec
    source: str
    simulated: bool
    venue: str
    symbols: tuple[str, ...]
    dataset_hash: str
    feature_set_hash: str
    model_hashes: tuple[str, ...]
    policy_hash: str
    bundle_hashes: dict[str, str]
    folds: tuple[FoldWindow, ...]
    metrics: tuple[MetricSummary, ...]
    verdict: tuple[str, ...]
    runs: dict[str, RunSummary]
    run_root: str
    baselines: dict[str, Baseline]
    tables: dict[str, str]
    assumptions: tuple[str, ...]

    def canonical(self) -> bytes:
        """Return the canonical JSON; money is written as text, since JSON numbers end at 2**53 (pydantic reads both)."""
        return canonical_json(_json(self.model_dump(mode="json")))

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON."""
        return digest(_json(self.model_dump(mode="json")))


@dataclass(frozen=True, slots=True)
class StudyParts:
    """What the stages returned, ready to be written."""

    spec: StudySpec
    data: StudyData
    features: StudyFeatures
    trained: Trained
    evaluation: Evaluation
    shap: list[ShapRow]
    runs: dict[str, RunSummary]
    baselines: dict[str, BaselineRun]


def study_dir(home: Path, spec: StudySpec) -> Path:
    """Return the folder of a study."""
    return home / STUDIES_NAME / spec.study_id


def load_result(folder: Path) -> StudyResult:
    """Return the result stored in a study's folder."""
    return StudyResult.model_validate_json((folder / RESULT_NAME).read_bytes())


def write_study(home: Path, parts: StudyParts, tracking: Tracking | None = None) -> StudyResult:
    """Write the study's folder in one step and return its result; log it in MLflow when `tracking` is given.

    A folder that already holds the same content is left as it is, with all that others put beside it. A different one
    is replaced as a whole: a notebook or report of another result must not stay beside this one.

    Raises:
        EnvironmentFailure: the folder cannot be written, or MLflow does not take the study.
    """
    folder = study_dir(home, parts.spec)
    bundles = {
        ML: describe_ml(parts.data, parts.features, parts.trained, parts.spec),
        TREND: describe_trend(parts.spec),
    }
    try:
        with partial_folder(folder) as partial:
            digests = _write_tables(home, parts, partial)
            _write_models(parts, bundles, partial)
            result = _result(parts, bundles, digests)
            (partial / RESULT_NAME).write_bytes(result.canonical())
            if not _same_content(partial, folder):
                publish_folder(partial, folder)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write {folder}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk, or choose another folder with --out",
        ) from e
    if tracking is not None:
        finish(tracking, _tracked(parts, result, folder))
    return result


def _write_tables(home: Path, parts: StudyParts, partial: Path) -> dict[str, str]:
    symbols = parts.data.panel.symbols
    made = {
        "folds": tables.folds_table(parts.trained),
        "metrics": tables.metrics_table(parts.evaluation),
        "calibration": tables.calibration_table(parts.evaluation),
        "returns": tables.returns_table(parts.evaluation),
        "shap": tables.shap_table(parts.shap),
        "models": tables.models_table(parts.trained, symbols),
        "predictions": tables.predictions_table(parts.trained, symbols),
        "equity": tables.equity_table(home, parts.features, parts.trained, parts.runs, parts.baselines),
    }
    folder = partial / "tables"
    folder.mkdir()
    for name, table in made.items():
        tables.write_table(table, folder / f"{name}.parquet")
    return {name: sha256_file(folder / f"{name}.parquet") for name in made}


def _write_models(parts: StudyParts, bundles: dict[str, BundleDescription], partial: Path) -> None:
    for name in ("models", "calibrations", "bundles"):
        (partial / name).mkdir()
    for model in parts.trained.models:
        (partial / "models" / f"{model.model_hash}.txt").write_bytes(model.text.encode())
    for calibration in (c for row in parts.trained.calibrations for c in row):
        path = partial / "calibrations" / f"{calibration.digest}.json"
        path.write_bytes(canonical_json(calibration.model_dump(mode="json")))
    for name, bundle in bundles.items():
        (partial / "bundles" / f"{name}.json").write_bytes(canonical_json(bundle.model_dump(mode="json")))


def _result(parts: StudyParts, bundles: dict[str, BundleDescription], digests: dict[str, str]) -> StudyResult:
    manifest = parts.data.manifest
    folds = tables.folds_table(parts.trained).select(list(FoldWindow.model_fields)).to_pylist()
    # What a run took in seconds describes one execution: it stays in the run's own folder.
    runs = {name: run.model_copy(update={"seconds": {}}) for name, run in parts.runs.items()}
    baselines = {name: run.figures for name, run in parts.baselines.items()}
    return StudyResult(
        study_id=parts.spec.study_id,
        spec=parts.spec,
        source=manifest.source,
        simulated=manifest.simulated,
        venue=manifest.venue,
        symbols=parts.data.panel.symbols,
        dataset_hash=manifest.dataset_hash,
        feature_set_hash=parts.features.spec.digest,
        model_hashes=tuple(sorted({m.model_hash for m in parts.trained.models})),
        policy_hash=runs[ML].policy_hash,
        bundle_hashes={name: bundle.digest for name, bundle in bundles.items()},
        folds=tuple(FoldWindow(**row) for row in folds),
        metrics=tuple(_metric(parts, name, h) for h in parts.spec.horizons_h for name in SUMMARISED),
        verdict=tuple(_verdict(parts, runs, baselines)),
        runs=runs,
        run_root=runs[ML].run_root,
        baselines=baselines,
        tables=digests,
        assumptions=(*manifest.assumptions, *ASSUMPTIONS),
    )


ASSUMPTIONS: Final = (
    "A decision is made at a bar's close and fills at the next bar's open at the earliest; labels start there too.",
    "The assets were chosen with today's knowledge of which ones survived: every long-only result here is flattered by that.",
    "Baselines expose the share of portfolio value that the risk profile allows and pay the same costs.",
    "Equal weight is brought back to equal parts every thirty days.",
    "Calibration and expected returns are learnt on out-of-fold predictions only.",
    "Expected returns are drawn to zero where few independent spells of time support them.",
    "A rise that all forecasts shared is not counted as expected return; a fall is.",
)


def _metric(parts: StudyParts, name: str, horizon_h: int) -> MetricSummary:
    scores: Scores = parts.evaluation.overall(name, horizon_h)

    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    return MetricSummary(
        model=name,
        horizon_h=horizon_h,
        n=scores.n,
        auc=known(scores.auc),
        brier=known(scores.brier),
        brier_skill=known(scores.brier_skill),
        log_loss=known(scores.log_loss),
        ece=known(scores.ece),
        accuracy=known(scores.accuracy),
    )


def _verdict(parts: StudyParts, runs: dict[str, RunSummary], baselines: dict[str, Baseline]) -> Iterator[str]:
    """Yield what the study says in plain words: forecasts first, then each run against the baselines."""
    if parts.data.manifest.simulated:
        yield "SIMULATED market: nothing here says anything about a real one."
    yield from parts.evaluation.verdict
    for name, words in ((ML, "The ML run"), (TREND, "The trend run")):
        run = runs[name]
        if run.orders == 0:
            refused = ", ".join(f"{gate} {n}" for gate, n in run.refusals.items()) or "no entry was even wanted"
            yield f"{words} placed no order and stayed flat: no expected return paid for its costs (refusals: {refused})."
            continue
        lost = [
            baseline_words
            for baseline, baseline_words in (
                ("flat", "staying flat"),
                ("btc_hold", "holding BTC"),
                ("equal_weight", "equal weight"),
            )
            if run.net_return_ppm <= baselines[baseline].net_return_ppm
        ]
        judged = f"does NOT beat {' or '.join(lost)}" if lost else "ends above flat, BTC hold and equal weight"
        figures = ", ".join(
            f"{label} {baselines[key].net_return_ppm * 100 / PPM:+.2f} %"
            for key, label in (("btc_hold", "BTC hold"), ("equal_weight", "equal weight"))
        )
        yield (
            f"{words} {judged}: net {run.net_return_ppm * 100 / PPM:+.2f} % with {run.orders} orders and "
            f"{run.max_drawdown_ppm * 100 / PPM:.2f} % drawdown ({figures})."
        )


def _tracked(parts: StudyParts, result: StudyResult, folder: Path) -> TrackedStudy:
    """Return what MLflow is told: parameters, hashes, verdict, every fold's scores, portfolio figures and the small artefacts."""
    spec = {name: str(value) for name, value in parts.spec.model_dump(mode="json").items()}
    metrics = [
        FoldMetric(name=f"{row.model}.{row.horizon_h}h.{score}", value=getattr(row.scores, score), fold_n=row.fold_n)
        for row in parts.evaluation.metrics
        for score in ("auc", "brier", "brier_skill", "log_loss", "ece", "accuracy")
        if not math.isnan(getattr(row.scores, score))
    ]
    for name, run in result.runs.items():
        metrics += [
            FoldMetric(name=f"run_{name}.{figure}", value=float(getattr(run, figure)), fold_n=ALL_FOLDS)
            for figure in ("net_return_ppm", "max_drawdown_ppm", "orders", "fills", "trades", "turnover_e8", "fees_e8")
        ]
    metrics += [
        FoldMetric(name=f"{name}.net_return_ppm", value=float(baseline.net_return_ppm), fold_n=ALL_FOLDS)
        for name, baseline in result.baselines.items()
    ]
    tags = {
        "ballast.study_id": result.study_id,
        "ballast.study_digest": result.digest,
        "ballast.source": "SIMULATED" if result.simulated else result.source,
        "ballast.dataset_hash": result.dataset_hash,
        "ballast.feature_set_hash": result.feature_set_hash,
        "ballast.policy_hash": result.policy_hash,
        "ballast.run_root": result.run_root,
        "ballast.models": str(len(result.model_hashes)),
        "mlflow.note.content": "\n\n".join(result.verdict),
    }
    artefacts = (
        folder / RESULT_NAME,
        folder / "tables" / "metrics.parquet",
        folder / "tables" / "shap.parquet",
        folder / "bundles",
    )
    return TrackedStudy(name=result.study_id, params=spec, tags=tags, metrics=metrics, artefacts=artefacts)


def _json(value: object, name: str = "") -> object:
    """Return JSON values with money (`_e8`) as text."""
    if isinstance(value, dict):
        return {key: _json(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return str(value) if name.endswith("_e8") and isinstance(value, int) else value


def _same_content(partial: Path, folder: Path) -> bool:
    """Return whether every file of the new folder is in the old one, byte for byte, with no other models or tables there."""
    names = sorted(path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
    own = [folder / part for part in ("tables", "models", "calibrations", "bundles")]
    there = sorted(path.relative_to(folder) for part in own if part.is_dir() for path in part.rglob("*") if path.is_file())
    if sorted([*there, Path(RESULT_NAME)]) != names or not (folder / RESULT_NAME).is_file():
        return False
    return not any(filecmp.cmpfiles(partial, folder, [str(name) for name in names], shallow=False)[1:])
