"""The feed in its corners: books that stay wrong, defects, slow consumers, lost candles, clocks ahead, words it does not know."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.adapters.clock import ManualClock
from runtime.adapters.kraken import feed as feed_module
from runtime.adapters.kraken.rest import Candles
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.local_kraken.faults import Fault, FaultPlan, Switch
from runtime.adapters.local_kraken.limits import RateRule
from runtime.adapters.local_kraken.records import NS
from runtime.errors import EnvironmentFailure
from runtime.market import BookView, ClosedBar, NoticeKind, TradeTick
from tests.support.kraken_feed import HOUR_T, stage, write_market
from tests.support.kraken_socket import START_T

QUICK = FeedSettings.stepped()
PAIR = ("BTC", "ETH")


def test_a_book_that_stays_wrong_ends_the_connection(tmp_path: Path) -> None:
    """The venue lies about every sum; the feed shows no book, and goes on trying."""

    async def scene() -> None:
        plan = FaultPlan(1)
        async with stage(write_market(tmp_path, n=1), symbols=("BTC",), faults=plan) as place:
            place.feed._sessions[0]._repairs["book", "BTC/USD"] = 5
            plan.add(Switch(Fault.WS_BAD_CHECKSUM, next_n=1))
            await place.step(all_bars=False)
            assert "still refused or wrong after 5" in (await place.until(NoticeKind.LOST)).text
            await place.until(NoticeKind.CONNECTED)

    asyncio.run(scene())


def test_a_defect_of_the_feed_is_raised_to_its_consumer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Defect(Exception):
        pass

    def broken(*_: object, **__: object) -> None:
        raise Defect

    async def scene(name: str) -> None:
        async with stage(write_market(tmp_path / name, n=2, quiet=2), symbols=PAIR) as place:
            await place.until(NoticeKind.CONNECTED)
            with monkeypatch.context() as patched:
                patched.setattr(feed_module.Candles, name, broken)
                with pytest.raises(Defect):
                    await place.step(3)

    for name in ("take", "fill"):
        asyncio.run(scene(name))


def test_a_slow_consumer_misses_only_books_that_newer_ones_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "WAITING_MAX_N", 20)
    monkeypatch.setattr(feed_module, "BATCH_N", 1)

    async def scene() -> None:
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=PAIR) as place:
            for hour_n in range(1, 16):
                await asyncio.get_running_loop().run_in_executor(None, place.local.advance, (START_T + hour_n * HOUR_T) * NS)
                await asyncio.sleep(0.02)
            await place.step()
            place.seen.require_bars(folder, START_T, 16)
            assert place.seen.books_n < 32

    asyncio.run(scene())


def test_a_venue_that_limits_calls_is_asked_slowly_enough(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = replace(QUICK, rest_pace_s=0.02)
        async with stage(write_market(tmp_path, n=1), symbols=("BTC",), settings=settings) as place:
            began_s = time.monotonic()
            await asyncio.gather(*(place.feed.bars(0, START_T - HOUR_T) for _ in range(5)))
            assert time.monotonic() - began_s >= 0.08
            place.local.venue.rest.limit.rule = RateRule(1, 10**18)
            with pytest.raises(EnvironmentFailure, match="Too many requests"):
                await asyncio.gather(*(place.feed.bars(0, START_T - HOUR_T) for _ in range(2)))

    asyncio.run(scene())


def test_trades_are_counted_once_and_a_hole_among_them_is_named(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        settings = FeedSettings.stepped(trades=True)
        async with stage(
            write_market(tmp_path, n=1), symbols=("BTC",), faults=plan, settings=settings, batch_ms=600_000
        ) as place:
            await place.step()
            plan.add(Switch(Fault.WS_DUPLICATE, place="trade", next_n=1))
            plan.add(Switch(Fault.WS_GAP, place="trade", every_n=2))
            await place.step()
            await place.step()
            assert place.seen.notices[NoticeKind.GAP] >= 2
            assert NoticeKind.LOST not in place.seen.notices
            assert place.seen.trades[0] == sorted(place.seen.trades[0])

    asyncio.run(scene())


def test_a_trade_carries_exact_integers(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(write_market(tmp_path, n=1), symbols=("BTC",), settings=FeedSettings.stepped(trades=True)) as place:
            place.local.advance((START_T + HOUR_T) * NS)
            pair = place.seen.truth.find("BTC/USD")
            assert pair is not None
            wanted = place.seen.truth.trades(pair, START_T * NS, (START_T + HOUR_T) * NS)
            got: list[TradeTick] = []
            while len(got) < len(wanted):
                event = await place.feed.next()
                got += [event] if isinstance(event, TradeTick) else []
            for ours, theirs in zip(got, wanted, strict=True):
                assert (ours.price_e8, ours.qty_e8) == (int(theirs.price * 10**8), int(theirs.qty * 10**8))
                assert ours.venue_ms == theirs.time_ns // 10**6
                assert (ours.side_id == feed_module.BUY) == (theirs.side == "buy")

    asyncio.run(scene())


def test_a_candle_whose_last_update_was_lost_is_told_right_by_rest(tmp_path: Path) -> None:
    """Every minute speaks, some updates of candles are lost or come late: the confirmed bar is the file's all the same."""

    async def scene() -> int:
        plan = FaultPlan(1)
        settings = replace(QUICK, confirm=True)
        folder = write_market(tmp_path, n=2, quiet=3)
        async with stage(folder, symbols=PAIR, faults=plan, settings=settings, batch_ms=60_000) as place:
            plan.add(Switch(Fault.WS_GAP, place="ohlc", every_n=3))
            plan.add(Switch(Fault.WS_LATE, place="ohlc", every_n=7))
            for _ in range(3):
                for minutes_n in (29, 1, 29):
                    place.local.advance(place.local.now_ns + minutes_n * 60 * NS)
                await place.step_to(place.local.now_ns + 60 * NS)
            return place.seen.require_bars(folder, START_T, 3)

    assert asyncio.run(scene()) == 6


