"""Profit taking, re-entry, recovery, clusters, liquidity, fees and cash events, one event at a time."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core import codes as c
from runtime.core import simulate
from runtime.core.records import BAR, CLUSTER, INSTRUMENTS
from runtime.policy import FeeTier, QuoteCap, RiskProfile
from tests.support.desk import E8, Desk, held, last_refusal, resting

UP = (600_000, 20_000)
FLAT = (520_000, 3_000)
DOWN = (400_000, -20_000)
WIDE = {"cluster_cap_ppm": 1_000_000}


def last_action(desk: Desk) -> tuple[str, str]:
    row = desk.rows("trade_signal")[-1]
    return c.ACTION_NAMES[row["action_id"]], c.REASON_NAMES[row["reason_id"]]


# ---- tactical profit taking and re-entry ------------------------------------------------------------------------
def test_profit_is_taken_when_the_near_edge_weakens_and_bought_back_when_it_recovers() -> None:
    desk = Desk(RiskProfile(**WIDE))
    desk.enter()
    bought = held(desk)
    desk.hour(UP, price=103, near=-2_000)
    assert last_action(desk)[0] != "REALISE", "3 % gross does not leave 3 % after costs"
    desk.hour(UP, price=106, near=-2_000)
    assert last_action(desk) == ("REALISE", "TACTICAL_TAKE")
    desk.fill(price_e8=106 * E8)
    assert held(desk) == bought - bought * 330_000 // 10**6
    desk.hour(UP, price=103, near=2_000)
    assert last_action(desk) == ("REENTER", "REENTRY_EDGE")
    order = desk.rows("order_request")[-1]
    taken = desk.rows("trade_signal")[-2]["sized_e8"]
    assert order["reserve_e8"] <= taken, "no more is bought back than was taken"
    assert order["campaign_id"] == desk.rows("order_request")[0]["campaign_id"]


def test_without_a_thesis_or_without_profit_nothing_is_taken() -> None:
    desk = Desk(RiskProfile(**WIDE))
    desk.enter()
    desk.hour(UP, price=100, near=-2_000)
    desk.hour((480_000, -500), price=110, near=-2_000)
    assert all(s["action_id"] != c.REALISE for s in desk.rows("trade_signal"))


def test_profit_taking_is_limited_per_campaign() -> None:
    desk = Desk(RiskProfile(take_max_n=1, **WIDE))
    desk.enter()
    for _ in range(4):
        desk.hour(UP, price=120, near=-2_000)
        if int(desk.state["orders"][0]["order_id"]):
            desk.fill(price_e8=120 * E8)
    assert sum(s["action_id"] == c.REALISE for s in desk.rows("trade_signal")) == 1


def test_the_third_tier_refuses_reentries() -> None:
    profile = RiskProfile(
        base_ppm=1_000_000, total_cap_ppm=1_000_000, size_high_ppm=1_000_000, quote_caps=(QuoteCap(cap_ppm=1_000_000),) * 3,
        take_profit_ppm=0, severe_loss_ppm=1_000_000, **WIDE,
    )  # fmt: skip
    desk = Desk(profile)
    desk.enter()
    desk.hour(UP, price=110, near=-2_000)
    desk.fill(price_e8=110 * E8)
    desk.hour(UP, price=84, near=2_000)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_DD15
    assert last_action(desk)[0] == "REENTER"
    assert last_refusal(desk) == "DRAWDOWN_TIER"


# ---- recovery ---------------------------------------------------------------------------------------------------
def recovering(profile: RiskProfile) -> Desk:
    desk = Desk(profile)
    desk.enter()
    desk.hour(UP, price=85)
    assert int(desk.state["positions"][0]["recovery_n"]) == 1
    return desk


def test_a_severe_loss_holds_while_a_rebound_is_likely() -> None:
    desk = recovering(RiskProfile(recovery_patience_n=2, **WIDE))
    for _ in range(6):
        desk.hour(UP, price=85)
    assert last_action(desk) == ("HOLD", "RECOVERY_HOLD")
    assert {o["side_id"] for o in desk.rows("order_request")} == {c.BUY}


def test_a_severe_loss_reduces_then_leaves_by_the_odds_after_patience() -> None:
    desk = recovering(RiskProfile(recovery_patience_n=2, derisk_max_n=1, **WIDE))
    middling = (470_000, 1_000)
    desk.hour(middling, price=85)
    assert last_action(desk)[0] == "HOLD"
    desk.hour(middling, price=85)
    assert last_action(desk) == ("DERISK", "RECOVERY_DERISK")
    desk.fill(price_e8=85 * E8)
    for _ in range(3):
        desk.hour(middling, price=85)
    assert last_action(desk) == ("HOLD", "RECOVERY_HOLD"), "reductions are used up and the odds do not ask for more"
    for _ in range(2):
        desk.hour((430_000, 500), price=85)
    assert last_action(desk) == ("EXIT", "RECOVERY_EXIT")
    desk.fill(price_e8=85 * E8)
    assert int(desk.state["desk"]["recovering_n"]) == 0


def test_recovery_ends_when_the_loss_has_shrunk() -> None:
    desk = recovering(RiskProfile(**WIDE))
    desk.hour(price=96)
    assert int(desk.state["positions"][0]["recovery_n"]) == 0
    kinds = [e["kind_id"] for e in desk.rows("risk_event")]
    assert kinds.count(c.RISK_RECOVERY) == 2


def test_the_severe_loss_gate_stops_new_entries() -> None:
    desk = recovering(RiskProfile(severe_max=1, **WIDE))
    for _ in range(2):
        desk.hour(UP, price=85, only=(1,))
    assert last_refusal(desk) == "SEVERE_LOSS"


def test_a_horizon_is_extended_while_the_edge_holds() -> None:
    desk = Desk(RiskProfile(horizon_t=7_200, **WIDE))
    desk.enter()
    planned = int(desk.state["positions"][0]["horizon_t"])
    for _ in range(2):
        desk.hour(UP)
    assert last_action(desk) == ("HOLD", "HOLD_EXTENDED")
    assert int(desk.state["positions"][0]["horizon_t"]) == desk.now_t + 7_200 > planned


# ---- gates ------------------------------------------------------------------------------------------------------
def test_instruments_of_one_cluster_share_its_cap() -> None:
    desk = Desk(RiskProfile(base_ppm=60_000, cluster_cap_ppm=80_000, entry_min_ppm=500_000))
    clusters = np.zeros(INSTRUMENTS, CLUSTER)
    clusters["cluster_id"] = np.arange(INSTRUMENTS)
    clusters["cluster_id"][1] = 0
    desk.clusters(clusters, version=3)
    for _ in range(2):
        desk.hour(UP, only=(0, 1, 2))
    assert last_refusal(desk) == "CLUSTER_EXPOSURE"
    assert [o["instrument_id"] for o in desk.rows("order_request")] == [0, 2]
    rows = desk.rows("cluster_exposure_hourly_state")
    assert [(r["cluster_id"], r["members_n"], r["membership_n"]) for r in rows] == [(0, 2, 3), (2, 1, 3)]
    assert rows[0]["in_flight_e8"] == desk.rows("order_request")[0]["reserve_e8"]


def test_a_thin_market_is_refused() -> None:
    desk = Desk(RiskProfile(liquidity_ppm=1, **WIDE))
    desk.hour(UP)
    desk.hour(UP)
    assert last_refusal(desk) == "LIQUIDITY"


def test_a_wide_fresh_quote_is_refused_and_a_stale_one_does_not_count() -> None:
    desk = Desk(RiskProfile(**WIDE))
    desk.hour(UP)
    desk.now_t += 3_590
    desk.event(c.EV_QUOTE, instrument_id=0, price_e8=99 * E8, reference_e8=101 * E8)
    desk.now_t -= 3_590
    desk.hour(UP)
    assert last_refusal(desk) == "LIQUIDITY"
    desk.hour(UP)
    assert len(desk.rows("order_request")) == 1


def test_clock_skew_stops_entries() -> None:
    desk = Desk(RiskProfile(**WIDE))
    desk.hour(UP)
    desk.event(c.EV_HEARTBEAT, value_n=-2_001)
    desk.hour(UP)
    assert last_refusal(desk) == "CLOCK_SKEW"
    desk.event(c.EV_HEARTBEAT, value_n=0)
    desk.hour(UP)
    assert len(desk.rows("order_request")) == 1


# ---- fees, cash, venue ------------------------------------------------------------------------------------------
def test_fees_fall_with_thirty_days_of_volume_and_rise_again() -> None:
    fees = (FeeTier(volume_e8=0, maker_ppm=2_500, taker_ppm=4_000), FeeTier(volume_e8=1_000 * E8, maker_ppm=0, taker_ppm=1_000))
    desk = Desk(RiskProfile(fees=fees, **WIDE))
    desk.enter(0)
    desk.enter(1)
    first, second = desk.rows("order_fill")
    assert first["fee_e8"] == -(-first["notional_e8"] * 4_000 // 10**6)
    assert second["fee_e8"] == -(-second["notional_e8"] * 1_000 // 10**6)
    desk.now_t += 31 * 86_400
    desk.enter(2)
    third = desk.rows("order_fill")[-1]
    assert third["fee_e8"] == -(-third["notional_e8"] * 4_000 // 10**6)


def test_cash_events_are_entries() -> None:
    desk = Desk()
    desk.event(c.EV_WITHDRAWAL, quote_id=c.USD, amount_e8=40_000 * E8)
    desk.event(c.EV_CORRECTION, quote_id=c.USD, amount_e8=-5 * E8)
    desk.event(c.EV_RECONCILIATION, quote_id=c.USD, amount_e8=2 * E8)
    kinds = [c.LEDGER_KIND_NAMES[e["kind_id"]] for e in desk.rows("cash_ledger")]
    assert kinds == ["DEPOSIT", "WITHDRAWAL", "CORRECTION", "RECONCILIATION"]
    assert desk.rows("cash_ledger")[-1]["after_e8"] == 59_997 * E8
    assert int(desk.state["desk"]["peak_e8"]) == 60_000 * E8, "a withdrawal is no loss; a correction is"


@pytest.mark.parametrize(("kind", "amount"), [(c.EV_WITHDRAWAL, 60_000), (c.EV_DEPOSIT, 900_000)])
def test_money_that_comes_or_goes_neither_deepens_nor_hides_a_drawdown(kind: int, amount: int) -> None:
    whole = {"base_ppm": 300_000, "total_cap_ppm": 1_000_000, "quote_caps": (QuoteCap(cap_ppm=1_000_000),) * 3}
    desk = Desk(RiskProfile(**WIDE, **whole, size_high_ppm=1_000_000))
    desk.enter()
    desk.hour(price=60)
    before = int(desk.state["desk"]["drawdown_ppm"])
    assert 110_000 < before < 130_000
    desk.event(kind, quote_id=c.USD, amount_e8=amount * E8)
    assert int(desk.state["desk"]["drawdown_ppm"]) in {before - 1, before}
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_DD10
    desk.hour(price=60)
    assert int(desk.state["desk"]["drawdown_ppm"]) in {before - 1, before}


def test_an_emptied_account_begins_anew() -> None:
    desk = Desk()
    desk.event(c.EV_CORRECTION, quote_id=c.USD, amount_e8=-10_000 * E8)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_DD10
    desk.event(c.EV_WITHDRAWAL, quote_id=c.USD, amount_e8=90_000 * E8)
    assert int(desk.state["desk"]["peak_e8"]) == 0
    desk.event(c.EV_DEPOSIT, quote_id=c.USD, amount_e8=7 * E8)
    assert (int(desk.state["desk"]["peak_e8"]), int(desk.state["desk"]["drawdown_ppm"])) == (7 * E8, 0)


def test_reserved_cash_cannot_be_withdrawn() -> None:
    desk = resting()
    with pytest.raises(ValueError, match="free cash"):
        desk.event(c.EV_WITHDRAWAL, quote_id=c.USD, amount_e8=99_000 * E8)


def test_the_book_is_walked_level_by_level() -> None:
    desk = resting(participation_ppm=100_000)
    prices = np.array([100 * E8, 100 * E8 + 50_000_000, 102 * E8], np.int64)
    quantities = np.array([100 * E8, 1_000 * E8, 10_000 * E8], np.int64)
    qty, price, best = simulate.match_book(desk.policy[0], desk.states[0], 0, prices, quantities)
    left = int(desk.state["orders"][0]["left_e8"])
    assert (qty, best) == (left, 100 * E8)
    cost = 10 * E8 * 100 + (left - 10 * E8) * 1005 // 10
    assert price == -(-cost * E8 // left // 1) or abs(price - cost * E8 // left) <= 1
    quantities[1] = 0
    assert simulate.match_book(desk.policy[0], desk.states[0], 0, prices, quantities)[0] == 10 * E8


def test_a_maker_entry_fills_only_when_the_bar_trades_through_its_price() -> None:
    desk = Desk(RiskProfile(maker_entry=True, **WIDE))
    desk.hour(UP)
    desk.hour(UP)
    limit = int(desk.state["orders"][0]["limit_price_e8"])
    assert limit == 100 * E8
    bar = np.zeros(1, BAR)
    bar[0] = (limit, limit, limit, limit, 10**12, 1)
    assert simulate.match_bar(desk.policy[0], desk.states[0], 0, bar[0])[0] == 0
    bar[0]["low_e8"] = limit - 1
    qty, price, liquidity = simulate.match_bar(desk.policy[0], desk.states[0], 0, bar[0])
    assert (qty, price, liquidity) == (int(desk.state["orders"][0]["left_e8"]), limit, c.MAKER)
