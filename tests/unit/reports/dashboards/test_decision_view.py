"""One decision as rows of text and widths."""

from __future__ import annotations

import pytest

from reports.dashboards import markup, words
from reports.dashboards.decision_shapes import Contributions, Decision, Gates, Signal
from reports.dashboards.decision_view import panel_of

HEX = "ab" * 32


def decision(*, refused: bool = True) -> Decision:
    """Return a decision cut by one cap and refused by the cost gate, or let through."""
    numbers = dict.fromkeys(Signal.model_fields, 7)
    signal = numbers | {
        "symbol": "ETH", "quote": "USD", "action": "ENTER", "reason": "ENTRY_STRONG", "words": "w", "gate": "COST" if refused else "PASS",
        "refused": refused, "outlook": "POSITIVE", "raw_outlook": "NEUTRAL", "tier": "NORMAL", "wanted_e8": "100000000000",
        "sized_e8": "60000000000",
    }  # fmt: skip
    cut = {
        "gate": "QUOTE_CAP",
        "scale": "e8",
        "limit": "200000000000",
        "value": "140000000000",
        "words": "used 1400, cap 2000",
        "kind": "CUT",
    }
    bundle = {"name": "b", "bundle_hash": HEX, "feature_set_hash": HEX, "manifest_digest": HEX}
    lineage = {"run_id": "paper-1", "seq_n": 3, "block_hash": HEX, "genesis_hash": HEX, "policy_digest": HEX, "bundle": bundle, "feature_digest": "",
               "dataset_hash": HEX, "core_digest": HEX, "replay": "ballast replay paper-1 --explain 3"}  # fmt: skip
    return Decision.model_validate({
        "signal": signal, "verdict": "ENTER refused by COST: 5 of 12", "forecast": None, "risk_events": [cut], "orders": [], "fills": [],
        "trades": [], "lineage": lineage,
    })  # fmt: skip


def gate(name: str, limit: int, value: int, verdict: str, *, deciding: bool = False) -> dict[str, object]:
    """Return a gate as the API answers it."""
    return {
        "gate": name,
        "scale": "ppm",
        "limit": limit,
        "value": value,
        "words": "compared",
        "verdict": verdict,
        "deciding": deciding,
        "detail": "",
    }


def test_sizes_fall_from_what_was_wanted_to_what_is_allowed() -> None:
    let_through = panel_of(decision(refused=False), None, None).steps
    assert [(s.name, s.kind, s.text) for s in let_through] == [
        ("Wanted", "base", "1,000.00"), ("Currency cap cut", "cut", f"{words.MINUS}400.00"), ("Allowed", "fin", "600.00"),
    ]  # fmt: skip
    assert [(s.left, s.width) for s in let_through] == [(0, 100), (60, 40), (0, 60)]
    assert panel_of(decision(), None, None).steps[-1].text == "0.00", "a refused decision gets nothing"


def test_gates_behind_the_deciding_one_only_say_what_they_would_have_said() -> None:
    lines = [
        gate("DRAWDOWN_TIER", 0, 10, "pass"),
        gate("COST", 12, 5, "refuse", deciding=True),
        gate("CLOCK_SKEW", 4, 8, "refuse"),
    ]
    gates = Gates.model_validate({"same_records": True, "applies": True, "outcome": "o", "gates": lines})
    panel = panel_of(decision(), gates, None)
    assert panel.gates is not None
    assert [(g.state, g.said) for g in panel.gates] == [("pass", "✓ pass"), ("fail", "✕ refuse"), ("skip", "(refuse)")]
    assert [g.limit.split()[0] for g in panel.gates] == ["from", "≥", "≤"]
    assert [g.width for g in panel.gates] == [0.0, pytest.approx(27.8, abs=0.1), 100.0]
    assert panel.gates_said == "refused at 2 of 3; recomputed by the core: the same bytes"
    assert panel.verdict == "Enter refused by return over cost: 5 of 12"
    other = gates.model_copy(update={"same_records": False})
    assert "OTHER BYTES" in panel_of(decision(), other, None).gates_said


def test_contributions_are_shown_by_horizon_the_rest_in_one_line() -> None:
    many = [{"feature": f"f{n}", "value": None if n == 0 else n / 10, "amount": (-1) ** n * (20 - n) / 10} for n in range(12)]
    horizons = [{"horizon": h, "horizon_h": hours, "unit": "logit", "base": -0.1, "score": 0.2, "prob_ppm": 550_000, "contributions": many}
                for h, hours in (("near", 4), ("main", 24), ("far", 72))]  # fmt: skip
    panel = panel_of(decision(), None, Contributions.model_validate({"verified": True, "horizons": horizons}))
    main = panel.explained[1]
    assert (main.hours, main.base, main.raw, main.probability) == ("24 h", f"{words.MINUS}0.100", "+0.200", "0.550")
    assert len(main.bars) == 10
    assert (main.bars[0].width, main.bars[0].positive, main.bars[0].value) == (50.0, True, words.NONE)
    assert (main.bars[1].positive, main.bars[1].text) == (False, f"{words.MINUS}1.900")
    assert main.rest == "2 more features: +0.100"
    html = markup.detail(panel)
    assert html.count('class="bar"') == 30
    assert "ballast replay paper-1 --explain 3" in html


def test_nothing_is_open() -> None:
    assert "No decision selected" in markup.detail(None)
