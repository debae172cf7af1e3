"""The receipt of a run: which source, parameters, data, environment and commit gave which result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.errors import DataError
from runtime.files import write_bytes
from workbench.notebook.environment import Environment

RECEIPT_NAME: Final = "receipt.json"


class Receipt(BaseModel):
    """What is on record about one run of a governed notebook.

    Attributes:
        notebook: name of the source.
        source_sha256: of the marimo source.
        parameters_sha256: of the validated spec.
        dataset_hash: the dataset the spec names; empty when it names none.
        environment_lock_sha256: of requirements.lock.
        environment: platform whose floating point and packages were used.
        results_sha256: of the result only; equal under every kernel.
        rendered_sha256: of sources and outputs; equal within one environment.
        notebook_sha256: of the sealed file.
        git_commit: commit of the checkout, with `+changes` when it had any; empty outside of git.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    notebook: str
    source_sha256: str
    parameters_sha256: str
    dataset_hash: str
    environment_lock_sha256: str
    environment: Environment
    results_sha256: str
    rendered_sha256: str
    notebook_sha256: str
    git_commit: str


def write_receipt(folder: Path, receipt: Receipt) -> Path:
    """Write the receipt into a folder and return its path."""
    path = folder / RECEIPT_NAME
    content = json.dumps(receipt.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    write_bytes(path, content.encode())
    return path


def read_receipt(path: Path) -> Receipt:
    """Return a receipt from its file; raise `DataError` when it is none."""
    try:
        return Receipt.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as e:
        raise DataError(
            f"{path} is no receipt: {e}", expected="a receipt.json of a run", action="run the notebook again"
        ) from e
