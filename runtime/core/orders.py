"""Order lifecycle: at most one order per instrument, from approval through the venue's answers and fills to its end.

    NEW -> OPEN -> PARTIAL -> FILLED | CANCELLED | EXPIRED | DUST
    OPEN | PARTIAL -> CANCELLING -> FILLED | CANCELLED | EXPIRED
                                       the venue was asked to end it: it may still fill, so it keeps its reservation
    NEW -> DENIED                      refused before it left us: final
    NEW -> REJECTED -> RETRYING -> NEW a venue's no that may be tried again, after +1, +2, +4 minutes and a new approval
    NEW -> UNKNOWN -> (a query) -> OPEN | CANCELLED -> RETRYING ...   never sent again before the query

The venue of a backtest fills a NEW order without an answer in between; what it never acknowledged it ends at once.
"""

from __future__ import annotations

from typing import Any

from runtime.core import emit, fees, ledger, lots
from runtime.core.codes import (
    BUY,
    DERISK,
    L_BUY,
    L_SELL,
    O_CANCELLED,
    O_CANCELLING,
    O_DENIED,
    O_DUST,
    O_EXPIRED,
    O_FILLED,
    O_NEW,
    O_OPEN,
    O_PARTIAL,
    O_REJECTED,
    O_RETRYING,
    O_UNKNOWN,
    REALISE,
    REENTER,
)
from runtime.core.fixed import add, imin, mul_ceil, mul_floor
from runtime.core.records import E8, INSTRUMENTS, PPM
from runtime.jit import core


@core
def worst_cost(policy: Any, qty_e8: int, limit_price_e8: int) -> int:
    """Return the most cash that buying a quantity at its limit can take, fee included."""
    notional = mul_ceil(qty_e8, limit_price_e8, E8)
    return add(notional, mul_ceil(notional, fees.worst_ppm(policy), PPM))


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
    """Open an order.

    `request` is (quantity, limit price or 0, reserve, decision price, signal, action, reason, campaign).
    """
    desk = state["desk"]
    o = state["orders"][s]
    desk["order_n"] += 1
    o["order_id"] = desk["order_n"]
    o["side_id"] = side
    o["attempt_n"] = 1
    o["acked_n"] = 0
    o["qty_e8"] = request[0]
    o["left_e8"] = request[0]
    o["limit_price_e8"] = request[1]
    o["reserve_e8"] = request[2]
    o["decision_price_e8"] = request[3]
    o["signal_id"] = request[4]
    o["action_id"] = request[5]
    o["reason_id"] = request[6]
    o["campaign_id"] = request[7]
    o["placed_t"] = desk["now_t"]
    o["expires_t"] = desk["now_t"] + policy["rules"]["order_ttl_t"]
    o["retry_t"] = 0
    o["order_row_id"] = emit.order(out, desk, o, s, policy["instruments"][s]["quote_id"], O_NEW)


@core
def finish(policy: Any, state: Any, out: Any, s: int, status: int) -> None:
    """End an open order with a final status and free what it reserved."""
    o = state["orders"][s]
    if o["status_id"] == O_RETRYING:
        state["desk"]["retries_n"] -= 1
    o["reserve_e8"] = 0
    o["retry_t"] = 0
    emit.order(out, state["desk"], o, s, policy["instruments"][s]["quote_id"], status)
    o["order_id"] = 0
    o["left_e8"] = 0
    o["status_id"] = 0


@core
def end(policy: Any, state: Any, out: Any, s: int, status: int) -> None:
    """End an open order: at once, or, where the venue acknowledged it, when the venue says so.

    Until then it may fill, so it keeps its reservation and its place.
    """
    o = state["orders"][s]
    if o["acked_n"] != 0:
        o["order_row_id"] = emit.order(out, state["desk"], o, s, policy["instruments"][s]["quote_id"], O_CANCELLING)
    else:
        finish(policy, state, out, s, status)


@core
def cancellable(o: Any) -> bool:
    """Return whether an order may be ended by us: there is one, its outcome is not unknown, and its end is not asked for yet."""
    return o["order_id"] != 0 and o["status_id"] != O_UNKNOWN and o["status_id"] != O_CANCELLING


@core
def expire(policy: Any, state: Any, out: Any) -> None:
    """End every order whose time is up; one with an unknown outcome waits for its query."""
    now_t = state["desk"]["now_t"]
    for s in range(INSTRUMENTS):
        o = state["orders"][s]
        if cancellable(o) and now_t >= o["expires_t"]:
            end(policy, state, out, s, O_EXPIRED)


