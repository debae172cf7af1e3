"""Parts of the control API that a socket does not reach easily: eviction, single flight, rare rows, a server that cannot start."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from runtime.adapters.live_reader import Governing, LiveReader, NoteRow
from runtime.control import decisions, reads
from runtime.control.answers import Answers, forever
from runtime.control.app import Sources
from runtime.control.events import Hub
from runtime.control.guard import Refused
from runtime.control.profile_updates import Updates
from runtime.control.server import ControlServer
from runtime.control.settings import ControlSettings
from runtime.control.write_models import ProfileUpdate
from runtime.control.writes import Keys, carry_out
from runtime.core import codes as c
from runtime.errors import DataError, EnvironmentFailure, GateError
from runtime.ops.bundles.manifest import MANIFEST_NAME, parse_manifest
from runtime.policy import ProfileVersion
from runtime.profiles.store import find_version
from runtime.trading.commands import ActivateBundle, Kill, Receipt
from runtime.trading.view import RuntimeView
from tests.support.bundles import make_bundle
from tests.support.control import FAST, TOKEN, Served, next_profile


def test_an_answer_is_made_once_for_all_who_ask() -> None:
    made = 0

    async def make() -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)
        return b"%d" % made

    async def ask() -> None:
        answers = Answers(kept_n=2)
        state = 1

        async def get(key: str) -> bytes:
            return await answers.get(key, f"/{key}", lambda: state, make)

        assert answers.ready("a") is None
        asked = [asyncio.ensure_future(get("a")) for _ in range(200)]
        await asyncio.sleep(0)
        assert answers.ready("a") is None, "under way is not ready"
        assert await asyncio.gather(*asked) == [b"1"] * 200
        assert await get("a") == b"1"
        assert answers.ready("a") == ("/a", b"1")
        state = 2
        assert answers.ready("a") is None, "of another state"
        assert await get("a") == b"2", "another state of the desk, another answer"
        await get("b")
        await get("c")
        assert answers.ready("a") is None
        assert await get("a") == b"5", "the longest unused was forgotten"

    asyncio.run(ask())


def test_a_failure_is_told_to_all_and_not_kept() -> None:
    async def fail() -> bytes:
        await asyncio.sleep(0.01)
        raise DataError("nothing", expected="something", action="wait")

    async def make() -> bytes:
        return b"now"

    async def ask() -> None:
        answers = Answers()
        found = await asyncio.gather(*(answers.get("a", "/a", forever, fail) for _ in range(3)), return_exceptions=True)
        assert [type(e) for e in found] == [DataError] * 3
        assert answers.ready("a") is None
        assert await answers.get("a", "/a", forever, make) == b"now"

    asyncio.run(ask())


def test_a_client_that_leaves_does_not_take_the_answer_from_the_others() -> None:
    async def make() -> bytes:
        await asyncio.sleep(0.05)
        return b"whole"

    async def ask() -> None:
        answers = Answers()
        first = asyncio.create_task(answers.get("a", "/a", forever, make))
        second = asyncio.create_task(answers.get("a", "/a", forever, make))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == b"whole"

    asyncio.run(ask())


def test_old_keys_are_forgotten() -> None:
    keys = Keys(kept_n=2)
    for key in ("a", "b", "c"):
        keys.claim(key, "/p", b"1")
    keys.claim("a", "/p", b"2")
    with pytest.raises(Refused):
        keys.claim("c", "/p", b"2")


@pytest.fixture
def view(api: Served) -> RuntimeView:
    """Return the desk's view."""
    found = api.desk.view
    assert found is not None
    return found


def test_a_view_that_says_nothing_new_wakes_nobody(view: RuntimeView) -> None:
    views: Iterator[RuntimeView | None] = iter([None, view, view, replace(view), replace(view, state="stopped")])
    hub = Hub(lambda: next(views), 1.0, 1.0, 1)

    async def look() -> list[bool]:
        woken = []
        for _ in range(5):
            waiting = hub._changed
            hub.look()
            woken.append(waiting.is_set())
        return woken

    assert asyncio.run(look()) == [False, True, False, False, True]


