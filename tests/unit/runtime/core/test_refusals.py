"""What cannot be: events that do not fit the state end the run, and corners of the venue model that markets rarely show."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core import codes as c
from runtime.core import simulate
from runtime.core.records import BAR, CLUSTER, INSTRUMENTS
from tests.support.books import Books
from tests.support.desk import E8, Desk, last_refusal, resting


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (c.EV_DEPOSIT, {"amount_e8": -1}, "positive amounts"),
        (c.EV_WITHDRAWAL, {"amount_e8": -1}, "positive amounts"),
        (c.EV_DEPOSIT, {"amount_e8": 1, "quote_id": 3}, "unknown currency"),
        (c.EV_DEPOSIT, {"amount_e8": 1, "quote_id": -1}, "unknown currency"),
        (c.EV_QUOTE, {"price_e8": 0, "reference_e8": 5}, "0 < bid <= ask"),
        (c.EV_QUOTE, {"price_e8": 6, "reference_e8": 5}, "0 < bid <= ask"),
    ],
)
def test_an_event_of_impossible_numbers_is_refused(kind: int, fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Desk().event(kind, **fields)


@pytest.mark.parametrize("cluster", [-1, INSTRUMENTS])
def test_a_membership_outside_the_instruments_is_refused(cluster: int) -> None:
    members = np.zeros(INSTRUMENTS, CLUSTER)
    members["cluster_id"][5] = cluster
    with pytest.raises(ValueError, match="cluster id is out of range"):
        Desk().clusters(members, version=1)


@pytest.mark.parametrize("order_id", [0, 2])
def test_a_fill_of_another_order_is_refused(order_id: int) -> None:
    with pytest.raises(ValueError, match="does not belong to an open order"):
        resting().event(c.EV_FILL, instrument_id=0, order_id=order_id, qty_e8=1, price_e8=E8, liquidity_id=c.TAKER)


def test_a_fill_of_an_order_that_waits_for_its_retry_is_refused() -> None:
    desk = resting()
    desk.event(c.EV_ORDER, instrument_id=0, order_id=1, status_id=c.O_REJECTED, value_n=1)
    with pytest.raises(ValueError, match="does not belong to an open order"):
        desk.event(c.EV_FILL, instrument_id=0, order_id=1, qty_e8=1, price_e8=E8, liquidity_id=c.TAKER)


def test_an_order_the_venue_never_had_is_given_up_after_its_last_attempt() -> None:
    desk = resting()
    desk.policy[0]["rules"]["retries_max_n"] = 0
    desk.event(c.EV_ORDER, instrument_id=0, order_id=1, status_id=c.O_UNKNOWN)
    desk.event(c.EV_ORDER, instrument_id=0, order_id=1, status_id=c.O_CANCELLED, value_n=1)
    assert [row["status_id"] for row in desk.rows("order_request")] == [c.O_NEW, c.O_UNKNOWN, c.O_CANCELLED]
    assert int(desk.state["orders"][0]["order_id"]) == 0


def test_a_retry_whose_outlook_is_gone_does_not_pay() -> None:
    desk = resting()
    desk.event(c.EV_ORDER, instrument_id=0, order_id=1, status_id=c.O_REJECTED, value_n=1)
    desk.state["positions"][0]["outlook_id"] = c.NEUTRAL
    desk.now_t += 60
    desk.event(c.EV_HEARTBEAT)
    assert last_refusal(desk) == "COST"
    assert desk.rows("risk_event")[-1]["value_v"] == 0, "no edge without an outlook"


def test_a_sale_at_a_price_that_rounds_to_nothing_does_not_fill() -> None:
    books = Books()
    books.rules["participation_ppm"] = 10**6
    books.instruments["tick_e8"] = 10
    order = books.orders[0]
    order["order_id"], order["side_id"], order["left_e8"], order["status_id"] = 1, c.SELL, E8, c.O_NEW
    bar = np.zeros(1, BAR)
    bar[0] = (9, 20, 0, 9, 10**9, 1)
    assert tuple(int(x) for x in simulate.match_bar(books.policy, books.state, 0, bar[0])) == (0, 0, c.TAKER)
    bar[0] = (19, 20, 0, 9, 10**9, 1)
    qty, price, _ = simulate.match_bar(books.policy, books.state, 0, bar[0])
    assert (int(qty), int(price)) == (E8, 10)
