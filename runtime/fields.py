"""What a governed setting says about itself besides its value: title, unit, group, and which way it moves risk.

Bounds and help stand beside the field in runtime/policy.py; what is here is added to the model's JSON Schema, which the command
line, the reference page and a generated settings editor read. A test holds that no field is missing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, cast

from pydantic import JsonValue


class Risk(StrEnum):
    """What a higher value does to risk; DEPENDS where the number alone cannot say."""

    LOOSENS = "higher loosens"
    TIGHTENS = "higher tightens"
    DEPENDS = "depends"


LOOSENS, TIGHTENS, DEPENDS = Risk.LOOSENS, Risk.TIGHTENS, Risk.DEPENDS


class About(NamedTuple):
    """One setting: a few words for a person, keys of UNITS and GROUPS, and what a higher value does to risk."""

    title: str
    unit: str
    group: str
    risk: Risk


UNITS: Final = {
    "ppm": "ppm; 10,000 ppm = 1 %",
    "ppb": "ppb; 10,000,000 ppb = 1 %",
    "e8 base": "1e-8 of the base currency",
    "e8 asset": "1e-8 of the asset",
    "e8 quote": "1e-8 of the quote currency",
    "s": "seconds",
    "ms": "milliseconds",
    "forecasts": "forecasts in a row",
    "count": "count",
    "switch": "",
    "text": "",
    "code": "",
    "list": "",
}
"""Unit of a setting -> how its title spells it."""
GROUPS: Final = {
    "identity": "Who wrote which version, and when",
    "outlook": "How forecasts become one of five outlook classes",
    "campaign": "When an open position is reduced, realised, bought back or closed",
    "recovery": "What happens after a major adverse move",
    "sizing": "How large an entry is",
    "caps": "What may be held at most, open orders counted at their worst price",
    "drawdown": "What a drawdown from the peak does to new risk",
    "costs": "What trading is assumed to cost",
    "market": "Which market and which data an entry needs",
    "orders": "How long orders live and how they are tried again",
    "pair": "The venue's rules of one pair",
}
"""Group of a setting -> its heading, in the order in which an editor shows them."""
ZERO_IS_NO_LIMIT: Final = frozenset({"cap_e8", "total_cap_e8", "cluster_cap_e8", "budget_cap_e8"})
"""Amounts whose 0 stands for "no limit", the loosest value."""

SETTINGS: Final = {
    "name": About("Name", "text", "identity", DEPENDS),
    "version": About("Version", "count", "identity", DEPENDS),
    "author": About("Author", "text", "identity", DEPENDS),
    "created_t": About("Written at", "s", "identity", DEPENDS),
    "strong_prob_ppm": About("Strongly positive from probability", "ppm", "outlook", TIGHTENS),
    "positive_prob_ppm": About("Positive from probability", "ppm", "outlook", TIGHTENS),
    "negative_prob_ppm": About("Negative up to probability", "ppm", "outlook", TIGHTENS),
    "strong_negative_prob_ppm": About("Strongly negative up to probability", "ppm", "outlook", TIGHTENS),
    "strong_ret_ppm": About("Strongly positive from return", "ppm", "outlook", TIGHTENS),
    "positive_ret_ppm": About("Positive from return", "ppm", "outlook", TIGHTENS),
    "negative_ret_ppm": About("Negative up to return", "ppm", "outlook", TIGHTENS),
    "strong_negative_ret_ppm": About("Strongly negative up to return", "ppm", "outlook", TIGHTENS),
    "entry_persist_n": About("Confirmations of a better class", "forecasts", "outlook", TIGHTENS),
    "exit_persist_n": About("Confirmations of a worse class", "forecasts", "outlook", LOOSENS),
    "uncertain_ppm": About("Uncertainty that reduces", "ppm", "campaign", LOOSENS),
    "near_drop_ppm": About("Near drop that delays an entry", "ppm", "campaign", LOOSENS),
    "derisk_ppm": About("Share sold by a reduction", "ppm", "campaign", TIGHTENS),
    "derisk_max_n": About("Reductions per campaign", "count", "campaign", DEPENDS),
    "rebound_exit_ppm": About("Exit below rebound odds", "ppm", "campaign", TIGHTENS),
    "take_near_ppm": About("Profit taking up to near return", "ppm", "campaign", TIGHTENS),
    "take_profit_ppm": About("Profit that profit taking needs", "ppm", "campaign", LOOSENS),
    "take_ppm": About("Share sold by profit taking", "ppm", "campaign", TIGHTENS),
    "take_max_n": About("Profit takings per campaign", "count", "campaign", TIGHTENS),
    "reentry_near_ppm": About("Re-entry from near return", "ppm", "campaign", TIGHTENS),
    "horizon_t": About("Planned campaign", "s", "campaign", DEPENDS),
    "severe_loss_ppm": About("Recovery mode from loss", "ppm", "recovery", LOOSENS),
    "severe_release_ppm": About("Recovery mode ends at loss", "ppm", "recovery", LOOSENS),
    "severe_max": About("Recoveries that block entries", "count", "recovery", LOOSENS),
    "recovery_hold_ppm": About("Hold from rebound odds", "ppm", "recovery", TIGHTENS),
    "recovery_exit_ppm": About("Close below rebound odds", "ppm", "recovery", TIGHTENS),
    "recovery_patience_n": About("Patience in recovery", "forecasts", "recovery", LOOSENS),
    "base_ppm": About("Entry size", "ppm", "sizing", LOOSENS),
    "entry_min_ppm": About("Smallest share of an entry", "ppm", "sizing", TIGHTENS),
    "vol_target_ppb": About("Target volatility", "ppb", "sizing", LOOSENS),
    "vol_decay_ppm": About("Weight of the newest bar", "ppm", "sizing", DEPENDS),
    "size_low_ppm": About("Smallest volatility scaling", "ppm", "sizing", LOOSENS),
    "size_high_ppm": About("Largest volatility scaling", "ppm", "sizing", LOOSENS),
    "positions_max": About("Concurrent positions", "count", "caps", LOOSENS),
    "total_cap_ppm": About("Total exposure, share", "ppm", "caps", LOOSENS),
    "total_cap_e8": About("Total exposure, amount", "e8 base", "caps", LOOSENS),
    "cluster_cap_ppm": About("Cluster exposure, share", "ppm", "caps", LOOSENS),
    "cluster_cap_e8": About("Cluster exposure, amount", "e8 base", "caps", LOOSENS),
    "budget_cap_ppm": About("Global budget, share", "ppm", "caps", LOOSENS),
    "budget_cap_e8": About("Global budget, amount", "e8 base", "caps", LOOSENS),
    "quote_caps": About("Caps per quote currency", "list", "caps", DEPENDS),
    "tiers": About("Drawdown tiers", "list", "drawdown", DEPENDS),
    "half_spread_ppm": About("Half spread", "ppm", "costs", TIGHTENS),
    "slippage_ppm": About("Slippage per side", "ppm", "costs", TIGHTENS),
    "impact_ppm": About("Impact at full participation", "ppm", "costs", DEPENDS),
    "margin_ppm": About("Margin beyond the round trip", "ppm", "costs", TIGHTENS),
    "latency_t": About("Modelled latency", "s", "costs", DEPENDS),
    "fees": About("Fee schedule", "list", "costs", DEPENDS),
    "participation_ppm": About("Participation in a bar", "ppm", "market", DEPENDS),
    "liquidity_ppm": About("Entry against hourly turnover", "ppm", "market", LOOSENS),
    "spread_max_ppm": About("Widest spread", "ppm", "market", LOOSENS),
    "quote_age_max_t": About("Oldest quote that counts", "s", "market", TIGHTENS),
    "skew_max_ms": About("Clock skew", "ms", "market", LOOSENS),
    "bar_age_max_t": About("Oldest bar", "s", "market", LOOSENS),
    "forecast_age_max_t": About("Oldest forecast", "s", "market", LOOSENS),
    "maker_entry": About("Enter as a maker", "switch", "orders", DEPENDS),
    "limit_ppm": About("Limit above the decision price", "ppm", "orders", LOOSENS),
    "order_ttl_t": About("Life of an order", "s", "orders", LOOSENS),
    "retry_t": About("Delay before the first retry", "s", "orders", DEPENDS),
    "retries_max_n": About("Retries of a rejected order", "count", "orders", DEPENDS),
}
"""The fields of a profile, by group."""
PAIR_RULES: Final = {
    "quote_id": About("Quote currency", "code", "pair", DEPENDS),
    "lot_e8": About("Lot step", "e8 asset", "pair", DEPENDS),
    "tick_e8": About("Price step", "e8 quote", "pair", DEPENDS),
    "qty_min_e8": About("Smallest quantity", "e8 asset", "pair", DEPENDS),
    "cost_min_e8": About("Smallest order cost", "e8 quote", "pair", DEPENDS),
}
QUOTE_CAP: Final = {
    "cap_ppm": About("Share of portfolio value", "ppm", "caps", LOOSENS),
    "cap_e8": About("Amount", "e8 base", "caps", LOOSENS),
}
DRAWDOWN_TIER: Final = {
    "drawdown_ppm": About("Begins at drawdown", "ppm", "drawdown", LOOSENS),
    "size_ppm": About("Share of the normal size", "ppm", "drawdown", LOOSENS),
    "allow_entry": About("New positions", "switch", "drawdown", LOOSENS),
    "allow_reentry": About("Re-entries", "switch", "drawdown", LOOSENS),
}
FEE_TIER: Final = {
    "volume_e8": About("From 30-day volume", "e8 base", "costs", TIGHTENS),
    "maker_ppm": About("Maker fee", "ppm", "costs", TIGHTENS),
    "taker_ppm": About("Taker fee", "ppm", "costs", TIGHTENS),
}


def describe(schema: dict[str, JsonValue], settings: dict[str, About]) -> None:
    """Add title, unit, group and risk to the properties of a model's JSON Schema, in place."""
    properties = cast("dict[str, dict[str, JsonValue]]", schema["properties"])
    for name, about in settings.items():
        found = properties[name]
        spelled = UNITS[about.unit]
        found["title"] = f"{about.title} ({spelled})" if spelled else about.title
        found["x-unit"] = about.unit
        found["x-group"] = about.group
        found["x-risk"] = about.risk.value
        if name in ZERO_IS_NO_LIMIT:
            found["x-zero"] = "no limit"
