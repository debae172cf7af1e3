"""The shell parts: parsed, and run as far as they go without installing anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runtime.ops.gates import GATES, Gate
from tools.check_demo import BASELINES, COUNT_KEYS, DIGEST_KEYS, RUNS, findings

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=REPOSITORY, check=False, env={**os.environ, "MAKEFLAGS": "", **environment}
    )


def test_every_target_parses_and_is_listed() -> None:
    listed = run("make", "help").stdout
    for target in ("demo", "test", "test-all", "check", "bench", "coverage", "mutate", "docs", "clean", "install", "lock"):
        assert f"make {target} " in listed
        assert run("make", "--dry-run", target).returncode == 0


@pytest.mark.parametrize(
    ("variable", "value", "option"),
    [("DATA", "../some data", '--data "../some data"'), ("SOURCE", "kraken", '--source "kraken"'), ("OUT", "x", '--out "x"')],
)
def test_settings_reach_the_demo(variable: str, value: str, option: str) -> None:
    assert option in run("make", "--dry-run", "demo", **{variable: value}).stdout


def test_check_runs_every_gate() -> None:
    shown = run("make", "--dry-run", "check").stdout
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports", "codespell", "deptry", "tools.docs", "pytest"):
        assert tool in shown


def test_another_lock_is_another_stamp(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "tools").mkdir()
    shutil.copy(REPOSITORY / "tools/find_python.sh", tmp_path / "tools")

    def stamp() -> str:
        shown = subprocess.run(
            ["make", "--dry-run", "install"], capture_output=True, text=True, cwd=tmp_path, check=True
        ).stdout
        return re.findall(r"\.locked-([0-9a-f]{40})$", shown, re.MULTILINE)[0]

    before = stamp()
    with (tmp_path / "requirements.lock").open("a") as f:
        f.write("# another\n")
    assert stamp() != before


def test_find_python_prefers_what_it_is_told_and_refuses_what_is_too_old(tmp_path: Path) -> None:
    script = str(REPOSITORY / "tools/find_python.sh")
    assert run("sh", script, sys.executable).stdout.strip() == sys.executable
    old = tmp_path / "old python"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.8.1' && exit 0\nexit 1\n")
    old.chmod(0o755)
    refused = run("sh", script, str(old))
    assert refused.returncode == 2
    assert "got: Python 3.8.1; expected: Python 3.11" in refused.stderr


def test_ci_script_parses_and_ends_with_the_summary_of_pytest() -> None:
    text = (REPOSITORY / ".ci/run").read_text("utf-8")
    assert "set -euo pipefail" in text
    assert run("bash", "-n", ".ci/run").returncode == 0
    assert text.rstrip().splitlines()[-1].startswith("grep -E")
    assert os.access(REPOSITORY / ".ci/run", os.X_OK)


def test_pre_commit_runs_local_hooks_only_and_each_is_a_make_target() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert run(*hook["entry"].split(), "--dry-run").returncode == 0


def result() -> dict[str, object]:
    whole: dict[str, object] = dict.fromkeys(DIGEST_KEYS, "0" * 64) | dict.fromkeys(COUNT_KEYS, 1)
    return whole | {
        "source": "simulated", "model_hashes": ["0" * 64], "replay_parity": True, "refusals": {}, "final_pv": "1", "net_return": 0,
        "max_drawdown": 0, "baselines": {name: {} for name in BASELINES}, "seconds": {}, "runs": {"ml": {"fills": 0}, "trend": {"fills": 3}},
        "runs_valid": True, "checks": {run: {gate.name: 0 for gate in GATES} for run in RUNS},
    }  # fmt: skip


def test_a_right_demo_result_passes() -> None:
    assert findings(json.loads(json.dumps(result()))) == []


@pytest.mark.parametrize(
    "change",
    [{"replay_parity": False}, {"replay_parity": "true"}, {"run_root": "abc"}, {"model_hashes": []}, {"fills": True}, {"blocks": -1},
     {"baselines": {"flat": {}}}, {"runs": {"ml": {}}}, {"runs": {"ml": {"fills": 2}, "trend": {"fills": 0}}},
     {"runs_valid": False}, {"checks": {}}],
)  # fmt: skip
def test_a_wrong_demo_result_is_found(change: dict[str, object]) -> None:
    assert findings(result() | change) != []


@pytest.mark.parametrize("run_name", RUNS)
@pytest.mark.parametrize("gate", GATES, ids=[gate.name for gate in GATES])
def test_every_gate_must_have_run_and_hold_on_both_runs(gate: Gate, run_name: str) -> None:
    holds = {name.name: 0 for name in GATES}
    for violations, words in ((-1, "did not run"), (3, "3 rows against"), (None, "did not run")):
        counts = holds | {gate.name: violations} if violations is not None else {n: 0 for n in holds if n != gate.name}
        (found,) = findings(result() | {"checks": dict.fromkeys(RUNS, holds) | {run_name: counts}})
        assert words in found
        assert f"checks.{run_name}" in found
        assert gate.name in found


def test_a_missing_key_is_found() -> None:
    whole = result()
    del whole["journal_head"]
    assert findings(whole) == ["journal_head is missing"]
