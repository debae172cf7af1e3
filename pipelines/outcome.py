"""What the main job did, as a value: for the summary, for `--json`, and for judging whether it proves anything."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue

from runtime.core.records import E8, PPM
from runtime.errors import GateError, VerificationError
from runtime.ops.check import CheckResult
from runtime.replay import ReplayResult
from workbench.backtest import RunSummary
from workbench.data.datasets.manifests import DatasetManifest
from workbench.study import ML, TREND, StudyResult
from workbench.study.baselines import Baseline

RUNS: Final = (ML, TREND)


class Demo(BaseModel):
    """What the main job did.

    Attributes:
        manifest: the dataset.
        study: the result of the study.
        runs: the runs' summaries as their folders hold them.
        replays: outcome of each replay.
        checks: outcome of the SQL gates over each run, the one on training windows among them.
        notebook_sha256, results_sha256: digests of the sealed notebook and of its result.
        study_dir, notebook, receipt, report: where things are.
        seconds: wall time per stage; the notebook's cells under `notebook.<cell>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: DatasetManifest
    study: StudyResult
    runs: dict[str, RunSummary]
    replays: dict[str, ReplayResult]
    checks: dict[str, CheckResult]
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

    @property
    def runs_valid(self) -> bool:
        """Return True when every SQL gate ran, and holds, on both runs."""
        return all(self.checks[name].valid and not self.checks[name].skipped for name in RUNS)

    def require_proof(self) -> None:
        """Raise when the replay differs, a gate fails, or all of it proves nothing.

        Raises:
            VerificationError: a replay differs, or a gate does not hold.
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
        for name in RUNS:
            broken = [gate for gate in self.checks[name].gates if gate.violations != 0]
            if broken:
                raise VerificationError(
                    f"RUN VALID: FALSE for the {name} run: {', '.join(gate.name for gate in broken)} (first: {broken[0].first})",
                    expected="every SQL gate to hold",
                    action=f"run `ballast check {self.runs[name].run_id}`; keep the folder as evidence",
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
            "runs_valid": self.runs_valid,
            "runs": {name: {**_run_json(self.runs[name]), "replay_parity": self.replays[name].parity} for name in RUNS},
            "checks": {name: dict(self.checks[name].as_counts()) for name in RUNS},
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
