"""One counterfactual run of the decision core: the state, what became of each order, and the venue of a backtest where one is asked for.

Orders are known by what made them, not by their number, so that the same decision is found again in another run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.core import ledger, simulate, step
from runtime.core.codes import EV_BARS, EV_FILL, EV_ORDER, EV_POLICY, O_CANCELLING, O_NEW
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS, RECORD_TYPES
from runtime.engine import new_out
from runtime.event import Event
from runtime.genesis import Genesis
from runtime.policy import RiskProfile
from runtime.ports import VenueEvent
from runtime.verify import governed_by

Rows = npt.NDArray[np.void]
OUT_ROWS_N: Final = 512


class Key(NamedTuple):
    """What made an order: the bars opened at `at_t` (`bars`), or block `at_t` (`event`), or it was open before the period (`open`)."""

    instrument_id: int
    side_id: int
    what: str
    at_t: int


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What became of an order in one run; times in seconds UTC, money in the quote currency."""

    key: Key
    decided_t: int
    wanted_e8: int
    qty_e8: int = 0
    notional_e8: int = 0
    fee_e8: int = 0
    first_fill_t: int = 0
    last_fill_t: int = 0

    @property
    def price_e8(self) -> int:
        """Average price, rounded down; 0 when nothing was filled."""
        return self.notional_e8 * 10**8 // self.qty_e8 if self.qty_e8 else 0


class Delay(NamedTuple):
    """When the journal filled an order first, and the opening time of the bar that was under way: its BARS event came next."""

    at_t: int
    bar_t: int


@dataclass(slots=True)
class _Place:
    """Where an open order stands: its name, the next bar that may fill it, and how the journal filled it first."""

    key: Key
    next_open_t: int
    delay: Delay | None = None


@dataclass(slots=True)
class Venue:
    """The venue of a backtest: the bars that fill orders, and what delays them.

    Attributes:
        bars: BAR [INSTRUMENTS] by opening time.
        interval_t: length of a bar.
        delays: the first fill by order, where its time is to be the journal's.
        down: from and to: what would fill in between fills at the end.
        excepted: orders that others fill.
        since_t: begin of the period: what was to fill before has filled what it fills.
    """

    bars: dict[int, Rows]
    interval_t: int
    delays: dict[Key, Delay] = field(default_factory=dict)
    down: tuple[tuple[int, int], ...] = ()
    excepted: frozenset[Key] = frozenset()
    since_t: int = 0


