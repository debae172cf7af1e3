"""The decision core: one event in, new state and records out. Backtest, paper, live and replay call nothing else."""

from __future__ import annotations

from typing import Any

from runtime.core import campaign, emit, fees, ledger, orders, outlook, risk, simulate
from runtime.core.codes import (
    EV_BARS,
    EV_BUNDLE,
    EV_CLUSTERS,
    EV_CONTROL,
    EV_CORRECTION,
    EV_DEPOSIT,
    EV_FILL,
    EV_HEARTBEAT,
    EV_ORDER,
    EV_POLICY,
    EV_QUOTE,
    EV_RATE,
    EV_RECONCILIATION,
    EV_SESSION,
    EV_WITHDRAWAL,
    G_DRAWDOWN,
    G_HALT,
    G_KILL,
    L_CORRECTION,
    L_DEPOSIT,
    L_RECONCILIATION,
    L_WITHDRAWAL,
    NONE,
    RISK_HALT,
    RISK_KILL,
    RISK_TIER,
    SCALE_N,
    SCALE_PPM,
    SWITCH_HALT,
    SWITCH_KILL,
    SWITCH_RELEASE_TIER,
    TIER_HALT20,
    TIER_NORMAL,
    USD,
)
from runtime.core.fixed import add, imax, imin
from runtime.core.records import HOUR_T, INSTRUMENTS, MAX_LOTS, QUOTES
from runtime.jit import core


@core
def _remark(policy: Any, state: Any, out: Any) -> None:
    """Recompute value, drawdown and tier, and record a change of tier."""
    before = ledger.mark(policy, state)
    _tier_changed(policy, state, out, before)


@core
def _tier_changed(policy: Any, state: Any, out: Any, before: int) -> None:
    desk = state["desk"]
    if desk["tier_id"] != before:
        limit = policy["tiers"][desk["tier_id"]]["drawdown_ppm"]
        emit.risk(out, desk, -1, 0, RISK_TIER, G_DRAWDOWN, NONE, (SCALE_PPM, limit, desk["drawdown_ppm"]))


@core
def on_bars(policy: Any, state: Any, out: Any, bars: Any, forecasts: Any, has_forecast: bool, open_t: int) -> None:
    """One closed bar of every instrument, with new forecasts on the model's grid: mark, view, decide, record.

    Bars that closed longer ago than an entry may act on (the runtime was down) are marked and recorded, and decide nothing.
    """
    rules = policy["rules"]
    desk = state["desk"]
    now_t = desk["now_t"]
    close_t = imin(open_t + HOUR_T, now_t)
    stale = now_t - close_t > rules["bar_age_max_t"]
    for s in range(INSTRUMENTS):
        if bars[s]["present_n"] != 0:
            outlook.observe_bar(rules, state["positions"][s], bars[s], close_t)
            if state["positions"][s]["qty_e8"] > 0:
                ledger.revalue(policy, state, s)
    _remark(policy, state, out)
    orders.expire(policy, state, out)
    campaign.retry_waiting(policy, state, out)
    for s in range(0 if stale else INSTRUMENTS):
        position = state["positions"][s]
        before_id = position["outlook_id"]
        arrived = has_forecast and forecasts[s]["valid_n"] != 0
        if arrived:
            state["forecasts"][s] = forecasts[s]
            position["forecast_t"] = now_t
            outlook.observe_forecast(rules, position, forecasts[s])
        if arrived or position["qty_e8"] > 0:
            campaign.decide(policy, state, out, s, arrived, before_id)
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
    if desk["open_n"] > 0 or orders_n > 0:
        cap = risk.cap_e8(desk["pv_e8"], rules["cluster_cap_ppm"], rules["cluster_cap_e8"])
        _hourly_clusters(policy, state, out, cap)


@core
def _hourly_clusters(policy: Any, state: Any, out: Any, cap_e8: int) -> None:
    """Write one row per cluster that holds or awaits anything."""
    for cluster in range(INSTRUMENTS):
        members = 0
        busy = False
        for s in range(INSTRUMENTS):
            if state["positions"][s]["cluster_id"] == cluster and policy["instruments"][s]["enabled_n"] != 0:
                members += 1
                if state["positions"][s]["qty_e8"] > 0 or state["orders"][s]["order_id"] != 0:
                    busy = True
        if busy:
            marked, flying = risk.cluster_used(policy, state, cluster)
            emit.cluster_state(out, state["desk"], (cluster, members, marked, flying, cap_e8))


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
        if desk["tier_id"] == TIER_HALT20:  # every other tier is left by recovering
            desk["tier_id"] = TIER_NORMAL
            # a release starts a new peak: otherwise the next bar would fall back into the same tier
            desk["peak_e8"] = desk["pv_e8"]
            desk["drawdown_ppm"] = 0
            _tier_changed(policy, state, out, TIER_HALT20)
    else:
        raise ValueError("unknown control switch")


