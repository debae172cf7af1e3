"""The decision core: one event in, new state and records out. Backtest, paper, live and replay call nothing else."""

from __future__ import annotations

from typing import Any

from runtime.core import emit, ledger, orders, outlook, risk, simulate, strategy
from runtime.core.codes import (
    EV_BARS,
    EV_CONTROL,
    EV_DEPOSIT,
    EV_FILL,
    EV_RATE,
    G_DRAWDOWN,
    G_HALT,
    G_KILL,
    L_DEPOSIT,
    NONE,
    RISK_HALT,
    RISK_KILL,
    RISK_TIER,
    SCALE_N,
    SCALE_PPM,
    TIER_NORMAL,
)
from runtime.core.records import INSTRUMENTS, MAX_LOTS
from runtime.jit import core

SWITCH_KILL, SWITCH_HALT, SWITCH_RELEASE_TIER = 1, 2, 3
"""What a CONTROL event's `instrument_id` names."""


@core
def _tier_changed(policy: Any, state: Any, out: Any, before: int) -> None:
    desk = state["desk"]
    if desk["tier_id"] != before:
        limit = policy["tiers"][desk["tier_id"]]["drawdown_ppm"]
        emit.risk(out, desk, -1, 0, RISK_TIER, G_DRAWDOWN, NONE, (SCALE_PPM, limit, desk["drawdown_ppm"]))


@core
def on_bars(policy: Any, state: Any, out: Any, bars: Any, forecasts: Any, has_forecast: bool) -> None:
    """One closed bar of every instrument, with new forecasts on the model's grid: mark, view, decide, record."""
    rules = policy["rules"]
    desk = state["desk"]
    now_t = desk["now_t"]
    for s in range(INSTRUMENTS):
        if bars[s]["present_n"] != 0:
            outlook.observe_bar(rules, state["positions"][s], bars[s], now_t)
            if state["positions"][s]["qty_e8"] > 0:
                ledger.revalue(policy, state, s)
    before = ledger.mark(policy, state)
    _tier_changed(policy, state, out, before)
    orders.expire(policy, state, out)
    for s in range(INSTRUMENTS):
        position = state["positions"][s]
        before_id = position["outlook_id"]
        arrived = has_forecast and forecasts[s]["valid_n"] != 0
        if arrived:
            state["forecasts"][s] = forecasts[s]
            position["forecast_t"] = now_t
            outlook.observe_forecast(rules, position, forecasts[s])
        if arrived or position["qty_e8"] > 0:
            strategy.decide(policy, state, out, s, arrived, before_id)
    _hourly(policy, state, out)


@core
def _hourly(policy: Any, state: Any, out: Any) -> None:
    """Materialise the economic state of the hour."""
    rules = policy["rules"]
    desk = state["desk"]
    orders_n = 0
    for s in range(INSTRUMENTS):
        if state["orders"][s]["order_id"] != 0:
            orders_n += 1
    flying = risk.in_flight(policy, state, -1) if orders_n > 0 else 0
    cost = ledger.open_cost_base(policy, state) if desk["open_n"] > 0 else 0
    emit.portfolio(out, state, orders_n, cost)
    cap = risk.cap_e8(desk["pv_e8"], rules["total_cap_ppm"], rules["total_cap_e8"])
    emit.risk_state(out, state, rules["positions_max_n"], cap, desk["gross_e8"] + flying)


@core
def on_control(policy: Any, state: Any, out: Any, event: Any) -> None:
    """An operator's or the system's switch: kill, entry halt, or release of the HALT20 tier."""
    desk = state["desk"]
    switch = event["instrument_id"]
    value = event["value_n"]
    if switch == SWITCH_KILL:
        emit.risk(out, desk, -1, 0, RISK_KILL, G_KILL, NONE, (SCALE_N, desk["kill_n"], value))
        desk["kill_n"] = value
        if value != 0:
            orders.cancel_entries(policy, state, out)
    elif switch == SWITCH_HALT:
        emit.risk(out, desk, -1, 0, RISK_HALT, G_HALT, NONE, (SCALE_N, desk["halt_n"], value))
        desk["halt_n"] = value
    elif switch == SWITCH_RELEASE_TIER:
        before = desk["tier_id"]
        desk["tier_id"] = TIER_NORMAL
        # a release starts a new peak: otherwise the next bar would fall back into the same tier
        desk["peak_e8"] = desk["pv_e8"]
        desk["drawdown_ppm"] = 0
        _tier_changed(policy, state, out, before)
    else:
        raise ValueError("unknown control switch")


@core
def on_deposit(policy: Any, state: Any, out: Any, event: Any) -> None:
    """Cash arrives: one ledger entry; the peak moves with it, since a deposit is no profit."""
    desk = state["desk"]
    amount = event["amount_e8"]
    if amount <= 0:
        raise ValueError("a deposit must be positive")
    quote = event["quote_id"]
    ledger.post(state, out, (quote, L_DEPOSIT, 0, -1, emit.hour_of(desk["now_t"])), (amount, 0, 0, 0))
    desk["peak_e8"] += ledger.to_base(state, quote, amount)
    ledger.mark(policy, state)


