"""The desk against the backtest that gave it its events: same records, and what it refuses leaves it as it was."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from runtime import event as ev
from runtime.adapters.journal_memory import MemoryJournal
from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.desk import Desk, Frozen
from runtime.engine import RunInputs, iterate_blocks
from runtime.errors import InvariantError, VerificationError
from runtime.event import Event, Note
from runtime.policy import PRESETS, ProfileVersion, RiskProfile
from runtime.verify import BadBlock, ChainVerifier, JournaledForecasts
from tests.support.paper import clerk, events_of, paper_inputs


def run(inputs: RunInputs) -> tuple[Desk, list[Block], list[Event]]:
    desk, events = Desk(inputs.genesis), events_of(inputs)
    return desk, [desk.apply(event) for event in events], events


def test_its_records_are_those_of_the_sweep() -> None:
    inputs = paper_inputs()
    desk, blocks, _ = run(inputs)
    swept = [block for part in iterate_blocks(inputs) for block in part]
    assert sum(len(decode_payload(b.payload).get("order_fill", ())) for b in swept) > 5
    assert [b.payload for b in blocks] == [b.payload for b in swept]
    assert [b.records_digest for b in blocks] == [b.records_digest for b in swept]
    assert desk.head.seq_n == len(blocks)
    for block in blocks:
        assert hashlib.sha256(block.inputs).digest() == block.inputs_digest


def test_a_journal_is_folded_into_the_same_desk_and_verified_in_any_batches() -> None:
    inputs = paper_inputs()
    desk, blocks, _ = run(inputs)
    journal = MemoryJournal(inputs.genesis.canonical(), account_id=1, mode_id=c.MODE_PAPER)
    journal.append(blocks)
    seen: list[int] = []
    folded = Desk.fold(inputs.genesis, journal.read(), seen=lambda _event, block: seen.append(block.seq_n))
    assert seen == list(range(1, len(blocks) + 1))
    assert folded.state.tobytes() == desk.state.tobytes()
    assert folded.head == desk.head
    for size in (1, 7, len(blocks)):
        verifier = ChainVerifier(inputs.genesis.hash, (1, 2), bytes.fromhex(inputs.genesis.policy_digest), JournaledForecasts())
        for first in range(0, len(blocks), size):
            assert not isinstance(verifier.follow(blocks[first : first + size]), BadBlock)
        assert verifier.head == desk.head


def test_a_changed_input_or_record_is_found() -> None:
    inputs = paper_inputs(hours=300)
    _, blocks, _ = run(inputs)
    n = next(i for i, b in enumerate(blocks) if b.kind_id == c.EV_BARS and i > 40)
    changed = bytearray(blocks[n].inputs)
    changed[-1] ^= 1
    for bad in (bytes(changed), b"", blocks[n].inputs + b"x"):
        stored = [*blocks[:n], blocks[n]._replace(inputs=bad), *blocks[n + 1 :]]
        verifier = ChainVerifier(inputs.genesis.hash, (1, 2), bytes.fromhex(inputs.genesis.policy_digest), JournaledForecasts())
        found = verifier.follow(stored)
        assert isinstance(found, BadBlock)
        assert found.seq_n == n + 1
        with pytest.raises(VerificationError, match=f"block {n + 1} "):
            Desk.fold(inputs.genesis, stored)


def version_2(**changes: int) -> ProfileVersion:
    base = PRESETS["conservative"]
    profile = RiskProfile.model_validate(base.profile.model_dump() | {"version": 2} | changes)
    return ProfileVersion.seal(profile, "a test", base.entry_digest)


def test_a_policy_governs_from_its_block_on() -> None:
    inputs = paper_inputs()
    events = events_of(inputs)
    plain, governed = Desk(inputs.genesis), Desk(inputs.genesis)
    half = len(events) // 4
    note = Note(actor="operator", reason="smaller", command_id="c1", profile=version_2(positions_max=1))
    before = [plain.apply(event) for event in events[:half]]
    assert [governed.apply(event) for event in events[:half]] == before
    block = governed.apply(ev.policy(governed.now_t, note))
    assert block.kind_id == c.EV_POLICY
    assert governed.policy[0]["rules"]["positions_max_n"] == 1
    assert governed.policy_digest == version_2(positions_max=1).policy_digest != inputs.genesis.policy_digest
    blocks = [block]
    blocks += [governed.apply(event) for event in events[half:] if event.kind_id != c.EV_FILL]
    stored = [*before, *blocks]
    verifier = ChainVerifier(inputs.genesis.hash, (1, 2), bytes.fromhex(inputs.genesis.policy_digest), JournaledForecasts())
    assert not isinstance(verifier.follow(stored), BadBlock)
    assert Desk.fold(inputs.genesis, stored).policy_digest == governed.policy_digest
    limits = [
        int(row["limit_v"])
        for b in blocks
        for row in decode_payload(b.payload).get("risk_event", ())
        if row["gate_id"] == c.G_POSITIONS
    ]
    assert limits
    assert set(limits) == {1}
    forged = ev.policy(
        governed.now_t, note.model_copy(update={"profile": note.profile.model_copy(update={"policy_digest": "0" * 64})})
    )
    state = governed.state.tobytes()
    with pytest.raises(InvariantError, match="digests are not its own"):
        governed.apply(forged)
    assert governed.state.tobytes() == state


def test_what_the_core_refuses_leaves_the_desk_as_it_was() -> None:
    inputs = paper_inputs(hours=60)
    desk, blocks, _ = run(inputs)
    state, head = desk.state.tobytes(), desk.head
    for event in (
        ev.heartbeat(desk.now_t - 1, 0),
        ev.quote(desk.now_t, 0, 5, 4),
        ev.quote(desk.now_t, 99, 4, 5),
        Event(ev.heartbeat(desk.now_t, 0).record, note=b"{}"),
        Event(ev.control(desk.now_t, c.SWITCH_KILL, 1, clerk()).record),
    ):
        with pytest.raises(InvariantError):
            desk.apply(event)
        assert desk.state.tobytes() == state
        assert desk.head == head
    again = Desk.fold(inputs.genesis, blocks)
    assert again.apply(ev.heartbeat(desk.now_t, 5)) == desk.apply(ev.heartbeat(desk.now_t, 5))


def test_orders_are_read_back_from_the_journal_that_holds_them() -> None:
    inputs = paper_inputs()
    desk = Desk(inputs.genesis)
    journal = MemoryJournal(inputs.genesis.canonical(), account_id=1, mode_id=c.MODE_PAPER)
    approved = 0
    for event in events_of(inputs):
        block = desk.apply(event)
        wanted = [
            int(r["order_id"]) for r in decode_payload(block.payload).get("order_request", ()) if r["status_id"] == c.O_NEW
        ]
        if wanted:
            with pytest.raises(InvariantError, match="not in the journal"):
                desk.approved(journal)
        journal.append([block])
        orders = desk.approved(journal)
        assert [o.terms.order_id for o in orders] == wanted
        approved += len(orders)
        for order in orders:
            assert desk.order(journal, order.terms.order_id) == order
        still = set(desk.state[0]["orders"]["order_id"].tolist()) - {0}
        for order_id in still:
            assert desk.order(journal, order_id).terms.order_id == order_id
    assert approved > 5
    with pytest.raises(InvariantError, match="is not open"):
        desk.order(journal, 10**6)


def test_a_moved_quote_marks_and_decides_a_held_instrument() -> None:
    inputs = paper_inputs()
    desk = Desk(inputs.genesis)
    for event in events_of(inputs):
        desk.apply(event)
        held = np.flatnonzero(desk.state[0]["positions"]["qty_e8"])
        if len(held):
            break
    s = int(held[0])
    mark = int(desk.state[0]["positions"][s]["mark_e8"])
    value = int(desk.state[0]["desk"]["pv_e8"])
    desk.apply(ev.quote(desk.now_t, s, mark * 2, mark * 2))
    assert int(desk.state[0]["positions"][s]["mark_e8"]) == mark
    block = desk.apply(ev.quote(desk.now_t, s, mark // 4, mark // 4 + 2, moved=True))
    assert int(desk.state[0]["positions"][s]["mark_e8"]) == mark // 4 + 1
    assert int(desk.state[0]["desk"]["pv_e8"]) < value
    rows = decode_payload(block.payload)
    assert rows["risk_event"]["kind_id"].tolist().count(c.RISK_RECOVERY) == 1  # a severe loss is seen between two bars
    assert len(rows["trade_signal"]) == 1


def test_bars_that_closed_long_ago_are_recorded_and_decide_nothing() -> None:
    """After a downtime the missed hours come late: nobody enters, realises or exits on a price of hours ago."""
    inputs = paper_inputs()
    events = [event for event in events_of(inputs) if event.kind_id != c.EV_FILL]
    late_t = 40 * 3_600
    on_time, late = Desk(inputs.genesis), Desk(inputs.genesis)
    acted = dict.fromkeys(("on time", "late"), 0)
    for event in events:
        if event.kind_id not in {c.EV_BARS, c.EV_DEPOSIT}:
            continue
        delayed = event.record.copy()
        delayed["at_t"] += late_t
        for name, desk, record in (("on time", on_time, event.record), ("late", late, delayed)):
            rows = decode_payload(desk.apply(event._replace(record=record)).payload)
            acted[name] += len(rows.get("order_request", ()))
            if event.kind_id == c.EV_BARS:
                assert len(rows["portfolio_hourly_state"]) == 1
            if name == "late":
                assert "trade_signal" not in rows
    assert acted["on time"] > 20
    assert acted["late"] == 0
    close_t = on_time.state[0]["positions"]["mark_t"]
    assert late.state[0]["positions"]["mark_t"].tolist() == close_t.tolist()  # marked when they closed, not when they came
    # from the edge on: as old as an entry may be acts, one second older does not
    edge = int(inputs.genesis.profile.bar_age_max_t)
    for age, decides in ((edge, True), (edge + 1, False)):
        desk = Desk(inputs.genesis)
        made = 0
        for event in events:
            record = event.record.copy()
            record["at_t"] += age
            made += len(decode_payload(desk.apply(event._replace(record=record)).payload).get("trade_signal", ()))
        assert bool(made) == decides


def test_a_frozen_desk_goes_on_as_if_it_had_never_stopped() -> None:
    inputs = paper_inputs()
    events = events_of(inputs)
    desk = Desk(inputs.genesis)
    journal = MemoryJournal(inputs.genesis.canonical(), account_id=1, mode_id=c.MODE_PAPER)
    profile = ProfileVersion.seal(inputs.genesis.profile.model_copy(update={"version": 2}), "the same rules")
    events.insert(200, ev.policy(events[199].at_t, Note(actor="operator", profile=profile)))
    frozen = []
    with_orders = 0
    for n, event in enumerate(events):
        journal.append([desk.apply(event)])
        if n % 23 == 0:
            frozen.append(desk.freeze())
            with_orders += bool((desk.state[0]["orders"]["order_id"] != 0).any())
    assert with_orders > 3
    for before in frozen:
        again = Desk.thaw(inputs.genesis, Frozen.model_validate_json(before.model_dump_json()))
        for order_id in set(again.state[0]["orders"]["order_id"].tolist()) - {0}:
            assert again.order(journal, order_id).terms.order_id == order_id
        Desk.fold(inputs.genesis, journal.read(before.seq_n + 1), start=again)
        assert again.head == desk.head
        assert again.state.tobytes() == desk.state.tobytes()
        assert again.freeze() == desk.freeze()
    other = inputs.genesis.model_copy(update={"account_id": 2})
    with pytest.raises(ValueError, match="another chain"):
        Desk.thaw(other, frozen[0])
