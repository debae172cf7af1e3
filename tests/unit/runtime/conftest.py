"""One small run through the real core, made once; tests that change something get a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.runs import make_run


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with one run (`made_run`); never change it."""
    home = tmp_path_factory.mktemp("made")
    make_run(home)
    return home


@pytest.fixture(scope="session")
def made_run(made_home: Path) -> Path:
    """Return the folder of the one run; never change it."""
    (run_dir,) = (made_home / "runs").iterdir()
    return run_dir


@pytest.fixture
def own_home(made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the home folder that a test may change; `BALLAST_HOME` names it."""
    home = tmp_path / "own"
    shutil.copytree(made_home, home)
    monkeypatch.setenv("BALLAST_HOME", str(home))
    return home


@pytest.fixture
def own_run(own_home: Path, made_run: Path) -> Path:
    """Return the run in the copy."""
    return own_home / "runs" / made_run.name
