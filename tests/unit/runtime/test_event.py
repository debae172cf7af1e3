"""Events as bytes: every kind comes back as it went in, and what is not an event is refused."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import event as ev
from runtime.core import codes as c
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS
from runtime.event import BundleNote, Event, Note, SessionNote
from runtime.policy import PRESETS
from runtime.ports import VenueEvent
from tests.support.paper import clerk

HASH = "ab" * 32
BUNDLE = BundleNote(name="trend", bundle_hash=HASH, feature_set_hash=HASH, manifest_digest=HASH, signer=HASH)
SESSION = SessionNote(
    version="0.1.0",
    core_digest=HASH,
    clock="venue",
    venue="http://127.0.0.1:1",
    simulated=True,
    settings_digest=HASH,
    cause="start",
)


def filled(dtype: np.dtype[np.void]) -> np.ndarray:
    rows = np.zeros(INSTRUMENTS, dtype)
    rows.view("<i8")[:] = np.arange(len(rows.view("<i8")))
    return rows


EVENTS = {
    "bars": ev.bars(7, 3, filled(BAR)),
    "bars with forecasts": ev.bars(7, 3, filled(BAR), filled(FORECAST), bytes(range(32))),
    "clusters": ev.clusters(7, 2, filled(CLUSTER)),
    "quote": ev.quote(7, 1, 99, 101, moved=True),
    "heartbeat": ev.heartbeat(7, -12),
    "rate": ev.rate(7, 1, 75_000_000),
    "fill": ev.venue(VenueEvent(c.EV_FILL, 7, 1, 0, 5, qty_e8=3, price_e8=4, reference_e8=4)),
    "order": ev.venue(VenueEvent(c.EV_ORDER, 7, 1, 0, 5, status_id=c.O_OPEN)),
    "control": ev.control(7, c.SWITCH_KILL, 1, clerk("a drill", "c-1")),
    "deposit": ev.cash(7, c.EV_DEPOSIT, 0, 10**15, clerk()),
    "policy": ev.policy(7, Note(actor="operator", profile=PRESETS["balanced"])),
    "bundle": ev.bundle(7, 1, Note(actor="operator", bundle=BUNDLE)),
    "session": ev.session(7, Note(actor="system", session=SESSION), started=True),
}


def test_every_kind_is_here() -> None:
    kinds = {event.kind_id for event in EVENTS.values()}
    same_bytes = {c.EV_WITHDRAWAL, c.EV_CORRECTION, c.EV_RECONCILIATION}
    assert kinds == set(c.EVENT_NAMES) - same_bytes


@pytest.mark.parametrize("name", EVENTS)
def test_it_comes_back_as_it_went_in(name: str) -> None:
    event = EVENTS[name].numbered(4, 3, 2)
    event.check()
    content = event.content()
    back = Event.decode(content)
    back.check()
    assert back.content() == content
    assert back.note_of() == event.note_of()
    for ours, theirs in zip(event, back, strict=True):
        assert type(ours) is type(theirs)
        assert ours is theirs is None or (ours.tobytes() if isinstance(ours, np.ndarray) else ours) == (
            theirs.tobytes() if isinstance(theirs, np.ndarray) else theirs
        )
    assert (int(back.record[0]["bar_n"]), int(back.record[0]["forecast_n"])) == (
        4 if event.bars is not None else -1,
        3 if event.forecasts is not None else -1,
    )


@pytest.mark.parametrize("name", EVENTS)
def test_no_part_of_it_may_be_missing_or_too_much(name: str) -> None:
    content = EVENTS[name].numbered(0, 0, 0).content()
    for wrong in (content[:-1], content + b" ", content[:100], b""):
        with pytest.raises(ValueError, match="event|note|digest"):
            Event.decode(wrong).check()


def test_a_note_says_one_thing_and_fits_its_event() -> None:
    with pytest.raises(ValueError, match="about one thing"):
        Note(actor="operator", bundle=BUNDLE, session=SESSION)
    wrong = [
        EVENTS["policy"]._replace(note=clerk().canonical()),
        EVENTS["control"]._replace(note=EVENTS["bundle"].note),
        EVENTS["control"]._replace(note=b""),
        EVENTS["control"]._replace(note=clerk().canonical().replace(b'"actor"', b' "actor"')),
        EVENTS["heartbeat"]._replace(note=clerk().canonical()),
        EVENTS["control"]._replace(note=Note(actor="x", reason="y" * 1_000).canonical() + b" " * ev.NOTE_MAX),
    ]
    for event in wrong:
        with pytest.raises(ValueError, match="note"):
            event.check()


def test_parts_that_do_not_fit_the_kind_are_refused() -> None:
    bars = EVENTS["bars with forecasts"]
    record = EVENTS["heartbeat"].record.copy()
    record["bar_n"] = 0
    for event in (
        bars._replace(feature_digest=b"short"), bars._replace(bars=None), Event(record, bars=filled(BAR)), Event(record),
        EVENTS["clusters"]._replace(clusters=None),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="bar|forecast|cluster|membership"):
            event.check()
    with pytest.raises(ValueError, match="no movement of cash"):
        ev.cash(7, c.EV_BARS, 0, 1, clerk())
