"""Every function of the risk engine on its own, with records and expected numbers chosen by hand.

Above 400 lines: one section for each function of one module, and the mutants of that module are held against this file.
"""

from __future__ import annotations

import pytest

from runtime.core import codes as c
from runtime.core import risk
from runtime.core.records import INSTRUMENTS
from tests.support.books import E8, HOUR_T, NOW_T, Books, numbers

LAST = INSTRUMENTS - 1
PASS = (c.G_PASS, c.SCALE_N, 0, 0)


@pytest.mark.parametrize(
    ("pv", "share", "absolute", "expected"),
    [
        (10**15, 250_000, 0, 250_000_000_000_000),
        (3, 500_000, 0, 1),
        (10, 500_000, 1, 1),
        (10, 500_000, 4, 4),
        (10, 500_000, 6, 5),
        (0, 1_000_000, 9, 0),
    ],
)
def test_a_cap_is_the_tighter_of_share_and_amount(pv: int, share: int, absolute: int, expected: int) -> None:
    assert risk.cap_e8(pv, share, absolute) == expected


# ---- what is open -----------------------------------------------------------------------------------------------
def with_reserves() -> Books:
    books = Books()
    for s, reserve in ((0, 10**15), (1, 10**15 + 1), (2, 1), (LAST, 10**14)):
        books.orders[s]["reserve_e8"] = reserve
    return books


def test_buys_in_flight_are_valued_at_the_rate_of_their_currency() -> None:
    books = with_reserves()
    usd, cad, usdc = 10**15 + 1, 730_000_000_000_000, 99_990_000_000_000
    assert risk.in_flight(books.policy, books.state, c.USD) == usd
    assert risk.in_flight(books.policy, books.state, c.CAD) == cad
    assert risk.in_flight(books.policy, books.state, c.USDC) == usdc
    assert risk.in_flight(books.policy, books.state, -1) == usd + cad + usdc
    assert risk.in_flight(Books().policy, Books().state, -1) == 0


def test_a_cluster_counts_its_members_only() -> None:
    books = with_reserves()
    books.positions["cluster_id"] = 5
    for s, cluster, value in ((0, 3, 700), (1, 3, 41), (2, 4, 9), (LAST, 3, 2)):
        books.positions[s]["cluster_id"] = cluster
        books.positions[s]["value_e8"] = value
    assert numbers(risk.cluster_used(books.policy, books.state, 3)) == (743, 10**15 + 730_000_000_000_000 + 99_990_000_000_000)
    assert numbers(risk.cluster_used(books.policy, books.state, 4)) == (9, 1)
    assert numbers(risk.cluster_used(books.policy, books.state, 5)) == (0, 0)


def test_positions_taken_counts_an_instrument_once() -> None:
    books = Books()
    assert risk.positions_taken(books.state) == 0
    books.positions[0]["qty_e8"] = 1
    books.orders[0]["order_id"] = 4
    books.orders[3]["order_id"] = 1
    assert risk.positions_taken(books.state) == 2
    books.positions[LAST]["qty_e8"] = 1
    assert risk.positions_taken(books.state) == 3


def test_a_round_trip_costs_two_sides_or_a_maker_fee_and_one() -> None:
    books = Books()
    books.rules["half_spread_ppm"], books.rules["slippage_ppm"] = 300, 70
    assert risk.round_trip_ppm(books.policy, books.state) == 2 * (4_000 + 370)
    books.rules["maker_entry_n"] = 1
    assert risk.round_trip_ppm(books.policy, books.state) == 2_500 + 4_000 + 370


# ---- gates without a size ---------------------------------------------------------------------------------------
def admitting() -> Books:
    """Return books that pass every gate, each of them by exactly one unit."""
    books = Books()
    books.rules["severe_max_n"] = 3
    books.rules["positions_max_n"] = 3
    books.desk["recovering_n"] = 2
    books.positions[5]["qty_e8"] = books.positions[6]["qty_e8"] = 10
    books.desk["tier_id"] = 1
    books.desk["drawdown_ppm"] = 123_456
    books.policy["tiers"][1] = (100_000, 500_000, 1, 1)
    return books


def permission(books: Books, s: int = 0, *, reentry: bool = False) -> tuple[int, ...]:
    return numbers(risk.permission(books.policy, books.state, s, reentry))


def test_permission_passes_one_below_every_limit() -> None:
    assert permission(admitting()) == PASS
    assert permission(admitting(), reentry=True) == PASS


