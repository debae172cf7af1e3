"""The only writers of output rows. Each fills the next row of its buffer and returns the row's own id."""

from __future__ import annotations

from typing import Any

from runtime.core.records import HOUR_T
from runtime.jit import core


@core
def hour_of(at_t: int) -> int:
    """Return the hour that contains a time."""
    return at_t - at_t % HOUR_T


@core
def _prefix(row: Any, desk: Any, origin_hour_t: int) -> None:
    row["account_id"] = desk["account_id"]
    row["mode_id"] = desk["mode_id"]
    row["origin_hour_t"] = origin_hour_t
    row["hour_t"] = hour_of(desk["now_t"])
    row["at_t"] = desk["now_t"]


@core
def signal(out: Any, desk: Any, position: Any, forecast: Any, s: int, decision: Any) -> int:
    """Write a trade signal.

    `decision` is (action, reason, gate, wanted, sized, edge, cost, rebound, downside, gain).
    """
    n = out.n[0]
    row = out.trade_signal[n["trade_signal"]]
    desk["signal_n"] += 1
    row["signal_id"] = desk["signal_n"]
    _prefix(row, desk, hour_of(desk["now_t"]))
    row["instrument_id"] = s
    row["forecast_t"] = position["forecast_t"]
    row["outlook_id"] = position["outlook_id"]
    row["raw_outlook_id"] = position["raw_outlook_id"]
    row["persist_n"] = position["persist_n"]
    row["action_id"] = decision[0]
    row["reason_id"] = decision[1]
    row["gate_id"] = decision[2]
    row["wanted_e8"] = decision[3]
    row["sized_e8"] = decision[4]
    row["edge_ppm"] = decision[5]
    row["cost_ppm"] = decision[6]
    row["rebound_ppm"] = decision[7]
    row["downside_ppm"] = decision[8]
    row["gain_ppm"] = decision[9]
    row["horizon_t"] = position["horizon_t"]
    row["prob_ppm"] = forecast["prob_main_ppm"]
    row["near_ppm"] = forecast["ret_near_ppm"]
    row["vol_ppm"] = position["vol_ppb"] // 1000
    row["uncertainty_ppm"] = forecast["uncertainty_ppm"]
    row["tier_id"] = desk["tier_id"]
    n["trade_signal"] += 1
    return desk["signal_n"]


@core
def risk(out: Any, desk: Any, s: int, signal_id: int, kind: int, gate: int, action: int, compared: Any) -> None:
    """Write a risk event; `compared` is (scale, limit, value), the two numbers the gate looked at."""
    n = out.n[0]
    row = out.risk_event[n["risk_event"]]
    desk["risk_event_n"] += 1
    row["risk_event_id"] = desk["risk_event_n"]
    _prefix(row, desk, hour_of(desk["now_t"]))
    row["signal_id"] = signal_id
    row["instrument_id"] = s
    row["kind_id"] = kind
    row["gate_id"] = gate
    row["action_id"] = action
    row["scale_id"] = compared[0]
    row["limit_v"] = compared[1]
    row["value_v"] = compared[2]
    row["tier_id"] = desk["tier_id"]
    n["risk_event"] += 1


@core
def order(out: Any, desk: Any, o: Any, s: int, quote: int, status: int) -> int:
    """Write the order's state after a transition and keep it."""
    o["status_id"] = status
    n = out.n[0]
    row = out.order_request[n["order_request"]]
    desk["order_row_n"] += 1
    row["order_row_id"] = desk["order_row_n"]
    _prefix(row, desk, hour_of(o["placed_t"]))
    row["order_id"] = o["order_id"]
    row["signal_id"] = o["signal_id"]
    row["instrument_id"] = s
    row["quote_id"] = quote
    row["side_id"] = o["side_id"]
    row["status_id"] = status
    row["reason_id"] = o["reason_id"]
    row["attempt_n"] = o["attempt_n"]
    row["qty_e8"] = o["qty_e8"]
    row["left_e8"] = o["left_e8"]
    row["retry_t"] = o["retry_t"]
    row["reserve_e8"] = o["reserve_e8"]
    row["decision_price_e8"] = o["decision_price_e8"]
    row["limit_price_e8"] = o["limit_price_e8"]
    row["expires_t"] = o["expires_t"]
    row["campaign_id"] = o["campaign_id"]
    n["order_request"] += 1
    return desk["order_row_n"]


