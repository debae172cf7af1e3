"""`ballast replay --explain`: for every kind of block and decision, the core's own verdicts with their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from runtime.adapters.projections import ensure_projections
from runtime.cli import main
from runtime.core import codes as c
from runtime.errors import InvariantError, UsageError, VerificationError
from runtime.ops import explain, explain_gates
from runtime.ops.explain import explain_block
from runtime.ops.explain_text import explanation_lines
from runtime.ops.explain_words import REASONS
from tests.support.checks import busy_run
from tests.support.forge import forge
from tests.support.replays import change_state, rechain

Out = pytest.CaptureFixture[str]
SEED = 5


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("explained")
    run_dir = busy_run(home, SEED)
    ensure_projections(run_dir, home)
    return home, run_dir


def rows(run_dir: Path, name: str) -> list[dict[str, int]]:
    return pq.read_table(run_dir / "projections" / f"{name}.parquet").to_pylist()


def test_every_kind_of_decision_is_explained_with_the_core_s_verdict(busy: tuple[Path, Path]) -> None:
    home, run_dir = busy
    wanted: dict[tuple[int, int, int], int] = {}
    for signal in rows(run_dir, "trade_signal"):
        wanted.setdefault((signal["action_id"], signal["reason_id"], signal["gate_id"]), signal["block_seq_n"])
    assert len(wanted) > 15
    refusals = {
        (e["block_seq_n"], e["instrument_id"]): e for e in rows(run_dir, "risk_event") if e["kind_id"] == c.RISK_REFUSED
    }
    symbols = [row["symbol"] for row in rows(run_dir, "instrument")]
    seen = set()
    for block in sorted(set(wanted.values())):
        found = explain_block(run_dir, home, block)
        assert found.same_records
        by_symbol = {decision.symbol: decision for decision in found.decisions}
        for record in found.records:
            if record.table == "trade_signal":
                decision = by_symbol[record.values["instrument_id"].split()[1]]
                assert decision.action == record.values["action_id"].split()[1]
                assert decision.reason == record.values["reason_id"].split()[1]
                assert str(decision.forecast["prob_main_ppm"]) == record.values["prob_ppm"]
                seen.add((decision.action, decision.reason))
                refusal = refusals.get((block, symbols.index(decision.symbol)))
                if decision.gates and refusal:
                    lines = {(x.gate, x.limit, x.value) for x in decision.gates}
                    assert (c.GATE_NAMES[refusal["gate_id"]], refusal["limit_v"], refusal["value_v"]) in lines
                if decision.gates:
                    order = {name: gate for gate, name in c.GATE_NAMES.items()}
                    assert {order[x.gate] for x in decision.gates} >= set(range(c.G_KILL, c.G_PAIR + 1))
    assert seen == {(c.ACTION_NAMES[action], c.REASON_NAMES[reason]) for action, reason, _ in wanted}


def test_every_kind_of_block_and_its_hashes(busy: tuple[Path, Path]) -> None:
    home, run_dir = busy
    blocks = rows(run_dir, "block")
    first = {block["kind_id"]: block for block in reversed(blocks)}
    assert {c.EV_DEPOSIT, c.EV_BARS, c.EV_FILL, c.EV_CLUSTERS} <= set(first)
    last_fill = [block for block in blocks if block["kind_id"] == c.EV_FILL][-1]
    for block in (*first.values(), last_fill):
        found = explain_block(run_dir, home, block["seq_n"])
        assert (found.event, found.same_records) == (c.EVENT_NAMES[block["kind_id"]], True)
        assert found.block_hash == block["block_hash"].hex()  # type: ignore[attr-defined]
        if block["seq_n"] > 1:
            assert found.previous_hash == blocks[block["seq_n"] - 2]["block_hash"].hex()  # type: ignore[attr-defined]
    entry = next(record for record in found.records if record.table == "cash_ledger")
    fill = next(record for record in found.records if record.table == "order_fill")
    assert entry.parents[f"order_fill {fill.values['fill_id']}"] == fill.row_hash
    stored = {row["entry_id"]: row["row_hash"].hex() for row in rows(run_dir, "cash_ledger")}  # type: ignore[attr-defined]
    assert entry.row_hash == stored[int(entry.values["entry_id"])]


def test_an_explanation_that_is_not_the_core_s_is_refused(busy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are exchanged in the explanation only: with the JIT off the core would follow a change of its own modules."""
    home, run_dir = busy
    bars = next(b["block_seq_n"] for b in rows(run_dir, "risk_event") if b["gate_id"] == c.G_POSITIONS)
    with monkeypatch.context() as patch:
        patch.setattr(explain, "ledger", SimpleNamespace(**{**vars(explain.ledger), "revalue": lambda *_: None}))
        with pytest.raises(InvariantError, match="another state"):
            explain_block(run_dir, home, bars)
    with monkeypatch.context() as patch:
        patch.setattr(
            explain_gates, "risk", SimpleNamespace(**{**vars(explain_gates.risk), "positions_taken": lambda _state: 0})
        )
        with pytest.raises(InvariantError, match="the core to"):
            explain_block(run_dir, home, bars)
    with monkeypatch.context() as patch:
        patch.setattr(explain, "gate_lines", lambda *_: ([explain_gates._line(1, 0, 0, 0, "pass")], 0, 0, c.G_KILL))
        with pytest.raises(InvariantError, match="the journal says"):
            explain_block(run_dir, home, bars)


