"""One run of at most 500 blocks through the real core, made once."""

from __future__ import annotations

import pytest

from tests.support.crashes import Reference
from tests.support.runs import make_run

BLOCKS_MAX = 500


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Return a run that nobody interrupted; never change it."""
    home = tmp_path_factory.mktemp("reference")
    make_run(home, hours_n=420)
    found = Reference.load(home)
    assert 300 < len(found.blocks) <= BLOCKS_MAX
    return found
