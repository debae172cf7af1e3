"""What every journal promises, whichever store is behind it; then what the durable one adds."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.adapters.anchor import ANCHOR_NAME, Anchor, read_anchor, write_anchor
from runtime.adapters.journal_memory import MemoryJournal
from runtime.adapters.journal_sqlite import _SCHEMA, SCHEMA_VERSION, SqliteJournal, TruncatedJournal
from runtime.core.codes import MODE_LIVE
from runtime.core.digest import Block, genesis_hash
from runtime.errors import DataError, EnvironmentFailure, InvariantError, VerificationError
from runtime.ports import Head, Journal
from tests.support.blocks import GENESIS, make_blocks
from tests.support.forge import forge, meddle

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCKS = make_blocks(12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.sqlite"


@pytest.fixture(params=["sqlite", "memory"])
def journal(request: pytest.FixtureRequest, path: Path) -> Iterator[Journal]:
    made: Journal
    if request.param == "memory":
        made = MemoryJournal(GENESIS, account_id=1, mode_id=1)
    else:
        made = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    yield made
    made.close()


# ---- the contract -----------------------------------------------------------------------------------------------


def test_an_empty_journal_ends_at_its_genesis(journal: Journal) -> None:
    assert journal.head() == Head(0, genesis_hash(GENESIS))
    assert journal.genesis() == GENESIS
    assert list(journal.read()) == []


def test_it_returns_what_was_appended(journal: Journal) -> None:
    journal.append(BLOCKS[:1])
    journal.append([])
    journal.append(BLOCKS[1:])
    assert list(journal.read()) == BLOCKS
    assert journal.head() == Head(12, BLOCKS[-1].block_hash)
    assert list(journal.read(3, 5)) == BLOCKS[2:5]
    assert list(journal.read(11)) == BLOCKS[10:]
    assert list(journal.read(13)) == []
    assert list(journal.read(5, 3)) == []


def test_closing_twice_is_harmless(journal: Journal) -> None:
    journal.close()
    journal.close()


WRONG: dict[str, Callable[[], list[Block]]] = {
    "gap": lambda: BLOCKS[3:4],
    "repetition": lambda: BLOCKS[1:2],
    "other history": lambda: make_blocks(1, head=Head(2, bytes(32))),
    "text": lambda: [BLOCKS[2]._replace(payload="text")],  # type: ignore[arg-type]  what a damaged cell can yield
    "other account": lambda: make_blocks(1, head=Head(2, BLOCKS[1].block_hash), account_id=2),
    "other mode": lambda: make_blocks(1, head=Head(2, BLOCKS[1].block_hash), mode_id=MODE_LIVE),
    "header": lambda: [BLOCKS[2]._replace(header=BLOCKS[2].header[:-1] + b"\1")],
    "short header": lambda: [BLOCKS[2]._replace(header=b"")],
    "inputs digest": lambda: [BLOCKS[2]._replace(inputs_digest=bytes(32))],
    "records digest": lambda: [BLOCKS[2]._replace(records_digest=bytes(32))],
    "short records digest": lambda: [BLOCKS[2]._replace(records_digest=bytes(31))],
    "block hash": lambda: [BLOCKS[2]._replace(block_hash=bytes(32))],
    "time column": lambda: [BLOCKS[2]._replace(at_t=0)],
    "kind column": lambda: [BLOCKS[2]._replace(kind_id=99)],
    "late in a batch": lambda: [*BLOCKS[2:5], BLOCKS[6]],
}


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_it_refuses_blocks_that_do_not_continue_the_chain(journal: Journal, wrong: str) -> None:
    journal.append(BLOCKS[:2])
    with pytest.raises(InvariantError, match="refused to journal"):
        journal.append(WRONG[wrong]())
    assert journal.head() == Head(2, BLOCKS[1].block_hash)
    assert list(journal.read()) == BLOCKS[:2]
    journal.append(BLOCKS[2:])
    assert list(journal.read()) == BLOCKS


# ---- the durable journal -----------------------------------------------------------------------------------------


def written(path: Path, blocks: list[Block] = BLOCKS) -> Path:
    journal = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    journal.append(blocks)
    journal.close()
    return path


def test_it_survives_closing_and_goes_on(path: Path) -> None:
    written(path, BLOCKS[:5])
    assert sorted(p.name for p in path.parent.iterdir()) == [ANCHOR_NAME, "journal.sqlite"]
    journal = SqliteJournal.open(path, writable=True)
    assert journal.owner == (1, 1)
    journal.append(BLOCKS[5:])
    journal.close()
    reader = SqliteJournal.open(path)
    assert list(reader.read()) == BLOCKS
    assert read_anchor(path.with_name(ANCHOR_NAME)) == Anchor(genesis_hash(GENESIS), reader.head())
    reader.close()


def test_readers_see_a_live_writer(path: Path) -> None:
    writer = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    reader = SqliteJournal.open(path)
    for block in BLOCKS:
        writer.append([block])
        assert reader.head() == writer.head()
    assert list(reader.read()) == BLOCKS
    late = SqliteJournal.open(path)
    assert late.head().seq_n == 12
    writer.close()  # while readers are open
    assert list(reader.read()) == BLOCKS
    reader.close()
    late.close()


def test_a_reader_in_another_process_sees_a_live_writer(path: Path) -> None:
    writer = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    writer.append(BLOCKS)
    code = f"""
