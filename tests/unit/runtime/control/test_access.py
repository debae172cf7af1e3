"""Who may call, from where, and how: against the real server, on a socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from runtime.control.security import COOKIE
from runtime.control.settings import ControlSettings
from tests.support.control import FAST, TOKEN, Answer, Served, served

READS = ("/runtime/status", "/portfolio/summary", "/decisions/timeline", "/metrics", "/openapi.json", "/events", "/nowhere")
KILL = {"on": True, "confirm": "HALT", "reason": "a test"}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with room for three failures."""
    with served(
        tmp_path_factory.mktemp("strict"), ControlSettings(**{**FAST.model_dump(), "failures_max_n": 3}), hours=10
    ) as s:
        yield s


def session(api: Served) -> tuple[str, str]:
    """Open a session; return its Cookie header and its CSRF token."""
    answer = api.ask("POST", "/session", {"launch_token": TOKEN}, bearer=False)
    assert answer.status == 200
    return answer.headers["set-cookie"].partition(";")[0], str(answer.json()["csrf"])


@pytest.mark.parametrize("path", READS)
def test_nothing_but_health_answers_strangers(api: Served, path: str) -> None:
    answer = api.ask("GET", path, bearer=False)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert api.ask("GET", "/healthz", bearer=False).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path", ["/runtime/start", "/runtime/stop", "/runtime/kill", "/risk/profile/update", "/bundle/activate"]
)
def test_no_stranger_writes(api: Served, path: str) -> None:
    before = api.desk.view
    answer = api.ask("POST", path, KILL, {"Idempotency-Key": "stranger-1"}, bearer=False)
    assert answer.status == 401
    assert api.desk.view is before


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}x", "Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}"])
def test_a_wrong_token_opens_nothing(strict: Served, value: str) -> None:
    strict.desk.wall.at_t += 60
    assert strict.ask("GET", "/runtime/status", headers={"Authorization": value}).status == 401


def test_the_scheme_may_be_written_in_any_case(api: Served) -> None:
    assert api.ask("GET", "/runtime/status", headers={"Authorization": f"bearer  {TOKEN}"}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}"]
)
@pytest.mark.parametrize("path", ["/runtime/status", "/events", "/healthz"])
def test_another_host_is_refused_whatever_it_knows(api: Served, host: str, path: str) -> None:
    """A page of a name that was rebound to this address reaches the socket, but not the desk."""
    assert api.ask("GET", path, headers={"Host": host.format(port=api.port)}).status == 403


def test_our_names_are_let_in(api: Served) -> None:
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert api.ask("GET", "/runtime/status", headers={"Host": f"{name}:{api.port}"}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
@pytest.mark.parametrize("path", ["/runtime/status", "/events"])
def test_a_foreign_page_is_refused(api: Served, origin: str, path: str) -> None:
    answer = api.ask("GET", path, headers={"Origin": origin.format(port=api.port)})
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_preflight_of_a_foreign_page_is_refused(api: Served) -> None:
    answer = api.ask(
        "OPTIONS", "/runtime/kill", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert answer.status == 403
    assert api.ask("GET", "/runtime/status", headers={"Sec-Fetch-Site": "same-site"}).status == 403


def test_our_own_page_gets_no_cors_headers_either(api: Served) -> None:
    answer = api.ask("GET", "/runtime/status", headers={"Origin": api.server.url})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/healthz", "/runtime/status", "/nowhere", "/decisions/0"])
def test_every_answer_forbids_a_browser_everything(api: Served, path: str) -> None:
    headers = api.ask("GET", path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_the_cookie_is_for_this_site_alone_and_no_script(api: Served) -> None:
    answer = api.ask("POST", "/session", {"launch_token": TOKEN}, bearer=False)
    name, *attributes = [part.strip().lower() for part in answer.headers["set-cookie"].split(";")]
    assert name.startswith(f"{COOKIE}=")
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "path=/" in attributes
    assert not [part for part in attributes if part.startswith("domain")]
    assert set(answer.json()) == {"csrf", "expires_t", "idle_t"}


def test_a_session_reads_with_its_cookie_and_writes_with_its_csrf_token_too(api: Served) -> None:
    cookie, csrf = session(api)
    _, other = session(api)
    assert api.ask("GET", "/runtime/status", headers={"Cookie": cookie}, bearer=False).status == 200
    for token in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": other}, {"X-CSRF-Token": csrf[:-1]}):
        headers = {"Cookie": cookie, "Idempotency-Key": "csrf-0000", **token}
        assert api.ask("POST", "/runtime/kill", KILL, headers, bearer=False).status == 403
    assert api.get("/portfolio/summary")["switches"]["kill_on"] is False  # type: ignore[index]
    headers = {"Cookie": cookie, "X-CSRF-Token": csrf, "Idempotency-Key": "csrf-0001"}
    assert api.ask("POST", "/runtime/kill", KILL, headers, bearer=False).status == 200
    note = api.desk.reader.notes(1)[0]
    assert note.actor.startswith("operator:")
    assert note.command_id == "csrf-0001"
    assert api.post("/runtime/kill", {"on": False, "confirm": "RELEASE"}, "csrf-0002").status == 200
    assert api.desk.reader.notes(1)[0].actor == "cli"


def test_a_session_that_ended_opens_nothing(api: Served) -> None:
    cookie, _ = session(api)
    api.desk.wall.at_t += 1_800
    assert api.ask("GET", "/runtime/status", headers={"Cookie": cookie}, bearer=False).status == 401
    assert api.ask("GET", "/runtime/status", headers={"Cookie": f"{COOKIE}=made-up"}, bearer=False).status == 401


def test_too_many_failures_are_told_so_and_lock_nobody_out(strict: Served) -> None:
    strict.desk.wall.at_t += 60
    wrong = {"launch_token": "x" * 43}
    answers = [strict.ask("POST", "/session", wrong, bearer=False).status for _ in range(3)]
    assert answers == [401, 401, 401]
    late = strict.ask("POST", "/session", wrong, bearer=False)
    assert (late.status, late.headers["retry-after"]) == (429, "60")
    assert strict.ask("GET", "/runtime/status", headers={"Authorization": "Bearer x"}).status == 429
    assert strict.ask("GET", "/runtime/status").status == 200, "the kill switch must stay in reach"
    assert strict.ask("POST", "/session", {"launch_token": TOKEN}, bearer=False).status == 200
    strict.desk.wall.at_t += 61
    assert strict.ask("POST", "/session", wrong, bearer=False).status == 401


@pytest.mark.parametrize(
    "request_line", [b"GET http://127.0.0.1/runtime/status HTTP/1.1", b"GET * HTTP/1.1", b"CONNECT a:1 HTTP/1.1"]
)
def test_a_target_that_is_no_path_is_refused(api: Served, request_line: bytes) -> None:
    lines = [request_line, f"Host: 127.0.0.1:{api.port}".encode(), f"Authorization: Bearer {TOKEN}".encode(), b"", b""]
    assert raw(api, b"\r\n".join(lines)).status in {400, 403, 404, 415}


def test_a_request_without_a_host_is_refused(api: Served) -> None:
    assert raw(api, b"GET /runtime/status HTTP/1.1\r\n\r\n").status == 400
    assert raw(api, b"GET /runtime/status HTTP/1.0\r\n\r\n").status == 403


def test_a_websocket_finds_nobody(api: Served) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="}
    assert api.ask("GET", "/events-ws", headers=upgrade).status == 404


def raw(api: Served, content: bytes) -> Answer:
    """Send bytes and return the answer."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as s:
        s.sendall(content)
        answer = http.client.HTTPResponse(s)
        answer.begin()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
