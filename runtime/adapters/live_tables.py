"""Tables of a running journal in one SQLite file: what the control API reads while trading goes on.

`LiveTables.follow` takes in what the journal has beyond its own watermark (block number and hash), one transaction per batch, and
checks that every block links to the one before. The file is disposable: without it, with another chain, or with a watermark that
is not in the journal, it is built anew. Rows are the core's own, int64 with `block_seq_n` added; docs/reference/live-tables.md
lists the tables. The read side is `runtime.adapters.live_reader`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from runtime.canonical import canonical_json
from runtime.chain import link_fault
from runtime.core.codes import (
    EV_BARS,
    EV_BUNDLE,
    EV_CONTROL,
    EV_CORRECTION,
    EV_DEPOSIT,
    EV_POLICY,
    EV_RECONCILIATION,
    EV_SESSION,
    EV_WITHDRAWAL,
)
from runtime.core.digest import HEADER, Block
from runtime.core.records import BAR, FORECAST, HOUR_T, RECORD_TYPES
from runtime.errors import EnvironmentFailure, VerificationError
from runtime.event import Event
from runtime.genesis import Genesis
from runtime.ports import Head, Journal
from runtime.verify import gather

LIVE_NAME: Final = "live.sqlite"
SCHEMA_VERSION: Final = 2
"""2: `hour`, which closed hour a block of bars is of."""
BATCH_BLOCKS_N: Final = 1_000
"""Blocks per transaction: memory does not grow with the length of the journal."""
BARE_BLOCKS_N: Final = 100_000
"""Of blocks without records (quotes, heartbeats) only those among this many last blocks are kept."""
BUSY_MS: Final = 2_000
NOTED: Final = (
    EV_CONTROL, EV_DEPOSIT, EV_WITHDRAWAL, EV_CORRECTION, EV_RECONCILIATION, EV_POLICY, EV_BUNDLE, EV_SESSION,
)  # fmt: skip
"""Kinds of events that a person, or the daemon itself, made: their actor and reason are in `note`."""

FORECAST_FIELDS: Final = tuple(FORECAST.names or ())
PRICE_FIELDS: Final = tuple(name for name in BAR.names or () if name != "present_n")
INDICES: Final = (
    *(("trade_signal", f"{column}, signal_id") for column in ("instrument_id", "action_id", "gate_id", "outlook_id", "reason_id")),
    ("trade_signal", "at_t, signal_id"),
    ("risk_event", "signal_id"), ("order_request", "signal_id"), ("order_request", "order_id"), ("order_fill", "order_id"),
    ("order_fill", "instrument_id, at_t"), ("position_lot", "fill_id"), ("position_lot", "lot_id"),
    ("executed_trade", "fill_id"), ("executed_trade", "lot_id"), ("cash_ledger", "fill_id"),
    ("portfolio_hourly_state", "block_seq_n"), ("cluster_exposure_hourly_state", "portfolio_state_id"), ("forecast", "at_t"),
)  # fmt: skip


def record_columns(name: str) -> tuple[str, ...]:
    """Return the columns of a record type's table: the core's fields, then the block of the row."""
    (record,) = (r for r in RECORD_TYPES if r.name == name)
    return (*(record.dtype.names or ()), "block_seq_n")


def schema() -> list[str]:
    """Return the statements that make the empty tables."""
    made = [
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
        "CREATE TABLE instrument (instrument_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL) STRICT",
        """CREATE TABLE block (seq_n INTEGER PRIMARY KEY, at_t INTEGER NOT NULL, kind_id INTEGER NOT NULL,
    records_n INTEGER NOT NULL, block_hash BLOB NOT NULL) STRICT""",
        """CREATE TABLE note (seq_n INTEGER PRIMARY KEY, at_t INTEGER NOT NULL, kind_id INTEGER NOT NULL, switch_id INTEGER NOT NULL,
    quote_id INTEGER NOT NULL, value_n INTEGER NOT NULL, amount_e8 INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    command_id TEXT NOT NULL, body TEXT NOT NULL) STRICT""",
        """CREATE TABLE governing (seq_n INTEGER PRIMARY KEY, policy_digest TEXT NOT NULL, profile_version_n INTEGER NOT NULL,
    bundle TEXT NOT NULL) STRICT""",
        f"""CREATE TABLE forecast (instrument_id INTEGER NOT NULL, at_t INTEGER NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in FORECAST_FIELDS)}, feature_digest BLOB NOT NULL, block_seq_n INTEGER NOT NULL,
    PRIMARY KEY (instrument_id, at_t)) STRICT, WITHOUT ROWID""",
        f"""CREATE TABLE bar (instrument_id INTEGER NOT NULL, open_t INTEGER NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in PRICE_FIELDS)}, block_seq_n INTEGER NOT NULL,
    PRIMARY KEY (instrument_id, open_t)) STRICT, WITHOUT ROWID""",
        "CREATE TABLE hour (close_t INTEGER PRIMARY KEY, block_seq_n INTEGER NOT NULL) STRICT",
    ]
    for record in RECORD_TYPES:
        key, *others = record_columns(record.name)
        columns = ", ".join(f"{name} INTEGER NOT NULL" for name in others)
        made.append(f"CREATE TABLE {record.name} ({key} INTEGER PRIMARY KEY, {columns}) STRICT")
    made += [f"CREATE INDEX {table}_{n} ON {table} ({columns})" for n, (table, columns) in enumerate(INDICES)]
    return made


def _insert(table: str, columns_n: int) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * columns_n)})"  # noqa: S608  our own names


class LiveTables:
    """The writing side: one per file, used by one thread.

    Args:
        path: the file; a damaged one, or one of another version, is replaced by an empty one.

    Raises:
        EnvironmentFailure: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translated(path):
            self._connection = _open(path)

    @property
    def path(self) -> Path:
        """The file, for readers."""
        return self._path

    def watermark(self) -> Head:
        """Return the last block taken in; block 0 and no hash when there is none."""
        with _translated(self._path):
            return Head(int.from_bytes(self._meta("seq_n") or b"", "big"), self._meta("block_hash") or b"")

    def follow(self, journal: Journal) -> int:
        """Take in what the journal has beyond the watermark and return the number of blocks taken.

        Args:
            journal: opened for reading by the calling thread.

        Raises:
            VerificationError: a block does not link to the one before it.
            EnvironmentFailure: the file cannot be written.
        """
        content = journal.genesis()
        genesis = Genesis.model_validate_json(content)
        with _translated(self._path):
            try:
                return self._follow(journal, genesis)
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError):  # full, locked, read-only: not the content's fault
                    raise
                self.close()
                _remove(self._path)
                self._connection = _open(self._path)
                return self._follow(journal, genesis)

    def close(self) -> None:
        """Release the file. Closing twice is harmless."""
        self._connection.close()

    def _follow(self, journal: Journal, genesis: Genesis) -> int:
        head = self._resume(journal, genesis)
        taken_n = 0
        blocks = journal.read(head.seq_n + 1)
        while batch := list(islice(blocks, BATCH_BLOCKS_N)):
            head = self._checked(head, batch, genesis)
            with self._transaction():
                self._take(batch)
                self._set_watermark(head)
                bare = "DELETE FROM block WHERE records_n = 0 AND seq_n BETWEEN ? AND ?"
                last_n = batch[0].seq_n + len(batch) - 1 - BARE_BLOCKS_N
                self._connection.execute(bare, (last_n - len(batch) + 1, last_n))
            taken_n += len(batch)
        return taken_n

    def _resume(self, journal: Journal, genesis: Genesis) -> Head:
        """Return where to go on; begin anew when what is there is of no prefix of this journal."""
        seq_n, block_hash = self.watermark()
        stored = next(journal.read(seq_n, seq_n), None) if seq_n else None
        same = self._meta("genesis_hash") == genesis.hash
        if same and (block_hash == genesis.hash if seq_n == 0 else stored is not None and stored.block_hash == block_hash):
            return Head(seq_n, block_hash)
        head = Head(0, genesis.hash)
        with self._transaction():
            for table in _tables(self._connection):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608  our own names
            self._set_meta("schema", SCHEMA_VERSION.to_bytes(8, "big"))
            self._set_meta("genesis_hash", genesis.hash)
            self._set_watermark(head)
            self._connection.executemany(_insert("instrument", 2), list(enumerate(genesis.symbols)))
            bundle = canonical_json(genesis.bundle.model_dump(mode="json")).decode()
            self._connection.execute(_insert("governing", 4), (0, genesis.policy_digest, genesis.profile.version, bundle))
        return head

    def _checked(self, head: Head, blocks: Sequence[Block], genesis: Genesis) -> Head:
        for block in blocks:
            fault = link_fault(head, block, genesis.account_id, genesis.mode_id)
            if fault is not None:
                raise VerificationError(
                    f"the journal does not link: {fault}",
                    expected="an unbroken chain",
                    action="keep the evidence and run `ballast replay` on the run",
                )
            head = Head(block.seq_n, block.block_hash)
        return head

    def _take(self, blocks: Sequence[Block]) -> None:
        write = self._connection.executemany
        rows = [(b.seq_n, b.at_t, b.kind_id, HEADER.unpack(b.header)[5], b.block_hash) for b in blocks]
        write(_insert("block", 5), rows)
        found = gather(blocks)
        for name, table in found.tables.items():
            if len(table):
                seq_n = found.block_seq_n[name].tolist()
                columns_n = len(record_columns(name))
                write(_insert(name, columns_n), [(*row, n) for row, n in zip(table.tolist(), seq_n, strict=True)])
        for block in blocks:
            if block.kind_id == EV_BARS and block.inputs:
                self._take_bars(block.seq_n, Event.decode(block.inputs))
            elif block.kind_id in NOTED and block.inputs:
                self._take_note(block.seq_n, Event.decode(block.inputs))

    def _take_bars(self, seq_n: int, event: Event) -> None:
        open_t, at_t = int(event.record[0]["value_n"]), int(event.record[0]["at_t"])
        # the rows' own times are those of the block: after an outage every hour that is caught up with has the same
        self._connection.execute(_insert("hour", 2), (open_t + HOUR_T, seq_n))
        if event.bars is not None:
            present = np.flatnonzero(event.bars["present_n"])
            columns = [event.bars[name][present].tolist() for name in PRICE_FIELDS]
            rows = [(s, open_t, *values, seq_n) for s, *values in zip(present.tolist(), *columns, strict=True)]
            self._connection.executemany(_insert("bar", len(PRICE_FIELDS) + 3), rows)
        if event.forecasts is not None:
            valid = np.flatnonzero(event.forecasts["valid_n"])
            made = zip(valid.tolist(), event.forecasts[valid].tolist(), strict=True)
            said = [(s, at_t, *values, event.feature_digest, seq_n) for s, values in made]
            self._connection.executemany(_insert("forecast", len(FORECAST_FIELDS) + 4), said)

    def _take_note(self, seq_n: int, event: Event) -> None:
        record, note = event.record[0], event.note_of()
        kind_id = int(record["kind_id"])
        switch_id = int(record["instrument_id"]) if kind_id == EV_CONTROL else 0
        numbers = (int(record["quote_id"]), int(record["value_n"]), int(record["amount_e8"]))
        texts = ("", "", "", "{}")
        if note is not None:
            body = note.profile or note.bundle or note.session
            content = canonical_json(body.model_dump(mode="json")).decode() if body is not None else "{}"
            texts = (note.actor, note.reason, note.command_id, content)
        place = (seq_n, int(record["at_t"]), kind_id, switch_id)
        self._connection.execute(_insert("note", 11), (*place, *numbers, *texts))
        if note is not None and (note.profile is not None or note.bundle is not None):
            last = "SELECT policy_digest, profile_version_n, bundle FROM governing ORDER BY seq_n DESC LIMIT 1"
            policy_digest, version_n, bundle = self._connection.execute(last).fetchone()
            if note.profile is not None:
                policy_digest, version_n = note.profile.policy_digest, int(record["value_n"])
            else:
                bundle = texts[3]
            self._connection.execute(_insert("governing", 4), (seq_n, policy_digest, version_n, bundle))

    def _meta(self, name: str) -> bytes | None:
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row is not None else None

    def _set_meta(self, name: str, value: bytes) -> None:
        self._connection.execute(_insert("meta", 2), (name, value))

    def _set_watermark(self, head: Head) -> None:
        self._set_meta("seq_n", head.seq_n.to_bytes(8, "big"))
        self._set_meta("block_hash", head.block_hash)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [str(row[0]) for row in found.fetchall()]


def _open(path: Path) -> sqlite3.Connection:
    """Open the file, made anew when it is damaged or of another version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _connect(path)
        try:
            if not _tables(connection):
                _make(connection)
                return connection
            row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            if row is None or bytes(row[0]) == SCHEMA_VERSION.to_bytes(8, "big"):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
    except sqlite3.DatabaseError as e:
        if isinstance(e, sqlite3.OperationalError) and "no such table" not in str(e):
            raise
    _remove(path)
    connection = _connect(path)
    _make(connection)
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL loses the last transactions in a power failure and never the order of any: the journal has them all
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema():
        connection.execute(statement)
    connection.execute("COMMIT")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as e:
        raise EnvironmentFailure(
            f"the live tables {path} cannot be written: {e}",
            expected="a writable file on a disk with free space",
            action="check permissions and disk; the file may be deleted, it is rebuilt from the journal",
        ) from e
