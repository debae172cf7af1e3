"""Carrying a wish through the risk engine: entries, re-entries, sales and retries, and the signal row of each.

A campaign runs from the first entry to the final flat.
"""

from __future__ import annotations

from typing import Any

from runtime.core import emit, orders, outlook, risk, sizing, strategy
from runtime.core.codes import (
    BUY,
    DERISK,
    ENTER,
    EXIT,
    G_BUSY,
    G_CASH,
    G_LOT,
    G_PASS,
    HOLD,
    O_CANCELLED,
    O_RETRYING,
    POSITIVE,
    R_HOLD_EXTENDED,
    REALISE,
    REENTER,
    RISK_CUT,
    RISK_RECOVERY,
    RISK_REFUSED,
    RISK_RETRY,
    SCALE_E8,
    SCALE_N,
    SCALE_PPM,
)
from runtime.core.fixed import imin, mul_floor
from runtime.core.records import E8, INSTRUMENTS, PPM
from runtime.jit import core


@core
def _record(state: Any, out: Any, s: int, wish: Any, gate: int, sizes: Any) -> int:
    """Write the signal row of a decision and remember its action and gate.

    `wish` is (action, reason), `sizes` is (wanted, sized, cost).
    """
    position = state["positions"][s]
    forecast = state["forecasts"][s]
    position["action_id"] = wish[0]
    position["gate_id"] = gate
    decision = (
        wish[0], wish[1], gate, sizes[0], sizes[1], outlook.edge_ppm(forecast), sizes[2], outlook.rebound_ppm(forecast),
        outlook.downside_ppm(forecast), outlook.gain_ppm(position, E8),
    )  # fmt: skip
    return emit.signal(out, state["desk"], position, forecast, s, decision)


@core
def _refuse(state: Any, out: Any, s: int, wish: Any, gate: int, sizes: Any, compared: Any) -> None:
    signal_id = _record(state, out, s, wish, gate, sizes)
    emit.risk(out, state["desk"], s, signal_id, RISK_REFUSED, gate, wish[0], compared)


@core
def try_buy(policy: Any, state: Any, out: Any, s: int, action: int, reason: int) -> None:
    """Carry an entry or re-entry through every gate in precedence; place it or journal the first refusal."""
    rules = policy["rules"]
    desk = state["desk"]
    position = state["positions"][s]
    wish = (action, reason)
    edge = outlook.edge_ppm(state["forecasts"][s])
    cost = risk.round_trip_ppm(policy, state) + rules["margin_ppm"]
    gate, scale, limit, value = risk.permission(policy, state, s, action == REENTER)
    if gate != G_PASS:
        _refuse(state, out, s, wish, gate, (0, 0, cost), (scale, limit, value))
        return
    wanted = sizing.wanted(policy, state, s)
    if action == REENTER:
        wanted = imin(wanted, position["taken_e8"])
    size, cut, cut_limit, cut_value = risk.within_caps(policy, state, s, wanted)
    if size == 0 or size < mul_floor(wanted, rules["entry_min_ppm"], PPM):
        gate = cut if cut != G_PASS else G_LOT
        _refuse(state, out, s, wish, gate, (wanted, size, cost), (SCALE_E8, cut_limit, cut_value))
        return
    gate, scale, limit, value = risk.pays_for_itself(policy, state, edge)
    if gate == G_PASS:
        gate, scale, limit, value = risk.liquid(policy, state, s, size)
    if gate == G_PASS:
        gate, scale, limit, value = risk.fresh(policy, state, s)
    if gate != G_PASS:
        _refuse(state, out, s, wish, gate, (wanted, size, cost), (scale, limit, value))
        return
    qty, limit_price, gate, scale, limit, value = risk.affordable(policy, state, s, size)
    if qty == 0:
        if cut != G_PASS and gate != G_CASH:
            gate, scale, limit, value = cut, SCALE_E8, cut_limit, cut_value  # the cap left less than an order needs
        _refuse(state, out, s, wish, gate, (wanted, size, cost), (scale, limit, value))
        return
    if position["qty_e8"] == 0:
        desk["campaign_n"] += 1
        position["campaign_id"] = desk["campaign_n"]
        position["horizon_t"] = desk["now_t"] + rules["horizon_t"]
    signal_id = _record(state, out, s, wish, G_PASS, (wanted, size, cost))
    if cut != G_PASS:
        emit.risk(out, desk, s, signal_id, RISK_CUT, cut, action, (SCALE_E8, cut_limit, cut_value))
    if gate != G_PASS:
        emit.risk(out, desk, s, signal_id, RISK_CUT, gate, action, (scale, limit, value))
    risk.approve_buy(policy, state, out, s, qty, limit_price, (signal_id, action, reason, position["campaign_id"]))


