"""Replay: parity on an untouched run; a run that is whole but wrong is named by its first difference and class."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime import jit
from runtime import replay as replay_module
from runtime.adapters.anchor import ANCHOR_NAME
from runtime.adapters.inputs import InputChanged, bars_digest
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.core.codes import EV_CLUSTERS
from runtime.core.digest import HEADER, SECTION, decode_payload, genesis_hash, run_root
from runtime.core.records import BY_NAME, CLUSTER, INSTRUMENTS
from runtime.engine import RunInputs, iterate_blocks
from runtime.errors import DataError, InvariantError
from runtime.genesis import Genesis
from runtime.inference.clusters import Clusters
from runtime.lineage import LineageBreak
from runtime.replay import Failure, FailureClass, Level, first_difference, replay
from tests.support.blocks import GENESIS, make_blocks
from tests.support.checks import store_run
from tests.support.markets import random_inputs
from tests.support.replays import change_state, failed, rechain, store, stored_blocks

# ---- parity ------------------------------------------------------------------------------------------------------


def test_an_untouched_run_has_parity(made_home: Path, made_run: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}
    result = replay(made_run, made_home, lambda stage, done, total: seen.update({stage: (done, total)}))
    blocks = stored_blocks(made_run)
    assert result.parity
    assert result.failure is None
    assert result.same_code
    assert result.blocks == len(blocks)
    assert result.journal_head == blocks[-1].block_hash.hex()
    genesis = genesis_hash((made_run / "genesis.json").read_bytes())
    assert result.run_root == run_root(genesis, blocks[-1].block_hash, len(blocks))
    assert result.run_root == json.loads((made_run / "run.json").read_text())["run_root"]
    assert seen["verify chain"] == (len(blocks), len(blocks))
    assert seen["recompute"][0] == seen["recompute"][1]


def test_replay_changes_no_file(own_home: Path, own_run: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in own_home.rglob("*") if p.is_file()}
    assert replay(own_run, own_home).parity
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in own_home.rglob("*") if p.is_file()} == before


def test_an_anchor_that_lags_is_no_failure(own_home: Path, own_run: Path) -> None:
    anchor = json.loads((own_run / ANCHOR_NAME).read_text())
    block = stored_blocks(own_run)[99]
    (own_run / ANCHOR_NAME).write_text(json.dumps(anchor | {"seq_n": 100, "block_hash": block.block_hash.hex()}))
    assert replay(own_run, own_home).parity


# ---- a chain that is whole but not what the core computes ---------------------------------------------------------


def test_a_forged_history_with_perfect_hashes_diverges(own_home: Path, own_run: Path) -> None:
    rechain(own_run, own_home, lambda block: block)
    assert replay(own_run, own_home).parity
    rechain(own_run, own_home, change_state)
    failure = failed(replay(own_run, own_home), FailureClass.STATE_DIVERGENCE)
    row = int(decode_payload(stored_blocks(own_run)[320].payload)["portfolio_hourly_state"]["state_id"][0])
    assert (failure.block, failure.record, failure.row, failure.field) == (321, "portfolio_hourly_state", row, "pv_e8")
    assert int(failure.stored) == int(failure.recomputed) + 1


def test_a_divergence_is_named_to_the_field(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = stored_blocks(own_run)
    other = [change_state(block) for block in blocks]
    monkeypatch.setattr(replay_module, "iterate_blocks", lambda _inputs, _report: iter([other[:100], other[100:]]))
    failure = failed(replay(own_run, own_home), FailureClass.STATE_DIVERGENCE)
    assert (failure.block, failure.record, failure.field) == (321, "portfolio_hourly_state", "pv_e8")
    assert int(failure.recomputed) == int(failure.stored) + 1


def test_a_divergence_after_a_change_of_code_is_code_drift(
    own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "deciding_source_digest", lambda: "0" * 64)
    result = replay(own_run, own_home)
    assert (result.parity, result.same_code) == (True, False)
    other = [change_state(block) for block in stored_blocks(own_run)]
    monkeypatch.setattr(replay_module, "iterate_blocks", lambda _inputs, _report: iter([other]))
    assert failed(replay(own_run, own_home), FailureClass.CODE_DRIFT).block == 321


def test_a_recomputation_that_ends_early(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = stored_blocks(own_run)[:250]
    monkeypatch.setattr(replay_module, "iterate_blocks", lambda _inputs, _report: iter([blocks]))
    failure = failed(replay(own_run, own_home), FailureClass.STATE_DIVERGENCE)
    assert (failure.block, failure.stored, failure.recomputed) == (251, "present", "absent")


def test_a_core_that_stops(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_inputs: object, _report: object) -> object:
        yield stored_blocks(own_run)[:40]
        raise InvariantError("cash is negative", expected="cash", action="halt")

    monkeypatch.setattr(replay_module, "iterate_blocks", stop)
    failure = failed(replay(own_run, own_home), FailureClass.STATE_DIVERGENCE)
    assert (failure.block, failure.detail) == (41, "the core stopped: cash is negative")


@pytest.mark.parametrize("content", [b"no database" * 99, b"SQLite format 3\0"])
def test_a_journal_that_is_another_file_is_a_broken_chain(own_home: Path, own_run: Path, content: bytes) -> None:
    (own_run / "journal.sqlite").write_bytes(content)
    assert "journal.sqlite" in failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK).detail


def test_the_portions_of_the_verification_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last portion has no hour: the final value, which the summary names, is that of the hour before it."""
    inputs = random_inputs(1, 60, 3)
    last = Clusters(inputs.close_t[-1:], np.zeros((1, INSTRUMENTS), CLUSTER))
    run_dir = store_run(tmp_path, dataclasses.replace(inputs, clusters=last))
    assert stored_blocks(run_dir)[-1].kind_id == EV_CLUSTERS
    whole = replay(run_dir, tmp_path, level=Level.CHAIN)
    monkeypatch.setattr(replay_module, "VERIFY_BLOCKS_N", 1)
    single = replay(run_dir, tmp_path, level=Level.CHAIN)
    assert whole.parity
    assert whole.model_dump(exclude={"seconds"}) == single.model_dump(exclude={"seconds"})


