"""Order lifecycle: one open order per instrument, from placement through fills to its end."""

from __future__ import annotations

from typing import Any

from runtime.core import emit, ledger, lots
from runtime.core.codes import BUY, L_BUY, L_SELL, O_CANCELLED, O_EXPIRED, O_FILLED, O_NEW, O_PARTIAL, TAKER
from runtime.core.fixed import add, mul_ceil, mul_floor
from runtime.core.records import E8, INSTRUMENTS, PPM
from runtime.jit import core


@core
def worst_cost(policy: Any, qty_e8: int, limit_price_e8: int) -> int:
    """Return the most cash that buying a quantity at its limit can take, fee included."""
    notional = mul_ceil(qty_e8, limit_price_e8, E8)
    return add(notional, mul_ceil(notional, policy["rules"]["taker_fee_ppm"], PPM))


@core
def reserved(state: Any, policy: Any, quote: int) -> int:
    """Return the cash that open buys of a quote currency may still take at their worst price."""
    total = 0
    for s in range(INSTRUMENTS):
        if policy["instruments"][s]["quote_id"] == quote:
            total = add(total, state["orders"][s]["reserve_e8"])
    return total


@core
def place(policy: Any, state: Any, out: Any, s: int, side: int, request: Any) -> None:
    """Open an order; `request` is (quantity, limit price or 0, reserve, decision price, signal, reason, campaign)."""
    desk = state["desk"]
    o = state["orders"][s]
    desk["order_n"] += 1
    o["order_id"] = desk["order_n"]
    o["side_id"] = side
    o["qty_e8"] = request[0]
    o["left_e8"] = request[0]
    o["limit_price_e8"] = request[1]
    o["reserve_e8"] = request[2]
    o["decision_price_e8"] = request[3]
    o["signal_id"] = request[4]
    o["reason_id"] = request[5]
    o["campaign_id"] = request[6]
    o["placed_t"] = desk["now_t"]
    o["expires_t"] = desk["now_t"] + policy["rules"]["order_ttl_t"]
    o["order_row_id"] = emit.order(out, desk, o, s, policy["instruments"][s]["quote_id"], O_NEW)


@core
def finish(policy: Any, state: Any, out: Any, s: int, status: int) -> None:
    """End an open order with a final status and free what it reserved."""
    o = state["orders"][s]
    o["reserve_e8"] = 0
    emit.order(out, state["desk"], o, s, policy["instruments"][s]["quote_id"], status)
    o["order_id"] = 0
    o["left_e8"] = 0


@core
def expire(policy: Any, state: Any, out: Any) -> None:
    """End every order whose time is up."""
    now_t = state["desk"]["now_t"]
    for s in range(INSTRUMENTS):
        o = state["orders"][s]
        if o["order_id"] != 0 and now_t >= o["expires_t"]:
            finish(policy, state, out, s, O_EXPIRED)


@core
def cancel_entries(policy: Any, state: Any, out: Any) -> None:
    """Cancel every resting buy: what the kill switch does at once."""
    for s in range(INSTRUMENTS):
        o = state["orders"][s]
        if o["order_id"] != 0 and o["side_id"] == BUY:
            finish(policy, state, out, s, O_CANCELLED)


@core
def apply_fill(policy: Any, state: Any, out: Any, event: Any) -> None:
    """Apply one execution of an instrument's open order: cash, lots, position, order state.

    Raises:
        ValueError: no such order, more than is left of it, or a price beyond its limit: broken invariants.
    """
    s = event["instrument_id"]
    desk = state["desk"]
    position = state["positions"][s]
    o = state["orders"][s]
    quote = policy["instruments"][s]["quote_id"]
    qty = event["qty_e8"]
    price = event["price_e8"]
    if o["order_id"] == 0 or qty <= 0 or qty > o["left_e8"] or price <= 0:
        raise ValueError("fill does not belong to an open order")
    if o["side_id"] == BUY and price > o["limit_price_e8"]:
        raise ValueError("fill is beyond the order's limit")
    origin_hour_t = emit.hour_of(o["placed_t"])
    notional = mul_floor(qty, price, E8)
    fee = mul_ceil(notional, policy["rules"]["taker_fee_ppm"], PPM)
    slippage = mul_floor(qty, price, E8) - mul_floor(qty, event["reference_e8"], E8)
    if o["side_id"] != BUY:
        slippage = -slippage
    fill_id = emit.fill(out, desk, o, event, quote, (notional, fee, slippage, TAKER))
    desk["fees_e8"] += ledger.to_base(state, quote, fee)
    desk["slippage_e8"] += ledger.to_base(state, quote, slippage)
    if o["side_id"] == BUY:
        ledger.post(state, out, (quote, L_BUY, fill_id, s, origin_hour_t), (-notional - fee, notional, fee, slippage))
        if position["qty_e8"] == 0:
            desk["open_n"] += 1
        lots.open_lot(state, out, s, origin_hour_t, fill_id, qty, notional + fee)
    else:
        ledger.post(state, out, (quote, L_SELL, fill_id, s, origin_hour_t), (notional - fee, notional, fee, slippage))
        links = (fill_id, quote, o["campaign_id"])
        realised = lots.close_lots(state, out, s, origin_hour_t, links, qty, notional - fee)
        desk["realised_e8"] += ledger.to_base(state, quote, realised)
        if position["qty_e8"] == 0:
            desk["open_n"] -= 1
            position["derisked_n"] = 0
            position["adverse_n"] = 0
            position["campaign_id"] = 0
    _after_fill(policy, state, out, s, qty)
    ledger.revalue(policy, state, s)


@core
def _after_fill(policy: Any, state: Any, out: Any, s: int, qty: int) -> None:
    o = state["orders"][s]
    o["left_e8"] -= qty
    if o["left_e8"] == 0:
        finish(policy, state, out, s, O_FILLED)
        return
    if o["side_id"] == BUY:
        o["reserve_e8"] = worst_cost(policy, o["left_e8"], o["limit_price_e8"])
    o["order_row_id"] = emit.order(out, state["desk"], o, s, policy["instruments"][s]["quote_id"], O_PARTIAL)
