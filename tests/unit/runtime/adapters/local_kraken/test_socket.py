"""The WebSocket over loopback with a raw client: determinism, faults, limits. No real sleeping; virtual time is stepped."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime.adapters.local_kraken import channels
from runtime.adapters.local_kraken.faults import Fault, FaultPlan, Switch
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.socket import Limits
from tests.support.kraken_socket import HOUR_NS, START_NS, Client, Venue, client, venue, write_bars

NAMES = {"XBTUSD": 37_000.0, "ETHUSD": 2_000.1}
BOTH = ("BTC/USD", "ETH/USD")
CHANNELS: dict[str, dict[str, Any]] = {"book": {"depth": 10}, "trade": {}, "ohlc": {"interval": 60}, "ticker": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), NAMES, trades=True)


def run(
    folder: Path,
    scene: Callable[[Venue, Client], Awaitable[None]],
    *switches: Switch,
    seed: int = 3,
    batch_ns: int = 0,
    limits: Limits | None = None,
) -> Venue:
    """Play a scene with one client against a fresh venue, and return the venue."""

    async def play() -> Venue:
        plan = FaultPlan(seed)
        for switch in switches:
            plan.add(switch)
        market = LocalMarket.open([folder], seed=seed, start_ns=START_NS)
        async with venue(market, faults=plan, batch_ns=batch_ns, limits=limits) as place:
            async with client(place.url) as one:
                await scene(place, one)
            return place

    return asyncio.run(play())


async def follow_all(one: Client) -> None:
    for channel, params in CHANNELS.items():
        await one.subscribe(channel, *BOTH, **params)
    await one.subscribe("instrument")
    await one.settle()


def test_a_connection_begins_with_status_then_acknowledgement_and_snapshot(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", "BTC/USD", depth=10)
        await one.subscribe("trade", "BTC/USD", snapshot=True)
        await one.subscribe("trade", "ETH/USD")
        await one.settle()
        bodies = [json.loads(text) for text in one.texts]
        heads = [(body.get("channel") or body["method"], body.get("type") or body.get("success")) for body in bodies]
        assert heads == [
            ("status", "update"),
            ("subscribe", True),
            ("book", "snapshot"),
            ("subscribe", True),
            ("trade", "snapshot"),
            ("subscribe", True),  # without "snapshot": true the trade channel begins with the next trade
            ("pong", None),
        ]
        assert len(bodies[4]["data"]) == 50
        assert one.verified_n == 1

    run(folder, scene)


def test_two_runs_are_equal_byte_for_byte_under_faults(folder: Path) -> None:
    kinds = [Fault.WS_GAP, Fault.WS_BAD_CHECKSUM, Fault.WS_DUPLICATE, Fault.WS_LATE, Fault.WS_OUT_OF_ORDER, Fault.WS_GARBAGE]

    def told(seed: int) -> list[str]:
        found: list[str] = []

        async def scene(place: Venue, one: Client) -> None:
            await follow_all(one)
            for _ in range(20):
                await place.step(60 * NS)
                await one.settle()
            found.extend(one.texts)

        run(folder, scene, *[Switch(kind, probability_ppm=30_000) for kind in kinds], seed=seed)
        return found

    first = told(3)
    assert first == told(3)
    assert first != told(4)
    assert len(first) > 500


@pytest.mark.parametrize("seed", [1, 2])
def test_every_checksum_holds_or_is_mended_by_subscribing_again(folder: Path, seed: int) -> None:
    """Under every fault of the data, a client that subscribes again after a mismatch ends with the venue's own book."""
    kinds = [Fault.WS_GAP, Fault.WS_BAD_CHECKSUM, Fault.WS_DUPLICATE, Fault.WS_LATE, Fault.WS_OUT_OF_ORDER, Fault.WS_GARBAGE]
    mended: Counter[str] = Counter()

    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", *BOTH)
        await one.settle()
        for _ in range(30):
            await place.step(60 * NS)
            await one.settle()
            for symbol in sorted(one.desynced):
                mended[symbol] += 1
                await one.subscribe("book", symbol, method="unsubscribe")
                await one.subscribe("book", symbol)
            await one.settle()
        place.faults.clear()
        await place.step(60 * NS)  # what was late or swapped still arrives
        await one.settle()
        for symbol in BOTH:
            await one.subscribe("book", symbol, method="unsubscribe")
            await one.subscribe("book", symbol)
        await place.step(60 * NS)
        await one.settle()
        assert not one.desynced
        for pair in place.market.pairs:
            shown = place.market.book(pair, place.market.now_ns)
            ours = one.books[pair.symbol]
            assert [level.price for level in ours.asks()] == [int(x.price.scaleb(pair.pair_decimals)) for x in shown.asks]
        assert one.verified_n > 500

    place = run(folder, scene, *[Switch(kind, "book", probability_ppm=10_000) for kind in kinds], seed=seed)
    assert set(place.faults.injected) == set(kinds)
    assert min(mended[symbol] for symbol in BOTH) > 3


