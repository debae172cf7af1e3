"""How time and memory grow with years, symbols and fills: one process per point, its inputs mapped from files.

What a process holds of its own (anonymous memory) is told apart from the pages of mapped files, which the system may drop.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from runtime.policy import load_profile
from tools.bench import ours
from tools.bench.market import read_market

YEAR_N: Final = 8_760
YEARS: Final = (1, 2, 5, 10)
SYMBOLS: Final = (5, 10, 20, 30, 32)
SYMBOL_YEARS: Final = 2
VIEWS: Final = (54, 18, 6)
"""Forecasts for which a view stands, three levels of turnover."""
STATUS: Final = Path("/proc/self/status")


class Point(NamedTuple):
    """One run of the standard market under the conservative profile."""

    seconds: float
    core_s: float
    hashes_s: float
    journal_s: float
    blocks_n: int
    rows_n: int
    fills_n: int
    begun_mib: float
    peak_mib: float
    anonymous_mib: float


def memory_mib(field: str) -> float:
    """Return a figure of the process's memory in MiB, 0 where the system does not tell."""
    if not STATUS.exists():
        return 0.0
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text("ascii"), re.MULTILINE)
    return int(found[1]) / 1_024 if found else 0.0


def measure(folder: Path, symbols_n: int) -> Point:
    """Run the market in `folder` into a journal, sampling this process's memory at every chunk of blocks."""
    profile = load_profile("conservative")
    inputs = read_market(folder, profile, symbols_n)
    begun_mib = memory_mib("RssAnon")
    highest = [begun_mib]

    def sample() -> None:
        highest.append(memory_mib("RssAnon"))

    with tempfile.TemporaryDirectory() as journal:
        run = ours.run_into(inputs, Path(journal), each=sample)
    seconds = run.seconds
    return Point(
        run.total_s, seconds["core"], seconds["row_hashes"] + seconds["block_chain"], seconds["journal"], run.blocks_n, run.rows_n,
        run.fills_n, begun_mib, memory_mib("VmHWM"), max(highest),
    )  # fmt: skip
