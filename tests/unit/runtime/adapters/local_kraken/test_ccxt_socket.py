"""The real ccxt.pro client against the local Kraken over loopback: what works, and what it does under each fault of the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.pro
import pytest

from runtime.adapters.local_kraken.faults import Fault, Switch
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import LocalKraken, serve
from tests.support.kraken_socket import HOUR_NS, START_NS, START_T, write_bars

NAMES = {"XBTUSD": 37_000.0, "ETHUSD": 2_000.1}
DEADLINE_S = 10.0
HANG_S = 0.3
"""Long enough on loopback to call it a hang."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), NAMES, trades=True)


@asynccontextmanager
async def exchange(place: LocalKraken) -> AsyncIterator[Any]:
    """Point a real client at the venue; "v2" must stay in the path, or ccxt sends pings of version 1."""
    client = ccxt.pro.kraken({"enableRateLimit": False})
    client.urls["api"]["public"] = client.urls["api"]["private"] = place.url
    for name in client.urls["api"]["ws"]:
        client.urls["api"]["ws"][name] = place.websocket_url
    try:
        await client.load_markets()
        yield client
    finally:
        await client.close()


def run(folder: Path, scene: Callable[[LocalKraken, Any], Awaitable[None]], *, start_ns: int = START_NS) -> None:
    async def play(place: LocalKraken) -> None:
        async with exchange(place) as client:
            await scene(place, client)

    with serve(LocalMarket.open([folder], seed=3, start_ns=start_ns)) as place:
        asyncio.run(play(place))


async def step(place: LocalKraken, ns: int) -> None:
    await asyncio.to_thread(place.advance, place.now_ns + ns)


