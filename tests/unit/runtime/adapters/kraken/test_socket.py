"""One connection and its ends: refused, never answered, silent, closed by the venue, closed by us."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from aiohttp import web

from runtime.adapters.kraken.session import DEAF_MAX, PONGS_MAX, Session
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.kraken.socket import Line
from runtime.adapters.kraken.wire import Frame, read

QUICK: Final = replace(FeedSettings.stepped(), connect_s=0.3, answer_s=0.05, probe_s=0.02)
Handler = Callable[[web.WebSocketResponse], Awaitable[None]]


def play(handler: Handler, scene: Callable[[Line], Awaitable[None]]) -> None:
    """Serve one handler at /v2 and play a scene with an unopened line to it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await handler(response)
        return response

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/v2", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        line = Line(f"http://127.0.0.1:{runner.addresses[0][1]}", QUICK)
        try:
            await scene(line)
        finally:
            await line.close()
            await runner.cleanup()

    asyncio.run(main())


async def until_lost(line: Line) -> None:
    async with asyncio.timeout(5):
        while not line.lost:
            await line.wait(0.05)


def test_texts_come_whole_and_in_order_though_one_is_no_json() -> None:
    async def handler(response: web.WebSocketResponse) -> None:
        for text in ("one", '{"two":', "three"):
            await response.send_str(text)
        await response.send_bytes(b"\xff four")
        await response.receive()

    async def scene(line: Line) -> None:
        assert await line.open()
        texts: list[str] = []
        async with asyncio.timeout(5):
            while len(texts) < 4:
                await line.wait(0.05)
                texts += [line.texts.popleft() for _ in range(len(line.texts))]
        assert texts == ["one", '{"two":', "three", "\ufffd four"]
        assert not line.lost

    play(handler, scene)


def test_a_connection_that_the_venue_closes_is_lost_though_nobody_waits_for_a_message() -> None:
    async def handler(response: web.WebSocketResponse) -> None:
        await response.close(code=1012)

    async def scene(line: Line) -> None:
        assert await line.open()
        await until_lost(line)
        assert "closed the connection" in line.lost
        await line.send({"method": "ping"})  # goes nowhere, and says so to nobody

    play(handler, scene)


def test_a_port_where_nobody_listens_and_one_that_never_answers() -> None:
    async def scene() -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            refused = Line(f"http://127.0.0.1:{deaf.getsockname()[1]}", QUICK)
            assert not await refused.open()
            assert refused.lost
            await refused.close()
            deaf.listen()
            silent = Line(f"http://127.0.0.1:{deaf.getsockname()[1]}", QUICK)
            assert not await silent.open()
            assert "no connection within 0.3 s" in silent.lost
            await silent.close()

    asyncio.run(scene())


def test_a_line_that_was_never_opened_sends_nothing_and_closes() -> None:
    async def scene() -> None:
        line = Line("http://127.0.0.1:9", QUICK)
        await line.send({"method": "ping"})
        await line.close()
        assert line.lost == "closed"

    asyncio.run(scene())


def test_a_broken_pipe_ends_the_line() -> None:
    async def handler(response: web.WebSocketResponse) -> None:
        await response.receive()

    async def scene(line: Line) -> None:
        assert await line.open()
        assert line._client is not None
        line._client.connection._response.connection.transport.abort()
        await line._client.connection.close()
        await line.send({"method": "ping"})
        assert line.lost

    play(handler, scene)


class Deaf(Line):
    """A line that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", QUICK)
        self.sent: list[str] = []

    async def send(self, request: object) -> None:
        self.sent.append(str(request))


def test_signs_of_life_are_asked_for_and_their_absence_is_death() -> None:
    async def scene() -> None:
        session = Session(Deaf(), (), QUICK, 3_600)
        assert await session.look() == ""
        assert not session.pinging
        await asyncio.sleep(QUICK.probe_s + 0.01)
        assert await session.look() == ""
        assert session.pinging
        assert not session.ponged(read('{"method":"pong","req_id":99}')), "an answer to something else"
        assert session.ponged(Frame(method="pong", req_id=1))
        await session.ping()
        await asyncio.sleep(QUICK.answer_s + 0.01)
        assert "no answer to a ping" in await session.look()
        session.heard()  # others were heard since: a late answer is waited for, but not for ever
        assert await session.look() == ""
        for _ in range(PONGS_MAX):
            await asyncio.sleep(QUICK.answer_s)
            session.heard()
        assert "no answer to a ping" in await session.look()

    asyncio.run(scene())


def test_a_subscription_without_an_answer_is_named() -> None:
    async def scene() -> None:
        session = Session(Deaf(), (), QUICK, 3_600)
        await session._subscribe("ohlc", ["BTC/USD"])
        assert not session.complete
        assert 0 < session.next_look_s() <= QUICK.answer_s + 0.01
        await asyncio.sleep(QUICK.answer_s + 0.01)
        assert "no answer to 1 subscriptions (ohlc of BTC/USD)" in await session.look()
        session.accepted("ohlc", "BTC/USD")
        assert session.complete

    asyncio.run(scene())


def test_a_refusal_that_says_it_stands_already_is_taken_for_an_answer() -> None:
    async def scene() -> None:
        session = Session(Deaf(), (), QUICK, 3_600)
        await session._subscribe("book", ["BTC/USD", "ETH/USD"])
        await session.rejected(Frame(method="subscribe", success=False, error="Already subscribed", symbol="BTC/USD"))
        assert not session.complete
        await session.rejected(Frame(method="subscribe", success=False, error="Already subscribed", symbol="ETH/USD"))
        assert session.complete
        await session.rejected(Frame(method="subscribe", success=False, error="EService:Unavailable", symbol="SOL/USD"))
        assert session.complete

    asyncio.run(scene())


def test_time_in_which_nobody_listened_counts_against_no_deadline_but_not_for_ever() -> None:
    async def scene() -> None:
        session = Session(Deaf(), (), QUICK, 3_600)
        await session._subscribe("ohlc", ["BTC/USD"])
        await session.ping()
        for _ in range(DEAF_MAX):
            listening = asyncio.create_task(session.listen())
            await asyncio.sleep(0)
            time.sleep(2 * QUICK.answer_s)  # noqa: ASYNC251  what a long computation in the same loop does
            await listening
            assert await session.look() == ""
        listening = asyncio.create_task(session.listen())
        await asyncio.sleep(0)
        time.sleep(2 * QUICK.answer_s)  # noqa: ASYNC251
        await listening
        assert "no answer to a ping" in await session.look()

    asyncio.run(scene())
