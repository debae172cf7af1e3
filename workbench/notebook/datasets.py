"""How a notebook's `dataset` parameter names a dataset; the spec only knows the full hash."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.progress import Report, silent

SIMULATED: Final = "simulated"


def dataset_hash(home: Path, name: str, report: Report = silent) -> str:
    """Return the full hash of a dataset: a hash, a unique prefix of one, `latest`, or `simulated` (built when missing).

    An empty name, where a notebook needs no dataset, stays empty.

    Raises:
        UsageError, DataError: there is no such dataset.
    """
    if not name:
        return ""
    if name == SIMULATED:
        from workbench.data.datasets.prepare import prepare_dataset

        return prepare_dataset(home, None, SIMULATED, report).dataset_hash
    from workbench.data.datasets.manifests import load_manifest

    return load_manifest(home, name).dataset_hash
