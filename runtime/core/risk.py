"""The risk engine: every gate between a wish and an order, in the stated precedence.

Only `approve_buy` and `approve_sell` place orders. A refusal is a value: the gate's code and the two numbers it
compared, which the caller journals. Gates look at positions and at every open order at its worst price.
"""

from __future__ import annotations

from typing import Any

from runtime.core import orders
from runtime.core.codes import (
    BUY,
    G_BUDGET,
    G_BUSY,
    G_CASH,
    G_COST,
    G_DRAWDOWN,
    G_FRESHNESS,
    G_HALT,
    G_KILL,
    G_LOT,
    G_MINIMUM,
    G_PAIR,
    G_PASS,
    G_POSITIONS,
    G_QUOTE,
    G_TOTAL,
    O_CANCELLED,
    SCALE_E8,
    SCALE_N,
    SCALE_PPM,
    SCALE_T,
    SELL,
)
from runtime.core.fixed import add, imax, imin, mul_floor, round_down
from runtime.core.ledger import to_base
from runtime.core.records import E8, INSTRUMENTS, PPM
from runtime.jit import core

CASH_MARGIN_E8 = 1_000
"""Cash that admission never spends: each partial fill may round its fee up by one unit."""


@core
def cap_e8(pv_e8: int, share_ppm: int, absolute_e8: int) -> int:
    """Return the tighter of a share of portfolio value and an absolute amount (0: no absolute cap)."""
    limit = mul_floor(pv_e8, share_ppm, PPM)
    return imin(limit, absolute_e8) if absolute_e8 > 0 else limit


@core
def in_flight(policy: Any, state: Any, quote: int) -> int:
    """Return the base value of open buys at their worst price, of one quote currency or of all (-1)."""
    total = 0
    for s in range(INSTRUMENTS):
        q = policy["instruments"][s]["quote_id"]
        if state["orders"][s]["reserve_e8"] > 0 and (quote == -1 or q == quote):
            total = add(total, to_base(state, q, state["orders"][s]["reserve_e8"]))
    return total


@core
def positions_taken(state: Any) -> int:
    """Return open positions plus instruments with a first buy in flight."""
    taken = 0
    for s in range(INSTRUMENTS):
        if state["positions"][s]["qty_e8"] > 0 or state["orders"][s]["order_id"] != 0:
            taken += 1
    return taken


@core
def round_trip_ppm(rules: Any) -> int:
    """Return what buying and selling costs: two taker fees, two half spreads, two slippages."""
    return 2 * (rules["taker_fee_ppm"] + rules["half_spread_ppm"] + rules["slippage_ppm"])


@core
def permission(policy: Any, state: Any, s: int) -> Any:
    """Apply the gates that need no size. Returns (gate, scale, limit, value)."""
    desk = state["desk"]
    rules = policy["rules"]
    if desk["kill_n"] != 0:
        return G_KILL, SCALE_N, 0, desk["kill_n"]
    if desk["halt_n"] != 0:
        return G_HALT, SCALE_N, 0, desk["halt_n"]
    if policy["tiers"][desk["tier_id"]]["allow_entry_n"] == 0:
        return G_DRAWDOWN, SCALE_PPM, policy["tiers"][desk["tier_id"]]["drawdown_ppm"], desk["drawdown_ppm"]
    taken = positions_taken(state)
    if state["positions"][s]["qty_e8"] == 0 and taken >= rules["positions_max_n"]:
        return G_POSITIONS, SCALE_N, rules["positions_max_n"], taken
    return G_PASS, SCALE_N, 0, 0


@core
def within_caps(policy: Any, state: Any, s: int, wanted_e8: int) -> Any:
    """Clip a wish by the exposure caps. Returns (allowed, gate that clipped last, cap, already used)."""
    desk = state["desk"]
    rules = policy["rules"]
    quote = policy["instruments"][s]["quote_id"]
    size, gate, limit, value = wanted_e8, G_PASS, 0, 0
    used = add(desk["gross_e8"], in_flight(policy, state, -1))
    cap = cap_e8(desk["pv_e8"], rules["total_cap_ppm"], rules["total_cap_e8"])
    if imax(cap - used, 0) < size:
        size, gate, limit, value = imax(cap - used, 0), G_TOTAL, cap, used
    quote_used = add(state["cash"][quote]["exposure_e8"], in_flight(policy, state, quote))
    cap = cap_e8(desk["pv_e8"], policy["quotes"][quote]["cap_ppm"], policy["quotes"][quote]["cap_e8"])
    if imax(cap - quote_used, 0) < size:
        size, gate, limit, value = imax(cap - quote_used, 0), G_QUOTE, cap, quote_used
    cap = cap_e8(desk["pv_e8"], rules["budget_cap_ppm"], rules["budget_cap_e8"])
    if imax(cap - used, 0) < size:
        size, gate, limit, value = imax(cap - used, 0), G_BUDGET, cap, used
    return size, gate, limit, value


