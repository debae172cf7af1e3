"""The embedded journal: one SQLite file in WAL mode, `synchronous=FULL`, that only ever grows.

- Triggers refuse UPDATE and DELETE, and an INSERT that is not the next block (which also stops INSERT OR REPLACE).
- One process writes at a time: a writer holds a lock on the journal's folder. Others read live (`writable=False`).
- Commit first, then anchor (`adapters/anchor.py`): an anchor ahead of the journal means blocks were cut off.
- A writer that closes leaves one plain file (no `-wal`, no `-shm`), readable from a read-only folder.

The triggers stop mistakes; a person with the file can drop them. What such a person does is found by the chain, the
anchor and replay.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.adapters.anchor import ANCHOR_NAME, Anchor, read_anchor, write_anchor
from runtime.chain import check_links
from runtime.core.digest import Block, genesis_hash
from runtime.errors import BallastError, DataError, EnvironmentFailure, InvariantError, VerificationError
from runtime.home import RUN_JOURNAL
from runtime.ports import Head

JOURNAL_NAME: Final = RUN_JOURNAL
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x424C5354
"""`BLST` in the file header, so that another program's database is told apart."""
BUSY_MS: Final = 2_000
READ_ROWS_N: Final = 1_000

_COLUMNS: Final = ", ".join(Block._fields)
_INSERT: Final = f"INSERT INTO block ({_COLUMNS}) VALUES ({', '.join('?' * len(Block._fields))})"  # noqa: S608  our own column names
_SELECT: Final = f"SELECT {_COLUMNS} FROM block WHERE seq_n BETWEEN ? AND ? ORDER BY seq_n"  # noqa: S608  see above
_SCHEMA: Final = (
    """CREATE TABLE genesis (
    row_n INTEGER PRIMARY KEY CHECK (row_n = 1),
    account_id INTEGER NOT NULL,
    mode_id INTEGER NOT NULL,
    content BLOB NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT""",
    """CREATE TABLE block (
    seq_n INTEGER PRIMARY KEY CHECK (seq_n >= 1),
    at_t INTEGER NOT NULL,
    kind_id INTEGER NOT NULL,
    header BLOB NOT NULL CHECK (length(header) = 48),
    inputs_digest BLOB NOT NULL CHECK (length(inputs_digest) = 32),
    payload BLOB NOT NULL,
    records_digest BLOB NOT NULL CHECK (length(records_digest) = 32),
    block_hash BLOB NOT NULL CHECK (length(block_hash) = 32)
) STRICT""",
    *(
        f"""CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""
        for table in ("genesis", "block")
        for verb in ("update", "delete")
    ),
    """CREATE TRIGGER block_continues BEFORE INSERT ON block
WHEN new.seq_n IS NOT coalesce((SELECT max(seq_n) FROM block), 0) + 1
BEGIN SELECT RAISE(ABORT, 'not the next block'); END""",
    """CREATE TRIGGER genesis_is_one BEFORE INSERT ON genesis WHEN (SELECT count(*) FROM genesis) > 0
BEGIN SELECT RAISE(ABORT, 'genesis is written once'); END""",
)


class SqliteJournal:
    """The chain of blocks of one account and mode in one SQLite file. Make it with `create` or `open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock_fd: int | None) -> None:
        self._path = path
        self._connection = connection
        self._lock_fd = lock_fd
        self._closed = False
        with _translated(path):
            account_id, mode_id, self._genesis, stored_hash = _read_genesis(path, connection)
        self._owner = (account_id, mode_id)
        self._genesis_hash = genesis_hash(self._genesis)
        if stored_hash != self._genesis_hash:
            raise _damaged(path, "its genesis does not match its own hash")
        self._head = self._stored_head()

    @classmethod
    def create(cls, path: Path, genesis: bytes, *, account_id: int, mode_id: int) -> SqliteJournal:
        """Create an empty journal, open for writing, and its anchor (`head.json` beside it).

        Args:
            path: the file to make; its folder is made when missing.
            genesis: canonical JSON of the genesis; its hash is what block 1 names as predecessor.
            account_id: whose chain this is; blocks of another account are refused.
            mode_id: backtest, paper or live; blocks of another mode are refused.

        Raises:
            EnvironmentFailure: the file exists, the folder cannot be written, or another process writes in it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise _cannot_open(path, e.strerror or str(e)) from e
        lock_fd = _lock_folder(path)
        try:
            if path.exists():
                raise EnvironmentFailure(
                    f"{path} exists", expected="no journal at this path", action="open it, or choose another folder"
                )
            with _translated(path):
                connection = _connect(path, "rwc")
            try:
                with _translated(path):
                    _make_durable(connection)
                    _write_schema(connection, genesis, account_id, mode_id)
                journal = cls(path, connection, lock_fd)
                journal._write_anchor()
            except BaseException:
                connection.close()
                path.unlink()
                raise
        except BaseException:
            os.close(lock_fd)
            raise
        return journal

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> SqliteJournal:
        """Open a journal and compare it with its anchor.

        Args:
            path: the file.
            writable: take the writer's lock; without it the file is only read, also while another process writes.

        Raises:
            DataError: there is no such file, or it is not a Ballast journal.
            EnvironmentFailure: locked, unreadable, or written by a newer Ballast.
            VerificationError: damaged, or the anchor shows that blocks are missing or were replaced.
        """
        if not path.is_file():
            raise DataError(
                f"no journal at {path}", expected="a run folder with journal.sqlite", action="list the runs with `ballast runs`"
            )
        lock_fd = _lock_folder(path) if writable else None
        try:
            # The anchor is read before the journal: a live writer commits first, so the journal is never behind it.
            anchor = read_anchor(path.with_name(ANCHOR_NAME))
            with _translated(path):
                connection = _connect(path, "rw" if writable else "ro")
            try:
                journal = cls(path, connection, lock_fd)
                journal._check_anchor(anchor)
                if writable:
                    with _translated(path):
                        _make_durable(connection)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if lock_fd is not None:
                os.close(lock_fd)
            raise
        return journal

    @property
    def owner(self) -> tuple[int, int]:
        """Account and mode of the chain."""
        return self._owner

    def append(self, blocks: Sequence[Block]) -> None:
        """Write blocks that continue the chain in one transaction, then the anchor; durable on return.

        A failing anchor is raised although the blocks are durable: `head()` tells, and the next append or open mends it.
        """
        if self._lock_fd is None:
            raise InvariantError(
                f"{self._path} is open for reading",
                expected="a journal opened with writable=True",
                action="open it for writing",
            )
        if not blocks:
            return
        head = check_links(self._head, blocks, self._owner)
        with _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, blocks)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        self._head = head
        self._write_anchor()

    def head(self) -> Head:
        """Return the last durable block; a reader sees what another process committed meanwhile."""
        return self._head if self._lock_fd is not None else self._stored_head()

    def read(self, first_n: int = 1, last_n: int | None = None) -> Iterator[Block]:
        """Yield the blocks `first_n .. last_n` as stored; what a writer added since is included when `last_n` is `None`."""
        with _translated(self._path):
            rows = self._connection.execute(_SELECT, (first_n, 2**63 - 1 if last_n is None else last_n))
            try:
                while batch := rows.fetchmany(READ_ROWS_N):
                    yield from map(Block._make, batch)
            finally:
                rows.close()

    def genesis(self) -> bytes:
        """Return the canonical JSON that the chain starts from."""
        return self._genesis

    def close(self) -> None:
        """Release the file and the lock; a writer folds the WAL back into the file first."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._lock_fd is not None:
                with _translated(self._path):
                    _fold_wal(self._connection)
        finally:
            self._connection.close()
            if self._lock_fd is not None:
                os.close(self._lock_fd)

    def _stored_head(self) -> Head:
        with _translated(self._path):
            row = self._connection.execute("SELECT seq_n, block_hash FROM block ORDER BY seq_n DESC LIMIT 1").fetchone()
        if row is None:
            return Head(0, self._genesis_hash)
        head = Head(*row)
        if type(head.seq_n) is not int or type(head.block_hash) is not bytes:
            raise _damaged(self._path, "its last block has a cell of the wrong type")
        return head

    def _write_anchor(self) -> None:
        write_anchor(self._path.with_name(ANCHOR_NAME), Anchor(self._genesis_hash, self._head))

    def _check_anchor(self, anchor: Anchor | None) -> None:
        if anchor is None:
            if self._head.seq_n > 0:
                raise _damaged(self._path, f"its anchor {ANCHOR_NAME} is missing")
            return
        if anchor.genesis_hash != self._genesis_hash:
            raise _damaged(self._path, "its anchor belongs to another chain (genesis differs)")
        if anchor.head.seq_n > self._head.seq_n:
            raise TruncatedJournal(
                f"the journal {self._path} ends at block {self._head.seq_n}, its anchor at block {anchor.head.seq_n}",
                expected="every anchored block in the journal",
                action="keep the evidence and restore the run from a backup; blocks were cut off",
            )
        expected = self._genesis_hash
        if anchor.head.seq_n > 0:
            with _translated(self._path):
                row = self._connection.execute("SELECT block_hash FROM block WHERE seq_n = ?", (anchor.head.seq_n,)).fetchone()
            expected = row[0] if row else b""
        if anchor.head.block_hash != expected:
            raise _damaged(self._path, f"block {anchor.head.seq_n} is not the block its anchor names")


class TruncatedJournal(VerificationError):
    """The anchor knows blocks that the journal no longer has."""

    kind = "truncated journal"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")  # neither of these two reads the file
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = bytearray  # the journal holds no text: a cell that claims to be text must not pass for bytes
    return connection


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS; nothing elsewhere
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def _write_schema(connection: sqlite3.Connection, genesis: bytes, account_id: int, mode_id: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO genesis VALUES (1, ?, ?, ?, ?)", (account_id, mode_id, genesis, genesis_hash(genesis)))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _read_genesis(path: Path, connection: sqlite3.Connection) -> tuple[int, int, bytes, bytes]:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise DataError(
            f"{path} is not a Ballast journal (application id {application_id:#x})",
            expected=f"a SQLite file with application id {APPLICATION_ID:#x}",
            action="choose the journal.sqlite of a run",
        )
    if version > SCHEMA_VERSION:
        raise EnvironmentFailure(
            f"{path} has journal schema {version}", expected=f"schema {SCHEMA_VERSION} or older",
            action="open it with the newer Ballast that wrote it",
        )  # fmt: skip
    stored = {bytes(sql) for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
    if version != SCHEMA_VERSION or stored != {statement.encode() for statement in _SCHEMA}:
        raise _damaged(path, "its tables or append-only triggers were changed")
    row = connection.execute("SELECT account_id, mode_id, content, hash FROM genesis").fetchone()
    if row is None:
        raise _damaged(path, "its genesis is missing")
    account_id, mode_id, content, stored_hash = row
    if type(content) is not bytes:
        raise _damaged(path, "its genesis has a cell of the wrong type")
    return account_id, mode_id, content, stored_hash


def _fold_wal(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError:
        return  # a live reader holds the WAL: its content is durable there, and the next writer folds it


def _lock_folder(path: Path) -> int:
    """Take the writer's lock: on the folder, since locking the database file itself would disturb SQLite's own locks."""
    try:
        fd = os.open(path.parent, os.O_RDONLY)
    except OSError as e:
        raise _cannot_open(path, e.strerror or str(e)) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise EnvironmentFailure(
            f"the journal {path} is locked: another process writes it",
            expected="one writer",
            action="stop the other process, or open the journal for reading",
        ) from e
    return fd


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into ours; those already ours pass."""
    try:
        yield
    except BallastError:
        raise
    except UnicodeDecodeError as e:  # SQLite's message quotes bytes of a damaged schema
        raise _damaged(path, "its schema is not text") from e
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorname", "") or ""
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise EnvironmentFailure(
                f"the journal {path} is locked by another program", expected="a lock that clears within two seconds",
                action="close the other program and repeat",
            ) from e  # fmt: skip
        if code.startswith("SQLITE_NOTADB"):
            raise DataError(
                f"{path} is not a SQLite file", expected="the journal.sqlite of a run", action="restore the run from a backup"
            ) from e
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")):
            raise _cannot_open(path, f"{e} ({code})") from e
        if code.startswith("SQLITE_CONSTRAINT"):
            raise InvariantError(
                f"the journal {path} refused a block: {e}",
                expected="the next block of the chain",
                action="stop and keep the evidence",
            ) from e
        raise _damaged(path, f"{e} ({code or type(e).__name__})") from e


def _damaged(path: Path, what: str) -> VerificationError:
    return VerificationError(
        f"the journal {path} is damaged: {what}",
        expected="the file as Ballast wrote it",
        action="keep the evidence and restore the run from a backup",
    )


def _cannot_open(path: Path, why: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"cannot use the journal {path}: {why}",
        expected="a readable file in a folder with the needed permissions and space",
        action="check permissions and disk",
    )