@pytest.mark.parametrize("value", [1, 4])
def test_the_kill_switch_comes_first_then_the_halt(value: int) -> None:
    books = admitting()
    books.desk["halt_n"] = value
    assert permission(books) == (c.G_HALT, c.SCALE_N, 0, value)
    books.desk["kill_n"] = value
    assert permission(books) == (c.G_KILL, c.SCALE_N, 0, value)


def test_a_drawdown_tier_refuses_entries_or_only_reentries() -> None:
    books = admitting()
    refused = (c.G_DRAWDOWN, c.SCALE_PPM, 100_000, 123_456)
    books.policy["tiers"][1]["allow_reentry_n"] = 0
    assert permission(books) == PASS
    assert permission(books, reentry=True) == refused
    books.policy["tiers"][1] = (100_000, 500_000, 0, 1)
    assert permission(books) == permission(books, reentry=True) == refused


def test_severe_losses_stop_entries_at_their_limit() -> None:
    books = admitting()
    books.desk["recovering_n"] = 3
    assert permission(books) == (c.G_SEVERE_LOSS, c.SCALE_N, 3, 3)
    books.desk["recovering_n"] = 4
    assert permission(books) == (c.G_SEVERE_LOSS, c.SCALE_N, 3, 4)


def test_the_position_limit_spares_what_is_held_and_the_retry_of_its_own_order() -> None:
    books = admitting()
    books.orders[9]["order_id"] = 1
    assert permission(books) == (c.G_POSITIONS, c.SCALE_N, 3, 3)
    assert permission(books, 5) == PASS, "more of what is held takes no new place"
    assert permission(books, 9) == PASS, "its own order holds its place already"
    books.orders[0]["order_id"] = books.orders[10]["order_id"] = 2
    assert permission(books, 0) == (c.G_POSITIONS, c.SCALE_N, 3, 4)


# ---- caps -------------------------------------------------------------------------------------------------------
def capped(**caps: int) -> Books:
    """Return books with 40 marked in USD and CAD, 30 in flight, value 1000, and caps of 100 % but for those named (in ppm)."""
    books = Books()
    books.desk["pv_e8"], books.desk["gross_e8"] = 1_000, 40
    for name in ("total", "cluster", "budget"):
        books.rules[f"{name}_cap_ppm"] = caps.get(name, 1_000_000)
        books.rules[f"{name}_cap_e8"] = caps.get(f"{name}_e8", 0)
    books.policy["quotes"]["cap_ppm"] = 1_000_000
    books.policy["quotes"][c.USD]["cap_ppm"] = caps.get("quote", 1_000_000)
    books.policy["quotes"][c.USD]["cap_e8"] = caps.get("quote_e8", 0)
    books.cash[c.USD]["exposure_e8"], books.cash[c.CAD]["exposure_e8"] = 25, 15
    books.positions["cluster_id"] = 1
    for s, cluster, value, reserve in ((0, 0, 18, 0), (1, 0, 15, 10), (2, 1, 7, 20), (3, 0, 0, 3)):
        books.positions[s]["cluster_id"] = cluster
        books.positions[s]["value_e8"] = value
        books.orders[s]["reserve_e8"] = reserve
    return books


def within(books: Books, wanted: int, s: int = 0) -> tuple[int, ...]:
    return numbers(risk.within_caps(books.policy, books.state, s, wanted))


# marked 40, in flight 20 + 3 and 10 CAD worth 7: 70 in all; cluster 0: 33 marked, 10 in flight; USD: 25 + 23
@pytest.mark.parametrize(
    ("caps", "left", "gate", "cap", "used"),
    [
        ({"total": 100_000}, 30, c.G_TOTAL, 100, 70),
        ({"total_e8": 90}, 20, c.G_TOTAL, 90, 70),
        ({"cluster": 60_000}, 17, c.G_CLUSTER, 60, 43),
        ({"cluster_e8": 50}, 7, c.G_CLUSTER, 50, 43),
        ({"quote": 60_000}, 12, c.G_QUOTE, 60, 48),
        ({"quote_e8": 53}, 5, c.G_QUOTE, 53, 48),
        ({"budget": 80_000}, 10, c.G_BUDGET, 80, 70),
        ({"budget_e8": 71}, 1, c.G_BUDGET, 71, 70),
    ],
)
def test_each_cap_clips_to_what_is_left_of_it(caps: dict[str, int], left: int, gate: int, cap: int, used: int) -> None:
    books = capped(**caps)
    assert within(books, left) == (left, c.G_PASS, 0, 0), "what fits exactly is not clipped"
    assert within(books, left + 1) == (left, gate, cap, used)


