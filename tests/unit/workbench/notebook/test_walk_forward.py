"""The study's notebook: governed, its controls keep every value, and it gives the pinned result under both runtimes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.notebook.controls import controls
from workbench.notebook.lint import lint
from workbench.notebook.pins import pins_path, read_pins
from workbench.notebook.run import find_source, notebook_parameters
from workbench.notebook.verify import verify
from workbench.study import StudySpec

SOURCE = find_source("walk_forward")


def test_it_breaks_no_rule() -> None:
    assert lint(SOURCE) == []


def test_its_parameters_are_the_fields_of_the_spec_with_the_same_defaults() -> None:
    declared = {p.name: p.default for p in notebook_parameters(SOURCE)}
    assert set(declared) == set(StudySpec.model_fields)
    assert declared.pop("dataset") == "simulated"
    for name, default in declared.items():
        plain = tuple(default) if isinstance(default, list) else default
        assert plain == StudySpec.model_fields[name].default, name


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"horizons_h": (1, 4, 24, 72), "grid_h": 24, "train_rule": "rolling"},
        {"first_test": "2023-01-01", "seed": 2**31 - 1},
    ],
)
def test_its_controls_keep_every_value(changed: dict[str, object]) -> None:
    given = StudySpec.model_validate({"dataset": "a" * 64, **changed})
    assert StudySpec(**controls(given).value) == given


def test_it_is_pinned_with_parameters_it_declares() -> None:
    pin = read_pins(pins_path(SOURCE))["walk_forward"]
    assert set(pin.parameters) <= {p.name for p in notebook_parameters(SOURCE)}
    assert set(pin.portable) == {"dataset_hash", "feature_set_hash", "policy_hash"}


@pytest.mark.slow
def test_both_runtimes_give_the_pinned_result() -> None:
    found = verify(SOURCE)
    assert [c for c in found.checks if not c.ok] == []


@pytest.mark.slow
def test_plain_papermill_runs_it(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "notebooks/walk_forward.py", str(tmp_path / "out.ipynb"), "-p", "folds_n", "3", "-p", "grid_h", "24"],
        capture_output=True, text=True, check=False, cwd=repository, env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "BALLAST_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "SIMULATED" in (tmp_path / "out.ipynb").read_text()
