"""Canonical bytes, row hashes and the block chain. The byte layout is documented in docs/reference/canonical-bytes.md.

- row hash      SHA-256(code as int64 LE | row bytes | row hash of each parent, in the order of `RecordType.parents`)
- records digest SHA-256(row hashes in block order)
- block hash    SHA-256(BLOCK_TAG | previous block hash | header | inputs digest | records digest)

A block lists its records by type, parents before children (the order of `RECORD_TYPES`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.core.codes import O_CANCELLED, O_DENIED, O_DUST, O_EXPIRED, O_FILLED
from runtime.core.records import BY_NAME, INSTRUMENTS, QUOTES, RECORD_TYPES, Out, RecordType

BLOCK_TAG: Final = b"ballast.block.1\0"
GENESIS_TAG: Final = b"ballast.genesis.1\0"
FORECAST_TAG: Final = b"ballast.forecast.1\0"
HEADER: Final = struct.Struct("<6q")
"""Block header: sequence, event time, event kind, account, mode, number of records."""
SECTION: Final = struct.Struct("<2q")
"""Payload section: record code, number of rows; the packed rows follow."""
NO_PARENT: Final = bytes(32)


class Block(NamedTuple):
    """One event and all it caused; `inputs` is what the inputs digest covers, stored in paper and live (empty in a backtest)."""

    seq_n: int
    at_t: int
    kind_id: int
    header: bytes
    inputs_digest: bytes
    payload: bytes
    records_digest: bytes
    block_hash: bytes
    inputs: bytes = b""


def genesis_hash(genesis_json: bytes) -> bytes:
    """Return the hash that block 1 names as its predecessor."""
    return hashlib.sha256(GENESIS_TAG + genesis_json).digest()


def run_root(genesis: bytes, head: bytes, blocks_n: int) -> str:
    """Return the digest that stands for a whole run: its genesis hash, its last block hash and its length."""
    return hashlib.sha256(b"ballast.run.1\0" + genesis + head + struct.pack("<q", blocks_n)).hexdigest()


def decode_payload(payload: bytes) -> dict[str, npt.NDArray[np.void]]:
    """Return the rows of a block's payload by table name; raise `ValueError` on a malformed payload."""
    by_code = {record.code: record for record in RECORD_TYPES}
    found: dict[str, npt.NDArray[np.void]] = {}
    at = 0
    while at < len(payload):
        if at + SECTION.size > len(payload):
            raise ValueError(f"payload ends inside a section header at byte {at}")
        code, rows = SECTION.unpack_from(payload, at)
        at += SECTION.size
        record = by_code.get(code)
        if record is None or rows <= 0 or at + rows * record.dtype.itemsize > len(payload) or record.name in found:
            raise ValueError(f"payload has a malformed section (code {code}, rows {rows}) at byte {at - SECTION.size}")
        found[record.name] = np.frombuffer(payload, record.dtype, rows, at)
        at += rows * record.dtype.itemsize
    return found


def by_block(out: Out, row_hashes: dict[str, list[bytes]]) -> tuple[list[bytes], list[bytes], npt.NDArray[np.int64]]:
    """Return per block: its payload, its row hashes one after the other, its number of records.

    Type by type, and of each type only the blocks that have rows of it: most blocks have few of the types.
    """
    blocks_n = int(out.n[0]["event"])
    payloads, hashes = [b""] * blocks_n, [b""] * blocks_n
    records_n = np.zeros(blocks_n, np.int64)
    for record in RECORD_TYPES:
        ends = out.marks[record.name][:blocks_n]
        counts = np.diff(ends, prepend=0)
        records_n += counts
        having = np.flatnonzero(counts)
        if len(having) == 0:
            continue
        size = record.dtype.itemsize
        data, joined, width = getattr(out, record.name)[: ends[-1]].tobytes(), b"".join(row_hashes[record.name]), len(NO_PARENT)
        heads = {count: SECTION.pack(record.code, count) for count in np.unique(counts[having]).tolist()}
        for i, count, last in zip(having.tolist(), counts[having].tolist(), ends[having].tolist(), strict=True):
            payloads[i] += heads[count] + data[(last - count) * size : last * size]
            hashes[i] += joined[(last - count) * width : last * width]
    return payloads, hashes, records_n


ForecastHash = Callable[[int, int], bytes]
"""`(instrument, forecast_t)` -> hash of the forecast that the instrument acted on; see `forecast_hash`."""


def forecast_hash(row: bytes, feature_digest: bytes) -> bytes:
    """Return the hash of one asset's forecast: its canonical bytes and the digest of the features it was made from."""
    return hashlib.sha256(FORECAST_TAG + row + feature_digest).digest()