from pathlib import Path
from runtime.adapters.journal_sqlite import SqliteJournal
journal = SqliteJournal.open(Path({str(path)!r}))
print(journal.head().seq_n, len(list(journal.read())))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout == "12 12\n"
    writer.close()


def test_a_sealed_journal_is_read_from_a_read_only_folder(path: Path) -> None:
    written(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        reader = SqliteJournal.open(path)
        assert list(reader.read()) == BLOCKS
        reader.close()
        assert sorted(p.name for p in path.parent.iterdir()) == [ANCHOR_NAME, "journal.sqlite"]
    finally:
        path.parent.chmod(0o755)


def test_only_one_process_writes(path: Path) -> None:
    writer = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    with pytest.raises(EnvironmentFailure, match="locked: another process writes"):
        SqliteJournal.open(path, writable=True)
    writer.close()
    SqliteJournal.open(path, writable=True).close()


def test_a_reader_does_not_write(path: Path) -> None:
    reader = SqliteJournal.open(written(path, BLOCKS[:2]))
    with pytest.raises(InvariantError, match="open for reading"):
        reader.append(BLOCKS[2:])
    reader.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE block SET payload = x'00' WHERE seq_n = 3",
        "DELETE FROM block WHERE seq_n = 12",
        "INSERT OR REPLACE INTO block SELECT 3, at_t, kind_id, header, inputs_digest, x'00', records_digest, block_hash FROM block",
        "INSERT INTO block SELECT 14, at_t, kind_id, header, inputs_digest, x'00', records_digest, block_hash FROM block LIMIT 1",
        "UPDATE genesis SET account_id = 2",
        "DELETE FROM genesis",
        "INSERT OR REPLACE INTO genesis SELECT 1, 2, mode_id, content, hash FROM genesis",
    ],
)
def test_sql_cannot_change_what_was_written(path: Path, statement: str) -> None:
    written(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only|not the next block|written once"):
        meddle(path, statement)
    reader = SqliteJournal.open(path)
    assert list(reader.read()) == BLOCKS
    reader.close()


@pytest.mark.parametrize("how", ["ABORT", "ROLLBACK"])
def test_a_failed_append_leaves_nothing(path: Path, how: str) -> None:
    journal = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    journal.append(BLOCKS[:2])
    meddle(path, f"CREATE TRIGGER full BEFORE INSERT ON block WHEN new.seq_n = 6 BEGIN SELECT RAISE({how}, 'no'); END")
    with pytest.raises(InvariantError, match="refused a block: no"):
        journal.append(BLOCKS[2:])
    assert journal.head().seq_n == 2
    meddle(path, "DROP TRIGGER full")
    journal.append(BLOCKS[2:])
    assert list(journal.read()) == BLOCKS
    journal.close()


def test_a_full_disk_loses_nothing_that_was_acknowledged(path: Path) -> None:
    journal = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    many = make_blocks(400)
    journal.append(many[:2])
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(EnvironmentFailure, match="full"):
        journal.append(many[2:])
    assert journal.head().seq_n == 2
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    journal.append(many[2:])
    journal.close()
    reader = SqliteJournal.open(path)
    assert list(reader.read()) == many
    reader.close()


def test_a_journal_that_cannot_be_finished_is_not_left_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path, _anchor: Anchor) -> None:
        raise EnvironmentFailure("disk full", expected="space", action="make space")

    monkeypatch.setattr("runtime.adapters.journal_sqlite.write_anchor", fail)
    with pytest.raises(EnvironmentFailure, match="disk full"):
        SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    assert list(path.parent.iterdir()) == []
    monkeypatch.undo()
    SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1).close()