@core
def cancel_entries(policy: Any, state: Any, out: Any) -> None:
    """Cancel every resting buy: what the kill switch does at once."""
    for s in range(INSTRUMENTS):
        o = state["orders"][s]
        if cancellable(o) and o["side_id"] == BUY:
            end(policy, state, out, s, O_CANCELLED)


@core
def _obey_kill(policy: Any, state: Any, out: Any, s: int) -> None:
    """Cancel a buy whose unknown outcome turned out to be resting while the kill switch is on."""
    o = state["orders"][s]
    if state["desk"]["kill_n"] != 0 and o["side_id"] == BUY and cancellable(o):
        end(policy, state, out, s, O_CANCELLED)


@core
def answer(policy: Any, state: Any, out: Any, event: Any) -> None:
    """Apply what the venue said about an order.

    Raises:
        ValueError: the order is not the instrument's open one, or the answer does not follow from its state.
    """
    s = event["instrument_id"]
    if s < 0 or s >= INSTRUMENTS:
        raise ValueError("an answer about an unknown instrument")
    o = state["orders"][s]
    status = event["status_id"]
    if o["order_id"] == 0 or o["order_id"] != event["order_id"]:
        raise ValueError("an answer about an order that is not open")
    quote = policy["instruments"][s]["quote_id"]
    if o["status_id"] == O_RETRYING and (status == O_OPEN or status == O_UNKNOWN or status == O_REJECTED):
        # the venue does not have it: a rejection that arrives twice must not count, or wait, twice
        raise ValueError("an answer that does not follow from the order's state")
    resting = o["status_id"] == O_OPEN or o["status_id"] == O_PARTIAL
    if (status == O_REJECTED and resting) or (status == O_DENIED and o["status_id"] != O_NEW):
        raise ValueError("a venue's no to an order that it has")
    if status == O_OPEN or status == O_UNKNOWN:
        if status == O_OPEN:
            o["acked_n"] = 1
            if o["status_id"] == O_PARTIAL or o["status_id"] == O_CANCELLING:
                status = o["status_id"]  # it rests, as we knew; a cancel that did not arrive is to be sent again
        o["order_row_id"] = emit.order(out, state["desk"], o, s, quote, status)
        if status != O_UNKNOWN:
            _obey_kill(policy, state, out, s)
    elif status == O_REJECTED:
        o["order_row_id"] = emit.order(out, state["desk"], o, s, quote, status)
        _wait_or_finish(policy, state, out, s, event["value_n"])
    elif status == O_CANCELLED and o["status_id"] == O_UNKNOWN and event["value_n"] != 0:
        # the query found that the venue never had it: it may be tried again, with the state re-checked
        _wait_or_finish(policy, state, out, s, 1)
    elif status == O_DENIED or status == O_CANCELLED or status == O_EXPIRED:
        finish(policy, state, out, s, status)
    else:
        raise ValueError("unknown answer of the venue")


@core
def _wait_or_finish(policy: Any, state: Any, out: Any, s: int, again: int) -> None:
    """Wait for the next attempt, reserving nothing: base delay, doubled each time; or give the order up.

    What the venue once had is not tried again: we may have asked for its end since.
    """
    o = state["orders"][s]
    if again == 0 or o["acked_n"] != 0 or o["attempt_n"] > policy["rules"]["retries_max_n"]:
        finish(policy, state, out, s, O_CANCELLED)
        return
    delay = policy["rules"]["retry_t"]
    for _ in range(1, o["attempt_n"]):
        delay = delay * 2
    o["reserve_e8"] = 0
    o["retry_t"] = state["desk"]["now_t"] + delay
    state["desk"]["retries_n"] += 1
    o["order_row_id"] = emit.order(out, state["desk"], o, s, policy["instruments"][s]["quote_id"], O_RETRYING)


@core
def retry(policy: Any, state: Any, out: Any, s: int, reserve_e8: int) -> None:
    """Send a waiting order again, as its next attempt, with what it must reserve now."""
    o = state["orders"][s]
    state["desk"]["retries_n"] -= 1
    o["attempt_n"] += 1
    o["reserve_e8"] = reserve_e8
    o["retry_t"] = 0
    o["placed_t"] = state["desk"]["now_t"]
    o["order_row_id"] = emit.order(out, state["desk"], o, s, policy["instruments"][s]["quote_id"], O_NEW)


