"""What a benchmark found, as it is stored (JSON) and shown (Markdown): targets, tables, and the machine they are from."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "reference" / "performance.md"
STORED: Final = PAGE.with_suffix(".json")
MADE_BY: Final = "<!-- Made by `make bench-all` from performance.json; do not edit. -->\n"
READING: Final = """## How to read it

- The decision core is compiled and needs no memory that grows with the run; what costs beside it is the audit trail: one SHA-256 per
  record, three per block, and two copies of every payload in SQLite (the write-ahead log, then the file), each synced.
- A ratio to a framework without an audit trail compares the whole of ours with their engine; the column "times our core" compares
  like with like.
- The latency of a single event is the disk's: one sync for the commit, two for the head anchor (its content, then its folder).
  A busy disk shows there first; the machine's own sync time stands above.
"""
SYNCS_N: Final = 200
Cell = str | int | float


@dataclass(frozen=True)
class Target:
    """A figure that something was promised about."""

    name: str
    measured: float
    unit: str
    bound: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


@dataclass(frozen=True)
class Table:
    """Figures of one kind and what they are."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass
class Result:
    """Everything that one run of the benchmark measured."""

    machine: dict[str, Cell] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def as_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str) -> Result:
        """Return the result that a stored form holds."""
        content = json.loads(text)
        targets = [Target(**target) for target in content["targets"]]
        return cls(content["machine"], targets, [Table(**table) for table in content["tables"]])


# ---- the machine -----------------------------------------------------------------------------------------------


def describe_machine() -> dict[str, Cell]:
    """Return what the figures depend on besides the code: processor, system, versions, and what one sync to disk takes."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", "runtime", "tools/bench")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    syncs = sync_ms()
    return {
        "day": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": f"{commit}{' with local changes' if changed else ''}",
        "processor": f"{_processor()}, {os.cpu_count()} cores visible",
        "memory, GiB": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, NumPy {version('numpy')}, Numba {version('numba')}, SQLite {sqlite3.sqlite_version}",
        "one sync to disk, ms (median, 99 %)": f"{np.quantile(syncs, 0.5):.2f}, {np.quantile(syncs, 0.99):.2f}",
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def sync_ms() -> list[float]:
    """Return the milliseconds of some syncs of eight KiB to a new file."""
    found = []
    with tempfile.TemporaryFile() as f:
        for _ in range(SYNCS_N):
            f.write(bytes(8_192))
            f.flush()
            began_s = time.perf_counter()
            os.fsync(f.fileno())
            found.append(1_000 * (time.perf_counter() - began_s))
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*words: str) -> str:
    asked = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607  the git on the PATH
    return asked.stdout.strip() if asked.returncode == 0 else "unknown"


# ---- showing ---------------------------------------------------------------------------------------------------


def number(value: Cell) -> str:
    """Return a figure with three significant digits, thousands apart; whole numbers and words as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def bound(target: Target) -> str:
    """Return a target's promise in words."""
    return f"at {'least' if target.at_least else 'most'} {number(target.bound)}"


def as_markdown(result: Result) -> str:
    """Return the reference page."""
    parts = [
        MADE_BY,
        "# Performance\n",
        "Every figure of this page comes out of one run of `make bench-all` on one machine; the page is made from",
        "[performance.json](performance.json), which that run wrote. Compare ratios, not machines. `make bench` prints the same",
        "targets from a shorter run: the comparison on one year instead of five, without the tables on growth.\n",
        "## Machine\n",
        _grid(["what", "value"], [[name, value] for name, value in result.machine.items()]),
        "## Targets\n",
        _grid(
            ["figure", "measured", "unit", "target", "kept"],
            [[t.name, t.measured, t.unit, bound(t), "yes" if t.kept else "**no**"] for t in result.targets],
        ),
    ]
    parts += [READING]
    for table in result.tables:
        parts += [f"## {table.title}\n", *([f"{table.note}\n"] if table.note else []), _grid(table.columns, table.rows)]
    return "\n".join(parts)


def _grid(columns: list[str], rows: list[list[Cell]]) -> str:
    lines = [columns, ["---"] * len(columns), *([number(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def as_text(result: Result) -> str:
    """Return the same for a terminal."""
    lines = [f"{name:40} {number(value)}" for name, value in result.machine.items()]
    for table in result.tables:
        cells = [table.columns, *([number(cell) for cell in row] for row in table.rows)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(table.columns))]
        lines += ["", table.title]
        lines += [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
    lines += ["", "targets"]
    for t in result.targets:
        lines.append(f"  {t.name:64} {number(t.measured):>12} {t.unit:16} {bound(t):22} {'kept' if t.kept else 'NOT KEPT'}")
    return "\n".join(lines)


def write_page(result: Result) -> None:
    """Write the stored form and the page made from it."""
    STORED.write_text(result.as_json(), "utf-8")
    PAGE.write_text(as_markdown(result), "utf-8")
