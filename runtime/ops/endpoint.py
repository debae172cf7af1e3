"""Where the control API of a running daemon is, and the launch token that opens it: a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.errors import EnvironmentFailure
from runtime.files import atomic_path
from runtime.ops.lock import runtime_path

ENDPOINT_NAME: Final = "endpoint.json"


class Endpoint(BaseModel):
    """Address and key of a control API. Its text shows no token."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str = Field(pattern=r"^http://127\.0\.0\.1:[0-9]{1,5}$")
    launch_token: str = Field(min_length=32, max_length=200, repr=False)
    pid: int = Field(ge=1)


def endpoint_path(home: Path) -> Path:
    """Return where a daemon of this home writes its endpoint."""
    return runtime_path(home) / ENDPOINT_NAME


def write_endpoint(home: Path, endpoint: Endpoint) -> None:
    """Write the file, readable and writable by its owner alone from its first byte on.

    Raises:
        EnvironmentFailure: the folder cannot be written.
    """
    with atomic_path(endpoint_path(home)) as temporary:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as f:
            f.write(endpoint.model_dump_json() + "\n")


def read_endpoint(home: Path) -> Endpoint | None:
    """Return what a daemon wrote, `None` when there is no file.

    Raises:
        EnvironmentFailure: others may read or may have written it, or it is not an endpoint.
    """
    path = endpoint_path(home)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _unusable(path, e.strerror or str(e)) from e
    with os.fdopen(fd, "rb") as f:
        about = os.fstat(f.fileno())
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise _unusable(path, "it is not yours alone")
        try:
            return Endpoint.model_validate_json(f.read(10_000))
        except ValidationError as e:
            raise _unusable(path, "it is damaged") from e


def remove_endpoint(home: Path) -> None:
    """Remove the file; the launch token in it opens nothing any more."""
    endpoint_path(home).unlink(missing_ok=True)


def _unusable(path: Path, what: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"cannot use {path}: {what}",
        expected="the file as the daemon wrote it, readable by its owner alone (0600)",
        action="restart the daemon with `ballast runtime stop` and `ballast runtime start`",
    )