@core
def apply_fill(policy: Any, state: Any, out: Any, event: Any) -> None:
    """Apply one execution of an instrument's open order: cash, lots, position, order state.

    Raises:
        ValueError: no such order, more than is left of it, or a price beyond its limit: broken invariants.
    """
    s = event["instrument_id"]
    if s < 0 or s >= INSTRUMENTS:
        raise ValueError("a fill of an unknown instrument")
    desk = state["desk"]
    position = state["positions"][s]
    o = state["orders"][s]
    quote = policy["instruments"][s]["quote_id"]
    qty = event["qty_e8"]
    price = event["price_e8"]
    if o["order_id"] == 0 or o["order_id"] != event["order_id"] or o["status_id"] == O_RETRYING:
        raise ValueError("fill does not belong to an open order")
    if qty <= 0 or qty > o["left_e8"] or price <= 0:
        raise ValueError("fill does not fit its order")
    if o["side_id"] == BUY and price > o["limit_price_e8"]:
        raise ValueError("fill is beyond the order's limit")
    if o["status_id"] == O_UNKNOWN or event["value_n"] != 0:
        o["acked_n"] = 1  # what fills has arrived
    origin_hour_t = emit.hour_of(o["placed_t"])
    notional = mul_floor(qty, price, E8)
    fee = mul_ceil(notional, fees.rate_ppm(policy, state, event["liquidity_id"]), PPM)
    slippage = notional - mul_floor(qty, event["reference_e8"], E8)
    if o["side_id"] != BUY:
        slippage = -slippage
    money = (notional, fee, slippage, event["liquidity_id"])
    fill_id = emit.fill(out, desk, o, event, quote, money)
    desk["fees_e8"] += ledger.to_base(state, quote, fee)
    desk["slippage_e8"] += ledger.to_base(state, quote, slippage)
    fees.traded(state, ledger.to_base(state, quote, notional))
    _count_action(state, s, ledger.to_base(state, quote, notional))
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
            _close_campaign(state, s)
    ledger.revalue(policy, state, s)
    _after_fill(policy, state, out, s, qty)


@core
def _count_action(state: Any, s: int, notional_base_e8: int) -> None:
    """Count a campaign's partial action with the first execution of its order, and what a realisation took with each.

    An order that the venue denies, or that ends unfilled, did nothing: it must neither use up a budget nor be bought back.
    """
    position = state["positions"][s]
    o = state["orders"][s]
    first = o["left_e8"] == o["qty_e8"]
    if o["action_id"] == DERISK and first:
        position["derisked_n"] += 1
    elif o["action_id"] == REENTER and first:
        position["reentered_n"] += 1
    elif o["action_id"] == REALISE:
        if first:
            position["taken_n"] += 1
            position["taken_e8"] = 0
        position["taken_e8"] = add(position["taken_e8"], notional_base_e8)


@core
def _close_campaign(state: Any, s: int) -> None:
    position = state["positions"][s]
    state["desk"]["open_n"] -= 1
    if position["recovery_n"] != 0:
        state["desk"]["recovering_n"] -= 1
    position["derisked_n"] = 0
    position["adverse_n"] = 0
    position["taken_n"] = 0
    position["reentered_n"] = 0
    position["taken_e8"] = 0
    position["recovery_n"] = 0
    position["recovery_wait_n"] = 0
    position["horizon_t"] = 0
    position["campaign_id"] = 0


@core
def _after_fill(policy: Any, state: Any, out: Any, s: int, qty: int) -> None:
    o = state["orders"][s]
    instrument = policy["instruments"][s]
    o["left_e8"] -= qty
    if o["left_e8"] == 0:
        finish(policy, state, out, s, O_FILLED)
        return
    if o["side_id"] == BUY:
        o["reserve_e8"] = imin(worst_cost(policy, o["left_e8"], o["limit_price_e8"]), o["reserve_e8"])
        rest = mul_floor(o["left_e8"], state["positions"][s]["mark_e8"], E8)
        if o["left_e8"] < instrument["qty_min_e8"] or rest < instrument["cost_min_e8"]:
            end(policy, state, out, s, O_DUST)
            return
    status = O_CANCELLING if o["status_id"] == O_CANCELLING else O_PARTIAL
    o["order_row_id"] = emit.order(out, state["desk"], o, s, instrument["quote_id"], status)
    _obey_kill(policy, state, out, s)
