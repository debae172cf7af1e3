from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control import Served, served


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a paper desk for a module; its tests leave it trading, with the kill switch off."""
    with served(tmp_path_factory.mktemp("home")) as found:
        yield found
