"""Tampering with a stored run on purpose: found, at its block, by name. Random flips: tests/simulation/test_tamper.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.anchor import ANCHOR_NAME
from runtime.core.digest import SECTION, decode_payload
from runtime.core.records import BY_NAME
from runtime.replay import FailureClass, replay
from tests.support.forge import forge
from tests.support.replays import failed, store, stored_blocks


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
