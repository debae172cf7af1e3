from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.outcome import RUNS, Demo
from pipelines.summary import summary
from runtime.canonical import sha256_file
from runtime.errors import EXIT_DATA, EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_USAGE, GateError, VerificationError
from runtime.home import runs_path
from runtime.ops.check import check_run
from runtime.ops.gates import GATES
from runtime.replay import Failure, replay
from tests.unit.pipelines.conftest import Ran, ballast
from tools.check_demo import findings
from workbench.backtest import load_summary
from workbench.data.datasets.manifests import load_manifest
from workbench.notebook.receipt import read_receipt
from workbench.study import load_result

SAME_EVERYWHERE = (
    "source", "dataset_hash", "feature_set_hash", "model_hashes", "policy_hash", "bundle_hashes", "run_root", "journal_head", "blocks",
    "signals", "orders", "fills", "trades", "refusals", "final_pv_e8", "baselines", "metrics", "folds", "verdict", "study_id",
    "study_digest", "runs", "notebook_sha256", "results_sha256",
)  # fmt: skip


def loaded(ran: Ran) -> Demo:
    """Return the demo's result again, from the files it left."""
    result = ran.result
    study_dir = Path(str(result["study"]))
    study = load_result(study_dir)
    folders = {name: runs_path(ran.home) / study.runs[name].run_id for name in RUNS}
    return Demo(
        manifest=load_manifest(ran.home, study.dataset_hash),
        study=study,
        runs={name: load_summary(folder) for name, folder in folders.items()},
        replays={name: replay(folder, ran.home) for name, folder in folders.items()},
        checks={
            name: check_run(folder, ran.home, study_dir / "tables" / "predictions.parquet") for name, folder in folders.items()
        },
        notebook_sha256=str(result["notebook_sha256"]),
        results_sha256=str(result["results_sha256"]),
        study_dir=study_dir,
        notebook=Path(str(result["notebook"])),
        receipt=Path(str(result["receipt"])),
        report=Path(str(result["report"])),
        seconds={str(k): float(v) for k, v in dict(result["seconds"]).items()},  # type: ignore[call-overload]  # parsed JSON
    )


def test_the_json_object_has_every_promised_key(ran: Ran) -> None:
    assert findings(ran.result) == []
    assert ran.result["source"] != "SIMULATED"
    for key in ("folds", "metrics", "verdict", "seconds", "report", "notebook", "receipt"):
        assert ran.result[key], key


def test_what_it_names_is_there_and_agrees(ran: Ran) -> None:
    result = ran.result
    for key in ("report", "notebook", "receipt"):
        assert Path(str(result[key])).is_file()
    receipt = read_receipt(Path(str(result["receipt"])))
    assert receipt.notebook_sha256 == sha256_file(Path(str(result["notebook"]))) == result["notebook_sha256"]
    assert receipt.dataset_hash == result["dataset_hash"]
    notebook = Path(str(result["notebook"])).read_text()
    assert str(result["run_root"]) in notebook
    assert str(ran.home) not in notebook


def test_the_object_is_rebuilt_from_the_files_alone(ran: Ran) -> None:
    again = json.loads(json.dumps(loaded(ran).as_json()))
    assert again == ran.result
    assert loaded(ran).replay_parity


@pytest.mark.parametrize(("columns", "lines_max"), [(110, 50), (80, 65)])
def test_the_summary_says_what_a_person_needs_on_one_screen(ran: Ran, columns: int, lines_max: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=columns).print(summary(loaded(ran)))
    text = stream.getvalue()
    joined = "".join(text.replace("│", "").split())  # a long path or sentence may be folded anywhere
    for key in ("dataset_hash", "feature_set_hash", "policy_hash", "run_root", "notebook_sha256"):
        assert str(ran.result[key]) in joined, key
    for words in (
        "REPLAY PARITY: TRUE",
        "RUNS VALID: TRUE  28 SQL gates on each",
        "walk-forward",
        "BTC hold",
        "equal weight",
        "refusals",
        "verdict",
        "report.html",
        "seconds",
    ):
        assert words.replace(" ", "") in joined, words
    assert "SIMULATED" not in text
    assert "…" not in text
    assert len(text.splitlines()) <= lines_max


