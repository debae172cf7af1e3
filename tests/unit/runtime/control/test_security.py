"""Sessions end, secrets are compared whole, failures are counted, and only one address counts as ours."""

from __future__ import annotations

import pytest

from runtime.control.security import COOKIE, Failures, Place, Sessions, cookie_of, same_secret
from runtime.control.settings import ControlSettings
from tests.support.control import TOKEN, Wall

SETTINGS = ControlSettings(session_idle_t=600, session_max_t=3_600, sessions_max_n=3, failures_max_n=4)


def sessions() -> tuple[Sessions, Wall]:
    wall = Wall()
    return Sessions(TOKEN, wall.now_t, SETTINGS), wall


def test_a_session_ends_when_it_is_not_used() -> None:
    table, wall = sessions()
    opened = table.open()
    for _ in range(5):
        wall.at_t += 599
        assert table.of_cookie(opened.cookie) is not None
    wall.at_t += 600
    assert table.of_cookie(opened.cookie) is None


def test_a_session_ends_however_much_it_is_used() -> None:
    table, wall = sessions()
    opened = table.open()
    assert opened.expires_t == wall.at_t + 3_600
    for _ in range(7):
        wall.at_t += 500
        assert table.of_cookie(opened.cookie) is not None
    wall.at_t += 100
    assert table.of_cookie(opened.cookie) is None


def test_the_longest_unused_session_makes_room() -> None:
    table, wall = sessions()
    opened = [table.open() for _ in range(3)]
    wall.at_t += 1
    assert table.of_cookie(opened[0].cookie) is not None
    table.open()
    assert table.of_cookie(opened[1].cookie) is None
    assert table.of_cookie(opened[0].cookie) is not None


def test_sessions_share_nothing() -> None:
    table, _ = sessions()
    a, b = table.open(), table.open()
    assert len({a.cookie, a.csrf, b.cookie, b.csrf, TOKEN}) == 5
    assert min(len(a.cookie), len(a.csrf)) >= 43, "256 bits"
    callers = [table.of_cookie(a.cookie), table.of_cookie(b.cookie)]
    assert callers[0] is not None
    assert callers[1] is not None
    assert callers[0].actor != callers[1].actor
    assert callers[0].actor.startswith("operator:")
    assert a.cookie not in repr(vars(table)), "what is kept must not open anything"


def test_only_the_whole_launch_token_opens() -> None:
    table, _ = sessions()
    assert table.opens(TOKEN)
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\ud800"):
        assert not table.opens(wrong)
        assert not same_secret(wrong, TOKEN)


def test_failures_are_counted_by_the_minute() -> None:
    wall = Wall()
    failures = Failures(wall.now_t, 4)
    assert [failures.too_many() for _ in range(6)] == [False, False, False, False, True, True]
    wall.at_t += 60
    assert not failures.too_many()


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:80", "[::1]:80", "LOCALHOST:80"])
def test_our_addresses_are_ours(host: str) -> None:
    assert Place(80).fault([host], [f"http://{host}".lower()], ["same-origin"]) == ""


@pytest.mark.parametrize(
    ("hosts", "origins", "sites"),
    [
        (["evil.example:80"], [], []),
        (["127.0.0.1"], [], []),
        (["127.0.0.1:81"], [], []),
        (["127.0.0.1.evil.example:80"], [], []),
        (["0.0.0.0:80"], [], []),
        ([], [], []),
        (["localhost:80", "localhost:80"], [], []),
        (["localhost:80"], ["http://evil.example"], []),
        (["localhost:80"], ["http://localhost:81"], []),
        (["localhost:80"], ["https://localhost:80"], []),
        (["localhost:80"], ["null"], []),
        (["localhost:80"], [""], []),
        (["localhost:80"], [], ["cross-site"]),
        (["localhost:80"], [], ["same-site"]),
    ],
)
def test_every_other_place_is_not(hosts: list[str], origins: list[str], sites: list[str]) -> None:
    assert Place(80).fault(hosts, origins, sites)


def test_two_cookies_of_our_name_are_none() -> None:
    assert cookie_of([f"a=b; {COOKIE}=x"]) == "x"
    assert cookie_of([f"{COOKIE}=x; {COOKIE}=y"]) == ""
    assert cookie_of([f"{COOKIE}=x", f"{COOKIE}=x"]) == ""
    assert cookie_of([f"not_{COOKIE}=x"]) == ""
