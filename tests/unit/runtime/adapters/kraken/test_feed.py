"""The feed against a running local Kraken: what it does when nothing is wrong, and when the venue as a whole is."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.adapters.clock import ManualClock
from runtime.adapters.kraken.feed import KrakenMarketData
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.local_kraken.faults import Fault, FaultPlan, Switch
from runtime.adapters.local_kraken.ladder import BookShape
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.rest import Mode
from runtime.adapters.local_kraken.server import serve
from runtime.errors import EnvironmentFailure, UsageError
from runtime.market import BookView, ClosedBar, MarketData, Notice, NoticeKind
from runtime.policy import PairRules
from tests.support.kraken_feed import HOUR_T, SYMBOLS, stage, write_market
from tests.support.kraken_socket import START_T

QUICK = FeedSettings.stepped()
PAIR = ("BTC", "ETH")


def test_bars_books_and_trades_of_an_hour(tmp_path: Path) -> None:
    async def scene() -> None:
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=PAIR, settings=FeedSettings.stepped(trades=True)) as place:
            port: MarketData = place.feed
            assert isinstance(await port.next(), BookView | Notice)
            for _ in range(3):
                await place.step()
            place.seen.require_bars(folder, START_T, 3)
            assert all(len(place.seen.trades[n]) > 12 for n in range(2))
            assert place.seen.notices == {NoticeKind.CONNECTED: 1}

    asyncio.run(scene())


def test_books_of_an_hour_come_before_its_bars(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(write_market(tmp_path), shape=BookShape.unconstraining()) as place:
            place.local.advance((START_T + HOUR_T) * NS)
            books: dict[int, BookView] = {}
            bars: dict[int, ClosedBar] = {}
            while len(bars) < len(SYMBOLS):
                event = await place.feed.next()
                if isinstance(event, BookView) and event.venue_ms == (START_T + HOUR_T) * 1_000:
                    assert not bars
                    books[event.instrument_id] = event
                elif isinstance(event, ClosedBar):
                    bars[event.instrument_id] = event
            assert sorted(books) == list(range(len(SYMBOLS)))
            place.local.advance((START_T + 2 * HOUR_T) * NS)
            later = {}
            while len(later) < len(SYMBOLS):
                event = await place.feed.next()
                if isinstance(event, ClosedBar):
                    later[event.instrument_id] = event
            for n, book in books.items():  # the price one trades at on the hour is the open of the bar that begins then
                assert book.bids[0, 0] == book.asks[0, 0] == round(later[n].open * 10**8)

    asyncio.run(scene())


def test_bars_missed_before_the_feed_opened_are_filled_in_order(tmp_path: Path) -> None:
    async def scene() -> None:
        folder = write_market(tmp_path, quiet=4)
        first_t = START_T - 20 * HOUR_T
        async with stage(folder, since_t=first_t) as place:
            await place.step()
            assert {bar.origin for bar in place.seen.bars.values()} == {"ws", "rest"}
            assert place.seen.require_bars(folder, first_t, 21) == 21 * len(SYMBOLS)

    asyncio.run(scene())


def test_the_clock_of_the_venue_jumps_ahead(tmp_path: Path) -> None:
    """More hours at once than a snapshot of candles holds."""

    async def scene() -> None:
        folder = write_market(tmp_path, quiet=3)
        async with stage(folder) as place:
            await place.step(30)
            assert place.seen.require_bars(folder, START_T, 30) == 30 * len(SYMBOLS)
            assert place.clock.now_t() == START_T + 30 * HOUR_T

    asyncio.run(scene())


def test_bars_older_than_the_venue_tells_are_a_named_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.kraken.rest.ROWS_MAX", 20)

    async def scene() -> None:
        folder = write_market(tmp_path, n=2, hours_n=60)  # begins 30 hours before
        async with stage(folder, symbols=PAIR, since_t=START_T - 50 * HOUR_T) as place:
            notice = await place.until(NoticeKind.GAP)
            assert str(START_T - 50 * HOUR_T) in notice.text

    asyncio.run(scene())


def test_silence_becomes_a_notice_and_a_new_connection(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        async with stage(write_market(tmp_path, n=2), symbols=PAIR, faults=plan) as place:
            await place.until(NoticeKind.CONNECTED)
            plan.add(Switch(Fault.WS_STALL, place="book", next_n=1))
            place.local.advance((START_T + 60) * NS)  # no hour ends: only the silence tells
            place.local.advance((START_T + HOUR_T) * NS)
            began_s = time.monotonic()
            assert "no answer to a ping" in (await place.until(NoticeKind.STALE)).text
            await place.until(NoticeKind.LOST)
            await place.until(NoticeKind.CONNECTED)
            assert time.monotonic() - began_s < QUICK.probe_s + QUICK.answer_s + 2

    asyncio.run(scene())


def test_a_silent_venue_whose_time_stands_is_probed_and_stays_connected(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = replace(QUICK, probe_s=0.05)
        async with stage(write_market(tmp_path, n=2), symbols=PAIR, settings=settings) as place:
            await place.until(NoticeKind.CONNECTED)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        assert not isinstance(await place.feed.next(), Notice)

    asyncio.run(scene())


def test_the_venues_mode_is_told_and_maintenance_only_delays_bars(tmp_path: Path) -> None:
    async def scene() -> None:
        folder, plan = write_market(tmp_path, n=2), FaultPlan(1)
        async with stage(folder, symbols=PAIR, faults=plan) as place:
            venue = place.local.venue
            place.local._loop.call_soon_threadsafe(venue.hub.announce, "maintenance")
            assert (await place.until(NoticeKind.VENUE_MODE)).text == "maintenance"
            venue.rest.mode = Mode.MAINTENANCE
            plan.add(Switch(Fault.WS_GAP, place="ohlc", next_n=2))
            await place.step(all_bars=False)
            gap = await place.until(NoticeKind.GAP)
            assert "EService:Unavailable" in gap.text
            venue.rest.mode = Mode.ONLINE
            await place.step()
            place.seen.require_bars(folder, START_T, 2)

    asyncio.run(scene())


def test_a_venue_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    folder = write_market(tmp_path, n=2, quiet=7)

    def market(hours_n: int) -> LocalMarket:
        return LocalMarket.open([folder], seed=3, start_ns=(START_T + hours_n * HOUR_T) * NS)

    async def scene() -> None:
        clock = ManualClock(START_T)
        with serve(market(0)) as local:
            feed = KrakenMarketData(local.url, PAIR, [PairRules()] * 2, HOUR_T, clock, QUICK, observe=clock.observe)
            await feed.open()
            port = int(local.url.rpartition(":")[2])
        kinds: list[NoticeKind] = []
        while len(kinds) < 4:
            event = await feed.next()
            kinds += [event.kind] if isinstance(event, Notice) else []
        assert kinds[:2] == [NoticeKind.CONNECTED, NoticeKind.LOST]
        assert set(kinds[2:]) == {NoticeKind.LOST}
        with serve(market(5), port=port):
            bars: list[ClosedBar] = []
            async with asyncio.timeout(10):
                while len(bars) < 10:
                    event = await feed.next()
                    bars += [event] if isinstance(event, ClosedBar) else []
        assert sorted((bar.instrument_id, bar.open_t) for bar in bars) == [
            (n, START_T + hour_n * HOUR_T) for n in range(2) for hour_n in range(5)
        ]
        await feed.close()
        await feed.close()
        feed._queue.clear()
        with pytest.raises(EnvironmentFailure, match="closed"):
            await feed.next()

    asyncio.run(scene())


def test_the_skew_is_what_lies_between_our_time_and_the_venues_second(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        async with stage(write_market(tmp_path, n=1), symbols=("BTC",), faults=plan) as place:
            assert await place.feed.skew_ms() == 0
            plan.add(Switch(Fault.TIME_SKEW, next_n=1))
            assert await place.feed.skew_ms() == 90_000
            ahead = ManualClock(START_T + 30)
            place.feed._clock = ahead
            assert await place.feed.skew_ms() == -29_001

    asyncio.run(scene())


def test_bars_are_asked_for_by_time(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(write_market(tmp_path, n=2, quiet=5), symbols=PAIR) as place:
            since_t = START_T - 9 * HOUR_T
            for n in range(2):
                found = await place.feed.bars(n, since_t)
                assert [bar.open_t for bar in found] == list(range(since_t, START_T, HOUR_T))
            assert await place.feed.bars(0, START_T) == []

    asyncio.run(scene())


def test_a_venue_that_lists_no_such_pair_or_is_not_there_is_refused_at_open(tmp_path: Path) -> None:
    market = LocalMarket.open([write_market(tmp_path, n=1)], seed=3, start_ns=START_T * NS)
    settings = replace(QUICK, rest_attempts_n=2, open_s=1.5)

    async def refused(url: str, symbols: tuple[str, ...]) -> str:
        feed = KrakenMarketData(url, symbols, [PairRules()] * len(symbols), HOUR_T, ManualClock(START_T), settings)
        with pytest.raises(EnvironmentFailure) as caught:
            await feed.open()
        return str(caught.value)

    async def scene() -> None:
        with serve(market, faults=FaultPlan(1)) as local:
            assert "NOPE/USD is not listed" in await refused(local.url, ("BTC", "NOPE"))
            local.venue.faults.add(Switch(Fault.WS_REJECT, place="ohlc", every_n=1))
            assert "EService:Unavailable" in await refused(local.url, ("BTC",))
        assert "AssetPairs" in await refused(local.url, ("BTC",))

    asyncio.run(scene())
    with pytest.raises(UsageError, match="venue"):
        KrakenMarketData("https://example.com", ("BTC",), [PairRules()], HOUR_T, ManualClock(0))


def test_a_refused_subscription_is_named_and_asked_for_again(tmp_path: Path) -> None:
    async def scene() -> None:
        plan = FaultPlan(1)
        plan.add(Switch(Fault.WS_REJECT, place="ohlc", next_n=2))
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=PAIR, faults=plan) as place:
            assert (await place.until(NoticeKind.REJECTED)).text == "EService:Unavailable"
            await place.step()
            assert place.seen.notices == {NoticeKind.REJECTED: 2, NoticeKind.CONNECTED: 1}
            assert {bar.origin for bar in place.seen.bars.values()} == {"ws"}

    asyncio.run(scene())