def test_without_faults_no_checksum_fails(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", *BOTH)
        for _ in range(20):
            await place.step(61 * NS)
            await one.settle()
        assert one.mismatched_n == 0
        assert one.verified_n > 500

    run(folder, scene)


@pytest.mark.parametrize(
    ("fault", "more", "mismatched"),
    [(Fault.WS_GAP, -1, True), (Fault.WS_BAD_CHECKSUM, 0, True), (Fault.WS_DUPLICATE, 1, False), (Fault.WS_GARBAGE, 0, False)],
)
def test_each_fault_of_the_data(folder: Path, fault: Fault, more: int, mismatched: bool) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", "BTC/USD")
        await one.settle()
        await place.step(60 * NS)
        told_n = sum(body.get("channel") == "book" for body in await one.settle())
        called_n = place.faults.switches[0].called_n
        injected_n = place.faults.injected[fault]
        assert injected_n == called_n // 5 > 2
        assert told_n == called_n + more * injected_n
        assert bool(one.mismatched_n) == mismatched
        assert one.garbage_n == (injected_n if fault is Fault.WS_GARBAGE else 0)

    run(folder, scene, Switch(fault, "book", every_n=5))


def test_a_late_message_comes_in_the_next_step_and_a_swapped_one_after_the_next(folder: Path) -> None:
    def stamps(*switches: Switch) -> list[str]:
        found: list[str] = []

        async def scene(place: Venue, one: Client) -> None:
            await one.subscribe("trade", "BTC/USD")
            await one.settle()
            for _ in range(2):
                await place.step(HOUR_NS)
                found.extend(body["data"][0]["trade_id"] for body in await one.settle() if body.get("channel") == "trade")

        run(folder, scene, *switches)
        return found

    right = stamps()
    swapped = stamps(Switch(Fault.WS_OUT_OF_ORDER, "trade", next_n=1))
    assert swapped == [right[1], right[0], *right[2:]]
    late = stamps(Switch(Fault.WS_LATE, "trade", next_n=1))
    assert sorted(late) == right
    assert late[0] == right[1]
    assert late.index(right[0]) > 3


def test_a_disconnect_ends_the_stream_where_it_happens_and_a_new_connection_gets_fresh_snapshots(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("trade", "BTC/USD")
        await one.settle()
        place.faults.add(Switch(Fault.WS_DISCONNECT, "trade", every_n=3))
        await place.step(HOUR_NS)
        told = [body for body in await one.settle() if body.get("channel") == "trade"]
        assert one.closed
        assert len(told) == 2  # everything before the fault was still delivered, nothing after it
        place.faults.clear()
        async with client(place.url) as again:
            await again.subscribe("book", "BTC/USD")
            await again.settle()
            await place.step(60 * NS)
            await again.settle()
            assert again.verified_n > 1
            assert again.mismatched_n == 0
            assert [topic.channel for topic in place.hub.stream.topics()] == ["book"]  # the ended connection left nothing
            assert place.hub.drop_all() >= 1
            assert place.hub.drop_all() >= 0  # once more changes nothing
            await again.settle()
            assert again.closed

    run(folder, scene)


def test_every_connection_hears_the_same(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        async with client(place.url) as other:
            for each in (other, one):
                await follow_all(each)
            for each in (other, one):
                each.texts.clear()
            for _ in range(3):
                await place.step(600 * NS)
            for each in (other, one):
                await each.settle()
            assert one.texts[:-1] == other.texts[:-1]
            assert len(one.texts) > 200
            await one.subscribe("book", *BOTH, method="unsubscribe", depth=10)
            await one.settle()
            one.texts.clear()
            await place.step(600 * NS)
            await one.settle()
            heard = {json.loads(text).get("channel") for text in one.texts}
            assert heard - {"heartbeat", None} == {"trade", "ohlc", "ticker"}

    run(folder, scene)


def test_a_stalled_connection_says_nothing_any_more(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("ticker", "BTC/USD")
        await one.settle()
        place.faults.add(Switch(Fault.WS_STALL, "ticker", next_n=1))
        async with client(place.url) as other:
            await other.subscribe("ticker", "BTC/USD")
            await other.settle()
            await place.step(HOUR_NS)
            assert len(await other.settle()) > 3
        await one.send(method="ping", req_id=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await one.read()

    run(folder, scene)


def test_a_rejected_subscription_is_answered_and_stays_closed(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("ohlc", "BTC/USD", interval=60)
        answers = await one.settle()
        assert [body.get("error") for body in answers[1:]] == ["EService:Unavailable"]
        await one.subscribe("ohlc", "BTC/USD", interval=60)
        assert (await one.settle())[0]["success"] is True

    run(folder, scene, Switch(Fault.WS_REJECT, "ohlc", next_n=1))


def test_what_a_client_may_not_do(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("ohlc", "BTC/USD", interval=60)
        await one.subscribe("book", "BTC/USD")
        await one.settle()
        for channel, symbol, params, error in [
            ("ohlc", "BTC/USD", {"interval": 60}, "Already subscribed"),
            ("ohlc", "BTC/USD", {"interval": 5}, "Already subscribed to one ohlc interval on this symbol"),
            ("book", "BTC/USD", {"depth": 25}, "Already subscribed"),
            ("book", "XBT/USD", {}, "Currency pair not supported XBT/USD"),
            ("book", "ETH/USD", {"depth": 11}, "Subscription depth not supported"),
            ("ticker", "ETH/USD", {}, "EGeneral:Too many subscriptions"),
        ]:
            await one.subscribe(channel, symbol, **params)
            assert [body["error"] for body in await one.settle()] == [error]
        for channel, params in (("ohlc", {"interval": 5}), ("ticker", {}), ("book", {"depth": 25})):
            await one.subscribe(channel, "BTC/USD", method="unsubscribe", **params)
            assert [body["error"] for body in await one.settle()] == ["Subscription Not Found"]
        await one.subscribe("book", "BTC/USD", method="unsubscribe")
        assert (await one.settle())[0]["result"] == {"channel": "book", "depth": 10, "symbol": "BTC/USD"}
        await one.subscribe("ohlc", "BTC/USD", method="unsubscribe", interval=60)
        await one.settle()
        assert place.hub.stream.topics() == []  # what nobody follows is not computed
        await place.step(HOUR_NS)
        assert await one.settle() == []

    run(folder, scene, limits=Limits(subscriptions_max_n=2))


def test_requests_are_limited_in_virtual_time(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        for n in range(6):
            await one.send(method="ping", req_id=n)
        answers = [await one.read() for _ in range(7)][1:]
        assert [answer == {"Error": "Exceeded msg rate"} for answer in answers] == [False] * 5 + [True]
        await place.step(2 * NS)
        for n in range(3):
            await one.send(method="ping", req_id=n)
        answers = [await one.read() for _ in range(3)]
        assert [answer == {"Error": "Exceeded msg rate"} for answer in answers] == [False, False, True]

    run(folder, scene, limits=Limits(requests_burst_n=5, requests_per_s=1))


def test_heartbeats_fill_each_silent_second_and_a_long_step_has_one(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await place.step(5 * NS)
        assert [body["channel"] for body in await one.settle()] == ["status"]  # none before the first subscription
        await one.subscribe("instrument")
        await one.settle()
        await place.step(5 * NS)
        assert await one.settle() == [{"channel": "heartbeat"}] * 5
        await place.step(NS // 2)
        await place.step(NS // 2)
        assert await one.settle() == [{"channel": "heartbeat"}]
        await place.step(HOUR_NS)
        assert await one.settle() == [{"channel": "heartbeat"}]

    run(folder, scene)


def test_heartbeats_stand_where_the_silence_was(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("trade", "BTC/USD")
        await one.settle()
        for _ in range(150):
            await place.step(8 * NS)
        told = [body["channel"] for body in await one.settle()]
        trades = place.market.trades(place.market.pairs[1], START_NS, place.market.now_ns)
        expected: list[str] = []
        said_ns = START_NS
        for trade in trades:
            expected += ["heartbeat"] * ((trade.time_ns - 1 - said_ns) // NS) + ["trade"]
            said_ns = trade.time_ns
        expected += ["heartbeat"] * ((place.market.now_ns - said_ns) // NS)
        assert told == expected
        assert told.count("trade") > 2

    run(folder, scene)


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", *BOTH, depth=100)
        await one.settle()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(place.url.split(":")[2].split("/")[0]), limit=1024)
        writer.write(
            b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        sleeper = next(c for c in place.hub.connections if c.number_n == 2)
        for _ in range(400):
            sleeper.say("x" * 100_000)
        assert sleeper.dropped == "slow"
        await place.step(60 * NS)
        assert await one.settle()
        assert one.mismatched_n == 0
        writer.close()

    run(folder, scene, limits=Limits(queue_max_n=300))


def test_flush_drops_who_does_not_take_the_messages(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        connection = place.hub.connections[0]
        for _ in range(300):
            connection.say("x" * 100_000)
        await place.hub.flush(timeout_s=0.05)
        assert connection.dropped == "slow"

    run(folder, scene)


def test_a_change_of_the_system_is_announced(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.settle()
        place.hub.announce("maintenance")
        place.hub.announce("maintenance")
        told = await one.settle()
        assert [body["data"][0]["system"] for body in told] == ["maintenance"]
        async with client(place.url) as other:
            assert (await other.settle())[0]["data"][0]["system"] == "maintenance"

    run(folder, scene)


def test_garbage_of_a_client_is_answered_and_too_many_connections_are_refused(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one._socket.send_str("{")
        await one._socket.send_bytes(b"\0")
        assert [body.get("error") for body in (await one.settle())[1:]] == ["Malformed request", "Malformed request"]
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            async with client(place.url):
                pass

    run(folder, scene, limits=Limits(connections_max_n=1))


def test_the_garbage_frame_is_no_json() -> None:
    with pytest.raises(ValueError, match="Unterminated|Invalid"):
        json.loads(channels.GARBAGE)
