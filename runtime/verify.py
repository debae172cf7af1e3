"""Verifies stored blocks without running the core: bytes -> row hashes -> records digest -> block hash -> head.

Blocks are taken in batches, since hashing row by row of one type is several times faster than block by block. A batch
that does not verify is taken again block by block to name the first bad one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.chain import link_fault
from runtime.core.digest import HEADER, SECTION, Block, ForecastHash, RowHasher, forecast_hash
from runtime.core.records import RECORD_TYPES, RecordType
from runtime.inference.bundle import Forecasts
from runtime.ports import Head

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]


class RowsOfBlocks(NamedTuple):
    """The rows of consecutive blocks.

    Attributes:
        tables: per record type (all of them, in the order of `RECORD_TYPES`), its rows in block order.
        block_seq_n: per record type, the block of each row.
        sections: per block, its (table, rows) pairs in payload order.
    """

    tables: dict[str, Rows]
    block_seq_n: dict[str, Ints]
    sections: list[list[tuple[str, int]]]


def gather(blocks: Sequence[Block]) -> RowsOfBlocks:
    """Return the rows of consecutive blocks by type.

    Raises:
        ValueError: a payload is malformed: cut off, unknown type, empty section, or types out of order.
    """
    parts: dict[str, list[bytes]] = {record.name: [] for record in RECORD_TYPES}
    seqs: dict[str, list[int]] = {record.name: [] for record in RECORD_TYPES}
    counts: dict[str, list[int]] = {record.name: [] for record in RECORD_TYPES}
    # looked up once: this loop runs for every section of every block
    sinks = {
        r.code: (r.name, r.dtype.itemsize, parts[r.name].append, seqs[r.name].append, counts[r.name].append)
        for r in RECORD_TYPES
    }
    unpack, header_size = SECTION.unpack_from, SECTION.size
    sections = []
    for seq_n, _, _, _, _, payload, _, _ in blocks:
        at, last_code, size = 0, 0, len(payload)
        found: list[tuple[str, int]] = []
        while at < size:
            first = at + header_size
            if first > size:
                raise ValueError(f"the payload of block {seq_n} ends inside a section header at byte {at}")
            code, rows_n = unpack(payload, at)
            if code not in sinks or code <= last_code or not 0 < rows_n <= (size - first) // sinks[code][1]:
                raise ValueError(
                    f"the payload of block {seq_n} has a malformed section (code {code}, rows {rows_n}) at byte {at}"
                )
            name, width, add_part, add_seq, add_count = sinks[code]
            at = first + rows_n * width
            add_part(payload[first:at])
            add_seq(seq_n)
            add_count(rows_n)
            found.append((name, rows_n))
            last_code = code
        sections.append(found)
    tables = {record.name: np.frombuffer(b"".join(parts[record.name]), record.dtype) for record in RECORD_TYPES}
    block_seq_n = {name: np.repeat(np.array(seqs[name], np.int64), counts[name]) for name in tables}
    return RowsOfBlocks(tables, block_seq_n, sections)


def forecast_hashes(forecasts: Forecasts) -> ForecastHash:
    """Return the lookup `(instrument, forecast_t) -> hash` that row hashes of signals need; unknown pairs raise LookupError."""
    row_of = {t: n for n, t in enumerate(forecasts.at_t.tolist())}
    size = forecasts.rows.dtype.itemsize
    instruments = forecasts.rows.shape[1]
    rows = np.ascontiguousarray(forecasts.rows).reshape(-1).view(np.uint8).data
    digests = forecasts.feature_digests

    def lookup(instrument: int, forecast_t: int) -> bytes:
        n = row_of[forecast_t]
        if not 0 <= instrument < instruments:
            raise IndexError(instrument)
        at = (n * instruments + instrument) * size
        return forecast_hash(rows[at : at + size].tobytes(), digests[n])

    return lookup


class BadBlock(NamedTuple):
    """The first block that does not verify, and the table when rows of one table show it."""

    seq_n: int
    what: str
    table: str = ""


class VerifiedRows(NamedTuple):
    """Rows of consecutive blocks, proven by row hash, records digest and block hash.

    Attributes:
        tables, block_seq_n: as in `RowsOfBlocks`.
        row_hashes: per record type, 32 bytes per row.
    """

    tables: dict[str, Rows]
    block_seq_n: dict[str, Ints]
    row_hashes: dict[str, list[bytes]]


class ChainVerifier:
    """Follows a chain from its genesis, batch by batch.

    Args:
        genesis: hash of the genesis.
        owner: account and mode whose chain it must be.
        policy_digest: 32 bytes, parent of every signal.
        forecast: lookup of forecast hashes; see `forecast_hashes`.
    """

    def __init__(self, genesis: bytes, owner: tuple[int, int], policy_digest: bytes, forecast: ForecastHash) -> None:
        self.head = Head(0, genesis)
        self._owner = owner
        self._hasher = RowHasher(policy_digest, forecast)
        self._rows_n = {record.name: 0 for record in RECORD_TYPES}

    def follow(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        """Verify the next blocks; on a bad one, name it and stand before it."""
        found = self._attempt(blocks)
        if isinstance(found, VerifiedRows) or len(blocks) == 1:
            return found
        singles = (self._attempt([block]) for block in blocks)
        return next(single for single in singles if isinstance(single, BadBlock))

    def _attempt(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        kept = {name: len(hashes) for name, hashes in self._hasher.hashes.items()}
        found = self._check(blocks)
        if isinstance(found, BadBlock):
            for name, length in kept.items():
                del self._hasher.hashes[name][length:]
            return found
        for name, rows in found.tables.items():
            self._rows_n[name] += len(rows)
        last = blocks[-1] if blocks else None
        self.head = Head(last.seq_n, last.block_hash) if last else self.head
        return found

    def _check(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        head = self.head
        for block in blocks:
            fault = link_fault(head, block, *self._owner)
            if fault is not None:
                return BadBlock(head.seq_n + 1, fault)
            head = Head(block.seq_n, block.block_hash)
        first_n = self.head.seq_n + 1
        try:
            gathered = gather(blocks)
        except ValueError as e:
            return BadBlock(first_n, str(e))
        row_hashes = {}
        for record in RECORD_TYPES:
            rows = gathered.tables[record.name]
            what = self._owner_or_id_fault(record, rows)
            if what is not None:
                return BadBlock(first_n, what, record.name)
            try:
                row_hashes[record.name] = self._hasher.hash_rows(record, rows)
            except LookupError:
                return BadBlock(first_n, f"a row of {record.name} names a parent that does not exist", record.name)
        return _records_fault(blocks, gathered, row_hashes) or VerifiedRows(gathered.tables, gathered.block_seq_n, row_hashes)

    def _owner_or_id_fault(self, record: RecordType, rows: Rows) -> str | None:
        id_column = (record.dtype.names or ("",))[0]
        expected = self._rows_n[record.name] + 1 + np.arange(len(rows))
        if not np.array_equal(rows[id_column], expected):
            return f"the ids of {record.name} do not continue from {self._rows_n[record.name]}"
        account_id, mode_id = self._owner
        if (rows["account_id"] != account_id).any() or (rows["mode_id"] != mode_id).any():
            return f"a row of {record.name} belongs to another account or mode"
        return None


def _records_fault(blocks: Sequence[Block], gathered: RowsOfBlocks, row_hashes: dict[str, list[bytes]]) -> BadBlock | None:
    at = dict.fromkeys(row_hashes, 0)
    for block, sections in zip(blocks, gathered.sections, strict=True):
        hashes, rows_n = [], 0
        for name, count in sections:
            hashes += row_hashes[name][at[name] : at[name] + count]
            at[name] += count
            rows_n += count
        if HEADER.unpack(block.header)[5] != rows_n:
            return BadBlock(block.seq_n, f"block {block.seq_n} has {rows_n} rows, its header another number")
        if hashlib.sha256(b"".join(hashes)).digest() != block.records_digest:
            return BadBlock(block.seq_n, f"the rows of block {block.seq_n} do not match its records digest")
    return None
