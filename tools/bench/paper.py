"""Paper trading as it is run: the daemon as a process, on a local Kraken whose hours are stepped as fast as the daemon follows.

The harness is the one of the simulation proof (tests/support/paper_daemon.py), without faults and kills, beside readers of the control
API that never pause.
"""

from __future__ import annotations

import tempfile
from pathlib import Path


def measure(hours_n: int, symbols_n: int) -> dict[str, float]:
    """Trade some hours and return what they took.

    Returns:
        Seconds of the first start, of trading and of the stop; milliseconds from an event to its durable block (median and 99 %) over the
        last blocks, and how many these were; megabytes that the daemon's memory grew by in a virtual day.
    """
    from tests.support.bundles import make_bundle
    from tests.support.paper_daemon import Readers, Step, trading
    from tests.support.paper_market import simulated_market

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
