"""From a forecast to a persistent outlook class, and the volatility that sizing needs."""

from __future__ import annotations

from typing import Any

from runtime.core.codes import NEGATIVE, NEUTRAL, POSITIVE, STRONG_NEGATIVE, STRONG_POSITIVE
from runtime.core.fixed import imax, imin, mul_floor, mul_floor_saturating
from runtime.core.records import E4, PPM
from runtime.jit import core

PPB = 1_000_000_000


@core
def edge_ppm(forecast: Any) -> int:
    """Return the expected gross return of the better of the two longer horizons: what a campaign plays for."""
    return imax(forecast["ret_main_ppm"], forecast["ret_far_ppm"])


@core
def rebound_ppm(forecast: Any) -> int:
    """Return the rebound potential: the probability that the far horizon ends higher."""
    return forecast["prob_far_ppm"]


@core
def downside_ppm(forecast: Any) -> int:
    """Return the risk of a persistent downside: the higher probability of a fall over the two longer horizons."""
    return PPM - imin(forecast["prob_main_ppm"], forecast["prob_far_ppm"])


@core
def gain_ppm(position: Any, e8: int) -> int:
    """Return a position's unrealised gain against the cost of its lots, fees of the purchase included."""
    if position["cost_e8"] <= 0:
        return 0
    value = mul_floor(position["qty_e8"], position["mark_e8"], e8)
    return mul_floor(value - position["cost_e8"], PPM, position["cost_e8"])


@core
def classify(rules: Any, forecast: Any) -> int:
    """Return the outlook class of one forecast.

    A positive class needs the probability, the better return, and neither long horizon pointing down; a negative
    class needs the probability and the worse return. Without a valid forecast the outlook is neutral.
    """
    if forecast["valid_n"] == 0:
        return NEUTRAL
    prob = forecast["prob_main_ppm"]
    best = edge_ppm(forecast)
    worst = imin(forecast["ret_main_ppm"], forecast["ret_far_ppm"])
    if worst >= 0:
        if prob >= rules["strong_prob_ppm"] and best >= rules["strong_ret_ppm"]:
            return STRONG_POSITIVE
        if prob >= rules["positive_prob_ppm"] and best >= rules["positive_ret_ppm"]:
            return POSITIVE
        return NEUTRAL
    if prob <= rules["strong_negative_prob_ppm"] and worst <= rules["strong_negative_ret_ppm"]:
        return STRONG_NEGATIVE
    if prob <= rules["negative_prob_ppm"] and worst <= rules["negative_ret_ppm"]:
        return NEGATIVE
    return NEUTRAL


@core
def persist(rules: Any, position: Any, raw: int) -> None:
    """Move the outlook only after enough consecutive forecasts on the same side of it.

    The class adopted is the least extreme one seen while waiting, so that a view flickering between two positive
    classes is confirmed as the weaker of them instead of never.
    """
    outlook = position["outlook_id"]
    position["raw_outlook_id"] = raw
    if raw == outlook:
        position["pending_id"] = raw
        position["persist_n"] = 0
        return
    pending = position["pending_id"]
    if raw > outlook:
        position["pending_id"] = imin(pending, raw) if pending > outlook else raw
        position["persist_n"] = position["persist_n"] + 1 if pending > outlook else 1
        needed = rules["entry_persist_n"]
    else:
        position["pending_id"] = imax(pending, raw) if pending < outlook else raw
        position["persist_n"] = position["persist_n"] + 1 if pending < outlook else 1
        needed = rules["exit_persist_n"]
    if position["persist_n"] >= needed:
        position["outlook_id"] = position["pending_id"]
        position["persist_n"] = 0


@core
def observe_forecast(rules: Any, position: Any, forecast: Any) -> None:
    """Take in a new forecast: class, persistence, and how long the outlook has been adverse."""
    persist(rules, position, classify(rules, forecast))
    if position["outlook_id"] <= NEGATIVE:
        position["adverse_n"] += 1
    else:
        position["adverse_n"] = 0


@core
def observe_bar(rules: Any, position: Any, bar: Any, at_t: int) -> None:
    """Take in a closed bar: mark price, and exponential means of the true range (1e-9 of price) and of the turnover."""
    mark = position["mark_e8"]
    if mark > 0:
        true_range = imax(bar["high_e8"], mark) - imin(bar["low_e8"], mark)
        share = mul_floor(true_range, PPB, mark)
        if position["vol_ppb"] == 0:
            position["vol_ppb"] = share
        else:
            position["vol_ppb"] += mul_floor(share - position["vol_ppb"], rules["vol_decay_ppm"], PPM)
    turnover = mul_floor_saturating(bar["close_e8"], bar["volume_e4"], E4)
    if position["mark_t"] == 0:
        position["turnover_e8"] = turnover
    else:
        position["turnover_e8"] += mul_floor(turnover - position["turnover_e8"], rules["vol_decay_ppm"], PPM)
    position["mark_e8"] = bar["close_e8"]
    position["mark_t"] = at_t
