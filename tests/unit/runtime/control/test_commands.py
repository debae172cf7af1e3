"""Every write is a journaled event with its actor, carried out once, and answered when its block is durable."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.control.app import Sources
from runtime.control.profile_updates import Updates
from runtime.control.server import ControlServer
from runtime.control.settings import ControlSettings
from runtime.control.write_models import ProfileUpdate
from runtime.core import codes as c
from runtime.errors import InvariantError
from runtime.event import Event
from runtime.policy import PRESETS, ProfileVersion, RiskProfile
from runtime.profiles.leaves import change
from runtime.profiles.store import append_version, find_version, origin_of, versions
from runtime.trading.commands import Receipt
from tests.support.control import FAST, TOKEN, Answer, Served, Wall, next_profile, served

KILL = {"on": True, "confirm": "HALT", "reason": "smoke in the room"}
RELEASE = {"on": False, "confirm": "RELEASE", "reason": "aired"}


@pytest.fixture
def own(tmp_path: Any) -> Iterator[Served]:
    """Serve a small desk for one test."""
    with served(tmp_path, ControlSettings(**{**FAST.model_dump(), "receipt_s": 0.3}), hours=10) as found:
        yield found


def last_event(api: Served) -> Event:
    """Return the last journaled event, read from the file."""
    journal = SqliteJournal.open(api.desk.run_dir / JOURNAL_NAME)
    try:
        (block,) = journal.read(journal.head().seq_n)
        return Event.decode(block.inputs)
    finally:
        journal.close()


def test_the_kill_switch_is_an_event_with_actor_and_reason(api: Served) -> None:
    answer = api.post("/runtime/kill", KILL, "kill-0001")
    assert answer.status == 200
    receipt, event = answer.json(), last_event(api)
    note = event.note_of()
    assert note is not None
    assert (event.kind_id, int(event.record[0]["instrument_id"])) == (c.EV_CONTROL, c.SWITCH_KILL)
    assert (note.actor, note.reason, note.command_id) == ("cli", "smoke in the room", "kill-0001")
    assert receipt == {
        **receipt,
        "accepted": True,
        "command_id": "kill-0001",
        "seq_n": api.get("/runtime/status")["head"]["seq_n"],
    }  # type: ignore[index]
    assert api.get("/portfolio/summary")["switches"] == {"kill_on": True, "kill_id": 1, "kill": "operator", "halt_on": False}
    assert api.post("/runtime/kill", RELEASE, "kill-0002").status == 200
    assert api.get("/runtime/status")["switches"]["kill"] == "off"  # type: ignore[index]


def test_the_same_key_is_carried_out_once(api: Served) -> None:
    first = api.post("/runtime/kill", KILL, "once-0001")
    head = api.get("/runtime/status")["head"]
    assert api.post("/runtime/kill", KILL, "once-0001").json() == first.json()
    assert api.get("/runtime/status")["head"] == head
    for path, body in (("/runtime/kill", RELEASE), ("/runtime/kill", {**KILL, "reason": "another"}), ("/runtime/stop", {})):
        other = api.post(path, body, "once-0001")
        assert other.status == 409
        assert "for another request" in str(other.json()["got"])
    assert api.get("/runtime/status")["head"] == head
    assert api.post("/runtime/kill", RELEASE, "once-0002").status == 200


@pytest.mark.parametrize("key", [None, "", "short", "x" * 65, "with space", "semi;colon"])
def test_a_command_needs_a_key(api: Served, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = api.ask("POST", "/runtime/kill", KILL, headers)
    assert answer.status == 422
    assert "Idempotency-Key" in str(answer.json()["got"])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/runtime/kill", {"on": True, "confirm": "RELEASE"}, 'confirm must be "HALT"'),
        ("/runtime/kill", {"on": False, "confirm": "HALT"}, 'confirm must be "HALT"'),
        ("/runtime/kill", {"on": True}, "confirm: Field required"),
        ("/runtime/kill", {"on": 1, "confirm": "HALT"}, "on: Input should be a valid boolean"),
        ("/runtime/kill", {**KILL, "more": 1}, "more: Extra inputs are not permitted"),
        ("/runtime/stop", {"reason": "two\nlines"}, "reason: String should match"),
        ("/runtime/stop", {"reason": "turned \u202e around"}, "reason: String should match"),
        ("/runtime/stop", {"reason": "x" * 501}, "reason: String should have at most 500"),
        ("/runtime/stop", b'{"reason": "\\ud800"}', "Invalid JSON"),
        ("/runtime/stop", [], "Input should be an object"),
        ("/runtime/stop", b"", "Invalid JSON"),
        ("/runtime/stop", b"{", "Invalid JSON"),
        ("/runtime/stop", b"[" * 60_000, "Invalid JSON"),
        ("/runtime/stop", b'{"reason": ' + b"9" * 60_000 + b"}", "Invalid JSON: number out of range"),
        ("/runtime/stop", b"\xff\xfe", "Invalid JSON"),
        ("/bundle/activate", {"bundle_hash": "../../etc/passwd"}, "bundle_hash: String should match"),
    ],
)
def test_a_malformed_command_does_nothing_and_says_why(api: Served, path: str, body: object, said: str) -> None:
    head = api.get("/runtime/status")["head"]
    answer = api.post(path, body, "malformed-1")
    assert answer.status == 422, answer
    assert said in str(answer.json()["got"])
    assert api.get("/runtime/status")["head"] == head


def test_trading_stops_and_starts_while_the_api_goes_on(api: Served) -> None:
    assert api.post("/runtime/stop", {"reason": "lunch"}, "stop-0001").status == 200
    assert last_event(api).kind_id == c.EV_SESSION
    assert api.get("/runtime/status")["state"] == "stopped"
    refused = api.post("/runtime/stop", {}, "stop-0002")
    assert refused.status == 409
    found = refused.json()
    assert found["got"] == "trading is stopped already"
    assert found["receipt"]["accepted"] is False  # type: ignore[index]
    assert api.post("/runtime/start", {}, "start-0001").status == 200
    assert api.get("/runtime/status")["state"] == "running"


def test_a_profile_update_is_validated_versioned_and_in_force(own: Served) -> None:
    view = own.desk.view
    assert view is not None
    body = {"profile": next_profile(view.profile, total_cap_ppm=150_000), "note": "less", "base_digest": view.profile.digest}
    answer = own.post("/risk/profile/update", body, "update-0001")
    assert answer.status == 200, answer
    note = last_event(own).note_of()
    assert note is not None
    assert note.profile is not None
    made = note.profile
    assert (made.profile.name, made.profile.version, made.note) == ("mine", 1, "less")
    assert made.profile.created_t >= own.desk.wall.at_t
    assert made.derived_from == f"{view.profile.name}@{view.profile.version}"
    assert made.entry_digest == made.computed_digest()
    summary: dict[str, Any] = own.get("/portfolio/summary")
    assert summary["total"]["cap_ppm"] == 150_000
    current = own.get("/risk/profile")["current"]
    assert current["policy_digest"] == made.policy_digest  # type: ignore[index]

    repeated = own.post("/risk/profile/update", body, "update-0001")
    assert repeated.json() == answer.json(), "the same key answers the same, though its base is no longer in force"
    stale = own.post("/risk/profile/update", body, "update-0002")
    assert stale.status == 409
    assert "is in force: look at it first" in str(stale.json()["got"])

    body = {
        "profile": next_profile(made.profile, total_cap_ppm=140_000),
        "note": "still less",
        "base_digest": made.policy_digest,
    }
    assert own.post("/risk/profile/update", body, "update-0003").status == 200
    second = last_event(own).note_of()
    assert second is not None
    assert second.profile is not None
    assert (second.profile.profile.version, second.profile.previous_digest) == (2, made.entry_digest)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"total_cap_ppm": 1_000_001}, "profile.total_cap_ppm: Input should be less than or equal to 1000000, got 1000001"),
        ({"total_cap_ppm": -1}, "profile.total_cap_ppm: Input should be greater than or equal to 0, got -1"),
        ({"negative_prob_ppm": 900_000}, "profile: probability cut-offs must rise"),
        ({"total_cap_ppm": 0.5}, "profile.total_cap_ppm: Input should be a valid integer"),
        ({"made_up": 1}, "profile.made_up: Extra inputs are not permitted"),
        ({"name": "conservative"}, "profile.name: 'conservative' is a preset"),
        ({"name": "../x"}, "profile.name: '../x' is no name"),
    ],
)
def test_a_profile_out_of_bounds_is_refused_with_the_first_problem(api: Served, changes: dict[str, object], said: str) -> None:
    view = api.desk.view
    assert view is not None
    body = {"profile": {**next_profile(view.profile), **changes}, "note": "n", "base_digest": view.profile.digest}
    answer = api.post("/risk/profile/update", body, "bounds-0001-" + str(abs(hash(said)))[:10])
    assert answer.status == 422, answer
    assert str(answer.json()["got"]).startswith(said)
    assert api.desk.view is view


def test_the_first_own_profile_continues_its_preset(tmp_path: Path) -> None:
    preset = PRESETS["balanced"]
    wanted = preset.profile.model_copy(update={"name": "mine", "margin_ppm": 3_000})
    update = ProfileUpdate(profile=wanted, note="n", base_digest=preset.policy_digest)
    made = Updates(tmp_path, list, lambda: 5).version("key", update, preset.profile)
    assert made.previous_digest == preset.entry_digest
    assert made.profile.created_t == preset.profile.created_t, "never before the version it continues"


def by(api: Served, version: ProfileVersion, key: str, base: str = "") -> Answer:
    """Ask for a whole version, made from what governs unless told."""
    view = api.desk.view
    assert view is not None
    body = {"version": version.model_dump(mode="json"), "note": "as stored", "base_digest": base or view.profile.digest}
    return api.post("/risk/profile/update", body, key)


def stored(home: Path, name: str, settings: str, origin: str | None = None) -> ProfileVersion:
    """Make the next version of a profile as `ballast policy set` does."""
    start = origin_of(home, name, origin)
    return append_version(home, start, change(start.profile, [settings], "ada", name), "n", Wall())


def head(api: Served) -> object:
    """Return the last durable block."""
    return api.get("/runtime/status")["head"]


def test_a_stored_version_governs_exactly_as_it_is_stored(own: Served) -> None:
    home = own.desk.home
    first, second = stored(home, "mine", "total_cap_ppm=15%", "aggressive"), stored(home, "mine", "total_cap_ppm=14%")
    for n, version in enumerate((first, second, first, PRESETS["balanced"])):  # going back is an act like another
        answer = by(own, version, f"stored-{n:04d}")
        assert answer.status == 200, answer
        named = {"name": version.profile.name, "version": version.profile.version, "policy_digest": version.policy_digest}
        assert answer.json()["profile"] == named
        note = last_event(own).note_of()
        assert note is not None
        assert note.profile == version
        current: Any = own.get("/risk/profile")["current"]
        assert {**current, **named} == current
        before = head(own)
        again = by(own, version, f"again-{n:05d}")
        assert again.status == 409
        assert "governs already: nothing to do" in str(again.json()["got"])
        assert head(own) == before, "no block"
    assert versions(home, "mine") == [first, second]


def test_a_version_that_the_store_does_not_have_never_governs(own: Served) -> None:
    first, before = stored(own.desk.home, "mine", "total_cap_ppm=15%", "aggressive"), head(own)
    changed = first.profile.model_copy(update={"total_cap_ppm": 1_000})
    for n, (version, status, said) in enumerate((
        (ProfileVersion.seal(changed, "n"), 409, "mine@1 of the store is another one"),
        (first.model_copy(update={"note": "altered"}), 409, "mine@1 of the store is another one"),
        (ProfileVersion.seal(changed.model_copy(update={"version": 2}), "n"), 422, "mine@2"),
        (ProfileVersion.seal(changed.model_copy(update={"name": "other"}), "n"), 422, "profile 'other'"),
    )):  # fmt: skip
        answer = by(own, version, f"absent-{n:04d}")
        assert (answer.status, said in str(answer.json()["got"])) == (status, True), answer
    assert "look at it first" in str(by(own, first, "stale-0001", "0" * 64).json()["got"])
    for both in ({}, {"version": first.model_dump(mode="json"), "profile": first.profile.model_dump(mode="json")}):
        answer = own.post("/risk/profile/update", {**both, "note": "n", "base_digest": "0" * 64}, f"both-{len(both):05d}")
        assert "give either version" in str(answer.json()["got"])
    assert head(own) == before
    assert versions(own.desk.home, "mine") == [first]


def test_settings_without_a_version_are_numbered_and_kept_by_the_store(own: Served) -> None:
    home, view = own.desk.home, own.desk.view
    assert view is not None
    stored(home, "mine", "total_cap_ppm=15%", "aggressive")
    second = stored(home, "mine", "total_cap_ppm=14%")

    def free(key: str, base: RiskProfile, **changes: int) -> Answer:
        body = {"profile": next_profile(base, **changes), "note": "by a page", "base_digest": base.digest}
        return own.post("/risk/profile/update", body, key)

    answer = free("free-0001", view.profile, total_cap_ppm=130_000)
    assert answer.status == 200, answer
    third = find_version(home, "mine")
    assert (third.profile.version, third.previous_digest, third.note) == (3, second.entry_digest, "by a page")
    note = last_event(own).note_of()
    assert note is not None
    assert note.profile == third
    assert answer.json()["profile"] == {"name": "mine", "version": 3, "policy_digest": third.policy_digest}
    assert free("free-0001", view.profile, total_cap_ppm=130_000).json() == answer.json()
    before = head(own)
    same = free("free-0002", third.profile)
    assert (same.status, "mine@3 governs by these settings already" in str(same.json()["got"])) == (409, True)
    assert free("free-0003", view.profile, total_cap_ppm=120_000).status == 409, "its base is not in force any more"
    assert (head(own), len(versions(home, "mine"))) == (before, 3), "what is refused makes no version"
    assert stored(home, "mine", "total_cap_ppm=12%").profile.version == 4


def test_a_switch_that_is_off_is_not_released(own: Served) -> None:
    before = head(own)
    answer = own.post("/runtime/kill", RELEASE, "idle-0001")
    assert (answer.status, answer.json()["got"]) == (409, "the kill switch is off already: nothing to release")
    assert head(own) == before
    for n in range(2):
        assert own.post("/runtime/kill", KILL, f"twice-000{n}").status == 200
    assert own.post("/runtime/kill", RELEASE, "idle-0002").status == 200


def test_a_bundle_that_is_not_here_is_refused(api: Served) -> None:
    answer = api.post("/bundle/activate", {"bundle_hash": "cd" * 32}, "bundle-0001")
    assert answer.status == 404
    assert "is not here" in str(answer.json()["got"])


def test_an_outcome_that_is_not_known_is_said_to_be_so(own: Served) -> None:
    own.desk.deaf = True
    answer = own.post("/runtime/kill", KILL, "deaf-0001")
    assert answer.status == 504
    assert answer.json()["kind"] == "unknown-outcome"
    own.desk.deaf = False
    again = own.post("/runtime/kill", KILL, "deaf-0001")
    assert (again.status, again.json()["accepted"]) == (200, True)


def serve_without_a_desk(own: Served, submit: Any, view: Any) -> ControlServer:
    """Serve a second API over the files of a desk."""
    desk = own.desk
    return ControlServer.start(Sources(view, submit, desk.reader, desk.home, desk.run_dir, desk.wall.now_t), TOKEN, FAST)


def test_before_there_is_a_desk_only_health_is_known(own: Served) -> None:
    server = serve_without_a_desk(own, own.desk.submit, lambda: None)
    try:
        starting = Served(own.desk, server)
        assert starting.ask("GET", "/healthz").status == 200
        for method, path, body in (
            ("GET", "/runtime/status", None),
            ("POST", "/runtime/kill", KILL),
            ("GET", "/decisions/1", None),
        ):
            answer = starting.ask(method, path, body, {"Idempotency-Key": "early-0001"})
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert starting.ask("GET", "/metrics").status == 200
    finally:
        server.stop()


@pytest.mark.parametrize("status", [503, 504, 500])
def test_a_desk_that_ended_takes_no_commands(own: Served, status: int) -> None:
    def submit(_: object) -> Future[Receipt]:
        future: Future[Receipt] = Future()
        if status == 503:
            raise RuntimeError("the loop is closed")
        if status == 504:
            future.cancel()
        else:
            future.set_exception(InvariantError("a broken chain", expected="a whole one", action="halt"))
        return future

    server = serve_without_a_desk(own, submit, lambda: own.desk.view)
    try:
        answer = Served(own.desk, server).post("/runtime/kill", KILL, "ended-0001")
    finally:
        server.stop()
    assert answer.status == (503 if status == 500 else status)
