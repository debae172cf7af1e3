"""The pins of governed notebooks: which result a source and its parameters must give, per platform fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.errors import DataError
from runtime.files import write_bytes
from workbench.notebook.display import Json
from workbench.notebook.environment import Environment
from workbench.notebook.parameters import Value
from workbench.notebook.run import Executed

PINS_NAME: Final = "pins.json"
PORTABLE_KEYS: Final = ("dataset_hash", "feature_set_hash", "policy_hash")
"""Entries of a result that are made without floating-point libraries: equal on every platform."""


class PlatformPin(BaseModel):
    """The digests of a run on one platform."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    environment: Environment
    results_sha256: str
    rendered_sha256: str


class Pin(BaseModel):
    """What is pinned of one notebook.

    Attributes:
        source_sha256: of the marimo source that was pinned.
        parameters: raw parameters of the pinned run.
        parameters_sha256: of the validated spec.
        portable: entries of the result that must be equal on every platform.
        platforms: digests by platform fingerprint.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    source_sha256: str
    parameters: dict[str, Value]
    parameters_sha256: str
    portable: dict[str, str]
    platforms: dict[str, PlatformPin]


def pins_path(source: Path) -> Path:
    """Return the pins file beside a source."""
    return source.parent / PINS_NAME


def read_pins(path: Path) -> dict[str, Pin]:
    """Return all pins of a file by notebook name; empty when there is no file.

    Raises:
        DataError: the file is not valid.
    """
    if not path.exists():
        return {}
    try:
        return {name: Pin.model_validate_json(json.dumps(entry)) for name, entry in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, ValidationError, AttributeError) as e:
        raise DataError(
            f"{path.name} is damaged: {e}", expected="pins as `ballast notebook pin` writes them", action="restore it from git"
        ) from e


def write_pins(path: Path, pins: dict[str, Pin]) -> None:
    """Write all pins of a file, sorted."""
    content = {name: pin.model_dump(mode="json") for name, pin in pins.items()}
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def pin_of(executed: Executed, parameters: dict[str, Value], platform: Environment, before: Pin | None) -> Pin:
    """Return the pin of a run; pins of other platforms are kept while source, parameters and portable entries are the same."""
    portable = portable_of(executed.result)
    here = PlatformPin(
        environment=platform, results_sha256=executed.seal.results_sha256, rendered_sha256=executed.seal.rendered_sha256
    )
    same = before is not None and (before.source_sha256, before.parameters_sha256, before.portable) == (
        executed.seal.source_sha256, executed.seal.parameters_sha256, portable,
    )  # fmt: skip
    others = before.platforms if before is not None and same else {}
    return Pin(
        source_sha256=executed.seal.source_sha256,
        parameters=parameters,
        parameters_sha256=executed.seal.parameters_sha256,
        portable=portable,
        platforms={**others, platform.fingerprint: here},
    )


def portable_of(result: dict[str, Json]) -> dict[str, str]:
    """Return the entries of a result that must be equal on every platform."""
    return {key: value for key in PORTABLE_KEYS if isinstance(value := result.get(key), str)}
