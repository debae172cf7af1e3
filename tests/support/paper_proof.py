"""What a paper journal must prove whatever happened to its daemon, and how the decisions of two runs differ, each with its cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.approval import client_order_id
from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload, genesis_hash
from runtime.core.records import CASH_LEDGER, HOUR_T, TRADE_SIGNAL
from runtime.event import Event
from runtime.genesis import Genesis
from runtime.home import runs_path
from runtime.replay import replay

TAKES_RISK: Final = (c.ENTER, c.REENTER)
IDS: Final = frozenset({"signal_id", "origin_hour_t", "hour_t", "at_t", "account_id", "mode_id"})
SEEN: Final = tuple(name for name in TRADE_SIGNAL.dtype.names or () if name not in IDS)
Key = tuple[int, int]
"""Closing time of the hour, and instrument."""


class Unproven(AssertionError):
    """The journal does not show what it must."""


@dataclass
class Hour:
    """One BARS event and what the core knew and decided since the one before.

    Attributes:
        close_t: when its bars closed.
        at_t: when they were taken in.
        bars, forecasts: bytes of what came.
        quotes: best prices in force when it was decided, by instrument, with their time.
        moved: quotes that held instruments were marked and decided anew by since the hour before.
        skew_ms: the clock's skew in force.
        signals: decisions by instrument, ids left out.
        orders, fills: of the hour: (instrument, side, status, quantity, price).
    """

    close_t: int
    at_t: int
    bars: bytes = b""
    forecasts: bytes = b""
    quotes: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    moved: list[tuple[int, int, int]] = field(default_factory=list)
    skew_ms: int = 0
    kill_on: bool = False
    signals: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    fills: list[tuple[int, ...]] = field(default_factory=list)


@dataclass
class Course:
    """A journal, read through."""

    genesis: Genesis
    hours: list[Hour] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    entered_n: int = 0
    signals_n: int = 0
    fills_n: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    first_live_n: int = 0

    @property
    def traded(self) -> list[Hour]:
        """Return the hours since the account began to trade."""
        return self.hours[self.first_live_n :]


def journal_of(home: Path) -> Path:
    """Return the one paper journal of a home folder."""
    (found,) = runs_path(home).glob("paper-*/journal.sqlite")
    return found


def require_replayed(home: Path) -> int:
    """Require a whole chain whose every block is what the core computes; return how many there are."""
    path = journal_of(home)
    found = replay(path.parent, home)
    if not found.parity:
        raise Unproven(f"replay parity FALSE: {found.failure}")
    return found.blocks


def read_course(home: Path) -> Course:
    """Read a journal and require, on the way: cash without a break, no order sent twice, nothing decided on stale data.

    Raises:
        Unproven: one of them does not hold; the block is named.
    """
    journal = SqliteJournal.open(journal_of(home))
    try:
        return read_blocks(journal.genesis(), journal.read())
    finally:
        journal.close()


def read_blocks(genesis: bytes, blocks: Iterable[Block], **bounds: int) -> Course:
    """Do the same with the blocks of a journal; `bounds` are rules to hold them against instead of the profile's."""
    reader = _Reader(Course(Genesis.model_validate_json(genesis)), genesis_hash(genesis), bounds)
    for block in blocks:
        reader.take(block)
    doubled = {i: n for i, n in reader.course.sent.items() if n > 1}
    if doubled:
        raise Unproven(f"client order ids that were approved twice: {doubled}")
    return reader.course


