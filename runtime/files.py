"""Writing files so that a crash leaves the old content or the new one, never half of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runtime.errors import EnvironmentFailure

TEMPORARY_PREFIX: Final = ".partial-"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success fsync it and rename it over `target`.

    On any failure, Ctrl-C included, the temporary file is removed and `target` is untouched.

    Raises:
        EnvironmentFailure: the folder cannot be made or written.
    """
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write {target}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk, or choose another folder with --out",
        ) from e
    finally:
        # What cannot be removed was never made (or shows up by its prefix); the first failure is the one to report.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder entry to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(target: Path, content: bytes) -> None:
    """Atomically replace the content of a file."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def create_bytes(target: Path, content: bytes) -> None:
    """Create a file with this content, whole or not at all, unless it exists.

    Raises:
        FileExistsError: the file exists; it is untouched.
        EnvironmentFailure: the folder cannot be made or written.
    """
    # threads of one process may race for the same target, each with its own content
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{threading.get_ident()}-{target.name}")
    try:
        with suppress(FileExistsError):  # what stands in the way of the folder shows when the file is written
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        sync(temporary)
        os.link(temporary, target)  # unlike a rename, a link never replaces
        sync(target.parent)
    except FileExistsError:
        raise
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot create {target}: {e.strerror or e}",
            expected="a writable folder with free space, on a file system with hard links",
            action="check permissions and disk, or choose another folder with --home",
        ) from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `target`; what is left of it at the end is removed, Ctrl-C included."""
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_folder(temporary: Path, target: Path) -> None:
    """Sync a complete folder and give it its name; a folder of that name makes room first, and comes back if that fails.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    for path in sorted(temporary.rglob("*")):
        sync(path)
    sync(temporary)
    old = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-old-{target.name}")
    try:
        with suppress(FileNotFoundError):
            target.rename(old)
        temporary.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