@core
def fill(out: Any, desk: Any, o: Any, event: Any, quote: int, money: Any) -> int:
    """Write a fill; `money` is (notional, fee, slippage, liquidity)."""
    n = out.n[0]
    row = out.order_fill[n["order_fill"]]
    desk["fill_n"] += 1
    row["fill_id"] = desk["fill_n"]
    _prefix(row, desk, hour_of(o["placed_t"]))
    row["order_id"] = o["order_id"]
    row["order_row_id"] = o["order_row_id"]
    row["instrument_id"] = event["instrument_id"]
    row["quote_id"] = quote
    row["side_id"] = o["side_id"]
    row["liquidity_id"] = money[3]
    row["qty_e8"] = event["qty_e8"]
    row["price_e8"] = event["price_e8"]
    row["reference_e8"] = event["reference_e8"]
    row["notional_e8"] = money[0]
    row["fee_e8"] = money[1]
    row["slippage_e8"] = money[2]
    n["order_fill"] += 1
    return desk["fill_n"]


@core
def lot(out: Any, desk: Any, x: Any, s: int, origin_hour_t: int, fill_id: int, change: Any) -> int:
    """Write a lot event; `change` is (kind, quantity, cost)."""
    n = out.n[0]
    row = out.position_lot[n["position_lot"]]
    desk["lot_row_n"] += 1
    row["lot_row_id"] = desk["lot_row_n"]
    _prefix(row, desk, origin_hour_t)
    row["lot_id"] = x["lot_id"]
    row["fill_id"] = fill_id
    row["instrument_id"] = s
    row["kind_id"] = change[0]
    row["qty_e8"] = change[1]
    row["cost_e8"] = change[2]
    row["left_e8"] = x["qty_e8"]
    row["left_cost_e8"] = x["cost_e8"]
    n["position_lot"] += 1
    return desk["lot_row_n"]


@core
def trade(out: Any, desk: Any, x: Any, s: int, origin_hour_t: int, links: Any, money: Any) -> None:
    """Write an executed trade; `links` is (lot row, fill, quote, campaign), `money` is (quantity, cost, proceeds)."""
    n = out.n[0]
    row = out.executed_trade[n["executed_trade"]]
    desk["trade_n"] += 1
    row["trade_id"] = desk["trade_n"]
    _prefix(row, desk, origin_hour_t)
    row["lot_id"] = x["lot_id"]
    row["lot_row_id"] = links[0]
    row["fill_id"] = links[1]
    row["instrument_id"] = s
    row["quote_id"] = links[2]
    row["campaign_id"] = links[3]
    row["opened_t"] = x["opened_t"]
    row["qty_e8"] = money[0]
    row["cost_e8"] = money[1]
    row["proceeds_e8"] = money[2]
    row["pnl_e8"] = money[2] - money[1]
    n["executed_trade"] += 1


@core
def ledger(out: Any, desk: Any, cash: Any, entry: Any, money: Any) -> None:
    """Write a cash entry before the balance moves.

    `entry` is (quote, kind, fill, instrument, origin hour), `money` is (delta, notional, fee, slippage).
    """
    n = out.n[0]
    row = out.cash_ledger[n["cash_ledger"]]
    desk["entry_n"] += 1
    row["entry_id"] = desk["entry_n"]
    _prefix(row, desk, entry[4])
    row["quote_id"] = entry[0]
    row["entry_n"] = cash["entry_n"] + 1
    row["previous_entry_id"] = cash["last_entry_id"]
    row["kind_id"] = entry[1]
    row["fill_id"] = entry[2]
    row["instrument_id"] = entry[3]
    row["before_e8"] = cash["cash_e8"]
    row["delta_e8"] = money[0]
    row["after_e8"] = cash["cash_e8"] + money[0]
    row["notional_e8"] = money[1]
    row["fee_e8"] = money[2]
    row["slippage_e8"] = money[3]
    n["cash_ledger"] += 1


