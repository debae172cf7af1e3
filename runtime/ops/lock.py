"""One daemon in a home folder: a lock that the operating system lets go of when the process ends, however it ends.

`daemon.lock` is locked (flock), and says who holds it. What it says is believed only while somebody holds the lock: a process
number alone may belong to anybody by now.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from runtime.errors import EnvironmentFailure

RUNTIME_FOLDER: Final = "runtime"
LOCK_NAME: Final = "daemon.lock"
ATTEMPTS_N: Final = 10
AGAIN_S: Final = 0.01


def runtime_path(home: Path) -> Path:
    """Return the folder of the daemon's own files, which are in no chain: lock, endpoint, log, active bundle."""
    return home / RUNTIME_FOLDER


class Holder(NamedTuple):
    """Who runs in a home folder."""

    pid: int
    started_t: int


class AlreadyRunning(EnvironmentFailure):
    """Another daemon holds the home folder."""


class DaemonLock:
    """The lock of a home folder, held until `release` or the end of the process. Make it with `take`."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def take(cls, home: Path, started_t: int) -> DaemonLock:
        """Take the lock and write who holds it.

        Raises:
            AlreadyRunning: another process holds it; the message says which.
            EnvironmentFailure: the folder cannot be written, or is on a file system without locks.
        """
        path = runtime_path(home) / LOCK_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as e:
            raise _unusable(path, e) from e
        try:
            _hold(fd)
            said = json.dumps(Holder(os.getpid(), started_t)._asdict()).encode() + b"\n"
            os.pwrite(fd, said, 0)  # over what an earlier holder left, so that the file is never empty
            os.ftruncate(fd, len(said))
        except BlockingIOError as e:
            os.close(fd)
            raise _taken(home) from e
        except OSError as e:
            os.close(fd)
            raise _unusable(path, e) from e
        return cls(path, fd)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes hold two files of one name. Twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(home: Path) -> Holder | None:
    """Return who runs in a home folder, `None` when nobody does.

    Raises:
        EnvironmentFailure: somebody holds the lock, and the file does not say who.
    """
    path = runtime_path(home) / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _unusable(path, e) from e
    try:
        if not _is_held(fd):
            return None
        said = json.loads(os.pread(fd, 1_000, 0) or b"null")
        return Holder(int(said["pid"]), int(said["started_t"]))
    except (ValueError, TypeError, KeyError) as e:
        raise EnvironmentFailure(
            f"{path} is locked, and does not say by whom",
            expected="the process that locked it to have written its number",
            action=f"try again in a second; else find it with `fuser {path}`",
        ) from e
    except OSError as e:
        raise _unusable(path, e) from e
    finally:
        os.close(fd)


def send_stop(home: Path, expected: Holder) -> bool:
    """Send SIGTERM to the daemon of a home folder if it still is the one expected; return whether it was sent.

    Where the system can hold on to a process (pidfd), the number cannot be another one's in between.

    Raises:
        EnvironmentFailure: it belongs to another user.
    """
    pidfd = -1
    try:
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):  # an old kernel: the check below is all there is
                pidfd = os.pidfd_open(expected.pid)
        if holder(home) != expected:
            return False
        if pidfd >= 0:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        else:
            os.kill(expected.pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError as e:
        raise EnvironmentFailure(
            f"process {expected.pid} belongs to another user",
            expected="a daemon that you started",
            action="ask its owner, or run this command as that user",
        ) from e
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    return True


def _hold(fd: int) -> None:
    """Take the lock; whoever just looks at it (`holder`) has it for a moment, which is waited for.

    Raises:
        BlockingIOError: it is held.
    """
    for _ in range(ATTEMPTS_N - 1):
        with suppress(BlockingIOError):
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(AGAIN_S)
    return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _taken(home: Path) -> AlreadyRunning:
    with suppress(EnvironmentFailure):
        found = holder(home)
        if found is not None:
            return AlreadyRunning(
                f"a daemon already runs in {home}: process {found.pid}",
                expected="one daemon in a home folder; this one changed nothing",
                action="look at it with `ballast runtime status`, end it with `ballast runtime stop`, or use another --home",
            )
    return AlreadyRunning(
        f"a daemon is starting or ending in {home}",
        expected="one daemon in a home folder; this one changed nothing",
        action="try again in a second",
    )


def _unusable(path: Path, error: OSError) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"cannot lock {path}: {error.strerror or error}",
        expected="a writable folder on a file system with locks",
        action="check permissions and disk, or choose another folder with --home",
    )
