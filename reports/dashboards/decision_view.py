"""One decision as the panel shows it: rows of text and widths for the template, made from the API's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from reports.dashboards import words
from reports.dashboards.decision_shapes import Contributions, Decision, Forecast, Gate, Gates, RiskEvent, Signal

AT_LEAST: Final = frozenset({"COST", "LOT_SIZE", "MINIMUM_COST", "AVAILABLE_CASH", "PAIR_RULES"})
"""Gates whose value must reach the limit; the others' must not exceed it."""
LIMIT_AT: Final = 66.7
"""Percent of a gate's bar at which its limit stands."""
ODDS_PPM: Final = (300_000, 700_000)
"""Ends of the bars of probabilities; almost every calibrated one lies between."""
FEATURES_N: Final = 10


class Line(NamedTuple):
    """A horizon of the outlook: a bar from one half to the probability."""

    name: str
    positive: bool
    left: float
    width: float
    probability: str
    expected_bp: str


class GateLine(NamedTuple):
    """A gate with its numbers; `state` is pass, cut, fail or skip."""

    n: int
    name: str
    state: str
    value: str
    limit: str
    width: float
    said: str
    title: str


class Step(NamedTuple):
    """A bar of the sizing waterfall; `kind` is base, cut or fin."""

    name: str
    kind: str
    left: float
    width: float
    text: str


class Bar(NamedTuple):
    """One feature's contribution."""

    feature: str
    value: str
    positive: bool
    width: float
    text: str


class Explained(NamedTuple):
    """Contributions to one horizon."""

    name: str
    hours: str
    unit: str
    base: str
    raw: str
    probability: str
    bars: tuple[Bar, ...]
    rest: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Everything the template `detail.html` needs beyond the answers themselves."""

    decision: Decision
    verdict: str
    action: tuple[str, str, str]
    outlook: tuple[str, str]
    time: str
    horizons: tuple[Line, ...]
    facts: tuple[tuple[str, str], ...]
    gates: tuple[GateLine, ...] | None
    gates_said: str
    steps: tuple[Step, ...]
    orders: tuple[tuple[str, ...], ...]
    fills: tuple[tuple[str, ...], ...]
    trades: tuple[tuple[str, ...], ...]
    explained: tuple[Explained, ...]
    explained_said: str
    hashes: tuple[tuple[str, str], ...]


def panel_of(
    decision: Decision, gates: Gates | None, contributions: Contributions | None, gates_said: str = "", explained_said: str = ""
) -> Panel:
    """Return the panel of a decision.

    Args:
        decision: as the API has it.
        gates: all gates recomputed, `None` while they are not known.
        contributions: of its forecast, `None` while nobody asked.
        gates_said: why there are no gates (yet).
        explained_said: why there are no contributions (yet).
    """
    signal, lineage = decision.signal, decision.lineage
    return Panel(
        decision=decision,
        verdict=_verdict(decision),
        action=words.action(signal.action, refused=signal.refused),
        outlook=words.outlook(signal.outlook),
        time=words.moment(signal.at_t),
        horizons=_horizons(decision.forecast),
        facts=_facts(signal),
        gates=_gates(gates) if gates is not None else None,
        gates_said=_gates_said(gates) if gates is not None else gates_said,
        steps=_steps(signal, decision.risk_events),
        orders=_orders(decision),
        fills=tuple(
            (words.moment(f.at_t, "%H:%M:%S"), f.side.lower(), words.quantity(f.qty_e8), words.price(f.price_e8), words.money(f.fee_e8), f.liquidity.lower())
            for f in decision.fills
        ),
        trades=tuple(
            (words.moment(t.at_t, "%d %b %H:%M"), words.quantity(t.qty_e8), words.money(t.cost_e8), words.money(t.proceeds_e8), words.money(t.pnl_e8, sign=True))
            for t in decision.trades
        ),
        explained=_explained(contributions) if contributions is not None else (),
        explained_said=explained_said,
        hashes=tuple(
            (name, digest)
            for name, digest in (
                ("Block", lineage.block_hash), ("Genesis", lineage.genesis_hash), ("Policy", lineage.policy_digest),
                ("Model bundle", lineage.bundle.bundle_hash), ("Feature spec", lineage.bundle.feature_set_hash),
                ("Features", lineage.feature_digest), ("Data", lineage.dataset_hash), ("Core", lineage.core_digest),
            )
            if digest
        ),
    )  # fmt: skip


def _verdict(decision: Decision) -> str:
    """Return the API's sentence with our words for its codes."""
    signal, text = decision.signal, decision.verdict
    glyph_word = words.action(signal.action)[1]
    text = glyph_word + text[len(signal.action) :] if text.startswith(signal.action) else text
    return text.replace(signal.gate, words.gate(signal.gate).lower()) if signal.refused else text


def _horizons(forecast: Forecast | None) -> tuple[Line, ...]:
    if forecast is None:
        return ()
    found = []
    for name in ("near", "main", "far"):
        prob_ppm, ret_ppm = getattr(forecast, f"prob_{name}_ppm"), getattr(forecast, f"ret_{name}_ppm")
        share = min(max((prob_ppm - ODDS_PPM[0]) / (ODDS_PPM[1] - ODDS_PPM[0]) * 100, 0.0), 100.0)
        found.append(
            Line(
                name.capitalize(),
                share >= 50,
                min(share, 50.0),
                abs(share - 50.0),
                words.probability(prob_ppm),
                words.basis_points(ret_ppm),
            )
        )
    return tuple(found)


