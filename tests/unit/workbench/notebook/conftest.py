"""A copy of the tiny governed notebook per test, and one executed run of it per session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench.notebook.run import Executed, execute

DATA = Path(__file__).parent / "data"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the path of a private copy of tiny.py in a folder named notebooks."""
    return copy_of("tiny.py", tmp_path)


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """Return tiny.py run once with window 12."""
    return execute(DATA / "tiny.py", {"window": 12}, tmp_path_factory.mktemp("executed"))


def copy_of(name: str, folder: Path) -> Path:
    target = folder / "notebooks" / name
    target.parent.mkdir(exist_ok=True)
    shutil.copy(DATA / name, target)
    return target
