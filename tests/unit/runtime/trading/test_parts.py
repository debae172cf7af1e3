"""The loop's parts where the whole loop seldom goes: ends, refusals, and venues that do not answer."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from runtime.adapters.simulator import Reply
from runtime.approval import ApprovedOrder
from runtime.core import codes as c
from runtime.core.digest import decode_payload
from runtime.errors import EnvironmentFailure
from runtime.market import ClosedBar, MarketEvent
from runtime.ports import VenueEvent
from runtime.trading.commands import ActivateBundle, Kill, Receipt
from runtime.trading.hours import Hours, Taken
from runtime.trading.inbox import Inbox, Tick
from runtime.trading.recovery import recover, store_snapshot
from runtime.trading.settings import TradingSettings
from tests.support.trading import BUNDLE, HOUR_T, START_T, Bench, ScriptedForecasts, account, book

WARM_N = 24
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T


def bench_of(tmp_path: Path, *replies: Reply, **settings: int) -> Bench:
    made = TradingSettings(warm_up_n=WARM_N, **settings)
    return Bench(tmp_path, account(seed=2, hours=80, warm_n=WARM_N), BEGIN_T, made, replies=replies)


def test_books_do_not_pile_up_and_what_is_urgent_comes_first() -> None:
    async def play() -> None:
        inbox = Inbox()
        old, new, other = book(0, 1, 1, 2), book(0, 2, 1, 2), book(1, 1, 1, 2)
        for content in (old, other, new, Tick()):
            inbox.put(content)
        inbox.first(Tick())
        assert len(inbox) == 4
        found = [(await inbox.get()).content for _ in range(4)]
        assert found[1:3] == [new, other]
        assert isinstance(found[0], Tick)

    asyncio.run(play())


def test_an_hour_keeps_the_first_bar_of_an_instrument_and_skips_what_nobody_gives() -> None:
    hours = Hours(("A", "B"), HOUR_T, START_T)
    bar = ClosedBar(0, START_T, 1.0, 2.0, 1.0, 1.5, 3.0, "ws")
    assert hours.take(bar, START_T + HOUR_T) is Taken.KEPT
    assert hours.take(bar._replace(close=1.2), START_T + HOUR_T) is Taken.DUPLICATE
    assert hours.missing() == (1,)
    assert not hours.empty()
    assert hours.skip_to(START_T + 3 * HOUR_T) == 3
    assert hours.empty()
    assert hours.take(bar, START_T + HOUR_T) is Taken.LATE
    assert hours.skip_to(START_T) == 0


def test_hours_beyond_what_a_venue_gives_are_given_up(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, catch_up_n=5)

    async def some(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 2 * HOUR_T)

    async def later(bench: Bench) -> None:
        await bench.step(bench.clock.now_t() + 21)

    bench.run(some)
    bench.reopen()
    bench.clock.at_t = BEGIN_T + 20 * HOUR_T
    bench.run(later)
    hours = [(int(e.record[0]["value_n"]) - START_T) // HOUR_T for e in bench.events(c.EV_BARS)]
    assert hours == [*range(WARM_N + 3), *range(WARM_N + 16, WARM_N + 21)]
    assert bench.told.lines.count("hours that no venue gives any more") == 1
    bench.close()


def test_an_unknown_outcome_that_stays_unknown_throws_the_kill_switch(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Reply.LOSE)

    def no_answer(order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        raise EnvironmentFailure(f"no answer about {order.client_order_id}", expected="one", action="ask again")

    bench.exchange.query = no_answer  # type: ignore[method-assign]

    async def play(bench: Bench) -> None:
        while not bench.events(c.EV_ORDER):
            await bench.step((bench.clock.now_t() // HOUR_T + 1) * HOUR_T)
        for minute in range(1, 7):
            await bench.step(bench.clock.now_t() + 60 + minute % 2)

    bench.run(play)
    (event,) = bench.events(c.EV_CONTROL)
    note = event.note_of()
    assert note is not None
    assert "unknown outcome" in note.reason
    bench.reopen()
    assert [int(s) for s in bench.recovered.desk.state[0]["orders"]["status_id"] if s] == [c.O_UNKNOWN]

    async def again(bench: Bench) -> None:
        await bench.step(bench.clock.now_t() + 60)

    bench.run(again)
    assert int(bench.events(c.EV_ORDER)[-1].record[0]["status_id"]) == c.O_CANCELLED, "the next process's venue answers"
    bench.close()


def test_an_order_that_cannot_leave_is_denied(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    def unreachable(order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        raise EnvironmentFailure(f"nothing of {order.client_order_id} left", expected="a line", action="none")

    bench.exchange.submit = unreachable  # type: ignore[method-assign]

    async def play(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 12 * HOUR_T)

    bench.run(play)
    rows = [row for b in bench.blocks() for row in decode_payload(b.payload).get("order_request", ())]
    assert {int(row["status_id"]) for row in rows} == {c.O_NEW, c.O_DENIED}
    bench.close()


def test_a_defect_in_the_feed_ends_the_loop_and_answers_everybody(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    release = threading.Event()

    def load(path: Path) -> tuple[object, ScriptedForecasts]:
        release.wait(5)
        return BUNDLE, ScriptedForecasts(bench.inputs.forecasts)

    bench.load_bundle = load  # type: ignore[assignment]

    async def broken() -> MarketEvent:
        raise RuntimeError("a defect")

    loading = bench.trader.submit(ActivateBundle(actor="ann", command_id="b", path=Path("x")))
    loading.add_done_callback(lambda _answer: release.set())

    async def play(bench: Bench) -> None:
        bench.market.next = broken  # type: ignore[method-assign]
        bench.market.put(book(0, BEGIN_T, 1, 2))
        bench.clock.at_t = BEGIN_T + 61
        for _ in range(50):
            await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="a defect"):
        bench.run(play)
    assert bench.trader.view.state == "halted"
    refused = Receipt(False, bench.journal.head().seq_n, bench.trader.view.now_t, "the loop has ended")
    assert loading.result(0) == refused
    late = bench.trader.submit(Kill(actor="ann", command_id="k", on=True)).result(0)
    assert not late.accepted
    bench.trader.shutdown("too late")
    bench.close()


def test_a_folder_that_takes_no_snapshot_is_no_failure(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        await bench.hours(BEGIN_T + HOUR_T)

    bench.run(play)
    (tmp_path / "file").write_text("")
    assert store_snapshot(tmp_path / "file", bench.recovered.desk) is None
    folder = tmp_path / "snapshots"
    path = store_snapshot(folder, bench.recovered.desk)
    assert path is not None
    (folder / "desk-999999999999-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json").write_bytes(b"")
    seen: list[int] = []
    found = recover(bench.journal, snapshots=folder, on_block=lambda _event, block: seen.append(block.seq_n))
    assert found.desk.head == bench.journal.head()
    beats = {b.seq_n for b in bench.blocks(c.EV_HEARTBEAT)}
    assert sorted(seen) == [n for n in range(1, bench.journal.head().seq_n + 1) if n not in beats]
    bench.close()


def test_a_released_kill_switch_counts_anew(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, gaps_max_n=1)

    async def play(bench: Bench) -> None:
        bench.market.put(ClosedBar(9, BEGIN_T, 1.0, 1.0, 1.0, 1.0, 1.0, "ws"))
        await bench.step(BEGIN_T + 61)
        assert bench.trader.view.state_row[0]["desk"]["kill_n"] == c.KILL_DATA
        await bench.ask(Kill(actor="ann", command_id="1", on=False))
        await bench.step(BEGIN_T + 200)
        assert bench.trader.view.state_row[0]["desk"]["kill_n"] == 0

    bench.run(play)
    bench.close()


def test_the_same_book_is_taken_from_once(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, refill_t=0)

    async def play(bench: Bench) -> None:
        while not bench.exchange.resting():
            await bench.step((bench.clock.now_t() // HOUR_T + 1) * HOUR_T)
        ((order_id, left),) = list(bench.exchange.resting().items())[:1]
        s = next(i for i, o in enumerate(bench.trader.view.state_row[0]["orders"]) if o["order_id"] == order_id)
        limit = int(bench.trader.view.state_row[0]["orders"][s]["limit_price_e8"])
        t = bench.clock.now_t() + 1
        await bench.step(t, books=[book(s, t, limit - 10, limit, qty_e8=left * 10)])
        for later in range(1, 5):
            await bench.step(t + later)
        assert len(bench.blocks(c.EV_FILL)) == 1
        await bench.step(t + 5, books=[book(s, t + 5, limit - 10, limit, qty_e8=left * 10)])
        assert len(bench.blocks(c.EV_FILL)) == 2

    bench.run(play)
    bench.close()


def test_what_the_venue_did_while_nobody_listened_is_asked_for_first(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def until_one_rests(bench: Bench) -> None:
        while not bench.exchange.resting():
            await bench.step((bench.clock.now_t() // HOUR_T + 1) * HOUR_T)

    async def nothing(bench: Bench) -> None:
        await bench.settled()

    bench.run(until_one_rests)
    before = bench.journal.head().seq_n
    bench.reopen()
    cancel = bench.exchange.cancel

    def ended(order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        return cancel(order)

    bench.exchange.query = ended  # type: ignore[method-assign]
    bench.run(nothing)
    kinds = [b.kind_id for b in bench.blocks() if b.seq_n > before]
    assert kinds[:2] == [c.EV_SESSION, c.EV_ORDER], "before any beat, bar or book"
    assert not bench.trader.view.state_row[0]["orders"]["order_id"].any()
    bench.close()
