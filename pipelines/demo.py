"""The main job: data in, governed walk-forward study, two backtests, their replay, and the report.

Stages: prepare the dataset; run the notebook in a kernel process; replay both runs here, from the stored bytes only; hold
both against the SQL gates, with the study's predictions; write the report. Nothing of the result depends on where or how fast it ran: only `seconds` and the paths do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from runtime.home import exclusive, runs_path, sweep_partial
from runtime.progress import Report, silent

if TYPE_CHECKING:
    from pipelines.outcome import Demo
    from workbench.data.datasets.manifests import DatasetManifest
    from workbench.notebook.run import Executed

NOTEBOOK: Final = "walk_forward"
NEEDED_LATER: Final = ("pipelines.outcome", "reports.static.study_report", "runtime.ops.check")
"""Imported while the kernel works and this process waits: they take seconds, mostly for libraries the study needs."""
MENTIONED_S: Final = 0.05
"""Cells that take less are not worth a line."""


def run_demo(
    home: Path, data: Path | None = None, source: str = "auto", *, workers: int | None = None, report: Report = silent
) -> Demo:
    """Run the main job and return what it did; whether that proves anything is `Demo.require_proof`'s to say.

    Args:
        home: the folder that takes lake, study, runs and report.
        data: local bars; None: see `source`.
        source: auto, simulated or kraken; see `workbench.data.datasets.prepare`.
        workers: processes that compute features and models; None: one per processor.
        report: told about each stage.

    Raises:
        EnvironmentFailure: another job works in this home folder.
        BallastError: whatever a stage raises; nothing half-written stays.
    """
    with exclusive(home):
        sweep_partial(home)
        return _run(home, data, source, workers, report)


def _run(home: Path, data: Path | None, source: str, workers: int | None, report: Report) -> Demo:
    seconds: dict[str, float] = {}
    began_s = time.perf_counter()
    with _timed("data", seconds):
        from workbench.data.datasets.prepare import prepare_dataset

        manifest = prepare_dataset(home, data, source, report)
    with _timed("notebook", seconds):
        from workbench.notebook.run import execute, find_source

        early = Thread(target=lambda: [import_module(name) for name in NEEDED_LATER], name="imports", daemon=True)
        early.start()
        executed = execute(find_source(NOTEBOOK), {"dataset": manifest.dataset_hash}, home, workers=workers, report=report)
        early.join()
    return _finish(home, manifest, executed, seconds, began_s, report)


def _finish(
    home: Path, manifest: DatasetManifest, executed: Executed, seconds: dict[str, float], began_s: float, report: Report
) -> Demo:
    """Store the notebook, replay and check both runs, write the report."""
    from pipelines.outcome import RUNS, Demo
    from reports.static.study_report import write_report
    from runtime.ops.check import check_run
    from runtime.replay import replay
    from workbench.backtest import load_summary
    from workbench.notebook.run import default_folder, store
    from workbench.study import load_result

    stored = store(executed, default_folder(home, executed))
    study_dir = stored.notebook.parent
    study = load_result(study_dir)
    folders = {name: runs_path(home) / study.runs[name].run_id for name in RUNS}
    runs = {name: load_summary(folder) for name, folder in folders.items()}
    with _timed("replay", seconds):
        replays = {name: replay(folder, home, report) for name, folder in folders.items()}
    with _timed("check", seconds):
        predictions = study_dir / "tables" / "predictions.parquet"
        checks = {name: check_run(folder, home, predictions, report) for name, folder in folders.items()}
    with _timed("report", seconds):
        report("report", 0, 1)
        page = write_report(home, study_dir, {name: found.model_dump(mode="json") for name, found in replays.items()})
        report("report", 1, 1)
    seconds |= {f"notebook.{cell}": taken for cell, taken in executed.seconds.items() if taken >= MENTIONED_S}
    seconds |= {f"{name}.{stage}": round(taken, 3) for name in RUNS for stage, taken in runs[name].seconds.items()}
    seconds["total"] = round(time.perf_counter() - began_s, 3)
    return Demo(
        manifest=manifest,
        study=study,
        runs=runs,
        replays=replays,
        checks=checks,
        notebook_sha256=stored.receipt.notebook_sha256,
        results_sha256=stored.receipt.results_sha256,
        study_dir=study_dir,
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