@core
def apply_event(policy: Any, state: Any, out: Any, event: Any, bars: Any, forecasts: Any) -> None:
    """Apply one event.

    Args:
        policy: one POLICY record.
        state: one STATE record, changed in place.
        out: output buffers with room for the event (see `full`).
        event: one EVENT record.
        bars, forecasts: [INSTRUMENTS] records of a BARS event; `event["forecast_n"]` -1 says that no forecast came.

    Raises:
        ValueError, OverflowError: a broken invariant; the state is half written, restore the snapshot and halt.
    """
    desk = state["desk"]
    if event["at_t"] < desk["now_t"]:
        raise ValueError("time runs backwards")
    desk["now_t"] = event["at_t"]
    kind = event["kind_id"]
    if kind == EV_BARS:
        on_bars(policy, state, out, bars, forecasts, event["forecast_n"] >= 0)
    elif kind == EV_FILL:
        orders.apply_fill(policy, state, out, event)
    elif kind == EV_DEPOSIT:
        on_deposit(policy, state, out, event)
    elif kind == EV_CONTROL:
        on_control(policy, state, out, event)
    elif kind == EV_RATE:
        if event["price_e8"] <= 0:
            raise ValueError("a rate must be positive")
        state["cash"][event["quote_id"]]["rate_e8"] = event["price_e8"]
        for s in range(INSTRUMENTS):
            ledger.revalue(policy, state, s)
        ledger.mark(policy, state)
    else:
        raise ValueError("unknown event kind")
    _finish_block(out, event)


@core
def _finish_block(out: Any, event: Any) -> None:
    n = out.n[0]
    out.event[n["event"]] = event
    n["event"] += 1
    out.marks[n["event"] - 1] = n


@core
def full(out: Any) -> bool:
    """Return whether a BARS event and the fills before it could overflow a buffer in the worst case."""
    n = out.n[0]
    m = INSTRUMENTS
    return (
        n["event"] + m + 1 > out.event.shape[0]
        or n["trade_signal"] + m > out.trade_signal.shape[0]
        or n["risk_event"] + 3 * m + 1 > out.risk_event.shape[0]
        or n["order_request"] + 4 * m > out.order_request.shape[0]
        or n["order_fill"] + m > out.order_fill.shape[0]
        or n["position_lot"] + (MAX_LOTS + 1) * m > out.position_lot.shape[0]
        or n["executed_trade"] + MAX_LOTS * m > out.executed_trade.shape[0]
        or n["cash_ledger"] + m + 1 > out.cash_ledger.shape[0]
        or n["portfolio_hourly_state"] + 1 > out.portfolio_hourly_state.shape[0]
        or n["risk_hourly_state"] + 1 > out.risk_hourly_state.shape[0]
    )


@core
def step(policies: Any, states: Any, out: Any, events: Any, bars: Any, forecasts: Any) -> None:
    """Apply one event: the entry of paper, live and replay. `policies`, `states`, `events` have length 1."""
    apply_event(policies[0], states[0], out, events[0], bars, forecasts)


@core
def sweep(policies: Any, states: Any, out: Any, events: Any, bars: Any, forecasts: Any, scratch: Any, first: int) -> int:
    """Apply a backtest's events from `first` on, with the simulated venue between them.

    Before each BARS event the venue fills open orders from that bar; each fill is an event and a block of its own,
    at the bar's opening time plus the modelled latency. Stops early when a buffer could overflow; call again with the returned position.

    Args:
        bars, forecasts: [T, INSTRUMENTS] and [N, INSTRUMENTS]; an event names its rows.
        scratch: one EVENT record, overwritten.

    Returns:
        The number of events done, `len(events)` when finished.
    """
    policy, state = policies[0], states[0]
    i = first
    while i < events.shape[0] and not full(out):
        event = events[i]
        bar_n = event["bar_n"] if event["bar_n"] >= 0 else 0
        forecast_n = event["forecast_n"] if event["forecast_n"] >= 0 else 0
        if event["kind_id"] == EV_BARS:
            for s in range(INSTRUMENTS):
                if state["orders"][s]["order_id"] != 0:
                    _simulated_fill(policy, state, out, bars[bar_n], forecasts[forecast_n], scratch[0], s, event["value_n"])
        apply_event(policy, state, out, event, bars[bar_n], forecasts[forecast_n])
        i += 1
    return i


@core
def _simulated_fill(policy: Any, state: Any, out: Any, bars: Any, forecasts: Any, fill: Any, s: int, open_t: int) -> None:
    qty, price = simulate.match(policy, state, s, bars[s])
    if qty == 0:
        return
    fill["kind_id"] = EV_FILL
    fill["at_t"] = open_t + policy["rules"]["latency_t"]
    fill["bar_n"] = -1
    fill["forecast_n"] = -1
    fill["instrument_id"] = s
    fill["quote_id"] = policy["instruments"][s]["quote_id"]
    fill["qty_e8"] = qty
    fill["price_e8"] = price
    fill["reference_e8"] = bars[s]["open_e8"]
    fill["amount_e8"] = 0
    fill["value_n"] = state["orders"][s]["order_id"]
    apply_event(policy, state, out, fill, bars, forecasts)