@pytest.mark.parametrize(
    ("caps", "gate", "cap", "used"),
    [({"total": 10_000}, c.G_TOTAL, 10, 70), ({"cluster": 9_000}, c.G_CLUSTER, 9, 43), ({"quote": 8_000}, c.G_QUOTE, 8, 48),
     ({"budget": 7_000}, c.G_BUDGET, 7, 70)],
)  # fmt: skip
def test_a_cap_already_exceeded_leaves_nothing(caps: dict[str, int], gate: int, cap: int, used: int) -> None:
    assert within(capped(**caps), 5) == (0, gate, cap, used)
    assert within(capped(**caps), 0) == PASS, "nothing wished, nothing clipped"


@pytest.mark.parametrize(
    ("caps", "gate", "cap"),
    [
        ({"total_e8": 70}, c.G_TOTAL, 70),
        ({"cluster_e8": 43}, c.G_CLUSTER, 43),
        ({"quote_e8": 48}, c.G_QUOTE, 48),
        ({"budget_e8": 70}, c.G_BUDGET, 70),
    ],
)
def test_a_cap_used_up_exactly_leaves_not_one_unit(caps: dict[str, int], gate: int, cap: int) -> None:
    assert within(capped(**caps), 1) == (0, gate, cap, cap)


def test_the_last_cap_that_clips_is_named() -> None:
    books = capped(total=100_000, cluster=60_000, quote=60_000, budget=80_000)
    assert within(books, 500) == (10, c.G_BUDGET, 80, 70)
    assert within(books, 500, s=2) == (10, c.G_BUDGET, 80, 70)


def test_caps_use_the_instruments_own_currency_and_cluster() -> None:
    books = capped()
    books.policy["quotes"][c.CAD]["cap_ppm"] = 30_000
    assert within(books, 9, s=1) == (8, c.G_QUOTE, 30, 22)
    books.rules["cluster_cap_ppm"] = 29_000
    assert within(books, 9, s=2) == (2, c.G_CLUSTER, 29, 27)


# ---- cost, liquidity, freshness ---------------------------------------------------------------------------------
def test_an_edge_must_exceed_the_round_trip_and_the_margin() -> None:
    books = Books()
    books.rules["margin_ppm"] = 55
    assert numbers(risk.pays_for_itself(books.policy, books.state, 8_055)) == (c.G_COST, c.SCALE_PPM, 8_055, 8_055)
    assert numbers(risk.pays_for_itself(books.policy, books.state, 8_056)) == (c.G_PASS, c.SCALE_PPM, 8_055, 8_056)


def test_a_size_may_be_a_share_of_the_turnover_in_its_currency() -> None:
    books = Books()
    books.rules["liquidity_ppm"] = 10_000
    books.positions[1]["turnover_e8"] = 10**15 + 199
    most = 7_300_000_000_000  # 1 % of the turnover, 10**13 + 1, at 0.73 rounded down
    assert numbers(risk.liquid(books.policy, books.state, 1, most)) == PASS
    assert numbers(risk.liquid(books.policy, books.state, 1, most + 1)) == (c.G_LIQUIDITY, c.SCALE_E8, most, most + 1)


def quoted(bid: int, ask: int, at_t: int) -> Books:
    books = Books()
    books.rules["liquidity_ppm"] = 1_000_000
    books.rules["spread_max_ppm"], books.rules["quote_age_max_t"] = 5_000, 60
    position = books.positions[0]
    position["turnover_e8"] = 10**12
    position["bid_e8"], position["ask_e8"], position["quote_t"] = bid, ask, at_t
    return books


def test_a_fresh_spread_beyond_its_limit_is_refused() -> None:
    books = quoted(10**10, 10**10 + 5 * 10**7 + 10_000, NOW_T - 60)
    assert numbers(risk.liquid(books.policy, books.state, 0, 1)) == (c.G_LIQUIDITY, c.SCALE_PPM, 5_000, 5_001)
    books = quoted(10**10, 10**10 + 5 * 10**7 + 9_999, NOW_T - 60)
    assert numbers(risk.liquid(books.policy, books.state, 0, 1)) == PASS, "5000 and a bit rounds down"
    wide = quoted(10**14, 9 * 10**14, NOW_T - 60)
    assert numbers(risk.liquid(wide.policy, wide.state, 0, 1)) == (c.G_LIQUIDITY, c.SCALE_PPM, 5_000, 8_000_000)


