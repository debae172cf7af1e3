"""Replay of a paper chain: from its own inputs, to the byte, and every change is found and named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import event as ev
from runtime.adapters.anchor import ANCHOR_NAME
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.chain import compute_block_hash
from runtime.core import codes as c
from runtime.core.digest import Block
from runtime.difference import FailureClass
from runtime.errors import UsageError
from runtime.event import Event
from runtime.replay import Level, replay
from tests.support.paper import clerk, events_of, paper_inputs, store_paper
from tests.support.replays import failed, store, stored_blocks

INPUTS = paper_inputs(hours=120)


def events() -> list[Event]:
    """Return a day's events with some of a venue and an operator between them."""
    found: list[Event] = []
    for event in events_of(INPUTS):
        found.append(event)
        if event.kind_id == c.EV_BARS and len(found) % 7 == 0:
            found += [ev.heartbeat(event.at_t, 12), ev.quote(event.at_t, 1, 99, 101)]
    last_t = found[-1].at_t
    return [*found, ev.control(last_t, c.SWITCH_KILL, c.KILL_OPERATOR, clerk("drill", "c-1"))]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs/paper-1"
    folder.mkdir(parents=True)
    store_paper(folder, INPUTS, events())
    return folder


def rechain(run_dir: Path, change: Callable[[Block], Block]) -> None:
    """Forge a journal: change blocks' inputs, then make digests, hashes and anchor fit again."""
    previous, forged = INPUTS.genesis.hash, []
    for original in stored_blocks(run_dir):
        block = change(original)
        digest = hashlib.sha256(block.inputs).digest()
        previous = compute_block_hash(previous, block.header, digest, block.records_digest)
        forged.append(block._replace(inputs_digest=digest, block_hash=previous))
    for name in (JOURNAL_NAME, ANCHOR_NAME):
        (run_dir / name).unlink()
    journal = SqliteJournal.create(run_dir / JOURNAL_NAME, INPUTS.genesis.canonical(), account_id=1, mode_id=c.MODE_PAPER)
    journal.append(forged)
    journal.close()


def test_it_has_parity_at_every_level(run_dir: Path, tmp_path: Path) -> None:
    blocks_n = len(stored_blocks(run_dir))
    whole = replay(run_dir, tmp_path)
    assert whole.parity, whole.failure
    assert whole.blocks == blocks_n > 150
    assert replay(run_dir, tmp_path, level=Level.CHAIN).parity
    with pytest.raises(UsageError, match="lineage of a paper run"):
        replay(run_dir, tmp_path, level=Level.LINEAGE)


def test_a_journal_that_is_being_written_is_replayed_to_its_head(run_dir: Path, tmp_path: Path) -> None:
    writer = SqliteJournal.open(run_dir / JOURNAL_NAME, writable=True)
    try:
        assert replay(run_dir, tmp_path).parity
    finally:
        writer.close()


@pytest.mark.parametrize("column", ["inputs", "payload", "records_digest"])
def test_a_changed_cell_is_a_broken_chain(run_dir: Path, tmp_path: Path, column: str) -> None:
    block = stored_blocks(run_dir)[60]
    content = bytearray(getattr(block, column))
    content[-1] ^= 1
    store(run_dir, block.seq_n, column, bytes(content))
    for level in (Level.CHAIN, Level.DECISIONS):
        assert failed(replay(run_dir, tmp_path, level=level), FailureClass.CHAIN_BREAK).block == block.seq_n


def test_a_forged_chain_is_recomputed_and_found(run_dir: Path, tmp_path: Path) -> None:
    """The forger computes every hash again: only the decisions give him away."""
    target = next(b.seq_n for b in stored_blocks(run_dir) if b.kind_id == c.EV_BARS and b.seq_n > 80)

    def other_price(block: Block) -> Block:
        if block.seq_n != target:
            return block
        event = Event.decode(block.inputs)
        assert event.bars is not None
        bars = event.bars.copy()
        bars["close_e8"][:6] -= bars["close_e8"][:6] // 3
        bars["low_e8"][:6] -= bars["low_e8"][:6] // 2
        return block._replace(inputs=event._replace(bars=bars).content())

    rechain(run_dir, other_price)
    assert replay(run_dir, tmp_path, level=Level.CHAIN).parity
    found = replay(run_dir, tmp_path)
    assert not found.parity
    assert found.failure is not None
    assert found.failure.block >= target
    assert found.failure.kind in {FailureClass.STATE_DIVERGENCE, FailureClass.CODE_DRIFT}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda e: e._replace(note=clerk("another").canonical()), ""),
        (lambda e: e._replace(note=b"{}"), "core stopped"),
        (lambda e: e._replace(note=b""), "core stopped"),
    ],
)
def test_who_did_it_is_part_of_the_chain(run_dir: Path, tmp_path: Path, change: Callable[[Event], Event], what: str) -> None:
    block = stored_blocks(run_dir)[-1]
    assert block.kind_id == c.EV_CONTROL
    store(run_dir, block.seq_n, "inputs", change(Event.decode(block.inputs)).content())
    assert not replay(run_dir, tmp_path, level=Level.CHAIN).parity
    store(run_dir, block.seq_n, "inputs", block.inputs)
    rechain(run_dir, lambda b: b._replace(inputs=change(Event.decode(b.inputs)).content()) if b.seq_n == block.seq_n else b)
    found = replay(run_dir, tmp_path)
    assert found.parity == (what == "")  # a forger of the whole chain is found by the anchor he cannot sign, not by the core
    if found.failure is not None:
        assert what in found.failure.detail
