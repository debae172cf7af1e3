"""A process that dies anywhere between apply, append, submit and answer: the next one goes on, nothing lost or doubled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from runtime.approval import ApprovedOrder
from runtime.core import codes as c
from runtime.core.digest import Block
from runtime.errors import EnvironmentFailure, InvariantError
from runtime.market import ClosedBar
from runtime.ports import Head, Journal, VenueEvent
from runtime.trading.recovery import recover, store_snapshot
from runtime.verify import gather
from tests.support.trading import HOUR_T, START_T, Bench, account

WARM_N, HOURS_N = 24, 14
CRASHES_N = int(os.environ.get("BALLAST_TEST_LOOP_CRASHES", "8"))
"""Crashes before and after an append, each; 1000 takes every append of the run."""
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T
END_T = BEGIN_T + HOURS_N * HOUR_T


class Crash(Exception):
    """The process is gone."""


class DyingJournal:
    """A journal whose n-th append is the last thing that the process does, or just not done any more."""

    def __init__(self, journal: Journal, at_n: int, *, written: bool, error: Exception) -> None:
        self._journal, self._left_n, self._written, self._error = journal, at_n, written, error

    def append(self, blocks: Sequence[Block]) -> None:
        self._left_n -= 1
        if self._left_n == 0:
            if self._written:
                self._journal.append(blocks)
            raise self._error
        self._journal.append(blocks)

    def head(self) -> Head:
        return self._journal.head()

    def read(self, first_n: int = 1, last_n: int | None = None) -> Iterator[Block]:
        return self._journal.read(first_n, last_n)

    def genesis(self) -> bytes:
        return self._journal.genesis()

    def close(self) -> None:
        self._journal.close()


async def trade(bench: Bench) -> None:
    """Go on until the end; after a crash the bars of the hour are read by REST when the grace is over."""
    bench.clock.at_t = bench.clock.now_t() + 21
    await bench.settled()
    await bench.hours(END_T)


def forecast_hours(bench: Bench) -> list[int]:
    return [int(e.record[0]["value_n"]) for e in bench.events(c.EV_BARS) if e.forecasts is not None]


def check_whole(bench: Bench) -> None:
    """Every hour once and in order, every forecast once, one order per signal, and the chain folds."""
    hours = [int(e.record[0]["value_n"]) for e in bench.events(c.EV_BARS)]
    assert hours == list(range(START_T, END_T, HOUR_T))
    known = {int(t) - HOUR_T for t in bench.inputs.forecasts.at_t.tolist()}
    assert forecast_hours(bench) == [t for t in hours if t in known]
    tables = gather(bench.blocks()).tables
    orders = tables["order_request"]
    first = orders[(orders["status_id"] == c.O_NEW) & (orders["attempt_n"] == 1)]
    assert len(set(first["signal_id"].tolist())) == len(first), "one order per decision"
    signals = tables["trade_signal"]
    passed = signals[(signals["gate_id"] == c.G_PASS) & (signals["sized_e8"] > 0)]
    assert set(first["signal_id"].tolist()) == set(passed["signal_id"].tolist()), "no admitted decision without its order"
    again = recover(bench.journal)
    assert again.desk.head == bench.journal.head()
    assert again.desk.state.tobytes() == bench.trader.view.state_row.tobytes()


def start(tmp_path: Path) -> Bench:
    return Bench(tmp_path, account(seed=2, hours=60, warm_n=WARM_N), BEGIN_T, durable=True)


def appends_n(tmp_path: Path) -> int:
    """Return how many appends an undisturbed run makes; it must trade."""
    bench = start(tmp_path)
    bench.run(trade)
    check_whole(bench)
    total = len(bench.blocks())
    assert len(bench.blocks(c.EV_FILL)) >= 3
    assert len(bench.blocks(c.EV_ORDER)) >= 3
    bench.close()
    return total


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_a_crash_around_any_append_loses_and_doubles_nothing(tmp_path: Path, written: bool) -> None:
    total = appends_n(tmp_path / "whole")
    crashed_n = 0
    every = -(-(total - 1 - WARM_N) // CRASHES_N)
    for n in [1, 2, *range(WARM_N + int(written), total - 1, every)]:
        bench = start(tmp_path / f"at-{n}")
        bench.reopen(lambda journal, n=n: DyingJournal(journal, n, written=written, error=Crash("gone")))  # type: ignore[misc]
        with pytest.raises(Crash):
            bench.run(trade)
        crashed_n += 1
        assert bench.trader.view.state == "halted"
        bench.reopen()
        bench.run(trade)
        check_whole(bench)
        bench.close()
    assert crashed_n > CRASHES_N // 2


@pytest.mark.parametrize("arrived", [False, True], ids=["not sent", "sent"])
def test_a_crash_around_submit_never_doubles_the_order(tmp_path: Path, arrived: bool) -> None:
    bench = start(tmp_path)
    submit = bench.exchange.submit

    def dying(order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        if arrived:
            submit(order)
        raise Crash("gone")

    bench.exchange.submit = dying  # type: ignore[method-assign]
    with pytest.raises(Crash):
        bench.run(trade)
    before = bench.journal.head()
    bench.reopen()
    bench.run(trade)
    asked = [b for b in bench.blocks(c.EV_ORDER) if b.seq_n > before.seq_n]
    order_id = int(gather(asked[:1]).tables["order_request"][0]["order_id"])
    about = [e.record[0] for e in bench.events(c.EV_ORDER) if e.record[0]["order_id"] == order_id]
    said = [int(record["status_id"]) for record in about]
    assert said[:2] == [c.O_UNKNOWN, c.O_CANCELLED], "its outcome was unknown, and asked for"
    check_whole(bench)
    bench.close()


def test_a_full_disk_halts_and_keeps_the_evidence(tmp_path: Path) -> None:
    bench = start(tmp_path)
    full = EnvironmentFailure("no space left", expected="room for a block", action="free some")
    bench.reopen(lambda journal: DyingJournal(journal, WARM_N + 12, written=False, error=full))
    with pytest.raises(EnvironmentFailure, match="no space left"):
        bench.run(trade)
    view = bench.trader.view
    assert view.state == "halted"
    assert "no space left" in view.reasons[0]
    assert bench.told.evidence
    assert bench.journal.head().seq_n == len(bench.blocks())
    bench.reopen()
    bench.run(trade)
    check_whole(bench)
    bench.close()


def test_an_event_that_breaks_an_invariant_halts(tmp_path: Path) -> None:
    bench = start(tmp_path)

    async def play(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 2 * HOUR_T)
        bench.exchange._events.append(VenueEvent(c.EV_FILL, bench.clock.now_t(), 0, 0, 999, qty_e8=1, price_e8=1))
        await bench.hours(END_T)

    with pytest.raises(InvariantError, match="fill does not belong"):
        bench.run(play)
    assert bench.trader.view.state == "halted"
    assert bench.told.evidence == [f"event-{bench.journal.head().seq_n}-{c.EV_FILL}"]
    head = bench.journal.head()
    bench.reopen()
    assert bench.recovered.desk.head == head
    bench.close()


def test_a_crash_is_on_record_and_a_stop_is_not_one(tmp_path: Path) -> None:
    bench = start(tmp_path)

    async def some(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 3 * HOUR_T)

    async def die(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 4 * HOUR_T)
        bench.market.put(ClosedBar(0, -1, 1, 1, 1, 1, 1, "ws"))
        bench.trader._desk.on_bar = None  # type: ignore[assignment]
        await bench.settled()

    bench.run(some)
    bench.reopen()
    with pytest.raises(TypeError):
        bench.run(die)
    bench.reopen()
    bench.run(some)
    notes = [event.note_of() for event in bench.events(c.EV_SESSION)]
    causes = [note.session.cause for note in notes if note and note.session]
    assert causes == ["start", "stop", "start", "crash-recovery", "stop"]
    bench.close()


def test_a_stored_desk_shortens_the_fold_and_is_never_trusted_over_the_journal(tmp_path: Path) -> None:
    bench = start(tmp_path)
    bench.run(trade)
    whole = recover(bench.journal)
    half = recover(bench.journal)
    folder = tmp_path / "snapshots"
    path = store_snapshot(folder, half.desk)
    assert path is not None
    quick = recover(bench.journal, snapshots=folder)
    assert quick.desk.state.tobytes() == whole.desk.state.tobytes()
    assert quick.desk.head == whole.desk.head
    assert quick.past.receipts == whole.past.receipts
    assert (quick.past.last_open_t, quick.past.clusters_n) == (whole.past.last_open_t, whole.past.clusters_n)
    assert quick.past.quoted == whole.past.quoted
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"bundles_n":1', b'"bundles_n":2'))
    assert recover(bench.journal, snapshots=folder).desk.bundles_n == 1
    bench.close()
