"""`ballast report` on a real study: made by the workbench, replayed, written twice to the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.errors import EXIT_USAGE, EXIT_VERIFY
from tests.unit.reports.static.html_reader import Reader


def test_an_unknown_study_ends_in_one_message(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nothing", "--home", str(home), "--json"]) == EXIT_USAGE
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["kind"] == "usage"
    assert "0 studies match 'nothing'" in shown.err.replace("\n", " ")


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return home and folder of a real study of the simulated market."""
    from workbench.data.datasets.prepare import prepare_dataset
    from workbench.study import StudySpec, run_study
    from workbench.training.executor import InProcessExecutor

    home = tmp_path_factory.mktemp("studied")
    manifest = prepare_dataset(home, None, "simulated")
    spec = StudySpec(dataset=manifest.dataset_hash, folds_n=2, first_test="2023-07-01")
    result = run_study(spec, home, InProcessExecutor(), track=False)
    return home, home / "studies" / result.study_id


def ballast_report(home: Path, out: Path, seed: str) -> dict[str, object]:
    """Run the command in a process of its own and return its JSON."""
    code = "import sys; from runtime.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "report", "latest", "--home", str(home), "--file", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_real_study_is_reported_the_same_twice(studied: tuple[Path, Path], tmp_path: Path) -> None:
    home, study = studied
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    said = ballast_report(home, one, "1")
    ballast_report(home, two, "2")
    assert said["replay_parity"] is True
    assert said["study"] == study.name
    assert one.read_bytes() == two.read_bytes()
    read = Reader(one.read_text("utf-8"))
    content = json.loads((study / "study.json").read_text())
    wanted = [
        content["dataset_hash"],
        content["policy_hash"],
        content["run_root"],
        *content["model_hashes"],
        *content["tables"].values(),
    ]
    assert [value for value in wanted if value not in read.words] == []
    assert "REPLAY PARITY: ✓ TRUE" in read.words
    assert {row[3] for row in read.table("What the summaries state")[1:]} == {"✓ yes"}


@pytest.mark.slow
def test_a_broken_run_is_reported_and_fails(studied: tuple[Path, Path], tmp_path: Path) -> None:
    home, study = studied
    run_id = json.loads((study / "study.json").read_text())["runs"]["trend"]["run_id"]
    anchor = home / "runs" / run_id / "head.json"
    before = anchor.read_bytes()
    anchor.write_bytes(before.replace(b"0", b"1"))
    try:
        assert main(["report", study.name, "--home", str(home), "--file", str(tmp_path / "x.html")]) == EXIT_VERIFY
    finally:
        anchor.write_bytes(before)
    assert "REPLAY PARITY: ✕ FALSE" in Reader((tmp_path / "x.html").read_text("utf-8")).words
