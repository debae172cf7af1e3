"""The head anchor: a small file outside the journal that remembers how far the journal had come.

A chain alone cannot show that its end was cut off. The anchor can: it is written after each commit, so it may lag
behind the journal but never lead it. (Live accounts will sign it with a key from the OS keyring.)
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Final, NamedTuple

from runtime.canonical import canonical_json
from runtime.errors import EnvironmentFailure, VerificationError
from runtime.files import TEMPORARY_PREFIX
from runtime.ports import Head

ANCHOR_NAME: Final = "head.json"
ANCHOR_VERSION: Final = 1
# macOS: fsync() reaches the drive, not the platter; F_FULLFSYNC does. Linux has no such command and needs none.
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


class Anchor(NamedTuple):
    """What the anchor file says."""

    genesis_hash: bytes
    head: Head


def full_sync(fd: int) -> None:
    """Flush an open file to stable storage as far as the platform can promise it."""
    if _FULL_SYNC is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, _FULL_SYNC)


def sync_folder(folder: Path) -> None:
    """Flush what a folder says of its files: their names, new, changed or gone."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        full_sync(fd)
    finally:
        os.close(fd)


def write_anchor(path: Path, anchor: Anchor) -> None:
    """Replace the anchor file durably: write beside it, sync, rename, sync the folder.

    Raises:
        EnvironmentFailure: the folder cannot be written.
    """
    content = canonical_json({
        "block_hash": anchor.head.block_hash.hex(),
        "genesis_hash": anchor.genesis_hash.hex(),
        "seq_n": anchor.head.seq_n,
        "version": ANCHOR_VERSION,
    })  # fmt: skip
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    try:
        with temporary.open("wb", buffering=0) as file:
            written_n = file.write(content)
            if written_n != len(content):
                raise OSError(errno.ENOSPC, f"{written_n} of {len(content)} bytes written")
            full_sync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write the head anchor {path}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk; the blocks before it are safe in the journal",
        ) from e


def read_anchor(path: Path) -> Anchor | None:
    """Return the anchor, or `None` when there is no file.

    Raises:
        VerificationError: the file is not an anchor.
        EnvironmentFailure: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot read the head anchor {path}: {e.strerror or e}", expected="a readable file", action="check permissions"
        ) from e
    try:
        value = json.loads(content)
        head = Head(value["seq_n"], bytes.fromhex(value["block_hash"]))
        anchor = Anchor(bytes.fromhex(value["genesis_hash"]), head)
        version = value["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise _not_an_anchor(path, "it cannot be parsed") from e
    if version != ANCHOR_VERSION or type(head.seq_n) is not int or head.seq_n < 0:
        raise _not_an_anchor(path, f"version {version!r}, seq_n {head.seq_n!r}")
    return anchor


def _not_an_anchor(path: Path, why: str) -> VerificationError:
    return VerificationError(
        f"{path} is not a head anchor: {why}",
        expected=f"the JSON object that the journal wrote (version {ANCHOR_VERSION})",
        action="restore the run from a backup; without its anchor a cut-off journal cannot be told from a whole one",
    )
