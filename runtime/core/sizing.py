"""How large an entry wants to be, before any cap."""

from __future__ import annotations

from typing import Any

from runtime.core.fixed import imax, imin, mul_floor
from runtime.core.records import PPM
from runtime.jit import core


@core
def wanted(policy: Any, state: Any, s: int) -> int:
    """Return the wished entry in base currency: base share x clip(target / observed volatility) x tier share."""
    rules = policy["rules"]
    desk = state["desk"]
    observed = imax(state["positions"][s]["vol_ppb"], 1)
    scale = mul_floor(rules["vol_target_ppb"], PPM, observed)
    scale = imin(imax(scale, rules["size_low_ppm"]), rules["size_high_ppm"])
    size = mul_floor(mul_floor(desk["pv_e8"], rules["base_ppm"], PPM), scale, PPM)
    return mul_floor(size, policy["tiers"][desk["tier_id"]]["size_ppm"], PPM)


@core
def share_to_sell(position: Any, lot_e8: int, share_ppm: int) -> int:
    """Return the part of a position to sell, rounded down to whole lots."""
    qty = mul_floor(position["qty_e8"], share_ppm, PPM)
    return qty - qty % lot_e8
