"""Starting and ending a daemon in the background: real processes, every way they can end."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure, GateError, UsageError
from runtime.ops import process
from runtime.ops.api_client import ControlClient
from runtime.ops.endpoint import Endpoint, read_endpoint
from runtime.ops.lock import holder
from runtime.ops.process import Started, StartFailed, start_detached, stop
from tests.support.daemons import TOKEN


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setattr(process, "COMMAND", ("-m", "tests.support.daemons"))
    monkeypatch.chdir(repository)


@pytest.fixture
def started(home: Path) -> Iterator[Started]:
    """Yield a running stand-in."""
    found = start_detached(home, [str(home), "well"])
    yield found
    with suppress(ProcessLookupError):
        os.kill(found.endpoint.pid, signal.SIGKILL)
        os.waitpid(found.endpoint.pid, 0)


def test_it_starts_in_a_session_of_its_own_and_stops(home: Path, started: Started) -> None:
    told = holder(home)
    assert told is not None
    assert told.pid == started.endpoint.pid
    assert os.getsid(told.pid) == told.pid, "the terminal's end is not its end"
    stopped = stop(home)
    assert stopped is not None
    assert (stopped.holder.pid, stopped.seconds < process.STOP_S_MAX) == (told.pid, True)
    assert holder(home) is None
    assert stop(home) is None


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("refuses", 4, "gate: no bundle is active"), ("crashes", 6, "signal 9"), ("silent", 6, "without a word; .* KiB are free")],
)
def test_one_that_ends_says_why_with_its_own_code(home: Path, how: str, code: int, said: str) -> None:
    with pytest.raises(StartFailed, match=said) as failed:
        start_detached(home, [str(home), how])
    assert failed.value.exit_code == code
    assert holder(home) is None


@pytest.mark.parametrize("how", ["mute", "unhealthy", "starting", "locked"])
def test_one_that_never_answers_is_ended(home: Path, how: str) -> None:
    seen: list[int] = []
    with pytest.raises(StartFailed, match="did not begin to trade within"):
        start_detached(home, [str(home), how], lambda stage, done, total: seen.append(done), seconds_max=0.9)
    assert seen
    assert holder(home) is None, "it does not go on half started"


def test_an_endpoint_of_another_process_is_not_believed(home: Path, started: Started) -> None:
    with pytest.raises(StartFailed) as failed:
        start_detached(home, [str(home), "well"], seconds_max=5.0)
    assert "a daemon already runs" in failed.value.got
    assert holder(home) is not None


def test_a_deaf_one_is_named(home: Path) -> None:
    found = start_detached(home, [str(home), "deaf"])
    try:
        with pytest.raises(EnvironmentFailure, match=f"process {found.endpoint.pid} still runs") as failed:
            stop(home, seconds_max=0.3)
        assert "kill -9" in failed.value.action
    finally:
        os.kill(found.endpoint.pid, signal.SIGKILL)
        os.waitpid(found.endpoint.pid, 0)


def test_no_place_for_its_words(home: Path) -> None:
    (home / "runtime").write_text("a file in the way")
    with pytest.raises(EnvironmentFailure, match="cannot write"):
        start_detached(home, [str(home), "well"])


def test_a_disk_without_room_for_its_words_starts_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for call in ("write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(EnvironmentFailure, match=r"daemon\.err: No space left") as failed:
                start_detached(home, [str(home), "well"])
        assert failed.value.exit_code == 6
        assert holder(home) is None


def test_an_old_one_that_hears_late_is_given_its_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGTERM when it is given up is killed."""
    monkeypatch.setattr(process, "STOP_S_MAX", 0.2)
    monkeypatch.setattr(process.ControlClient, "healthy", lambda self: False)
    began_s = time.monotonic()
    with pytest.raises(StartFailed):
        start_detached(home, [str(home), "deaf"], seconds_max=0.9)
    assert time.monotonic() - began_s < 10
    assert holder(home) is None


# ---- the client ------------------------------------------------------------------------------------------------


def test_the_token_goes_where_it_belongs(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = ControlClient(started.endpoint)
    assert client.healthy()
    answer = client.get("/runtime/status")
    headers = answer["headers"]
    assert isinstance(headers, dict)
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    sent = client.post("/runtime/kill", {"on": True}, "cli-1")["headers"]
    assert isinstance(sent, dict)
    assert (sent["Idempotency-Key"], sent["Content-Type"]) == ("cli-1", "application/json")


@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (409, {"kind": "gate", "got": "the base digest is stale"}, GateError, "the base digest is stale"),
        (422, {"detail": [{"msg": "too long"}]}, UsageError, "too long"), (503, {"reason": "busy"}, EnvironmentFailure, "busy"),
        (500, "no json", EnvironmentFailure, "status 500"), (200, "[]", EnvironmentFailure, "status 200"), (401, {"odd": 1}, EnvironmentFailure, "status 401"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_said(started: Started, status: int, answer: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ControlClient(started.endpoint).post("/x", {"status": status, "answer": answer}, "cli-2")


def test_nobody_there(home: Path, started: Started) -> None:
    stop(home)
    endpoint = read_endpoint(home) or Endpoint(url="http://127.0.0.1:9", launch_token=TOKEN, pid=1)
    client = ControlClient(endpoint, timeout_s=1.0)
    assert not client.healthy()
    with pytest.raises(EnvironmentFailure, match="does not answer") as failed:
        client.get("/runtime/status")
    assert TOKEN not in str(failed.value)
