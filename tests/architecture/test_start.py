"""`ballast --help` answers at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HELP_S_MAX = 0.5
RATIO_MAX = 40
"""A help page may cost this many bare interpreter starts: holds on slow machines, where half a second may not."""


def best_s(command: list[str], runs: int = 5) -> float:
    """Return the seconds of the fastest of some runs: the others waited for the machine."""
    best = float("inf")
    for _ in range(runs):
        began_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - began_s)
    return best


def test_help_is_fast() -> None:
    help_s = best_s([str(Path(sys.executable).with_name("ballast")), "--help"])
    bare_s = best_s([sys.executable, "-c", "pass"])
    assert help_s < max(HELP_S_MAX, RATIO_MAX * bare_s), f"{help_s:.2f} s, {help_s / bare_s:.0f} bare starts"
