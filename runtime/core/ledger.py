"""Cash and value: entries with before + delta = after, and portfolio value in the base currency."""

from __future__ import annotations

from typing import Any

from runtime.core import emit
from runtime.core.codes import TIER_HALT20
from runtime.core.fixed import add, mul_floor, mul_floor_saturating
from runtime.core.records import E8, INSTRUMENTS, PPM, QUOTES
from runtime.jit import core


@core
def post(state: Any, out: Any, entry: Any, money: Any) -> None:
    """Move cash by a delta and write the entry that proves it: the only place where a balance changes.

    Args:
        entry: (quote, kind, fill id, instrument, origin hour).
        money: (delta, notional, fee, slippage) in 1e-8 of the quote currency.

    Raises:
        ValueError: the balance would become negative; admission reserves worst-case cash, so this is a broken
            invariant and the caller must halt.
    """
    cash = state["cash"][entry[0]]
    after = add(cash["cash_e8"], money[0])
    if after < 0:
        raise ValueError("cash would become negative")
    emit.ledger(out, state["desk"], cash, entry, money)
    cash["cash_e8"] = after
    cash["entry_n"] += 1
    cash["last_entry_id"] = state["desk"]["entry_n"]


@core
def to_base(state: Any, quote: int, amount_e8: int) -> int:
    """Return an amount of a quote currency in the base currency at the journaled rate."""
    return mul_floor(amount_e8, state["cash"][quote]["rate_e8"], E8)


@core
def revalue(policy: Any, state: Any, s: int) -> None:
    """Set an instrument's base-currency value from its mark, and every sum that contains it."""
    position = state["positions"][s]
    quote = policy["instruments"][s]["quote_id"]
    value = 0
    if position["qty_e8"] > 0:
        value = to_base(state, quote, mul_floor(position["qty_e8"], position["mark_e8"], E8))
    change = value - position["value_e8"]
    position["value_e8"] = value
    state["desk"]["gross_e8"] += change
    state["cash"][quote]["exposure_e8"] += change


@core
def portfolio_value(state: Any) -> int:
    """Return cash of every currency plus marked positions, in the base currency."""
    total = state["desk"]["gross_e8"]
    for quote in range(QUOTES):
        total = add(total, to_base(state, quote, state["cash"][quote]["cash_e8"]))
    return total


@core
def move_peak(state: Any, before_e8: int, after_e8: int) -> None:
    """Scale the peak with a deposit or withdrawal, so that the drawdown stays the share that trading lost.

    A shifted peak would let a deposit shrink a drawdown, and a withdrawal deepen it. An account without value begins anew.

    Args:
        before_e8, after_e8: portfolio value around the cash movement; `before_e8` is marked, so the peak is not below it.
    """
    desk = state["desk"]
    if before_e8 > 0:
        desk["peak_e8"] = mul_floor_saturating(desk["peak_e8"], after_e8, before_e8)
    else:
        desk["peak_e8"] = after_e8


@core
def mark(policy: Any, state: Any) -> int:
    """Recompute portfolio value, peak, drawdown and tier; return the previous tier.

    The tier follows the drawdown from the peak down and up again, except that HALT20 stays until an operator
    releases it.
    """
    desk = state["desk"]
    total = portfolio_value(state)
    desk["pv_e8"] = total
    desk["peak_e8"] = max(desk["peak_e8"], total)
    drawdown = 0
    if desk["peak_e8"] > 0:
        drawdown = mul_floor(desk["peak_e8"] - total, PPM, desk["peak_e8"])
    desk["drawdown_ppm"] = drawdown
    before = desk["tier_id"]
    if before != TIER_HALT20:
        desk["tier_id"] = tier_of(policy, drawdown)
    return before


@core
def tier_of(policy: Any, drawdown_ppm: int) -> int:
    """Return the deepest drawdown tier whose threshold is reached."""
    tier = 0
    for k in range(1, 4):
        if drawdown_ppm >= policy["tiers"][k]["drawdown_ppm"]:
            tier = k
    return tier


@core
def open_cost_base(policy: Any, state: Any) -> int:
    """Return the cost of all open lots in the base currency."""
    total = 0
    for s in range(INSTRUMENTS):
        position = state["positions"][s]
        if position["qty_e8"] > 0:
            total = add(total, to_base(state, policy["instruments"][s]["quote_id"], position["cost_e8"]))
    return total
