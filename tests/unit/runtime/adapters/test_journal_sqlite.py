"""What the durable journal adds to the contract: live readers, one writer, append-only, nothing acknowledged is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.adapters.anchor import ANCHOR_NAME, Anchor, read_anchor, write_anchor
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.core.digest import genesis_hash
from runtime.errors import EnvironmentFailure, InvariantError
from runtime.files import TEMPORARY_PREFIX
from runtime.ports import Head
from tests.support.blocks import GENESIS, make_blocks
from tests.support.forge import meddle
from tests.support.journals import BLOCKS, written

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.sqlite"


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


def test_a_writer_goes_on_where_a_reader_kept_the_log(path: Path) -> None:
    writer = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    writer.append(BLOCKS[:5])
    reader = SqliteJournal.open(path)
    assert reader.head().seq_n == 5
    writer.close()
    assert path.read_bytes()[18:20] == b"\2\2", "the file still says that there is a log"
    writer = SqliteJournal.open(path, writable=True)
    writer.append(BLOCKS[5:])
    assert list(reader.read()) == BLOCKS
    reader.close()
    writer.close()
    assert path.read_bytes()[18:20] == b"\1\1"
    assert sorted(p.name for p in path.parent.iterdir()) == [ANCHOR_NAME, "journal.sqlite"]


def test_a_journal_that_cannot_be_written_beside_its_path_is_refused(path: Path) -> None:
    blocker = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    blocker.mkdir(parents=True)
    with pytest.raises(EnvironmentFailure, match="cannot use the journal"):
        SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    assert list(path.parent.iterdir()) == [blocker]
    blocker.rmdir()
    written(path)


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
        "INSERT OR REPLACE INTO block SELECT 3, at_t, kind_id, header, inputs_digest, x'00', records_digest, block_hash, inputs FROM block",
        "INSERT INTO block SELECT 14, at_t, kind_id, header, inputs_digest, x'00', records_digest, block_hash, inputs FROM block LIMIT 1",
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
    monkeypatch.setattr("runtime.adapters.journal_file.BUSY_MS", 50)
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
