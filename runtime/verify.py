"""Verifies stored blocks without running the core: bytes -> row hashes -> records digest -> block hash -> head.

Blocks are taken in batches, since hashing row by row of one type is several times faster than block by block. A batch
that does not verify is taken again block by block to name the first bad one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.chain import link_fault
from runtime.core.codes import EV_POLICY, MODE_BACKTEST
from runtime.core.digest import HEADER, SECTION, Block, ForecastHash, RowHasher, forecast_hash
from runtime.core.records import FORECAST, INSTRUMENTS, RECORD_TYPES, RecordType
from runtime.event import Event
from runtime.inference.bundle import ForecastTable
from runtime.policy import RiskProfile
from runtime.ports import Head

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]

FORECAST_WINDOW_N: Final = 512
"""Forecast times whose rows a lookup reads at once."""


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
    for seq_n, _, _, _, _, payload, _, _, _ in blocks:
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


def forecast_hashes(forecasts: ForecastTable) -> ForecastHash:
    """Return the lookup `(instrument, forecast_t) -> hash` that row hashes of signals need; unknown pairs raise LookupError."""
    return _ForecastHashes(forecasts)


class _ForecastHashes:
    """Looks up forecasts through a window, since signals name them in the order of time, but for a few."""

    def __init__(self, forecasts: ForecastTable) -> None:
        self._forecasts = forecasts
        self._places: dict[int, tuple[bytes, int, bytes]] = {}  # by time: rows of a window, where in it, feature digest

    def __call__(self, instrument: int, forecast_t: int) -> bytes:
        data, at, digest = self._places.get(forecast_t) or self._load(forecast_t)
        if not 0 <= instrument < INSTRUMENTS:
            raise IndexError(instrument)
        at += instrument * FORECAST.itemsize
        return forecast_hash(data[at : at + FORECAST.itemsize], digest)

    def _load(self, forecast_t: int) -> tuple[bytes, int, bytes]:
        forecasts = self._forecasts
        n = int(np.searchsorted(forecasts.at_t, forecast_t))
        if n == len(forecasts.at_t) or forecasts.at_t[n] != forecast_t:
            raise KeyError(forecast_t)
        window = slice(n - n % FORECAST_WINDOW_N, n - n % FORECAST_WINDOW_N + FORECAST_WINDOW_N)
        times = forecasts.at_t[window].tolist()
        data = forecasts.rows[window].tobytes()
        if len(self._places) > 2 * FORECAST_WINDOW_N:
            self._places.clear()
        width = INSTRUMENTS * FORECAST.itemsize
        digests = forecasts.feature_digests[window]
        self._places.update((t, (data, i * width, digests[i])) for i, t in enumerate(times))
        return self._places[forecast_t]


class JournaledForecasts:
    """The same lookup over a chain that carries its forecasts: what came last for each instrument is what a signal can name."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], bytes] = {}
        self._last: dict[int, tuple[int, int]] = {}

    def __call__(self, instrument: int, forecast_t: int) -> bytes:
        """Return the hash of an instrument's forecast of a time; raise `KeyError` when it is not the last one taken."""
        return self.known[instrument, forecast_t]

    def take(self, at_t: int, rows: Rows, feature_digest: bytes) -> None:
        """Take in the forecasts FORECAST [INSTRUMENTS] that came with an event."""
        for i in np.flatnonzero(rows["valid_n"]).tolist():
            self.known[i, at_t] = forecast_hash(rows[i].tobytes(), feature_digest)
            self._last[i] = (i, at_t)

    def restore(self, known: dict[tuple[int, int], bytes]) -> None:
        """Go on from a place in the chain: the hashes of the last forecasts by (instrument, time)."""
        self.known = dict(known)
        self._last = {i: (i, t) for i, t in known}

    def settle(self) -> None:
        """Forget what no later row can name."""
        if len(self.known) == len(self._last):
            return
        self.known = {key: self.known[key] for key in self._last.values()}


