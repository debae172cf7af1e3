"""The embedded journal: one SQLite file in WAL mode, `synchronous=FULL`, that only ever grows.

- Triggers refuse UPDATE and DELETE, and an INSERT that is not the next block (which also stops INSERT OR REPLACE).
- One process writes at a time: a writer holds a lock on the journal's folder. Others read live (`writable=False`).
- Commit first, then anchor (`adapters/anchor.py`): an anchor ahead of the journal means blocks were cut off.
- A writer that closes leaves one plain file (no `-wal`, no `-shm`), readable from a read-only folder.

The triggers stop mistakes; a person with the file can drop them. What such a person does is found by the chain, the
anchor and replay.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from runtime.adapters.anchor import ANCHOR_NAME, Anchor, read_anchor, write_anchor
from runtime.adapters.journal_file import (
    cannot_open,
    connect,
    damaged,
    fold_wal,
    lock_folder,
    make_durable,
    make_folder,
    read_genesis,
    refuse_remains,
    translated,
    write_empty,
)
from runtime.chain import check_links
from runtime.core.digest import Block, genesis_hash
from runtime.errors import DataError, InvariantError, VerificationError
from runtime.home import RUN_JOURNAL
from runtime.ports import Head

JOURNAL_NAME: Final = RUN_JOURNAL
READ_ROWS_N: Final = 1_000

_COLUMNS: Final = ", ".join(Block._fields)
_INSERT: Final = f"INSERT INTO block ({_COLUMNS}) VALUES ({', '.join('?' * len(Block._fields))})"  # noqa: S608  our own column names
_SELECT: Final = f"SELECT {_COLUMNS} FROM block WHERE seq_n BETWEEN ? AND ? ORDER BY seq_n"  # noqa: S608  see above


class SqliteJournal:
    """The chain of blocks of one account and mode in one SQLite file. Make it with `create` or `open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock_fd: int | None) -> None:
        self._path = path
        self._connection = connection
        self._lock_fd = lock_fd
        self._closed = False
        with translated(path):
            account_id, mode_id, self._genesis, stored_hash = read_genesis(path, connection)
        self._owner = (account_id, mode_id)
        self._genesis_hash = genesis_hash(self._genesis)
        if stored_hash != self._genesis_hash:
            raise damaged(path, "its genesis does not match its own hash")
        self._head = self._stored_head()

    @classmethod
    def create(cls, path: Path, genesis: bytes, *, account_id: int, mode_id: int) -> SqliteJournal:
        """Create an empty journal, open for writing, and its anchor (`head.json` beside it).

        A crash in the middle leaves no journal, or a whole empty one; what it left beside is cleared by the next creation.

        Args:
            path: the file to make; its folder is made when missing.
            genesis: canonical JSON of the genesis; its hash is what block 1 names as predecessor.
            account_id: whose chain this is; blocks of another account are refused.
            mode_id: backtest, paper or live; blocks of another mode are refused.

        Raises:
            EnvironmentFailure: the file exists, or what belongs to one (its anchor, its write-ahead log) is there without it; the
                folder cannot be written, or another process writes in it.
        """
        try:
            make_folder(path.parent)
        except OSError as e:
            raise cannot_open(path, e.strerror or str(e)) from e
        lock_fd = lock_folder(path)
        try:
            refuse_remains(path)
            write_empty(path, genesis, account_id, mode_id)
            try:
                with translated(path):
                    connection = connect(path, "rw")
                try:
                    with translated(path):
                        make_durable(path, connection)
                    journal = cls(path, connection, lock_fd)
                    journal._write_anchor()
                except BaseException:
                    connection.close()
                    raise
            except BaseException:
                path.unlink()
                path.with_name(ANCHOR_NAME).unlink(missing_ok=True)
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
        lock_fd = lock_folder(path) if writable else None
        try:
            # The anchor is read before the journal: a live writer commits first, so the journal is never behind it.
            anchor = read_anchor(path.with_name(ANCHOR_NAME))
            with translated(path):
                connection = connect(path, "rw" if writable else "ro")
            try:
                journal = cls(path, connection, lock_fd)
                journal._check_anchor(anchor)
                if writable:
                    with translated(path):
                        make_durable(path, connection)
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
        with translated(self._path):
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
        with translated(self._path):
            rows = self._connection.execute(_SELECT, (first_n, 2**63 - 1 if last_n is None else last_n))
            try:
                while batch := rows.fetchmany(READ_ROWS_N):
                    yield from map(Block._make, batch)
            finally:
                if not self._closed:  # closing a connection ends its rows; what Ctrl-C left half read is thrown away after that
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
                with translated(self._path):
                    fold_wal(self._connection)
        finally:
            self._connection.close()
            if self._lock_fd is not None:
                os.close(self._lock_fd)

    def _stored_head(self) -> Head:
        with translated(self._path):
            row = self._connection.execute("SELECT seq_n, block_hash FROM block ORDER BY seq_n DESC LIMIT 1").fetchone()
        if row is None:
            return Head(0, self._genesis_hash)
        head = Head(*row)
        if type(head.seq_n) is not int or type(head.block_hash) is not bytes:
            raise damaged(self._path, "its last block has a cell of the wrong type")
        return head

    def _write_anchor(self) -> None:
        write_anchor(self._path.with_name(ANCHOR_NAME), Anchor(self._genesis_hash, self._head))

    def _check_anchor(self, anchor: Anchor | None) -> None:
        if anchor is None:
            if self._head.seq_n > 0:
                raise damaged(self._path, f"its anchor {ANCHOR_NAME} is missing")
            return
        if anchor.genesis_hash != self._genesis_hash:
            raise damaged(self._path, "its anchor belongs to another chain (genesis differs)")
        if anchor.head.seq_n > self._head.seq_n:
            raise TruncatedJournal(
                f"the journal {self._path} ends at block {self._head.seq_n}, its anchor at block {anchor.head.seq_n}",
                expected="every anchored block in the journal",
                action="keep the evidence and restore the run from a backup; blocks were cut off",
            )
        expected = self._genesis_hash
        if anchor.head.seq_n > 0:
            with translated(self._path):
                row = self._connection.execute("SELECT block_hash FROM block WHERE seq_n = ?", (anchor.head.seq_n,)).fetchone()
            expected = row[0] if row else b""
        if anchor.head.block_hash != expected:
            raise ReplacedBlock(
                f"the journal {self._path} is damaged: block {anchor.head.seq_n} is not the block its anchor names",
                expected="the file and its anchor as Ballast wrote them",
                action="keep the evidence and restore the run from a backup",
                seq_n=anchor.head.seq_n,
            )


class TruncatedJournal(VerificationError):
    """The anchor knows blocks that the journal no longer has."""

    kind = "truncated journal"


class ReplacedBlock(VerificationError):
    """A block is not the one that the anchor names: one of the two was changed."""

    kind = "chain break"

    def __init__(self, got: str, *, expected: str, action: str, seq_n: int = 0) -> None:
        super().__init__(got, expected=expected, action=action)
        self.seq_n = seq_n
