"""The WebSocket over loopback with a raw client: subscriptions, heartbeats, limits, slow clients. Virtual time is stepped."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.socket import Limits
from tests.support.kraken_socket import BOTH, HOUR_NS, NAMES, START_NS, Client, Venue, client, follow_all, run, write_bars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), NAMES, trades=True)


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
