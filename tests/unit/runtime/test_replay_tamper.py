"""Tampering with a stored run on purpose: found, at its block, by name. Random flips: tests/simulation/test_tamper.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.anchor import ANCHOR_NAME
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.chain import compute_block_hash
from runtime.core.digest import HEADER, SECTION, decode_payload, run_root
from runtime.core.records import BY_NAME
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, RUN_SUMMARY
from runtime.replay import FailureClass, Level, replay
from tests.support.forge import forge
from tests.support.replays import change_state, failed, rechain, store, stored_blocks


def test_a_changed_amount_is_named_to_the_field(own_home: Path, own_run: Path) -> None:
    block = next(b for b in stored_blocks(own_run) if "order_fill" in decode_payload(b.payload))
    rows = decode_payload(block.payload)["order_fill"]
    dtype = rows.dtype
    assert dtype.fields is not None
    at = block.payload.index(SECTION.pack(BY_NAME["order_fill"].code, len(rows)))
    at += SECTION.size + int(dtype.fields["price_e8"][1])
    price = int(rows["price_e8"][0])
    payload = block.payload[:at] + (price + 1).to_bytes(8, "little") + block.payload[at + 8 :]
    store(own_run, block.seq_n, "payload", payload)
    failure = failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK)
    assert (failure.block, failure.record, failure.field) == (block.seq_n, "order_fill", "price_e8")
    assert (failure.row, failure.stored, failure.recomputed) == (int(rows["fill_id"][0]), str(price + 1), str(price))
    assert f"the rows of block {block.seq_n} do not match its records digest" in failure.detail


def test_codes_are_shown_with_their_names(own_home: Path, own_run: Path) -> None:
    block = next(b for b in stored_blocks(own_run) if "order_fill" in decode_payload(b.payload))
    rows = decode_payload(block.payload)["order_fill"]
    dtype = rows.dtype
    assert dtype.fields is not None
    at = block.payload.index(SECTION.pack(BY_NAME["order_fill"].code, len(rows))) + SECTION.size
    at += int(dtype.fields["liquidity_id"][1])
    store(own_run, block.seq_n, "payload", block.payload[:at] + (2).to_bytes(8, "little") + block.payload[at + 8 :])
    failure = failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK)
    assert (failure.field, failure.stored, failure.recomputed) == ("liquidity_id", "2 MAKER", "1 TAKER")


def test_every_flip_in_the_anchor_is_found_or_harmless(own_home: Path, own_run: Path) -> None:
    path = own_run / ANCHOR_NAME
    original = path.read_bytes()
    rng = np.random.Generator(np.random.PCG64(12))
    for at in rng.integers(0, len(original), 25).tolist():
        changed = bytearray(original)
        changed[at] ^= 1 << int(rng.integers(0, 7))
        path.write_bytes(bytes(changed))
        result = replay(own_run, own_home)
        if result.parity:  # a hexadecimal digit in upper case says the same
            assert bytes(changed).lower() == original
        else:
            assert result.failure is not None
            assert result.failure.kind in {FailureClass.CHAIN_BREAK, FailureClass.TRUNCATED}
    path.unlink()
    assert "anchor head.json is missing" in failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK).detail


def test_a_cut_off_journal(own_home: Path, own_run: Path) -> None:
    forge(own_run / "journal.sqlite", "DELETE FROM block WHERE seq_n > 400")
    failure = failed(replay(own_run, own_home), FailureClass.TRUNCATED)
    assert "ends at block 400" in failure.detail


def test_a_cut_off_journal_with_a_forged_anchor(own_home: Path, own_run: Path) -> None:
    blocks = stored_blocks(own_run)
    forge(own_run / "journal.sqlite", "DELETE FROM block WHERE seq_n > 400")
    anchor = json.loads((own_run / ANCHOR_NAME).read_text())
    anchor |= {"seq_n": 400, "block_hash": blocks[399].block_hash.hex()}
    (own_run / ANCHOR_NAME).write_text(json.dumps(anchor))
    failure = failed(replay(own_run, own_home), FailureClass.TRUNCATED)
    assert (failure.block, failure.stored, failure.recomputed) == (401, "absent", "present")


def test_a_removed_or_swapped_block(own_home: Path, own_run: Path) -> None:
    original = (own_run / "journal.sqlite").read_bytes()
    forge(own_run / "journal.sqlite", "DELETE FROM block WHERE seq_n = 300")
    failure = failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK)
    assert (failure.block, "block 301 follows block 299" in failure.detail) == (300, True)
    (own_run / "journal.sqlite").write_bytes(original)
    forge(
        own_run / "journal.sqlite",
        "UPDATE block SET seq_n = 9999 WHERE seq_n = 300",
        "UPDATE block SET seq_n = 300 WHERE seq_n = 301",
        "UPDATE block SET seq_n = 301 WHERE seq_n = 9999",
    )
    assert failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK).block == 300


@pytest.mark.parametrize("first_page", [2, 20])
def test_damaged_pages(own_home: Path, own_run: Path, first_page: int) -> None:
    path = own_run / "journal.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(first_page, len(content) // 4096 // 2):  # the end is whole: the journal opens
        content[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(bytes(content))
    assert "damaged" in failed(replay(own_run, own_home), FailureClass.CHAIN_BREAK).detail


# ---- attacks with a plan: (attack, what the chain level names, what the decisions level names) --------------------

CHAIN, CUT, DIVERGED, SUMMARY = (
    FailureClass.CHAIN_BREAK,
    FailureClass.TRUNCATED,
    FailureClass.STATE_DIVERGENCE,
    FailureClass.SUMMARY_CHANGED,
)
COLUMNS = "at_t, kind_id, header, inputs_digest, payload, records_digest, block_hash, inputs"


def overwrite_bytes(run_dir: Path, _home: Path) -> None:
    """Sixteen bytes in the middle of a payload."""
    payload = stored_blocks(run_dir)[199].payload
    store(run_dir, 200, "payload", payload[:40] + b"\xa5" * 16 + payload[56:])


def empty_payload(run_dir: Path, _home: Path) -> None:
    store(run_dir, 200, "payload", b"")


def exchange_contents(run_dir: Path, _home: Path) -> None:
    """Two blocks trade everything but their numbers."""
    a, b = (stored_blocks(run_dir)[n] for n in (199, 299))
    for ours, theirs in ((a, b), (b, a)):
        for column, value in zip(COLUMNS.split(", "), theirs[1:], strict=True):
            store(run_dir, ours.seq_n, column, value)


def duplicate_in_place(run_dir: Path, _home: Path) -> None:
    """Block 200 again, as block 201; all later ones move up."""
    forge(
        run_dir / "journal.sqlite",
        "UPDATE block SET seq_n = seq_n + 100000 WHERE seq_n > 200",
        "UPDATE block SET seq_n = seq_n - 99999 WHERE seq_n > 100000",
        f"INSERT INTO block SELECT 201, {COLUMNS} FROM block WHERE seq_n = 200",
    )


def duplicate_at_the_end(run_dir: Path, _home: Path) -> None:
    last_n = len(stored_blocks(run_dir))
    forge(run_dir / "journal.sqlite", f"INSERT INTO block SELECT {last_n + 1}, {COLUMNS} FROM block WHERE seq_n = {last_n}")


def append_a_linked_block(run_dir: Path, _home: Path) -> None:
    """One more block with perfect hashes; the anchor may lag, so it does not tell."""
    last = stored_blocks(run_dir)[-1]
    header = HEADER.pack(last.seq_n + 1, last.at_t + 3600, last.kind_id, 1, 1, 0)
    digest = hashlib.sha256(b"").digest()
    block_hash = compute_block_hash(last.block_hash, header, bytes(32), digest)
    values = ", ".join(f"x'{value.hex()}'" for value in (header, bytes(32), b"", digest, block_hash, b""))
    forge(
        run_dir / "journal.sqlite", f"INSERT INTO block VALUES ({last.seq_n + 1}, {last.at_t + 3600}, {last.kind_id}, {values})"
    )


def rechain_without_the_anchor(run_dir: Path, home: Path) -> None:
    """One amount changed and every hash after it computed again; the anchor is out of reach."""
    anchor = (run_dir / ANCHOR_NAME).read_bytes()
    rechain(run_dir, home, change_state)
    (run_dir / ANCHOR_NAME).write_bytes(anchor)


def rechain_with_the_anchor(run_dir: Path, home: Path) -> None:
    rechain(run_dir, home, change_state)


def rechain_with_anchor_and_summary(run_dir: Path, home: Path) -> None:
    """The whole folder is made consistent: only who computes the run again, or knows its root, can tell."""
    rechain(run_dir, home, change_state)
    head = stored_blocks(run_dir)[-1]
    summary = json.loads((run_dir / RUN_SUMMARY).read_text())
    genesis = Genesis.model_validate_json((run_dir / RUN_MARK).read_bytes())
    root = run_root(genesis.hash, head.block_hash, head.seq_n)
    (run_dir / RUN_SUMMARY).write_text(json.dumps(summary | {"journal_head": head.block_hash.hex(), "run_root": root}))


def drop_the_journal(run_dir: Path, _home: Path) -> None:
    (run_dir / "journal.sqlite").unlink()


def roll_back_to_an_older_copy(run_dir: Path, home: Path) -> None:
    """The file as it was a while ago, whole and sealed, under the anchor of today."""
    path, anchor = run_dir / "journal.sqlite", (run_dir / ANCHOR_NAME).read_bytes()
    blocks = stored_blocks(run_dir)[:250]
    path.unlink()
    (run_dir / ANCHOR_NAME).unlink()
    journal = SqliteJournal.create(path, (run_dir / RUN_MARK).read_bytes(), account_id=1, mode_id=1)
    journal.append(blocks)
    journal.close()
    (run_dir / ANCHOR_NAME).write_bytes(anchor)


LAST = -1  # the number of the last block, of the one after it: the run's length is not a constant of this test
AFTER = -2
ATTACKS = [
    (overwrite_bytes, (CHAIN, 200), (CHAIN, 200)),
    (empty_payload, (CHAIN, 200), (CHAIN, 200)),
    (exchange_contents, (CHAIN, 200), (CHAIN, 200)),
    (duplicate_in_place, (CHAIN, LAST), (CHAIN, LAST)),  # the anchor looks first: its block is another one now
    (duplicate_at_the_end, (CHAIN, AFTER), (CHAIN, AFTER)),
    (append_a_linked_block, (SUMMARY, 0), (DIVERGED, AFTER)),
    (rechain_without_the_anchor, (CHAIN, LAST), (CHAIN, LAST)),
    (rechain_with_the_anchor, (SUMMARY, 0), (DIVERGED, 321)),
    (rechain_with_anchor_and_summary, None, (DIVERGED, 321)),
    (drop_the_journal, (CUT, 0), (CUT, 0)),
    (roll_back_to_an_older_copy, (CUT, 0), (CUT, 0)),
]


@pytest.mark.parametrize(("attack", "chain", "decisions"), ATTACKS, ids=[attack.__name__ for attack, *_ in ATTACKS])
def test_an_attack_with_a_plan_is_found(
    own_home: Path, own_run: Path, attack: Callable[[Path, Path], None],
    chain: tuple[FailureClass, int] | None, decisions: tuple[FailureClass, int],
) -> None:  # fmt: skip
    last_n = len(stored_blocks(own_run))
    attack(own_run, own_home)
    for level, expected in ((Level.CHAIN, chain), (Level.DECISIONS, decisions)):
        result = replay(own_run, own_home, level=level)
        if expected is None:
            assert result.parity, "the chain level knows hashes, not what the run should have been"
            continue
        block = {LAST: last_n, AFTER: last_n + 1}.get(expected[1], expected[1])
        assert failed(result, expected[0]).block == block
