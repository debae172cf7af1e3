"""A backtest leaves a few snapshots, so that a replay can begin near a block without a whole replay before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.adapters.snapshots import SNAPSHOTS_NAME
from runtime.cli import main
from runtime.engine import EVENTS_N
from runtime.replay import replay
from tests.support.runs import make_run
from workbench.backtest import SNAPSHOTS_MAX, load_summary

Out = pytest.CaptureFixture[str]
HOURS_N = 4_300
BYTES_MAX = 100_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with one run that is several fillings of the buffers long."""
    home = tmp_path_factory.mktemp("long")
    make_run(home, hours_n=HOURS_N)
    return home


@pytest.fixture(scope="module")
def run_dir(home: Path) -> Path:
    (found,) = (home / "runs").iterdir()
    return found


def test_there_are_a_few_and_they_are_small(run_dir: Path) -> None:
    files = sorted((run_dir / SNAPSHOTS_NAME).iterdir())
    assert 1 <= len(files) <= SNAPSHOTS_MAX
    assert HOURS_N > EVENTS_N
    assert all(path.stat().st_size <= BYTES_MAX for path in files)
    blocks = load_summary(run_dir).blocks
    assert all(0 < int(path.name[:10]) < blocks for path in files)


def test_a_replay_begins_at_one_of_them_without_a_replay_before(home: Path, run_dir: Path, capsys: Out) -> None:
    blocks = load_summary(run_dir).blocks
    newest = max((run_dir / SNAPSHOTS_NAME).iterdir())
    first_n = int(newest.name[:10]) + 1
    assert main(["replay", str(run_dir), "--home", str(home), "--from", str(blocks), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["first_block"], result["blocks"], result["parity"]) == (first_n, blocks - first_n + 1, True)
    assert result["snapshot"] == newest.stem.split("-")[1]
    whole = replay(run_dir, home)
    assert (whole.first_block, whole.blocks, whole.snapshot) == (1, blocks, ""), "a whole replay begins at the genesis"
    assert (whole.journal_head, whole.run_root) == (result["journal_head"], result["run_root"])


def test_running_again_gives_the_same_snapshots(home: Path, run_dir: Path, tmp_path: Path) -> None:
    make_run(tmp_path, hours_n=HOURS_N)
    (again,) = (tmp_path / "runs").iterdir()
    found = [{path.name: path.read_bytes() for path in (folder / SNAPSHOTS_NAME).iterdir()} for folder in (run_dir, again)]
    assert found[0] == found[1]
