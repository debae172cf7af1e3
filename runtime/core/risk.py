"""The risk engine: every gate between a wish and an order, in the stated precedence.

Only `approve_buy` and `approve_sell` place orders. A refusal is a value: the gate's code and the two numbers it
compared, which the caller journals. Gates look at positions and at every open order at its worst price.
"""

from __future__ import annotations

from typing import Any

from runtime.core import fees, orders
from runtime.core.codes import (
    BUY,
    G_BUDGET,
    G_BUSY,
    G_CASH,
    G_CLOCK,
    G_CLUSTER,
    G_COST,
    G_DRAWDOWN,
    G_FRESHNESS,
    G_HALT,
    G_KILL,
    G_LIQUIDITY,
    G_LOT,
    G_MINIMUM,
    G_PAIR,
    G_PASS,
    G_POSITIONS,
    G_QUOTE,
    G_SEVERE_LOSS,
    G_TOTAL,
    MAKER,
    O_CANCELLED,
    REENTER,
    SCALE_E8,
    SCALE_MS,
    SCALE_N,
    SCALE_PPM,
    SCALE_T,
    SELL,
    TAKER,
)
from runtime.core.fixed import add, imax, imin, mul_floor, mul_floor_saturating, round_down
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
def cluster_used(policy: Any, state: Any, cluster: int) -> Any:
    """Return (marked exposure, in flight at worst price) of a cluster in the base currency.

    Before a membership is known every instrument is in cluster 0: all of them then share one cluster's cap.
    """
    marked = 0
    flying = 0
    for s in range(INSTRUMENTS):
        if state["positions"][s]["cluster_id"] == cluster:
            marked = add(marked, state["positions"][s]["value_e8"])
            if state["orders"][s]["reserve_e8"] > 0:
                quote = policy["instruments"][s]["quote_id"]
                flying = add(flying, to_base(state, quote, state["orders"][s]["reserve_e8"]))
    return marked, flying


@core
def positions_taken(state: Any) -> int:
    """Return open positions plus instruments with a first buy in flight."""
    taken = 0
    for s in range(INSTRUMENTS):
        if state["positions"][s]["qty_e8"] > 0 or state["orders"][s]["order_id"] != 0:
            taken += 1
    return taken


@core
def round_trip_ppm(policy: Any, state: Any) -> int:
    """Return what buying and selling costs now: entry and exit fee at the account's tier, spreads and slippages.

    A maker entry pays the maker fee and no spread; the way out is always priced as a taker.
    """
    rules = policy["rules"]
    side = rules["half_spread_ppm"] + rules["slippage_ppm"]
    taker = fees.rate_ppm(policy, state, TAKER)
    if rules["maker_entry_n"] != 0:
        return fees.rate_ppm(policy, state, MAKER) + taker + side
    return 2 * (taker + side)


@core
def permission(policy: Any, state: Any, s: int, reentry: bool) -> Any:
    """Apply the gates that need no size. Returns (gate, scale, limit, value)."""
    desk = state["desk"]
    rules = policy["rules"]
    if desk["kill_n"] != 0:
        return G_KILL, SCALE_N, 0, desk["kill_n"]
    if desk["halt_n"] != 0:
        return G_HALT, SCALE_N, 0, desk["halt_n"]
    tier = policy["tiers"][desk["tier_id"]]
    if tier["allow_entry_n"] == 0 or (reentry and tier["allow_reentry_n"] == 0):
        return G_DRAWDOWN, SCALE_PPM, tier["drawdown_ppm"], desk["drawdown_ppm"]
    if desk["recovering_n"] >= rules["severe_max_n"]:
        return G_SEVERE_LOSS, SCALE_N, rules["severe_max_n"], desk["recovering_n"]
    own = 1 if state["orders"][s]["order_id"] != 0 else 0  # a retry's own order holds its place already
    taken = positions_taken(state) - own
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
    marked, flying = cluster_used(policy, state, state["positions"][s]["cluster_id"])
    cap = cap_e8(desk["pv_e8"], rules["cluster_cap_ppm"], rules["cluster_cap_e8"])
    if imax(cap - marked - flying, 0) < size:
        size, gate, limit, value = imax(cap - marked - flying, 0), G_CLUSTER, cap, marked + flying
    quote_used = add(state["cash"][quote]["exposure_e8"], in_flight(policy, state, quote))
    cap = cap_e8(desk["pv_e8"], policy["quotes"][quote]["cap_ppm"], policy["quotes"][quote]["cap_e8"])
    if imax(cap - quote_used, 0) < size:
        size, gate, limit, value = imax(cap - quote_used, 0), G_QUOTE, cap, quote_used
    cap = cap_e8(desk["pv_e8"], rules["budget_cap_ppm"], rules["budget_cap_e8"])
    if imax(cap - used, 0) < size:
        size, gate, limit, value = imax(cap - used, 0), G_BUDGET, cap, used
    return size, gate, limit, value


@core
def pays_for_itself(policy: Any, state: Any, edge_ppm: int) -> Any:
    """Apply the cost gate: expected gross return against the round trip and the margin."""
    needed = round_trip_ppm(policy, state) + policy["rules"]["margin_ppm"]
    gate = G_PASS if edge_ppm > needed else G_COST
    return gate, SCALE_PPM, needed, edge_ppm


