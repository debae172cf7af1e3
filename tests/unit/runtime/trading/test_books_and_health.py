"""Books, quotes and notices on their way to the core: nothing doubted is used, and a kill switch for feeds that lie."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.market import BookView, Notice, NoticeKind, TradeTick
from runtime.trading.settings import TradingSettings
from tests.support.trading import HOUR_T, START_T, Bench, account, book

WARM_N = 24
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T
QUIET = TradingSettings(warm_up_n=WARM_N, quote_move_ppm=1_000_000)


def bench_of(tmp_path: Path, settings: TradingSettings | None = None, **changes: object) -> Bench:
    inputs = account(seed=2, hours=80, warm_n=WARM_N, **changes)
    return Bench(tmp_path, inputs, BEGIN_T, settings)


def hours_of(bench: Bench) -> list[int]:
    return [(int(e.record[0]["value_n"]) - START_T) // HOUR_T for e in bench.events(c.EV_BARS)]


def refusals(bench: Bench) -> list[str]:
    found = [row for b in bench.blocks() for row in decode_payload(b.payload).get("risk_event", ())]
    return [c.GATE_NAMES[int(row["gate_id"])] for row in found if row["kind_id"] == c.RISK_REFUSED]


def too_wide(bench: Bench) -> bool:
    """Return whether the spread of a quote kept an entry out."""
    found = [row for b in bench.blocks() for row in decode_payload(b.payload).get("risk_event", ())]
    return any(row["gate_id"] == c.G_LIQUIDITY and row["scale_id"] == c.SCALE_PPM for row in found)


def kills(bench: Bench) -> list[tuple[int, str]]:
    switched = [e for e in bench.events(c.EV_CONTROL) if e.record[0]["instrument_id"] == c.SWITCH_KILL]
    notes = [(e, e.note_of()) for e in switched]
    return [(int(e.record[0]["value_n"]), note.reason) for e, note in notes if note is not None and note.actor == "system"]


def price_of(bench: Bench, s: int, at_t: int) -> int:
    n = int(np.searchsorted(bench.inputs.close_t, at_t))
    return int(bench.inputs.bars[n, s]["close_e8"])


def test_quotes_are_events_when_they_moved_and_before_decisions(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, TradingSettings(warm_up_n=WARM_N, quote_move_ppm=10_000))

    async def play(bench: Bench) -> None:
        now_t = BEGIN_T + HOUR_T - 50
        price = 10_000_000_000
        await bench.step(now_t, books=[book(0, now_t, price, price + 10)])
        assert not bench.events(c.EV_QUOTE), "the first book is no move"
        await bench.step(BEGIN_T + HOUR_T - 20, books=[book(0, BEGIN_T + HOUR_T - 20, price, price + 10)])
        await bench.step(BEGIN_T + HOUR_T)
        (renewed,) = bench.events(c.EV_QUOTE)
        assert (renewed.at_t, int(renewed.record[0]["price_e8"])) == (BEGIN_T + HOUR_T, price)
        kinds = [b.kind_id for b in bench.blocks() if b.kind_id in (c.EV_QUOTE, c.EV_BARS)]
        assert kinds[-2:] == [c.EV_QUOTE, c.EV_BARS]
        at_t = BEGIN_T + HOUR_T + 60
        await bench.step(at_t, books=[book(0, at_t, price * 1_009 // 1_000, price * 1_010 // 1_000)])
        await bench.step(at_t + 60, books=[book(0, at_t + 60, price * 1_009 // 1_000, price * 1_010 // 1_000)])
        assert len(bench.events(c.EV_QUOTE)) == 1, "a small move"
        await bench.step(at_t + 110, books=[book(0, at_t + 110, price * 1_011 // 1_000, price * 1_012 // 1_000)])
        await bench.step(at_t + 111)
        assert len(bench.events(c.EV_QUOTE)) == 2, "a large one"

    bench.run(play)
    assert [int(e.record[0]["value_n"]) for e in bench.events(c.EV_QUOTE)] == [0, 0], "nothing is held"
    bench.close()


def test_a_burst_of_books_is_one_transaction(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, TradingSettings(warm_up_n=WARM_N, quote_move_ppm=10_000))
    price = 10_000_000_000

    async def play(bench: Bench) -> None:
        await bench.step(BEGIN_T + HOUR_T, books=[book(s, BEGIN_T + HOUR_T, price, price + 10) for s in range(5)])
        before = bench.journal.head().seq_n
        append, sizes = bench.journal.append, list[int]()

        def counting(blocks: Sequence[Block]) -> None:
            sizes.append(len(blocks))
            append(blocks)

        bench.journal.append = counting  # type: ignore[method-assign]
        at_t = BEGIN_T + HOUR_T + 30
        await bench.step(at_t, books=[book(s, at_t, price * 2, price * 2 + 10) for s in range(5)])
        assert not sizes
        await bench.step(at_t + 1)
        assert sizes == [5]
        assert [b.kind_id for b in bench.blocks() if b.seq_n > before] == [c.EV_QUOTE] * 5

    bench.run(play)
    bench.close()


@pytest.mark.parametrize("what", ["old", "old at the venue", "crossed", "checksum", "lost", "one side"])
def test_a_book_that_is_doubted_is_not_used(tmp_path: Path, what: str) -> None:
    bench = bench_of(tmp_path)
    price = 10_000_000_000
    at_t = BEGIN_T + HOUR_T - 10

    async def play(bench: Bench) -> None:
        good = book(0, at_t, price, price + 10)
        shown_t = at_t - 40 if what == "old" else at_t
        await bench.step(shown_t, books=[good])
        if what == "crossed":
            bench.market.put(book(0, at_t, price + 10, price))
        elif what == "one side":
            bench.market.put(BookView(0, at_t * 1_000, np.zeros((0, 2), np.int64), good.asks))
        elif what == "checksum":
            bench.market.put(Notice(NoticeKind.CHECKSUM, 0, at_t * 1_000, ""))
        elif what == "lost":
            bench.market.put(Notice(NoticeKind.LOST, -1, at_t * 1_000, "gone"))
        elif what == "old at the venue":
            bench.market.put(book(0, at_t - 60, price, price + 10))
        await bench.settled()
        assert 0 in bench.trader.view.feed.stale_instruments or what == "old"
        await bench.step(BEGIN_T + HOUR_T)

    bench.run(play)
    assert not bench.events(c.EV_QUOTE)
    bench.close()


def test_the_spread_gate_sees_the_real_spread(tmp_path: Path) -> None:
    wide, narrow = bench_of(tmp_path / "wide", QUIET), bench_of(tmp_path / "narrow", QUIET)
    for bench, spread_ppm in ((wide, 20_000), (narrow, 100)):

        async def play(bench: Bench, spread_ppm: int = spread_ppm) -> None:
            for n in range(1, 20):
                at_t = BEGIN_T + n * HOUR_T
                mids = [(s, price_of(bench, s, at_t)) for s in range(5)]
                books = [book(s, at_t, p - p * spread_ppm // 2_000_000, p + p * spread_ppm // 2_000_000) for s, p in mids if p]
                await bench.step(at_t, books=books)

        bench.run(play)
        assert len(bench.events(c.EV_QUOTE)) > 50
    assert too_wide(wide)
    assert not wide.blocks(c.EV_FILL)
    assert not too_wide(narrow)
    assert narrow.blocks(c.EV_FILL)
    wide.close()
    narrow.close()


def test_nothing_is_entered_while_the_clock_is_not_measured_or_wrong(tmp_path: Path) -> None:
    for name, skew in (("unknown", None), ("wrong", 2_500), ("right", 1_500)):
        bench = bench_of(tmp_path / name)
        bench.market.skew = skew

        async def play(bench: Bench) -> None:
            await bench.hours(BEGIN_T + 12 * HOUR_T)

        bench.run(play)
        beats = {int(e.record[0]["value_n"]) for e in bench.events(c.EV_HEARTBEAT)}
        assert (600_000 if skew is None else skew) in beats
        entered = bool(bench.blocks(c.EV_FILL))
        assert entered == (name == "right")
        assert ("CLOCK_SKEW" in refusals(bench)) == (name != "right")
        bench.close()


def test_a_lost_feed_throws_the_kill_switch_once(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        at_t = BEGIN_T + 100
        await bench.step(at_t)
        bench.market.put(Notice(NoticeKind.LOST, -1, at_t * 1_000, "gone"))
        await bench.settled()
        assert "the feed is not connected: gone" in bench.trader.view.reasons
        await bench.step(at_t + 900)
        assert not kills(bench)
        await bench.step(at_t + 970)
        await bench.step(at_t + 1_100)
        bench.market.put(Notice(NoticeKind.CONNECTED, -1, 0, ""))
        await bench.step(at_t + 1_200)

    bench.run(play)
    ((cause, reason),) = kills(bench)
    assert cause == c.KILL_EXCHANGE
    assert "no market data for 970 s" in reason
    assert bench.trader.view.feed.reconnects_n == 1
    assert any("kill switch is on" in reason for reason in bench.trader.view.reasons)
    bench.close()


def test_too_many_gaps_in_an_hour_throw_the_kill_switch(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, QUIET.model_copy(update={"gaps_max_n": 3}))

    async def play(bench: Bench) -> None:
        for n in range(3):
            at_t = BEGIN_T + HOUR_T * (n + 1) + 1_800 if n < 2 else BEGIN_T + 2 * HOUR_T + 1_860
            kind = NoticeKind.GAP if n % 2 else NoticeKind.CHECKSUM
            await bench.hours(at_t - at_t % HOUR_T)
            await bench.step(at_t)
            bench.market.put(Notice(kind, 1, at_t * 1_000, ""))
            await bench.settled()
        assert not kills(bench), "three, but not within an hour"
        bench.market.put(Notice(NoticeKind.GAP, 1, 0, ""))
        await bench.step(bench.clock.now_t() + 60)

    bench.run(play)
    assert [cause for cause, _ in kills(bench)] == [c.KILL_DATA]
    feed = bench.trader.view.feed
    assert (feed.gaps_n, feed.checksum_n) == (2, 2)
    bench.close()


def test_books_so_wide_that_there_is_no_market_throw_the_kill_switch(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, QUIET)

    async def play(bench: Bench) -> None:
        price, at_t = 10_000_000_000, BEGIN_T + HOUR_T
        await bench.step(at_t, books=[book(s, at_t, price, price * (2 if s < 2 else 1) + 1) for s in range(4)])

    bench.run(play)
    ((cause, reason),) = kills(bench)
    assert cause == c.KILL_MARKET
    assert reason.startswith("2 of 4 books")
    bench.close()


def test_trades_are_for_nobody_and_modes_are_shown(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        bench.market.put(TradeTick(0, 0, 1, 1, c.BUY), Notice(NoticeKind.VENUE_MODE, -1, 0, "maintenance"))
        bench.market.put(Notice(NoticeKind.DUPLICATE_BAR, 0, 0, ""), Notice(NoticeKind.REJECTED, 0, 0, "no such pair"))
        await bench.settled()

    before = bench.trader.view
    bench.run(play)
    view = bench.trader.view
    assert before.state == "starting"
    assert view.feed.venue_mode == "maintenance"
    assert "the venue is in mode maintenance" in view.reasons
    assert view.feed.duplicate_n == 1
    with pytest.raises(ValueError, match="read-only"):
        view.state_row[0]["desk"]["kill_n"] = 1
    bench.close()


def test_the_feed_is_opened_again_until_it_stands(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.market.unreachable_n = 2

    async def play(bench: Bench) -> None:
        assert bench.trader.view.state == "starting"
        await bench.step(BEGIN_T + 5)
        await bench.step(BEGIN_T + 10)
        assert bench.trader.view.state == "running"

    bench.run(play)
    assert (bench.market.opened_n, bench.market.closed_n) == (1, 1)
    bench.close()


def test_the_first_bars_of_a_session_wait_for_the_clocks_skew(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def some(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 2 * HOUR_T)

    def asked(bench: Bench, *, answers: bool) -> list[int]:
        """Return the hours that were taken in before and after the venue told its time, or did not within the grace."""
        bench.reopen()
        at_t = (bench.clock.now_t() // HOUR_T + 1) * HOUR_T
        bench.clock.at_t = at_t
        told = asyncio.Event()
        found: list[int] = []

        async def skew_ms() -> int:
            await told.wait()
            return 7

        bench.market.skew_ms = skew_ms  # type: ignore[method-assign]

        async def play(bench: Bench) -> None:
            bench.market.hour(at_t)
            for _ in range(50):
                await asyncio.sleep(0)
            found.append(hours_of(bench)[-1])
            if answers:
                told.set()
            else:
                bench.clock.at_t = at_t + 20
            for _ in range(50):
                await asyncio.sleep(0)
            found.append(hours_of(bench)[-1])
            told.set()

        bench.run(play)
        return found

    bench.run(some)
    last = hours_of(bench)[-1]
    assert asked(bench, answers=True) == [last, last + 1]
    assert int(bench.events(c.EV_HEARTBEAT)[-1].record[0]["value_n"]) == 7
    assert asked(bench, answers=False) == [last + 1, last + 2]
    bench.close()