def _facts(signal: Signal) -> tuple[tuple[str, str], ...]:
    return (
        ("Forecast alone", words.outlook(signal.raw_outlook)[1]),
        ("In a row for a change", str(signal.persist_n)),
        ("Uncertainty", words.percent(signal.uncertainty_ppm)),
        ("Rebound odds", words.percent(signal.rebound_ppm)),
        ("Downside odds", words.percent(signal.downside_ppm)),
        ("Hourly range", words.percent(signal.vol_ppm, 2)),
        ("Expected return", words.basis_points(signal.edge_ppm) + " bp"),
        ("Round-trip cost", words.basis_points(signal.cost_ppm, sign=False) + " bp"),
        ("Gain of the position", words.percent(signal.gain_ppm, 2, sign=True)),
        ("Drawdown tier", signal.tier),
    )


def _gates(found: Gates) -> tuple[GateLine, ...]:
    lines, decided = [], False
    for n, gate in enumerate(found.gates, 1):
        state = "skip" if decided else {"pass": "pass", "cut": "cut", "refuse": "fail"}[gate.verdict]
        sign = "≥" if gate.gate in AT_LEAST else "from" if gate.gate == "DRAWDOWN_TIER" else "≤"
        said = {"pass": "✓ pass", "cut": "▾ cut", "fail": "✕ refuse", "skip": f"({gate.verdict})"}[state]
        title = f"{gate.words} {gate.detail}".strip()
        lines.append(
            GateLine(
                n,
                words.gate(gate.gate),
                state,
                words.compared(gate.scale, gate.value),
                f"{sign} {words.compared(gate.scale, gate.limit)}",
                _width(gate),
                said,
                title,
            )
        )
        decided = decided or gate.deciding
    return tuple(lines)


def _width(gate: Gate) -> float:
    if gate.gate == "DRAWDOWN_TIER":
        return 0.0
    if gate.limit <= 0:
        return 100.0 if gate.value > 0 else 0.0
    return max(0.0, min(gate.value / gate.limit * LIMIT_AT, 100.0))


def _gates_said(found: Gates) -> str:
    if not found.applies:
        return "No gate stands before a hold or a sale."
    deciding = next((n for n, g in enumerate(found.gates, 1) if g.deciding), 0)
    passed = f"refused at {deciding} of {len(found.gates)}" if deciding else f"all {len(found.gates)} passed"
    proof = "recomputed by the core: the same bytes" if found.same_records else "RECOMPUTED WITH OTHER BYTES: replay the run"
    return f"{passed}; {proof}"


def _steps(signal: Signal, events: Sequence[RiskEvent]) -> tuple[Step, ...]:
    if signal.wanted_e8 <= 0:
        return ()
    whole, now_e8 = signal.wanted_e8, signal.wanted_e8
    steps = [Step("Wanted", "base", 0.0, 100.0, words.money(whole))]
    for event in events:
        if event.kind != "CUT" or event.scale != "e8":
            continue
        left_e8 = min(max(event.limit - event.value, 0), now_e8)
        steps.append(
            Step(
                f"{words.gate(event.gate)} cut",
                "cut",
                left_e8 / whole * 100,
                max((now_e8 - left_e8) / whole * 100, 0.6),
                words.money(left_e8 - now_e8),
            )
        )
        now_e8 = left_e8
    if now_e8 != signal.sized_e8 and signal.sized_e8 > 0:
        steps.append(
            Step(
                "Caps",
                "cut",
                signal.sized_e8 / whole * 100,
                max((now_e8 - signal.sized_e8) / whole * 100, 0.6),
                words.money(signal.sized_e8 - now_e8),
            )
        )
    final_e8 = 0 if signal.refused else signal.sized_e8
    steps.append(Step("Allowed", "fin", 0.0, max(final_e8 / whole * 100, 0.6), words.money(final_e8)))
    return tuple(steps)


def _orders(decision: Decision) -> tuple[tuple[str, ...], ...]:
    last = {order.order_id: order for order in decision.orders}
    return tuple(
        (
            f"#{o.order_id}", o.side.lower(), words.quantity(o.qty_e8), words.price(o.limit_price_e8) if o.limit_price_e8 else "market",
            words.sentence(o.status).lower() + (f", attempt {o.attempt_n}" if o.attempt_n > 1 else ""),
        )
        for o in last.values()
    )  # fmt: skip


def _explained(found: Contributions) -> tuple[Explained, ...]:
    shown = []
    for h in found.horizons:
        largest = max((abs(c.amount) for c in h.contributions), default=0.0) or 1.0
        bars = tuple(
            Bar(
                c.feature,
                words.NONE if c.value is None else f"{c.value:.4g}".replace("-", words.MINUS),
                c.amount >= 0,
                abs(c.amount) / largest * 50,
                _signed(c.amount),
            )
            for c in h.contributions[:FEATURES_N]
        )
        others = h.contributions[FEATURES_N:]
        rest = f"{len(others)} more features: {_signed(sum(c.amount for c in others))}" if others else ""
        shown.append(
            Explained(
                h.horizon,
                f"{h.horizon_h} h",
                h.unit,
                _signed(h.base),
                _signed(h.score),
                words.probability(h.prob_ppm),
                bars,
                rest,
            )
        )
    return tuple(shown)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", words.MINUS)