class Course:
    """A run of the core under way.

    Args:
        genesis: for the pairs.
        state, policy: STATE [1] and POLICY [1] to begin with; copied.
        venue: fills open orders, `None`: fills come as events only.
        keep: keep the rows of every record type.
    """

    def __init__(self, genesis: Genesis, state: Rows, policy: Rows, venue: Venue | None, *, keep: bool = False) -> None:
        self.state, self.policy = state.copy(), policy.copy()
        self.results: dict[Key, OrderResult] = {}
        self.key_of: dict[int, Key] = {}
        self.left_out_n = 0
        self.tables: dict[str, list[bytes]] = {record.name: [] for record in RECORD_TYPES}
        self._genesis, self._venue, self._keep = genesis, venue, keep
        self._out = new_out(OUT_ROWS_N)
        self._places: dict[int, _Place] = {}
        self._bar_marks = self.state[0]["positions"]["mark_e8"].copy()
        # as bytes: NumPy copies a record field by field, which takes a hundred times as long
        self._bytes, self._before = self.state.view(np.uint8), self.state.view(np.uint8).copy()
        self._none = (np.zeros(INSTRUMENTS, BAR), np.zeros(INSTRUMENTS, FORECAST), np.zeros(INSTRUMENTS, CLUSTER))
        for s in range(INSTRUMENTS):
            o = self.state[0]["orders"][s]
            if o["order_id"] != 0:
                key = Key(s, int(o["side_id"]), "open", int(o["order_id"]))
                self._register(key, int(o["order_id"]), int(o["placed_t"]), int(o["left_e8"]))
                self._skip_past(self._places[s], int(o["placed_t"]))

    @property
    def now_t(self) -> int:
        """Time of the last event."""
        return int(self.state[0]["desk"]["now_t"])

    @property
    def value_e8(self) -> int:
        """Portfolio value in the base currency: cash and marked positions."""
        return int(ledger.portfolio_value(self.state[0]))

    @property
    def bar_value_e8(self) -> int:
        """The same with every position marked at its last bar's close, as a backtest marks it: quotes since then left out."""
        marked = self.state.copy()
        marked[0]["positions"]["mark_e8"] = self._bar_marks
        for s in range(INSTRUMENTS):
            ledger.revalue(self.policy[0], marked[0], s)
        return int(ledger.portfolio_value(marked[0]))

    def open_order(self, key: Key) -> int:
        """Return the number of an order if it is open, else 0."""
        order_id = int(self.state[0]["orders"][key.instrument_id]["order_id"])
        return order_id if order_id and self.key_of.get(order_id) == key else 0

    def apply(self, event: Event, seq_n: int, at_t: int, profile: RiskProfile | None = None) -> None:
        """Apply an event of the journal at a time; with bars, the venue fills first what they fill.

        Args:
            event: what happened.
            seq_n: its block in the journal, 0 for bars that the journal does not have.
            at_t: when it takes effect in this run.
            profile: governs from here on; by default what a POLICY event says.

        Raises:
            ValueError, OverflowError: the core refuses it; the state is as before.
        """
        open_t = int(event.record[0]["value_n"]) if event.kind_id == EV_BARS else -1
        self.let_fill(at_t, open_t)
        record = event.record.copy()
        record["at_t"] = max(at_t, self.now_t)
        if event.kind_id == EV_POLICY:
            self.policy = (profile or governed_by(event)).to_record(self._genesis.pairs)
        what, place = ("bars", open_t) if open_t >= 0 else ("event", seq_n)
        self._step(record, event, what, place)

    def answer(self, key: Key, status_id: int) -> None:
        """Let the venue say something about an open order that the journal does not have."""
        s = key.instrument_id
        made = VenueEvent(EV_ORDER, self.now_t, s, self._quote(s), self.open_order(key), status_id=status_id)
        self._step(made.to_record(), None, "event", 0)

    def cancelling(self) -> list[Key]:
        """Return the orders whose end was asked for."""
        orders = self.state[0]["orders"]
        asked = (orders["status_id"] == O_CANCELLING) & (orders["order_id"] != 0)
        return [self.key_of[order_id] for order_id in orders["order_id"][asked].tolist()]

    def let_fill(self, before_t: int, open_t: int = -1) -> None:
        """Let the venue fill what it fills before a time, and all that the bars opened at `open_t` or before fill."""
        while self._venue is not None:
            due = [self._chance(s, place, self._venue) for s, place in sorted(self._places.items())]
            due = [d for d in due if d is not None and (d[0] < before_t or d[2] <= open_t)]
            if not due:
                return
            at_t, s, bar_t = min(d for d in due if d is not None)
            self._fill(s, bar_t, min(max(at_t, self.now_t), max(before_t, self.now_t)), self._venue)

    def _skip_past(self, place: _Place, placed_t: int) -> None:
        """Leave out the bars whose turn was before the period: they filled what they filled."""
        latency_t = int(self.policy[0]["rules"]["latency_t"])
        since_t = self._venue.since_t if self._venue is not None else 0
        while max(place.next_open_t, placed_t) + latency_t < since_t:
            place.next_open_t += self._genesis.interval_t

    # ---- the venue of a backtest -------------------------------------------------------------------------------

    def _chance(self, s: int, place: _Place, venue: Venue) -> tuple[int, int, int] | None:
        """Return when the instrument's order could fill next, the instrument and the opening time of the bar."""
        o = self.state[0]["orders"][s]
        if place.key in venue.excepted or o["order_id"] == 0 or not simulate.can_fill(o):
            return None
        bar_t = place.next_open_t
        modelled_t = max(bar_t, int(o["placed_t"])) + int(self.policy[0]["rules"]["latency_t"])
        if place.delay is not None:
            return max(place.delay.at_t, place.delay.bar_t), s, place.delay.bar_t
        at_t = next((to_t for from_t, to_t in venue.down if from_t <= modelled_t < to_t), modelled_t)
        return at_t, s, bar_t

    def _fill(self, s: int, bar_t: int, at_t: int, venue: Venue) -> None:
        place = self._places[s]
        place.next_open_t, place.delay = bar_t + venue.interval_t, None
        bars = venue.bars.get(bar_t)
        if bars is None:
            return
        qty, price, liquidity = simulate.match_bar(self.policy[0], self.state[0], s, bars[s])
        if qty > 0:
            fill = VenueEvent(
                EV_FILL, at_t, s, self._quote(s), int(self.state[0]["orders"][s]["order_id"]),
                liquidity_id=int(liquidity), qty_e8=int(qty), price_e8=int(price), reference_e8=int(bars[s]["open_e8"]),
            )  # fmt: skip
            self._step(fill.to_record(), None, "event", 0)

    def _quote(self, s: int) -> int:
        return int(self.policy[0]["instruments"][s]["quote_id"])

    # ---- one event ---------------------------------------------------------------------------------------------

    def _step(self, record: Rows, event: Event | None, what: str, place: int) -> None:
        bars, forecasts, clusters = self._none
        if event is not None:
            bars = bars if event.bars is None else np.ascontiguousarray(event.bars)
            forecasts = forecasts if event.forecasts is None else np.ascontiguousarray(event.forecasts)
            clusters = clusters if event.clusters is None else np.ascontiguousarray(event.clusters)
        np.copyto(self._before, self._bytes)
        self._out.n[:] = 0
        try:
            step.step(self.policy, self.state, self._out, record, bars, forecasts, clusters)
        except (ValueError, OverflowError, ZeroDivisionError):
            np.copyto(self._bytes, self._before)
            raise
        if event is not None and event.bars is not None:
            present = bars["present_n"] > 0
            self._bar_marks[present] = self.state[0]["positions"]["mark_e8"][present]
        counts = self._out.n[0]
        for row in self._out.order_request[: counts["order_request"]]:
            if row["status_id"] == O_NEW:
                self._placed(row, what, place)
        for row in self._out.order_fill[: counts["order_fill"]]:
            self._filled(row)
        if self._keep:
            for kind in RECORD_TYPES:
                if counts[kind.name]:
                    self.tables[kind.name].append(getattr(self._out, kind.name)[: counts[kind.name]].tobytes())

    def _placed(self, row: np.void, what: str, place: int) -> None:
        order_id, s = int(row["order_id"]), int(row["instrument_id"])
        key = self.key_of.get(order_id) or Key(s, int(row["side_id"]), what, place)
        self._register(key, order_id, int(row["at_t"]), int(row["qty_e8"]))

    def _register(self, key: Key, order_id: int, placed_t: int, wanted_e8: int) -> None:
        self.key_of[order_id] = key
        self.results.setdefault(key, OrderResult(key, placed_t, wanted_e8))
        interval_t = self._genesis.interval_t
        delay = self._venue.delays.get(key) if self._venue is not None else None
        self._places[key.instrument_id] = _Place(key, -(-placed_t // interval_t) * interval_t, delay)

    def _filled(self, row: np.void) -> None:
        key = self.key_of[int(row["order_id"])]
        known = self.results[key]
        at_t = int(row["at_t"])
        self.results[key] = replace(
            known,
            qty_e8=known.qty_e8 + int(row["qty_e8"]),
            notional_e8=known.notional_e8 + int(row["notional_e8"]),
            fee_e8=known.fee_e8 + int(row["fee_e8"]),
            first_fill_t=known.first_fill_t or at_t,
            last_fill_t=at_t,
        )
