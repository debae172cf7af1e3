"""The whole daemon on a local Kraken, killed and lied to: every hour once, no decision lost, doubled or stale, parity TRUE.

A clean run and a broken one go through the same virtual hours and the same jumps of the clock. The broken one has faults of every kind
and is killed with -9 inside steps. Both journals must prove themselves, and their decisions must be the same.

BALLAST_PAPER_HOURS, BALLAST_PAPER_SYMBOLS, BALLAST_PAPER_FAULTS and BALLAST_PAPER_KILLS are the size of the slow proof
(default 720, 30, 500, 50).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from runtime.adapters.local_kraken.faults import REST, Fault
from tests.support import tally
from tests.support.bundles import make_bundle
from tests.support.paper_daemon import Measured, Readers, Step, schedule, trading
from tests.support.paper_market import HOUR_T, PaperMarket, real_market, simulated_market
from tests.support.paper_proof import Course, Difference, compare, read_course, require_every_hour, require_replayed

SEED: Final = 11
PROFILE: Final = ("--profile", "aggressive")
ON_BOTH: Final = (
    Fault.WS_GAP, Fault.WS_DUPLICATE, Fault.WS_LATE, Fault.WS_OUT_OF_ORDER, Fault.WS_GARBAGE, Fault.WS_DISCONNECT, Fault.WS_STALL,
    Fault.WS_REJECT,
)  # fmt: skip
KINDS: Final = (
    *((fault, place) for fault in ON_BOTH for place in ("ohlc", "book")),
    (Fault.WS_BAD_CHECKSUM, "book"),
    *((fault, "OHLC") for fault in sorted(REST - {Fault.TIME_SKEW})),
    (Fault.TIME_SKEW, "Time"),
)
"""Every kind of fault where it can happen."""


class Size(NamedTuple):
    """How much of it."""

    hours_n: int
    symbols_n: int
    faults_n: int
    kills_n: int


SMALL: Final = Size(48, 30, 40, 3)


def full() -> Size:
    """Return the size of the slow proof."""
    asked = [int(os.environ.get(f"BALLAST_PAPER_{name}", n)) for name, n in
             (("HOURS", 720), ("SYMBOLS", 30), ("FAULTS", 500), ("KILLS", 50))]  # fmt: skip
    return Size(*asked)


def play(home: Path, market: PaperMarket, steps: Sequence[Step]) -> tuple[Measured, Course]:
    """Trade through steps, and let the journal prove itself."""
    home.mkdir()
    bundle = make_bundle(home, market.seed)
    with ExitStack() as running:
        pacemaker = running.enter_context(trading(home, bundle, market, *PROFILE))
        readers = running.enter_context(Readers(home))
        pacemaker.run(list(steps))
        measured = pacemaker.measured
        measured.stop_s = pacemaker.daemon.stop()
        measured.reads_n = readers.answers_n
    require_replayed(home)
    course = read_course(home)
    hours_n = sum(step.hours_n for step in steps)
    require_every_hour(course, market.start_t, market.start_t + hours_n * HOUR_T)
    return measured, course


def summary(name: str, measured: Measured, course: Course) -> str:
    """Return one line about a run."""
    faults = sum(measured.injected.values())
    p50, p99, blocks_n = measured.latency[-1]
    worst = max(p99 for _, p99, _ in measured.latency)
    restarts = f"{sum(measured.restarts_s):.0f} s of {len(measured.restarts_s)} restarts apart"
    return (
        f"paper, {name}: {measured.hours_n} hours in {measured.trading_s:.1f} s ({measured.hours_n / measured.trading_s:.1f} a second; "
        f"{restarts}), {faults} faults of {len(measured.injected)} kinds {measured.injected or ''}; {course.signals_n} decisions, "
        f"{course.entered_n} entries, {course.fills_n} fills; event to durable block p50 {p50:.1f} ms, p99 {p99:.1f} ms over the last {blocks_n} "
        f"blocks (worst process {worst:.1f} ms) beside {measured.reads_n} answers to readers; memory {measured.mb_a_day():+.2f} MB a day; "
        f"stop {measured.stop_s:.2f} s"
    )


def prove(folder: Path, market: PaperMarket, size: Size, seed: int) -> tuple[Measured, Measured]:
    """Make both runs, and require what must hold of the two."""
    steps = schedule(seed, size.hours_n, faults_n=size.faults_n, kills_n=size.kills_n, kinds=KINDS, symbols_n=size.symbols_n)
    clean, ours = play(folder / "clean", market, [Step(step.hours_n) for step in steps])
    broken, theirs = play(folder / "broken", market, steps)
    tally.report(summary("clean", clean, ours))
    tally.report(summary("broken", broken, theirs))
    differences = compare(ours, theirs)
    causes = Counter(difference.cause.split(":")[0] for difference in differences)
    tally.report(f"paper: {len(differences)} differences of decisions and fills {dict(causes) or ''} (seed {seed})")
    assert not _unexplained(differences)
    assert theirs.causes["crash-recovery"] == size.kills_n == len(broken.restarts_s)
    assert not clean.kills_thrown
    assert not broken.kills_thrown
    assert clean.paper_days == broken.paper_days == 0
    assert ours.entered_n
    assert max(clean.stop_s, broken.stop_s) <= 5.0
    return clean, broken


def _unexplained(differences: Sequence[Difference]) -> list[Difference]:
    return [difference for difference in differences if difference.cause == "none"]


def test_two_days_of_faults_and_kills(tmp_path: Path) -> None:
    clean, broken = prove(tmp_path, simulated_market(tmp_path / "market", SMALL.hours_n, SMALL.symbols_n), SMALL, SEED)
    assert sum(broken.injected.values()) >= SMALL.faults_n // 2
    assert not clean.injected


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_thirty_days_of_faults_and_kills(tmp_path: Path) -> None:
    size = full()
    clean, broken = prove(tmp_path, simulated_market(tmp_path / "market", size.hours_n, size.symbols_n), size, SEED)
    assert sum(broken.injected.values()) >= size.faults_n * 9 // 10
    for measured in (clean, broken):
        assert measured.trading_s < 600 * size.hours_n / 720
    assert clean.latency[-1][1] < 25.0
    assert abs(clean.mb_a_day()) < 1.0


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_days_of_the_real_market(real_data: Path, tmp_path: Path) -> None:
    size = Size(168, 28, 100, 8)
    prove(tmp_path, real_market(real_data, size.hours_n, size.symbols_n), size, SEED + 1)
