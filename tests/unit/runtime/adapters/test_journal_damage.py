"""Opening a journal that is not as it was written: one clear, typed error each."""

from __future__ import annotations

import os
import resource
import sqlite3
from pathlib import Path

import pytest

from runtime.adapters.anchor import ANCHOR_NAME, Anchor, write_anchor
from runtime.adapters.journal_file import SCHEMA, SCHEMA_VERSION, make_durable
from runtime.adapters.journal_sqlite import SqliteJournal, TruncatedJournal
from runtime.errors import DataError, EnvironmentFailure, VerificationError
from runtime.ports import Head
from tests.support.blocks import GENESIS
from tests.support.forge import forge, meddle
from tests.support.journals import BLOCKS, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.sqlite"


def test_a_missing_journal(path: Path) -> None:
    with pytest.raises(DataError, match="no journal at"):
        SqliteJournal.open(path)
    with pytest.raises(DataError, match="no journal at"):
        SqliteJournal.open(path, writable=True)


def test_create_refuses_an_existing_journal(path: Path) -> None:
    written(path)
    with pytest.raises(EnvironmentFailure, match="exists"):
        SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    reader = SqliteJournal.open(path)
    assert reader.head().seq_n == 12
    reader.close()


def test_create_in_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFailure, match="cannot use the journal"):
        SqliteJournal.create(tmp_path / "file" / "journal.sqlite", GENESIS, account_id=1, mode_id=1)


@pytest.mark.parametrize(("content", "message"), [(b"", "not a Ballast journal"), (b"no database" * 99, "not a SQLite file")])
def test_another_kind_of_file(path: Path, content: bytes, message: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for writable in (False, True):
        with pytest.raises(DataError, match=message):
            SqliteJournal.open(path, writable=writable)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    meddle(path, "CREATE TABLE other (x)")
    content = path.read_bytes()
    for writable in (False, True):
        with pytest.raises(DataError, match="not a Ballast journal"):
            SqliteJournal.open(path, writable=writable)
    assert path.read_bytes() == content


def test_a_newer_schema(path: Path) -> None:
    written(path)
    meddle(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(EnvironmentFailure, match=f"schema {SCHEMA_VERSION + 1}"):
        SqliteJournal.open(path)


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["DROP TRIGGER block_refuses_update"], "triggers were changed"),
        (["CREATE TABLE more (x)"], "triggers were changed"),
        (["PRAGMA user_version = 0"], "triggers were changed"),
    ],
)
def test_a_changed_schema(path: Path, statements: list[str], message: str) -> None:
    written(path)
    meddle(path, *statements)
    with pytest.raises(VerificationError, match=message):
        SqliteJournal.open(path)


@pytest.mark.parametrize("change", ["name = 'other'", "type = 'view'", "tbl_name = 'genesis'", "sql = NULL"])
def test_a_schema_whose_texts_are_whole_and_whose_names_are_not(path: Path, change: str) -> None:
    written(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"UPDATE sqlite_schema SET {change} WHERE name = 'block_refuses_update'")
    connection.close()
    with pytest.raises(VerificationError, match="damaged"):
        SqliteJournal.open(path)


def test_a_file_system_without_a_write_ahead_log_is_refused(path: Path) -> None:
    """Without a log, and with the rollback journal in memory, a crash would leave half a block."""
    path.parent.mkdir()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rwc&vfs=unix-none", uri=True, isolation_level=None)
    connection.text_factory = bytearray
    with pytest.raises(EnvironmentFailure, match="write-ahead log"):
        make_durable(path, connection)
    connection.close()


