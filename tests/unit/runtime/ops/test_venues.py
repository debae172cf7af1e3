"""What stands at an address: a local Kraken is asked for its time, nothing else is asked anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from runtime.errors import EnvironmentFailure
from runtime.ops.venues import LocalTime, local_time


@pytest.fixture
def answering() -> Iterator[tuple[str, list[bytes]]]:
    """Yield an address and the list whose last item it answers with."""
    said: list[bytes] = [b"{}"]

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(said[-1])))
            self.end_headers()
            self.wfile.write(said[-1])

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", said
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_local_kraken_tells_its_time(answering: tuple[str, list[bytes]]) -> None:
    url, said = answering
    said.append(b'{"now_ns": 7, "now": "x", "speed": 0.0}')
    assert local_time(url) == LocalTime(7, 0.0)


@pytest.mark.parametrize("content", [b"", b"no", b"[]", b"{}", b'{"now_ns": null, "speed": 1}'])
def test_what_tells_no_time_is_no_local_kraken(answering: tuple[str, list[bytes]], content: bytes) -> None:
    url, said = answering
    said.append(content)
    with pytest.raises(EnvironmentFailure, match="no local Kraken at"):
        local_time(url)


def test_nobody_there() -> None:
    with pytest.raises(EnvironmentFailure, match="ballast kraken serve"):
        local_time("http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["https://api.kraken.com", "nothing"])
def test_nobody_else_is_asked(url: str) -> None:
    assert local_time(url) is None
