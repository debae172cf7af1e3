"""How a person names a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure, UsageError
from runtime.home import exclusive, find_predictions, find_run, home_path, inputs_path, list_runs, sweep_partial

RUNS = ("ml-aaaa11111111", "trend-bbbb22222222", "ml-aabb33333333", "ml_two-cccc44444444")


@pytest.fixture
def runs(home: Path) -> Path:
    for n, name in enumerate(RUNS):
        mark = home / "runs" / name / "genesis.json"
        mark.parent.mkdir(parents=True)
        mark.write_text("{}")
        os.utime(mark, ns=(n * 10**9, n * 10**9))
    (home / "runs" / "no-run").mkdir()
    hidden = home / "runs" / ".partial-1-ml-dddd" / "genesis.json"
    hidden.parent.mkdir()
    hidden.write_text("{}")
    return home


def test_the_home_is_the_option_then_the_variable_then_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_path(Path("x")) == Path("x")
    assert home_path() == home
    monkeypatch.setenv("BALLAST_HOME", "")
    assert home_path() == Path("out")
    monkeypatch.delenv("BALLAST_HOME")
    assert home_path(None) == Path("out")
    assert inputs_path(home) == home / "inputs"


def test_runs_are_listed_newest_first(runs: Path) -> None:
    assert [run.name for run in list_runs(runs)] == list(reversed(RUNS))
    assert list_runs(runs / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latest", "ml_two-cccc44444444"),
        ("ml", "ml-aabb33333333"),
        ("trend", "trend-bbbb22222222"),
        ("ml_two", "ml_two-cccc44444444"),
        ("ml-aaaa", "ml-aaaa11111111"),
        ("ml-aabb33333333", "ml-aabb33333333"),
        ("tr", "trend-bbbb22222222"),
    ],
)
def test_names_that_mean_one_run(runs: Path, name: str, expected: str) -> None:
    assert find_run(runs, name).name == expected


def test_a_path_is_a_name(runs: Path) -> None:
    path = runs / "runs" / RUNS[0]
    assert find_run(runs / "elsewhere", str(path)) == path


@pytest.mark.parametrize(("name", "message"), [("ml-aa", "more than one run is"), ("zz", "no run is"), ("no-run", "no run is")])
def test_names_that_mean_nothing_or_too_much(runs: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_run(runs, name)


def test_a_home_without_runs(home: Path) -> None:
    with pytest.raises(UsageError, match="no run is named 'latest'"):
        find_run(home, "latest")


def test_only_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead, alive = process.pid, os.getpid()
    for name in (f"runs/.partial-{dead}-ml-1", f"runs/.partial-{alive}-ml-2", "runs/ml-3", f"studies/.partial-{dead}-old-a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / f".partial-{dead}-7-x.parquet").touch()
    (tmp_path / "inputs" / ".partial-mine").touch()
    removed = {path.relative_to(tmp_path).as_posix() for path in sweep_partial(tmp_path)}
    assert removed == {
        f"runs/.partial-{dead}-ml-1", f"studies/.partial-{dead}-old-a", f"inputs/.partial-{dead}-7-x.parquet",
    }  # fmt: skip
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")}
    assert left == {f"runs/.partial-{alive}-ml-2", "runs/ml-3", "inputs/.partial-mine"}
    assert sweep_partial(tmp_path / "absent") == []


def test_a_home_takes_one_job_at_a_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with exclusive(home):
        with pytest.raises(EnvironmentFailure, match="another job is working"), exclusive(home):
            pass
        assert list(home.iterdir()) == []
    with exclusive(home):
        pass


def test_a_demo_in_a_home_that_is_taken_is_refused_at_once(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "runtime.cli", "demo", "--out", str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 6
    assert "another job is working" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFailure, match="cannot open the home folder"), exclusive(tmp_path / "file" / "home"):
        pass


def test_what_another_user_s_process_writes_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says "not permitted" of a process that is alive and not ours."""
    partial = inputs_path(home) / f".partial-{os.getpid()}-x"
    partial.parent.mkdir(parents=True)
    partial.write_text("x")

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert sweep_partial(home) == []
    monkeypatch.undo()
    assert partial.exists()


def test_the_predictions_of_a_run_are_those_of_the_study_that_names_it(home: Path) -> None:
    for name, content in (
        ("a", '{"runs": {"ml": {"run_id": "ml-1"}}}'),
        ("b", "{broken"),
        ("c", '{"runs": {"ml": {"run_id": "ml-2"}}}'),
    ):
        folder = home / "studies" / name / "tables"
        folder.mkdir(parents=True)
        (folder.parent / "study.json").write_text(content)
    for name in ("b", "c"):
        (home / "studies" / name / "tables" / "predictions.parquet").touch()
    assert find_predictions(home, "ml-2") == home / "studies" / "c" / "tables" / "predictions.parquet"
    assert find_predictions(home, "ml-1") is None, "its study lost the table"
    assert find_predictions(home, "ml-3") is None
