"""One export with rows of every type, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.ops import verify_export as v
from tests.support.exports import export, random_run


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the export of a run with rows of every type."""
    path = export(tmp_path_factory.mktemp("export"), random_run(1, hours=150, symbols=4))
    result = v.verify(path)
    assert result["verified"], result["defect"]
    counts = result["records_by_type"]
    assert isinstance(counts, dict)
    assert min(counts.values()) > 10
    return path
