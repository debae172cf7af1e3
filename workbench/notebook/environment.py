"""On what a notebook ran: the lock, the platform whose floating point it used, and the commit. Never part of a result."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from runtime.canonical import digest, sha256_file
from runtime.machine import processor_features, system_name

ROOT: Final = Path(__file__).parents[2]
"""The checkout, when installed editable; the folder of the installed packages otherwise."""
LOCK_NAME: Final = "requirements.lock"
GIT_TIMEOUT_S: Final = 10


class Environment(BaseModel):
    """What may change bits of a trained model without changing any input.

    Attributes:
        system: operating system and machine (`Linux x86_64`).
        python: version with its minor number only; the lock pins the rest.
        processor_features: vector extensions that NumPy dispatches on, sorted.
        lock_sha256: of requirements.lock; empty when not run from a checkout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    system: str
    python: str
    processor_features: tuple[str, ...]
    lock_sha256: str

    @property
    def fingerprint(self) -> str:
        """Return the platform fingerprint that pins are kept under: 16 hexadecimal digits."""
        return digest(self.model_dump(mode="json"))[:16]


@cache
def environment() -> Environment:
    """Return the environment of this process."""
    lock = ROOT / LOCK_NAME
    return Environment(
        system=system_name(),
        python=".".join(platform.python_version_tuple()[:2]),
        processor_features=processor_features(),
        lock_sha256=sha256_file(lock) if lock.is_file() else "",
    )


def git_commit(folder: Path) -> str:
    """Return the commit of a checkout, with `+changes` when tracked files differ from it; empty outside of git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  fixed arguments and a folder
        ["git", "-C", str(folder), *arguments],  # noqa: S607  the git of the PATH, as every other tool uses
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_TIMEOUT_S,
    )
    return done.stdout.strip()
