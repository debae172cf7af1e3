"""A client that is gone is no error: whenever its socket is cut, the venue says nothing of it and serves the others."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.adapters.local_kraken.faults import Fault, Switch
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import LocalKraken, serve
from tests.support.local_kraken import HOUR_S, START_T, hourly, write_bars

BUSY_S = 0.1
CLIENTS = 6


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalKraken]:
    """Serve bars; time is stepped."""
    write_bars(tmp_path / "1h/XBTUSD.parquet", hourly(120))
    market = LocalMarket.open([tmp_path], seed=2, start_ns=(START_T + 60 * HOUR_S) * NS)
    with serve(market) as running:
        yield running


def request(line: str, *more: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: 127.0.0.1", *more, "", ""]).encode() + body


UPGRADE = request(
    "GET /v2 HTTP/1.1",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)
ADVANCE = b'{"by_s": 3600}'
MOMENTS = {
    "handshake": UPGRADE,
    "REST answer": request("GET /0/public/OHLC?pair=XBTUSD&interval=60 HTTP/1.1"),
    "control answer": request("GET /control/now HTTP/1.1"),
    "half a command": request(
        "POST /control/advance HTTP/1.1", "Content-Type: application/json", "Content-Length: 500", body=ADVANCE
    ),
    "half a head": b"GET /0/public/Time HTT",
}


def connect(local: LocalKraken) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(local.url.rpartition(":")[2])), timeout=5)


def cut(client: socket.socket) -> None:
    """Close with a reset, as a killed process with unread data does."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def while_busy(local: LocalKraken, act: Callable[[], None]) -> None:
    """Do something while the venue's loop is held, so that request and reset arrive together."""
    local._loop.call_soon_threadsafe(time.sleep, BUSY_S)
    time.sleep(BUSY_S / 4)
    act()


def settle(local: LocalKraken) -> None:
    """Return when the venue has taken note of every client that left, and still answers."""
    for _ in range(200):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), local._loop).result(5)
        if not local.venue.hub.connections:
            break
        time.sleep(0.01)
    assert not local.venue.hub.connections
    with urllib.request.urlopen(local.url + "/0/public/Time", timeout=5) as answer:  # noqa: S310  loopback
        assert not json.load(answer)["error"]


def silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> bool:
    """Return whether neither the log (from INFO on) nor stderr has a word; show it if they do."""
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert (told, capfd.readouterr().err) == ([], "")
    return True


def subscribed(local: LocalKraken) -> socket.socket:
    """Return a client that follows trades and book over a handshake of its own."""
    client = connect(local)
    client.sendall(UPGRADE)
    assert client.recv(4_096).startswith(b"HTTP/1.1 101")
    for channel in ("trade", "book"):
        body = json.dumps({"method": "subscribe", "params": {"channel": channel, "symbol": ["BTC/USD"]}}).encode()
        mask = os.urandom(4)
        client.sendall(bytes([0x81, 0x80 | len(body)]) + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(body)))
    while len([t for each in local.venue.hub.connections for t in each.topics]) < 2:
        time.sleep(0.005)
    return client


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_cut_off_is_no_error(
    local: LocalKraken, moment: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def leave() -> None:
        for _ in range(CLIENTS):
            client = connect(local)
            client.sendall(MOMENTS[moment])
            cut(client)

    with caplog.at_level(logging.DEBUG):
        while_busy(local, leave)
        settle(local)
    assert silent(caplog, capfd)


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER_HEADERS, Fault.TRUNCATED_JSON, Fault.EMPTY_BODY])
def test_a_client_cut_off_from_a_faulty_answer_is_no_error(
    local: LocalKraken, fault: Fault, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    local.venue.faults.add(Switch(fault, next_n=CLIENTS, place="OHLC"))

    def leave() -> None:
        for _ in range(CLIENTS):
            client = connect(local)
            client.sendall(MOMENTS["REST answer"])
            cut(client)

    with caplog.at_level(logging.DEBUG):
        while_busy(local, leave)
        local.venue.faults.clear()
        settle(local)
    assert silent(caplog, capfd)


def test_a_client_cut_off_in_a_step_is_no_error(
    local: LocalKraken, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        for step in range(1, 4):
            client = subscribed(local)
            while_busy(local, lambda client=client: cut(client))  # type: ignore[misc]  # bound now
            local.advance((START_T + 60 * HOUR_S + step * 600) * NS)
            settle(local)
    assert silent(caplog, capfd)


def test_what_goes_wrong_while_the_client_is_there_is_still_told(
    local: LocalKraken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise ConnectionError("planted")

    monkeypatch.setattr(local.venue.rest, "answer", break_down)
    with connect(local) as client:
        client.sendall(MOMENTS["REST answer"])
        assert client.recv(100).startswith(b"HTTP/1.1 500")
    assert "Error handling request" in caplog.text
