"""The approved order: the one thing an exchange adapter accepts, and the one way to get it.

The risk engine approves inside the compiled core, by writing an `order_request` row with status NEW. `approved_orders` reads the
block of that row back from the journal, so an order can only leave the process after the decision behind it is durable, and
checks the row against its row hash and the block's records digest. An `ApprovedOrder` carries the row and proves it whenever one
is made: a changed quantity is a changed row, whose hash no longer matches.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, final

import numpy as np

from runtime.core.codes import BUY, O_NEW, SELL
from runtime.core.digest import NO_PARENT, Block, RowHasher, decode_payload, genesis_hash
from runtime.core.records import ORDER_REQUEST, RECORD_TYPES
from runtime.errors import InvariantError
from runtime.ports import Journal

CLIENT_ORDER_TAG: Final = b"ballast.client-order.1\0"


class Terms(NamedTuple):
    """What is sent: the fields of an order_request row that a venue needs."""

    account_id: int
    mode_id: int
    order_id: int
    attempt_n: int
    instrument_id: int
    quote_id: int
    side_id: int
    qty_e8: int
    limit_price_e8: int
    decision_price_e8: int
    approved_t: int
    expires_t: int


def client_order_id(genesis: bytes, order_id: int, attempt_n: int) -> str:
    """Return the client order id of one attempt: the same on every machine, after every restart.

    Kraken's `cl_ord_id` is a UUID (36 characters, or 32 hexadecimal digits) or free text of at most 18 ASCII characters. We take
    the long UUID: 122 bits of a hash make two runs of one account collide never, 18 characters of text would hold the order's
    number but not the run's identity. It is of version 8 (RFC 9562, "custom"), since it is neither random nor a time.

    Kraken enforces uniqueness among open orders only: after an unknown outcome the adapter asks for the id before anything else.

    Args:
        genesis: hash of the run's genesis, 32 bytes.
        order_id: number of the order in the run.
        attempt_n: 1 for the first attempt; an attempt that the venue refused is followed by one with another id.
    """
    digest = hashlib.sha256(CLIENT_ORDER_TAG + genesis + struct.pack("<2q", order_id, attempt_n)).digest()
    octets = bytearray(digest[:16])
    octets[6] = 0x80 | (octets[6] & 0x0F)
    octets[8] = 0x80 | (octets[8] & 0x3F)
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@final
@dataclass(frozen=True, slots=True)
class ApprovedOrder:
    """An order that passed every gate and is journaled. Made by `approved_orders` alone.

    Attributes:
        genesis: hash of the run's genesis.
        row: canonical bytes of the order_request row.
        row_hash: the row's hash.
        signal_hash: row hash of the signal that asked for it, its parent.

    Raises:
        InvariantError: the row is not a NEW order, or is not what its hash says.
    """

    genesis: bytes
    row: bytes
    row_hash: bytes
    signal_hash: bytes

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InvariantError(
                f"an order without approval: {problem}",
                expected="a journaled order_request row with status NEW and its own row hash",
                action="halt: nothing was sent; keep the journal as evidence",
            )

    def _problem(self) -> str:
        if len(self.genesis) != 32 or len(self.signal_hash) != 32:
            return "a hash of the wrong length"
        if len(self.row) != ORDER_REQUEST.dtype.itemsize:
            return f"a row of {len(self.row)} bytes"
        content = struct.pack("<q", ORDER_REQUEST.code) + self.row + self.signal_hash
        if hashlib.sha256(content).digest() != self.row_hash:
            return "the row does not match its row hash"
        if self.signal_hash == NO_PARENT:
            return "no signal asked for it"
        row = np.frombuffer(self.row, ORDER_REQUEST.dtype)[0]
        if row["status_id"] != O_NEW:
            return f"its status is {int(row['status_id'])}"
        if row["side_id"] not in {BUY, SELL} or row["left_e8"] <= 0 or row["attempt_n"] < 1:
            return "a row that no gate lets through"
        if row["side_id"] == BUY and row["limit_price_e8"] <= 0:
            return "a buy without a limit"
        return ""

    @property
    def terms(self) -> Terms:
        """What to send; a limit price of 0 is a market order (sales only)."""
        row = np.frombuffer(self.row, ORDER_REQUEST.dtype)[0]
        names = {"qty_e8": "left_e8", "approved_t": "at_t"}
        return Terms(*(int(row[names.get(name, name)]) for name in Terms._fields))

    @property
    def client_order_id(self) -> str:
        """The id by which the venue knows this attempt."""
        terms = self.terms
        return client_order_id(self.genesis, terms.order_id, terms.attempt_n)


def approved_orders(
    journal: Journal, seq_n: int, row_hashes: Sequence[bytes], signal_hashes: Mapping[int, bytes]
) -> tuple[ApprovedOrder, ...]:
    """Return the orders that one journaled block approved, in the order of their rows.

    Args:
        journal: where the block is durable; it is read back from there.
        seq_n: sequence number of the block.
        row_hashes: hashes of the block's rows in block order, as the block's records digest covers them.
        signal_hashes: row hashes by id of the block's signals and of those that open orders name
            (`RowHasher.hashes["trade_signal"]`).

    Raises:
        InvariantError: no such block in the journal, or hashes that are not its own.
    """
    blocks = list(journal.read(seq_n, seq_n))
    if len(blocks) != 1 or seq_n > journal.head().seq_n:
        raise _not_journaled(seq_n, "it is not in the journal")
    block: Block = blocks[0]
    if hashlib.sha256(b"".join(row_hashes)).digest() != block.records_digest:
        raise _not_journaled(seq_n, "the row hashes are not the block's")
    rows = decode_payload(block.payload)
    counts = [len(rows.get(record.name, ())) for record in RECORD_TYPES]
    first = sum(counts[: RECORD_TYPES.index(ORDER_REQUEST)])
    genesis = genesis_hash(journal.genesis())
    orders = rows.get("order_request", np.zeros(0, ORDER_REQUEST.dtype))
    found = []
    for i, row in enumerate(orders):
        if row["status_id"] == O_NEW:
            signal_id = int(row["signal_id"])
            signal_hash = signal_hashes.get(signal_id, NO_PARENT)
            found.append(ApprovedOrder(genesis, row.tobytes(), row_hashes[first + i], signal_hash))
    return tuple(found)


def row_hashes_of(block: Block, hasher: RowHasher) -> list[bytes]:
    """Return the row hashes of the next block of a run, in block order; `hasher` has seen all blocks before it."""
    hasher.settle()
    rows = decode_payload(block.payload)
    return [found for record in RECORD_TYPES if record.name in rows for found in hasher.hash_rows(record, rows[record.name])]


def _not_journaled(seq_n: int, why: str) -> InvariantError:
    return InvariantError(
        f"orders of block {seq_n}, but {why}",
        expected="a durable block and the hashes of its own rows",
        action="append the block first; if it was, halt and keep the journal as evidence",
    )
