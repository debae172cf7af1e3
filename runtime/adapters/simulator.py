"""The simulated venue as an adapter of the Exchange port: the fill model of `runtime.core.simulate`, fed with market data.

It keeps a book of its own, in the core's record types, and proposes fills as events; it never sees the account. Its market side
(`on_book`, `on_bars`) is no part of the port. An order book fills first; a bar fills what had no book since it opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.approval import ApprovedOrder, Terms
from runtime.core import outlook, simulate
from runtime.core.codes import BUY, EV_FILL, EV_ORDER, O_CANCELLED, O_OPEN, O_REJECTED, O_UNKNOWN, TAKER
from runtime.core.records import BAR, INSTRUMENTS, STATE
from runtime.errors import InvariantError
from runtime.ports import VenueEvent

KNOWN_N: Final = 1_024
"""Orders that the venue remembers, about; the core asks about open ones only."""

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]


class Reply(IntEnum):
    """What the venue makes of the next order, for tests and simulations of trouble."""

    ACCEPT = 0
    REJECT = 1
    """No, and it may be tried again."""
    REFUSE = 2
    """No, for good."""
    LOSE = 3
    """The order never arrives, and we cannot know."""
    HIDE = 4
    """The order rests, and we cannot know."""


@dataclass(slots=True)
class _Known:
    """An order that was sent: its terms and whether it rests, never arrived, or ended other than by its fills."""

    terms: Terms
    resting: bool = False
    lost: bool = False
    cancelled: bool = False
    refused: bool = False
    retryable: bool = False


class SimulatedExchange:
    """One account's venue in memory.

    Args:
        policies: POLICY [1]: lots, ticks, slippage, participation and latency come from it.
        acknowledges: answer an accepted order with OPEN, as a real venue does. The backtest's venue fills without a word.
        replies: what to make of the coming orders, in turn; ACCEPT when exhausted.
    """

    def __init__(self, policies: Rows, *, acknowledges: bool = True, replies: Iterable[Reply] = ()) -> None:
        self._policy = policies[0]
        self._state = np.zeros(1, STATE)[0]
        self._acknowledges = acknowledges
        self._replies: Iterator[Reply] = iter(replies)
        self._known: dict[str, _Known] = {}
        self._at_instrument: dict[int, str] = {}
        self._events: deque[VenueEvent] = deque()
        self._book_t = [-1] * INSTRUMENTS
        self._now_t = 0

    # ---- the port ----------------------------------------------------------------------------------------------

    def submit(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Take an order in, or answer as the next reply says.

        Raises:
            InvariantError: another order of the instrument rests here: the core has one per instrument.
        """
        terms, name = order.terms, order.client_order_id
        if name in self._known:
            return self.query(order)
        self._now_t = max(self._now_t, terms.approved_t)
        reply = next(self._replies, Reply.ACCEPT)
        self._forget()
        known = self._known[name] = _Known(terms)
        if reply in {Reply.REJECT, Reply.REFUSE}:
            known.refused, known.retryable = True, reply is Reply.REJECT
            return (self._answer(terms, O_REJECTED, int(known.retryable)),)
        if reply is Reply.LOSE:
            known.lost = True
            return (self._answer(terms, O_UNKNOWN),)
        self._rest(name, known)
        if reply is Reply.HIDE:
            return (self._answer(terms, O_UNKNOWN),)
        return (self._answer(terms, O_OPEN),) if self._acknowledges else ()

    def cancel(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Take an order off; nothing when it does not rest here."""
        known = self._known.get(order.client_order_id)
        if known is None or not known.resting:
            return ()
        self._remove(known)
        known.cancelled = True
        return (self._answer(known.terms, O_CANCELLED),)

    def query(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Return the order's fills not yet received, then its state."""
        known = self._known.get(order.client_order_id)
        if known is None:
            return (self._answer(order.terms, O_CANCELLED, 1),)
        order_id = known.terms.order_id
        fills = tuple(event for event in self._events if event.order_id == order_id)
        self._events = deque(event for event in self._events if event.order_id != order_id)
        if known.resting:
            return (*fills, self._answer(known.terms, O_OPEN))
        if known.refused:
            return (*fills, self._answer(known.terms, O_REJECTED, int(known.retryable)))
        if known.lost or known.cancelled:
            return (*fills, self._answer(known.terms, O_CANCELLED, int(known.lost)))
        return fills

    def receive(self) -> tuple[VenueEvent, ...]:
        """Return the fills since the last call, oldest first."""
        found = tuple(self._events)
        self._events.clear()
        return found

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    # ---- the market --------------------------------------------------------------------------------------------

    def on_book(self, instrument_id: int, at_t: int, prices: Ints, quantities: Ints) -> None:
        """Show one side of an order book to the instrument's order: the asks to a buy, the bids to a sale.

        Args:
            instrument_id: whose book.
            at_t: when it was so; an order is reached only after its latency.
            prices, quantities: int64 [levels], best first, 1e-8 units.
        """
        self._now_t = max(self._now_t, at_t)
        name = self._at_instrument.get(instrument_id)
        if name is None:
            return
        terms = self._known[name].terms
        if at_t >= terms.expires_t or at_t < terms.approved_t + int(self._policy["rules"]["latency_t"]):
            return
        self._book_t[instrument_id] = at_t
        prices, quantities = np.ascontiguousarray(prices, np.int64), np.ascontiguousarray(quantities, np.int64)
        qty, price, best = simulate.match_book(self._policy, self._state, instrument_id, prices, quantities)
        if qty > 0:
            self._fill(name, at_t, (int(qty), int(price), TAKER, int(best)))

    def on_bars(self, bars: Rows, open_t: int, close_t: int) -> None:
        """Show a bar of every instrument: it fills open orders that had no book since it opened, then sets volatility.

        Args:
            bars: BAR [INSTRUMENTS].
            open_t, close_t: when the bar opened and when it was known. Fills are at its open plus the latency.
        """
        rules = self._policy["rules"]
        at_t = open_t + int(rules["latency_t"])
        self._now_t = max(self._now_t, at_t)
        for s, name in sorted(self._at_instrument.items()):
            if self._known[name].terms.approved_t > open_t or self._book_t[s] >= open_t:
                continue
            qty, price, liquidity = simulate.match_bar(self._policy, self._state, s, bars[s])
            if qty > 0:
                self._fill(name, at_t, (int(qty), int(price), int(liquidity), int(bars[s]["open_e8"])))
        for s in range(INSTRUMENTS):
            if bars[s]["present_n"] != 0:
                outlook.observe_bar(rules, self._state["positions"][s], bars[s], close_t)
        self._now_t = max(self._now_t, close_t)

    def govern(self, policies: Rows) -> None:
        """Fill by another policy's rules from now on, POLICY [1]."""
        self._policy = policies[0]

    def restore(self, states: Rows, orders: Sequence[tuple[ApprovedOrder, int, int]]) -> None:
        """Take up where a folded chain stands; whatever this venue knew before is forgotten.

        Args:
            states: STATE [1] of the desk: marks and volatility.
            orders: what rests here: the order, what is left of it, and when it was last filled (-1: never). A bar that opened
                before that fill does not fill it again.
        """
        self._known.clear()
        self._at_instrument.clear()
        self._events.clear()
        self._state["orders"] = np.zeros_like(self._state["orders"])
        self._state["positions"] = states[0]["positions"]
        self._book_t = [-1] * INSTRUMENTS
        self._now_t = int(states[0]["desk"]["now_t"])
        for order, left_e8, filled_t in orders:
            known = self._known[order.client_order_id] = _Known(order.terms)
            self._rest(order.client_order_id, known)
            self._state["orders"][order.terms.instrument_id]["left_e8"] = left_e8
            self._book_t[order.terms.instrument_id] = filled_t

    def warm_up(self) -> None:
        """Compile what a fill needs, on records that nobody sees."""
        state, bar, level = np.zeros(1, STATE)[0], np.zeros(INSTRUMENTS, BAR)[0], np.zeros(1, np.int64)
        simulate.match_bar(self._policy, state, 0, bar)
        simulate.match_book(self._policy, state, 0, level, level)
        outlook.observe_bar(self._policy["rules"], state["positions"][0], bar, 0)

    def resting(self) -> dict[int, int]:
        """Return what is left of each resting order, by order id."""
        orders = self._state["orders"]
        return {int(o["order_id"]): int(o["left_e8"]) for o in orders if o["order_id"] != 0}

    # ---- the venue's own book ----------------------------------------------------------------------------------

    def _rest(self, name: str, known: _Known) -> None:
        terms = known.terms
        if terms.instrument_id in self._at_instrument:
            raise InvariantError(
                f"a second order of instrument {terms.instrument_id} while one rests",
                expected="at most one order per instrument; the engine sends cancels before new orders",
                action="halt and keep the journal as evidence",
            )
        self._at_instrument[terms.instrument_id] = name
        o = self._state["orders"][terms.instrument_id]
        o["order_id"], o["side_id"], o["status_id"] = terms.order_id, terms.side_id, O_OPEN
        o["qty_e8"] = o["left_e8"] = terms.qty_e8
        o["limit_price_e8"] = terms.limit_price_e8 if terms.side_id == BUY else 0
        known.resting = True

    def _forget(self) -> None:
        """Know the orders that ended long ago no longer: memory does not grow with history."""
        if len(self._known) >= KNOWN_N:
            ended = [name for name, known in self._known.items() if not known.resting]
            for name in ended[: KNOWN_N // 2]:
                del self._known[name]

    def _remove(self, known: _Known) -> None:
        instrument_id = known.terms.instrument_id
        self._state["orders"][instrument_id] = np.zeros((), self._state["orders"].dtype)
        del self._at_instrument[instrument_id]
        known.resting = False

    def _fill(self, name: str, at_t: int, execution: tuple[int, int, int, int]) -> None:
        """Queue an execution (quantity, price, liquidity, price before slippage) and take it off what is left."""
        known = self._known[name]
        terms = known.terms
        qty, price, liquidity, reference = execution
        self._events.append(
            VenueEvent(
                EV_FILL, at_t, terms.instrument_id, terms.quote_id, terms.order_id,
                liquidity_id=liquidity, qty_e8=qty, price_e8=price, reference_e8=reference,
            )
        )  # fmt: skip
        o = self._state["orders"][terms.instrument_id]
        o["left_e8"] -= qty
        if o["left_e8"] == 0:
            self._remove(known)

    def _answer(self, terms: Terms, status: int, value: int = 0) -> VenueEvent:
        return VenueEvent(
            EV_ORDER, self._now_t, terms.instrument_id, terms.quote_id, terms.order_id, status_id=status, value_n=value
        )