def test_before_the_first_forecast_there_are_no_predictions(view: RuntimeView) -> None:
    found = reads.predictions(replace(view, forecasts=None, forecast_t=0, feature_digest=b""))
    assert (found.predictions, found.feature_digest) == ((), "")
    assert reads.bundle_ref(view.genesis.bundle).manifest_digest == ""


def test_an_account_without_value_has_no_shares(view: RuntimeView) -> None:
    state = view.state_row.copy()
    state[0]["desk"]["pv_e8"] = 0
    found = reads.summary(replace(view, state_row=state))
    assert (found.total.used_ppm, found.total.cap_e8) == (0, "0")
    assert found.total.filled_ppm == reads.FULL_PPM, "something used of nothing allowed is more than full"


def test_rare_decisions_have_words_too(api: Served, view: RuntimeView) -> None:
    held = next(row for row in api.desk.reader.timeline(None, None, 1_000).rows if row["action_id"] == c.HOLD)
    found = decisions.found(api.desk.reader, held["signal_id"])
    assert decisions.decision(found, view).verdict.endswith("; no order is asked for")
    sold = {**held, "action_id": c.EXIT}
    assert (
        decisions.decision(found._replace(signal=sold, orders=[], forecast=None), view).verdict
        == "EXIT passed; no order was needed"
    )
    assert decisions.decision(found._replace(forecast=None), view).lineage.feature_digest == ""
    refused = {**held, "gate_id": c.G_COST}
    assert decisions.decision(found._replace(signal=refused, risk_events=[]), view).verdict == "HOLD refused by COST"
    with pytest.raises(DataError, match="bundle"):
        decisions.governing_bundle(found._replace(governing=Governing(0, "", 0, "{}")))


def note_of(body: str, kind_id: int = c.EV_POLICY) -> NoteRow:
    """Return a note of the live tables."""
    return NoteRow(1, 1, kind_id, 0, 0, 0, 0, "cli", "", "", body)


def test_a_version_names_the_one_before_it_where_that_is_known(view: RuntimeView, tmp_path: Path) -> None:
    profile = view.profile.model_copy(update={"name": "gone", "version": 3})
    update = ProfileUpdate.model_validate_json(
        json.dumps({"profile": next_profile(profile, margin_ppm=9), "note": "n", "base_digest": profile.digest})
    )
    known, other = ProfileVersion.seal(profile, "n"), ProfileVersion.seal(view.profile, "n")
    for k, (notes, previous) in enumerate((
        ([note_of("{}", c.EV_SESSION), note_of(known.canonical().decode())], known.entry_digest),
        ([note_of(other.canonical().decode())], ""),
        ([note_of("{}")], ""),
        ([], ""),
    )):  # fmt: skip
        home = tmp_path / str(k)
        made = Updates(home, lambda found=notes: found, lambda: 1).version("key", update, profile)  # type: ignore[misc]
        assert (made.profile.version, made.previous_digest, made.derived_from) == (1, previous, "gone@3")
        assert find_version(home, "mine") == made


def test_a_key_that_was_carried_out_before_a_restart_means_what_it_meant(view: RuntimeView, tmp_path: Path) -> None:
    body = {"profile": next_profile(view.profile, margin_ppm=9), "note": "n", "base_digest": "0" * 64}
    update, done = ProfileUpdate.model_validate_json(json.dumps(body)), ProfileVersion.seal(view.profile, "n")
    note = note_of(done.canonical().decode())._replace(command_id="before")
    updates = Updates(tmp_path, lambda: [note], lambda: 1)
    assert updates.version("before", update, view.profile) == done
    with pytest.raises(GateError, match="look at it first"):
        updates.version("another", update, view.profile)
    assert not (tmp_path / "profiles").exists()


def serve(own: Served, submit: object, settings: ControlSettings = FAST) -> ControlServer:
    """Serve another API over the files of a desk."""
    desk = own.desk
    return ControlServer.start(
        Sources(lambda: desk.view, submit, desk.reader, desk.home, desk.run_dir, desk.wall.now_t),
        TOKEN,
        settings,  # type: ignore[arg-type]
    )


def test_a_port_that_is_taken_is_said_to_be(api: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentFailure, match="cannot listen on 127.0.0.1"):
            serve(api, api.desk.submit, ControlSettings(port=taken.getsockname()[1]))


