"""The control API in its own thread with its own event loop: what its clients do never delays the trading loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import dataclass, field
from typing import Final

import uvicorn

from runtime.control.app import Sources, create_app, guarded
from runtime.control.protocol import GuardedProtocol
from runtime.control.reads import warm_up
from runtime.control.security import Place, Sessions
from runtime.control.settings import ControlSettings
from runtime.errors import EnvironmentFailure

HOST: Final = "127.0.0.1"
START_S: Final = 30.0
SEND_BYTES: Final = 131_072
"""What the system keeps for a client that does not read; it would let that grow to megabytes for each."""


@dataclass(slots=True)
class ControlServer:
    """A served API.

    Attributes:
        url: where it is.
    """

    url: str
    _server: uvicorn.Server
    _socket: socket.socket
    _thread: threading.Thread
    _stopped: bool = field(default=False)

    @classmethod
    def start(cls, sources: Sources, launch_token: str, settings: ControlSettings | None = None) -> ControlServer:
        """Serve from a new thread; return once it listens.

        Args:
            sources: where answers come from and commands go to.
            launch_token: what opens it; of the endpoint file, at least 32 characters.
            settings: bounds; by default those of `ControlSettings`.

        Raises:
            EnvironmentFailure: the port is taken, or the server does not come up.
        """
        settings = settings or ControlSettings()
        warm_up()  # compiled before anybody waits: compiling takes the interpreter from the trading loop
        listening = _bind(settings.port)
        port = int(listening.getsockname()[1])
        sessions = Sessions(launch_token, sources.now_t, settings)
        app = guarded(create_app(sources, sessions, settings), Place(port), sessions, settings)
        config = uvicorn.Config(
            app, http=GuardedProtocol.bound(settings), ws="none", loop="asyncio", lifespan="on", log_config=None, access_log=False,
            server_header=False, date_header=True, proxy_headers=False, timeout_keep_alive=settings.keep_alive_s,
            h11_max_incomplete_event_size=settings.header_max_bytes, backlog=512, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="control-api", daemon=True)
        thread.start()
        made = cls(f"http://{HOST}:{port}", server, listening, thread)
        if not _came_up(server, thread):
            made.stop()
            raise EnvironmentFailure(
                "the control API does not come up", expected="a listening server", action="look into the log of the daemon"
            )
        return made

    def stop(self, timeout_s: float = 2.0) -> None:
        """End streams and connections, and the thread. Stopping twice is harmless."""
        if self._stopped:
            return
        self._stopped = True
        self._server.should_exit = True
        self._thread.join(timeout_s)
        self._server.force_exit = True  # for what did not end by itself
        self._thread.join(timeout_s)
        self._socket.close()


def _came_up(server: uvicorn.Server, thread: threading.Thread) -> bool:
    pause = threading.Event()
    waited_s = 0.0
    while thread.is_alive() and not server.started and waited_s < START_S:
        pause.wait(0.01)
        waited_s += 0.01
    return server.started


def _bind(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # connections inherit it
        listening.bind((HOST, port))
        listening.listen(512)
    except OSError as e:
        listening.close()
        raise EnvironmentFailure(
            f"cannot listen on {HOST}:{port}: {e.strerror}",
            expected="a free port",
            action="choose another port in the settings, or 0 for a free one",
        ) from e
    listening.setblocking(False)
    return listening
