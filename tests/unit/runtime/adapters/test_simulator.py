"""The simulated venue behind the port gives the same run, byte for byte, as the backtest's sweep."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.adapters.simulator import SimulatedExchange, _Known
from runtime.core import codes as c
from runtime.core.digest import decode_payload
from runtime.engine import iterate_blocks
from runtime.errors import InvariantError
from runtime.policy import RiskProfile
from tests.support.desk import E8, Desk
from tests.support.markets import random_inputs
from tests.support.wiring import Office, run_with_exchange

BUSY = RiskProfile(
    entry_persist_n=1,
    cluster_cap_ppm=1_000_000,
    liquidity_ppm=1_000_000,
    total_cap_ppm=800_000,
    margin_ppm=0,
    order_ttl_t=3_600,
)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("maker", [False, True])
def test_a_run_through_the_port_is_the_run_of_the_sweep(seed: int, maker: bool) -> None:
    profile = BUSY.model_copy(update={"maker_entry": maker})
    inputs = random_inputs(seed, hours=200, profile=profile)
    expected = [block for chunk in iterate_blocks(inputs) for block in chunk]
    found = run_with_exchange(inputs, SimulatedExchange(profile.to_record(inputs.genesis.pairs), acknowledges=False))
    assert found == expected
    kinds = [block.kind_id for block in found]
    assert kinds.count(c.EV_FILL) >= 5
    ended = [row for block in found for row in decode_payload(block.payload).get("order_request", ())]
    assert any(row["status_id"] in {c.O_EXPIRED, c.O_CANCELLED, c.O_DUST} for row in ended), "the cancels are exercised"


def office(**fields: int) -> Office:
    made = Office(Desk(RiskProfile(entry_persist_n=1, **fields)))
    made.desk.hour((600_000, 20_000))
    return made


def test_a_book_since_the_bar_opened_wins_over_the_bar() -> None:
    o = office(participation_ppm=100_000)
    (order,) = o.approve()
    venue = SimulatedExchange(o.desk.policy)
    venue.submit(order)
    open_t = order.terms.approved_t
    empty = np.array([0], np.int64)
    venue.on_book(0, open_t + 5, np.array([100 * E8], np.int64), empty)
    venue.on_bars(o.desk.bars(100), open_t, open_t + 3_600)
    assert venue.receive() == (), "a book was there and offered nothing"
    venue.on_bars(o.desk.bars(100), open_t + 3_600, open_t + 7_200)
    (fill,) = venue.receive()
    assert fill.at_t == open_t + 3_601


def test_latency_and_expiry_keep_a_book_from_an_order() -> None:
    o = office(latency_t=10, order_ttl_t=60, participation_ppm=100_000)
    (order,) = o.approve()
    venue = SimulatedExchange(o.desk.policy)
    venue.submit(order)
    price, level = np.array([100 * E8], np.int64), np.array([10**6 * E8], np.int64)
    for at_t in (order.terms.approved_t + 9, order.terms.expires_t):
        venue.on_book(0, at_t, price, level)
        assert venue.receive() == ()
    venue.on_book(1, order.terms.approved_t + 10, price, level)
    assert venue.receive() == (), "another instrument's book"
    venue.on_book(0, order.terms.approved_t + 10, price, level)
    assert len(venue.receive()) == 1


def test_a_bar_that_opened_before_the_approval_fills_nothing() -> None:
    o = office()
    (order,) = o.approve()
    venue = SimulatedExchange(o.desk.policy)
    venue.submit(order)
    venue.on_bars(o.desk.bars(100), order.terms.approved_t - 3_600, order.terms.approved_t)
    assert venue.receive() == ()


def test_two_orders_of_one_instrument_are_a_broken_invariant() -> None:
    a, b = office(), office(base_ppm=10_000)
    venue = SimulatedExchange(a.desk.policy)
    b.desk.state["desk"]["order_n"] += 5
    (first,) = a.approve()
    b.desk.event(c.EV_ORDER, order_id=1, status_id=c.O_DENIED)
    b.desk.hour((600_000, 20_000))
    (second,) = [order for order in b.approve() if order.terms.order_id != first.terms.order_id]
    venue.submit(first)
    with pytest.raises(InvariantError, match="second order"):
        venue.submit(second)


def test_a_fill_from_one_level_has_that_levels_price() -> None:
    o = office(participation_ppm=100_000)
    (order,) = o.approve()
    venue = SimulatedExchange(o.desk.policy)
    venue.submit(order)
    price = 100 * E8 + 1
    venue.on_book(0, order.terms.approved_t + 1, np.array([price], np.int64), np.array([10**6 * E8], np.int64))
    (fill,) = venue.receive()
    assert fill.price_e8 == fill.reference_e8 == price, "the average of a rounded cost would be one unit beyond it"


def test_a_restored_venue_holds_what_the_desk_holds() -> None:
    o = office(participation_ppm=100_000)
    (order,) = o.approve()
    venue = SimulatedExchange(o.desk.policy)
    open_t = order.terms.approved_t
    left = order.terms.qty_e8 // 2
    venue.restore(o.desk.states, [(order, left, open_t + 2)])
    assert venue.resting() == {order.terms.order_id: left}
    venue.on_bars(o.desk.bars(100), open_t, open_t + 3_600)
    assert venue.receive() == (), "it was filled in that bar already"
    venue.on_bars(o.desk.bars(100), open_t + 3_600, open_t + 7_200)
    (fill,) = venue.receive()
    assert fill.qty_e8 == left
    venue.restore(o.desk.states, [])
    assert venue.resting() == {}


def test_the_venue_forgets_what_ended_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.simulator.KNOWN_N", 4)
    o = office()
    (order,) = o.approve()
    venue = SimulatedExchange(o.desk.policy)
    venue._known = {f"old {n}": _Known(order.terms, cancelled=True) for n in range(3)} | {
        "rests": _Known(order.terms, resting=True)
    }
    venue.submit(order)
    assert sorted(venue._known) == sorted(["old 2", "rests", order.client_order_id])