class RowHasher:
    """Computes row hashes and remembers those that later rows can name as parents.

    Rows of all types must be given in the order of `RECORD_TYPES` (parents before children). Row ids are dense from
    1, so a row's id is its number within its type. Most parents stand in the same block; older ones are only the signal and
    the last row of an instrument's open order, and the last cash entry of each currency. `settle` forgets all others, so
    that the memory needed does not grow with history.

    Args:
        policy_digest: 32 bytes, parent of every signal.
        forecast: looks up the hash of a signal's forecast; not asked when the signal's `forecast_t` is 0.
    """

    def __init__(self, policy_digest: bytes, forecast: ForecastHash) -> None:
        self.policy_digest = policy_digest
        self.forecast = forecast
        self.hashes: dict[str, dict[int, bytes]] = {name: {0: NO_PARENT} for name in sorted(_PARENT_TABLES)}
        self.rows_n = dict.fromkeys(self.hashes, 0)
        self._orders: dict[int, tuple[int, int, int]] = {}  # by instrument: signal, row and status of its last order row
        self._entries: dict[int, int] = {}  # by currency: its last cash entry

    def copy(self) -> RowHasher:
        """Return a hasher that goes on from here; what it is given leaves this one as it is."""
        other = RowHasher(self.policy_digest, self.forecast)
        other.restore(
            {name: (self.rows_n[name], kept) for name, kept in sorted(self.hashes.items())}, self._orders, self._entries
        )
        return other

    def restore(
        self, rows: dict[str, tuple[int, dict[int, bytes]]], orders: dict[int, tuple[int, int, int]], entries: dict[int, int]
    ) -> None:
        """Go on from a place in the chain.

        Args:
            rows: per parent table, how many rows there are, and hashes by row id.
            orders: by instrument, the signal, the last row and the status of its open order.
            entries: by currency, the last cash entry.
        """
        self.rows_n = {name: rows_n for name, (rows_n, _) in sorted(rows.items())}
        self.hashes = {name: dict(kept) for name, (_, kept) in sorted(rows.items())}
        self._orders = dict(orders)
        self._entries = dict(entries)

    def hash_rows(self, record: RecordType, rows: npt.NDArray[np.void]) -> list[bytes]:
        """Return the row hashes of consecutive rows of one type; raise `LookupError` on a parent that is not known."""
        size = record.dtype.itemsize
        data = rows.tobytes()
        code = struct.pack("<q", record.code)
        parents = [self._parent_hashes(table, column, rows) for table, column in record.parents]
        sha256 = hashlib.sha256
        kept = self.hashes.get(record.name)
        first_id = self.rows_n.get(record.name, 0) + 1
        result = []
        for i in range(len(rows)):
            content = code + data[i * size : (i + 1) * size]
            for table, ids in parents:
                content += table[ids[i]]
            row_hash = sha256(content).digest()
            result.append(row_hash)
            if kept is not None:
                kept[first_id + i] = row_hash  # a ledger entry's parent may be the row just before it
        if kept is not None:
            self.rows_n[record.name] += len(rows)
            self._note(record, rows, range(first_id, first_id + len(rows)))
        return result

    def settle(self) -> None:
        """Forget what no row after the last one given can name: call it between blocks, after rows of every type."""
        slots = range(INSTRUMENTS)
        self._orders = {s: o for s, o in sorted(self._orders.items()) if s in slots and o[2] not in _ENDED}
        self._entries = {quote: n for quote, n in sorted(self._entries.items()) if quote in range(QUOTES)}
        named = {
            "trade_signal": [signal_id for signal_id, _, _ in sorted(self._orders.values())],
            "order_request": [row_id for _, row_id, _ in sorted(self._orders.values())],
            "cash_ledger": self._entries.values(),
        }
        for name, known in sorted(self.hashes.items()):
            self.hashes[name] = {i: known[i] for i in (0, *named.get(name, ()))}

    def _note(self, record: RecordType, rows: npt.NDArray[np.void], ids: range) -> None:
        if record.name == "order_request":
            last = zip(rows["signal_id"].tolist(), ids, rows["status_id"].tolist(), strict=True)
            self._orders.update(zip(rows["instrument_id"].tolist(), last, strict=True))
        elif record.name == "cash_ledger":
            self._entries.update(zip(rows["quote_id"].tolist(), ids, strict=True))

    def _parent_hashes(self, table: str, column: str, rows: npt.NDArray[np.void]) -> tuple[Hashes, list[int]]:
        """Return hashes and, per row, the index of its parent in them."""
        if table == "policy":
            return {0: self.policy_digest}, [0] * len(rows)
        if table == "forecast":
            pairs = zip(rows["instrument_id"].tolist(), rows["forecast_t"].tolist(), strict=True)
            return [self.forecast(i, t) if t else NO_PARENT for i, t in pairs], list(range(len(rows)))
        return self.hashes[table], rows[column].tolist()


Hashes = dict[int, bytes] | list[bytes]
_ENDED: Final = (O_FILLED, O_CANCELLED, O_EXPIRED, O_DUST, O_DENIED)
"""Statuses after which no row names the order again (a rejected one is cancelled, or waits, in the same block)."""
_PARENT_TABLES: Final = {table for record in RECORD_TYPES for table, _ in record.parents if table in BY_NAME}