def test_a_folder_that_may_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    written(path)
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(EnvironmentFailure, match="Permission denied"):
        SqliteJournal.open(path, writable=True)
    with pytest.raises(EnvironmentFailure, match="cannot write the head anchor"):
        write_anchor(path.with_name("other.json"), Anchor(bytes(32), Head(0, bytes(32))))


def test_an_anchor_that_may_not_be_read(path: Path) -> None:
    written(path)
    path.with_name(ANCHOR_NAME).unlink()
    path.with_name(ANCHOR_NAME).mkdir()
    with pytest.raises(EnvironmentFailure, match="cannot read the head anchor"):
        SqliteJournal.open(path)


def test_the_anchor_uses_the_platforms_full_sync_where_there_is_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("runtime.adapters.anchor._FULL_SYNC", 51)
    monkeypatch.setattr("fcntl.fcntl", lambda _fd, command: asked.append(command))
    path.parent.mkdir()
    write_anchor(path.with_name(ANCHOR_NAME), Anchor(bytes(32), Head(0, bytes(32))))
    assert asked == [51, 51]


def test_a_stolen_write_lock_is_one_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.journal_sqlite.BUSY_MS", 50)
    journal = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    thief = sqlite3.connect(path, isolation_level=None)
    thief.execute("BEGIN IMMEDIATE")
    with pytest.raises(EnvironmentFailure, match="locked by another program"):
        journal.append(BLOCKS)
    assert journal.head().seq_n == 0
    thief.execute("ROLLBACK")
    thief.close()
    journal.append(BLOCKS)
    journal.close()


def test_an_anchor_that_cannot_be_written_is_raised_after_the_blocks_are_durable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)

    def fail(_path: Path, _anchor: Anchor) -> None:
        raise EnvironmentFailure("disk full", expected="space", action="make space")

    monkeypatch.setattr("runtime.adapters.journal_sqlite.write_anchor", fail)
    with pytest.raises(EnvironmentFailure, match="disk full"):
        journal.append(BLOCKS[:3])
    assert journal.head().seq_n == 3
    journal.close()
    monkeypatch.undo()
    journal = SqliteJournal.open(path, writable=True)  # an anchor that lags is normal
    journal.append(BLOCKS[3:])
    journal.close()
    anchor = read_anchor(path.with_name(ANCHOR_NAME))
    assert anchor is not None
    assert anchor.head.seq_n == 12


# ---- opening what is not as it was ------------------------------------------------------------------------------


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
    for sql in _SCHEMA:
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
    for wrong in (b"", b"[]", b"{}", content.replace(b'"version":1', b'"version":2'), content[:-2]):
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


# ---- kill -9 -----------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from runtime.adapters.journal_sqlite import SqliteJournal
from tests.support.blocks import make_blocks
path = Path(sys.argv[1])
journal = SqliteJournal.open(path, writable=True)
while True:
    blocks = make_blocks(int(sys.argv[2]), head=journal.head())
    for size in (1, 1, 3, len(blocks)):
        batch, blocks = blocks[:size], blocks[size:]
        if batch:
            journal.append(batch)
            print(batch[-1].seq_n, flush=True)
"""


def test_kill_9_loses_no_acknowledged_block(path: Path) -> None:
    SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1).close()
    for round_n in range(5):
        acknowledged = path.with_name("acknowledged")
        with acknowledged.open("wb") as out:
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), str(20 + 17 * round_n)], cwd=REPOSITORY, stdout=out
            )
            deadline = time.monotonic() + 30
            while acknowledged.stat().st_size == 0 and time.monotonic() < deadline and writer.poll() is None:
                time.sleep(0.01)
            time.sleep(0.02 + 0.013 * round_n)
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        lines = acknowledged.read_text().rpartition("\n")[0].split()
        assert lines, "the writer never wrote"
        reader = SqliteJournal.open(path)
        assert reader.head().seq_n >= int(lines[-1])
        stored = list(reader.read())
        reader.close()
        twin = MemoryJournal(GENESIS, account_id=1, mode_id=1)
        twin.append(stored)
        assert twin.head() == Head(len(stored), stored[-1].block_hash)
    copy = path.with_name("copy.sqlite")
    SqliteJournal.open(path, writable=True).close()
    shutil.copy(path, copy)
    assert not path.with_name("journal.sqlite-wal").exists()