def test_a_journal_cut_off_at_its_end_is_found_by_the_anchor(path: Path) -> None:
    written(path)
    forge(path, "DELETE FROM block WHERE seq_n > 7")
    for writable in (False, True):
        with pytest.raises(TruncatedJournal, match="ends at block 7, its anchor at block 12"):
            SqliteJournal.open(path, writable=writable)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE block SET block_hash = zeroblob(32) WHERE seq_n = 12", "block 12 is not the block its anchor names"),
        ("UPDATE genesis SET content = x'7b7d'", "genesis does not match its own hash"),
        ("DELETE FROM genesis", "genesis is missing"),
    ],
)
def test_forged_rows_at_the_ends_are_found_when_opening(path: Path, statement: str, message: str) -> None:
    written(path)
    forge(path, statement)
    with pytest.raises(VerificationError, match=message):
        SqliteJournal.open(path)


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [("block", "block_hash", "last block has a cell"), ("genesis", "content", "genesis has a cell")],
)
def test_a_cell_that_turned_into_text_is_found_when_opening(path: Path, table: str, column: str, message: str) -> None:
    written(path)
    connection = sqlite3.connect(path)
    statements = [
        sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' OR name = ?", (table,))
    ]
    connection.execute(f"CREATE TABLE loose AS SELECT * FROM {table}")
    connection.execute(f"DROP TABLE {table}")
    connection.execute(f"UPDATE loose SET {column} = CAST({column} AS TEXT)")
    connection.commit()
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM sqlite_schema WHERE type = 'trigger'")
    (strict,) = (sql for sql in statements if sql.startswith("CREATE TABLE"))
    connection.execute("UPDATE sqlite_schema SET name = ?, tbl_name = ?, sql = ? WHERE name = 'loose'", (table, table, strict))
    connection.commit()
    connection.close()
    connection = sqlite3.connect(path)
    for sql in SCHEMA:
        if sql.startswith("CREATE TRIGGER"):
            connection.execute("DROP TRIGGER IF EXISTS " + sql.split()[2])
            connection.execute(sql)
    connection.commit()
    connection.close()
    with pytest.raises(VerificationError, match=message):
        SqliteJournal.open(path)


def test_a_missing_or_foreign_anchor(path: Path) -> None:
    written(path)
    anchor = path.with_name(ANCHOR_NAME)
    content = anchor.read_bytes()
    anchor.unlink()
    with pytest.raises(VerificationError, match="anchor head.json is missing"):
        SqliteJournal.open(path)
    for wrong in (b"", b"[]", b"{}", b"[" * 100_000, content.replace(b'"version":1', b'"version":2'), content[:-2]):
        anchor.write_bytes(wrong)
        with pytest.raises(VerificationError, match="is not a head anchor"):
            SqliteJournal.open(path)
    write_anchor(anchor, Anchor(bytes(32), Head(0, bytes(32))))
    with pytest.raises(VerificationError, match="another chain"):
        SqliteJournal.open(path)
    anchor.write_bytes(content)
    SqliteJournal.open(path).close()


def test_a_crash_between_creation_and_first_anchor_is_no_damage(path: Path) -> None:
    written(path, [])
    path.with_name(ANCHOR_NAME).unlink()
    journal = SqliteJournal.open(path, writable=True)
    journal.append(BLOCKS)
    journal.close()
    SqliteJournal.open(path).close()


def test_a_creation_that_was_killed_can_be_repeated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = os.fork()
    if writer == 0:
        monkeypatch.setattr(
            "runtime.adapters.journal_file.genesis_hash", lambda _genesis: os._exit(9)
        )  # tables, no genesis yet
        SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
        os._exit(0)
    _, status = os.waitpid(writer, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    assert [left.name for left in path.parent.iterdir()] == [".partial-journal.sqlite"]
    written(path)
    assert sorted(left.name for left in path.parent.iterdir()) == [ANCHOR_NAME, "journal.sqlite"]


@pytest.mark.parametrize("left", ["journal.sqlite-wal", "journal.sqlite-journal", ANCHOR_NAME])
def test_no_journal_is_made_over_the_remains_of_another(path: Path, left: str) -> None:
    """A log would flow into the new journal; an anchor is the last witness that there was one."""
    path.parent.mkdir()
    path.with_name(left).write_bytes(b"remains")
    with pytest.raises(EnvironmentFailure, match=f"{left} exists"):
        SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    assert path.with_name(left).read_bytes() == b"remains"
    assert not path.exists()


def test_an_anchor_that_was_written_in_part_takes_no_place(path: Path) -> None:
    written(path)
    anchor = path.with_name(ANCHOR_NAME)
    before = anchor.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as on a full disk: the first hundred bytes fit
    try:
        with pytest.raises(EnvironmentFailure, match="100 of"):
            write_anchor(anchor, Anchor(bytes(32), Head(0, bytes(32))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert anchor.read_bytes() == before
    SqliteJournal.open(path).close()


def test_damaged_pages_are_one_clear_error(path: Path) -> None:
    written(path)
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 512):
        content[at : at + 64] = b"\xff" * 64
    path.write_bytes(bytes(content))
    with pytest.raises(VerificationError, match="damaged"):
        list(SqliteJournal.open(path).read())


@pytest.mark.parametrize("byte", [0xCF, ord("x")])
def test_a_damaged_schema_is_one_clear_error(path: Path, byte: int) -> None:
    written(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"CREATE TABLE block") + 9] = byte
    path.write_bytes(bytes(content))
    with pytest.raises(VerificationError, match="damaged"):
        SqliteJournal.open(path)
