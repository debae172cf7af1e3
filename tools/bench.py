"""Measure what the budgets are about and print it beside them: `make bench` (`ARGS=--json` for one object).

Each figure is taken in a process of its own, so that nothing is warm by accident. The market is a seeded random walk in core
integers: the decision core neither knows nor cares. Times are wall seconds on this machine; compare ratios, not machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

ROOT: Final = Path(__file__).resolve().parent.parent
SYMBOLS_N: Final = 30
BARS_N: Final = 43_800
DAY_N: Final = 24
REPEATS_N: Final = 3
"""The fastest of some runs counts: the others waited for the machine."""
SEED: Final = 7
FIRST_T: Final = 1_577_836_800
RATE_MIN: Final = 500_000
HELP_S_MAX: Final = 0.5
STAGES: Final = ("core", "row_hashes", "block_chain", "journal")
Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Line:
    """One measured figure; `budget` and `ratio` (measured / budget, below 1 is good) only where there is one."""

    name: str
    measured: float
    unit: str
    budget: float | None = None
    ratio: float | None = None


# ---- the market ------------------------------------------------------------------------------------------------


def make_bars(bars_n: int) -> Rows:
    """Return BAR [bars_n, INSTRUMENTS]: a geometric random walk of SYMBOLS_N instruments."""
    from runtime.core.records import BAR, E8, INSTRUMENTS

    random = np.random.Generator(np.random.PCG64(SEED))
    steps = random.integers(-9_000, 9_001, (bars_n, SYMBOLS_N)) / 1e6
    close = np.rint(100 * np.cumprod(1 + steps, axis=0) * E8).astype(np.int64)
    opening = np.vstack([np.full((1, SYMBOLS_N), 100 * E8), close[:-1]])
    wick = random.integers(0, 3_000, (2, bars_n, SYMBOLS_N))
    bars = np.zeros((bars_n, INSTRUMENTS), BAR)
    used = bars[:, :SYMBOLS_N]
    used["open_e8"], used["close_e8"] = opening, close
    used["high_e8"] = np.maximum(opening, close) + close // 1_000_000 * wick[0]
    used["low_e8"] = np.minimum(opening, close) - close // 1_000_000 * wick[1]
    used["volume_e4"] = 10_000_000_000
    used["present_n"] = 1
    return bars


def make_forecast_rows(forecasts_n: int) -> Rows:
    """Return FORECAST [forecasts_n, INSTRUMENTS]: views that last some days, so that campaigns open and close."""
    from runtime.core.records import FORECAST, INSTRUMENTS

    random = np.random.Generator(np.random.PCG64(SEED + 1))
    view = np.repeat(random.integers(-2, 3, (forecasts_n // 18 + 1, SYMBOLS_N)), 18, axis=0)[:forecasts_n]
    rows = np.zeros((forecasts_n, INSTRUMENTS), FORECAST)
    used = rows[:, :SYMBOLS_N]
    for field in ("prob_near_ppm", "prob_main_ppm", "prob_far_ppm"):
        used[field] = 500_000 + 35_000 * view
    for field, scale in (("ret_near_ppm", 1_000), ("ret_main_ppm", 8_000), ("ret_far_ppm", 16_000)):
        used[field] = scale * view
    used["uncertainty_ppm"] = 300_000
    used["valid_n"] = 1
    return rows


def measure_core(bars_n: int) -> dict[str, float]:
    """Run one backtest of SYMBOLS_N x `bars_n` bars into a SQLite journal and return its stages in seconds."""
    from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
    from runtime.core import codes
    from runtime.core.digest import HEADER
    from runtime.core.records import CLUSTER, INSTRUMENTS
    from runtime.engine import RunInputs, StageSeconds, iterate_blocks
    from runtime.genesis import Bundle, Deposit, Genesis
    from runtime.inference.bundle import Forecasts
    from runtime.inference.clusters import Clusters
    from runtime.policy import PairRules, load_profile

    symbols = tuple(f"S{i:02d}" for i in range(SYMBOLS_N))
    close_t = FIRST_T + 3_600 * np.arange(1, bars_n + 1, dtype=np.int64)
    rows = make_forecast_rows(bars_n // 4)
    forecasts = Forecasts(symbols, close_t[3::4][: len(rows)], rows, [bytes(32)] * len(rows))
    profile = load_profile("conservative")
    zero = "0" * 64
    genesis = Genesis(
        account_id=1, mode_id=codes.MODE_BACKTEST, source="bench", simulated=True, symbols=symbols, interval_t=3_600,
        first_t=int(close_t[0]), last_t=int(close_t[-1]), universe_version="bench", dataset_hash=zero, bars_digest=zero,
        forecasts_digest=zero, clusters_digest=zero, policy_digest=profile.digest, profile=profile, pairs=tuple(PairRules() for _ in symbols),
        bundle=Bundle(name="bench", bundle_hash=zero, feature_set_hash=zero, model_hashes=()),
        deposits=(Deposit(quote_id=codes.USD, amount_e8=str(100_000 * 10**8)),), core_digest=zero,
    )  # fmt: skip
    weekly = close_t[::168]
    members = np.zeros((len(weekly), INSTRUMENTS), CLUSTER)
    members["cluster_id"] = np.arange(INSTRUMENTS) // 3
    inputs = RunInputs(genesis, make_bars(bars_n), close_t, forecasts, Clusters(weekly, members))
    stages = StageSeconds()
    journal_s = 0.0
    blocks_n = rows_n = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal.create(
            Path(folder) / JOURNAL_NAME, genesis.canonical(), account_id=1, mode_id=codes.MODE_BACKTEST
        )
        try:
            for blocks in iterate_blocks(inputs, seconds=stages):
                began_s = time.perf_counter()
                journal.append(blocks)
                journal_s += time.perf_counter() - began_s
                blocks_n += len(blocks)
                rows_n += sum(HEADER.unpack(block.header)[5] for block in blocks)
        finally:
            journal.close()
    return {
        "core": stages.core, "row_hashes": stages.row_hashes, "block_chain": stages.block_chain, "journal": journal_s,
        "blocks": float(blocks_n), "rows": float(rows_n),
    }  # fmt: skip


# ---- processes -------------------------------------------------------------------------------------------------


def child(bars_n: int, cache: Path) -> dict[str, float]:
    """Return the stages of one run in a fresh process whose compiled code is cached in `cache`.

    `load` is the first call there, on a day of bars: it loads the compiled code, or compiles it when the cache is empty.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench", "--child", str(bars_n)],
        cwd=ROOT, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def core_lines() -> list[Line]:
    """Measure the decision core: compilation, cached load, and each stage of the full run apart."""
    with tempfile.TemporaryDirectory() as folder:
        cold = child(DAY_N, Path(folder))
        full = child(BARS_N, Path(folder))
    rate = SYMBOLS_N * BARS_N / sum(full[stage] for stage in STAGES)
    lines = [
        Line("compile, first call ever", cold["load"], "s"),
        Line("load compiled code from the cache", full["load"], "s"),
        *(Line(f"{stage.replace('_', ' ')}, {SYMBOLS_N} x {BARS_N} bars", full[stage], "s") for stage in STAGES),
        *(Line(f"{what} written", full[what], "") for what in ("blocks", "rows")),
    ]
    return [*lines, Line("core + ledger + hashes + journal", rate, "symbol-hours/s", RATE_MIN, RATE_MIN / rate)]


