"""Snapshots: the state of a run after some block, so that a replay can begin there.

A snapshot is a cache, not evidence: nothing in the chain commits to it. It is written by the backtest that has just
journaled every block up to it, or by a replay that has just compared them; it is content-addressed, and it is taken only for
the same genesis, the same core source and the block hash it names. A replay that begins at one proves the blocks after it
*given* the snapshot, and says so; when it differs, the run is computed from its genesis to find out whether the journal or the
snapshot is wrong.

File `snapshots/<block>-<sha256 of the content>.bin`, content:

    TAG 16 | genesis hash 32 | core digest 32 | block hash 32 | block int64 | events done int64 | STATE
    then per parent table, in the order of their names: rows int64 | kept int64 | kept x (row id int64, row hash 32)

Kept are the row hashes that rows of later blocks can still name (`RowHasher`): those of the open orders and of the last cash
entry of each currency.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.core.records import STATE
from runtime.engine import BlockChain, ForgottenHash, Inputs, StageSeconds, Sweep
from runtime.files import write_bytes
from runtime.jit import deciding_source_digest

__all__ = ["SNAPSHOTS_NAME", "ForgottenHash", "Snapshot", "decode", "encode", "nearest", "resume", "store", "take"]

SNAPSHOTS_NAME: Final = "snapshots"
TAG: Final = b"ballast.state.1\0"
_HEAD: Final = struct.Struct("<16s32s32s32s2q")
_TABLE: Final = struct.Struct("<2q")
_KEPT: Final = struct.Struct("<q32s")


class Snapshot(NamedTuple):
    """The state after a block and what the blocks after it need.

    Attributes:
        seq_n: the block; 0 is the genesis.
        events_n: events applied.
        genesis_hash, core_digest, block_hash: what it belongs to, 32 bytes each.
        state: bytes of STATE [1].
        rows: per parent table, how many rows there are and the kept hashes by row id.
    """

    seq_n: int
    events_n: int
    genesis_hash: bytes
    core_digest: bytes
    block_hash: bytes
    state: bytes
    rows: dict[str, tuple[int, dict[int, bytes]]]

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(encode(self)).hexdigest()


def take(sweep: Sweep, chain: BlockChain) -> Snapshot:
    """Return the snapshot of a run where it stands: between two fillings of the buffers."""
    hasher = chain.hasher
    return Snapshot(
        chain.seq_n,
        sweep.done,
        chain.inputs.genesis.hash,
        bytes.fromhex(deciding_source_digest()),
        chain.head,
        sweep.states.tobytes(),
        {name: (hasher.rows_n[name], dict(kept)) for name, kept in sorted(hasher.hashes.items())},
    )


def resume(inputs: Inputs, snapshot: Snapshot) -> tuple[Sweep, BlockChain]:
    """Return a run that stands right after the snapshot's block."""
    states: npt.NDArray[np.void] = np.frombuffer(snapshot.state, STATE).copy()
    sweep = Sweep(inputs, states, snapshot.events_n, snapshot.seq_n)
    chain = BlockChain(
        inputs, sweep.bars, sweep.forecasts, sweep.clusters, StageSeconds(), seq_n=snapshot.seq_n, head=snapshot.block_hash
    )
    orders = {
        s: (int(o["signal_id"]), int(o["order_row_id"]), int(o["status_id"]))
        for s, o in enumerate(states[0]["orders"])
        if o["order_id"] != 0
    }
    entries = {quote: int(cash["last_entry_id"]) for quote, cash in enumerate(states[0]["cash"])}
    chain.hasher.restore(snapshot.rows, orders, entries)
    return sweep, chain


def encode(snapshot: Snapshot) -> bytes:
    """Return the content of a snapshot's file."""
    head = (snapshot.genesis_hash, snapshot.core_digest, snapshot.block_hash, snapshot.seq_n, snapshot.events_n)
    parts = [_HEAD.pack(TAG, *head), snapshot.state]
    for _, (rows_n, kept) in sorted(snapshot.rows.items()):
        parts.append(_TABLE.pack(rows_n, len(kept)))
        parts += [_KEPT.pack(row_id, row_hash) for row_id, row_hash in sorted(kept.items())]
    return b"".join(parts)


def decode(content: bytes, tables: Iterable[str]) -> Snapshot:
    """Return the snapshot that a file holds.

    Raises:
        ValueError: the content is not a snapshot of this format.
    """
    try:
        tag, genesis_hash, core_digest, block_hash, seq_n, events_n = _HEAD.unpack_from(content)
        at = _HEAD.size + STATE.itemsize
        rows = {}
        for name in sorted(tables):
            rows_n, kept_n = _TABLE.unpack_from(content, at)
            at += _TABLE.size
            kept = {}
            for _ in range(kept_n):
                row_id, row_hash = _KEPT.unpack_from(content, at)
                kept[row_id] = row_hash
                at += _KEPT.size
            rows[name] = (rows_n, kept)
    except struct.error as e:
        raise ValueError(f"the snapshot is cut off: {e}") from e
    if tag != TAG or at != len(content):
        raise ValueError("not a snapshot of this format")
    state = content[_HEAD.size : _HEAD.size + STATE.itemsize]
    return Snapshot(seq_n, events_n, genesis_hash, core_digest, block_hash, state, rows)


def store(run_dir: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot beside the journal; the same snapshot again changes nothing.

    Raises:
        EnvironmentFailure: the folder cannot be written.
    """
    path = run_dir / SNAPSHOTS_NAME / f"{snapshot.seq_n:010d}-{snapshot.digest}.bin"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, encode(snapshot))
    return path


def nearest(run_dir: Path, genesis_hash: bytes, last_n: int, tables: Iterable[str]) -> Snapshot | None:
    """Return the newest usable snapshot at or before a block, or `None`.

    One that is damaged, or of another genesis or core source, is passed over: it is a cache. That its block hash is the
    journal's is for the caller to check.
    """
    names = list(tables)
    core_digest = bytes.fromhex(deciding_source_digest())
    for path in sorted((run_dir / SNAPSHOTS_NAME).glob("*-*.bin"), reverse=True):
        number, _, digest = path.stem.partition("-")
        if not number.isdigit() or int(number) > last_n:
            continue
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            continue
        try:
            found = decode(content, names)
        except ValueError:
            continue
        if (found.genesis_hash, found.core_digest, found.seq_n) == (genesis_hash, core_digest, int(number)):
            return found
    return None