async def soon(call: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(call, DEADLINE_S)


async def until(true: Callable[[], object]) -> None:
    """Let the client's tasks run until something is true."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - what is waited for happens inside ccxt, which sets no event
            await asyncio.sleep(0.005)


async def during(place: LocalKraken, watch: Awaitable[Any], ns: int, *, subscribes: bool = False) -> Any:
    """Start watching, step when the venue knows the subscription, return what came."""
    before_n = len(place.venue.hub.stream.topics())
    task = asyncio.ensure_future(watch)
    await asyncio.sleep(0)
    if subscribes:
        await until(lambda: len(place.venue.hub.stream.topics()) > before_n)
    await step(place, ns)
    return await soon(task)


def levels_of(client: Any) -> list[list[float]]:
    book = client.orderbooks["BTC/USD"]
    return [list(level) for level in (*book["bids"], *book["asks"])]


def test_all_channels_of_the_real_client(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        book = await soon(client.watch_order_book("BTC/USD"))
        assert len(book["bids"]) == len(book["asks"]) == 10
        ticker = await soon(client.watch_ticker("BTC/USD"))
        assert ticker["bid"] == book["bids"][0][0]
        assert ticker["ask"] == book["asks"][0][0]
        candles = await soon(client.watch_ohlcv("BTC/USD", "1h"))
        assert candles[-1][0] == (START_T - 3600) * 1000  # the hour that begins has not traded yet
        trades = await during(place, client.watch_trades("BTC/USD"), HOUR_NS, subscribes=True)
        assert trades[0]["symbol"] == "BTC/USD"
        rest = await client.fetch_ohlcv("BTC/USD", "1h", limit=3)
        shown = client.ohlcvs["BTC/USD"]["1h"]
        assert shown[-1][:6] == next(row for row in rest if row[0] == shown[-1][0])
        live = place.venue.market.book(place.venue.market.pairs[1], place.now_ns)
        await until(lambda: [level[1] for level in client.orderbooks["BTC/USD"]["bids"]] == [float(x.qty) for x in live.bids])

    run(folder, scene)


def test_the_real_capture_reaches_the_real_client_level_by_level(real_data: Path) -> None:
    def capture_of(place: LocalKraken) -> Any:
        return min(place.venue.market.captures(place.venue.market.pairs[0]), key=lambda capture: capture.first_ns)

    async def scene(place: LocalKraken, client: Any) -> None:
        capture = capture_of(place)
        await soon(client.watch_order_book("BTC/USD"))
        for n in range(1, 6):
            to_ns = capture.first_ns + n * (capture.last_ns - capture.first_ns) // 5
            await asyncio.to_thread(place.advance, to_ns)
            shown = place.venue.market.book(place.venue.market.pairs[0], to_ns)
            want = [[float(level.price), float(level.qty)] for level in (*shown.bids, *shown.asks)]
            await until(lambda want=want: levels_of(client) == want)

    market = LocalMarket.open([real_data / "kraken-book"], seed=1)
    run(real_data / "kraken-book", scene, start_ns=market.first_ns)


def test_a_second_timeframe_of_the_same_symbol_is_never_asked_for(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        await soon(client.watch_ohlcv("BTC/USD", "1h"))
        candles = await during(place, client.watch_ohlcv("BTC/USD", "5m"), 2 * HOUR_NS)
        assert [candle[0] for candle in candles] == [START_T * 1000]  # an hour, delivered as five minutes
        assert list(client.ohlcvs["BTC/USD"]) == ["1h"]
        assert [topic.interval_min for topic in place.venue.hub.stream.topics()] == [60]

    run(folder, scene)


def test_a_rejected_subscription_hangs_without_a_deadline(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        place.venue.faults.add(Switch(Fault.WS_REJECT, "ticker", next_n=1))
        task = asyncio.ensure_future(client.watch_ticker("BTC/USD"))
        await until(lambda: place.venue.faults.injected.get(Fault.WS_REJECT))
        await asyncio.wait([task], timeout=HANG_S)
        assert not task.done()
        task.cancel()
        # ccxt believes that it is subscribed: only a new connection helps
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.watch_ticker("BTC/USD"), HANG_S)
        await client.close()
        assert (await soon(client.watch_ticker("BTC/USD")))["symbol"] == "BTC/USD"

    run(folder, scene)


def test_a_dropped_connection_raises_a_network_error_and_the_next_watch_starts_over(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        await soon(client.watch_order_book("BTC/USD"))
        place.venue.faults.add(Switch(Fault.WS_DISCONNECT, "book", next_n=1))
        with pytest.raises(ccxt.NetworkError):  # for who is watching; with nobody watching the next watch just starts over
            await during(place, client.watch_order_book("BTC/USD"), 60 * NS)
        book = await soon(client.watch_order_book("BTC/USD"))
        live = place.venue.market.book(place.venue.market.pairs[1], place.now_ns)
        assert [level[0] for level in book["asks"]] == [float(level.price) for level in live.asks]

    run(folder, scene)


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_swallowed_update_goes_unnoticed_by_ccxt(folder: Path, swallowed: bool) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        await soon(client.watch_order_book("BTC/USD"))
        if swallowed:
            place.venue.faults.add(Switch(Fault.WS_GAP, "book", every_n=2))
        await during(place, client.watch_order_book("BTC/USD"), 60 * NS)
        await soon(client.watch_ticker("BTC/USD"))  # its answer comes behind every update of the book
        live = place.venue.market.book(place.venue.market.pairs[1], place.now_ns)
        right = [[float(level.price), float(level.qty)] for level in (*live.bids, *live.asks)]
        assert (levels_of(client) != right) == swallowed

    run(folder, scene)


def test_a_change_of_mode_is_told_on_the_socket(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(place.websocket_url) as socket:
            assert (await socket.receive_json(timeout=DEADLINE_S))["data"][0]["system"] == "online"
            answer = await session.post(f"{place.url}/control/status", json={"mode": "maintenance"})
            assert answer.status == 200
            assert (await socket.receive_json(timeout=DEADLINE_S))["data"][0]["system"] == "maintenance"

    run(folder, scene)


@pytest.mark.parametrize("flush", [True, False])
def test_an_advance_over_http_answers_when_the_messages_are_queued_or_written(folder: Path, flush: bool) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        await soon(client.watch_ticker("BTC/USD"))
        before_n = place.venue.hub.queued_n
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"{place.url}/control/advance", json={"by_s": 3600, "flush": flush})
            assert (await answer.json())["now_ns"] == START_NS + HOUR_NS
        assert place.venue.hub.queued_n - before_n > 3
        last = place.venue.market.recent_trades(place.venue.market.pairs[1], place.now_ns, 1)[0]
        await until(lambda: client.tickers["BTC/USD"]["last"] == float(last.price))

    run(folder, scene)


def test_a_stalled_connection_shows_nothing_so_a_client_needs_a_watchdog(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        await soon(client.watch_ticker("BTC/USD"))
        place.venue.faults.add(Switch(Fault.WS_STALL, "ticker", next_n=1))
        task = asyncio.ensure_future(client.watch_ticker("BTC/USD"))
        await step(place, HOUR_NS)
        await asyncio.wait([task], timeout=HANG_S)
        assert not task.done()
        task.cancel()

    run(folder, scene)


def test_a_garbage_frame_ends_the_reading_of_ccxt_without_a_word(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        await soon(client.watch_ticker("BTC/USD"))
        place.venue.faults.add(Switch(Fault.WS_GARBAGE, "ticker", next_n=1))
        task = asyncio.ensure_future(client.watch_ticker("BTC/USD"))
        await asyncio.sleep(0)
        await step(place, 2 * HOUR_NS)  # a garbage frame, then good messages that nobody reads
        await asyncio.wait([task], timeout=HANG_S)
        assert not task.done()
        task.cancel()
        await client.close()
        assert (await soon(client.watch_ticker("BTC/USD")))["symbol"] == "BTC/USD"

    run(folder, scene)


def test_a_duplicate_trade_is_stored_twice(folder: Path) -> None:
    async def scene(place: LocalKraken, client: Any) -> None:
        place.venue.faults.add(Switch(Fault.WS_DUPLICATE, "trade", next_n=1))
        await during(place, client.watch_trades("BTC/USD"), HOUR_NS, subscribes=True)
        await until(lambda: len(client.trades["BTC/USD"]) > 1)
        ids = [trade["id"] for trade in client.trades["BTC/USD"]]
        assert ids[0] == ids[1]

    run(folder, scene)