def best_s(command: list[str], runs: int = 5) -> float:
    """Return the seconds of the fastest of some runs: the others waited for the machine."""
    best = float("inf")
    for _ in range(runs):
        began_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - began_s)
    return best


def help_lines() -> list[Line]:
    """Measure the help page."""
    help_s = best_s([str(Path(sys.executable).with_name("ballast")), "--help"])
    bare_s = best_s([sys.executable, "-c", "pass"])
    return [Line("ballast --help", help_s, "s", HELP_S_MAX, help_s / HELP_S_MAX), Line("a bare interpreter", bare_s, "s")]


def demo_lines(home: Path) -> list[Line]:
    """Return the stages of the newest runs under a home folder, as they were recorded."""
    lines = []
    for summary in sorted((home / "runs").glob("*/run.json")):
        seconds = json.loads(summary.read_text("utf-8"))["seconds"]
        lines += [Line(f"{summary.parent.name}: {stage}", value, "s") for stage, value in seconds.items()]
    return lines


def main() -> int:
    """Print every figure as a table, or as one JSON object."""
    if sys.argv[1:2] == ["--child"]:
        load_s = measure_core(DAY_N)["core"]
        runs = [measure_core(int(sys.argv[2])) for _ in range(REPEATS_N)]
        print(json.dumps({"load": load_s, **min(runs, key=lambda run: sum(run[stage] for stage in STAGES))}))
        return 0
    lines = [*help_lines(), *core_lines(), *demo_lines(Path(os.environ.get("BALLAST_HOME", "out")))]
    if "--json" in sys.argv[1:]:
        print(json.dumps([asdict(line) for line in lines], indent=2))
        return 0
    for line in lines:
        budget = "" if line.budget is None else f"  budget {line.budget:,.1f}, ratio {line.ratio:.2f}"
        print(f"{line.name:52} {line.measured:14,.2f} {line.unit}{budget}")
    over = [line.name for line in lines if line.ratio is not None and line.ratio > 1]
    print(f"over budget: {', '.join(over)}" if over else "every budget is kept")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
