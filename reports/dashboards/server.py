"""The dashboards' server: Tornado behind the guard, Panel's pages, and one follower of the control API. Loopback only."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.urls import per_app_patterns
from panel.io.application import build_applications
from panel.io.server import WSHandler
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from reports.dashboards import markup, pages
from reports.dashboards.client import ControlClient
from reports.dashboards.door import Door, Guard
from reports.dashboards.follower import Follower
from reports.dashboards.handlers import Alive, Command, Login, Root, Static, page_handler

ADDRESS: Final = "127.0.0.1"
BODY_BYTES_MAX: Final = 65_536
MESSAGE_BYTES_MAX: Final = 1_000_000
UNUSED_MS: Final = 15_000
CHECK_MS: Final = 5_000
TOKEN_S: Final = 300
FIRST_ANSWER_S: Final = 2.0


async def serve(endpoint: Path, port: int, opened: Callable[[str], None]) -> None:
    """Serve the dashboards until the process is asked to end (SIGTERM) or the task is cancelled (Ctrl-C).

    Args:
        endpoint: path of the daemon's endpoint file; it need not be there yet.
        port: on 127.0.0.1; 0 takes a free one.
        opened: called once with the link that opens a session.

    Raises:
        OSError: the port is taken.
    """
    sockets = bind_sockets(port, ADDRESS)
    door = Door(sockets[0].getsockname()[1])
    async with ControlClient(endpoint) as client:
        follower = Follower(client)
        following = asyncio.create_task(follower.run())
        pages.prepare()
        server, http = _server(pages.Site(follower, client, door))
        http.add_sockets(sockets)
        server.start()
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        for _ in range(int(FIRST_ANSWER_S / 0.05)):  # a page opened at once should show the desk, not a promise of it
            if follower.snapshot is not None or follower.reason != Follower.__dataclass_fields__["reason"].default:
                break
            await asyncio.sleep(0.05)
        opened(f"http://{ADDRESS}:{door.port}/login?token={door.token}")
        try:
            await over.wait()
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            server.stop(wait=False)
            await http.close_all_connections()


def _server(site: pages.Site) -> tuple[BaseServer, HTTPServer]:
    """Return Bokeh's server and the HTTP server in front of it.

    Sessions are signed, their tokens carry no header and only the cookie that names the theme: a token is readable in the page.
    """
    per_app_patterns[:] = [(r"/ws", WSHandler), (r"/?", page_handler(site))]
    shared = {"site": site}
    patterns = [
        (r"/", Root, shared),
        (r"/login", Login, shared),
        (r"/alive", Alive, shared),
        (r"/halt", Command, shared),
        (r"/release", Command, shared),
        (r"/assets/(.*)", Static, {"path": str(markup.ASSETS)}),
    ]
    application = BokehTornado(
        build_applications(pages.applications(site), title="Ballast", location=False, admin=False),
        extra_patterns=patterns,
        extra_websocket_origins=list(site.door.hosts),
        secret_key=secrets.token_urlsafe(32).encode(),
        sign_sessions=True,
        include_headers=[],
        include_cookies=[pages.THEME_COOKIE],
        session_token_expiration=TOKEN_S,
        check_unused_sessions_milliseconds=CHECK_MS,
        unused_session_lifetime_milliseconds=UNUSED_MS,
        websocket_max_message_size_bytes=MESSAGE_BYTES_MAX,
        use_index=False,
    )
    http = HTTPServer(Guard(application, site.door), max_body_size=BODY_BYTES_MAX, max_header_size=BODY_BYTES_MAX)
    return BaseServer(IOLoop.current(), application, http), http
