"""The main job: data in, governed walk-forward study, two backtests, their replay, and the report.

Stages: prepare the dataset; run the notebook in a kernel process; replay both runs here, from the stored bytes only; write
the report. Nothing of the result depends on where or how fast it ran: only `seconds` and the paths do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue

from reports.static.study_report import write_report
from runtime.core.records import E8, PPM
from runtime.errors import GateError, VerificationError
from runtime.home import runs_path
from runtime.progress import Report, silent
from runtime.replay import ReplayResult, replay
from workbench.backtest import RunSummary, load_summary
from workbench.data.datasets import DatasetManifest
from workbench.data.prepare import prepare_dataset
from workbench.notebook.run import Stored, default_folder, execute, find_source, store
from workbench.study import ML, TREND, StudyResult, load_result
from workbench.study.baselines import Baseline

NOTEBOOK: Final = "walk_forward"
RUNS: Final = (ML, TREND)


class Demo(BaseModel):
    """What the main job did.

    Attributes:
        manifest: the dataset.
        study: the result of the study.
        runs: the runs' summaries as their folders hold them.
        replays: outcome of each replay.
        notebook_sha256, results_sha256: digests of the sealed notebook and of its result.
        study_dir, notebook, receipt, report: where things are.
        seconds: wall time per stage; the notebook's cells under `notebook.<cell>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: DatasetManifest
    study: StudyResult
    runs: dict[str, RunSummary]
    replays: dict[str, ReplayResult]
    notebook_sha256: str
    results_sha256: str
    study_dir: Path
    notebook: Path
    receipt: Path
    report: Path
    seconds: dict[str, float]

    @property
    def replay_parity(self) -> bool:
        """Return True when both runs were recomputed to the same blocks."""
        return all(self.replays[name].parity for name in RUNS)

    def require_proof(self) -> None:
        """Raise when the replay differs, or proves nothing.

        Raises:
            VerificationError: a replay differs.
            GateError: the trend run has no fills; parity of an empty ledger is no proof.
        """
        for name in RUNS:
            failure = self.replays[name].failure
            if not self.replays[name].parity:
                raise VerificationError(
                    f"REPLAY PARITY: FALSE for the {name} run: {failure}",
                    expected="every block recomputed to the same bytes",
                    action=f"run `ballast replay {self.runs[name].run_id}`; keep the folder as evidence",
                )
        if self.runs[TREND].fills == 0:
            raise GateError(
                f"the trend run of study {self.study.study_id} has no fills",
                expected="at least one fill: parity on an empty ledger proves nothing",
                action="use a longer history or other data",
            )

    def as_json(self) -> dict[str, JsonValue]:
        """Return the object that `ballast demo --json` prints; the top level describes the ML run."""
        study = self.study
        return {
            "source": "SIMULATED" if study.simulated else study.source,
            "simulated": study.simulated,
            "venue": study.venue,
            "symbols": list(study.symbols),
            "dataset_hash": study.dataset_hash,
            "feature_set_hash": study.feature_set_hash,
            "model_hashes": list(study.model_hashes),
            "policy_hash": study.policy_hash,
            "bundle_hashes": dict(study.bundle_hashes),
            **_run_json(self.runs[ML]),
            "replay_parity": self.replay_parity,
            "runs": {name: {**_run_json(self.runs[name]), "replay_parity": self.replays[name].parity} for name in RUNS},
            "baselines": {name: _figures_json(found) for name, found in study.baselines.items()},
            "metrics": [metric.model_dump(mode="json") for metric in study.metrics],
            "folds": [fold.model_dump(mode="json") for fold in study.folds],
            "verdict": list(study.verdict),
            "assumptions": list(study.assumptions),
            "study_id": study.study_id,
            "study_digest": study.digest,
            "notebook_sha256": self.notebook_sha256,
            "results_sha256": self.results_sha256,
            "study": str(self.study_dir),
            "notebook": str(self.notebook),
            "receipt": str(self.receipt),
            "report": str(self.report),
            "seconds": dict(self.seconds),
        }


