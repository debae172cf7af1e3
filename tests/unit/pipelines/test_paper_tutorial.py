"""Every command of the tutorial "from notebook to paper in ten minutes", run in its order, with its time taken."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support import tally
from tests.unit.pipelines.conftest import Ran

PAGE: Final = "docs/tutorial/paper-in-ten-minutes.md"
BLOCK: Final = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHER: Final = {"2024-10-20": "2021-12-01", "--speed 60": "--speed 1800", "ballast dashboard": "ballast dashboard --no-open"}
"""The demo here is smaller and ends earlier, nobody looks at the dashboard, and the hours are shorter."""
MADE: Final = "make demo"
HOURS_N: Final = 6
"""Virtual hours that are traded: one decision or two."""
PATIENCE_S: Final = 300


def commands(page: Path) -> list[str]:
    """Return the command lines of the page, those of section 6 (what to try next) left out."""
    text = page.read_text("utf-8").partition("## 6.")[0]
    return [line for block in BLOCK.findall(text) for line in block.splitlines() if line.strip()]


class Reader:
    """Somebody who types what the tutorial says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        scripts = str(Path(sys.executable).parent)
        self._environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
        self._running: list[subprocess.Popen[str]] = []
        self.took_s: dict[str, float] = {}

    def types(self, line: str) -> str:
        """Run a line to its end and return what it printed."""
        began_s = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", line], cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False,
            timeout=PATIENCE_S,
        )  # fmt: skip
        self.took_s[line] = time.monotonic() - began_s
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def leaves_running(self, line: str, shows: str) -> None:
        """Start a line that goes on, and return when it has shown something."""
        began_s = time.monotonic()
        child = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=self._folder, env=self._environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._running.append(child)
        said = []
        assert child.stdout is not None
        for text in child.stdout:
            said.append(text)
            if shows in text:
                break
        self.took_s[line] = time.monotonic() - began_s
        assert any(shows in text for text in said), "".join(said)

    def interrupts(self) -> None:
        """Press Ctrl-C in what was started last."""
        child = self._running.pop()
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)

    def trades(self, hours_n: int) -> None:
        """Wait until the daemon has traded so many virtual hours."""
        began_s = time.monotonic()
        first_t = json.loads(self.types("ballast runtime status --json"))["now_t"]
        while (about := json.loads(self.types("ballast runtime status --json")))["now_t"] < first_t + hours_n * 3_600:
            assert about["state"] == "running", about["reasons"]
            assert time.monotonic() - began_s < PATIENCE_S
        self.took_s["trading"] = time.monotonic() - began_s

    def ends(self) -> None:
        """Close the terminal."""
        subprocess.run(["bash", "-c", "ballast runtime stop"], cwd=self._folder, env=self._environment, check=False)
        while self._running:
            self.interrupts()


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_every_command_of_the_tutorial_works(ran: Ran, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(ran.home, tmp_path / "out")
    lines = commands(repository / PAGE)
    assert lines[0] == MADE
    assert len(lines) > 12
    (tmp_path / "notebooks").symlink_to(repository / "notebooks")
    reader = Reader(tmp_path)
    said: dict[str, str] = {}
    try:
        for page_line in lines[1:]:
            line = page_line
            for text, other in OTHER.items():
                line = line.replace(text, other)
            if "kraken serve" in line:
                reader.leaves_running(line.removesuffix(" &"), "8790")
            elif "dashboard" in line:
                reader.leaves_running(line, "http://")
                reader.trades(HOURS_N)
                reader.interrupts()
            else:
                said[page_line] = reader.types(line)
    finally:
        reader.ends()
    assert "REPLAY PARITY: TRUE" in said["ballast replay paper"]
    assert "EXPLAINED: TRUE" in said["ballast divergence paper"]
    slow = sorted(reader.took_s.items(), key=lambda item: -item[1])[:4]
    tally.report(
        f"tutorial: {len(lines)} commands in {sum(reader.took_s.values()):.0f} s after the demo; "
        + ", ".join(f"{name.split(' --')[0]} {took_s:.0f} s" for name, took_s in slow)
    )
