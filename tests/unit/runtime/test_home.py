"""How a person names a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.errors import UsageError
from runtime.home import find_run, home_path, inputs_path, list_runs

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