@core
def portfolio(out: Any, state: Any, orders_n: int, cost_e8: int) -> None:
    """Write the portfolio's hourly state."""
    n = out.n[0]
    desk = state["desk"]
    cash = state["cash"]
    row = out.portfolio_hourly_state[n["portfolio_hourly_state"]]
    desk["portfolio_n"] += 1
    row["state_id"] = desk["portfolio_n"]
    _prefix(row, desk, hour_of(desk["now_t"]))
    row["ledger_entry_id"] = desk["entry_n"]
    row["pv_e8"] = desk["pv_e8"]
    row["gross_e8"] = desk["gross_e8"]
    row["peak_e8"] = desk["peak_e8"]
    row["drawdown_ppm"] = desk["drawdown_ppm"]
    row["realised_e8"] = desk["realised_e8"]
    row["unrealised_e8"] = desk["gross_e8"] - cost_e8
    row["fees_e8"] = desk["fees_e8"]
    row["slippage_e8"] = desk["slippage_e8"]
    row["open_n"] = desk["open_n"]
    row["orders_n"] = orders_n
    row["cash_usd_e8"] = cash[0]["cash_e8"]
    row["cash_cad_e8"] = cash[1]["cash_e8"]
    row["cash_usdc_e8"] = cash[2]["cash_e8"]
    n["portfolio_hourly_state"] += 1


@core
def risk_state(out: Any, state: Any, positions_max_n: int, total_cap_e8: int, total_used_e8: int) -> None:
    """Write the risk engine's hourly state."""
    n = out.n[0]
    desk = state["desk"]
    cash = state["cash"]
    row = out.risk_hourly_state[n["risk_hourly_state"]]
    desk["risk_state_n"] += 1
    row["state_id"] = desk["risk_state_n"]
    _prefix(row, desk, hour_of(desk["now_t"]))
    row["portfolio_state_id"] = desk["portfolio_n"]
    row["tier_id"] = desk["tier_id"]
    row["kill_n"] = desk["kill_n"]
    row["halt_n"] = desk["halt_n"]
    row["drawdown_ppm"] = desk["drawdown_ppm"]
    row["total_cap_e8"] = total_cap_e8
    row["total_used_e8"] = total_used_e8
    row["open_n"] = desk["open_n"]
    row["positions_max_n"] = positions_max_n
    row["used_usd_e8"] = cash[0]["exposure_e8"]
    row["used_cad_e8"] = cash[1]["exposure_e8"]
    row["used_usdc_e8"] = cash[2]["exposure_e8"]
    n["risk_hourly_state"] += 1


@core
def cluster_state(out: Any, desk: Any, cluster: Any) -> None:
    """Write a cluster's hourly exposure; `cluster` is (id, members, exposure, in flight, cap)."""
    n = out.n[0]
    row = out.cluster_exposure_hourly_state[n["cluster_exposure_hourly_state"]]
    desk["cluster_state_n"] += 1
    row["state_id"] = desk["cluster_state_n"]
    _prefix(row, desk, hour_of(desk["now_t"]))
    row["portfolio_state_id"] = desk["portfolio_n"]
    row["cluster_id"] = cluster[0]
    row["membership_n"] = desk["membership_n"]
    row["members_n"] = cluster[1]
    row["exposure_e8"] = cluster[2]
    row["in_flight_e8"] = cluster[3]
    row["cap_e8"] = cluster[4]
    n["cluster_exposure_hourly_state"] += 1
