"""What the core does in each situation of the strategy and risk tables, one event at a time."""

from __future__ import annotations

import pytest

from runtime.core import codes as c
from runtime.core.step import SWITCH_HALT, SWITCH_KILL, SWITCH_RELEASE_TIER
from runtime.policy import PairRules, QuoteCap, RiskProfile
from tests.support.desk import E8, Desk

UP = (600_000, 20_000)
DOWN = (400_000, -20_000)
SOFT_DOWN = (460_000, -3_000)
FLAT = (500_000, 0)


WIDE = RiskProfile(cluster_cap_ppm=1_000_000)


def refusals(desk: Desk) -> list[tuple[str, int, int]]:
    events = [e for e in desk.rows("risk_event") if e["kind_id"] == c.RISK_REFUSED]
    return [(c.GATE_NAMES[e["gate_id"]], e["limit_v"], e["value_v"]) for e in events]


def actions(desk: Desk) -> list[tuple[str, str]]:
    return [(c.ACTION_NAMES[s["action_id"]], c.REASON_NAMES[s["reason_id"]]) for s in desk.rows("trade_signal")]


def test_entry_needs_two_confirmations_then_buys() -> None:
    desk = Desk(WIDE)
    desk.hour(UP)
    assert desk.rows("order_request") == []
    assert actions(desk) == []
    desk.hour(UP)
    assert actions(desk) == [("ENTER", "ENTRY_STRONG")]
    (order,) = desk.rows("order_request")
    assert (order["side_id"], order["status_id"], order["limit_price_e8"]) == (c.BUY, c.O_NEW, 101 * E8)
    # base 2 % x volatility scale 1.5 (calm market), the fee and the limit distance inside it
    assert order["reserve_e8"] <= 3_000 * E8 < order["reserve_e8"] + 2 * E8
    desk.fill()
    assert int(desk.state["positions"][0]["qty_e8"]) == order["qty_e8"]


def test_the_cost_gate_refuses_an_edge_that_does_not_pay() -> None:
    profile = RiskProfile()
    needed = 2 * (profile.fees[0].taker_ppm + profile.half_spread_ppm + profile.slippage_ppm) + profile.margin_ppm
    desk = Desk(WIDE)
    for edge in (needed, needed, needed + 1):
        desk.hour((600_000, edge))
    assert needed == 11_000, "1.1 % taker, cost included, is the default of the research"
    assert refusals(desk) == [("COST", needed, needed)]
    assert len(desk.rows("order_request")) == 1


@pytest.mark.parametrize(
    ("switch", "gate"), [(SWITCH_KILL, "KILL_SWITCH"), (SWITCH_HALT, "ENTRY_HALT")]
)  # fmt: skip
def test_switches_block_entries_until_released(switch: int, gate: str) -> None:
    desk = Desk(WIDE)
    desk.event(c.EV_CONTROL, instrument_id=switch, value_n=1)
    desk.hour(UP)
    desk.hour(UP)
    assert refusals(desk) == [(gate, 0, 1)]
    desk.event(c.EV_CONTROL, instrument_id=switch, value_n=0)
    desk.hour(UP)
    assert len(desk.rows("order_request")) == 1


def test_kill_cancels_resting_entries_and_still_lets_a_position_out() -> None:
    desk = Desk(WIDE)
    desk.enter(0)
    for _ in range(2):
        desk.hour(UP, only=(0, 1))
    assert int(desk.state["orders"][1]["order_id"]) != 0
    desk.event(c.EV_CONTROL, instrument_id=SWITCH_KILL, value_n=1)
    assert int(desk.state["orders"][1]["order_id"]) == 0
    assert desk.rows("order_request")[-1]["status_id"] == c.O_CANCELLED
    for _ in range(2):
        desk.hour(DOWN)
    assert actions(desk)[-1] == ("EXIT", "EXIT_STRONG_NEGATIVE")
    desk.fill()
    assert int(desk.state["positions"][0]["qty_e8"]) == 0


def test_drawdown_tiers_shrink_entries_and_the_last_one_needs_a_release() -> None:
    desk = Desk(
        RiskProfile(
            cluster_cap_ppm=1_000_000,
            base_ppm=1_000_000,
            total_cap_ppm=1_000_000,
            quote_caps=(QuoteCap(cap_ppm=1_000_000),) * 3,
            size_high_ppm=1_000_000,
        )
    )
    desk.enter(0)
    desk.hour(price=88)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_DD10
    desk.hour(price=100)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_NORMAL
    desk.hour(price=75)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_HALT20
    desk.hour(price=100)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_HALT20, "HALT20 stays until an operator releases it"
    for _ in range(2):
        desk.hour(UP, only=(1,))
    assert refusals(desk)[-1][0] == "DRAWDOWN_TIER"
    assert desk.rows("order_request")[-1]["instrument_id"] == 0, "tiers never force a sale"
    desk.event(c.EV_CONTROL, instrument_id=SWITCH_RELEASE_TIER)
    assert int(desk.state["desk"]["tier_id"]) == c.TIER_NORMAL
    tiers = [e["tier_id"] for e in desk.rows("risk_event") if e["kind_id"] == c.RISK_TIER]
    assert tiers == [c.TIER_DD10, c.TIER_NORMAL, c.TIER_HALT20, c.TIER_NORMAL]


