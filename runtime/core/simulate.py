"""The fill model of the simulated venue: what a book, or else the next bar, would have given an open order.

The model proposes a FILL event; the core applies it like any fill of a real venue. A fill beyond the bar's range or the
order's limit is impossible by construction.
"""

from __future__ import annotations

from typing import Any

from runtime.core.codes import BUY, MAKER, O_RETRYING, O_UNKNOWN, TAKER
from runtime.core.fixed import add, imax, imin, mul_ceil, mul_floor, round_down
from runtime.core.records import E8, PPM
from runtime.jit import core

VOLUME_MAX_E4 = 9_000_000_000_000_000
"""More volume than this is taken as this much, so that a tenth of it still fits int64 in 1e-8 units."""


@core
def can_fill(o: Any) -> bool:
    """Return whether the venue could fill the instrument's order now."""
    return o["order_id"] != 0 and o["status_id"] != O_RETRYING and o["status_id"] != O_UNKNOWN


@core
def slippage_ppm(rules: Any, position: Any, qty: int, cap: int) -> int:
    """Return half spread + fixed slippage + impact: a share of hourly volatility, in proportion to participation."""
    impact = mul_floor(position["vol_ppb"] // 1000, rules["impact_ppm"], PPM)
    return rules["half_spread_ppm"] + rules["slippage_ppm"] + mul_ceil(impact, qty, cap)


@core
def match_bar(policy: Any, state: Any, s: int, bar: Any) -> Any:
    """Return (quantity, price, liquidity) that a bar gives the instrument's open order; quantity 0 is no fill.

    Taker: the open plus slippage, at most a share of the bar's volume. Maker entry: the limit price, and only if the
    bar traded strictly through it.
    """
    o = state["orders"][s]
    if not can_fill(o) or bar["present_n"] == 0:
        return 0, 0, TAKER
    rules = policy["rules"]
    instrument = policy["instruments"][s]
    # 1e-4 units to 1e-8 units is a factor of 10,000; with the share in ppm that is a division by 100
    cap = mul_floor(imin(bar["volume_e4"], VOLUME_MAX_E4), rules["participation_ppm"], 100)
    if cap <= 0:
        return 0, 0, TAKER
    qty = o["left_e8"]
    if qty > cap:
        qty = round_down(cap, instrument["lot_e8"])
    if qty <= 0:
        return 0, 0, TAKER
    if o["side_id"] == BUY and rules["maker_entry_n"] != 0:
        if bar["low_e8"] < o["limit_price_e8"] and bar["high_e8"] >= o["limit_price_e8"]:
            return qty, o["limit_price_e8"], MAKER
        return 0, 0, MAKER
    slip = slippage_ppm(rules, state["positions"][s], qty, cap)
    tick = instrument["tick_e8"]
    if o["side_id"] == BUY:
        price = mul_ceil(bar["open_e8"], PPM + slip, PPM)
        price = imin(price + (tick - price % tick) % tick, bar["high_e8"])
        if price > o["limit_price_e8"]:
            return 0, 0, TAKER
    else:
        price = mul_floor(bar["open_e8"], PPM - slip, PPM)
        price = imax(price - price % tick, bar["low_e8"])
    if price <= 0:
        return 0, 0, TAKER
    return qty, price, TAKER


@core
def match_book(policy: Any, state: Any, s: int, prices: Any, quantities: Any) -> Any:
    """Walk one side of an order book. Returns (quantity, average price rounded against us, best price).

    Args:
        prices, quantities: int64 [levels], best first, 1e-8: the asks for a buy, the bids for a sale; an empty level has
            quantity 0. Only the profile's participation share of each level is taken.
    """
    o = state["orders"][s]
    if not can_fill(o) or prices.shape[0] == 0 or quantities[0] <= 0:
        return 0, 0, 0
    lot = policy["instruments"][s]["lot_e8"]
    share = policy["rules"]["participation_ppm"]
    qty = 0
    cost = 0
    first_price = 0
    last_price = 0
    for k in range(prices.shape[0]):
        beyond = o["side_id"] == BUY and prices[k] > o["limit_price_e8"]
        if quantities[k] <= 0 or beyond or qty == o["left_e8"]:
            break
        take = imin(round_down(mul_floor(quantities[k], share, PPM), lot), o["left_e8"] - qty)
        if take > 0:
            first_price = prices[k] if qty == 0 else first_price
            last_price = prices[k]
        qty += take
        cost = add(cost, mul_ceil(take, prices[k], E8) if o["side_id"] == BUY else mul_floor(take, prices[k], E8))
    if qty == 0:
        return 0, 0, 0
    if first_price == last_price:  # an average over one level would be off by the rounding of its cost
        return qty, first_price, prices[0]
    if o["side_id"] == BUY:
        return qty, imin(mul_ceil(cost, E8, qty), o["limit_price_e8"]), prices[0]
    return qty, mul_floor(cost, E8, qty), prices[0]
