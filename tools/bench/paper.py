"""Paper trading as it is run: the daemon as a process, on a local Kraken whose hours are stepped as fast as the daemon follows.

The harness is the one of the simulation proof (tests/support/paper_daemon.py), without faults and kills, beside readers of the control
API that never pause.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.bench.market import SYMBOLS_N
from tools.bench.result import Cell, Result, Table, Target

MONTH_HOURS_N: Final = 720
SHORT_HOURS_N: Final = 96
MONTH_S_MAX: Final = 600.0
P99_MS_MAX: Final = 25.0
STOP_S_MAX: Final = 5.0


def measure(hours_n: int, symbols_n: int) -> dict[str, float]:
    """Trade some hours and return what they took.

    Returns:
        Seconds of the first start, of trading and of the stop; milliseconds from an event to its durable block (median and 99 %) over the
        last blocks, and how many these were; megabytes that the daemon's memory grew by in a virtual day.
    """
    from tests.support.bundles import make_bundle
    from tests.support.paper_daemon import trading
    from tests.support.paper_load import Readers
    from tests.support.paper_market import simulated_market
    from tests.support.paper_schedule import Step

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        market = simulated_market(folder / "market", hours_n, symbols_n)
        home = folder / "home"
        home.mkdir()
        with (
            trading(home, make_bundle(home, market.seed), market, "--profile", "aggressive") as pacemaker,
            Readers(home) as readers,
        ):
            measured = pacemaker.run([Step(1)] * hours_n)
            start_s, stop_s = pacemaker.daemon.starts_s[0], pacemaker.daemon.stop()
    p50_ms, p99_ms, blocks_n = measured.latency[-1]
    return {
        "hours": measured.hours_n, "trading_s": measured.trading_s, "start_s": start_s, "stop_s": stop_s, "p50_ms": p50_ms,
        "p99_ms": p99_ms, "blocks": blocks_n, "mb_a_day": measured.mb_a_day(), "answers": readers.answers_n,
    }  # fmt: skip


def show(result: Result, found: Mapping[str, float]) -> None:
    """Add what was measured, and the promises it is held to."""
    rate = found["hours"] / found["trading_s"]
    month_s = MONTH_HOURS_N / rate
    result.targets.append(Target("paper: 30 days of 30 symbols", month_s, "s", MONTH_S_MAX))
    result.targets.append(Target("paper: event to durable block, 99 %", found["p99_ms"], "ms", P99_MS_MAX))
    result.targets.append(Target("paper: SIGTERM to the end", found["stop_s"], "s", STOP_S_MAX))
    rows: list[list[Cell]] = [
        ["hours a second", rate, MONTH_S_MAX / month_s],
        ["event to durable block, median, ms", found["p50_ms"], P99_MS_MAX / found["p50_ms"]],
        ["event to durable block, 99 %, ms", found["p99_ms"], P99_MS_MAX / found["p99_ms"]],
        ["stop, s", found["stop_s"], STOP_S_MAX / found["stop_s"]],
        ["start of the process, s", found["start_s"], ""],
        ["memory, MB a virtual day", found["mb_a_day"], ""],
    ]
    note = (
        f"The daemon as a process on a stepped local Kraken: {found['hours']:,.0f} hours of {SYMBOLS_N} symbols, books and bars over WebSocket, "
        f"trend bundle, simulated fills, one block and one transaction an event; beside it {found['answers']:,.0f} answers to two readers of its "
        f"API and an event stream. Latencies are over its last {found['blocks']:,.0f} blocks. `times the promise`: above 1 it is kept."
    )
    result.tables.append(Table("Paper trading", ["what", "figure", "times the promise"], rows, note))