def run_demo(
    home: Path, data: Path | None = None, source: str = "auto", *, workers: int | None = None, report: Report = silent
) -> Demo:
    """Run the main job and return what it did; whether that proves anything is `Demo.require_proof`'s to say.

    Args:
        home: the folder that takes lake, study, runs and report.
        data: local bars; None: see `source`.
        source: auto, simulated or kraken; see `workbench.data.prepare`.
        workers: processes that compute features and models; None: one per processor.
        report: told about each stage.

    Raises:
        BallastError: whatever a stage raises; nothing half-written stays.
    """
    seconds: dict[str, float] = {}
    began_s = time.perf_counter()
    with _timed("data", seconds):
        manifest = prepare_dataset(home, data, source, report)
    with _timed("notebook", seconds):
        executed = execute(find_source(NOTEBOOK), {"dataset": manifest.dataset_hash}, home, workers=workers, report=report)
        stored = store(executed, default_folder(home, executed))
    study_dir = stored.notebook.parent
    study = load_result(study_dir)
    runs = {name: load_summary(runs_path(home) / study.runs[name].run_id) for name in RUNS}
    with _timed("replay", seconds):
        replays = {name: replay(runs_path(home) / runs[name].run_id, home, report) for name in RUNS}
    with _timed("report", seconds):
        report("report", 0, 1)
        page = write_report(home, study_dir, {name: found.model_dump(mode="json") for name, found in replays.items()})
        report("report", 1, 1)
    seconds |= {f"notebook.{cell}": taken for cell, taken in executed.seconds.items() if taken >= MENTIONED_S}
    seconds |= {f"{name}.{stage}": round(taken, 3) for name in RUNS for stage, taken in runs[name].seconds.items()}
    seconds["total"] = round(time.perf_counter() - began_s, 3)
    return _demo(manifest, study, runs, replays, stored, page, seconds)


MENTIONED_S: Final = 0.05
"""Cells that take less are not worth a line."""


def _demo(
    manifest: DatasetManifest,
    study: StudyResult,
    runs: dict[str, RunSummary],
    replays: dict[str, ReplayResult],
    stored: Stored,
    page: Path,
    seconds: dict[str, float],
) -> Demo:
    return Demo(
        manifest=manifest,
        study=study,
        runs=runs,
        replays=replays,
        notebook_sha256=stored.receipt.notebook_sha256,
        results_sha256=stored.receipt.results_sha256,
        study_dir=stored.notebook.parent,
        notebook=stored.notebook,
        receipt=stored.receipt_path,
        report=page,
        seconds=seconds,
    )


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    began_s = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - began_s, 3)


def _run_json(run: RunSummary) -> dict[str, JsonValue]:
    """Return a run's figures: money in USD as numbers, and exactly in units of 1e-8."""
    return {
        "run_id": run.run_id,
        "run_root": run.run_root,
        "journal_head": run.journal_head,
        "blocks": run.blocks,
        "signals": run.signals,
        "orders": run.orders,
        "fills": run.fills,
        "trades": run.trades,
        "refusals": dict(run.refusals),
        "open_positions": run.open_positions,
        "final_pv": run.final_pv_e8 / E8,
        "final_pv_e8": run.final_pv_e8,
        "net_return": run.net_return_ppm / PPM,
        "max_drawdown": run.max_drawdown_ppm / PPM,
        "fees": run.fees_e8 / E8,
        "slippage": run.slippage_e8 / E8,
        "turnover": run.turnover_e8 / E8,
    }


def _figures_json(found: Baseline) -> dict[str, JsonValue]:
    return {
        "final_pv": found.final_pv_e8 / E8,
        "final_pv_e8": found.final_pv_e8,
        "net_return": found.net_return_ppm / PPM,
        "max_drawdown": found.max_drawdown_ppm / PPM,
    }
