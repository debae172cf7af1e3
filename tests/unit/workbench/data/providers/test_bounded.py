"""Answers without an end, over real sockets."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure
from tests.support.bars import START_T, some_bars
from tests.support.venue_bars import Body, Lie, serve_bars, venue_bars
from workbench.data.providers import web
from workbench.data.providers.bounded import BoundedAdapter
from workbench.data.providers.calls import CallFailure, Cause
from workbench.data.providers.exchange import ExchangeProvider
from workbench.data.providers.kraken import KrakenProvider
from workbench.data.providers.web import Web

OK = b"HTTP/1.1 200 OK\r\n"
NOW_T = START_T + 59 * 3_600 + 1_800


@contextmanager
def serve(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Answer every connection with raw bytes; yields the address."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                answer(connection, over)
            except OSError:  # the client went away, as it should
                return

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(OK + b"\r\n")
    while not over.is_set():
        connection.sendall(b" " * 65_536)


def bomb(connection: socket.socket, _: threading.Event) -> None:
    packed = gzip.compress(b" " * 80_000_000, 9)
    connection.sendall(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)


def packed_twice(connection: socket.socket, _: threading.Event) -> None:
    packed = gzip.compress(gzip.compress(b" " * 1_000_000))
    connection.sendall(OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)


def drip(head: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        while not over.wait(0.02):
            connection.sendall(drop)

    return answer


def error_of(answer: Callable[[socket.socket, threading.Event], None], timeout_s: float = 0.1) -> CallFailure:
    with serve(answer) as url, pytest.raises(CallFailure) as caught:
        Web(url, timeout_s).get("/", {})
    return caught.value


@pytest.mark.parametrize(
    ("answer", "words"),
    [(endless, "more than 2 MiB"), (bomb, "more than 2 MiB"), (packed_twice, "a body packed as 'gzip, gzip'")],
)
def test_an_answer_of_any_size_ends_at_the_limit(
    answer: Callable[[socket.socket, threading.Event], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BoundedAdapter", lambda timeout_s: BoundedAdapter(timeout_s, 2 * 1024**2))
    failure = error_of(answer, timeout_s=5.0)
    assert (failure.cause, failure.detail) == (Cause.FORM, words)


@pytest.mark.parametrize(
    "answer",
    [
        drip(OK + b"\r\n", b" "),
        drip(OK + b"Content-Length: 100000\r\n\r\n", b" "),
        drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drip(b"HTTP/1.1 200", b"O"),
        drip(OK + b"X-Long: ", b"x"),
    ],
    ids=["until the end", "of a length", "in chunks", "status line", "header"],
)
def test_an_answer_of_a_byte_now_and_then_ends_at_the_deadline(
    answer: Callable[[socket.socket, threading.Event], None],
) -> None:
    began_s = time.monotonic()
    failure = error_of(answer)
    assert (failure.cause, failure.detail) == (Cause.TIMEOUT, "no complete answer in 0.4 s")
    assert time.monotonic() - began_s < 5.0


def nested(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(OK + b"Content-Length: 2000000\r\nContent-Type: application/json\r\n\r\n" + b"[" * 2_000_000)


def test_an_answer_nested_without_end_is_of_an_unknown_form() -> None:
    with serve(nested) as url:
        mine = KrakenProvider(url=url, call_interval_ms=0, attempts=2, sleep=lambda _: None)
        through = ExchangeProvider("kraken", url=url, call_interval_ms=0, attempts=2, sleep=lambda _: None)
        for provider in (mine, through):
            with pytest.raises(EnvironmentFailure, match="failed 2 times: answer in an unknown form"):
                provider.series()


def test_ccxt_s_answers_end_too() -> None:
    with serve(drip(OK + b"\r\n", b" ")) as url:
        provider = ExchangeProvider("kraken", url=url, call_interval_ms=0, attempts=2, timeout_s=0.1, sleep=lambda _: None)
        with pytest.raises(EnvironmentFailure, match=r"load_markets failed 2 times: timeout \(no complete answer in 0.4 s\)"):
            provider.series()


def test_rows_of_another_pair_through_ccxt_are_of_an_unknown_form(tmp_path: Path) -> None:
    def other(body: Body) -> object:
        result = body["result"]
        assert isinstance(result, dict)
        return {"error": [], "result": {"XETHZUSD" if k == "XXBTZUSD" else k: v for k, v in result.items()}}

    with serve_bars(tmp_path, {"XBTUSD": venue_bars(len(some_bars(60)))}, now_t=NOW_T) as venue:
        provider = ExchangeProvider("kraken", since_t=START_T, url=venue.url, call_interval_ms=0, sleep=lambda _: None)
        (ref,) = provider.series()
        Lie("OHLC", other, times=99).tell(venue)
        with pytest.raises(EnvironmentFailure, match="unknown form .rows of XETHZUSD instead of XXBTZUSD"):
            list(provider.pages(ref))


def test_a_refused_status_is_no_matter_of_a_symbol() -> None:
    def refused(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with serve(refused) as url, pytest.raises(EnvironmentFailure, match="SystemStatus: request refused") as caught:
        KrakenProvider(url=url, call_interval_ms=0).series()
    assert "check the URL" in caught.value.action
    assert "symbol" not in caught.value.action
