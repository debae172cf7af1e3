"""Every gate of a buy with its two numbers, evaluated by the core's functions on the state before the decision."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from runtime.core import codes as c
from runtime.core import outlook, risk, sizing
from runtime.core.fixed import mul_floor
from runtime.core.ledger import to_base
from runtime.core.records import PPM
from runtime.errors import InvariantError

_DIGITS: Final = {"e8": 8, "e4": 4, "ppm": 6, "ppb": 9}


def decimal_text(scale: str, value: int) -> str:
    """Return a scaled integer as a person reads it; a scale without decimals (t, n, ms) leaves it as it is."""
    digits = _DIGITS.get(scale, 0)
    return f"{Decimal(value).scaleb(-digits):f}" if digits else str(value)


class GateLine(BaseModel):
    """One gate: the limit and the value it compares, in the given scale, and what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    gate: str
    scale: str
    limit: int
    value: int
    verdict: str


def _line(gate: int, scale: int, limit: Any, value: Any, verdict: str) -> GateLine:
    name, unit = c.GATE_NAMES[int(gate)], c.SCALE_NAMES[int(scale)]
    return GateLine(gate=name, scale=unit, limit=int(limit), value=int(value), verdict=verdict)


def _said(passes: Any) -> str:
    return "pass" if passes else "REFUSE"


def gate_lines(policy: Any, state: Any, s: int, action: int) -> tuple[list[GateLine], int, int, int]:
    """Return every gate in precedence, the wished and the allowed size, and the gate that decides (0: none).

    Gates behind the deciding one are evaluated too: what they would have said.

    Raises:
        InvariantError: a line disagrees with what the core's gate functions return.
    """
    reentry = action == c.REENTER
    permission, permitted = _permission(policy, state, s, reentry)
    wanted = int(sizing.wanted(policy, state, s))
    if reentry:
        wanted = min(wanted, int(state["positions"][s]["taken_e8"]))
    caps, size, cut = _caps(policy, state, s, wanted)
    least = int(mul_floor(wanted, policy["rules"]["entry_min_ppm"], PPM))
    lines = [
        *permission,
        *caps,
        _line(c.G_LOT, c.SCALE_E8, least, size, _said(size != 0 and size >= least) + ": smallest entry"),
    ]
    after, late = _after_size(policy, state, s, size)
    lines += after
    qty, price, cash_gate, scale, limit, value = risk.affordable(policy, state, s, size)
    verdict = f"pass: {decimal_text('e8', int(qty))} at {decimal_text('e8', int(price))}" if qty else "REFUSE"
    shown = cash_gate if cash_gate != c.G_PASS else c.G_CASH
    lines.append(_line(shown, scale, limit, value, verdict + (": cut by free cash" if qty and cash_gate == c.G_CASH else "")))
    if permitted != c.G_PASS:
        return lines, 0, 0, permitted
    if size == 0 or size < least:
        return lines, wanted, size, cut if cut != c.G_PASS else c.G_LOT
    if late != c.G_PASS:
        return lines, wanted, size, late
    if qty == 0:
        return lines, wanted, size, cut if cut != c.G_PASS and cash_gate != c.G_CASH else int(cash_gate)
    return lines, wanted, size, c.G_PASS


def _permission(policy: Any, state: Any, s: int, reentry: bool) -> tuple[list[GateLine], int]:
    desk, rules = state["desk"], policy["rules"]
    tier = policy["tiers"][desk["tier_id"]]
    own = 1 if state["orders"][s]["order_id"] != 0 else 0
    taken = risk.positions_taken(state) - own
    tier_ok = tier["allow_entry_n"] != 0 and not (reentry and tier["allow_reentry_n"] == 0)
    checks = (
        (c.G_KILL, c.SCALE_N, 0, desk["kill_n"], desk["kill_n"] == 0),
        (c.G_HALT, c.SCALE_N, 0, desk["halt_n"], desk["halt_n"] == 0),
        (c.G_DRAWDOWN, c.SCALE_PPM, tier["drawdown_ppm"], desk["drawdown_ppm"], tier_ok),
        (c.G_SEVERE_LOSS, c.SCALE_N, rules["severe_max_n"], desk["recovering_n"], desk["recovering_n"] < rules["severe_max_n"]),
        (c.G_POSITIONS, c.SCALE_N, rules["positions_max_n"], taken,
         state["positions"][s]["qty_e8"] != 0 or taken < rules["positions_max_n"]),
    )  # fmt: skip
    lines = [_line(gate, scale, limit, value, _said(passes)) for gate, scale, limit, value, passes in checks]
    first = next((gate for gate, _, _, _, passes in checks if not passes), c.G_PASS)
    _agree("permission", first, int(risk.permission(policy, state, s, reentry)[0]))
    return lines, first