def test_every_gate_ran_on_both_runs(ran: Ran) -> None:
    checks = ran.result["checks"]
    assert isinstance(checks, dict)
    assert set(checks) == set(RUNS)
    for name in RUNS:
        assert checks[name] == {gate.name: 0 for gate in GATES}


def test_a_proof_that_proves_nothing_fails(ran: Ran) -> None:
    demo = loaded(ran)
    demo.require_proof()
    idle = demo.runs["trend"].model_copy(update={"fills": 0})
    with pytest.raises(GateError, match="no fills"):
        demo.model_copy(update={"runs": {**demo.runs, "trend": idle}}).require_proof()
    for name in RUNS:
        for violations in (2, -1):  # broken, and skipped
            gates = [
                gate.model_copy(update={"violations": violations}) if gate.name == "fifo" else gate
                for gate in demo.checks[name].gates
            ]
            check = demo.checks[name].model_copy(update={"gates": gates, "valid": violations < 0})
            invalid = demo.model_copy(update={"checks": demo.checks | {name: check}})
            assert not invalid.runs_valid
            with pytest.raises(VerificationError, match=f"RUN VALID: FALSE for the {name} run: fifo"):
                invalid.require_proof()
    failure = Failure.model_construct(kind="block", detail="block 7 differs")
    wrong = demo.replays["ml"].model_copy(update={"parity": False, "failure": failure})
    other = demo.model_copy(update={"replays": {**demo.replays, "ml": wrong}})
    assert not other.replay_parity
    with pytest.raises(VerificationError, match="REPLAY PARITY: FALSE"):
        other.require_proof()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--data", "no/such/folder"), EXIT_DATA),
        (("--source", "moon"), EXIT_USAGE),
        (("--source", "simulated", "--data", "."), EXIT_USAGE),
        (("--workers", "0"), EXIT_USAGE),
        (("--nonsense",), EXIT_USAGE),
    ],
)
def test_bad_arguments_end_with_one_message_and_no_run(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = ballast("demo", *arguments, "--out", str(home), "--json")
    assert done.code == code, done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == code
    assert not (home / "runs").exists()
    assert not (home / "studies").exists()


def test_a_home_below_a_file_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    done = ballast("demo", "--out", str(file / "home"), "--json")
    assert done.code == EXIT_ENVIRONMENT, done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "environment"
    assert file.read_text() == "mine"


def test_ctrl_c_ends_every_process_and_leaves_nothing_half_written(small_data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", "demo", "--data", str(small_data), "--out", str(home), "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("train:"):
            break
    started = children_of(process.pid)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == EXIT_INTERRUPTED, stderr
    assert stdout == ""
    assert "interrupted" in stderr
    assert started, "the kernel was running"
    deadline = time.monotonic() + 10
    while (alive := [pid for pid in started if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive == []
    assert not (home / "studies").exists() or not list((home / "studies").iterdir())
    assert not list(home.rglob(".partial-*"))


def children_of(pid: int) -> list[int]:
    """Return every descendant of a process."""
    listed = subprocess.run(["ps", "-Ao", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed.splitlines()}
    found: list[int] = []
    wave = [pid]
    while wave:
        wave = [child for child, parent in parents.items() if parent in wave]
        found += wave
    return found


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.mark.slow
def test_another_folder_hash_seed_and_number_of_workers_give_the_same(ran: Ran, small_data: Path, tmp_path: Path) -> None:
    done = ballast(
        "demo", "--data", str(small_data), "--out", str(tmp_path / "x"), "--workers", "1", "--json", PYTHONHASHSEED="99"
    )
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)
    assert {key: result[key] for key in SAME_EVERYWHERE} == {key: ran.result[key] for key in SAME_EVERYWHERE}


@pytest.mark.slow
def test_the_default_source_says_simulated_everywhere(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = ballast("demo", "--out", str(home))
    assert done.code == 0, done.stderr
    assert "SIMULATED" in done.stdout
    assert "REPLAY PARITY: TRUE" in done.stdout
    study_dir = next((home / "studies").glob("*/study.json")).parent
    assert load_result(study_dir).simulated
    assert "SIMULATED" in (study_dir / "report.html").read_text()
    assert "SIMULATED" in (study_dir / "walk_forward.ipynb").read_text()
    for genesis in (home / "runs").glob("*/genesis.json"):
        assert json.loads(genesis.read_bytes())["simulated"] is True
