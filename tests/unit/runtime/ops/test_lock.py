"""One daemon in a home: who holds the lock, who may be signalled, and what a second start is told."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure
from runtime.ops import lock
from runtime.ops.lock import AlreadyRunning, DaemonLock, Holder, holder, runtime_path, send_stop

HOLD = """
import sys
from pathlib import Path
from runtime.ops.lock import DaemonLock
held = DaemonLock.take(Path(sys.argv[1]), 7)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(home: Path, repository: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds the lock of `home`."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def test_a_second_one_is_told_who_runs_and_what_to_do(home: Path, other: subprocess.Popen[str]) -> None:
    assert holder(home) == Holder(other.pid, 7)
    with pytest.raises(AlreadyRunning) as refused:
        DaemonLock.take(home, 8)
    assert f"process {other.pid}" in refused.value.got
    assert "ballast runtime stop" in refused.value.action
    assert holder(home) == Holder(other.pid, 7), "the refused one changed nothing"


def test_a_killed_holder_holds_nothing(home: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    assert json.loads((runtime_path(home) / lock.LOCK_NAME).read_text())["pid"] == other.pid, "its words outlive it"
    assert holder(home) is None
    taken = DaemonLock.take(home, 9)
    assert holder(home) == Holder(os.getpid(), 9)
    assert stat.S_IMODE(runtime_path(home).stat().st_mode) == 0o700
    taken.release()
    taken.release()
    assert holder(home) is None


def test_stop_signals_the_holder(home: Path, other: subprocess.Popen[str]) -> None:
    assert send_stop(home, Holder(other.pid, 7))
    assert other.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("pidfd", [True, False])
def test_stop_signals_nobody_else(
    home: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert not send_stop(home, Holder(other.pid, 6)), "the same number, another process"
    assert other.poll() is None
    other.kill()
    other.wait()
    assert not send_stop(home, Holder(other.pid, 7))
    if not pidfd:
        again = DaemonLock.take(home, 1)
        monkeypatch.setattr(os, "kill", lambda pid, number: (_ for _ in ()).throw(ProcessLookupError))
        assert not send_stop(home, Holder(os.getpid(), 1))
        monkeypatch.setattr(os, "kill", lambda pid, number: (_ for _ in ()).throw(PermissionError))
        with pytest.raises(EnvironmentFailure, match="another user"):
            send_stop(home, Holder(os.getpid(), 1))
        again.release()


def test_without_pidfds_the_number_is_signalled_while_the_lock_is_held(
    home: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert send_stop(home, Holder(other.pid, 7))
    assert other.wait(10) == -signal.SIGTERM


def test_looking_never_keeps_a_daemon_from_starting(home: Path) -> None:
    """A look takes the lock for a moment, and a start waits for that."""
    DaemonLock.take(home, 1).release()
    look = os.open(runtime_path(home) / lock.LOCK_NAME, os.O_RDONLY)
    lock.fcntl.flock(look, lock.fcntl.LOCK_SH)
    threading.Timer(0.03, os.close, (look,)).start()
    taken = DaemonLock.take(home, 2)
    assert holder(home) == Holder(os.getpid(), 2)
    taken.release()


def test_one_that_ends_while_it_is_asked_about(
    home: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "holder", lambda home: None)
    with pytest.raises(AlreadyRunning, match="is starting or ending"):
        DaemonLock.take(home, 8)


def test_nobody_runs_where_nothing_is(tmp_path: Path) -> None:
    assert holder(tmp_path / "none") is None


@pytest.mark.parametrize("words", ["", "{", "[]", '{"pid": "x", "started_t": 1}'])
def test_a_holder_that_does_not_say_who_it_is(home: Path, other: subprocess.Popen[str], words: str) -> None:
    (runtime_path(home) / lock.LOCK_NAME).write_text(words)
    with pytest.raises(EnvironmentFailure, match="does not say by whom"):
        holder(home)
    with pytest.raises(AlreadyRunning, match="is starting or ending"):
        DaemonLock.take(home, 8)


def test_no_place_to_lock(tmp_path: Path) -> None:
    (tmp_path / "runtime").write_text("a file in the way")
    for ask in (lambda: DaemonLock.take(tmp_path, 1), lambda: holder(tmp_path)):
        with pytest.raises(EnvironmentFailure, match="cannot lock"):
            ask()


def test_a_link_is_not_followed(home: Path, tmp_path: Path) -> None:
    runtime_path(home).mkdir()
    (tmp_path / "precious").write_text("mine")
    (runtime_path(home) / lock.LOCK_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(EnvironmentFailure, match="cannot lock"):
        DaemonLock.take(home, 1)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_file_system_without_locks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with pytest.raises(EnvironmentFailure, match="Operation not supported"):
        DaemonLock.take(home, 1)
    with pytest.raises(EnvironmentFailure, match="Operation not supported"):
        holder(home)
