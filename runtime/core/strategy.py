"""Campaign logic: what each instrument's outlook asks for, and carrying the wish through the risk engine."""

from __future__ import annotations

from typing import Any

from runtime.core import emit, outlook, risk, sizing
from runtime.core.codes import (
    DERISK,
    DIP_WAIT,
    ENTER,
    EXIT,
    G_BUSY,
    G_CASH,
    G_LOT,
    G_PASS,
    HOLD,
    NEGATIVE,
    NEUTRAL,
    NONE,
    POSITIVE,
    R_DERISK_UNCERTAIN,
    R_DIP_ENTRY,
    R_DIP_WAIT,
    R_ENTRY_POSITIVE,
    R_ENTRY_STRONG,
    R_EXIT_NEGATIVE,
    R_EXIT_STRONG_NEGATIVE,
    R_HOLD_EDGE,
    R_HOLD_NO_FORECAST,
    R_HOLD_THESIS,
    R_NONE,
    R_WAIT_PERSISTENCE,
    RISK_CUT,
    RISK_REFUSED,
    SCALE_E8,
    SCALE_N,
    STRONG_NEGATIVE,
    STRONG_POSITIVE,
)
from runtime.core.fixed import mul_floor
from runtime.core.records import PPM
from runtime.jit import core


@core
def intent_flat(rules: Any, position: Any, forecast: Any) -> Any:
    """Return (action, reason) for an instrument without a position."""
    if position["outlook_id"] < POSITIVE:
        if position["raw_outlook_id"] >= POSITIVE:
            return NONE, R_WAIT_PERSISTENCE
        return NONE, R_NONE
    if forecast["ret_near_ppm"] <= -rules["near_drop_ppm"]:
        return DIP_WAIT, R_DIP_WAIT
    if position["action_id"] == DIP_WAIT:
        return ENTER, R_DIP_ENTRY
    if position["outlook_id"] == STRONG_POSITIVE:
        return ENTER, R_ENTRY_STRONG
    return ENTER, R_ENTRY_POSITIVE


@core
def intent_open(rules: Any, position: Any, forecast: Any, stale: bool) -> Any:
    """Return (action, reason) for an open position. Time and loss alone never close one; predictions do."""
    if stale or forecast["valid_n"] == 0:
        return HOLD, R_HOLD_NO_FORECAST
    view = position["outlook_id"]
    if view == STRONG_NEGATIVE:
        return EXIT, R_EXIT_STRONG_NEGATIVE
    waited = position["adverse_n"] >= rules["exit_persist_n"]
    if view == NEGATIVE and waited:
        if position["derisked_n"] < rules["derisk_max_n"]:
            return DERISK, R_DERISK_UNCERTAIN
        return EXIT, R_EXIT_NEGATIVE
    uncertain = forecast["uncertainty_ppm"] >= rules["uncertain_ppm"]
    if view == NEUTRAL and uncertain and position["derisked_n"] < rules["derisk_max_n"]:
        return DERISK, R_DERISK_UNCERTAIN
    if view >= POSITIVE:
        return HOLD, R_HOLD_THESIS
    return HOLD, R_HOLD_EDGE


@core
def _record(state: Any, out: Any, s: int, decision: Any) -> int:
    """Write the signal row of a decision and remember its action and gate."""
    position = state["positions"][s]
    position["action_id"] = decision[0]
    position["gate_id"] = decision[2]
    return emit.signal(out, state["desk"], position, state["forecasts"][s], s, decision)


@core
def _refuse(state: Any, out: Any, s: int, decision: Any, compared: Any) -> None:
    signal_id = _record(state, out, s, decision)
    emit.risk(out, state["desk"], s, signal_id, RISK_REFUSED, decision[2], decision[0], compared)


