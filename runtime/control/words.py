"""Codes and comparisons in words."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from runtime.core import codes as c

KILL_NAMES: Final = {
    0: "off", c.KILL_OPERATOR: "operator", c.KILL_EXCHANGE: "exchange", c.KILL_DATA: "data", c.KILL_MARKET: "market",
    c.KILL_INTERNAL: "internal",
}  # fmt: skip
ABOUT: Final = {
    c.G_DRAWDOWN: ("drawdown", "tier from"),
    c.G_SEVERE_LOSS: ("positions in recovery", "entries stop at"),
    c.G_POSITIONS: ("positions", "maximum"),
    c.G_TOTAL: ("total exposure", "cap"),
    c.G_CLUSTER: ("exposure of the cluster", "cap"),
    c.G_QUOTE: ("exposure in the currency", "cap"),
    c.G_BUDGET: ("use of the global budget", "cap"),
    c.G_FRESHNESS: ("age of the data", "oldest that counts"),
    c.G_CLOCK: ("clock skew", "most allowed"),
}
"""Gate -> what its value is called, and what its limit is called."""


def code_name(names: dict[int, str], code: int) -> str:
    """Return the name of a code; a code of another release by its number."""
    return names.get(code, str(code))


def shown(scale: str, value: int) -> str:
    """Return a number as a person reads it, with its unit."""
    if scale == "ppm":
        return f"{Decimal(value).scaleb(-4).normalize():,f} %"
    if scale in {"e8", "e4"}:
        return f"{Decimal(value).scaleb(-int(scale[1:])).normalize():,f}"
    if scale == "t":
        minutes, seconds = divmod(abs(value), 60)
        hours, minutes = divmod(minutes, 60)
        parts = [f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if n]
        return ("-" if value < 0 else "") + (" ".join(parts) or "0 s")
    return f"{value:,} ms" if scale == "ms" else f"{value:,}"


def compared(gate_id: int, scale: str, limit: int, value: int) -> str:
    """Return what a gate compared, as a sentence of this gate."""
    least, got = shown(scale, limit), shown(scale, value)
    if gate_id == c.G_LIQUIDITY:
        return f"spread {got}, widest {least}" if scale == "ppm" else f"size {got}, most that the turnover carries {least}"
    if gate_id == c.G_PAIR and scale != "n":
        return f"price {got} against a price step of {least}"
    sentences = {
        c.G_KILL: f"the kill switch is thrown ({code_name(KILL_NAMES, value)})" if value else "the kill switch is off",
        c.G_HALT: "entries are halted" if value else "entries are not halted",
        c.G_PAIR: "the pair is enabled" if value else "the pair is not enabled",
        c.G_BUSY: f"order {value} is in flight" if value else "no order is in flight",
        c.G_CASH: f"{least} is wanted, {got} is free",
        c.G_COST: f"expected gross return {got} must exceed {least}: round trip and margin",
        c.G_LOT: f"{got} must reach {least}",
        c.G_MINIMUM: f"{got} must reach {least}",
    }
    what, bound = ABOUT.get(gate_id, ("value", "limit"))
    return sentences.get(gate_id, f"{what} {got}, {bound} {least}")