@core
def pays_for_itself(rules: Any, edge_ppm: int) -> Any:
    """Apply the cost gate: expected gross return against the round trip and the margin."""
    needed = round_trip_ppm(rules) + rules["margin_ppm"]
    gate = G_PASS if edge_ppm > needed else G_COST
    return gate, SCALE_PPM, needed, edge_ppm


@core
def fresh(policy: Any, state: Any, s: int) -> Any:
    """Apply the gates on the instrument's data: enabled pair, recent bar, recent forecast, no order in flight."""
    rules = policy["rules"]
    position = state["positions"][s]
    now_t = state["desk"]["now_t"]
    if now_t - position["mark_t"] > rules["bar_age_max_t"]:
        return G_FRESHNESS, SCALE_T, rules["bar_age_max_t"], now_t - position["mark_t"]
    if now_t - position["forecast_t"] > rules["forecast_age_max_t"]:
        return G_FRESHNESS, SCALE_T, rules["forecast_age_max_t"], now_t - position["forecast_t"]
    if policy["instruments"][s]["enabled_n"] == 0:
        return G_PAIR, SCALE_N, 1, 0
    if state["orders"][s]["order_id"] != 0:
        return G_BUSY, SCALE_N, 0, state["orders"][s]["order_id"]
    return G_PASS, SCALE_N, 0, 0


@core
def affordable(policy: Any, state: Any, s: int, size_e8: int) -> Any:
    """Turn an allowed size into a quantity of whole lots that free cash can pay at the limit price.

    Returns (quantity, limit price, gate, scale, limit, value); quantity 0 is a refusal by that gate.
    """
    instrument = policy["instruments"][s]
    rules = policy["rules"]
    quote = instrument["quote_id"]
    price = state["positions"][s]["mark_e8"]
    limit_price = round_down(mul_floor(price, PPM + rules["limit_ppm"], PPM), instrument["tick_e8"])
    if limit_price <= 0:
        return 0, 0, G_PAIR, SCALE_E8, instrument["tick_e8"], price
    free = imax(state["cash"][quote]["cash_e8"] - orders.reserved(state, policy, quote) - CASH_MARGIN_E8, 0)
    money = mul_floor(size_e8, E8, state["cash"][quote]["rate_e8"])
    spend = imin(money, free)
    # the size is what may leave the account at worst, so fee and limit distance come out of it
    net = mul_floor(spend, PPM, PPM + rules["taker_fee_ppm"])
    qty = round_down(mul_floor(net, E8, limit_price), instrument["lot_e8"])
    while qty > 0 and orders.worst_cost(policy, qty, limit_price) > spend:
        qty -= instrument["lot_e8"]
    clipped = free < money
    if qty <= 0:
        gate = G_CASH if clipped else G_LOT
        return 0, 0, gate, SCALE_E8, (money if clipped else instrument["lot_e8"]), (free if clipped else net)
    notional = mul_floor(qty, price, E8)
    if qty < instrument["qty_min_e8"]:
        return 0, 0, (G_CASH if clipped else G_MINIMUM), SCALE_E8, instrument["qty_min_e8"], qty
    if notional < instrument["cost_min_e8"]:
        return 0, 0, (G_CASH if clipped else G_MINIMUM), SCALE_E8, instrument["cost_min_e8"], notional
    return qty, limit_price, (G_CASH if clipped else G_PASS), SCALE_E8, money, free


@core
def sale_quantity(policy: Any, state: Any, out: Any, s: int, qty: int) -> int:
    """Return the quantity that may be sold now, freeing the slot of a resting buy; 0 when a sale is already open.

    Sales are never refused for risk: they can only wait behind a sale in flight, and never exceed what is held.
    """
    o = state["orders"][s]
    if o["order_id"] != 0:
        if o["side_id"] == SELL:
            return 0
        orders.finish(policy, state, out, s, O_CANCELLED)
    return imin(qty, state["positions"][s]["qty_e8"])


@core
def approve_buy(policy: Any, state: Any, out: Any, s: int, qty: int, limit_price: int, links: Any) -> None:
    """Place an admitted buy; `links` is (signal, reason, campaign)."""
    reserve = orders.worst_cost(policy, qty, limit_price)
    price = state["positions"][s]["mark_e8"]
    orders.place(policy, state, out, s, BUY, (qty, limit_price, reserve, price, links[0], links[1], links[2]))


@core
def approve_sell(policy: Any, state: Any, out: Any, s: int, qty: int, links: Any) -> None:
    """Place an admitted sale at the market; `links` is (signal, reason, campaign)."""
    price = state["positions"][s]["mark_e8"]
    orders.place(policy, state, out, s, SELL, (qty, 0, 0, price, links[0], links[1], links[2]))
