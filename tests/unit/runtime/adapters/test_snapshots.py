"""Snapshots: replay from any of them equals replay from the genesis; a wrong one is named and never believed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from runtime.adapters import snapshots
from runtime.cli import main
from runtime.core.digest import SECTION, Block, decode_payload
from runtime.core.records import BY_NAME, STATE
from runtime.difference import FailureClass
from runtime.engine import BlockChain, ForgottenHash, RunInputs, StageSeconds, Sweep, blocks_of, iterate_blocks
from runtime.errors import UsageError
from runtime.genesis import Genesis
from runtime.replay import Level, replay
from tests.support.checks import BUSY, store_run
from tests.support.forge import forge
from tests.support.markets import random_inputs
from tests.support.replays import change_state, failed, rechain, stored_blocks

Out = pytest.CaptureFixture[str]


def start(inputs: RunInputs) -> tuple[Sweep, BlockChain]:
    sweep = Sweep(inputs)
    return sweep, BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, StageSeconds())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_from_any_snapshot_equals_from_the_genesis(seed: int) -> None:
    inputs = random_inputs(seed, 420, 12, BUSY, wildness=1.5)
    whole = [block for blocks in iterate_blocks(inputs) for block in blocks]
    sweep, chain = start(inputs)
    taken = [snapshots.take(sweep, chain)]
    made = []
    while not sweep.finished:
        sweep.advance(sweep.done + 7)
        made += chain.extend(sweep.out)
        taken.append(snapshots.take(sweep, chain))
    assert made == whole  # any split gives the same blocks
    assert any(len(kept) > 2 for snapshot in taken for _, kept in snapshot.rows.values())  # orders were open
    for snapshot in taken:
        stored = snapshots.decode(snapshots.encode(snapshot), snapshot.rows)
        assert stored == snapshot
        rest = [block for blocks in blocks_of(*snapshots.resume(inputs, stored)) for block in blocks]
        assert rest == whole[snapshot.seq_n :]


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, Path, list[Path]]:
    """Return a home folder, a run in it, and the files of its snapshots (one in the middle and one at the end)."""
    inputs = random_inputs(1, 300, 6, BUSY)
    run_dir = store_run(tmp_path, inputs)
    assert replay(run_dir, tmp_path, keep_snapshots=True).parity
    journaled = stored_blocks(run_dir)
    genesis = Genesis.model_validate_json((run_dir / "genesis.json").read_bytes())
    inputs = dataclasses.replace(inputs, genesis=genesis)
    sweep, chain = start(inputs)
    sweep.advance(150)
    blocks = chain.extend(sweep.out)
    assert blocks == journaled[: len(blocks)]
    snapshots.store(run_dir, snapshots.take(sweep, chain))
    return tmp_path, run_dir, sorted((run_dir / snapshots.SNAPSHOTS_NAME).iterdir())


def test_a_replay_keeps_snapshots_and_begins_at_them(stored: tuple[Path, Path, list[Path]]) -> None:
    home, run_dir, (middle, end) = stored
    last = stored_blocks(run_dir)[-1]
    assert int(end.name.split("-")[0]) == last.seq_n
    seq_n = int(middle.name.split("-")[0])
    for first in (seq_n + 1, last.seq_n):
        result = replay(run_dir, home, from_block=first)
        assert result.parity
        assert (result.first_block, result.blocks) == (seq_n + 1, last.seq_n - seq_n)
        assert middle.name == f"{seq_n:010d}-{result.snapshot}.bin"
    result = replay(run_dir, home, from_block=seq_n)
    assert (result.parity, result.first_block, result.snapshot) == (True, 1, "")
    result = replay(run_dir, home, at_t=last.at_t)
    assert (result.parity, result.first_block) == (True, seq_n + 1)
    before = end.read_bytes()
    replay(run_dir, home, keep_snapshots=True)
    assert end.read_bytes() == before


def test_a_difference_after_a_snapshot_is_found(stored: tuple[Path, Path, list[Path]]) -> None:
    home, run_dir, _ = stored
    last_n = stored_blocks(run_dir)[-1].seq_n

    def change(block: Block) -> Block:
        if block.seq_n != last_n:
            return block
        found = {name: rows.copy() for name, rows in decode_payload(block.payload).items()}
        found["portfolio_hourly_state"]["pv_e8"] += 1
        sections = [SECTION.pack(BY_NAME[name].code, len(rows)) + rows.tobytes() for name, rows in found.items()]
        return block._replace(payload=b"".join(sections))

    rechain(run_dir, home, change)  # a forged history with perfect hashes
    result = replay(run_dir, home, from_block=last_n)
    failure = failed(result, FailureClass.STATE_DIVERGENCE)
    assert (failure.block, failure.field, result.snapshot) == (last_n, "pv_e8", "")  # confirmed from the genesis


def forge_snapshot(path: Path, content: bytes) -> None:
    """Replace a snapshot by another content under its right address."""
    path.unlink()
    (path.parent / f"{path.name.split('-')[0]}-{hashlib.sha256(content).hexdigest()}.bin").write_bytes(content)


def test_a_forged_snapshot_is_named_and_not_believed(stored: tuple[Path, Path, list[Path]]) -> None:
    home, run_dir, (middle, _) = stored
    content = bytearray(middle.read_bytes())
    at = 16 + 96 + 16 + STATE["desk"].names.index("fees_e8") * 8
    content[at] ^= 1
    forge_snapshot(middle, bytes(content))
    failure = failed(replay(run_dir, home, from_block=330), FailureClass.STATE_DIVERGENCE)
    assert failure.record == "snapshot"
    assert "the journal is what the core computes" in failure.detail
    assert replay(run_dir, home).parity


def test_snapshots_that_do_not_fit_are_passed_over(
    stored: tuple[Path, Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, run_dir, (middle, _) = stored
    content = middle.read_bytes()
    head = 16 + 32 + 32
    for changed in (
        content[:16] + bytes(32) + content[48:],  # another genesis
        content[:48] + bytes(32) + content[80:],  # another core
        content[:head] + bytes(32) + content[head + 32 :],  # another block
        content[:-1],
        content + b"0",
        b"x" + content[1:],
        b"",
    ):
        forge_snapshot(next(p for p in middle.parent.iterdir() if p.name.startswith(middle.name[:10])), changed)
        result = replay(run_dir, home, from_block=330)
        assert (result.parity, result.first_block) == (True, 1)
    (only,) = (p for p in middle.parent.iterdir() if p.name.startswith(middle.name[:10]))
    only.rename(middle)  # content that is not what its name says
    assert replay(run_dir, home, from_block=330).first_block == 1
    middle.with_name("notes-x.bin").write_bytes(b"")
    assert replay(run_dir, home, from_block=330).first_block == 1


def test_a_snapshot_without_a_needed_hash_is_named_and_not_believed(tmp_path: Path) -> None:
    inputs = random_inputs(2, 300, 12, BUSY, wildness=1.5)
    run_dir = store_run(tmp_path, inputs)
    genesis = Genesis.model_validate_json((run_dir / "genesis.json").read_bytes())
    sweep, chain = start(dataclasses.replace(inputs, genesis=genesis))
    while len(chain.hasher.hashes["order_request"]) < 3:
        sweep.advance(sweep.done + 7)
        chain.extend(sweep.out)
    snapshot = snapshots.take(sweep, chain)
    rows_n, kept = snapshot.rows["order_request"]
    poor = snapshot._replace(rows=snapshot.rows | {"order_request": (rows_n, {0: kept[0]})})
    with pytest.raises(ForgottenHash):
        list(blocks_of(*snapshots.resume(inputs, poor)))
    snapshots.store(run_dir, poor)
    failure = failed(replay(run_dir, tmp_path, from_block=snapshot.seq_n + 1), FailureClass.STATE_DIVERGENCE)
    assert failure.record == "snapshot"


def test_the_options_of_the_command(stored: tuple[Path, Path, list[Path]], capsys: Out) -> None:
    home, run_dir, (middle, _) = stored
    seq_n = int(middle.name.split("-")[0])
    assert main(["replay", str(run_dir), "--home", str(home), "--from", "330"]) == 0
    assert f"from block      {seq_n + 1}, given the snapshot" in capsys.readouterr().out
    assert main(["replay", str(run_dir), "--home", str(home), "--at", "2020-01-12T10:00", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first_block"] == seq_n + 1
    assert main(["replay", str(run_dir), "--home", str(home), "--level", "chain"]) == 0
    assert capsys.readouterr().out.startswith("CHAIN INTACT: TRUE\n")
    for wrong in (
        ["--level", "all"],
        ["--at", "noon"],
        ["--from", "99999"],
        ["--at", "2099-01-01"],
        ["--from", "9", "--snapshots"],
    ):
        assert main(["replay", str(run_dir), "--home", str(home), *wrong]) == 2
    assert main(["replay", str(run_dir), "--home", str(home), "--snapshots"]) == 0


def test_the_chain_level_sees_a_broken_chain_and_does_not_compute(own_home: Path, own_run: Path) -> None:
    result = replay(own_run, own_home, level=Level.CHAIN)
    assert (result.parity, result.blocks) == (True, 0)
    rechain(own_run, own_home, change_state)
    # the hashes fit, the decisions do not: of all that this level looks at, only the summary knows another chain
    assert failed(replay(own_run, own_home, level=Level.CHAIN), FailureClass.SUMMARY_CHANGED).field == "run_root"
    forge(own_run / "journal.sqlite", "UPDATE block SET inputs_digest = zeroblob(32) WHERE seq_n = 7")
    assert failed(replay(own_run, own_home, level=Level.CHAIN), FailureClass.CHAIN_BREAK).block == 7
    with pytest.raises(UsageError):
        replay(own_run, own_home, from_block=0)
