"""A JSON server on a free loopback port, with faults switched on for its next answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

HANG_S = 0.4
"""Longer than the patience of a client under test, short enough for a test."""


@dataclass(frozen=True)
class Fault:
    """What happens to one answer.

    Attributes:
        status: replaces the answer; 0 = none.
        headers: added, such as Retry-After.
        cut: only half of the body is sent, as a body of its own.
        broken: the connection ends in the middle of the body.
        hang: the answer comes too late.
        change: makes another body of the right one.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    broken: bool = False
    hang: bool = False
    change: Callable[[object], object] | None = None


class Service(Protocol):
    """What is served."""

    url: str
    faults: list[Fault]
    paths: list[str]

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], object]:
        """Return status, headers and body of a request."""
        ...


@contextmanager
def serve_json(service: Service) -> Iterator[None]:
    """Serve it; `service.url` is its base address."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet: two would wait for each other (delayed acknowledgement)

        def do_GET(self) -> None:
            service.paths.append(self.path)
            status, headers, body = service.answer(self.path, {k.lower(): v for k, v in self.headers.items()})
            fault = service.faults.pop(0) if service.faults else Fault()
            if fault.hang:
                over.wait(HANG_S)
            if fault.status:
                status, body = fault.status, {"message": "a planted fault"}
            if fault.change is not None:
                body = fault.change(body)
            content = json.dumps(body).encode()
            sent = content[: len(content) // 2] if fault.cut or fault.broken else content
            try:
                self.send_response_only(status)  # without a Date of its own: a service may tell a virtual time
                for name, value in (headers | fault.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content) if fault.broken else len(sent)))
                self.end_headers()
                self.wfile.write(sent)
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):  # the client lost its patience, as it should
                pass
            self.close_connection = fault.broken or fault.hang

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