def test_gate_lines_are_columns_of_decimals(busy: tuple[Path, Path]) -> None:
    home, run_dir = busy
    cuts = 0
    for block in sorted({e["block_seq_n"] for e in rows(run_dir, "risk_event") if e["kind_id"] == c.RISK_CUT})[:3]:
        found = explain_block(run_dir, home, block)
        lines = [line for line in explanation_lines(found) if ", value " in line and "limit " in line]
        assert len(lines) == sum(len(decision.gates) for decision in found.decisions)
        assert all("  limit " in line for line in lines), "the verdict is kept apart from the numbers"
        for verdict in (gate.verdict for decision in found.decisions for gate in decision.gates):
            if verdict.startswith(("cuts", "pass: ")):
                cuts += verdict.startswith("cuts")
                numbers = [word.rstrip(":") for word in verdict.split() if word[0].isdigit()]
                assert len(numbers) == (0 if "smallest entry" in verdict else 2), verdict
                assert all(len(number.partition(".")[2]) == 8 for number in numbers), verdict
    assert cuts > 0


def test_what_cannot_be_explained(own_home: Path, own_run: Path) -> None:
    for block, symbol in ((0, ""), (99_999, ""), (3, "NOTHING")):
        with pytest.raises(UsageError):
            explain_block(own_run, own_home, block, symbol)
    forge(own_run / "journal.sqlite", "UPDATE block SET inputs_digest = zeroblob(32) WHERE seq_n = 7")
    with pytest.raises(VerificationError, match="breaks at block 7"):
        explain_block(own_run, own_home, 9)
    assert explain_block(own_run, own_home, 6).same_records


@pytest.mark.parametrize("gone", ["seq_n <= 9", "seq_n = 9"])
def test_a_block_that_is_missing_is_not_explained_by_another(own_home: Path, own_run: Path, gone: str) -> None:
    """The journal goes on behind it, so that its head says nothing."""
    forge(own_run / "journal.sqlite", f"DELETE FROM block WHERE {gone}")
    with pytest.raises(VerificationError, match="goes on without block 9"):
        explain_block(own_run, own_home, 9)


def test_an_instrument_that_had_nothing_to_decide_is_explained_on_request(own_home: Path, own_run: Path) -> None:
    assert explain_block(own_run, own_home, 20).decisions == []
    (decision,) = explain_block(own_run, own_home, 20, "ETH").decisions
    assert (decision.symbol, decision.new_forecast, decision.position["qty_e8"]) == ("ETH", False, 0)
    assert (decision.action, decision.reason, decision.gates) == ("NONE", "NONE", [])
    assert decision.outcome.startswith("no signal was written")


def test_a_forged_record_is_explained_with_exit_5(own_home: Path, own_run: Path, capsys: Out) -> None:
    rechain(own_run, own_home, change_state)
    assert main(["replay", "ml", "--explain", "320"]) == 0
    assert main(["replay", "ml", "--explain", "321"]) == 5
    assert "OTHER BYTES" in capsys.readouterr().out


def test_the_command(own_home: Path, own_run: Path, capsys: Out) -> None:
    block = json.loads((own_run / "run.json").read_text())["blocks"]
    assert main(["replay", "ml", "--explain", str(block), "--symbol", "BTC"]) == 0
    out = capsys.readouterr().out
    assert f"BLOCK {block}: BARS" in out
    assert "recomputed     the same bytes" in out
    assert "BTC: " in out
    assert "row hash" in out
    assert main(["replay", "ml", "--explain", str(block), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["block"] == block
    assert main(["replay", "ml", "--explain", "99999"]) == 2


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(c.REASON_NAMES)
