"""FIFO lots: opening, reducing oldest first, realised profit with fees inside the cost and the proceeds."""

from __future__ import annotations

from typing import Any

from runtime.core import emit
from runtime.core.codes import LOT_CLOSE, LOT_MERGE, LOT_OPEN, LOT_REDUCE
from runtime.core.fixed import add, imin, mul_floor
from runtime.core.records import MAX_LOTS
from runtime.jit import core


@core
def open_lot(state: Any, out: Any, s: int, origin_hour_t: int, fill_id: int, qty: int, cost: int) -> None:
    """Append a lot of a buy; with the ring full the newest lot grows instead, so FIFO order survives."""
    desk = state["desk"]
    position = state["positions"][s]
    if position["lot_n"] == MAX_LOTS:
        newest = state["lots"][s, (position["lot_head_n"] + MAX_LOTS - 1) % MAX_LOTS]
        newest["qty_e8"] = add(newest["qty_e8"], qty)
        newest["cost_e8"] = add(newest["cost_e8"], cost)
        emit.lot(out, desk, newest, s, origin_hour_t, fill_id, (LOT_MERGE, qty, cost))
    else:
        x = state["lots"][s, (position["lot_head_n"] + position["lot_n"]) % MAX_LOTS]
        desk["lot_n"] += 1
        x["lot_id"] = desk["lot_n"]
        x["qty_e8"] = qty
        x["cost_e8"] = cost
        x["opened_t"] = desk["now_t"]
        position["lot_n"] += 1
        emit.lot(out, desk, x, s, origin_hour_t, fill_id, (LOT_OPEN, qty, cost))
    position["qty_e8"] = add(position["qty_e8"], qty)
    position["cost_e8"] = add(position["cost_e8"], cost)


@core
def close_lots(state: Any, out: Any, s: int, origin_hour_t: int, links: Any, qty: int, proceeds: int) -> int:
    """Allocate a sale to the oldest lots first and return the realised profit in the quote currency.

    Cost and proceeds are split in proportion, rounded down; the last slice takes the remainder, so that slices add
    up to the whole exactly.

    Args:
        links: (fill id, quote, campaign).
        qty: sold quantity, at most the position's.
        proceeds: cash received after the fee.

    Raises:
        ValueError: more sold than held, a broken invariant.
    """
    desk = state["desk"]
    position = state["positions"][s]
    if qty > position["qty_e8"]:
        raise ValueError("sale exceeds the lots held")
    left = qty
    money = proceeds
    realised = 0
    while left > 0:
        x = state["lots"][s, position["lot_head_n"]]
        take = imin(left, x["qty_e8"])
        cost = x["cost_e8"] if take == x["qty_e8"] else mul_floor(x["cost_e8"], take, x["qty_e8"])
        share = money if take == left else mul_floor(money, take, left)
        x["qty_e8"] -= take
        x["cost_e8"] -= cost
        kind = LOT_CLOSE if x["qty_e8"] == 0 else LOT_REDUCE
        lot_row = emit.lot(out, desk, x, s, origin_hour_t, links[0], (kind, -take, -cost))
        emit.trade(out, desk, x, s, origin_hour_t, (lot_row, links[0], links[1], links[2]), (take, cost, share))
        realised += share - cost
        left -= take
        money -= share
        position["cost_e8"] -= cost
        position["qty_e8"] -= take
        if x["qty_e8"] == 0:
            position["lot_head_n"] = (position["lot_head_n"] + 1) % MAX_LOTS
            position["lot_n"] -= 1
    position["realised_e8"] += realised
    return realised
