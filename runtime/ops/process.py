"""Starting the daemon in the background, and ending it: what `ballast runtime start` and `stop` do."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from runtime.errors import EnvironmentFailure
from runtime.ops.api_client import ControlClient
from runtime.ops.endpoint import Endpoint, read_endpoint
from runtime.ops.lock import Holder, holder, runtime_path, send_stop
from runtime.progress import Report, silent

ERRORS_NAME: Final = "daemon.err"
"""What the daemon said on its terminal's error stream: failures before its log exists, and crashes of the interpreter."""
COMMAND: Final = ("-m", "runtime.cli", "runtime", "run")
START_S_MAX: Final = 180.0
"""A first start compiles the decision core."""
STOP_S_MAX: Final = 5.0
POLL_S: Final = 0.05
LINES_SHOWN: Final = 12
ROOM_BYTES: Final = 65_536
"""What must fit on the disk before a daemon is started: without it, it could not even say why it ends."""


class Started(NamedTuple):
    """A daemon that trades."""

    endpoint: Endpoint
    seconds: float


class Stopped(NamedTuple):
    """A daemon that was asked to stop: which one, and after how many seconds it had ended."""

    holder: Holder
    seconds: float


class StartFailed(EnvironmentFailure):
    """The daemon ended before it traded; `code` is its exit code."""

    def __init__(self, got: str, *, expected: str, action: str, code: int = EnvironmentFailure.exit_code) -> None:
        super().__init__(got, expected=expected, action=action)
        self.exit_code = code


def start_detached(home: Path, arguments: Sequence[str], report: Report = silent, seconds_max: float = START_S_MAX) -> Started:
    """Start a daemon that outlives this process and its terminal; return when it trades.

    Args:
        home: the home folder.
        arguments: of `ballast runtime run`.
        report: told how many seconds it has taken.
        seconds_max: patience.

    Raises:
        StartFailed: it ended, with its own exit code and message, or did not answer in time (it is ended then).
        EnvironmentFailure: it cannot be started.
    """
    errors = runtime_path(home) / ERRORS_NAME
    began_s = time.monotonic()
    try:
        errors.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = _room_for_words(errors)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write {errors}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk, or choose another folder with --home",
        ) from e
    with os.fdopen(fd, "wb") as f:
        child = subprocess.Popen(  # noqa: S603  our own command, no shell
            [sys.executable, *COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=f,
            start_new_session=True,
        )
    try:
        while (took_s := time.monotonic() - began_s) < seconds_max:
            if child.poll() is not None:
                raise _ended(home, child.returncode)
            found = read_endpoint(home)
            if found is not None and found.pid == child.pid and _trades(ControlClient(found)):
                return Started(found, took_s)
            report("start", int(took_s), 0)
            time.sleep(POLL_S)
    except BaseException:
        _end(child)
        raise
    _end(child)
    raise StartFailed(
        f"the daemon did not begin to trade within {seconds_max:.0f} s",
        expected="a control API that answers, and a venue that lets it in",
        action=f"read {errors} and the log beside it",
    )


def stop(home: Path, seconds_max: float = STOP_S_MAX) -> Stopped | None:
    """End the daemon of a home folder and return when it has ended; `None` when none runs.

    Raises:
        EnvironmentFailure: it did not end in time, or belongs to another user.
    """
    found = holder(home)
    if found is None:
        return None
    began_s = time.monotonic()
    send_stop(home, found)
    while (took_s := time.monotonic() - began_s) < seconds_max:
        if holder(home) != found:
            return Stopped(found, took_s)
        time.sleep(POLL_S)
    raise EnvironmentFailure(
        f"process {found.pid} still runs {seconds_max:g} s after it was asked to stop",
        expected="an end within that time",
        action=f"look at the end of its log in {runtime_path(home)}; `kill -9 {found.pid}` loses nothing that is in the journal",
    )


def _room_for_words(path: Path) -> int:
    """Return a descriptor of an empty file that could hold what a daemon says before it ends.

    Raises:
        OSError: it cannot be written, or the file system is full.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(fd, bytes(ROOM_BYTES)) < ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)  # some file systems say only here that there is no room
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def _trades(client: ControlClient) -> bool:
    """Return whether a daemon has come so far that it takes the market in, or says that it was told not to."""
    if not client.healthy():
        return False
    try:
        return client.get("/runtime/status").get("state") != "starting"
    except EnvironmentFailure:  # it is being made, and says so
        return False


def _ended(home: Path, code: int) -> StartFailed:
    """Return why a daemon ended, in its own words."""
    text = (runtime_path(home) / ERRORS_NAME).read_text("utf-8", "replace")
    said = [line for line in text.splitlines() if line.strip()][-LINES_SHOWN:]
    if not said:  # a full disk keeps no words either
        said = [f"without a word; {shutil.disk_usage(home).free // 1024:,} KiB are free in {home}"]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return StartFailed(
        f"the daemon ended before it traded ({how})" + "".join(f"\n    {line}" for line in said),
        expected="a daemon that runs",
        action="do what its message says; `ballast runtime run` shows the same in the foreground",
        code=code if code > 0 else EnvironmentFailure.exit_code,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a daemon that nobody will wait for: it must not go on half started."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
