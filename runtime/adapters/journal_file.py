"""The file of the embedded journal: its schema, creation, connections and lock, and SQLite's errors as ours."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.adapters.anchor import ANCHOR_NAME, full_sync, sync_folder
from runtime.core.digest import genesis_hash
from runtime.errors import BallastError, DataError, EnvironmentFailure, InvariantError, VerificationError
from runtime.files import TEMPORARY_PREFIX

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x424C5354
"""`BLST` in the file header, so that another program's database is told apart."""
BUSY_MS: Final = 2_000
SCHEMA: Final = (
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
    block_hash BLOB NOT NULL CHECK (length(block_hash) = 32),
    inputs BLOB NOT NULL
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


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a connection that reads blobs and integers only; `mode` is `ro`, `rw` or `rwc`."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")  # neither of these two reads the file
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = bytearray  # the journal holds no text: a cell that claims to be text must not pass for bytes
    return connection


def make_folder(folder: Path) -> None:
    """Make a folder that outlives a power loss: what names each new one is synced, too."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(new):
        sync_folder(place.parent)


def refuse_remains(path: Path) -> None:
    """Refuse to make a journal where there is one, or where one was: its log would flow into the new one, its anchor be lost.

    Raises:
        EnvironmentFailure: the journal, a log of it, or its anchor is there.
    """
    for found in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")), path.with_name(ANCHOR_NAME)):
        if found.exists():
            raise EnvironmentFailure(
                f"{found} exists",
                expected="no journal at this path"
                if found == path
                else f"no remains of a journal, since {path.name} is not there",
                action="open it, or choose another folder"
                if found == path
                else "restore the run from a backup, or choose another folder",
            )


def write_empty(path: Path, genesis: bytes, account_id: int, mode_id: int) -> None:
    """Write a journal without blocks beside its path and give it its name when it is whole and on the disk."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    try:
        try:
            temporary.unlink(missing_ok=True)  # of a creation that was killed: the folder's lock says that nobody is at it
            with translated(path):
                connection = connect(temporary, "rwc")
                try:
                    connection.execute("PRAGMA journal_mode = OFF")  # nothing to go back to: half a journal is thrown away
                    _write_schema(connection, genesis, account_id, mode_id)
                finally:
                    connection.close()
            fd = os.open(temporary, os.O_RDWR)
            try:
                full_sync(fd)
            finally:
                os.close(fd)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as e:
        raise cannot_open(path, e.strerror or str(e)) from e


def make_durable(path: Path, connection: sqlite3.Connection) -> None:
    """Have every commit on the disk before it returns.

    Raises:
        EnvironmentFailure: the file system cannot carry a write-ahead log.
    """
    if _journal_mode(connection) != b"wal":
        # The mode is three integers in the first sector of the file: one sector is whole or not there, and both are valid. So it
        # is changed without a rollback journal, which a crash could leave and which then locks out all readers.
        _journal_mode(connection, "MEMORY")
        if _journal_mode(connection, "WAL") != b"wal":
            raise cannot_open(path, "SQLite finds no way to keep a write-ahead log beside it")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS; nothing elsewhere
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def _journal_mode(connection: sqlite3.Connection, change: str = "") -> bytes:
    (mode,) = connection.execute(f"PRAGMA journal_mode{' = ' if change else ''}{change}").fetchone()
    return bytes(mode)


def _write_schema(connection: sqlite3.Connection, genesis: bytes, account_id: int, mode_id: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO genesis VALUES (1, ?, ?, ?, ?)", (account_id, mode_id, genesis, genesis_hash(genesis)))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def read_genesis(path: Path, connection: sqlite3.Connection) -> tuple[int, int, bytes, bytes]:
    """Return account, mode, genesis and its stored hash of a file that is a journal of this version, schema and all.

    Raises:
        DataError: it is another program's.
        EnvironmentFailure: a newer or older Ballast wrote it.
        VerificationError: its schema or genesis was changed.
    """
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
            f"{path} has journal schema {version}", expected=f"schema {SCHEMA_VERSION}",
            action="open it with the newer Ballast that wrote it",
        )  # fmt: skip
    if 0 < version < SCHEMA_VERSION:
        raise EnvironmentFailure(
            f"{path} has the older journal schema {version}", expected=f"schema {SCHEMA_VERSION}",
            action="make the run again (a backtest is computed anew from its study), or open it with the Ballast that wrote it",
        )  # fmt: skip
    columns = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    stored = {tuple(bytes(cell) if type(cell) is bytearray else cell for cell in row) for row in columns}
    if version != SCHEMA_VERSION or stored != set(map(_described, SCHEMA)):
        raise damaged(path, "its tables or append-only triggers were changed")
    row = connection.execute("SELECT account_id, mode_id, content, hash FROM genesis").fetchone()
    if row is None:
        raise damaged(path, "its genesis is missing")
    account_id, mode_id, content, stored_hash = row
    if type(content) is not bytes:
        raise damaged(path, "its genesis has a cell of the wrong type")
    return account_id, mode_id, content, stored_hash


def _described(statement: str) -> tuple[bytes, ...]:
    """Return what SQLite keeps of a CREATE statement: type, name, table, text."""
    words = statement.split()
    kind, name = words[1].lower(), words[2]
    table = name if kind == "table" else words[words.index("ON") + 1]
    return kind.encode(), name.encode(), table.encode(), statement.encode()


def fold_wal(connection: sqlite3.Connection) -> None:
    """Bring the write-ahead log into the file and remove it, unless somebody reads."""
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _journal_mode(connection, "MEMORY")  # as in `make_durable`; in the file there is only "WAL" and "no WAL"
    except sqlite3.OperationalError:
        return  # a live reader holds the WAL: its content is durable there, and the next writer folds it


def lock_folder(path: Path) -> int:
    """Take the writer's lock: on the folder, since locking the database file itself would disturb SQLite's own locks."""
    try:
        fd = os.open(path.parent, os.O_RDONLY)
    except OSError as e:
        raise cannot_open(path, e.strerror or str(e)) from e
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
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into ours; those already ours pass."""
    try:
        yield
    except BallastError:
        raise
    except UnicodeDecodeError as e:  # SQLite's message quotes bytes of a damaged schema
        raise damaged(path, "its schema is not text") from e
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
            raise cannot_open(path, f"{e} ({code})") from e
        if code.startswith("SQLITE_CONSTRAINT"):
            raise InvariantError(
                f"the journal {path} refused a block: {e}",
                expected="the next block of the chain",
                action="stop and keep the evidence",
            ) from e
        raise damaged(path, f"{e} ({code or type(e).__name__})") from e


def damaged(path: Path, what: str) -> VerificationError:
    """Return the error for a file that is not as it was written."""
    return VerificationError(
        f"the journal {path} is damaged: {what}",
        expected="the file as Ballast wrote it",
        action="keep the evidence and restore the run from a backup",
    )


def cannot_open(path: Path, why: str) -> EnvironmentFailure:
    """Return the error for a file that the system does not let us use."""
    return EnvironmentFailure(
        f"cannot use the journal {path}: {why}",
        expected="a readable file in a folder with the needed permissions and space",
        action="check permissions and disk",
    )