def test_position_limit_counts_orders_in_flight() -> None:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, positions_max=2))
    for _ in range(2):
        desk.hour(UP, only=(0, 1, 2))
    assert refusals(desk) == [("MAX_POSITIONS", 2, 2)]


def test_total_cap_cuts_then_refuses() -> None:
    desk = Desk(
        RiskProfile(
            cluster_cap_ppm=1_000_000, base_ppm=100_000, total_cap_ppm=200_000, quote_caps=(QuoteCap(cap_ppm=1_000_000),) * 3
        )
    )
    for _ in range(2):
        desk.hour(UP, only=(0, 1, 2))
    cuts = [e for e in desk.rows("risk_event") if e["kind_id"] == c.RISK_CUT]
    assert [c.GATE_NAMES[e["gate_id"]] for e in cuts] == ["TOTAL_EXPOSURE"]
    assert [name for name, *_ in refusals(desk)] == ["TOTAL_EXPOSURE"]
    reserved = sum(o["reserve_e8"] for o in desk.rows("order_request"))
    assert reserved <= 20_000 * E8


def test_quote_cap_and_budget_refuse_by_name() -> None:
    none = QuoteCap(cap_ppm=0)
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, quote_caps=(none, none, none)))
    desk.hour(UP)
    desk.hour(UP)
    assert refusals(desk) == [("QUOTE_CAP", 0, 0)]
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, budget_cap_e8=1))
    desk.hour(UP)
    desk.hour(UP)
    assert [name for name, *_ in refusals(desk)] == ["GLOBAL_BUDGET"]


def test_cash_gate_counts_what_open_orders_reserve() -> None:
    wide = (QuoteCap(cap_ppm=1_000_000),) * 3
    profile = RiskProfile(
        cluster_cap_ppm=1_000_000,
        base_ppm=700_000,
        size_high_ppm=1_000_000,
        total_cap_ppm=1_000_000,
        quote_caps=wide,
        entry_min_ppm=0,
    )
    desk = Desk(profile)
    for _ in range(2):
        desk.hour(UP, only=(0, 1, 2))
    reserved = sum(o["reserve_e8"] for o in desk.rows("order_request"))
    assert reserved <= 100_000 * E8 - 1_000
    assert len(desk.rows("order_request")) == 2


def test_minimum_and_lot_refuse_by_name() -> None:
    desk = Desk(cash_e8=10 * E8)
    desk.hour(UP)
    desk.hour(UP)
    assert [name for name, *_ in refusals(desk)] == ["MINIMUM_COST"]
    desk = Desk(pair=PairRules(lot_e8=10**6 * E8))
    desk.hour(UP)
    desk.hour(UP)
    assert [name for name, *_ in refusals(desk)] == ["LOT_SIZE"]


def test_an_asset_in_a_gap_is_refused_as_stale() -> None:
    desk = Desk(WIDE)
    desk.hour(UP)
    desk.hour(UP, present=(1, 2))
    assert refusals(desk) == [("FRESHNESS", 1_800, 3_600)]


def test_a_predicted_near_drop_delays_the_entry() -> None:
    desk = Desk(WIDE)
    for _ in range(3):
        desk.hour(UP, near=-6_000)
    assert actions(desk) == [("DIP_WAIT", "DIP_WAIT")]
    desk.hour(UP)
    assert actions(desk)[-1] == ("ENTER", "DIP_ENTRY")


def test_negative_outlook_reduces_then_exits() -> None:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, derisk_max_n=1))
    desk.enter()
    bought = int(desk.state["positions"][0]["qty_e8"])
    for _ in range(3):
        desk.hour(SOFT_DOWN)
    assert actions(desk)[-1] == ("DERISK", "DERISK_NEGATIVE")
    desk.fill()
    assert int(desk.state["positions"][0]["qty_e8"]) == bought - bought // 2
    for _ in range(2):
        desk.hour(SOFT_DOWN)
    assert actions(desk)[-1] == ("EXIT", "EXIT_NEGATIVE")
    desk.fill()
    assert int(desk.state["desk"]["open_n"]) == 0


def test_uncertainty_reduces_a_neutral_position() -> None:
    desk = Desk(WIDE)
    desk.enter()
    for _ in range(2):
        desk.hour(FLAT, uncertainty=900_000)
    assert actions(desk)[-1] == ("DERISK", "DERISK_UNCERTAIN")


