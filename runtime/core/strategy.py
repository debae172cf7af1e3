"""What each instrument's outlook asks for: the situations of the strategy table, in its order.

Time and loss alone never close a position; predictions do. Every threshold stands in the profile.
"""

from __future__ import annotations

from typing import Any

from runtime.core import fees, outlook
from runtime.core.codes import (
    DERISK,
    DIP_WAIT,
    ENTER,
    EXIT,
    HOLD,
    NEGATIVE,
    NEUTRAL,
    NONE,
    POSITIVE,
    R_DERISK_NEGATIVE,
    R_DERISK_UNCERTAIN,
    R_DIP_ENTRY,
    R_DIP_WAIT,
    R_ENTRY_POSITIVE,
    R_ENTRY_STRONG,
    R_EXIT_NEGATIVE,
    R_EXIT_STRONG_NEGATIVE,
    R_HOLD_EDGE,
    R_HOLD_EXTENDED,
    R_HOLD_NO_FORECAST,
    R_HOLD_THESIS,
    R_NONE,
    R_RECOVERY_DERISK,
    R_RECOVERY_EXIT,
    R_RECOVERY_HOLD,
    R_REENTRY_EDGE,
    R_TACTICAL_TAKE,
    R_WAIT_PERSISTENCE,
    REALISE,
    REENTER,
    STRONG_NEGATIVE,
    STRONG_POSITIVE,
    TAKER,
)
from runtime.core.records import E8
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
def observe_recovery(policy: Any, state: Any, s: int, arrived: bool) -> bool:
    """Enter or leave recovery mode by the size of the loss; return whether the mode changed.

    While in recovery, `recovery_wait_n` counts new forecasts in a row whose rebound odds are too low to hold.
    """
    rules = policy["rules"]
    position = state["positions"][s]
    gain = outlook.gain_ppm(position, E8)
    before = position["recovery_n"]
    if before == 0 and gain <= -rules["severe_loss_ppm"]:
        position["recovery_n"] = 1
        position["recovery_wait_n"] = 0
        state["desk"]["recovering_n"] += 1
    elif before != 0 and gain >= -rules["severe_release_ppm"]:
        position["recovery_n"] = 0
        state["desk"]["recovering_n"] -= 1
    if position["recovery_n"] != 0 and arrived:
        if outlook.rebound_ppm(state["forecasts"][s]) < rules["recovery_hold_ppm"]:
            position["recovery_wait_n"] += 1
        else:
            position["recovery_wait_n"] = 0
    return bool(before != position["recovery_n"])


@core
def _tactical(policy: Any, state: Any, s: int) -> Any:
    """Profit taking and re-entry: (action, reason), NONE when neither applies."""
    rules = policy["rules"]
    position = state["positions"][s]
    forecast = state["forecasts"][s]
    view = position["outlook_id"]
    thesis = view >= NEUTRAL and forecast["ret_far_ppm"] >= 0
    way_out = fees.rate_ppm(policy, state, TAKER) + rules["half_spread_ppm"] + rules["slippage_ppm"]
    profit = outlook.gain_ppm(position, E8) - way_out
    weak = forecast["ret_near_ppm"] <= rules["take_near_ppm"]
    if thesis and weak and profit >= rules["take_profit_ppm"] and position["taken_n"] < rules["take_max_n"]:
        return REALISE, R_TACTICAL_TAKE
    recovered = forecast["ret_near_ppm"] >= rules["reentry_near_ppm"]
    if position["taken_n"] > position["reentered_n"] and view >= POSITIVE and recovered:
        return REENTER, R_REENTRY_EDGE
    return NONE, R_NONE


@core
def _defence(rules: Any, position: Any, forecast: Any) -> Any:
    """De-risking and prediction-led exits: (action, reason), NONE when none applies."""
    view = position["outlook_id"]
    reducible = position["derisked_n"] < rules["derisk_max_n"]
    if view == NEUTRAL and forecast["uncertainty_ppm"] >= rules["uncertain_ppm"] and reducible:
        return DERISK, R_DERISK_UNCERTAIN
    unlikely = outlook.rebound_ppm(forecast) < rules["rebound_exit_ppm"]
    if view == STRONG_NEGATIVE and unlikely:
        return EXIT, R_EXIT_STRONG_NEGATIVE
    if view <= NEGATIVE and position["adverse_n"] >= rules["exit_persist_n"]:
        if reducible:
            return DERISK, R_DERISK_NEGATIVE
        if unlikely:
            return EXIT, R_EXIT_NEGATIVE
    return NONE, R_NONE


@core
def _recovery(rules: Any, position: Any, forecast: Any) -> Any:
    """A major adverse move: hold, reduce or leave by the odds of a rebound against a continuation."""
    odds = outlook.rebound_ppm(forecast)
    if position["recovery_wait_n"] < rules["recovery_patience_n"]:
        return HOLD, R_RECOVERY_HOLD
    if odds < rules["recovery_exit_ppm"]:
        return EXIT, R_RECOVERY_EXIT
    if position["derisked_n"] < rules["derisk_max_n"]:
        return DERISK, R_RECOVERY_DERISK
    return HOLD, R_RECOVERY_HOLD


@core
def intent_open(policy: Any, state: Any, s: int, arrived: bool) -> Any:
    """Return (action, reason) for an open position.

    Partial actions (REALISE, REENTER, DERISK) need a forecast that arrived with this event; a full EXIT is wanted on
    every bar until it is done.
    """
    rules = policy["rules"]
    position = state["positions"][s]
    forecast = state["forecasts"][s]
    now_t = state["desk"]["now_t"]
    if now_t - position["forecast_t"] > rules["forecast_age_max_t"] or forecast["valid_n"] == 0:
        return HOLD, R_HOLD_NO_FORECAST
    if arrived and position["recovery_n"] == 0:
        action, reason = _tactical(policy, state, s)
        if action != NONE:
            return action, reason
    action, reason = _defence(rules, position, forecast)
    if action == NONE and position["recovery_n"] != 0:
        action, reason = _recovery(rules, position, forecast)
    if action == EXIT or (action == DERISK and arrived) or reason == R_RECOVERY_HOLD:
        return action, reason
    if arrived and now_t >= position["horizon_t"] and outlook.edge_ppm(forecast) > 0:
        return HOLD, R_HOLD_EXTENDED
    if position["outlook_id"] >= POSITIVE:
        return HOLD, R_HOLD_THESIS
    return HOLD, R_HOLD_EDGE
