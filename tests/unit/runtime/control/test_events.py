"""The event stream tells the newest state, whoever was away or slow."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.control import TOKEN, Served


class Stream:
    """A client of the event stream."""

    def __init__(self, api: Served, headers: dict[str, str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", api.port), timeout=10)
        lines = ["GET /events HTTP/1.1", f"Host: 127.0.0.1:{api.port}", *(f"{k}: {v}" for k, v in headers.items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.comments = 0
        status = self.file.readline()
        assert b" 200 " in status, status
        self.headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.partition(b": ")
            self.headers[name.decode().lower()] = value.decode()

    def event(self) -> tuple[str, dict[str, Any]]:
        """Return the id and data of the next event."""
        fields: dict[str, str] = {}
        while True:
            line = self.file.readline()
            assert line, "the stream ended"
            name, _, value = line.decode().strip().partition(": ")
            if line.startswith(b": heartbeat"):
                self.comments += 1
            if name in {"id", "event", "data"}:
                fields[name] = value
            if name == "data":
                assert fields["event"] == "head"
                return fields["id"], json.loads(value)


@contextmanager
def stream(api: Served, **headers: str) -> Iterator[Stream]:
    """Open the event stream."""
    found = Stream(api, {"Authorization": f"Bearer {TOKEN}", **headers})
    try:
        yield found
    finally:
        found.file.close()
        found.socket.close()


def kill(api: Served, key: str, *, on: bool) -> int:
    """Throw or release the kill switch; return its block."""
    answer = api.post("/runtime/kill", {"on": on, "confirm": "HALT" if on else "RELEASE"}, key)
    assert answer.status == 200
    return int(answer.json()["seq_n"])  # type: ignore[call-overload, no-any-return]


def test_a_client_gets_the_present_and_then_every_change(api: Served) -> None:
    view = api.desk.view
    assert view is not None
    with stream(api) as client:
        assert client.headers["content-type"].startswith("text/event-stream")
        assert client.headers["cache-control"] == "no-store"
        event_id, data = client.event()
        assert event_id == str(data["seq_n"]) == str(view.head.seq_n)
        assert (data["after_n"], data["kill_id"]) == (-1, 0)
        assert data["signal_n"] == int(view.state_row[0]["desk"]["signal_n"])
        block = kill(api, "stream-0001", on=True)
        _, data = client.event()
        assert (data["seq_n"], data["after_n"], data["kill_id"]) == (block, view.head.seq_n, 1)
    kill(api, "stream-0002", on=False)


def test_a_client_that_was_away_goes_on_where_it_was(api: Served) -> None:
    with stream(api) as client:
        seen, _ = client.event()
    kill(api, "away-0001", on=True)
    last = kill(api, "away-0002", on=False)
    time.sleep(0.1)  # a look of the hub
    with stream(api, **{"Last-Event-ID": seen}) as client:
        event_id, data = client.event()
        assert (event_id, data["after_n"]) == (str(last), int(seen))


def test_a_last_event_id_that_means_nothing_is_none(api: Served) -> None:
    for value in ("abc", "-5", "1" * 30, "٣"):
        with stream(api, **{"Last-Event-ID": value.encode().decode("latin-1")}) as client:
            assert client.event()[1]["after_n"] == -1


def test_silence_is_filled_with_heartbeats(api: Served) -> None:
    with stream(api) as client:
        client.event()
        for _ in range(2):
            while not client.file.readline().startswith(b": heartbeat"):
                pass


def test_the_stream_of_a_session_ends_with_it(api: Served) -> None:
    answer = api.ask("POST", "/session", {"launch_token": TOKEN}, bearer=False)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    client = Stream(api, {"Cookie": cookie, "Connection": "close"})
    client.event()
    api.desk.wall.at_t += 1_800
    started = time.monotonic()
    while client.file.readline():
        assert time.monotonic() - started < 5, "the stream goes on without its session"
    client.file.close()
    client.socket.close()


def test_a_slow_client_gets_the_newest_state_not_every_one(api: Served) -> None:
    """States are not queued: what a client did not take in in time is replaced by what is."""
    with stream(api) as client:
        first, _ = client.event()
        api.desk.feed(api.desk.events[:8])
        del api.desk.events[:8]
        seen = [client.event()[1]]
        while seen[-1]["seq_n"] < int(first) + 8:
            seen.append(client.event()[1])
        assert [event["after_n"] for event in seen] == [int(first), *(event["seq_n"] for event in seen[:-1])]
