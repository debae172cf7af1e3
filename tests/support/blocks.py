"""Made-up but well-formed chains of blocks, for tests of everything that stores or reads blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from runtime.chain import compute_block_hash
from runtime.core.codes import EV_BARS, MODE_BACKTEST
from runtime.core.digest import HEADER, NO_PARENT, SECTION, Block, RowHasher, genesis_hash
from runtime.core.records import BY_NAME, HOUR_T
from runtime.ports import Head

GENESIS = b'{"account_id":1,"mode_id":1}'
POLICY_DIGEST = hashlib.sha256(b"policy").digest()
FIRST_T = 1_577_836_800


def make_blocks(
    count: int, *, head: Head | None = None, account_id: int = 1, mode_id: int = MODE_BACKTEST, seed: int = 7
) -> list[Block]:
    """Return `count` hourly blocks that follow `head` (default: the genesis), each with two hourly states."""
    return list(iterate_blocks(count, head=head, account_id=account_id, mode_id=mode_id, seed=seed))


def iterate_blocks(
    count: int, *, head: Head | None = None, account_id: int = 1, mode_id: int = MODE_BACKTEST, seed: int = 7
) -> Iterator[Block]:
    """Yield what `make_blocks` lists."""
    seq_n, previous = head or Head(0, genesis_hash(GENESIS))
    rng = np.random.Generator(np.random.PCG64(seed))
    hasher = RowHasher(POLICY_DIGEST, lambda _instrument, _forecast_t: NO_PARENT)
    records = [BY_NAME["portfolio_hourly_state"], BY_NAME["risk_hourly_state"]]
    hasher.rows_n["portfolio_hourly_state"] = seq_n
    for _ in range(count):
        seq_n += 1
        at_t = FIRST_T + seq_n * HOUR_T
        payload, hashes = b"", []
        for record in records:
            row = np.zeros(1, record.dtype)
            row["state_id"], row["account_id"], row["mode_id"] = seq_n, account_id, mode_id
            row["origin_hour_t"] = row["hour_t"] = row["at_t"] = at_t
            if record.name == "portfolio_hourly_state":
                row["pv_e8"] = rng.integers(0, 2**62)
            else:
                row["portfolio_state_id"] = seq_n
            payload += SECTION.pack(record.code, 1) + row.tobytes()
            hashes += hasher.hash_rows(record, row)
        header = HEADER.pack(seq_n, at_t, EV_BARS, account_id, mode_id, len(records))
        inputs = hashlib.sha256(b"inputs%d" % seq_n).digest()
        digest = hashlib.sha256(b"".join(hashes)).digest()
        previous = compute_block_hash(previous, header, inputs, digest)
        yield Block(seq_n, at_t, EV_BARS, header, inputs, payload, digest, previous)
