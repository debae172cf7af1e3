"""The whole daemon on a local Kraken, killed and lied to: every hour once, no decision lost, doubled or stale, parity TRUE.

A clean run and a broken one go through the same virtual hours and the same jumps of the clock. The broken one has faults of every kind
and is killed with -9 inside steps. Both journals must prove themselves, and their decisions must be the same.

BALLAST_PAPER_HOURS, BALLAST_PAPER_SYMBOLS, BALLAST_PAPER_FAULTS and BALLAST_PAPER_KILLS are the size of the slow proof
(default 720, 30, 560, 50: about one fault in ten finds no call to break).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.adapters.local_kraken.faults import REST, Fault
from runtime.core.digest import Block, decode_payload
from runtime.inference.forecaster import Forecaster
from tests.support import tally
from tests.support.bundles import GRID_H, make_bundle
from tests.support.paper_daemon import Measured, trading
from tests.support.paper_load import DiskProbe, Readers
from tests.support.paper_market import HOUR_T, PaperMarket, market_of, model_forecaster, real_market, simulated_market
from tests.support.paper_proof import (
    Course,
    Difference,
    Unproven,
    compare,
    journal_of,
    read_blocks,
    read_course,
    require_every_hour,
    require_replayed,
)
from tests.support.paper_schedule import Step, schedule
from tests.support.training import small

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


SYNCS_N: Final = 3
"""Of one transaction: the commit, and two of the head anchor."""
LATENCY_MS_MAX: Final = 25.0
SMALL: Final = Size(48, 30, 40, 3)


def full() -> Size:
    """Return the size of the slow proof."""
    asked = [int(os.environ.get(f"BALLAST_PAPER_{name}", n)) for name, n in
             (("HOURS", 720), ("SYMBOLS", 30), ("FAULTS", 560), ("KILLS", 50))]  # fmt: skip
    return Size(*asked)


def play(
    home: Path, market: PaperMarket, steps: Sequence[Step], forecaster: Forecaster | None = None, plant: str = ""
) -> tuple[Measured, Course]:
    """Trade through steps, and let the journal prove itself. `plant` is a defect of the daemon, in Python."""
    home.mkdir()
    bundle = make_bundle(home, market.seed, forecaster=forecaster)
    with ExitStack() as running:
        pacemaker = running.enter_context(trading(home, bundle, market, *PROFILE, plant=plant))
        readers = running.enter_context(Readers(home))
        disk = running.enter_context(DiskProbe(home))
        pacemaker.run(list(steps))
        measured = pacemaker.measured
        measured.stop_s = pacemaker.daemon.stop()
        measured.reads_n = readers.answers_n
        measured.sync_ms = disk.quantile_ms(0.5), disk.quantile_ms(0.99)
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
        f"blocks (worst process {worst:.1f} ms; one sync of the disk {measured.sync_ms[0]:.1f} and {measured.sync_ms[1]:.1f} ms) beside {measured.reads_n} answers to readers; memory {measured.mb_a_day():+.2f} MB a day; "
        f"stop {measured.stop_s:.2f} s"
    )


def prove(
    folder: Path, market: PaperMarket, size: Size, seed: int, forecaster: Forecaster | None = None
) -> tuple[Measured, Measured]:
    """Make both runs, and require what must hold of the two."""
    steps = schedule(seed, size.hours_n, faults_n=size.faults_n, kills_n=size.kills_n, kinds=KINDS, symbols_n=size.symbols_n)
    clean, ours = play(folder / "clean", market, [Step(step.hours_n) for step in steps], forecaster)
    broken, theirs = play(folder / "broken", market, steps, forecaster)
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
    assert forecaster or ours.entered_n, "a market in which nothing is traded proves little"
    assert sum(bool(hour.forecasts) for hour in ours.traded) >= size.hours_n // GRID_H // 2
    assert max(clean.stop_s, broken.stop_s) <= 5.0
    return clean, broken


def _unexplained(differences: Sequence[Difference]) -> list[Difference]:
    return [difference for difference in differences if difference.cause == "none"]


class Proven(NamedTuple):
    """Two journals that were proven: of a clean run and of a broken one."""

    clean: Path
    broken: Path


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    """Return the journals of two days; no test changes them."""
    folder = tmp_path_factory.mktemp("paper")
    clean, broken = prove(folder, simulated_market(folder / "market", SMALL.hours_n, SMALL.symbols_n), SMALL, SEED)
    assert sum(broken.injected.values()) >= SMALL.faults_n // 2
    assert not clean.injected
    return Proven(folder / "clean", folder / "broken")


def test_two_days_of_faults_and_kills(proven: Proven) -> None:
    assert read_course(proven.broken).signals_n == read_course(proven.clean).signals_n


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_thirty_days_of_faults_and_kills(tmp_path: Path) -> None:
    size = full()
    clean, broken = prove(tmp_path, simulated_market(tmp_path / "market", size.hours_n, size.symbols_n), size, SEED)
    assert sum(broken.injected.values()) >= size.faults_n * 9 // 10
    for measured in (clean, broken):
        assert measured.trading_s < 600 * size.hours_n / 720
    if SYNCS_N * clean.sync_ms[1] < LATENCY_MS_MAX / 2:  # on a disk that others keep busy the figure is the disk's
        assert clean.latency[-1][1] < LATENCY_MS_MAX
    assert abs(clean.mb_a_day()) < 1.0


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_days_of_the_real_market(real_data: Path, tmp_path: Path) -> None:
    size = Size(168, 28, 100, 8)
    prove(tmp_path, real_market(real_data, size.hours_n, size.symbols_n), size, SEED + 1)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_three_days_of_the_models(tmp_path: Path) -> None:
    """The same with trained models, whose features need a window of their own, on a market with holes."""
    made = small()
    size = Size(72, 4, 60, 5)
    prove(tmp_path, market_of(tmp_path / "market", made.panel, size.hours_n), size, SEED + 2, model_forecaster(made))


# ---- what the proof would notice -------------------------------------------------------------------------------


def test_an_hour_that_is_lost_doubled_or_out_of_order_is_noticed(proven: Proven) -> None:
    for change in (lambda h: h.pop(-20), lambda h: h.insert(-20, h[-20]), lambda h: h.insert(-20, h.pop(-10))):
        course = read_course(proven.clean)
        first_t, last_t = course.traded[0].close_t, course.traded[-1].close_t
        require_every_hour(course, first_t, last_t)
        change(course.hours)
        with pytest.raises(Unproven, match="hours for"):
            require_every_hour(course, first_t, last_t)


def test_a_decision_that_is_lost_doubled_or_changed_is_noticed(proven: Proven) -> None:
    def at(course: Course) -> dict[int, list[tuple[int, ...]]]:
        return next(hour.signals for hour in course.traded if hour.signals)

    def lose(course: Course) -> None:
        at(course).popitem()

    def double(course: Course) -> None:
        s = next(iter(at(course)))
        at(course)[s] *= 2

    def alter(course: Course) -> None:
        s = next(iter(at(course)))
        at(course)[s][0] = (*at(course)[s][0][:-1], -1)

    def refill(course: Course) -> None:
        next(hour.fills for hour in course.traded if hour.fills).pop()

    assert compare(read_course(proven.clean), read_course(proven.clean)) == []
    for change in (lose, double, alter, refill):
        course = read_course(proven.broken)
        change(course)
        assert "none" in {difference.cause for difference in compare(read_course(proven.clean), course)}


@pytest.mark.parametrize(
    ("bound", "said"),
    [("forecast_age_max_t", "on a forecast of"), ("quote_age_max_t", "on a quote of"), ("skew_max_ms", "with a skew"),
     ("bar_age_max_t", "after its bar closed")],
)  # fmt: skip
def test_a_decision_on_anything_too_old_is_noticed(proven: Proven, bound: str, said: str) -> None:
    genesis, blocks = blocks_of(proven.clean)
    with pytest.raises(Unproven, match=said):
        read_blocks(genesis, blocks, **{bound: -1})


def test_an_order_sent_twice_and_cash_that_jumps_are_noticed(proven: Proven) -> None:
    genesis, blocks = blocks_of(proven.clean)
    order = next(n for n, block in enumerate(blocks) if "order_request" in decode_payload(block.payload))
    fill = next(n for n, block in enumerate(blocks) if "cash_ledger" in decode_payload(block.payload) and n > order)
    with pytest.raises(Unproven, match="approved twice"):
        read_blocks(genesis, [*blocks[:fill], blocks[order]])
    with pytest.raises(Unproven, match="cash_ledger breaks"):
        read_blocks(genesis, [*blocks[:fill], *blocks[fill + 1 :]])


def blocks_of(home: Path) -> tuple[bytes, list[Block]]:
    journal = SqliteJournal.open(journal_of(home))
    try:
        return journal.genesis(), list(journal.read())
    finally:
        journal.close()


FORGETS: Final = """
from runtime.trading import recovery
past = recovery.Recovered.next_open_t.fget
recovery.Recovered.next_open_t = property(lambda self: past(self) and past(self) + 3600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("plant", [FORGETS], ids=["a restart that skips an hour"])
def test_a_daemon_that_breaks_its_word_is_noticed(tmp_path: Path, plant: str) -> None:
    market = simulated_market(tmp_path / "market", 12, 4)
    steps = [Step(1), Step(1), Step(1), Step(2, kill_after=0.0), *[Step(1)] * 2]
    with pytest.raises(Unproven, match="6 hours for 7|7 hours for 8"):
        play(tmp_path / "home", market, steps, plant=plant)
