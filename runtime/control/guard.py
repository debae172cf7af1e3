"""What every request passes before any route sees it: place, credentials, size, type; and the headers of every answer.

One plain ASGI layer: it costs microseconds, and it holds for event streams and errors as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from runtime.control.metrics import RequestCounts
from runtime.control.models import Problem
from runtime.control.security import Caller, Place, Sessions, cookie_of, same_secret
from runtime.control.settings import ControlSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Ready = Callable[[str], tuple[str, bytes] | None]

OPEN_TO_ALL: Final = frozenset({("GET", "/healthz"), ("POST", "/session")})
"""Needs no credentials: a sign of life, and the place where credentials are made."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CLOSE: Final = (b"connection", b"close")
DRAIN_BYTES_MAX: Final = 8 * 2**20
DRAIN_S: Final = 1.0
"""How much of a refused body is read and thrown away, so that who sends first and reads then sees the answer."""
SECURITY_HEADERS: Final[Headers] = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Refused(Exception):
    """A request that no route will see."""

    def __init__(self, status: int, problem: Problem, headers: Headers | None = None) -> None:
        super().__init__(problem.got)
        self.status, self.problem, self.headers = status, problem, headers or []


class Guard:
    """The layer around the application.

    Args:
        app: what answers the requests that pass.
        place: the address that they must be for.
        sessions: who may call.
        settings: sizes.
        counts: where requests are counted.
        ready: the route and the content of an answer that is made already, by what is asked.
    """

    def __init__(
        self, app: App, place: Place, sessions: Sessions, settings: ControlSettings, counts: RequestCounts, ready: Ready
    ) -> None:
        self._app, self._place, self._sessions, self._settings = app, place, sessions, settings
        self._counts, self._ready = counts, ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with what is wrong with it."""
        if scope["type"] != "http":  # the server's own start and end: it is told to accept no WebSockets
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, route = 0, "none"

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *SECURITY_HEADERS]}
            await send(message)

        try:
            try:
                scope["caller"] = self._admit(scope)
                body = await self._body(scope, receive)
            except Refused as refused:
                content = refused.problem.model_dump_json().encode("utf-8", "backslashreplace")
                await _say(answer, refused.status, content, refused.headers, receive if CLOSE in refused.headers else None)
                return
            known = self._ready(asked(scope["path"], scope["query_string"])) if scope["method"] == "GET" else None
            if known is not None:
                route, content = known
                await _say(answer, 200, content, [])
                return
            await self._app(scope, receive if body is None else _replay(body, receive), answer)
            route = str(getattr(scope.get("route"), "path", "none"))
        finally:
            self._counts.note(str(scope["method"]), route, status, time.perf_counter() - started)

    def _admit(self, scope: Scope) -> Caller | None:
        """Return who calls; `None` where nobody needs to say so.

        Raises:
            Refused: another place, no or wrong credentials, or a write without its CSRF token.
        """
        headers = scope["headers"]
        place = self._place
        fault = place.fault(values(headers, b"host"), values(headers, b"origin"), values(headers, b"sec-fetch-site"))
        if fault or not scope["path"].startswith("/"):
            got = fault or "a request target that is no path"
            raise _no(
                403, "auth", got, f"a request for {place} that no foreign page made", "call the address of the endpoint file"
            )
        if (scope["method"], scope["path"]) in OPEN_TO_ALL:
            return None
        caller = self._caller(headers)
        if scope["method"] not in SAFE and caller.csrf:
            tokens = values(headers, b"x-csrf-token")
            if len(tokens) != 1 or not same_secret(tokens[0], caller.csrf):
                action = "send what POST /session answered with every write"
                raise _no(403, "auth", "a write without its CSRF token", "X-CSRF-Token of this session", action)
        return caller

    def _caller(self, headers: Headers) -> Caller:
        bearers, cookie = values(headers, b"authorization"), cookie_of(values(headers, b"cookie"))
        if bearers:
            scheme, _, token = bearers[0].partition(" ")
            right = len(bearers) == 1 and scheme.lower() == "bearer"
            caller = self._sessions.bearer(token.strip()) if right else None
        else:
            caller = self._sessions.of_cookie(cookie) if cookie else None
        if caller is not None:
            return caller
        if (bearers or cookie) and self._sessions.failures.too_many():
            raise too_many_failures()
        got = "wrong credentials, or a session that ended" if bearers or cookie else "no credentials"
        raise Refused(401, unauthorised(got), [(b"www-authenticate", b"Bearer")])

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the whole body of a write, `None` for a request without one.

        Raises:
            Refused: too large, not JSON by its type, or a body where there must be none.
        """
        headers, most = scope["headers"], self._settings.body_max_bytes
        lengths = values(headers, b"content-length")
        declared = int(lengths[0]) if lengths and lengths[0].isdecimal() else 0
        if scope["method"] in SAFE:
            if declared or values(headers, b"transfer-encoding"):
                raise _no(400, "usage", f"a body with {scope['method']}", "no body", "leave it out", close=True)
            return None
        if declared > most:
            raise _too_large(f"{declared} bytes", most)
        kinds = values(headers, b"content-type")
        if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
            got = f"content of type {', '.join(kinds)[:100] or 'none'}"
            raise _no(415, "usage", got, "application/json", "send JSON and say so", close=True)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":  # the client left: half a request must do nothing
                raise _no(400, "usage", "half a body", "a whole one", "send it again")
            body += message.get("body", b"")
            if len(body) > most:
                raise _too_large(f"more than {most} bytes", most)
            if not message.get("more_body", False):
                return bytes(body)


def values(headers: Headers, name: bytes) -> list[str]:
    """Return every value of a header."""
    return [value.decode("latin-1") for key, value in headers if key == name]


def unauthorised(got: str) -> Problem:
    """Return the problem of a caller that is not known."""
    action = "read the endpoint file of the running daemon; `ballast runtime status` does"
    return Problem(kind="auth", got=got, expected="the launch token as bearer, or a session's cookie", action=action)


def too_many_failures() -> Refused:
    """Return the answer to wrong credentials that come too often."""
    problem = Problem(
        kind="auth",
        got="too many wrong credentials",
        expected="right ones",
        action="wait a minute, and look for who sends them",
    )
    return Refused(429, problem, [(b"retry-after", b"60")])


def _no(status: int, kind: str, got: str, expected: str, action: str, *, close: bool = False) -> Refused:
    problem = Problem(kind=kind, got=got, expected=expected, action=action)
    return Refused(status, problem, [CLOSE] if close else None)


def _too_large(got: str, most: int) -> Refused:
    return _no(413, "usage", got, f"a body of at most {most} bytes", "send less", close=True)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a source of the body that was read already, and then of what comes after it."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _say(send: Send, status: int, content: bytes, headers: Headers, rest: Receive | None = None) -> None:
    """Answer; with the `rest` of a refused body, end the connection only when that has come, or enough of it."""
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": content, "more_body": rest is not None})
    if rest is not None:  # bytes that lie unread when a socket closes reset it, and the answer is lost on its way
        await _drain(rest)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    """Read and drop what is left of a body: at most `DRAIN_BYTES_MAX`, for at most `DRAIN_S` and the request's own deadline."""
    left_n = DRAIN_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while left_n > 0:
                message = await receive()
                left_n -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def asked(path: str, query: bytes) -> str:
    """Return what answers are kept by."""
    return f"{path}?{query.decode('latin-1')}"
