"""A small folder of market data, and one demo run on it per session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.bars import write_ohlcvt
from workbench.data.providers.simulate import simulate

HOURS_N = 18_000
ASSETS = {"BTC": "XBTUSD", "ETH": "ETHUSD", "SOL": "SOLUSD"}


@dataclass(frozen=True)
class Finished:
    """A finished command: exit code and streams."""

    code: int
    stdout: str
    stderr: str


def ballast(*arguments: str, **environment: str) -> Finished:
    """Run the `ballast` command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of Kraken OHLCVT files: two years of three simulated assets."""
    folder = tmp_path_factory.mktemp("data")
    for asset, bars in simulate(hours=HOURS_N).bars.items():
        if asset in ASSETS:
            write_ohlcvt(folder / f"{ASSETS[asset]}_60.csv", bars)
    return folder


@dataclass(frozen=True)
class Ran:
    """A demo that ran: its home folder, its JSON object, and what it said on stderr."""

    home: Path
    result: dict[str, object]
    stderr: str


@pytest.fixture(scope="session")
def ran(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Return the outcome of `ballast demo --json` on the small data."""
    home = tmp_path_factory.mktemp("demo") / "home"
    done = ballast("demo", "--data", str(small_data), "--out", str(home), "--workers", "2", "--json")
    assert done.code == 0, done.stderr
    return Ran(home, json.loads(done.stdout), done.stderr)
