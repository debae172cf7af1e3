"""What is promoted: a run, the study that made it, and the models in force at the end of the seed bars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from runtime.canonical import sha256_hex
from runtime.core.codes import MODE_BACKTEST
from runtime.errors import DataError, GateError, UsageError, VerificationError
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, find_run
from runtime.inference.bundle import BundleDescription
from runtime.inference.feature_spec import DEFAULT_SPEC
from runtime.inference.forecaster import OPEN_END_T, Forecaster, bars_between, last_bars
from runtime.inference.panel import BarPanel
from runtime.inference.predict import Calibration
from runtime.ops.bundles.vectors import VECTOR_BARS
from workbench.data.datasets.manifests import DatasetManifest, load_manifest, load_panel
from workbench.study.result import RESULT_NAME, STUDIES_NAME, StudyResult, load_result
from workbench.study.stages import trend_spec


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything a promotion looks at, each part verified by the digest that names it.

    Attributes:
        home, run_dir, study_dir: where it is.
        genesis: of the run.
        study: that made it.
        made: the run's own description: models of every fold.
        dataset: of the study.
        panel: its bars.
        seed: the last bars of it until the time asked for.
        forecaster: of the bundle: the models in force at the end of the seed, or the rule.
    """

    home: Path
    run_dir: Path
    study_dir: Path
    genesis: Genesis
    study: StudyResult
    made: BundleDescription
    dataset: DatasetManifest
    panel: BarPanel
    seed: BarPanel
    forecaster: Forecaster

    @property
    def seed_until_t(self) -> int:
        """Return the closing time of the last seed bar."""
        return int(self.seed.open_t[-1]) + self.seed.interval_t


def open_subject(home: Path, run: str, until_t: int | None) -> Subject:
    """Return what is to be promoted.

    Args:
        home: the home folder.
        run: a run's folder, id, the beginning of one, or a bundle's name.
        until_t: closing time of the last seed bar; None: the dataset's end.

    Raises:
        UsageError: no such run, not a backtest, or a time outside of its dataset.
        DataError: the run or its study cannot be read.
        GateError: no study of this home made the run, or no models were in force at the time.
        VerificationError: dataset, models or description are not what their hashes say.
    """
    run_dir = find_run(home, run)
    genesis = _genesis(run_dir)
    study, study_dir = _study(home, genesis, run_dir.name)
    made = _description(study_dir, genesis)
    dataset = load_manifest(home, genesis.dataset_hash)
    panel = load_panel(home, dataset)
    seed = _seed(panel, until_t)
    description = _in_force(made, int(seed.open_t[-1]) + seed.interval_t)
    rule = DEFAULT_SPEC if made.kind == "ml" else trend_spec(study.spec)
    calibrations = {h.calibration_hash for part in description.parts for h in part.horizons}
    forecaster = Forecaster(
        description,
        panel.symbols,
        study.spec.grid_h,
        rule,
        {name: _text(study_dir / "models" / f"{name}.txt") for name in description.model_hashes},
        {name: _calibration(study_dir / "calibrations" / f"{name}.json") for name in sorted(calibrations)},
    )
    seed = last_bars(seed, forecaster.window_n + VECTOR_BARS)
    return Subject(home, run_dir, study_dir, genesis, study, made, dataset, panel, seed, forecaster)


def _genesis(run_dir: Path) -> Genesis:
    try:
        genesis = Genesis.model_validate_json((run_dir / RUN_MARK).read_bytes())
    except (OSError, ValidationError) as e:
        raise DataError(
            f"{run_dir / RUN_MARK} cannot be read as a genesis", expected="a run of this version",
            action=f"`ballast replay {run_dir.name}` says what is wrong with it",
        ) from e  # fmt: skip
    if genesis.mode_id != MODE_BACKTEST:
        raise UsageError(
            f"{run_dir.name} is no backtest",
            expected="a run of a study: it is what shows how the models did",
            action="choose a run that `ballast demo` or a notebook made; `ballast runs` lists them",
        )
    return genesis


def _study(home: Path, genesis: Genesis, run_id: str) -> tuple[StudyResult, Path]:
    wanted = genesis.hash.hex()
    for path in sorted((home / STUDIES_NAME).glob(f"[!.]*/{RESULT_NAME}")):
        try:
            found = load_result(path.parent)
        except (OSError, ValidationError):
            continue
        if any(run.genesis_hash == wanted for run in found.runs.values()):
            return found, path.parent
    raise GateError(
        f"no readable study in {home / STUDIES_NAME} made the run {run_id}",
        expected="the study that made it: without it nothing says how",
        action="run the notebook again (`ballast demo`, or `ballast notebook run walk_forward`), and promote what it makes",
    )


def _description(study_dir: Path, genesis: Genesis) -> BundleDescription:
    path = study_dir / "bundles" / f"{genesis.bundle.name}.json"
    content = _read(path)
    if sha256_hex(content) != genesis.bundle.bundle_hash:
        raise _altered(path, "the description that the run's genesis names")
    return BundleDescription.model_validate_json(content)


def _in_force(made: BundleDescription, at_t: int) -> BundleDescription:
    """Return the description with the last models in force at a time alone, from their own first time on and without an end."""
    if made.kind == "trend":
        return made
    known = [part for part in made.parts if part.from_t <= at_t]
    if not known:
        raise GateError(
            f"a seed that ends at {at_t}, when no model was in force yet",
            expected=f"a time at or after {min(part.from_t for part in made.parts)}, the first test window",
            action="promote with a later --tail-until",
        )
    part = max(known, key=lambda part: part.from_t)
    return made.model_copy(update={"parts": (part.model_copy(update={"to_t": OPEN_END_T}),)})


def _seed(panel: BarPanel, until_t: int | None) -> BarPanel:
    close_t = panel.open_t + panel.interval_t
    end = len(close_t) if until_t is None else int(np.searchsorted(close_t, until_t, side="right"))
    if end == 0 or (until_t is not None and until_t > close_t[-1]):
        raise UsageError(
            f"--tail-until {until_t}",
            expected=f"a time within the dataset, {int(close_t[0])} to {int(close_t[-1])}",
            action="choose a time in it, or leave the option out for its end",
        )
    return bars_between(panel, 0, end)


def _text(path: Path) -> str:
    content = _read(path)
    if sha256_hex(content) != path.stem:
        raise _altered(path, "the model it is named after")
    return content.decode()


def _calibration(path: Path) -> Calibration:
    content = _read(path)
    if sha256_hex(content) != path.stem:
        raise _altered(path, "the calibration it is named after")
    return Calibration.model_validate_json(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise DataError(
            f"{path} cannot be read: {e.strerror}", expected="every file of the study", action="run the notebook again"
        ) from e


def _altered(path: Path, what: str) -> VerificationError:
    return VerificationError(
        f"{path} is not {what}", expected="the bytes that the study wrote", action="run the notebook again"
    )
