"""The checks before every request, case by case."""

from __future__ import annotations

import pytest

from reports.dashboards import door as doors
from reports.dashboards.door import Door

HOST = "127.0.0.1:5000"
ORIGIN = f"http://{HOST}"


@pytest.fixture
def door() -> Door:
    return Door(5000)


def headers(door: Door, **changes: str | None) -> dict[str, str]:
    """Return the headers of a request that may pass, with changes; `None` leaves one out."""
    session = door.enter(door.token)
    found: dict[str, str | None] = {"Host": HOST, "Cookie": f"other=1; {door.cookie}={session}", "Origin": ORIGIN}
    found |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in found.items() if value is not None}


def status(door: Door, method: str = "GET", path: str = "/overview", **changes: str | None) -> int:
    found = door.refusal(method, path, headers(door, **changes))
    return found[0] if found else 200


def test_who_passes(door: Door) -> None:
    assert status(door) == 200
    assert status(door, Origin=None) == 200
    assert status(door, Host="localhost:5000", Origin="http://localhost:5000") == 200
    assert status(door, "POST", "/halt") == 200
    assert status(door, Upgrade="websocket") == 200
    assert status(door, path="/login", Cookie=None, Sec_Fetch_Site="cross-site") == 200


@pytest.mark.parametrize(
    ("code", "method", "changes"),
    [
        (421, "GET", {"Host": "evil.example"}), (421, "GET", {"Host": "127.0.0.1"}), (421, "GET", {"Host": "127.0.0.1:5001"}),
        (421, "GET", {"Host": None}), (403, "GET", {"Origin": "http://evil.example"}), (403, "GET", {"Origin": "null"}),
        (403, "GET", {"Origin": "https://127.0.0.1:5000"}), (403, "POST", {"Origin": None}), (403, "GET", {"Origin": None, "Upgrade": "WebSocket"}),
        (401, "GET", {"Cookie": None}), (401, "GET", {"Cookie": "ballast_dashboard_5000=guess"}), (401, "GET", {"Cookie": "a=\x00;;=;"}),
        (403, "GET", {"Sec_Fetch_Site": "same-site"}), (405, "DELETE", {}), (405, "OPTIONS", {}),
    ],
)  # fmt: skip
def test_who_does_not(door: Door, code: int, method: str, changes: dict[str, str | None]) -> None:
    assert status(door, method, **changes) == code


def test_the_login_path_takes_no_socket_and_no_form(door: Door) -> None:
    assert status(door, path="/login", Cookie=None, Upgrade="websocket") == 401
    assert status(door, "POST", "/login", Cookie=None) == 401


def test_a_session_ends_when_it_is_not_used(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    session = door.enter(door.token)
    cookies = f"{door.cookie}={session}"
    assert door.session(cookies) == session
    now_s = doors.time.monotonic()
    monkeypatch.setattr(doors.time, "monotonic", lambda: now_s + doors.IDLE_S + 1)
    assert door.session(cookies) is None


def test_only_the_token_opens_a_session_and_the_oldest_makes_room(door: Door) -> None:
    assert door.enter("") is None
    assert door.enter(door.token + "x") is None
    assert door.enter("\u00e9") is None
    first = door.enter(door.token)
    others = [door.enter(door.token) for _ in range(doors.SESSIONS_MAX)]
    assert door.session(f"{door.cookie}={first}") is None
    assert door.session(f"{door.cookie}={others[-1]}") == others[-1]


def test_a_form_belongs_to_one_session(door: Door) -> None:
    one, other = door.enter(door.token), door.enter(door.token)
    assert one is not None
    assert other is not None
    assert door.same_csrf(one, door.csrf(one))
    assert not door.same_csrf(one, door.csrf(other))
    assert not door.same_csrf(one, "\u00e9")


def test_no_text_shows_a_secret(door: Door) -> None:
    assert door.token not in repr(door)
