"""Touching stored runs, and what a failed replay says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from runtime.adapters.anchor import ANCHOR_NAME
from runtime.adapters.inputs import load_forecasts
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.chain import compute_block_hash
from runtime.core.digest import SECTION, Block, RowHasher, decode_payload
from runtime.core.records import BY_NAME, RECORD_TYPES
from runtime.genesis import Genesis
from runtime.replay import Failure, FailureClass, ReplayResult
from runtime.verify import forecast_hashes
from tests.support.forge import forge


def stored_blocks(run_dir: Path) -> list[Block]:
    journal = SqliteJournal.open(run_dir / "journal.sqlite")
    blocks = list(journal.read())
    journal.close()
    return blocks


def store(run_dir: Path, seq_n: int, column: str, value: bytes | int) -> None:
    """Change one cell of one block, and the anchor with it when it names that block's hash."""
    text = f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)
    forge(run_dir / "journal.sqlite", f"UPDATE block SET {column} = {text} WHERE seq_n = {seq_n}")


def rechain(run_dir: Path, home: Path, change: Callable[[Block], Block]) -> None:
    """Forge a whole journal: change blocks, then make every hash, and the anchor, fit again."""
    journal_path = run_dir / "journal.sqlite"
    blocks = stored_blocks(run_dir)
    genesis = Genesis.model_validate_json((run_dir / "genesis.json").read_bytes())
    lookup = forecast_hashes(load_forecasts(home, genesis.forecasts_digest))
    hasher = RowHasher(bytes.fromhex(genesis.policy_digest), lookup)
    previous = genesis.hash
    forged = []
    for original in blocks:
        block = change(original)
        hashes = b"".join(
            h for name, rows in decode_payload(block.payload).items() for h in hasher.hash_rows(BY_NAME[name], rows)
        )
        records_digest = hashlib.sha256(hashes).digest()
        previous = compute_block_hash(previous, block.header, block.inputs_digest, records_digest)
        forged.append(block._replace(records_digest=records_digest, block_hash=previous))
    journal_path.unlink()
    (run_dir / ANCHOR_NAME).unlink()
    journal = SqliteJournal.create(journal_path, genesis.canonical(), account_id=1, mode_id=1)
    journal.append(forged)
    journal.close()


def failed(result: ReplayResult, kind: FailureClass) -> Failure:
    assert not result.parity
    assert result.failure is not None
    assert result.failure.kind == kind, result.failure
    return result.failure


def change_state(block: Block) -> Block:
    if block.seq_n != 321:
        return block
    found = {name: rows.copy() for name, rows in decode_payload(block.payload).items()}
    found["portfolio_hourly_state"]["pv_e8"] += 1
    payload = b"".join(
        SECTION.pack(r.code, len(found[r.name])) + found[r.name].tobytes() for r in RECORD_TYPES if r.name in found
    )
    return block._replace(payload=payload)
