"""The fill model of the simulated venue: what the next bar would have given an open order.

Open plus slippage, at most a share of the bar's volume, never beyond the bar's range nor the order's limit. The
model proposes a FILL event; the core applies it like any fill of a real venue.
"""

from __future__ import annotations

from typing import Any

from runtime.core.codes import BUY
from runtime.core.fixed import imax, imin, mul_ceil, mul_floor, round_down
from runtime.core.records import PPM
from runtime.jit import core

VOLUME_MAX_E4 = 9_000_000_000_000_000
"""More volume than this is taken as this much, so that a tenth of it still fits int64 in 1e-8 units."""


@core
def slippage_ppm(rules: Any, position: Any, qty: int, cap: int) -> int:
    """Return half spread + fixed slippage + impact: a share of hourly volatility, in proportion to participation."""
    impact = mul_floor(position["vol_ppb"] // 1000, rules["impact_ppm"], PPM)
    return rules["half_spread_ppm"] + rules["slippage_ppm"] + mul_ceil(impact, qty, cap)


@core
def match(policy: Any, state: Any, s: int, bar: Any) -> Any:
    """Return (quantity, price) that a bar gives the instrument's open order; quantity 0 is no fill."""
    o = state["orders"][s]
    if o["order_id"] == 0 or bar["present_n"] == 0:
        return 0, 0
    rules = policy["rules"]
    instrument = policy["instruments"][s]
    # 1e-4 units to 1e-8 units is a factor of 10,000; with the share in ppm that is a division by 100
    cap = mul_floor(imin(bar["volume_e4"], VOLUME_MAX_E4), rules["participation_ppm"], 100)
    if cap <= 0:
        return 0, 0
    qty = o["left_e8"]
    if qty > cap:
        qty = round_down(cap, instrument["lot_e8"])
    if qty <= 0:
        return 0, 0
    slip = slippage_ppm(rules, state["positions"][s], qty, cap)
    tick = instrument["tick_e8"]
    if o["side_id"] == BUY:
        price = mul_ceil(bar["open_e8"], PPM + slip, PPM)
        price = imin(price + (tick - price % tick) % tick, bar["high_e8"])
        if price > o["limit_price_e8"]:
            return 0, 0
    else:
        price = mul_floor(bar["open_e8"], PPM - slip, PPM)
        price = imax(price - price % tick, bar["low_e8"])
    if price <= 0:
        return 0, 0
    return qty, price