# ---- lineage -------------------------------------------------------------------------------------------------------


def traced(monkeypatch: pytest.MonkeyPatch, answer: LineageBreak | None) -> list[tuple[Path, RunInputs]]:
    """Register a tracer that gives an answer; return what it will be asked."""
    asked: list[tuple[Path, RunInputs]] = []

    def trace(home: Path, inputs: RunInputs, _report: object) -> LineageBreak | None:
        asked.append((home, inputs))
        return answer

    monkeypatch.setattr(replay_module, "installed_tracer", lambda: trace)
    return asked


def test_the_tracer_gets_the_verified_inputs(made_home: Path, made_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = traced(monkeypatch, None)
    result = replay(made_run, made_home, level=Level.LINEAGE)
    assert (result.parity, result.level, result.seconds["lineage"] >= 0) == (True, Level.LINEAGE, True)
    ((home, inputs),) = asked
    assert home == made_home
    genesis = inputs.genesis
    assert (bars_digest(inputs.bars, inputs.close_t), inputs.forecasts.digest, inputs.clusters.digest) == (
        genesis.bars_digest, genesis.forecasts_digest, genesis.clusters_digest,
    )  # fmt: skip
    assert replay(made_run, made_home).parity
    assert len(asked) == 1, "other levels do not ask"


@pytest.mark.parametrize("computed", [False, True])
def test_what_the_tracer_finds_ends_the_replay(
    made_home: Path, made_run: Path, monkeypatch: pytest.MonkeyPatch, computed: bool
) -> None:
    """What was computed again and came out otherwise is laid to another source first; a missing file is not."""
    found = Failure(kind=FailureClass.INPUT_MISSING, detail="a bar file is missing", path="lake/BTC.parquet")
    traced(monkeypatch, LineageBreak(found, computed))
    assert failed(replay(made_run, made_home, level=Level.LINEAGE), FailureClass.INPUT_MISSING) == found
    monkeypatch.setattr(replay_module, "deciding_source_digest", lambda: "0" * 64)
    kind = FailureClass.CODE_DRIFT if computed else FailureClass.INPUT_MISSING
    assert failed(replay(made_run, made_home, level=Level.LINEAGE), kind).path == found.path


def test_a_broken_chain_is_named_before_its_lineage(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = traced(monkeypatch, None)
    store(own_run, 7, "inputs_digest", bytes(32))
    assert failed(replay(own_run, own_home, level=Level.LINEAGE), FailureClass.CHAIN_BREAK).block == 7
    assert asked == []


# ---- inputs and policy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["bars_digest", "forecasts_digest", "clusters_digest"])
def test_missing_and_changed_inputs(own_home: Path, own_run: Path, which: str) -> None:
    digest = json.loads((own_run / "genesis.json").read_text())[which]
    path = own_home / "inputs" / f"{digest}.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert digest in failed(replay(own_run, own_home), FailureClass.INPUT_CHANGED).detail
    path.unlink()
    assert digest in failed(replay(own_run, own_home), FailureClass.INPUT_MISSING).detail


def test_a_changed_model(tmp_path: Path) -> None:
    text = b"tree"
    inputs = random_inputs(1, 60, 3)
    bundle = inputs.genesis.bundle.model_copy(update={"model_hashes": (hashlib.sha256(text).hexdigest(),)})
    inputs = dataclasses.replace(inputs, genesis=inputs.genesis.model_copy(update={"bundle": bundle}))
    run_dir = store_run(tmp_path, inputs)
    path = tmp_path / "studies" / "some" / "models" / f"{bundle.model_hashes[0]}.txt"
    path.parent.mkdir(parents=True)
    path.with_name(f"{'0' * 64}.txt").write_bytes(b"of another run")
    path.write_bytes(text)
    assert replay(run_dir, tmp_path).parity
    path.write_bytes(b"another tree")
    assert str(path) in failed(replay(run_dir, tmp_path), FailureClass.MODEL_CHANGED).detail


def test_a_core_that_overflows(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = stored_blocks(own_run)[:40]

    def stop(_inputs: object, _report: object) -> object:
        yield blocks
        raise InvariantError("a product does not fit", expected="int64", action="halt") from OverflowError()

    monkeypatch.setattr(replay_module, "iterate_blocks", stop)
    assert failed(replay(own_run, own_home), FailureClass.ARITHMETIC).block == 41


def test_the_digest_of_the_code_covers_what_decides() -> None:
    assert {"core", "engine.py", "policy.py", "genesis.py"} <= set(jit.DECIDING_SOURCES)
    assert jit.deciding_source_digest() != jit.compiled_source_digest()


def edit_genesis(run_dir: Path, change: Callable[[Genesis], Genesis]) -> Genesis:
    path = run_dir / "genesis.json"
    genesis = change(Genesis.model_validate_json(path.read_bytes()))
    path.write_bytes(genesis.canonical())
    return genesis


def test_an_edited_copy_of_the_genesis(own_home: Path, own_run: Path) -> None:
    path = own_run / "genesis.json"
    original = path.read_bytes()
    edit_genesis(own_run, lambda g: g.model_copy(update={"profile": g.profile.model_copy(update={"base_ppm": 1})}))
    failed(replay(own_run, own_home), FailureClass.POLICY_CHANGED)
    path.write_bytes(original)
    edit_genesis(own_run, lambda g: g.model_copy(update={"source": "elsewhere"}))
    failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK)
    path.write_bytes(b"{")
    failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK)
    path.unlink()
    failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK)