def governed_by(event: Event) -> RiskProfile:
    """Return the profile of a POLICY event.

    Raises:
        ValueError: there is none, or its digest is not its own.
    """
    note = event.note_of()
    if note is None or note.profile is None:
        raise ValueError("a change of policy without a profile")
    version = note.profile
    if version.policy_digest != version.profile.digest or version.entry_digest != version.computed_digest():
        raise ValueError("a profile whose digests are not its own")
    return version.profile


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
    """Follows a chain from its genesis, batch by batch; what it remembers does not grow with the chain.

    A row names a parent in its own batch, or one of the few older rows that the core can still name (`RowHasher`).

    Args:
        genesis: hash of the genesis.
        owner: account and mode whose chain it must be.
        policy_digest: 32 bytes, parent of every signal.
        forecast: lookup of forecast hashes; see `forecast_hashes`. A paper or live chain carries its own: `JournaledForecasts`.
    """

    def __init__(self, genesis: bytes, owner: tuple[int, int], policy_digest: bytes, forecast: ForecastHash) -> None:
        self.head = Head(0, genesis)
        self._owner = owner
        self._forecasts = forecast if isinstance(forecast, JournaledForecasts) else None
        self._hasher = RowHasher(policy_digest, forecast)
        self._rows_n = {record.name: 0 for record in RECORD_TYPES}

    @property
    def policy_digest(self) -> bytes:
        """Digest of the profile that governed the last verified block, 32 bytes."""
        return self._hasher.policy_digest

    def follow(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        """Verify the next blocks; on a bad one, name it and stand before it."""
        if self._owner[1] != MODE_BACKTEST:
            return self._follow_live(blocks)
        return self._follow(blocks)

    def _follow_live(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        """Verify stretches that one profile governs each, with the forecasts that the blocks carry."""
        starts = [0, *(i for i, block in enumerate(blocks) if block.kind_id == EV_POLICY and i > 0), len(blocks)]
        found = []
        for first, stop in pairwise(starts):
            part = blocks[first:stop]
            fault = self._take_inputs(part)
            verified = self._follow(part)  # a broken link is named before what it carries
            if isinstance(verified, BadBlock):
                return verified
            if fault is not None:
                return fault
            if self._forecasts is not None:
                self._forecasts.settle()
            found.append(verified)
        return _joined(found)

    def _take_inputs(self, blocks: Sequence[Block]) -> BadBlock | None:
        """Take the forecasts and the policy that blocks carry, up to the first that carries no event."""
        for block in blocks:
            try:
                event = Event.decode(block.inputs)
                if event.kind_id == EV_POLICY:
                    self._hasher.policy_digest = bytes.fromhex(governed_by(event).digest)
            except (ValueError, TypeError) as e:
                return BadBlock(self.head.seq_n + 1, f"block {block.seq_n!r:.32} carries no event: {e}")
            if (event.kind_id, event.at_t) != (block.kind_id, block.at_t):
                return BadBlock(self.head.seq_n + 1, f"block {block.seq_n!r:.32} carries an event of another kind or time")
            if event.forecasts is not None and self._forecasts is not None:
                self._forecasts.take(event.at_t, event.forecasts, event.feature_digest)
        return None

    def _follow(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        found = self._attempt(blocks)
        if isinstance(found, VerifiedRows) or len(blocks) == 1:
            return found
        singles = (self._attempt([block]) for block in blocks)
        return next(single for single in singles if isinstance(single, BadBlock))

    def _attempt(self, blocks: Sequence[Block]) -> VerifiedRows | BadBlock:
        hasher = self._hasher.copy()
        found = self._check(blocks, hasher)
        if isinstance(found, BadBlock):
            return found
        hasher.settle()
        self._hasher = hasher
        for name, rows in found.tables.items():
            self._rows_n[name] += len(rows)
        last = blocks[-1] if blocks else None
        self.head = Head(last.seq_n, last.block_hash) if last else self.head
        return found

    def _check(self, blocks: Sequence[Block], hasher: RowHasher) -> VerifiedRows | BadBlock:
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
                row_hashes[record.name] = hasher.hash_rows(record, rows)
            except LookupError:
                return BadBlock(
                    first_n,
                    f"a row of {record.name} names a parent that does not exist, or none that a row can still name",
                    record.name,
                )
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


def _joined(parts: Sequence[VerifiedRows]) -> VerifiedRows:
    """Return the rows of consecutive stretches as one."""
    if len(parts) == 1:
        return parts[0]
    names = [record.name for record in RECORD_TYPES]
    none = np.zeros(0, np.int64)
    return VerifiedRows(
        {r.name: np.concatenate([np.zeros(0, r.dtype), *(part.tables[r.name] for part in parts)]) for r in RECORD_TYPES},
        {name: np.concatenate([none, *(part.block_seq_n[name] for part in parts)]) for name in names},
        {name: [row_hash for part in parts for row_hash in part.row_hashes[name]] for name in names},
    )


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
