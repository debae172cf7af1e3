"""`ballast runtime`: what each command prints and how it ends, against a stand-in for the daemon's outside."""

from __future__ import annotations

import json
import os
import plistlib
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.commands.runtime_screen import print_running
from runtime.ops import process
from runtime.ops.accounts import create_account
from runtime.ops.endpoint import Endpoint, write_endpoint
from runtime.ops.lock import DaemonLock, holder
from runtime.profiles.store import find_version, versions
from tests.support.control import TOKEN, served
from tests.unit.runtime.ops.test_accounts import genesis, written
from tests.unit.runtime.ops.test_paper_days import bar, session

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BALLAST_KRAKEN_URL", "BALLAST_RUNTIME_PORT", "BALLAST_RUNTIME_ACCOUNT_ID", "BALLAST_RUNTIME_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stand_in(home: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Iterator[None]:
    """Let `start` start a stand-in, and end whatever is left."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(process, "COMMAND", ("-m", "tests.support.daemons", str(home)))
    yield
    found = holder(home)
    if found is not None:
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)


def said(capsys: Out) -> str:
    return " ".join((shown := capsys.readouterr()).out.split() + shown.err.split())


def as_json(capsys: Out) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("stand_in")
def test_start_status_steer_stop(home: Path, capsys: Out) -> None:
    assert main(["runtime", "start", "--json"]) == 0
    started = as_json(capsys)
    assert (started["started"], started["pid"]) == (True, (holder(home) or (0,))[0])
    assert main(["runtime", "start"]) == 6
    assert f"a daemon already runs in {home}: process {started['pid']}" in said(capsys)
    assert main(["runtime", "status", "--json"]) == 0
    assert as_json(capsys)["path"] == "/runtime/status"
    assert main(["runtime", "status"]) == 0
    assert "running" in said(capsys)
    assert main(["runtime", "kill", "--reason", "a drill", "--json"]) == 0
    assert as_json(capsys)["path"] == "/runtime/kill"
    assert main(["runtime", "kill", "--release", "--reason", "over"]) == 0
    assert "kill switch released" in said(capsys)
    assert main(["runtime", "stop", "--json"]) == 0
    stopped = as_json(capsys)
    assert (stopped["stopped"], stopped["pid"]) == (True, started["pid"])
    assert isinstance(stopped["seconds"], float)
    assert stopped["seconds"] < process.STOP_S_MAX


@pytest.mark.usefixtures("stand_in")
def test_in_words(home: Path, capsys: Out) -> None:
    assert main(["runtime", "start", "--venue", "http://127.0.0.1:1", "--account", "7", "--port", "0"]) == 0
    assert "started process" in said(capsys)
    assert main(["policy", "set", "mine", "base_ppm=1%", "--author", "me", "--note", "less", "--from", "conservative"]) == 0
    for name in ("mine", "mine@1", str(home / "profiles/mine/v001.json")):
        assert main(["runtime", "profile", name, "--reason", "less"]) == 0
        assert "mine@1 governs" in said(capsys)
    assert main(["runtime", "profile", "none.json", "--reason", "less"]) == 2
    assert main(["runtime", "stop"]) == 0
    assert "ended after" in said(capsys)


@pytest.mark.parametrize("arguments", [["kill", "--reason", "x"], ["profile", "mine", "--reason", "x"]])
def test_nothing_can_be_steered_while_nothing_runs(home: Path, capsys: Out, arguments: list[str]) -> None:
    assert main(["policy", "set", "mine", "base_ppm=1%", "--author", "me", "--note", "less", "--from", "conservative"]) == 0
    assert main(["runtime", *arguments]) == 6
    assert "no daemon trades" in said(capsys)


def test_what_is_said_to_govern_is_what_governs(home: Path, capsys: Out) -> None:
    wish = ["policy", "set", "mine", "--author", "me", "--note", "n"]
    with served(home, hours=10) as api:
        lock = DaemonLock.take(home, 1)
        write_endpoint(home, Endpoint(url=api.server.url, launch_token=TOKEN, pid=os.getpid()))
        assert main([*wish, "total_cap_ppm=15%", "--from", "aggressive"]) == 0
        assert main([*wish, "total_cap_ppm=14%"]) == 0
        for name in ("mine", "mine@1", "conservative"):
            wanted = find_version(home, name)
            capsys.readouterr()
            assert main(["runtime", "profile", name, "--reason", "a", "--json"]) == 0
            about = {"name": wanted.profile.name, "version": wanted.profile.version, "policy_digest": wanted.policy_digest}
            assert as_json(capsys)["profile"] == about
            assert main(["runtime", "status", "--json"]) == 0
            status = as_json(capsys)
            assert isinstance(status["profile"], dict)
            assert {**status["profile"], **about} == status["profile"]
            assert main(["runtime", "profile", name, "--reason", "another"]) == 4
            assert "governs already: nothing to do" in said(capsys)
            assert main(["runtime", "status", "--json"]) == 0
            assert as_json(capsys)["head"] == status["head"]
        assert main(["runtime", "profile", "mine", "--reason", "b"]) == 0
        shown = said(capsys)
        assert f"mine@2 governs, digest {find_version(home, 'mine').policy_digest}: block" in shown
        assert len(versions(home, "mine")) == 2
        lock.release()


def test_kill_and_release_say_what_changed(home: Path, capsys: Out) -> None:
    with served(home, hours=10) as api:
        lock = DaemonLock.take(home, 1)
        write_endpoint(home, Endpoint(url=api.server.url, launch_token=TOKEN, pid=os.getpid()))
        assert main(["runtime", "kill", "--release", "--reason", "x"]) == 4
        assert "nothing to release" in said(capsys)
        for words in ("kill switch thrown: block", "kill switch thrown, which it was already: block"):
            assert main(["runtime", "kill", "--reason", "x"]) == 0
            assert words in said(capsys)
        assert main(["runtime", "kill", "--release", "--reason", "x"]) == 0
        assert "kill switch released: block" in said(capsys)
        lock.release()


@pytest.mark.parametrize("other", [True, False])
def test_the_endpoint_of_a_killed_daemon_is_not_believed(home: Path, capsys: Out, other: bool) -> None:
    write_endpoint(home, Endpoint(url="http://127.0.0.1:9", launch_token="x" * 40, pid=1))
    lock = DaemonLock.take(home, 1) if other else None
    assert main(["runtime", "kill", "--reason", "x"]) == 6
    assert "no daemon trades" in said(capsys)
    assert main(["runtime", "status", "--json"]) == 0
    assert as_json(capsys)["running"] is other
    if lock is not None:
        lock.release()


def test_stop_where_nothing_runs(home: Path, capsys: Out) -> None:
    assert main(["runtime", "stop", "--json"]) == 0
    assert as_json(capsys) == {"stopped": False, "pid": None, "seconds": None}
    assert main(["runtime", "stop"]) == 0
    assert "no daemon runs" in said(capsys)


def test_status_from_the_journals(home: Path, capsys: Out) -> None:
    assert main(["runtime", "status"]) == 0
    assert "no paper account yet" in said(capsys)
    written(home, [session(), *map(bar, range(24))])
    damaged = create_account(home, genesis(2))
    (damaged.folder / "journal.sqlite").write_bytes(b"no journal")
    assert main(["runtime", "status"]) == 0
    shown = said(capsys)
    assert "25 blocks" in shown
    assert "not stopped" in shown
    assert "1 completed" in shown
    assert "problem" in shown
    assert main(["runtime", "status", "--json"]) == 0
    accounts = as_json(capsys)["accounts"]
    assert isinstance(accounts, list)
    assert [account["completed_days_n"] for account in accounts] == [1, 0]


def test_status_of_one_that_has_no_api_yet(home: Path, capsys: Out) -> None:
    lock = DaemonLock.take(home, 1)
    assert main(["runtime", "status", "--json"]) == 0
    assert as_json(capsys) == {"running": True, "pid": os.getpid(), "url": None, "state": "starting"}
    assert main(["runtime", "status"]) == 0
    assert "not there yet" in said(capsys)
    lock.release()


@pytest.mark.parametrize("which", ["run", "start"])
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--mode", "live"], 4, "30 completed paper days"), (["--mode", "demo"], 2, "--mode 'demo'"), (["--port", "70000"], 2, "--port"),
        (["--venue", "http://example.org"], 2, "--venue"), (["--home", "nowhere"], 2, "does not exist"), (["--account", "0"], 2, "--account"),
    ],
)  # fmt: skip
def test_mistakes(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Out,
    which: str,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runtime", which, *arguments]) == code
    assert words in said(capsys)
    assert not (home / "runs").exists()


def test_without_the_extra_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ccxt" else object())
    assert main(["runtime", "run"]) == 6
    assert "the daemon needs ccxt" in said(capsys)


@pytest.mark.parametrize("reason", ["", " ", "x" * 501, "two\nlines", "\x1b[2J"])
def test_a_reason_is_a_sentence(home: Path, capsys: Out, reason: str) -> None:
    assert main(["runtime", "kill", "--reason", reason]) == 2
    assert "--reason" in said(capsys)


def test_units(home: Path, capsys: Out) -> None:
    assert main(["runtime", "units", "launchd"]) == 0
    assert str(home) in plistlib.loads(capsys.readouterr().out.encode())["ProgramArguments"]
    assert main(["runtime", "units", "systemd", "--json"]) == 0
    assert "ExecStart=" in str(as_json(capsys)["unit"])
    assert main(["runtime", "units", "cron"]) == 2


STATUS = {
    "state": "running", "reasons": ["the feed is not connected"], "mode_id": 2, "mode": "paper", "simulated": False, "clock": "system", "account_id": 1,
    "run_id": "paper-1", "version": "0.1.0", "started_t": 1_700_000_000, "now_t": 1_700_000_100, "head": {"seq_n": 12, "block_hash": "ab" * 32},
    "symbols": [f"S{n}" for n in range(30)], "interval_t": 3600,
    "profile": {"name": "mine", "version": 2, "version_n": 2, "policy_digest": "cd" * 32},
    "bundle": {"name": "ml", "bundle_hash": "12" * 32, "feature_set_hash": "", "manifest_digest": "", "signer": "34" * 32},
    "switches": {"kill_on": True, "kill_id": 3, "kill": "data", "halt_on": True}, "tier_id": 1, "tier": "DD10",
    "feed": {"connected": False, "last_message_ms": 0, "last_bar_t": 0, "gaps_n": 4, "checksum_n": 0, "late_n": 0, "duplicate_n": 0,
             "reconnects_n": 2, "stale": ["S3"], "skew_ms": -7, "venue_mode": "maintenance"},
    "latency": {"p50_ms": 1.5, "p99_ms": 9.0, "blocks_n": 12}, "paper_days": {"completed_n": 3, "required_n": 30, "reason": ""},
}  # fmt: skip


def test_one_screen(capsys: Out) -> None:
    print_running(17, "http://127.0.0.1:1", STATUS)
    shown = said(capsys)
    for words in (
        "running", "the feed is not connected", "17, control API http://127.0.0.1:1", "1, paper, clock of the system", "S7 and 22 more",
        "block 12 at 2023-11-14 22:15:00 UTC, abababababab", "3 of 30 completed", "NOT CONNECTED, venue maintenance, skew -7 ms", "none yet",
        "4 gaps", "no usable book: S3", "p99 9.0 ms over 12 blocks", "kill switch (data), entry halt", "DD10", "mine@2, digest cdcdcdcdcdcd", "ml 121212121212",
    ):  # fmt: skip
        assert words in shown, words
    assert len(shown) < 24 * 100, "one screen"


def test_an_answer_of_another_version_is_shown_as_far_as_it_is_understood(capsys: Out) -> None:
    print_running(
        17,
        "",
        {"state": "odd", "head": 3, "symbols": "x", "paper_days": {"reason": "simulated", "completed_n": 0}, "switches": {}},
    )
    assert "odd" in (shown := said(capsys))
    assert "simulated" in shown
