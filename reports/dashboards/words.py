"""Numbers and names as an operator reads them: true minus signs, thin words, no float between a scaled integer and its text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

MINUS: Final = "\u2212"
NONE: Final = "\u2013"
E8: Final = 100_000_000

ACTIONS: Final = {
    "ENTER": ("▲", "Enter", "ok"), "REENTER": ("▲", "Re-enter", "ok"), "REALISE": ("▼", "Realise", "ac"),
    "DERISK": ("▼", "De-risk", "ac"), "EXIT": ("▼", "Exit", "ac"), "HOLD": (NONE, "Hold", "no"),
    "DIP_WAIT": (NONE, "Wait for dip", "no"), "NONE": (NONE, "Nothing", "no"),
}  # fmt: skip
"""Action -> glyph, word, tone."""
REFUSED: Final = ("✕", "Refused", "wa")
GATES: Final = {
    "PASS": "All gates passed", "KILL_SWITCH": "Kill switch", "ENTRY_HALT": "Entry halt", "DRAWDOWN_TIER": "Drawdown tier",
    "SEVERE_LOSS": "Severe losses", "MAX_POSITIONS": "Open positions", "TOTAL_EXPOSURE": "Total exposure",
    "CLUSTER_EXPOSURE": "Cluster exposure", "QUOTE_CAP": "Currency cap", "GLOBAL_BUDGET": "Global budget", "COST": "Return over cost",
    "LIQUIDITY": "Liquidity, spread", "FRESHNESS": "Data freshness", "CLOCK_SKEW": "Clock skew", "PAIR_RULES": "Pair enabled",
    "LOT_SIZE": "Smallest entry", "MINIMUM_COST": "Pair minimum", "AVAILABLE_CASH": "Free cash", "ORDER_IN_FLIGHT": "Order in flight",
}  # fmt: skip
REASONS: Final = {
    "NONE": "Nothing to do", "ENTRY_POSITIVE": "Positive and persistent", "ENTRY_STRONG": "Strongly positive",
    "HOLD_THESIS": "The thesis holds", "HOLD_EDGE": "Weaker, no sale asked", "HOLD_NO_FORECAST": "No recent forecast",
    "HOLD_EXTENDED": "Horizon extended", "DERISK_UNCERTAIN": "Neutral and uncertain", "DERISK_NEGATIVE": "Persistently negative",
    "EXIT_NEGATIVE": "Negative, no rebound", "EXIT_STRONG_NEGATIVE": "Strongly negative", "DIP_WAIT": "A drop is predicted",
    "DIP_ENTRY": "The dip is over", "WAIT_PERSISTENCE": "Not yet confirmed", "TACTICAL_TAKE": "Part of the profit taken",
    "REENTRY_EDGE": "The edge is back", "RECOVERY_HOLD": "Severe loss, held", "RECOVERY_DERISK": "Severe loss, reduced",
    "RECOVERY_EXIT": "Severe loss, sold",
}  # fmt: skip
"""Reason -> a few words; the API has a sentence for each."""
OUTLOOKS: Final = {
    "STRONG_POSITIVE": ("▲▲", "Strongly positive"), "POSITIVE": ("▲", "Positive"), "NEUTRAL": (NONE, "Neutral"),
    "NEGATIVE": ("▼", "Negative"), "STRONG_NEGATIVE": ("▼▼", "Strongly negative"),
}  # fmt: skip
TIERS: Final = ("NORMAL", "DD10", "DD15", "HALT20")


def decimal(value: int, scale_n: int, digits_n: int, *, sign: bool = False, group: bool = True) -> str:
    """Return a scaled integer with so many decimals, rounded half away from zero.

    Args:
        value: scaled integer.
        scale_n: decimal digits of its scale (8 for `_e8`).
        digits_n: decimals to show, at most `scale_n`.
        sign: show a plus as well.
        group: separate thousands.
    """
    drop = 10 ** (scale_n - digits_n)
    units = (abs(value) + drop // 2) // drop
    whole, part = divmod(units, 10**digits_n)
    text = (f"{whole:,}" if group else str(whole)) + (f".{part:0{digits_n}d}" if digits_n else "")
    if value < 0 and units:
        return MINUS + text
    return "+" + text if sign and units else text


def money(value_e8: int, *, sign: bool = False, digits_n: int = 2) -> str:
    """Return an amount with cents."""
    return decimal(value_e8, 8, digits_n, sign=sign)


def price(value_e8: int) -> str:
    """Return a price with about five significant digits, never fewer than the amount needs."""
    whole = abs(value_e8) // E8
    digits_n = 1 if whole >= 10_000 else 2 if whole >= 100 else 3 if whole >= 10 else 4 if whole >= 1 else 6
    return decimal(value_e8, 8, digits_n)


def quantity(value_e8: int) -> str:
    """Return a quantity of an asset: eight decimals, without the zeros at its end but with at least two decimals."""
    text = decimal(value_e8, 8, 8)
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def percent(value_ppm: int, digits_n: int = 1, *, sign: bool = False) -> str:
    """Return parts per million as percent."""
    return decimal(value_ppm, 4, digits_n, sign=sign) + " %"


def basis_points(value_ppm: int, *, sign: bool = True) -> str:
    """Return parts per million as basis points."""
    return decimal(value_ppm, 2, 1, sign=sign)


def probability(value_ppm: int) -> str:
    """Return a probability with three decimals."""
    return decimal(value_ppm, 6, 3)


def span(seconds: float) -> str:
    """Return a duration in at most two units."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if hours < 1:
        return f"{minutes} m {int(seconds % 60):02d} s"
    if days < 1:
        return f"{hours} h {minutes % 60:02d} m"
    return f"{days} d {hours % 24:02d} h"


def moment(at_t: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a time in UTC; a dash for none."""
    return datetime.fromtimestamp(at_t, UTC).strftime(form) if at_t else NONE


def action(name: str, *, refused: bool = False) -> tuple[str, str, str]:
    """Return glyph, word and tone of an action, refused or carried out."""
    if refused:
        return REFUSED
    return ACTIONS.get(name, (NONE, sentence(name), "no"))


def gate(name: str) -> str:
    """Return the words for a gate."""
    return GATES.get(name) or sentence(name)


def reason(name: str) -> str:
    """Return a few words for a reason."""
    return REASONS.get(name) or sentence(name)


def outlook(name: str) -> tuple[str, str]:
    """Return glyph and words of an outlook class."""
    return OUTLOOKS.get(name) or (NONE, sentence(name))


def sentence(name: str) -> str:
    """Return a code's name as words."""
    return name.replace("_", " ").capitalize()


def compared(scale: str, value: int) -> str:
    """Return one of two numbers that a gate compared, in its unit."""
    if scale == "e8":
        return money(value)
    if scale == "ppm":
        return percent(value, 2)
    if scale == "t":
        return span(value)
    if scale == "ms":
        return f"{value} ms"
    return decimal(value, 4, 2) if scale == "e4" else str(value)