@core
def _kept(policy: Any, state: Any, quote: int) -> int:
    """Return the cash that a withdrawal must leave: what open buys may take, and what rounding of their parts may."""
    reserved = orders.reserved(state, policy, quote)
    return add(reserved, risk.CASH_MARGIN_E8) if reserved > 0 else 0


@core
def on_cash(policy: Any, state: Any, out: Any, event: Any) -> None:
    """Cash that moves without a fill: one ledger entry; the peak scales with it, since it is neither profit nor loss.

    A correction or reconciliation is a gain or loss of the account, so it leaves the peak where it was.

    Raises:
        ValueError: an amount of the wrong sign, or more than the free cash is withdrawn.
    """
    desk = state["desk"]
    kind = event["kind_id"]
    quote = event["quote_id"]
    amount = event["amount_e8"]
    if amount == 0 or quote < 0 or quote >= QUOTES:
        raise ValueError("cash event without an amount or with an unknown currency")
    if kind == EV_DEPOSIT or kind == EV_WITHDRAWAL:
        if amount < 0:
            raise ValueError("deposits and withdrawals are positive amounts")
        entry_kind = L_DEPOSIT if kind == EV_DEPOSIT else L_WITHDRAWAL
        delta = amount if kind == EV_DEPOSIT else -amount
        if delta < 0 and amount > state["cash"][quote]["cash_e8"] - _kept(policy, state, quote):
            raise ValueError("withdrawal exceeds the free cash")
        _remark(policy, state, out)
    else:
        entry_kind = L_CORRECTION if kind == EV_CORRECTION else L_RECONCILIATION
        delta = amount
    before = desk["pv_e8"]
    ledger.post(state, out, (quote, entry_kind, 0, -1, emit.hour_of(desk["now_t"])), (delta, 0, 0, 0))
    if kind == EV_DEPOSIT or kind == EV_WITHDRAWAL:
        ledger.move_peak(state, before, ledger.portfolio_value(state))
    _remark(policy, state, out)


@core
def on_quote(policy: Any, state: Any, out: Any, event: Any) -> None:
    """The venue's best bid and ask of an instrument; after a large move a held one is marked at the middle and decided anew."""
    if event["instrument_id"] < 0 or event["instrument_id"] >= INSTRUMENTS:
        raise ValueError("a quote of an unknown instrument")
    if event["price_e8"] <= 0 or event["reference_e8"] < event["price_e8"]:
        raise ValueError("a quote needs 0 < bid <= ask")
    position = state["positions"][event["instrument_id"]]
    position["bid_e8"] = event["price_e8"]
    position["ask_e8"] = event["reference_e8"]
    position["quote_t"] = event["at_t"]
    if event["value_n"] != 0 and position["qty_e8"] > 0:
        s = event["instrument_id"]
        position["mark_e8"] = event["price_e8"] + (event["reference_e8"] - event["price_e8"]) // 2
        ledger.revalue(policy, state, s)
        _remark(policy, state, out)
        campaign.decide(policy, state, out, s, False, position["outlook_id"])


@core
def on_rate(policy: Any, state: Any, out: Any, event: Any) -> None:
    """A quote currency's rate to the base currency, whose own is 1 for ever."""
    if event["quote_id"] <= USD or event["quote_id"] >= QUOTES:
        raise ValueError("a rate of the base currency or of an unknown one")
    if event["price_e8"] <= 0:
        raise ValueError("a rate must be positive")
    state["cash"][event["quote_id"]]["rate_e8"] = event["price_e8"]
    for s in range(INSTRUMENTS):
        ledger.revalue(policy, state, s)
    _remark(policy, state, out)


@core
def on_clusters(state: Any, event: Any, clusters: Any) -> None:
    """A new cluster membership of every instrument."""
    for s in range(INSTRUMENTS):
        cluster = clusters[s]["cluster_id"]
        if cluster < 0 or cluster >= INSTRUMENTS:
            raise ValueError("a cluster id is out of range")
        state["positions"][s]["cluster_id"] = cluster
    state["desk"]["membership_n"] = event["value_n"]