def test_a_quote_that_is_old_or_missing_does_not_count() -> None:
    books = quoted(100, 200, NOW_T - 61)
    assert numbers(risk.liquid(books.policy, books.state, 0, 1)) == PASS
    books = quoted(100, 200, 0)
    books.rules["quote_age_max_t"] = 2 * NOW_T
    assert numbers(risk.liquid(books.policy, books.state, 0, 1)) == PASS
    books = quoted(100, 200, 1)
    books.rules["quote_age_max_t"] = 2 * NOW_T
    assert numbers(risk.liquid(books.policy, books.state, 0, 1))[0] == c.G_LIQUIDITY


def recent() -> Books:
    books = Books()
    books.rules["bar_age_max_t"], books.rules["forecast_age_max_t"], books.rules["skew_max_ms"] = 1_800, 7_200, 2_000
    books.positions[0]["mark_t"], books.positions[0]["forecast_t"] = NOW_T - 1_800, NOW_T - 7_200
    books.desk["skew_ms"] = 2_000
    return books


def test_data_at_its_age_limit_is_fresh() -> None:
    books = recent()
    assert numbers(risk.fresh(books.policy, books.state, 0)) == PASS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("positions", "mark_t", NOW_T - 1_801), (c.G_FRESHNESS, c.SCALE_T, 1_800, 1_801)),
        (("positions", "forecast_t", NOW_T - 7_201), (c.G_FRESHNESS, c.SCALE_T, 7_200, 7_201)),
        (("desk", "skew_ms", 2_001), (c.G_CLOCK, c.SCALE_MS, 2_000, 2_001)),
        (("instruments", "enabled_n", 0), (c.G_PAIR, c.SCALE_N, 1, 0)),
        (("orders", "order_id", 1), (c.G_BUSY, c.SCALE_N, 0, 1)),
        (("orders", "order_id", 77), (c.G_BUSY, c.SCALE_N, 0, 77)),
    ],
)
def test_what_is_stale_skewed_disabled_or_busy_is_refused(change: tuple[str, str, int], expected: tuple[int, ...]) -> None:
    books = recent()
    where, field, value = change
    record = books.desk if where == "desk" else getattr(books, where)[0]
    record[field] = value
    assert numbers(risk.fresh(books.policy, books.state, 0)) == expected


# ---- the quantity -----------------------------------------------------------------------------------------------
def affording(price: int = 100 * E8, cash: int = 10**15) -> Books:
    books = Books()
    books.positions["mark_e8"] = price
    books.cash["cash_e8"] = cash
    books.rules["limit_ppm"] = 10_000
    books.instruments["lot_e8"] = 100
    books.instruments["tick_e8"] = 1_000
    return books


def affordable(books: Books, size: int, s: int = 0) -> tuple[int, ...]:
    return numbers(risk.affordable(books.policy, books.state, s, size))


def test_a_size_becomes_whole_lots_with_fee_and_limit_distance_inside() -> None:
    size = 1_000 * E8
    # limit 101; 1000 / 1.004 = 996.01593625 of notional; / 101 = 9.86154392 units, whole lots of 100e-8
    assert affordable(affording(), size) == (986_154_300, 101 * E8, c.G_PASS, c.SCALE_E8, size, 10**15 - 1_000)


def test_the_limit_price_is_on_a_tick() -> None:
    books = affording(price=12_345_678_901)
    # x 1.01 = 12_469_135_690.01; 1000 / 1.004 / 124.69135 = 7.9878510...
    qty, limit_price, *_ = affordable(books, 1_000 * E8)
    assert limit_price == 12_469_135_000
    assert qty == 99_601_593_625 * E8 // 12_469_135_000 // 100 * 100


def test_a_maker_entry_is_limited_to_the_mark() -> None:
    books = affording()
    books.rules["maker_entry_n"] = 1
    qty, limit_price, gate, *_ = affordable(books, 1_000 * E8)
    assert (qty, limit_price, gate) == (996_015_900, 100 * E8, c.G_PASS)


