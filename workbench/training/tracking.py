"""Studies in MLflow: a local SQLite store, no server, no network, no telemetry.

Importing MLflow and making its tables takes seconds and its settings are global to a process. So a child process does
it while the study goes on: `begin` starts it early, `finish` hands it one JSON document and waits for its answer.
Nothing that MLflow returns enters a digest.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, FiniteFloat

from runtime.errors import EnvironmentFailure

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT: Final = "ballast/walk_forward"
STORE_NAME: Final = "mlflow.db"
ARTEFACTS_NAME: Final = "mlflow-artifacts"
QUIET: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
PATIENCE_S: Final = 120
RELEASE_S: Final = 5
BATCH_METRICS: Final = 1_000


class FoldMetric(BaseModel):
    """One metric value; the fold number is MLflow's step (-1, all folds, is logged under its own name)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: FiniteFloat
    fold_n: int


class TrackedStudy(BaseModel):
    """What MLflow is told about one study."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[FoldMetric]
    artefacts: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Tracking:
    """A child process that is getting MLflow ready."""

    process: subprocess.Popen[str]
    store: Path


def begin(home: Path) -> Tracking:
    """Start the process that opens `home/mlflow.db`; it ends by itself when this process goes away.

    Raises:
        EnvironmentFailure: the folder cannot be made.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot make {home}: {e.strerror or e}", expected="a writable folder", action="choose another with --out"
        ) from e
    process = subprocess.Popen(  # noqa: S603  our own module, our own interpreter, a resolved path
        [sys.executable, "-m", "workbench.training.tracking", str(home.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **QUIET},
        start_new_session=True,  # Ctrl-C reaches the parent alone; the child ends when its input closes
    )
    tracking = Tracking(process, home / STORE_NAME)
    atexit.register(_release, tracking)
    return tracking


def finish(tracking: Tracking, study: TrackedStudy) -> str:
    """Log the study and return MLflow's run id.

    Raises:
        EnvironmentFailure: MLflow did not take it; its own words are in the message.
    """
    try:
        answer, complaint = tracking.process.communicate(study.model_dump_json(), timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        cancel(tracking)
        answer, complaint = "", f"no answer in {PATIENCE_S} s"
    lines = answer.split()
    if tracking.process.returncode != 0 or not lines:
        said = complaint.strip().splitlines() or ["no message"]
        reason = next((line for line in reversed(said) if "Error: " in line), said[-1])
        raise EnvironmentFailure(
            f"MLflow did not record the study in {tracking.store}: {reason}",
            expected="a store that this MLflow version can write",
            action="free disk space and run again; only if it fails again: move the file away, and a new one is made",
        )
    return lines[-1]


def cancel(tracking: Tracking) -> None:
    """End the child without logging anything; nothing happens when it has finished."""
    if tracking.process.poll() is None:
        tracking.process.kill()
        tracking.process.communicate()


def _release(tracking: Tracking) -> None:
    """End the child when this process ends, and wait: what it was writing must not outlive the command."""
    if tracking.process.poll() is None:
        tracking.process.terminate()  # it leaves its transaction; see `_main`
        try:
            tracking.process.wait(RELEASE_S)
        except subprocess.TimeoutExpired:
            cancel(tracking)


def log_study(home: Path, lines: str) -> str:
    """Log one study document (JSON) and return the run id; runs in the child."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=_store_uri(home))
    experiment_id = _experiment(client, home)
    study = TrackedStudy.model_validate_json(lines)
    run = client.create_run(experiment_id, run_name=study.name)
    run_id: str = run.info.run_id
    now_ms = run.info.start_time
    metrics = [Metric(m.name if m.fold_n >= 0 else f"{m.name}.all", m.value, now_ms, max(m.fold_n, 0)) for m in study.metrics]
    params = [Param(name, value) for name, value in study.params.items()]
    tags = [RunTag(name, value) for name, value in study.tags.items()]
    client.log_batch(run_id, metrics=metrics[:BATCH_METRICS], params=params, tags=tags)
    for first in range(BATCH_METRICS, len(metrics), BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + BATCH_METRICS])
    for path in study.artefacts:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), path.name)
        else:
            client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)
    return run_id


def _store_uri(home: Path) -> str:
    return f"sqlite:///{home / STORE_NAME}"


def _experiment(client: MlflowClient, home: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=(home / ARTEFACTS_NAME).as_uri()))


def _main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exception rolls back; a kill leaves a journal
    home = Path(sys.argv[1])
    from mlflow.tracking import MlflowClient

    _experiment(MlflowClient(tracking_uri=_store_uri(home)), home)  # imports and tables, while the study still runs
    lines = sys.stdin.read()
    if lines:
        print(log_study(home, lines))


if __name__ == "__main__":
    _main()