def reseal(run_dir: Path, content: bytes) -> None:
    """Make a journal that starts from another genesis."""
    for name in ("journal.sqlite", ANCHOR_NAME):
        (run_dir / name).unlink()
    SqliteJournal.create(run_dir / "journal.sqlite", content, account_id=1, mode_id=1).close()
    (run_dir / "genesis.json").write_bytes(content)


def test_a_genesis_that_contradicts_itself(own_home: Path, own_run: Path) -> None:
    genesis = Genesis.model_validate_json((own_run / "genesis.json").read_bytes())
    reseal(own_run, genesis.model_copy(update={"policy_digest": "0" * 64}).canonical())
    failed(replay(own_run, own_home), FailureClass.POLICY_CHANGED)
    reseal(own_run, genesis.model_copy(update={"account_id": 2}).canonical())
    assert "account and mode" in failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK).detail
    reseal(own_run, GENESIS)
    assert "cannot be read" in failed(replay(own_run, own_home), FailureClass.CODE_DRIFT).detail
    reseal(own_run, genesis.canonical() + b" ")
    assert "other bytes" in failed(replay(own_run, own_home), FailureClass.CODE_DRIFT).detail


def test_a_folder_without_a_journal(own_home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no journal"):
        replay(tmp_path, own_home)


# ---- the comparison itself -----------------------------------------------------------------------------------------


def test_first_difference_of_blocks() -> None:
    block = make_blocks(1)[0]
    changed_header = HEADER.pack(1, block.at_t, block.kind_id, 1, 1, 7)
    cases = {
        "header": block._replace(header=changed_header),
        "inputs_digest": block._replace(inputs_digest=bytes(32)),
        "records_digest": block._replace(records_digest=bytes(32)),
        "block_hash": block._replace(block_hash=bytes(32)),
        "at_t": block._replace(at_t=0),
        "payload": block._replace(payload=block.payload[:-1]),
        "risk_hourly_state": block._replace(payload=block.payload[: len(block.payload) // 2 + 8]),
    }
    cases["risk_hourly_state"] = block._replace(
        payload=block.payload[: SECTION.size + BY_NAME["portfolio_hourly_state"].dtype.itemsize]
    )
    for record, stored in cases.items():
        found = first_difference(stored, block)
        assert found.record == record
        assert found.block == 1
        expected = FailureClass.INPUT_CHANGED if record == "inputs_digest" else FailureClass.STATE_DIVERGENCE
        assert found.kind == expected
    states = [SECTION.pack(BY_NAME[n].code, 1) + rows.tobytes() for n, rows in decode_payload(block.payload).items()]
    assert first_difference(block._replace(payload=b"".join(reversed(states))), block).stored == "sections in another order"
    assert first_difference(block._replace(header=b"short"), block).record == "header"
    assert first_difference(cases["header"], block).field == "records_n"
    assert first_difference(cases["risk_hourly_state"], block).stored == "0 rows"


def test_the_real_engine_is_what_replay_runs() -> None:
    assert replay_module.iterate_blocks is iterate_blocks


def test_journal_rows_of_a_wrong_type_are_a_broken_chain(own_home: Path, own_run: Path) -> None:
    connection = sqlite3.connect(own_run / "journal.sqlite")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO block VALUES (597, 0, 0, 'text', NULL, x'', x'', x'', x'')")
    connection.close()
    block = make_blocks(1)[0]._replace(payload="text")  # type: ignore[arg-type]  what a damaged cell can yield
    assert first_difference(block, make_blocks(1)[0]).record == "payload"


@pytest.mark.parametrize("where", ["forecast_hashes", "iterate_blocks"])
def test_an_input_that_changes_during_the_replay(
    made_run: Path, made_home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def changed(*_: object) -> None:
        raise InputChanged("the core input was changed: since it was opened", expected="its content", action="restore it")

    monkeypatch.setattr(replay_module, where, changed)
    assert failed(replay(made_run, made_home), FailureClass.INPUT_CHANGED).detail.endswith("since it was opened")