@pytest.mark.parametrize("lagging", [False, True])
def test_without_rest_the_stream_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lagging: bool) -> None:
    """REST does not answer, or goes on telling of older bars only."""

    async def older(*_: object) -> Candles:
        return Candles([], START_T - 10 * HOUR_T, full=False)

    async def scene() -> None:
        plan = FaultPlan(1)
        settings = replace(QUICK, confirm=True, rest_attempts_n=1)
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=PAIR, faults=plan, settings=settings) as place:
            if lagging:
                monkeypatch.setattr(place.feed._rest, "candles", older)
            else:
                plan.add(Switch(Fault.BUSY, place="OHLC", every_n=1))
            await place.step()
            assert {bar.origin for bar in place.seen.bars.values()} == {"ws"}
            place.seen.require_bars(folder, START_T, 1)
            assert (NoticeKind.GAP in place.seen.notices) is False, "a REST that lags for a moment is no gap"

    asyncio.run(scene())


def test_a_bar_that_nobody_tells_is_a_gap_and_comes_when_rest_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def older(*_: object) -> Candles:
        return Candles([], START_T - 10 * HOUR_T, full=False)

    async def scene() -> None:
        plan = FaultPlan(1)
        folder = write_market(tmp_path, n=1)
        async with stage(folder, symbols=("BTC",), faults=plan) as place:
            plan.add(Switch(Fault.WS_GAP, place="ohlc", next_n=1))
            with monkeypatch.context() as patched:
                patched.setattr(place.feed._rest, "candles", older)
                await place.step(all_bars=False)
                assert "REST has not closed it" in (await place.until(NoticeKind.GAP)).text
            await place.step()
            place.seen.require_bars(folder, START_T, 2)
            assert place.seen.notices[NoticeKind.GAP] == 1

    asyncio.run(scene())


