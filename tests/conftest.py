"""Fixtures and rules that every test obeys.

- `real_data` gives the folder of real market data and skips with a reason where it is missing. Where the folder is present and
  `CI` is set, a test that wanted it and was skipped anyway fails the whole session: a green run must not hide it.
- `home` gives an empty home folder; `BALLAST_HOME` never leaks into a test from the shell.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from tests.support import tally

REPOSITORY: Final = Path(__file__).resolve().parent.parent
REAL_DATA_VARIABLE: Final = "BALLAST_REAL_DATA"
SETTINGS: Final = ("BALLAST_HOME", "BALLAST_WORKERS", "BALLAST_PROGRESS_FILE", "BALLAST_DEBUG")

_skipped_real_data: list[str] = []


def real_data_folder() -> Path | None:
    """Return the folder of real market data, or None where this machine has none."""
    folder = Path(os.environ.get(REAL_DATA_VARIABLE) or REPOSITORY.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def pytest_configure() -> None:
    """Take Ctrl-C as a terminal would: a suite started in the background inherits an ignored SIGINT, and so would its commands."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real market data (`VENUE/INTERVAL/SYMBOL.parquet`); skip where it is missing."""
    folder = real_data_folder()
    if folder is None:
        pytest.skip(f"no real market data: set {REAL_DATA_VARIABLE} or place it in ../shared/data")
    return folder


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder that `BALLAST_HOME` names."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("BALLAST_HOME", str(folder))
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a test that wanted the real data, had it, and was skipped all the same."""
    report = yield
    if report.skipped and "real_data" in getattr(item, "fixturenames", ()) and real_data_folder() is not None:
        _skipped_real_data.append(item.nodeid)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI session in which a test skipped although the data it needs is there."""
    if _skipped_real_data and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases the proofs ran, and name the tests that skipped although their data is there."""
    for line in tally.LINES:
        terminalreporter.write_line(line)
    for node in _skipped_real_data:
        terminalreporter.write_line(f"SKIPPED WITH REAL DATA PRESENT (fails in CI): {node}", red=True)
