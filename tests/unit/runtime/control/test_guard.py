"""The guard by itself: what it passes on, and what a request that breaks off leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from runtime.control.guard import Guard
from runtime.control.metrics import RequestCounts
from runtime.control.security import Place, Sessions
from runtime.control.settings import ControlSettings
from tests.support.control import TOKEN, Wall

Message = dict[str, Any]
WRITE = [
    (b"host", b"localhost:80"), (b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json"),
]  # fmt: skip


class App:
    """An application that reads its body twice over, and answers 200."""

    def __init__(self) -> None:
        self.got: list[Message] = []

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer."""
        self.got += [await receive(), await receive()]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})


def run(app: App, messages: list[Message], headers: list[tuple[bytes, bytes]]) -> list[Message]:
    """Send one request through the guard; return what it answers."""
    sent: list[Message] = []
    sessions = Sessions(TOKEN, Wall().now_t, ControlSettings())
    guard = Guard(app, Place(80), sessions, ControlSettings(), RequestCounts(CollectorRegistry()), lambda _: None)
    pending = iter(messages)

    async def receive() -> Message:
        return next(pending)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/p", "query_string": b"", "headers": headers}
    asyncio.run(guard(scope, receive, send))
    return sent


def part(body: bytes, *, more: bool) -> Message:
    """Return a part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


def test_the_application_sees_the_body_whole_and_then_what_comes_after_it() -> None:
    app = App()
    sent = run(app, [part(b"a", more=True), part(b"b", more=False), GONE], WRITE)
    assert app.got == [part(b"ab", more=False), GONE]
    assert sent[0]["status"] == 200
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]


def test_a_body_that_breaks_off_reaches_nobody() -> None:
    app = App()
    sent = run(app, [part(b'{"on": true, "confirm": "HALT"}', more=True), GONE], WRITE)
    assert app.got == []
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_two_credentials_are_none(scheme: str) -> None:
    app = App()
    twice = [*WRITE, (b"authorization", f"{scheme} {TOKEN}".encode())]
    assert run(app, [part(b"", more=False)], twice)[0]["status"] == 401
    assert app.got == []
