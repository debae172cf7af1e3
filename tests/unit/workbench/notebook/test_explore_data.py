"""The exploring notebook: governed, its controls keep every value, and it gives one result under both runtimes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import UsageError
from workbench.data.view.explore import ExploreSpec
from workbench.notebook.bounds import require_bounds
from workbench.notebook.controls import controls
from workbench.notebook.datasets import dataset_hash
from workbench.notebook.lint import lint
from workbench.notebook.pins import pins_path, read_pins
from workbench.notebook.run import execute, find_source, notebook_parameters
from workbench.notebook.verify import run_both, verify

SOURCE = find_source("explore_data")
ASSETS = ("BTC", "ETH", "SOL")


def test_it_breaks_no_rule() -> None:
    assert lint(SOURCE) == []


def test_its_parameters_are_the_fields_of_the_spec_with_the_same_defaults() -> None:
    declared = {p.name: p.default for p in notebook_parameters(SOURCE)}
    assert set(declared) == set(ExploreSpec.model_fields)
    assert declared.pop("dataset") == "simulated"
    for name, default in declared.items():
        plain = tuple(default) if isinstance(default, list) else default
        assert plain == ExploreSpec.model_fields[name].default, name


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"symbols": ("SOL", "BTC"), "bars": "4h", "window_days": 5},
        {"second": "b" * 64, "first_day": "2023-01-01", "last_day": "2023-12-31", "window_days": 180},
    ],
)
def test_its_controls_keep_every_value(changed: dict[str, object]) -> None:
    given = ExploreSpec.model_validate({"dataset": "a" * 64, **changed})
    assert ExploreSpec(**controls(given, choices={"symbols": ASSETS}).value) == given


def test_its_bounds_hold_before_anything_runs() -> None:
    good = {
        "dataset": "simulated",
        "second": "",
        "symbols": [],
        "bars": "1h",
        "first_day": "",
        "last_day": "",
        "window_days": 30,
    }
    require_bounds(SOURCE.name, good)
    require_bounds(SOURCE.name, {**good, "second": "latest"})
    for wrong in (
        {"window_days": 4},
        {"bars": "1m"},
        {"first_day": "soon"},
        {"first_day": "2024-01-02", "last_day": "2024-01-01"},
    ):
        with pytest.raises(UsageError):
            require_bounds(SOURCE.name, {**good, **wrong})


def test_no_second_dataset_has_no_hash(tmp_path: Path) -> None:
    assert dataset_hash(tmp_path, "") == ""


def test_it_is_pinned_with_parameters_it_declares() -> None:
    pin = read_pins(pins_path(SOURCE))["explore_data"]
    assert set(pin.parameters) <= {p.name for p in notebook_parameters(SOURCE)}
    assert set(pin.portable) == {"dataset_hash"}


@pytest.mark.slow
def test_both_runtimes_give_the_pinned_result() -> None:
    found = verify(SOURCE)
    assert [c for c in found.checks if not c.ok] == []


def test_both_runtimes_give_one_result() -> None:
    executed, witnessed = run_both(SOURCE, {}, workers=1)
    assert executed.seal.results_sha256 == witnessed
    assert executed.result["label"] == "SIMULATED"


@pytest.mark.slow
def test_two_runs_are_one_file(tmp_path: Path) -> None:
    first, second = (execute(SOURCE, {"symbols": ["BTC", "ETH"]}, tmp_path / name) for name in ("a", "b"))
    assert first.seal == second.seal


@pytest.mark.slow
def test_plain_papermill_runs_it(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "notebooks/explore_data.py", str(tmp_path / "out.ipynb"), "-p", "window_days", "20"],
        capture_output=True, text=True, check=False, cwd=repository,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "BALLAST_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "SIMULATED" in (tmp_path / "out.ipynb").read_text()
