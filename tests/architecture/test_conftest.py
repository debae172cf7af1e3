"""A test that has the real data and skips all the same fails in CI, and only there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest
def test_wants_data(real_data):
    pytest.skip("for another reason")
def test_without():
    pass
"""


def run(folder: Path, repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "tests").mkdir()
    shutil.copy(repository / "tests/conftest.py", folder / "tests/conftest.py")
    (folder / "tests/test_skips.py").write_text(SKIPS)
    clean = {name: value for name, value in os.environ.items() if name not in {"CI", "BALLAST_REAL_DATA", "PYTEST_ADDOPTS"}}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:nbval", "tests"]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean | {"PYTHONPATH": str(repository)} | environment,
        check=False,
    )


@pytest.mark.parametrize(("environment", "code"), [({}, 0), ({"CI": "1"}, 1)])
def test_a_skip_with_the_data_present(environment: dict[str, str], code: int, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "data").mkdir()
    done = run(tmp_path, repository, BALLAST_REAL_DATA=str(tmp_path / "data"), **environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "SKIPPED WITH REAL DATA PRESENT" in done.stdout


def test_a_skip_without_the_data_is_fine(tmp_path: Path, repository: Path) -> None:
    done = run(tmp_path, repository, BALLAST_REAL_DATA=str(tmp_path / "absent"), CI="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" not in done.stdout
    assert "SKIPPED WITH REAL DATA PRESENT" not in done.stdout