class _Reader:
    """Follows a journal and keeps what the next block is held against."""

    def __init__(self, course: Course, genesis: bytes, bounds: Mapping[str, int]) -> None:
        self.course, self._genesis = course, genesis
        self._rules = course.genesis.profile.to_record(course.genesis.pairs)[0]["rules"].copy()
        for name, bound in bounds.items():
            self._rules[name] = bound
        self._quotes: dict[int, tuple[int, int, int]] = {}
        self._bar_close_t: dict[int, int] = {}
        self._forecast_t: dict[int, int] = {}
        self._moved: list[tuple[int, int, int]] = []
        self._skew_ms, self._kill_on = 0, False
        self._cash: dict[int, tuple[int, int, int]] = {}
        self._entry_id = 0
        self._left: dict[int, int] = {}

    def take(self, block: Block) -> None:
        """Take the next block."""
        event, course = Event.decode(block.inputs), self.course
        record = event.record[0]
        course.kinds[c.EVENT_NAMES[block.kind_id]] += 1
        if block.kind_id == c.EV_BARS:
            self._bars(event, block)
        elif block.kind_id == c.EV_QUOTE:
            s, bid_e8, ask_e8 = int(record["instrument_id"]), int(record["price_e8"]), int(record["reference_e8"])
            self._quotes[s] = (bid_e8, ask_e8, block.at_t)
            if record["value_n"]:
                self._moved.append((s, bid_e8, ask_e8))
        elif block.kind_id == c.EV_HEARTBEAT:
            self._skew_ms = int(record["value_n"])
        elif block.kind_id == c.EV_CONTROL and int(record["instrument_id"]) == c.SWITCH_KILL:
            self._kill_on = bool(record["value_n"])
            course.causes[f"kill switch {int(record['value_n'])}"] += 1
        elif block.kind_id == c.EV_SESSION:
            note = event.note_of()
            course.causes[note.session.cause if note and note.session else "?"] += 1
            course.first_live_n = course.first_live_n or len(course.hours)
        rows = decode_payload(block.payload)
        self._signals(block, rows.get("trade_signal", ()))
        self._orders(block, rows.get("order_request", ()))
        self._fills(block, rows.get("order_fill", ()))
        self._ledger(block, rows.get("cash_ledger", ()))

    def _bars(self, event: Event, block: Block) -> None:
        close_t = int(event.record[0]["value_n"]) + HOUR_T
        assert event.bars is not None
        hour = Hour(close_t, block.at_t, event.bars.tobytes())
        hour.quotes, hour.skew_ms, hour.kill_on = dict(self._quotes), self._skew_ms, self._kill_on
        hour.moved, self._moved = sorted(self._moved), []
        for s in np.flatnonzero(event.bars["present_n"]).tolist():
            self._bar_close_t[s] = close_t
        if event.forecasts is not None:
            hour.forecasts = event.forecasts.tobytes() + event.feature_digest
            for s in np.flatnonzero(event.forecasts["valid_n"]).tolist():
                self._forecast_t[s] = block.at_t
        self.course.hours.append(hour)

    def _signals(self, block: Block, rows: Iterable[np.void]) -> None:
        for row in rows:
            s = int(row["instrument_id"])
            self.course.signals_n += 1
            self.course.hours[-1].signals.setdefault(s, []).append(tuple(int(row[name]) for name in SEEN))
            self._require_fresh(block, row, s)

    def _require_fresh(self, block: Block, row: np.void, s: int) -> None:
        """Require that a decision was made on a bar, a forecast and a quote that the profile calls fresh."""
        hour, rules, at_t = self.course.hours[-1], self._rules, block.at_t
        where = f"block {block.seq_n}: {c.ACTION_NAMES[int(row['action_id'])]} of instrument {s}"
        if block.kind_id == c.EV_BARS and at_t - hour.close_t > rules["bar_age_max_t"]:
            raise Unproven(f"{where}: decided {at_t - hour.close_t} s after its bar closed")
        if int(row["action_id"]) not in TAKES_RISK or int(row["gate_id"]) != c.G_PASS:
            return
        self.course.entered_n += 1
        if at_t - self._bar_close_t.get(s, 0) > rules["bar_age_max_t"]:
            raise Unproven(f"{where}: on a bar of {at_t - self._bar_close_t.get(s, 0)} s")
        if at_t - self._forecast_t.get(s, 0) > rules["forecast_age_max_t"] or row["forecast_t"] != self._forecast_t.get(s):
            raise Unproven(f"{where}: on a forecast of {at_t - self._forecast_t.get(s, 0)} s")
        if abs(self._skew_ms) > rules["skew_max_ms"] or self._kill_on:
            raise Unproven(f"{where}: with a skew of {self._skew_ms} ms, kill switch {self._kill_on}")
        if at_t - self._quotes.get(s, (0, 0, 0))[2] > rules["quote_age_max_t"]:
            raise Unproven(f"{where}: on a quote of {at_t - self._quotes.get(s, (0, 0, 0))[2]} s")

    def _orders(self, block: Block, rows: Iterable[np.void]) -> None:
        for row in rows:
            order_id = int(row["order_id"])
            if int(row["status_id"]) == c.O_NEW:
                self.course.sent[client_order_id(self._genesis, order_id, int(row["attempt_n"]))] += 1
                self._left[order_id] = int(row["left_e8"])
            if block.kind_id == c.EV_BARS and int(row["status_id"]) == c.O_NEW and block.at_t < self.course.hours[-1].close_t:
                raise Unproven(f"block {block.seq_n}: an order before its bar closed")

    def _fills(self, block: Block, rows: Iterable[np.void]) -> None:
        for row in rows:
            order_id = int(row["order_id"])
            self._left[order_id] = self._left.get(order_id, 0) - int(row["qty_e8"])
            if self._left[order_id] < 0:
                raise Unproven(f"block {block.seq_n}: order {order_id} filled beyond what was sent")
            self.course.fills_n += 1
            names = ("instrument_id", "side_id", "qty_e8", "price_e8", "fee_e8", "liquidity_id")
            self.course.hours[-1].fills.append(tuple(int(row[name]) for name in names))

    def _ledger(self, block: Block, rows: Iterable[np.void]) -> None:
        for row in rows:
            quote_id = int(row["quote_id"])
            after, entry_n, last_id = self._cash.get(quote_id, (0, 0, 0))
            right = (
                int(row["entry_id"]) == self._entry_id + 1
                and (int(row["before_e8"]), int(row["entry_n"]), int(row["previous_entry_id"])) == (after, entry_n + 1, last_id)
                and int(row["after_e8"]) == int(row["before_e8"]) + int(row["delta_e8"]) >= 0
            )
            if not right:
                raise Unproven(f"block {block.seq_n}: the {CASH_LEDGER.name} breaks at entry {int(row['entry_id'])}")
            self._entry_id += 1
            self._cash[quote_id] = (int(row["after_e8"]), entry_n + 1, self._entry_id)