def test_neither_time_nor_loss_alone_closes_a_position() -> None:
    desk = Desk(WIDE)
    desk.enter()
    for _ in range(400):
        desk.hour(price=60)
    assert {o["side_id"] for o in desk.rows("order_request")} == {c.BUY}
    assert actions(desk)[-1][0] == "HOLD"


def test_orders_expire() -> None:
    desk = Desk(WIDE)
    desk.hour(UP)
    desk.hour(UP)
    desk.hour()
    assert int(desk.state["orders"][0]["order_id"]) != 0
    desk.hour()
    assert int(desk.state["orders"][0]["order_id"]) == 0
    assert desk.rows("order_request")[-1]["status_id"] == c.O_EXPIRED


def test_partial_fills_keep_cash_lots_and_reserve_in_step() -> None:
    desk = Desk(WIDE)
    desk.hour(UP)
    desk.hour(UP)
    left = int(desk.state["orders"][0]["left_e8"])
    desk.fill(qty_e8=left // 3)
    assert desk.rows("order_request")[-1]["status_id"] == c.O_PARTIAL
    assert int(desk.state["orders"][0]["reserve_e8"]) < desk.rows("order_request")[0]["reserve_e8"]
    desk.fill()
    assert desk.rows("order_request")[-1]["status_id"] == c.O_FILLED
    assert int(desk.state["orders"][0]["reserve_e8"]) == 0
    entries = [e for e in desk.rows("cash_ledger") if e["kind_id"] == c.L_BUY]
    assert len(entries) == len(desk.rows("order_fill")) == 2
    assert int(desk.state["positions"][0]["cost_e8"]) == -sum(e["delta_e8"] for e in entries)


def test_a_sale_takes_the_oldest_lot_first_and_splits_exactly() -> None:
    desk = Desk(WIDE)
    desk.hour(UP)
    desk.hour(UP)
    left = int(desk.state["orders"][0]["left_e8"])
    desk.fill(qty_e8=left // 3)
    desk.fill(price_e8=101 * E8)
    for _ in range(2):
        desk.hour(DOWN)
    desk.fill(price_e8=99 * E8)
    first, second = desk.rows("executed_trade")
    (sold,) = [f for f in desk.rows("order_fill") if f["side_id"] == c.SELL]
    assert first["qty_e8"] == left // 3
    assert first["proceeds_e8"] + second["proceeds_e8"] == sold["notional_e8"] - sold["fee_e8"]
    assert int(desk.state["desk"]["realised_e8"]) == first["pnl_e8"] + second["pnl_e8"]
    assert int(desk.state["positions"][0]["cost_e8"]) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"qty_e8": 10**15, "price_e8": 100 * E8}, "does not fit"),
        ({"qty_e8": 0, "price_e8": 100 * E8}, "does not fit"),
        ({"qty_e8": E8, "price_e8": 102 * E8}, "beyond the order's limit"),
    ],
)
def test_an_impossible_fill_is_a_broken_invariant(fields: dict[str, int], words: str) -> None:
    desk = Desk(WIDE)
    desk.hour(UP)
    desk.hour(UP)
    with pytest.raises(ValueError, match=words):
        desk.event(c.EV_FILL, instrument_id=0, order_id=1, reference_e8=E8, liquidity_id=c.TAKER, **fields)


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (c.EV_DEPOSIT, {"amount_e8": 0}, "without an amount"),
        (c.EV_RATE, {"quote_id": c.CAD, "price_e8": 0}, "rate must be positive"),
        (c.EV_CONTROL, {"instrument_id": 9}, "unknown control switch"),
        (99, {}, "unknown event kind"),
        (c.EV_BARS, {"at_t": 1}, "time runs backwards"),
    ],
)
def test_malformed_events_are_refused(kind: int, fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Desk().event(kind, **fields)


def test_a_rate_moves_the_value_of_foreign_cash() -> None:
    desk = Desk(WIDE)
    desk.event(c.EV_DEPOSIT, quote_id=c.CAD, amount_e8=1_000 * E8)
    desk.event(c.EV_RATE, quote_id=c.CAD, price_e8=73_000_000)
    assert int(desk.state["desk"]["pv_e8"]) == 100_730 * E8


def test_buys_beyond_the_lot_ring_merge_into_the_newest() -> None:
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, latency_t=1))
    desk.hour(UP)
    desk.hour(UP)
    for _ in range(66):
        desk.fill(qty_e8=1_000)
    assert int(desk.state["positions"][0]["lot_n"]) == 64
    kinds = [row["kind_id"] for row in desk.rows("position_lot")]
    assert kinds == [c.LOT_OPEN] * 64 + [c.LOT_MERGE] * 2
    assert int(desk.state["positions"][0]["qty_e8"]) == 66_000
