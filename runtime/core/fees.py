"""The fee schedule: maker and taker rates by the traded volume of the last thirty days, in the base currency."""

from __future__ import annotations

from typing import Any

from runtime.core.codes import MAKER
from runtime.core.fixed import add
from runtime.core.records import DAYS, FEE_TIERS
from runtime.jit import core

DAY_T = 86_400


@core
def roll(state: Any) -> None:
    """Drop days that left the window: called with every event, before anything reads a rate."""
    desk = state["desk"]
    day = desk["now_t"] // DAY_T
    if day == desk["day_n"]:
        return
    gone = day - desk["day_n"] if desk["day_n"] > 0 else DAYS
    for k in range(DAYS if gone > DAYS else gone):
        slot = state["days"][(day - k) % DAYS]
        desk["volume_30d_e8"] -= slot["volume_e8"]
        slot["volume_e8"] = 0
    desk["day_n"] = day


@core
def traded(state: Any, amount_e8: int) -> None:
    """Count a fill's value in the base currency towards today's volume."""
    desk = state["desk"]
    slot = state["days"][desk["day_n"] % DAYS]
    slot["volume_e8"] = add(slot["volume_e8"], amount_e8)
    desk["volume_30d_e8"] = add(desk["volume_30d_e8"], amount_e8)


@core
def rate_ppm(policy: Any, state: Any, liquidity: int) -> int:
    """Return the account's current maker or taker rate."""
    volume = state["desk"]["volume_30d_e8"]
    tier = 0
    for k in range(1, FEE_TIERS):
        if policy["fees"][k]["volume_e8"] > 0 and volume >= policy["fees"][k]["volume_e8"]:
            tier = k
    fee = policy["fees"][tier]
    return fee["maker_ppm"] if liquidity == MAKER else fee["taker_ppm"]


@core
def worst_ppm(policy: Any) -> int:
    """Return the rate that reservations assume: the first tier's taker rate, since volume can leave the window."""
    return policy["fees"][0]["taker_ppm"]