@core
def apply_event(policy: Any, state: Any, out: Any, event: Any, bars: Any, forecasts: Any, clusters: Any) -> None:
    """Apply one event.

    Args:
        policy: one POLICY record.
        state: one STATE record, changed in place.
        out: output buffers with room for the event (see `full`).
        event: one EVENT record.
        bars, forecasts, clusters: [INSTRUMENTS] records; read only by the events that bring them.

    Raises:
        ValueError, OverflowError: a broken invariant; the state is half written, restore the snapshot and halt.
    """
    desk = state["desk"]
    if event["at_t"] < desk["now_t"]:
        raise ValueError("time runs backwards")
    desk["now_t"] = event["at_t"]
    fees.roll(state)
    kind = event["kind_id"]
    if kind == EV_BARS:
        on_bars(policy, state, out, bars, forecasts, event["forecast_n"] >= 0, event["value_n"])
    elif kind == EV_FILL:
        orders.apply_fill(policy, state, out, event)
    elif kind == EV_ORDER:
        orders.answer(policy, state, out, event)
    elif kind == EV_DEPOSIT or kind == EV_WITHDRAWAL or kind == EV_CORRECTION or kind == EV_RECONCILIATION:
        on_cash(policy, state, out, event)
    elif kind == EV_CONTROL:
        on_control(policy, state, out, event)
    elif kind == EV_QUOTE:
        on_quote(policy, state, out, event)
    elif kind == EV_RATE:
        on_rate(policy, state, out, event)
    elif kind == EV_CLUSTERS:
        on_clusters(state, event, clusters)
    elif kind == EV_HEARTBEAT:
        desk["skew_ms"] = event["value_n"] if event["value_n"] >= 0 else -event["value_n"]
        # fills since the last bar cost fees: caps must not be shares of more than there is. Peak and tier wait for new prices: a
        # fill beyond the last bar's mark would raise the peak by what the next bar takes back
        desk["pv_e8"] = ledger.portfolio_value(state)
        orders.expire(policy, state, out)
        campaign.retry_waiting(policy, state, out)
    elif kind == EV_POLICY:
        _remark(policy, state, out)  # its drawdown tiers may differ
    elif kind != EV_BUNDLE and kind != EV_SESSION:
        raise ValueError("unknown event kind")
    n = out.n[0]
    out.event[n["event"]] = event
    n["event"] += 1
    out.marks[n["event"] - 1] = n


@core
def full(out: Any) -> bool:
    """Return whether a BARS event and the fills before it could overflow a buffer in the worst case."""
    n = out.n[0]
    m = INSTRUMENTS
    return bool(
        n["event"] + m + 1 > out.event.shape[0]
        or n["trade_signal"] + m > out.trade_signal.shape[0]
        or n["risk_event"] + 5 * m + 1 > out.risk_event.shape[0]
        or n["order_request"] + 5 * m > out.order_request.shape[0]
        or n["order_fill"] + m > out.order_fill.shape[0]
        or n["position_lot"] + (MAX_LOTS + 1) * m > out.position_lot.shape[0]
        or n["executed_trade"] + MAX_LOTS * m > out.executed_trade.shape[0]
        or n["cash_ledger"] + m + 1 > out.cash_ledger.shape[0]
        or n["portfolio_hourly_state"] + 1 > out.portfolio_hourly_state.shape[0]
        or n["risk_hourly_state"] + 1 > out.risk_hourly_state.shape[0]
        or n["cluster_exposure_hourly_state"] + m > out.cluster_exposure_hourly_state.shape[0]
    )


@core
def step(policies: Any, states: Any, out: Any, events: Any, bars: Any, forecasts: Any, clusters: Any) -> None:
    """Apply one event: the entry of paper, live and replay. `policies`, `states`, `events` have length 1."""
    apply_event(policies[0], states[0], out, events[0], bars, forecasts, clusters)


@core
def sweep(
    policies: Any, states: Any, out: Any, events: Any, bars: Any, forecasts: Any, clusters: Any, scratch: Any, first: int
) -> int:
    """Apply a backtest's events from `first` on, with the simulated venue between them.

    Before each BARS event the venue fills open orders from that bar; each fill is an event and a block of its own,
    at the bar's opening time plus the modelled latency. Stops early when a buffer could overflow; call again with the
    returned position.

    Args:
        bars, forecasts, clusters: [T, INSTRUMENTS], [N, INSTRUMENTS], [M, INSTRUMENTS]; an event names its rows.
        scratch: one EVENT record, overwritten.

    Returns:
        The number of events done, `len(events)` when finished.
    """
    policy, state = policies[0], states[0]
    i = first
    while i < events.shape[0] and not full(out):
        event = events[i]
        bar = bars[imax(event["bar_n"], 0)]
        forecast = forecasts[imax(event["forecast_n"], 0)]
        cluster = clusters[imax(event["cluster_n"], 0)]
        if event["kind_id"] == EV_BARS:
            for s in range(INSTRUMENTS):
                if state["orders"][s]["order_id"] != 0:
                    qty, price, liquidity = simulate.match_bar(policy, state, s, bar[s])
                    if qty > 0:
                        fill = scratch[0]
                        _set_fill(policy, state, fill, s, event["value_n"])
                        fill["qty_e8"] = qty
                        fill["price_e8"] = price
                        fill["liquidity_id"] = liquidity
                        fill["reference_e8"] = bar[s]["open_e8"]
                        apply_event(policy, state, out, fill, bar, forecast, cluster)
        apply_event(policy, state, out, event, bar, forecast, cluster)
        i += 1
    return i


@core
def _set_fill(policy: Any, state: Any, fill: Any, s: int, open_t: int) -> None:
    fill["kind_id"] = EV_FILL
    fill["at_t"] = open_t + policy["rules"]["latency_t"]
    fill["bar_n"] = -1
    fill["forecast_n"] = -1
    fill["cluster_n"] = -1
    fill["instrument_id"] = s
    fill["quote_id"] = policy["instruments"][s]["quote_id"]
    fill["order_id"] = state["orders"][s]["order_id"]