@core
def try_enter(policy: Any, state: Any, out: Any, s: int, reason: int) -> None:
    """Carry an entry through every gate in precedence; place it or journal the first refusal."""
    rules = policy["rules"]
    desk = state["desk"]
    edge = outlook.edge_ppm(state["forecasts"][s])
    cost = risk.round_trip_ppm(rules) + rules["margin_ppm"]
    gate, scale, limit, value = risk.permission(policy, state, s)
    if gate != G_PASS:
        _refuse(state, out, s, (ENTER, reason, gate, 0, 0, edge, cost), (scale, limit, value))
        return
    wanted = sizing.wanted(policy, state, s)
    size, cut, cut_limit, cut_value = risk.within_caps(policy, state, s, wanted)
    if size == 0 or size < mul_floor(wanted, rules["entry_min_ppm"], PPM):
        gate = cut if cut != G_PASS else G_LOT
        _refuse(state, out, s, (ENTER, reason, gate, wanted, 0, edge, cost), (SCALE_E8, cut_limit, cut_value))
        return
    gate, scale, limit, value = risk.pays_for_itself(rules, edge)
    if gate == G_PASS:
        gate, scale, limit, value = risk.fresh(policy, state, s)
    if gate != G_PASS:
        _refuse(state, out, s, (ENTER, reason, gate, wanted, size, edge, cost), (scale, limit, value))
        return
    qty, limit_price, gate, scale, limit, value = risk.affordable(policy, state, s, size)
    if qty == 0:
        if cut != G_PASS and gate != G_CASH:
            gate, scale, limit, value = cut, SCALE_E8, cut_limit, cut_value  # the cap left less than an order needs
        _refuse(state, out, s, (ENTER, reason, gate, wanted, size, edge, cost), (scale, limit, value))
        return
    signal_id = _record(state, out, s, (ENTER, reason, G_PASS, wanted, size, edge, cost))
    if cut != G_PASS:
        emit.risk(out, desk, s, signal_id, RISK_CUT, cut, ENTER, (SCALE_E8, cut_limit, cut_value))
    if gate != G_PASS:
        emit.risk(out, desk, s, signal_id, RISK_CUT, gate, ENTER, (scale, limit, value))
    desk["campaign_n"] += 1
    state["positions"][s]["campaign_id"] = desk["campaign_n"]
    risk.approve_buy(policy, state, out, s, qty, limit_price, (signal_id, reason, desk["campaign_n"]))


@core
def try_sell(policy: Any, state: Any, out: Any, s: int, action: int, reason: int) -> None:
    """Sell all of a position or the profile's share of it."""
    position = state["positions"][s]
    rules = policy["rules"]
    instrument = policy["instruments"][s]
    qty = position["qty_e8"]
    if action == DERISK:
        qty = sizing.share_to_sell(position, instrument["lot_e8"], rules["derisk_ppm"])
        if qty == 0:
            return  # less than one lot: nothing to sell a share of
        position["derisked_n"] += 1
        position["adverse_n"] = 0
    held = position["value_e8"]
    qty = risk.sale_quantity(policy, state, out, s, qty)
    if qty == 0:
        if position["action_id"] != action or position["gate_id"] != G_BUSY:
            busy = state["orders"][s]["order_id"]
            _refuse(state, out, s, (action, reason, G_BUSY, held, 0, 0, 0), (SCALE_N, 0, busy))
        return
    signal_id = _record(state, out, s, (action, reason, G_PASS, held, held, 0, 0))
    risk.approve_sell(policy, state, out, s, qty, (signal_id, reason, position["campaign_id"]))


@core
def decide(policy: Any, state: Any, out: Any, s: int, has_forecast: bool, before_id: int) -> None:
    """Decide for one instrument: entries on a new forecast only, open positions on every closed bar.

    A signal row is written when the class or the action changes, or an action is taken or refused.

    Args:
        has_forecast: a new forecast of this instrument came with this event.
        before_id: the outlook class before this event.
    """
    rules = policy["rules"]
    desk = state["desk"]
    position = state["positions"][s]
    forecast = state["forecasts"][s]
    if position["qty_e8"] > 0:
        stale = desk["now_t"] - position["forecast_t"] > rules["forecast_age_max_t"]
        action, reason = intent_open(rules, position, forecast, stale)
        if action == EXIT or (action == DERISK and has_forecast):
            try_sell(policy, state, out, s, action, reason)
            return
        if action == DERISK:
            action = HOLD
    else:
        if not has_forecast:
            return
        action, reason = intent_flat(rules, position, forecast)
        if action == ENTER and state["orders"][s]["order_id"] == 0:
            try_enter(policy, state, out, s, reason)
            return
        if action == ENTER:
            return
    if action != position["action_id"] or position["outlook_id"] != before_id:
        _record(state, out, s, (action, reason, G_PASS, 0, 0, outlook.edge_ppm(forecast), 0))