def _caps(policy: Any, state: Any, s: int, wanted: int) -> tuple[list[GateLine], int, int]:
    desk, rules = state["desk"], policy["rules"]
    quote = int(policy["instruments"][s]["quote_id"])
    used = int(desk["gross_e8"]) + int(risk.in_flight(policy, state, -1))
    marked, flying = risk.cluster_used(policy, state, state["positions"][s]["cluster_id"])
    quote_used = int(state["cash"][quote]["exposure_e8"]) + int(risk.in_flight(policy, state, quote))
    own = policy["quotes"][quote]
    checks = (
        (c.G_TOTAL, rules["total_cap_ppm"], rules["total_cap_e8"], used),
        (c.G_CLUSTER, rules["cluster_cap_ppm"], rules["cluster_cap_e8"], int(marked) + int(flying)),
        (c.G_QUOTE, own["cap_ppm"], own["cap_e8"], quote_used),
        (c.G_BUDGET, rules["budget_cap_ppm"], rules["budget_cap_e8"], used),
    )
    lines, size, cut = [], wanted, c.G_PASS
    for gate, share, absolute, value in checks:
        cap = int(risk.cap_e8(desk["pv_e8"], share, absolute))
        room = max(cap - value, 0)
        verdict = "pass"
        if room < size:
            verdict = f"cuts {decimal_text('e8', size)} to {decimal_text('e8', room)}"
            size, cut = room, gate
        lines.append(_line(gate, c.SCALE_E8, cap, value, verdict))
    allowed, last, _, _ = risk.within_caps(policy, state, s, wanted)
    _agree("within_caps", (size, cut), (int(allowed), int(last)))
    return lines, size, cut


def _after_size(policy: Any, state: Any, s: int, size: int) -> tuple[list[GateLine], int]:
    rules, position, desk = policy["rules"], state["positions"][s], state["desk"]
    edge = outlook.edge_ppm(state["forecasts"][s])
    cost, _, needed, _ = risk.pays_for_itself(policy, state, edge)
    quote = policy["instruments"][s]["quote_id"]
    most = to_base(state, quote, mul_floor(position["turnover_e8"], rules["liquidity_ppm"], PPM))
    now_t, busy = desk["now_t"], state["orders"][s]["order_id"]
    checks = [
        (c.G_COST, c.SCALE_PPM, needed, edge, cost == c.G_PASS),
        (c.G_LIQUIDITY, c.SCALE_E8, most, size, size <= most),
    ]
    if position["quote_t"] > 0 and now_t - position["quote_t"] <= rules["quote_age_max_t"]:
        spread = mul_floor(position["ask_e8"] - position["bid_e8"], PPM, position["bid_e8"])
        checks.append((c.G_LIQUIDITY, c.SCALE_PPM, rules["spread_max_ppm"], spread, spread <= rules["spread_max_ppm"]))
    bar_t, forecast_t = now_t - position["mark_t"], now_t - position["forecast_t"]
    enabled = policy["instruments"][s]["enabled_n"]
    checks += [
        (c.G_FRESHNESS, c.SCALE_T, rules["bar_age_max_t"], bar_t, bar_t <= rules["bar_age_max_t"]),
        (c.G_FRESHNESS, c.SCALE_T, rules["forecast_age_max_t"], forecast_t, forecast_t <= rules["forecast_age_max_t"]),
        (c.G_CLOCK, c.SCALE_MS, rules["skew_max_ms"], desk["skew_ms"], desk["skew_ms"] <= rules["skew_max_ms"]),
        (c.G_PAIR, c.SCALE_N, 1, enabled, enabled != 0),
        (c.G_BUSY, c.SCALE_N, 0, busy, busy == 0),
    ]
    lines = [_line(gate, scale, limit, value, _said(passes)) for gate, scale, limit, value, passes in checks]
    first = next((gate for gate, _, _, _, passes in checks if not passes), c.G_PASS)
    said = int(cost)
    if said == c.G_PASS:
        said = int(risk.liquid(policy, state, s, size)[0])
    if said == c.G_PASS:
        said = int(risk.fresh(policy, state, s)[0])
    _agree("cost, liquidity, freshness", first, said)
    return lines, first


def _agree(what: str, ours: object, core: object) -> None:
    if ours != core:
        raise InvariantError(
            f"the explanation of {what} comes to {ours}, the core to {core}",
            expected="the core's own verdict", action="report this as a defect; replay is not affected",
        )  # fmt: skip