def test_a_price_near_zero_buys_no_more_than_an_order_can_name() -> None:
    books = affording(price=1, cash=10**18)
    books.instruments["tick_e8"] = books.instruments["lot_e8"] = 1
    books.rules["limit_ppm"] = 0
    assert affordable(books, 10**17)[:3] == (2**61 - 1, 1, c.G_PASS)


def test_a_size_in_another_currency_is_converted() -> None:
    # 730 in the base currency are 1000 CAD
    assert affordable(affording(), 730 * E8, s=1) == (986_154_300, 101 * E8, c.G_PASS, c.SCALE_E8, 1_000 * E8, 10**15 - 1_000)


def test_what_open_orders_reserve_and_the_margin_are_not_free() -> None:
    books = affording(cash=1_100 * E8 + 1_000)
    books.orders[4]["reserve_e8"] = 100 * E8
    books.orders[1]["reserve_e8"] = 500 * E8  # in CAD
    size = 1_000 * E8
    assert affordable(books, size) == (986_154_300, 101 * E8, c.G_PASS, c.SCALE_E8, size, size), "free exactly as wanted"
    books.cash[c.USD]["cash_e8"] -= 1
    assert affordable(books, size) == (986_154_300, 101 * E8, c.G_CASH, c.SCALE_E8, size, size - 1)


def test_no_free_cash_is_a_refusal_by_cash() -> None:
    books = affording(cash=999)
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_CASH, c.SCALE_E8, 1_000 * E8, 0)
    books = affording(cash=1_001)
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_CASH, c.SCALE_E8, 1_000 * E8, 1)


def test_less_than_a_lot_is_a_refusal_by_lot() -> None:
    books = affording()
    books.instruments["lot_e8"] = 10 * E8
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_LOT, c.SCALE_E8, 10 * E8, 99_601_593_625)
    books.instruments["lot_e8"] = 986_154_392
    assert affordable(books, 1_000 * E8)[0] == 986_154_392, "one lot is enough"


def test_the_pairs_minimum_quantity_and_cost_refuse() -> None:
    books = affording()
    books.instruments["qty_min_e8"] = 986_154_300
    books.instruments["cost_min_e8"] = 98_615_430_000
    assert affordable(books, 1_000 * E8)[2] == c.G_PASS, "at the minimum is enough"
    books.instruments["cost_min_e8"] += 1
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_MINIMUM, c.SCALE_E8, 98_615_430_001, 98_615_430_000)
    books.instruments["qty_min_e8"] += 1
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_MINIMUM, c.SCALE_E8, 986_154_301, 986_154_300)
    books.cash[c.USD]["cash_e8"] = 900 * E8 + 1_000  # 900 / 1.004 / 101 = 8.87538952 units
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_CASH, c.SCALE_E8, 986_154_301, 887_538_900)
    books.instruments["qty_min_e8"] = 0
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_CASH, c.SCALE_E8, 98_615_430_001, 88_753_890_000)


def test_a_price_below_a_tick_has_no_limit() -> None:
    books = affording(price=900)
    books.rules["limit_ppm"] = 0
    assert affordable(books, 1_000 * E8) == (0, 0, c.G_PAIR, c.SCALE_E8, 1_000, 900)
    books.instruments["tick_e8"] = 1
    books.positions["mark_e8"] = 1
    assert affordable(books, 60)[1] == 1, "a price of one unit is a price"


