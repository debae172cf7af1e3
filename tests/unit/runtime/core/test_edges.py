"""What the state machines found: one small test for each defect, beside the machine that would find it again."""

from __future__ import annotations

import pytest

from runtime.core import codes as c
from runtime.core import risk
from runtime.policy import RiskProfile
from tests.support.desk import E8, Desk

UP = (600_000, 20_000)


def resting(**fields: int) -> Desk:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, **fields))
    desk.hour(UP)
    desk.hour(UP)
    return desk


def order(desk: Desk) -> dict[str, int]:
    row = desk.state["orders"][0]
    return dict(zip(row.dtype.names, row.item(), strict=True))


def test_a_rejection_that_arrives_twice_is_one_rejection() -> None:
    desk = resting()
    rejected = {"instrument_id": 0, "order_id": order(desk)["order_id"], "status_id": c.O_REJECTED, "value_n": 1}
    desk.event(c.EV_ORDER, **rejected)
    with pytest.raises(ValueError, match="does not follow"):
        desk.event(c.EV_ORDER, **rejected)


def test_a_withdrawal_leaves_what_rounding_of_partial_fills_may_take() -> None:
    desk = resting()
    cash = int(desk.state["cash"][0]["cash_e8"])
    free = cash - order(desk)["reserve_e8"] - 1_000
    desk.event(c.EV_WITHDRAWAL, quote_id=c.USD, amount_e8=free)
    for _ in range(100):  # at the limit, in parts whose fees are each rounded up
        desk.fill(qty_e8=1_000_001, price_e8=order(desk)["limit_price_e8"])
    desk.fill(price_e8=order(desk)["limit_price_e8"])
    assert 0 <= int(desk.state["cash"][0]["cash_e8"]) <= 1_000


def test_a_withdrawal_of_the_margin_beside_an_open_buy_is_refused() -> None:
    desk = resting()
    cash = int(desk.state["cash"][0]["cash_e8"])
    with pytest.raises(ValueError, match="free cash"):
        desk.event(c.EV_WITHDRAWAL, quote_id=c.USD, amount_e8=cash - order(desk)["reserve_e8"] - 999)


def test_a_price_near_zero_does_not_overflow() -> None:
    desk = Desk(cash_e8=10**7 * E8)
    desk.state["positions"][0]["mark_e8"] = 1
    qty, limit, *_ = risk.affordable(desk.policy[0], desk.states[0], 0, 10**15)
    assert limit == 1
    assert 0 < qty < 2**63