def test_trades_missed_while_away_are_no_hole(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        settings = FeedSettings.stepped(trades=True)
        async with stage(write_market(tmp_path, n=2), symbols=PAIR, faults=plan, settings=settings) as place:
            await place.step()
            plan.add(Switch(Fault.WS_DISCONNECT, place="trade", next_n=1))
            await place.step(2)
            await place.step()
            assert place.seen.notices[NoticeKind.LOST] == 1
            assert NoticeKind.GAP not in place.seen.notices

    asyncio.run(scene())


def test_what_nobody_asked_for_is_passed_over_and_what_cannot_be_read_ends_the_connection(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(write_market(tmp_path, n=1), symbols=("BTC",)) as place:
            await place.until(NoticeKind.CONNECTED)
            (session,) = place.feed._sessions
            for text in (
                '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD"}]}',
                '{"channel":"book","type":"update","data":[{"symbol":"NOPE/USD"}]}',
                '{"method":"pong","req_id":99,"time_out":"2023-11-15T00:00:00Z"}',
                '{"method":"unsubscribe","success":false,"error":"Subscription Not Found"}',
            ):
                await place.feed._read(session, text)
            assert not session.line.lost
            await place.feed._read(session, '{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","trades":"1"}]}')
            assert "the time 'None'" in (await place.until(NoticeKind.LOST)).text
            await place.until(NoticeKind.CONNECTED)

    asyncio.run(scene())


def test_a_clock_that_is_ahead_of_the_venue_closes_nothing_before_the_venue_does(tmp_path: Path) -> None:
    async def scene() -> None:
        folder = write_market(tmp_path, n=1)
        async with stage(folder, symbols=("BTC",), settings=replace(QUICK, probe_s=0.05)) as place:
            place.feed._clock = ManualClock(START_T + 3 * HOUR_T)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    while True:
                        assert not isinstance(await place.feed.next(), ClosedBar)
            await place.step()
            place.seen.require_bars(folder, START_T, 1)

    asyncio.run(scene())


def test_a_bar_waits_for_stragglers_in_the_venues_time(tmp_path: Path) -> None:
    async def scene() -> None:
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=PAIR, settings=replace(QUICK, settle_ms=2_000)) as place:
            for second in (HOUR_T, HOUR_T + 1):
                place.local.advance((START_T + second) * NS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.4):
                        while True:
                            assert not isinstance(await place.feed.next(), ClosedBar)
            await place.step_to((START_T + HOUR_T + 2) * NS)
            place.seen.require_bars(folder, START_T, 1)

    asyncio.run(scene())


def test_a_loop_that_others_kept_busy_is_no_silence_of_the_venue(tmp_path: Path) -> None:
    async def scene() -> None:
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=PAIR, settings=replace(QUICK, probe_s=0.02, answer_s=0.5)) as place:
            await place.until(NoticeKind.CONNECTED)
            for _ in range(3):
                await asyncio.sleep(0.03)  # a ping is on its way
                time.sleep(0.8)  # noqa: ASYNC251  what a long computation in the same loop does
            await place.step()
            assert NoticeKind.STALE not in place.seen.notices
            assert NoticeKind.LOST not in place.seen.notices

    asyncio.run(scene())


def test_a_wrong_sum_silences_a_book_until_its_next_snapshot(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        async with stage(write_market(tmp_path, n=1), symbols=("BTC",), faults=plan, batch_ms=60_000) as place:
            await place.until(NoticeKind.CONNECTED)
            plan.add(Switch(Fault.WS_BAD_CHECKSUM, next_n=1))
            place.local.advance((START_T + 180) * NS)  # a wrong one, and two right ones behind it
            notice = await place.until(NoticeKind.CHECKSUM)
            assert (notice.instrument_id, "BTC/USD" in notice.text) == (0, True)
            event = await place.feed.next()
            assert isinstance(event, BookView)
            place.seen.take(event)
            assert event.venue_ms == (START_T + 180) * 1_000, "only the snapshot of the renewed subscription is shown"

    asyncio.run(scene())


def test_the_clock_ends_an_interval_of_which_the_venue_said_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        folder = write_market(tmp_path, n=1)
        async with stage(folder, symbols=("BTC",), faults=plan, settings=replace(QUICK, probe_s=60.0)) as place:
            await place.until(NoticeKind.CONNECTED)
            plan.add(Switch(Fault.WS_GAP, next_n=2))  # the hour's book and candle
            await place.step(patience_s=10)
            place.seen.require_bars(folder, START_T, 1)

    asyncio.run(scene())
