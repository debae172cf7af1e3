"""Who may enter: the launch token, the session cookie, and the checks that stand before every HTTP and WebSocket request.

Default deny: `Guard` sits before routing, so that no handler of Bokeh or Panel can be reached around it. Bokeh's own session token
opens a WebSocket by itself and its origin check passes same-origin requests without a look at Host (DNS rebinding); neither matters
behind the guard.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

IDLE_S: Final = 12 * 3600
SESSIONS_MAX: Final = 64
OPEN_PATHS: Final = frozenset({"/login", "/alive"})
"""Reached without a session; `/alive` says one bit."""
METHODS: Final = frozenset({"GET", "HEAD", "POST"})
TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    405: "Method Not Allowed",
    421: "Misdirected Request",
}


@dataclass(slots=True)
class Door:
    """The launch token of this process and the sessions opened with it.

    Attributes:
        port: on 127.0.0.1; part of the cookie's name, since cookies of one host are shared between its ports.
        token: opens a session; printed once, kept in no file.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _seen_s: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def cookie(self) -> str:
        """Name of the session cookie."""
        return f"ballast_dashboard_{self.port}"

    @property
    def hosts(self) -> tuple[str, str]:
        """What a browser on this machine may call us."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    def enter(self, token: str) -> str | None:
        """Return a new session for the launch token, `None` for anything else."""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return None
        if len(self._seen_s) >= SESSIONS_MAX:
            del self._seen_s[min(self._seen_s, key=self._seen_s.__getitem__)]
        session = secrets.token_urlsafe(32)
        self._seen_s[session] = time.monotonic()
        return session

    def session(self, cookies: str) -> str | None:
        """Return the open session that a Cookie header carries."""
        try:
            morsel = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return None
        if morsel is None:
            return None
        seen_s, now_s = self._seen_s.get(morsel.value), time.monotonic()
        if seen_s is None or now_s - seen_s > IDLE_S:
            self._seen_s.pop(morsel.value, None)
            return None
        self._seen_s[morsel.value] = now_s
        return morsel.value

    def csrf(self, session: str) -> str:
        """Return what every form of a session carries."""
        return hmac.new(self._secret, session.encode(), "sha256").hexdigest()

    def same_csrf(self, session: str, given: str) -> bool:
        """Return whether a form belongs to its session."""
        return hmac.compare_digest(self.csrf(session).encode(), given.encode())

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return status and reason when a request may not pass, `None` when it may.

        Args:
            method: of the request.
            path: without the query.
            headers: of the request, a repeated one joined by commas.
        """
        host, origin = headers.get("Host", ""), headers.get("Origin")
        socket = headers.get("Upgrade", "").lower() == "websocket"
        if host not in self.hosts:
            return 421, "wrong host"
        if method not in METHODS:
            return 405, "method"
        if origin is not None and origin != f"http://{host}":
            return 403, "foreign origin"
        if origin is None and (socket or method == "POST"):
            return 403, "no origin"
        if path in OPEN_PATHS and method != "POST" and not socket:
            return None
        if self.session(headers.get("Cookie", "")) is None:
            return 401, "no session"
        # a page of another site may not even load a script of ours; typed addresses and our own pages may
        if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return 403, "another site"
        return None


class Guard(HTTPServerConnectionDelegate):
    """Stands between the HTTP server and the application.

    Args:
        application: what answers a request that may pass.
        door: who may.
    """

    def __init__(self, application: HTTPServerConnectionDelegate, door: Door) -> None:
        self._application = application
        self._door = door

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Return what reads the request."""
        return _Checked(self._application.start_request(server_conn, request_conn), request_conn, self._door)

    def on_close(self, server_conn: object) -> None:
        """Tell the application that a connection was closed."""
        self._application.on_close(server_conn)


class _Checked(HTTPMessageDelegate):
    """Answers a request that may not pass from its headers alone, and hands on every other."""

    def __init__(self, inner: HTTPMessageDelegate, connection: HTTPConnection, door: Door) -> None:
        self._inner = inner
        self._connection = connection
        self._door = door
        self._refused = False

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> object:  # type: ignore[override]
        if not isinstance(start_line, RequestStartLine):
            raise TypeError("a server reads requests")
        try:
            path = urlsplit(start_line.path).path
        except ValueError:
            path = ""
        found = self._door.refusal(start_line.method, path, dict(headers.items())) if path.startswith("/") else (400, "path")
        if found is None:
            return self._inner.headers_received(start_line, headers)
        self._refused = True
        self._answer(*found)
        return None

    def data_received(self, chunk: bytes) -> object:  # type: ignore[override]
        return None if self._refused else self._inner.data_received(chunk)

    def finish(self) -> None:
        if not self._refused:
            self._inner.finish()

    def on_connection_close(self) -> None:
        if not self._refused:
            self._inner.on_connection_close()

    def _answer(self, status: int, reason: str) -> None:
        body = REFUSED.format(title=TITLES[status], reason=reason).encode()
        headers = HTTPHeaders({
            "Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body)), "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "Connection": "close",
        })  # fmt: skip
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", status, TITLES[status]), headers, body)
        self._connection.finish()


REFUSED: Final = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Ballast</title><h1>{title}</h1>
<p>This page opens with a link that the command <code>ballast dashboard</code> prints ({reason}).</p></html>
"""
