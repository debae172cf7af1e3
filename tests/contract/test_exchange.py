"""What every exchange adapter promises. A live adapter joins by another `Venue`: its sandbox, and a way to make its market trade."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import pytest

from runtime.adapters.simulator import Reply, SimulatedExchange
from runtime.approval import ApprovedOrder
from runtime.core import codes as c
from runtime.policy import RiskProfile
from runtime.ports import Exchange, VenueEvent
from tests.support.desk import E8, Desk
from tests.support.wiring import Office

PROFILE = RiskProfile(entry_persist_n=1, participation_ppm=100_000)


class Venue(Protocol):
    """An adapter under test and the world behind it."""

    exchange: Exchange

    def trade(self, order: ApprovedOrder, qty_e8: int, price_e8: int) -> None:
        """Make the market offer this quantity to the order at this price, after its latency."""

    def restart(self) -> None:
        """Replace the adapter by a new one for the same account, as after a crash."""


class SimulatedVenue:
    """The simulated exchange with an order book of one level."""

    def __init__(self, desk: Desk, replies: tuple[Reply, ...]) -> None:
        self.simulated = SimulatedExchange(desk.policy, replies=replies)
        self.exchange: Exchange = self.simulated

    def trade(self, order: ApprovedOrder, qty_e8: int, price_e8: int) -> None:
        terms = order.terms
        level = np.array([qty_e8 * 10], np.int64)  # a tenth of a level may be taken
        self.simulated.on_book(terms.instrument_id, terms.approved_t + 1, np.array([price_e8], np.int64), level)

    def restart(self) -> None:
        """Keep it: the venue's memory is not the adapter's to lose."""


@pytest.fixture
def office() -> Office:
    desk = Desk(PROFILE)
    office = Office(desk)
    office.journal_rows()
    return office


Make = Callable[..., Venue]


@pytest.fixture(params=["simulated"])
def make(request: pytest.FixtureRequest, office: Office) -> Iterator[Make]:
    made: list[Venue] = []

    def build(*replies: Reply) -> Venue:
        made.append(SimulatedVenue(office.desk, replies))
        return made[-1]

    yield build
    for venue in made:
        venue.exchange.close()
        venue.exchange.close()


def buy(office: Office) -> ApprovedOrder:
    office.desk.hour((600_000, 20_000))
    (order,) = office.approve()
    assert order.terms.side_id == c.BUY
    return order


def statuses(events: tuple[VenueEvent, ...]) -> list[tuple[int, int]]:
    return [(event.status_id, event.value_n) for event in events if event.kind_id == c.EV_ORDER]


def fills(events: tuple[VenueEvent, ...]) -> list[VenueEvent]:
    return [event for event in events if event.kind_id == c.EV_FILL]


def test_an_accepted_order_is_open_and_names_its_order(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    (answer,) = venue.exchange.submit(order)
    assert (answer.kind_id, answer.status_id) == (c.EV_ORDER, c.O_OPEN)
    assert (answer.order_id, answer.instrument_id, answer.quote_id) == (order.terms.order_id, 0, c.USD)
    assert answer.at_t >= order.terms.approved_t
    assert venue.exchange.receive() == ()
    office.take((answer,))
    assert office.desk.rows("order_request")[-1]["status_id"] == c.O_OPEN


def test_fills_arrive_once_and_in_order_and_fit_the_order(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    office.take(venue.exchange.submit(order))
    half = order.terms.qty_e8 // 2
    venue.trade(order, half, 100 * E8)
    venue.trade(order, order.terms.qty_e8, 100 * E8)
    events = venue.exchange.receive()
    assert [fill.qty_e8 for fill in fills(events)] == [half, order.terms.qty_e8 - half]
    assert all(fill.price_e8 <= order.terms.limit_price_e8 and fill.reference_e8 > 0 for fill in fills(events))
    assert venue.exchange.receive() == ()
    office.take(events)
    assert office.desk.rows("order_request")[-1]["status_id"] == c.O_FILLED


def test_a_buy_is_never_filled_beyond_its_limit(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    venue.exchange.submit(order)
    venue.trade(order, order.terms.qty_e8, order.terms.limit_price_e8 + 1)
    assert venue.exchange.receive() == ()


def test_the_same_id_is_one_order(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    first = venue.exchange.submit(order)
    venue.restart()
    again = venue.exchange.submit(order)
    assert statuses(again) == statuses(first) == [(c.O_OPEN, 0)]
    venue.trade(order, 3 * order.terms.qty_e8, 100 * E8)
    assert sum(fill.qty_e8 for fill in venue.exchange.receive()) == order.terms.qty_e8
    assert venue.exchange.submit(order) == ()
    venue.trade(order, order.terms.qty_e8, 100 * E8)
    assert venue.exchange.receive() == ()


def test_a_cancelled_order_ends_once(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    venue.exchange.submit(order)
    assert statuses(venue.exchange.cancel(order)) == [(c.O_CANCELLED, 0)]
    assert venue.exchange.cancel(order) == ()
    venue.trade(order, order.terms.qty_e8, 100 * E8)
    assert venue.exchange.receive() == ()
    assert statuses(venue.exchange.query(order)) == [(c.O_CANCELLED, 0)]
    assert statuses(venue.exchange.submit(order)) == [(c.O_CANCELLED, 0)]


def test_cancelling_what_fills_ended_says_nothing(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    venue.exchange.submit(order)
    venue.trade(order, order.terms.qty_e8, 100 * E8)
    assert venue.exchange.cancel(order) == ()
    assert len(venue.exchange.receive()) == 1


def test_a_query_brings_the_fills_before_the_state(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    venue.exchange.submit(order)
    venue.trade(order, order.terms.qty_e8 // 2, 100 * E8)
    events = venue.exchange.query(order)
    assert [event.kind_id for event in events] == [c.EV_FILL, c.EV_ORDER]
    assert statuses(events) == [(c.O_OPEN, 0)]
    assert venue.exchange.receive() == ()
    venue.trade(order, order.terms.qty_e8, 100 * E8)
    assert [event.kind_id for event in venue.exchange.query(order)] == [c.EV_FILL]
    assert venue.exchange.query(order) == ()


def test_a_query_for_what_never_arrived_says_that_it_may_be_tried_again(office: Office, make: Make) -> None:
    order, venue = buy(office), make()
    assert statuses(venue.exchange.query(order)) == [(c.O_CANCELLED, 1)]
    assert venue.exchange.cancel(order) == ()
    assert statuses(venue.exchange.submit(order)) == [(c.O_OPEN, 0)]


@pytest.mark.parametrize(("reply", "value"), [(Reply.REJECT, 1), (Reply.REFUSE, 0)])
def test_a_no_is_a_value_and_is_repeated(office: Office, make: Make, reply: Reply, value: int) -> None:
    order, venue = buy(office), make(reply)
    answer = venue.exchange.submit(order)
    assert statuses(answer) == statuses(venue.exchange.submit(order)) == statuses(venue.exchange.query(order))
    assert statuses(answer) == [(c.O_REJECTED, value)]
    assert venue.exchange.cancel(order) == ()
    office.take(answer)
    last = office.desk.rows("order_request")[-1]["status_id"]
    assert last == (c.O_RETRYING if value else c.O_CANCELLED)


@pytest.mark.parametrize(("reply", "found"), [(Reply.LOSE, (c.O_CANCELLED, 1)), (Reply.HIDE, (c.O_OPEN, 0))])
def test_an_unknown_outcome_is_resolved_by_a_query(
    office: Office, make: Make, reply: Reply, found: tuple[int, int]
) -> None:  # fmt: skip
    order, venue = buy(office), make(reply)
    answer = venue.exchange.submit(order)
    assert statuses(answer) == [(c.O_UNKNOWN, 0)]
    office.take(answer)
    resolved = venue.exchange.query(order)
    assert statuses(resolved) == [found]
    office.take(resolved)
    last = office.desk.rows("order_request")[-1]["status_id"]
    assert last == (c.O_RETRYING if reply is Reply.LOSE else c.O_OPEN)


def test_a_retry_after_a_lost_order_is_another_id(office: Office, make: Make) -> None:
    order, venue = buy(office), make(Reply.LOSE)
    office.take(venue.exchange.submit(order))
    office.take(venue.exchange.query(order))
    office.desk.now_t += 60
    office.desk.event(c.EV_HEARTBEAT)
    (retry,) = office.approve()
    assert (retry.terms.order_id, retry.terms.attempt_n) == (order.terms.order_id, 2)
    assert retry.client_order_id != order.client_order_id
    assert statuses(venue.exchange.submit(retry)) == [(c.O_OPEN, 0)]


def test_a_sale_at_the_market_fills_at_the_bids(office: Office, make: Make) -> None:
    venue = make()
    order = buy(office)
    office.take(venue.exchange.submit(order))
    venue.trade(order, order.terms.qty_e8, 100 * E8)
    office.take(venue.exchange.receive())
    office.desk.now_t += 3_600 - office.desk.now_t % 3_600
    for _ in range(3):
        office.desk.hour((300_000, -50_000))
        sales = office.approve()
        if sales:
            break
    (sale,) = sales
    assert (sale.terms.side_id, sale.terms.limit_price_e8) == (c.SELL, 0)
    office.take(venue.exchange.submit(sale))
    venue.trade(sale, sale.terms.qty_e8, 90 * E8)
    (fill,) = venue.exchange.receive()
    assert (fill.price_e8, fill.qty_e8, fill.reference_e8) == (90 * E8, sale.terms.qty_e8, 90 * E8)
    office.take((fill,))
    assert int(office.desk.state["positions"][0]["qty_e8"]) == order.terms.qty_e8 - sale.terms.qty_e8