@core
def _share_ppm(rules: Any, action: int) -> int:
    return rules["derisk_ppm"] if action == DERISK else rules["take_ppm"]


@core
def try_sell(policy: Any, state: Any, out: Any, s: int, action: int, reason: int) -> None:
    """Sell all of a position or the profile's share of it."""
    position = state["positions"][s]
    instrument = policy["instruments"][s]
    wish = (action, reason)
    held = position["value_e8"]
    qty = position["qty_e8"]
    if action != EXIT:
        qty = sizing.share_to_sell(position, instrument["lot_e8"], _share_ppm(policy["rules"], action))
        if qty == 0:
            return  # less than one lot: nothing to sell a share of
    sized = mul_floor(held, qty, position["qty_e8"])
    order_row_id = state["orders"][s]["order_row_id"]
    qty = risk.sale_quantity(policy, state, out, s, qty)
    if qty == 0:
        asked = state["orders"][s]["order_row_id"] != order_row_id  # the venue is asked to take a buy off: say why
        if asked or position["action_id"] != action or position["gate_id"] != G_BUSY:
            busy = state["orders"][s]["order_id"]
            _refuse(state, out, s, wish, G_BUSY, (held, 0, 0), (SCALE_N, 0, busy))
        return
    if action == DERISK:
        position["adverse_n"] = 0
        position["recovery_wait_n"] = 0
    signal_id = _record(state, out, s, wish, G_PASS, (held, sized, 0))
    risk.approve_sell(policy, state, out, s, qty, (signal_id, action, reason, position["campaign_id"]))


@core
def decide(policy: Any, state: Any, out: Any, s: int, arrived: bool, before_id: int) -> None:
    """Decide for one instrument: entries on a new forecast only, open positions on every closed bar.

    A signal row is written when the class or the action changes, or an action is taken or refused.

    Args:
        arrived: a new forecast of this instrument came with this event.
        before_id: the outlook class before this event.
    """
    position = state["positions"][s]
    if position["qty_e8"] > 0:
        if strategy.observe_recovery(policy, state, s, arrived):
            gain = outlook.gain_ppm(position, E8)
            compared = (SCALE_PPM, -policy["rules"]["severe_loss_ppm"], gain)
            emit.risk(out, state["desk"], s, 0, RISK_RECOVERY, G_PASS, position["recovery_n"], compared)
        action, reason = strategy.intent_open(policy, state, s, arrived)
        if action == EXIT or action == DERISK or action == REALISE:
            try_sell(policy, state, out, s, action, reason)
            return
        if action == REENTER:
            try_buy(policy, state, out, s, action, reason)
            return
        if reason == R_HOLD_EXTENDED:
            position["horizon_t"] = state["desk"]["now_t"] + policy["rules"]["horizon_t"]
            _record(state, out, s, (HOLD, reason), G_PASS, (0, 0, 0))
            return
    else:  # a new forecast came: nothing else asks about an instrument that is not held
        action, reason = strategy.intent_flat(policy["rules"], position, state["forecasts"][s])
        if action == ENTER:
            if state["orders"][s]["order_id"] == 0:
                try_buy(policy, state, out, s, action, reason)
            return
    if action != position["action_id"] or position["outlook_id"] != before_id:
        _record(state, out, s, (action, reason), G_PASS, (0, 0, 0))


@core
def retry_waiting(policy: Any, state: Any, out: Any) -> None:
    """Send orders whose delay is over, each re-checked as if it were new; give up the ones that no longer pass."""
    desk = state["desk"]
    if desk["retries_n"] == 0:
        return
    for s in range(INSTRUMENTS):
        o = state["orders"][s]
        if o["order_id"] == 0 or o["status_id"] != O_RETRYING or desk["now_t"] < o["retry_t"]:
            continue
        position = state["positions"][s]
        edge = outlook.edge_ppm(state["forecasts"][s])
        if o["side_id"] == BUY and position["outlook_id"] < POSITIVE:
            edge = 0  # the outlook that asked for it is gone: the cost gate says so
        reserve, gate, scale, limit, value = risk.readmit(policy, state, s, edge)
        if gate == G_PASS:
            orders.retry(policy, state, out, s, reserve)
            emit.risk(out, desk, s, o["signal_id"], RISK_RETRY, G_PASS, o["action_id"], (SCALE_N, 0, o["attempt_n"]))
        else:
            emit.risk(out, desk, s, o["signal_id"], RISK_REFUSED, gate, o["action_id"], (scale, limit, value))
            orders.finish(policy, state, out, s, O_CANCELLED)