def require_every_hour(course: Course, first_close_t: int, last_close_t: int) -> None:
    """Require each hour of a period exactly once and in order.

    Raises:
        Unproven: an hour is missing, twice, or out of order.
    """
    found = [hour.close_t for hour in course.traded]
    wanted = list(range(first_close_t, last_close_t + 1, HOUR_T))
    if found != wanted:
        wrong = sorted((Counter(found) - Counter(wanted)) + (Counter(wanted) - Counter(found)))
        raise Unproven(f"{len(found)} hours for {len(wanted)}; wrong: {wrong[:5]} (in order: {found == sorted(found)})")


# ---- two runs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A decision that two runs did not share."""

    close_t: int
    instrument_id: int
    cause: str
    detail: str


def compare(clean: Course, broken: Course) -> list[Difference]:
    """Return the decisions that differ, each with what the two daemons saw differently; fills too.

    A cause `none` is a decision that was lost, doubled or changed although all that was ever seen until then is the same.
    """
    found: list[Difference] = []
    theirs = {hour.close_t: hour for hour in broken.traded}
    apart = ""
    for ours in clean.traded:
        other = theirs.get(ours.close_t)
        if other is None:
            raise Unproven(f"the hour that closed at {ours.close_t} is not in the other run")
        if ours.bars != other.bars:
            raise Unproven(f"the bars of the hour that closed at {ours.close_t} differ")
        if ours.forecasts and other.forecasts and ours.forecasts != other.forecasts:
            raise Unproven(f"the forecasts at {ours.close_t} differ, made from the same bars")
        cause = _cause(ours, other)
        why = cause or apart or "none"
        for s in sorted(ours.signals.keys() | other.signals.keys()):
            if ours.signals.get(s) != other.signals.get(s):
                shown = f"{_shown(ours.signals.get(s))} / {_shown(other.signals.get(s))}"
                found.append(Difference(ours.close_t, s, why, shown))
        if ours.fills != other.fills:
            found.append(Difference(ours.close_t, -1, why, f"fills {ours.fills} / {other.fills}"))
        if cause and not apart:
            apart = f"earlier, at {ours.close_t}: {cause}"
    return found


def seen_apart(clean: Course, broken: Course) -> list[tuple[int, str]]:
    """Return the hours in which two daemons saw something else, with what it was."""
    theirs = {hour.close_t: hour for hour in broken.traded}
    return [(ours.close_t, cause) for ours in clean.traded if (cause := _cause(ours, theirs[ours.close_t]))]


def _cause(ours: Hour, other: Hour) -> str:
    """Return what was seen differently, empty when nothing was."""
    if ours.at_t != other.at_t:
        return f"the hour came at another time: {ours.at_t} and {other.at_t}"
    if ours.forecasts != other.forecasts:
        return "forecasts in one run alone"
    if ours.skew_ms != other.skew_ms:
        return f"another skew: {ours.skew_ms} and {other.skew_ms} ms"
    if ours.kill_on != other.kill_on:
        return "the kill switch"
    if ours.moved != other.moved:
        return f"quotes that moved far: {ours.moved} and {other.moved}"
    apart = sorted(s for s in ours.quotes.keys() | other.quotes.keys() if ours.quotes.get(s) != other.quotes.get(s))
    if apart:
        s = apart[0]
        return f"quotes of {len(apart)} instruments: {ours.quotes.get(s)} and {other.quotes.get(s)}"
    return ""


def _shown(signals: list[tuple[int, ...]] | None) -> str:
    if not signals:
        return "nothing"
    at = SEEN.index("action_id"), SEEN.index("reason_id"), SEEN.index("gate_id")
    return ", ".join(f"{c.ACTION_NAMES[row[at[0]]]} {c.REASON_NAMES[row[at[1]]]} {c.GATE_NAMES[row[at[2]]]}" for row in signals)
