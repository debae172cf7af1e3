"""How blocks link: the one place that computes a block hash and says what is wrong with a link."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from runtime.core.codes import MODE_BACKTEST
from runtime.core.digest import BLOCK_TAG, HEADER, Block
from runtime.errors import InvariantError
from runtime.ports import Head

HASH_SIZE: Final = 32
_TYPES: Final = (int, int, int, bytes, bytes, bytes, bytes, bytes, bytes)
"""Of a block's fields: a damaged store can yield anything."""


def compute_block_hash(previous: bytes, header: bytes, inputs_digest: bytes, records_digest: bytes) -> bytes:
    """Return SHA-256(BLOCK_TAG | previous block hash | header | inputs digest | records digest)."""
    return hashlib.sha256(BLOCK_TAG + previous + header + inputs_digest + records_digest).digest()


def link_fault(head: Head, block: Block, account_id: int, mode_id: int) -> str | None:
    """Say why a block does not continue a chain, or return `None` when it does.

    Checked are the sequence, the owner, the agreement of the plain columns with the header, the block hash, and of a paper or live
    chain the inputs against their digest; the payload is bound by the records digest, which needs row hashes (`runtime.replay`).
    """
    seq_n, at_t, kind_id, header, inputs_digest, _, records_digest, block_hash, inputs = block
    if tuple(map(type, block)) != _TYPES:
        return f"block {seq_n!r:.32} has a field of the wrong type"
    if len(header) != HEADER.size or len(inputs_digest) != HASH_SIZE or len(records_digest) != HASH_SIZE:
        return f"block {seq_n} has a header or digest of the wrong length"
    header_seq_n, header_at_t, header_kind_id, header_account_id, header_mode_id, _ = HEADER.unpack(header)
    if header_seq_n != head.seq_n + 1:
        return f"block {header_seq_n} follows block {head.seq_n}"
    if (seq_n, at_t, kind_id) != (header_seq_n, header_at_t, header_kind_id):
        return f"block {header_seq_n} has columns (sequence, time, kind) that differ from its header"
    if header_account_id != account_id or header_mode_id != mode_id:
        return (
            f"block {seq_n} belongs to account {header_account_id} mode {header_mode_id}, "
            f"the chain to account {account_id} mode {mode_id}"
        )
    if block_hash != compute_block_hash(head.block_hash, header, inputs_digest, records_digest):
        return f"block {seq_n} has a hash that does not follow from its content and its predecessor"
    carried = inputs_digest if mode_id == MODE_BACKTEST and not inputs else hashlib.sha256(inputs).digest()
    return None if carried == inputs_digest else f"block {seq_n} carries inputs that do not match their digest"


def check_links(head: Head, blocks: Sequence[Block], owner: tuple[int, int]) -> Head:
    """Return the head after `blocks`.

    Raises:
        InvariantError: a block does not continue the chain, or belongs to another account or mode.
    """
    account_id, mode_id = owner
    for block in blocks:
        fault = link_fault(head, block, account_id, mode_id)
        if fault is not None:
            raise InvariantError(
                f"refused to journal: {fault}",
                expected=f"block {head.seq_n + 1}, linked to {head.block_hash.hex()[:16]}",
                action="stop and keep the evidence; nothing was written",
            )
        head = Head(block.seq_n, block.block_hash)
    return head