@core
def liquid(policy: Any, state: Any, s: int, size_e8: int) -> Any:
    """Apply the liquidity and spread gate: size against the mean hourly turnover, and a fresh quote's spread."""
    rules = policy["rules"]
    position = state["positions"][s]
    quote = policy["instruments"][s]["quote_id"]
    most = to_base(state, quote, mul_floor(position["turnover_e8"], rules["liquidity_ppm"], PPM))
    if size_e8 > most:
        return G_LIQUIDITY, SCALE_E8, most, size_e8
    known = position["quote_t"] > 0 and state["desk"]["now_t"] - position["quote_t"] <= rules["quote_age_max_t"]
    if known:
        spread = mul_floor(position["ask_e8"] - position["bid_e8"], PPM, position["bid_e8"])
        if spread > rules["spread_max_ppm"]:
            return G_LIQUIDITY, SCALE_PPM, rules["spread_max_ppm"], spread
    return G_PASS, SCALE_N, 0, 0


@core
def fresh(policy: Any, state: Any, s: int) -> Any:
    """Apply the gates on data and pair: recent bar, recent forecast, clock, enabled pair, no order in flight."""
    rules = policy["rules"]
    position = state["positions"][s]
    now_t = state["desk"]["now_t"]
    if now_t - position["mark_t"] > rules["bar_age_max_t"]:
        return G_FRESHNESS, SCALE_T, rules["bar_age_max_t"], now_t - position["mark_t"]
    if now_t - position["forecast_t"] > rules["forecast_age_max_t"]:
        return G_FRESHNESS, SCALE_T, rules["forecast_age_max_t"], now_t - position["forecast_t"]
    if state["desk"]["skew_ms"] > rules["skew_max_ms"]:
        return G_CLOCK, SCALE_MS, rules["skew_max_ms"], state["desk"]["skew_ms"]
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
    away = 0 if rules["maker_entry_n"] != 0 else rules["limit_ppm"]
    limit_price = round_down(mul_floor(price, PPM + away, PPM), instrument["tick_e8"])
    if limit_price <= 0:
        return 0, 0, G_PAIR, SCALE_E8, instrument["tick_e8"], price
    free = imax(state["cash"][quote]["cash_e8"] - orders.reserved(state, policy, quote) - CASH_MARGIN_E8, 0)
    money = mul_floor(size_e8, E8, state["cash"][quote]["rate_e8"])
    spend = imin(money, free)
    # the size is what may leave the account at worst, so fee and limit distance come out of it: a notional of at most `net`,
    # and its fee rounded up, are never more than `spend`
    net = mul_floor(spend, PPM, PPM + fees.worst_ppm(policy))
    # at a price near zero the money would buy more units than an order can name
    qty = round_down(mul_floor_saturating(net, E8, limit_price), instrument["lot_e8"])
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
    """Return the quantity that may be sold now, freeing the slot of a resting buy.

    Sales are never refused for risk: they can only wait behind an order whose outcome is open (a sale in flight, an
    order with an unknown outcome, or a buy that the venue has yet to take off), and never exceed what is held.
    """
    o = state["orders"][s]
    if o["order_id"] != 0:
        if o["side_id"] == SELL or not orders.cancellable(o):
            return 0
        orders.end(policy, state, out, s, O_CANCELLED)
        if o["order_id"] != 0:
            return 0
    return imin(qty, state["positions"][s]["qty_e8"])


@core
def approve_buy(policy: Any, state: Any, out: Any, s: int, qty: int, limit_price: int, links: Any) -> None:
    """Place an admitted buy; `links` is (signal, action, reason, campaign)."""
    reserve = orders.worst_cost(policy, qty, limit_price)
    price = state["positions"][s]["mark_e8"]
    request = (qty, limit_price, reserve, price, links[0], links[1], links[2], links[3])
    orders.place(policy, state, out, s, BUY, request)


@core
def approve_sell(policy: Any, state: Any, out: Any, s: int, qty: int, links: Any) -> None:
    """Place an admitted sale at the market; `links` is (signal, action, reason, campaign)."""
    price = state["positions"][s]["mark_e8"]
    request = (qty, 0, 0, price, links[0], links[1], links[2], links[3])
    orders.place(policy, state, out, s, SELL, request)


@core
def readmit(policy: Any, state: Any, s: int, edge_ppm: int) -> Any:
    """Re-check a waiting order before its next attempt. Returns (reserve, gate, scale, limit, value).

    A sale needs only its lots. A buy passes every gate again, at its own size and limit.
    """
    o = state["orders"][s]
    if o["side_id"] == SELL:
        held = state["positions"][s]["qty_e8"]
        gate = G_PASS if o["left_e8"] <= held else G_LOT
        return 0, gate, SCALE_E8, held, o["left_e8"]
    gate, scale, limit, value = permission(policy, state, s, o["action_id"] == REENTER)
    reserve = orders.worst_cost(policy, o["left_e8"], o["limit_price_e8"])
    quote = policy["instruments"][s]["quote_id"]
    if gate == G_PASS:
        _, cut, cap, used = within_caps(policy, state, s, to_base(state, quote, reserve))
        if cut != G_PASS:
            gate, scale, limit, value = cut, SCALE_E8, cap, used
    if gate == G_PASS:
        gate, scale, limit, value = pays_for_itself(policy, state, edge_ppm)
    if gate == G_PASS:
        gate, scale, limit, value = liquid(policy, state, s, to_base(state, quote, reserve))
    if gate == G_PASS:
        gate, scale, limit, value = fresh(policy, state, s)
    if gate == G_BUSY:  # every other gate passed, and the order in flight is this one
        free = state["cash"][quote]["cash_e8"] - orders.reserved(state, policy, quote) - CASH_MARGIN_E8
        gate, scale, limit, value = (G_PASS if reserve <= free else G_CASH), SCALE_E8, free, reserve
    return reserve, gate, scale, limit, value
