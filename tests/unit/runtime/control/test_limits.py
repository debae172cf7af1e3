"""What a client may take of the process: sizes, times and numbers, each tried on a real socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from runtime.control.guard import DRAIN_BYTES_MAX, DRAIN_S
from runtime.control.settings import ControlSettings
from tests.support.control import FAST, TOKEN, Served, served

HASTY = ControlSettings(**{
    **FAST.model_dump(), "read_s": 0.4, "write_s": 0.4, "keep_alive_s": 1, "connections_max_n": 20, "streams_max_n": 3,
    "heartbeat_s": 0.05,
})  # fmt: skip
KILL = b'{"on": true, "confirm": "HALT"}'


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with little patience."""
    with served(tmp_path_factory.mktemp("hasty"), HASTY, hours=10) as found:
        yield found


def head(api: Served, line: str, *more: str) -> bytes:
    """Return the head of an authenticated request."""
    lines = [line, f"Host: 127.0.0.1:{api.port}", f"Authorization: Bearer {TOKEN}", "Idempotency-Key: limits-0001", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(api: Served) -> socket.socket:
    """Return a connection."""
    return socket.create_connection(("127.0.0.1", api.port), timeout=10)


def closed(s: socket.socket) -> bool:
    """Return whether the server closed a connection."""
    s.settimeout(0.2)
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def narrow(api: Served) -> socket.socket:
    """Return a connection that takes in little at once."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    s.settimeout(10)
    s.connect(("127.0.0.1", api.port))
    return s


def answered(s: socket.socket) -> bytes:
    """Return everything that the server sends until it closes."""
    found = b""
    with suppress(ConnectionResetError):
        while part := s.recv(65_536):
            found += part
    return found


def send_often(s: socket.socket, content: bytes, times: int, pause_s: float) -> None:
    """Send the same again and again."""
    for _ in range(times):
        s.sendall(content)
        time.sleep(pause_s)


def status_of(content: bytes) -> int:
    """Return the status of an answer's first line; 0 without one."""
    return int(content.split(b" ", 2)[1]) if content.startswith(b"HTTP/1.1 ") else 0


def test_a_body_that_says_it_is_too_large_is_refused_unread(api: Served) -> None:
    with connect(api) as s:
        s.sendall(head(api, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Content-Length: 65537"))
        assert status_of(answered(s)) == 413


@pytest.mark.parametrize("length", ["99999999999999999999", "-1", "1e3", "0x10"])
def test_no_length_makes_the_server_fail(api: Served, length: str) -> None:
    with connect(api) as s:
        s.sendall(head(api, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", f"Content-Length: {length}"))
        assert status_of(answered(s)) in {400, 413}


def test_a_chunked_body_is_cut_off_at_the_limit(api: Served) -> None:
    with connect(api) as s:
        s.sendall(head(api, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        sent = 0
        with suppress(ConnectionError):
            for _ in range(10_000):
                s.sendall(b"1000\r\n" + b" " * 4_096 + b"\r\n")
                sent += 4_096
        content = answered(s)
        assert sent < 10_000 * 4_096, "the server must not read on for ever"
        assert status_of(content) in {0, 413}  # 0: the reset overtook the answer


@pytest.mark.parametrize(
    ("framing", "kind", "status"),
    [
        ("Content-Length: 5000000", "application/json", 413),
        ("Transfer-Encoding: chunked", "application/json", 413),
        ("Transfer-Encoding: chunked", "text/plain", 415),
    ],
)
def test_who_sends_too_much_first_and_reads_then_sees_why(api: Served, framing: str, kind: str, status: int) -> None:
    """What arrives after the refusal is read and thrown away: closing on unread bytes would reset the answer away."""
    part = b"\r\n".join([b"186a0", b" " * 100_000, b""]) if "chunked" in framing else b" " * 100_000
    with connect(api) as s:
        s.sendall(head(api, "POST /runtime/kill HTTP/1.1", f"Content-Type: {kind}", framing))
        for _ in range(50):
            s.sendall(part)
        s.sendall(b"0\r\n\r\n" if "chunked" in framing else b"")
        content = s.recv(65_536)
        assert status_of(content) == status
        assert s.recv(1) == b"", "and the connection ends, without a reset"


def test_a_refused_client_that_goes_on_for_ever_is_cut_off(api: Served) -> None:
    with connect(api) as s:
        s.sendall(head(api, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Content-Length: 99999999999"))
        with pytest.raises(ConnectionError):
            send_often(s, b" " * 65_536, 10 * DRAIN_BYTES_MAX // 65_536, 0)


def test_a_refused_client_that_trickles_gets_no_more_time(api: Served, hasty: Served) -> None:
    for served_by, most_s in ((api, DRAIN_S + 1.5), (hasty, HASTY.read_s + 0.5)):
        with connect(served_by) as s:
            s.sendall(
                head(served_by, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Content-Length: 9999999")
            )
            started = time.monotonic()
            with pytest.raises(ConnectionError):
                send_often(s, b" ", 1_000, 0.02)
            assert time.monotonic() - started < most_s


def test_a_chunked_body_within_the_limit_is_a_body(api: Served) -> None:
    with connect(api) as s:
        s.sendall(
            head(
                api,
                "POST /runtime/kill HTTP/1.1",
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
                "Connection: close",
            )
        )
        s.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(KILL), KILL))
        assert status_of(answered(s)) == 200
    assert api.post("/runtime/kill", {"on": False, "confirm": "RELEASE"}, "limits-0002").status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_a_page_is_no_command(api: Served, kind: str) -> None:
    assert api.ask("POST", "/runtime/kill", KILL, {"Content-Type": kind, "Idempotency-Key": "limits-0003"}).status == 415


def test_a_read_has_no_body(api: Served) -> None:
    assert api.ask("GET", "/runtime/status", {"a": 1}).status == 400


def test_a_head_that_is_too_large_is_refused(api: Served) -> None:
    with connect(api) as s:
        s.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert status_of(answered(s)) in {0, 400}


def test_garbage_is_answered_with_400(api: Served) -> None:
    with connect(api) as s:
        s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert status_of(answered(s)) == 400


@pytest.mark.parametrize("part", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_does_not_arrive_ends(hasty: Served, part: bytes) -> None:
    with connect(hasty) as s:
        s.sendall(part)
        started = time.monotonic()
        assert answered(s) == b""
        assert 0.2 < time.monotonic() - started < 5


def test_a_request_that_trickles_in_ends(hasty: Served) -> None:
    """The deadline is for the whole request: a byte now and then does not prolong it."""
    with connect(hasty) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            send_often(s, b"X: y\r\n", 100, 0.05)


def test_a_body_that_does_not_arrive_ends(hasty: Served) -> None:
    with connect(hasty) as s:
        s.sendall(head(hasty, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Content-Length: 100") + b"{")
        assert answered(s) == b""


def test_the_second_request_of_a_connection_has_the_same_deadline(hasty: Served) -> None:
    with connect(hasty) as s:
        s.sendall(head(hasty, "GET /healthz HTTP/1.1"))
        assert s.recv(65_536).startswith(b"HTTP/1.1 200")
        s.sendall(b"GET /heal")
        started = time.monotonic()
        answered(s)
        assert time.monotonic() - started < 5


def test_an_unused_connection_is_closed(hasty: Served) -> None:
    with connect(hasty) as s:
        s.sendall(head(hasty, "GET /healthz HTTP/1.1"))
        assert answered(s).endswith(b'{"status":"ok"}')


def test_a_client_that_never_reads_is_dropped(hasty: Served) -> None:
    """Many large answers are asked for and none is read: the connection ends, and others are served meanwhile."""
    with narrow(hasty) as s:
        with pytest.raises(ConnectionError):
            send_often(s, head(hasty, "GET /openapi.json HTTP/1.1"), 2_000, 0.005)
        assert hasty.ask("GET", "/healthz").status == 200


def test_a_client_that_pauses_gets_everything(hasty: Served) -> None:
    """Answers that do not fit into buffers wait for the client, as long as it goes on in time."""
    times = 30
    with narrow(hasty) as s:
        s.sendall(head(hasty, "GET /openapi.json HTTP/1.1") * times)
        time.sleep(0.25)
        found = b""
        while found.count(b"HTTP/1.1 200 OK") < times or not found.endswith(b"}"):
            part = s.recv(1 << 20)
            assert part, "closed before everything was sent"
            found += part
    assert len(found) > 1_000_000


def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_failure(hasty: Served) -> None:
    before = hasty.desk.view
    with connect(hasty) as s:
        s.sendall(head(hasty, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Content-Length: 100") + KILL)
    with connect(hasty) as s:
        s.sendall(head(hasty, "POST /runtime/kill HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        s.sendall(b"%x\r\n%s\r\n" % (len(KILL), KILL))
    assert hasty.ask("GET", "/healthz").status == 200
    assert hasty.desk.view is before, "half a request must do nothing"


def test_connections_beyond_the_limit_are_closed_at_once(hasty: Served) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(hasty)) for _ in range(40)]
        refused = sum(closed(s) for s in held[20:])
        assert refused >= 15
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with suppress(ConnectionError, OSError):
            if hasty.ask("GET", "/healthz").status == 200:
                return
    pytest.fail("the server did not recover")


def test_event_streams_beyond_the_limit_are_refused(hasty: Served) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            s = stack.enter_context(connect(hasty))
            s.sendall(head(hasty, "GET /events HTTP/1.1"))
            assert b"event: head" in _until(s, b"event: head")
        full = hasty.ask("GET", "/events")
        assert (full.status, full.headers["retry-after"]) == (503, "5")
    for _ in range(50):  # who leaves makes room, at the next heartbeat at the latest
        with connect(hasty) as s:
            s.sendall(head(hasty, "GET /events HTTP/1.1"))
            if s.recv(65_536).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.05)
    pytest.fail("closed streams are still counted")


def _until(s: socket.socket, what: bytes) -> bytes:
    found = b""
    while what not in found:
        part = s.recv(65_536)
        assert part, found
        found += part
    return found