def test_a_server_that_does_not_come_up_is_said_not_to(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        return

    monkeypatch.setattr("uvicorn.Server.serve", fails)
    with pytest.raises(EnvironmentFailure, match="does not come up"):
        serve(api, api.desk.submit)


def test_stopping_twice_is_harmless_and_frees_the_port(api: Served) -> None:
    server = serve(api, api.desk.submit)
    port = int(server.url.rpartition(":")[2])
    server.stop()
    server.stop()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))


def test_a_defect_is_answered_without_its_insides(api: Served) -> None:
    def broken(_: object) -> NoReturn:
        raise KeyError("a secret")

    server = serve(api, broken)
    try:
        answer = Served(api.desk, server).post("/runtime/stop", {}, "broken-0001")
    finally:
        server.stop()
    assert answer.status == 500
    assert answer.json()["kind"] == "invariant"
    assert b"secret" not in answer.body
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_refusal_that_the_desk_raises_is_a_conflict(api: Served) -> None:
    def gated(_: object) -> Future[Receipt]:
        future: Future[Receipt] = Future()
        future.set_exception(GateError("not now", expected="later", action="wait"))
        return future

    server = serve(api, gated)
    try:
        answer = Served(api.desk, server).post("/runtime/stop", {}, "gated-0001")
    finally:
        server.stop()
    assert (answer.status, answer.json()["got"]) == (409, "not now")


def test_tables_that_are_not_there_are_asked_for_again(api: Served, tmp_path: Path) -> None:
    desk = api.desk
    sources = Sources(
        lambda: desk.view, desk.submit, LiveReader(tmp_path / "none.sqlite"), desk.home, desk.run_dir, desk.wall.now_t
    )
    server = ControlServer.start(sources, TOKEN, FAST)
    try:
        answer = Served(desk, server).ask("GET", "/decisions/timeline")
    finally:
        server.stop()
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


def test_a_client_that_leaves_does_not_take_its_command_back() -> None:
    """The request is cancelled; the command stays in the desk's queue, and its receipt can be asked for again."""
    future: Future[Receipt] = Future()

    async def leave() -> None:
        asked = asyncio.create_task(carry_out(Kill(actor="a", command_id="left-0001", on=True), lambda _: future, 5.0))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(leave())
    assert not future.cancelled()


def test_a_bundle_that_is_here_is_activated_by_either_digest(api: Served, tmp_path: Path) -> None:
    asked: list[ActivateBundle] = []

    def take(command: ActivateBundle) -> Future[Receipt]:
        asked.append(command)
        future: Future[Receipt] = Future()
        future.set_result(Receipt(True, 9, 1, "done"))
        return future

    bundle = make_bundle(tmp_path)
    manifest = parse_manifest((bundle / MANIFEST_NAME).read_bytes())
    desk = api.desk
    server = ControlServer.start(
        Sources(lambda: desk.view, take, desk.reader, tmp_path, desk.run_dir, desk.wall.now_t),
        TOKEN,
        FAST,  # type: ignore[arg-type]
    )
    try:
        for n, digest in enumerate((manifest.bundle_hash, manifest.digest)):
            answer = Served(desk, server).post("/bundle/activate", {"bundle_hash": digest, "reason": "better"}, f"activate-{n}")
            assert answer.status == 200, answer
    finally:
        server.stop()
    assert [(command.path, command.reason, command.actor) for command in asked] == [(bundle, "better", "cli")] * 2


def test_a_decision_without_a_forecast_has_no_contributions(api: Served) -> None:
    class Without(LiveReader):
        def decision(self, signal_id: int) -> decisions.Decision | None:
            row = super().decision(signal_id)
            return row and row._replace(forecast=None)

    desk = api.desk
    sources = Sources(
        lambda: desk.view, desk.submit, Without(desk.run_dir / "live.sqlite"), desk.home, desk.run_dir, desk.wall.now_t
    )
    server = ControlServer.start(sources, TOKEN, FAST)
    try:
        answer = Served(desk, server).ask("GET", "/decisions/1/contributions")
    finally:
        server.stop()
    assert (answer.status, answer.json()["got"]) == (404, "decision 1 acted on no forecast")
