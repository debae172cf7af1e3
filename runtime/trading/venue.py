"""Where orders go and what they meet: approved orders to the exchange, the market to the simulated one, answers back as events.

Between approval and acknowledgement this keeps order (ADR 0013): cancels before new orders, and after a crash a query before either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.approval import ApprovedOrder
from runtime.core.codes import (
    BUY,
    EV_ORDER,
    O_CANCELLED,
    O_CANCELLING,
    O_DENIED,
    O_DUST,
    O_EXPIRED,
    O_FILLED,
    O_NEW,
    O_OPEN,
    O_RETRYING,
    O_UNKNOWN,
)
from runtime.core.digest import Block, decode_payload
from runtime.desk import Desk
from runtime.errors import EnvironmentFailure
from runtime.market import BookView
from runtime.ports import Journal, VenueEvent
from runtime.trading.needs import PaperExchange

Rows = npt.NDArray[np.void]
ENDED: Final = (O_CANCELLED, O_DENIED, O_DUST, O_EXPIRED, O_FILLED)


@dataclass(slots=True)
class Open:
    """An order that the core has open, as it was last approved.

    Attributes:
        order: what was sent.
        shown: the book it met last; the same levels are not taken twice.
        filled_t: when it was last filled, -1 before.
        unknown_t: since when its outcome is unknown, -1 when it is known.
        ending: whether the venue was asked to end it and has not said that it did.
    """

    order: ApprovedOrder
    shown: BookView | None = None
    filled_t: int = -1
    unknown_t: int = -1
    ending: bool = False


class Venue:
    """The exchange as the loop drives it.

    Args:
        exchange: where orders go.
        journal: where approved orders are read back from.
        refill_t: seconds before a partly filled order may take from a book again.
    """

    def __init__(self, exchange: PaperExchange, journal: Journal, refill_t: int) -> None:
        self._exchange, self._journal, self._refill_t = exchange, journal, refill_t
        self.open: dict[int, Open] = {}

    # ---- orders ------------------------------------------------------------------------------------------------

    def act(self, desk: Desk, block: Block) -> tuple[VenueEvent, ...]:
        """Do what a durable block asks for: cancels, then new orders. Return what the venue answered at once."""
        rows = decode_payload(block.payload).get("order_request")
        if rows is None:
            return ()
        answers: list[VenueEvent] = []
        for row in rows:
            answers += self._follow(int(row["order_id"]), int(row["status_id"]), block.at_t)
        for order in desk.approved(self._journal):
            self.open[order.terms.order_id] = Open(order)
            answers += self._submit(order, block.at_t)
        return tuple(answers)

    def _follow(self, order_id: int, status: int, at_t: int) -> tuple[VenueEvent, ...]:
        known = self.open.get(order_id)
        if known is None:
            return ()
        if status == O_CANCELLING:
            known.ending = True
            return self._exchange.cancel(known.order)
        if status == O_UNKNOWN:
            known.unknown_t = at_t if known.unknown_t < 0 else known.unknown_t
        elif status != O_NEW:
            known.unknown_t = -1
        if status in ENDED:
            del self.open[order_id]
            self._exchange.cancel(known.order)  # ended without the venue's word: what it says now concerns no open order
        return ()

    def _submit(self, order: ApprovedOrder, at_t: int) -> tuple[VenueEvent, ...]:
        try:
            return self._exchange.submit(order)
        except EnvironmentFailure:
            terms = order.terms
            return (VenueEvent(EV_ORDER, at_t, terms.instrument_id, terms.quote_id, terms.order_id, O_DENIED),)

    def unresolved(self) -> list[ApprovedOrder]:
        """Return the orders that the venue has to be asked about: of unknown outcome, or asked to end without an answer."""
        return [known.order for known in self.open.values() if known.unknown_t >= 0 or known.ending]

    def unknown_since_t(self) -> int:
        """Return since when the oldest unknown outcome is unknown; -1: none is."""
        return min((known.unknown_t for known in self.open.values() if known.unknown_t >= 0), default=-1)

    def query(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Ask the venue about an order; nothing when it does not answer."""
        try:
            return self._exchange.query(order)
        except EnvironmentFailure:
            return ()

    # ---- the market --------------------------------------------------------------------------------------------

    def due_t(self, latency_t: int) -> int:
        """Return when the next order that met no book yet may meet one; -1 when there is none."""
        return min((o.order.terms.approved_t + latency_t for o in self.open.values() if o.shown is None), default=-1)

    def meets(self, known: Open, view: BookView, now_t: int, latency_t: int) -> bool:
        """Return whether an order may take from a book now."""
        if view is known.shown or now_t < known.order.terms.approved_t + latency_t:
            return False
        return known.filled_t < 0 or now_t >= known.filled_t + self._refill_t

    def show_book(self, known: Open, view: BookView, now_t: int) -> tuple[VenueEvent, ...]:
        """Show a book to an order and return the fills."""
        terms = known.order.terms
        known.shown = view
        side = view.asks if terms.side_id == BUY else view.bids
        self._exchange.on_book(terms.instrument_id, now_t, side[:, 0], side[:, 1])
        fills = self._exchange.receive()
        if fills:
            known.filled_t = now_t
        return fills

    def show_bars(self, bars: Rows, open_t: int, close_t: int) -> tuple[VenueEvent, ...]:
        """Show closed bars; return the fills of orders that met no book since the bars opened."""
        self._exchange.on_bars(bars, open_t, close_t)
        return self._exchange.receive()

    def govern(self, policy: Rows) -> None:
        """Fill by another policy's rules from now on."""
        self._exchange.govern(policy)

    # ---- after a start, and once a day -------------------------------------------------------------------------

    def restore(self, desk: Desk, filled_t: dict[int, int]) -> list[VenueEvent]:
        """Take up the open orders of a folded chain; return what must be taken in before any other event.

        What was approved and not acknowledged may or may not have left the last process: its outcome is unknown, and asked for.
        """
        state = desk.state[0]
        answers: list[VenueEvent] = []
        resting = []
        for s, o in enumerate(state["orders"]):
            order_id, status = int(o["order_id"]), int(o["status_id"])
            if order_id == 0:
                continue
            order = desk.order(self._journal, order_id)
            known = self.open[order_id] = Open(order, filled_t=filled_t.get(s, -1))
            if o["acked_n"] != 0:
                resting.append((order, int(o["left_e8"]), known.filled_t))
            if status == O_NEW:
                terms = order.terms
                answers.append(VenueEvent(EV_ORDER, desk.now_t, s, terms.quote_id, order_id, O_UNKNOWN))
            elif status == O_UNKNOWN:
                known.unknown_t = desk.now_t
            known.ending = status == O_CANCELLING
        self._exchange.restore(desk.state, resting)
        return answers

    def resolve(self, desk: Desk) -> list[VenueEvent]:
        """Ask about every open order after a start; return what is news to the core."""
        news: list[VenueEvent] = []
        for o in desk.state[0]["orders"]:
            status = int(o["status_id"])
            if o["order_id"] == 0 or status == O_RETRYING:
                continue
            said = self.query(self.open[int(o["order_id"])].order)
            asked = status in (O_UNKNOWN, O_CANCELLING)
            news += [event for event in said if asked or event.kind_id != EV_ORDER or event.status_id != O_OPEN]
        return news

    def mismatch(self, desk: Desk) -> str:
        """Return how the exchange's resting orders differ from the core's open ones; empty when they do not.

        What the exchange has must be open here with the same quantity left; what it acknowledged it must have.
        """
        orders = desk.state[0]["orders"]
        sent = orders[(orders["order_id"] != 0) & (orders["status_id"] != O_RETRYING)]
        ours = {int(o["order_id"]): int(o["left_e8"]) for o in sent}
        acked = {int(o["order_id"]) for o in sent if o["acked_n"] != 0}
        theirs = self._exchange.resting()
        wrong = sorted(i for i in theirs.keys() | acked if ours.get(i) != theirs.get(i))
        return f"order {wrong[0]}: {ours.get(wrong[0])} left here, {theirs.get(wrong[0])} at the venue" if wrong else ""