@pytest.mark.parametrize("price", [7, 999, 12_345_678_901, 100 * E8])
def test_rounding_never_costs_more_than_the_size(price: int) -> None:
    books = affording(price=price)
    books.instruments["tick_e8"] = books.instruments["lot_e8"] = 1
    books.rules["limit_ppm"] = 0
    for size in [*range(1, 300), 10**9 + 7, 10**11 - 1]:
        qty, limit_price, gate, *_ = affordable(books, size)
        notional = -(-qty * price // E8)
        assert notional + -(-notional * 4_000 // 10**6) <= size
        afford = size * 10**6 // 1_004_000
        assert afford * E8 - price < qty * price <= afford * E8, "and is the most that fits"
        assert (limit_price, gate) == ((price, c.G_PASS) if qty else (0, c.G_LOT))


# ---- orders -----------------------------------------------------------------------------------------------------
def with_order(side: int, status: int) -> Books:
    books = Books()
    books.positions[0]["qty_e8"] = 500
    order = books.orders[0]
    order["order_id"], order["side_id"], order["status_id"], order["reserve_e8"] = 1, side, status, 99
    return books


@pytest.mark.parametrize(("held", "wanted", "sold"), [(500, 400, 400), (500, 500, 500), (500, 501, 500), (0, 7, 0)])
def test_a_sale_is_at_most_what_is_held(held: int, wanted: int, sold: int) -> None:
    books = Books()
    books.positions[0]["qty_e8"] = held
    assert risk.sale_quantity(books.policy, books.state, books.out, 0, wanted) == sold


@pytest.mark.parametrize(("side", "status"), [(c.SELL, c.O_NEW), (c.SELL, c.O_PARTIAL), (c.BUY, c.O_UNKNOWN)])
def test_a_sale_waits_behind_a_sale_or_an_unknown_order(side: int, status: int) -> None:
    books = with_order(side, status)
    assert risk.sale_quantity(books.policy, books.state, books.out, 0, 400) == 0
    assert books.orders[0]["order_id"] == 1
    assert books.rows("order_request") == []


def test_a_sale_takes_the_place_of_a_resting_buy() -> None:
    books = with_order(c.BUY, c.O_NEW)
    assert risk.sale_quantity(books.policy, books.state, books.out, 0, 400) == 400
    assert (books.orders[0]["order_id"], books.orders[0]["reserve_e8"]) == (0, 0)
    (row,) = books.rows("order_request")
    assert (row["order_id"], row["status_id"]) == (1, c.O_CANCELLED)


def test_a_sale_waits_until_the_venue_has_taken_an_acknowledged_buy_off() -> None:
    books = with_order(c.BUY, c.O_OPEN)
    books.orders[0]["acked_n"] = 1
    assert risk.sale_quantity(books.policy, books.state, books.out, 0, 400) == 0
    assert [row["status_id"] for row in books.rows("order_request")] == [c.O_CANCELLING]
    assert int(books.orders[0]["reserve_e8"]) == 99, "it may still fill"


LINKS = (11, 12, 13, 14)


def test_an_approved_buy_reserves_its_worst_cost_and_carries_its_links() -> None:
    books = Books()
    books.positions[LAST]["mark_e8"] = 100 * E8
    books.rules["order_ttl_t"] = 7_000
    risk.approve_buy(books.policy, books.state, books.out, LAST, 3 * E8 + 1, 101 * E8, LINKS)
    order = books.orders[LAST]
    notional = 303 * E8 + 101  # 3.00000001 x 101, up to the next unit
    assert order["reserve_e8"] == notional + 121_200_001  # 0.4 %, rounded up
    assert (order["side_id"], order["qty_e8"], order["left_e8"]) == (c.BUY, 3 * E8 + 1, 3 * E8 + 1)
    assert (order["limit_price_e8"], order["decision_price_e8"]) == (101 * E8, 100 * E8)
    assert tuple(order[name] for name in ("signal_id", "action_id", "reason_id", "campaign_id")) == LINKS
    assert (order["placed_t"], order["expires_t"], order["status_id"]) == (NOW_T, NOW_T + 7_000, c.O_NEW)
    (row,) = books.rows("order_request")
    assert (row["quote_id"], row["origin_hour_t"], row["reserve_e8"]) == (c.USDC, HOUR_T, order["reserve_e8"])


def test_an_approved_sale_has_neither_limit_nor_reserve() -> None:
    books = Books()
    books.positions[0]["mark_e8"] = 77
    risk.approve_sell(books.policy, books.state, books.out, 0, 5, LINKS)
    order = books.orders[0]
    assert (order["side_id"], order["qty_e8"], order["limit_price_e8"], order["reserve_e8"]) == (c.SELL, 5, 0, 0)
    assert order["decision_price_e8"] == 77
    assert tuple(order[name] for name in ("signal_id", "action_id", "reason_id", "campaign_id")) == LINKS


# ---- a retry ----------------------------------------------------------------------------------------------------
def waiting(side: int = c.BUY, action: int = c.ENTER) -> Books:
    """Return books in which the order of instrument 1, for 2 CAD units at 50, passes every gate of a retry."""
    books = recent()
    books.positions[1] = books.positions[0]
    books.positions[1]["turnover_e8"] = 10**15
    books.rules["liquidity_ppm"] = 1_000_000
    books.rules["severe_max_n"] = books.rules["positions_max_n"] = 1
    books.policy["tiers"][0] = (0, 1_000_000, 1, 1)
    for name in ("total", "cluster", "budget"):
        books.rules[f"{name}_cap_ppm"] = 1_000_000
    books.policy["quotes"]["cap_ppm"] = 1_000_000
    books.desk["pv_e8"] = 10**12
    order = books.orders[1]
    order["order_id"], order["side_id"], order["action_id"], order["status_id"] = 3, side, action, c.O_RETRYING
    order["left_e8"], order["qty_e8"], order["limit_price_e8"] = 2 * E8, 3 * E8, 50 * E8
    books.cash[c.CAD]["cash_e8"] = RETRY_COST + 1_000
    return books


RETRY_COST = 10_040_000_000
"""2 units at 50 and 0.4 %, in CAD; 73.292 in the base currency."""


def readmit(books: Books, edge_ppm: int = 10**6) -> tuple[int, ...]:
    return numbers(risk.readmit(books.policy, books.state, 1, edge_ppm))


def test_a_retry_that_passes_reserves_its_worst_cost() -> None:
    assert readmit(waiting()) == (RETRY_COST, c.G_PASS, c.SCALE_E8, RETRY_COST, RETRY_COST)
    assert readmit(waiting(action=c.REENTER))[1] == c.G_PASS


def test_a_retry_needs_its_worst_cost_in_free_cash() -> None:
    books = waiting()
    books.cash[c.CAD]["cash_e8"] -= 1
    assert readmit(books) == (RETRY_COST, c.G_CASH, c.SCALE_E8, RETRY_COST - 1, RETRY_COST)
    books.cash[c.CAD]["cash_e8"] += 51
    books.orders[2]["reserve_e8"] = 50  # in USD
    books.instruments["quote_id"][3] = c.CAD
    books.orders[3]["reserve_e8"] = 51
    assert readmit(books) == (RETRY_COST, c.G_CASH, c.SCALE_E8, RETRY_COST - 1, RETRY_COST)


def test_a_retry_passes_the_gates_again() -> None:
    books = waiting()
    books.desk["halt_n"] = 2
    assert readmit(books) == (RETRY_COST, c.G_HALT, c.SCALE_N, 0, 2)
    books = waiting(action=c.REENTER)
    books.policy["tiers"][0]["allow_reentry_n"] = 0
    assert readmit(books) == (RETRY_COST, c.G_DRAWDOWN, c.SCALE_PPM, 0, 0)
    books = waiting(action=c.ENTER)
    books.policy["tiers"][0]["allow_reentry_n"] = 0
    assert readmit(books)[1] == c.G_PASS, "an entry is no re-entry"


def test_a_retry_must_still_fit_its_caps_in_the_base_currency() -> None:
    books = waiting()
    books.rules["total_cap_e8"] = 7_329_200_000
    assert readmit(books)[1] == c.G_PASS
    books.rules["total_cap_e8"] -= 1
    books.desk["gross_e8"] = 0
    assert readmit(books) == (RETRY_COST, c.G_TOTAL, c.SCALE_E8, 7_329_199_999, 0)
    books.desk["gross_e8"] = 7
    assert readmit(books) == (RETRY_COST, c.G_TOTAL, c.SCALE_E8, 7_329_199_999, 7)


def test_a_retry_must_still_pay_be_liquid_and_be_fresh() -> None:
    assert readmit(waiting(), edge_ppm=8_000) == (RETRY_COST, c.G_COST, c.SCALE_PPM, 8_000, 8_000)
    books = waiting()
    books.positions[1]["turnover_e8"] = 10**10
    assert readmit(books) == (RETRY_COST, c.G_LIQUIDITY, c.SCALE_E8, 7_300_000_000, 7_329_200_000)
    books = waiting()
    books.positions[1]["mark_t"] -= 1
    assert readmit(books) == (RETRY_COST, c.G_FRESHNESS, c.SCALE_T, 1_800, 1_801)


@pytest.mark.parametrize(("held", "gate"), [(2 * E8 - 1, c.G_LOT), (2 * E8, c.G_PASS), (2 * E8 + 1, c.G_PASS)])
def test_the_retry_of_a_sale_needs_only_its_lots(held: int, gate: int) -> None:
    books = waiting(side=c.SELL)
    books.desk["kill_n"] = 1
    books.positions[1]["qty_e8"] = held
    assert readmit(books) == (0, gate, c.SCALE_E8, held, 2 * E8)
