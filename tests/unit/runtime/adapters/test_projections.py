"""Projections: exactly what the journal holds, sealed, and rebuilt when the journal went on."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime import files
from runtime.adapters import projections
from runtime.adapters.inputs import InputMissing, load_forecasts
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.adapters.projections import TABLES, ensure_projections, parse_genesis, project, read_manifest, table_schema
from runtime.canonical import sha256_file
from runtime.core.codes import EV_BARS
from runtime.core.digest import forecast_hash
from runtime.core.records import FORECAST, RECORD_TYPES
from runtime.errors import DataError, EnvironmentFailure, VerificationError
from runtime.verify import gather
from tests.support.forge import forge


def read(run_dir: Path, name: str) -> pa.Table:
    return pq.read_table(run_dir / "projections" / f"{name}.parquet")


def test_every_record_type_equals_the_journal(made_run: Path) -> None:
    journal = SqliteJournal.open(made_run / "journal.sqlite")
    gathered = gather(list(journal.read()))
    journal.close()
    for record in RECORD_TYPES:
        table = read(made_run, record.name)
        rows = gathered.tables[record.name]
        assert table.schema.equals(table_schema(record.name))
        assert table.num_rows == len(rows)
        for column in record.dtype.names or ():
            assert table[column].to_numpy().tolist() == rows[column].tolist(), (record.name, column)
        assert table["block_seq_n"].to_numpy().tolist() == gathered.block_seq_n[record.name].tolist()
    assert read(made_run, "order_fill").num_rows > 10
    assert read(made_run, "cash_ledger").num_rows > 10


def test_row_hashes_are_those_the_records_digests_are_made_of(made_run: Path) -> None:
    hashes: dict[int, bytes] = {}
    for record in RECORD_TYPES:
        table = read(made_run, record.name)
        for seq_n, row_hash in zip(table["block_seq_n"].to_pylist(), table["row_hash"].to_pylist(), strict=True):
            hashes[seq_n] = hashes.get(seq_n, b"") + row_hash
    block = read(made_run, "block")
    for row in block.to_pylist():
        assert hashlib.sha256(hashes.get(row["seq_n"], b"")).digest() == row["records_digest"]


def test_the_block_table_equals_the_headers(made_run: Path) -> None:
    journal = SqliteJournal.open(made_run / "journal.sqlite")
    for block, row in zip(journal.read(), read(made_run, "block").to_pylist(), strict=True):
        assert (block.seq_n, block.at_t, block.kind_id) == (row["seq_n"], row["at_t"], row["kind_id"])
        assert (block.inputs_digest, block.records_digest) == (row["inputs_digest"], row["records_digest"])
        assert (block.block_hash, len(block.payload)) == (row["block_hash"], row["payload_bytes_n"])
    journal.close()


def test_predictions_equal_the_forecasts(made_home: Path, made_run: Path) -> None:
    journal = SqliteJournal.open(made_run / "journal.sqlite")
    genesis = parse_genesis(journal.genesis(), made_run)
    taken = {block.at_t: block.seq_n for block in journal.read() if block.kind_id == EV_BARS}
    journal.close()
    forecasts = load_forecasts(made_home, genesis.forecasts_digest)
    found = read(made_run, "model_prediction").to_pylist()
    assert len(found) == np.count_nonzero(forecasts.rows["valid_n"])
    row_of = {t: n for n, t in enumerate(forecasts.at_t.tolist())}
    for row in found:
        n, i = row_of[row["at_t"]], row["instrument_id"]
        assert tuple(row[field] for field in FORECAST.names or ()) == tuple(forecasts.rows[n, i].tolist())
        assert row["feature_digest"] == forecasts.feature_digests[n]
        assert row["row_hash"] == forecast_hash(forecasts.rows[n, i].tobytes(), forecasts.feature_digests[n])
        assert row["block_seq_n"] == taken[row["at_t"]]


def test_instruments_are_the_symbols(made_run: Path) -> None:
    assert read(made_run, "instrument").to_pylist() == [
        {"instrument_id": i, "symbol": symbol} for i, symbol in enumerate(("BTC", "ETH", "SOL"))
    ]


def test_the_manifest_seals_every_file(made_home: Path, made_run: Path) -> None:
    manifest = ensure_projections(made_run, made_home)
    assert sorted(manifest.tables) == sorted(TABLES)
    for name, entry in manifest.tables.items():
        path = made_run / "projections" / f"{name}.parquet"
        assert (entry.sha256, entry.rows_n) == (sha256_file(path), pq.read_metadata(path).num_rows)
    journal = SqliteJournal.open(made_run / "journal.sqlite")
    assert (manifest.journal_head, manifest.blocks_n) == (journal.head().block_hash.hex(), journal.head().seq_n)
    journal.close()
    assert not list(made_run.glob(".partial*"))


@pytest.mark.parametrize("batch_n", [13, 100])
def test_the_batch_size_changes_no_row(own_home: Path, own_run: Path, batch_n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: read(own_run, name) for name in TABLES}
    monkeypatch.setattr(projections, "BATCH_BLOCKS_N", batch_n)
    project(own_run, own_home)
    for name in TABLES:
        assert read(own_run, name).equals(before[name]), name


def test_good_projections_are_not_rebuilt(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "project", None)
    assert ensure_projections(own_run, own_home) == read_manifest(own_run)


@pytest.mark.parametrize("damage", ["absent", "no manifest", "bad manifest", "other head", "older format"])
def test_projections_that_do_not_belong_to_the_head_are_rebuilt(own_home: Path, own_run: Path, damage: str) -> None:
    before = read_manifest(own_run)
    manifest = own_run / "projections" / "manifest.json"
    content = manifest.read_text()
    if damage == "absent":
        shutil.rmtree(own_run / "projections")
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "bad manifest":
        manifest.write_text("{")
    elif damage == "other head":
        assert before is not None
        manifest.write_text(content.replace(before.journal_head, "0" * 64))
    else:
        manifest.write_text(content.replace('"format_version":1', '"format_version":0'))
    assert read_manifest(own_run) != before
    assert ensure_projections(own_run, own_home) == before
    assert read_manifest(own_run) == before


def test_a_changed_projection_is_named_and_left_alone(own_home: Path, own_run: Path) -> None:
    path = own_run / "projections" / "cash_ledger.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VerificationError, match="cash_ledger.parquet is not the file that was sealed"):
        ensure_projections(own_run, own_home)
    path.unlink()
    with pytest.raises(VerificationError, match=r"cash_ledger\.parquet"):
        ensure_projections(own_run, own_home)


def test_a_journal_that_does_not_verify_is_not_projected(own_home: Path, own_run: Path) -> None:
    before = read_manifest(own_run)
    forge(
        own_run / "journal.sqlite",
        "UPDATE block SET payload = CAST(substr(payload, 1, length(payload) - 8) || x'0100000000000000' AS BLOB) WHERE seq_n = 300",
    )
    with pytest.raises(VerificationError, match="does not verify at block 300: the rows of block 300 do not match"):
        project(own_run, own_home)
    assert read_manifest(own_run) == before
    assert not list(own_run.glob(".partial*"))


def test_missing_parts_are_typed_errors(own_home: Path, own_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no journal"):
        project(tmp_path, own_home)
    shutil.rmtree(own_home / "inputs")
    with pytest.raises(InputMissing, match="no core input"):
        project(own_run, own_home)


def test_a_genesis_of_another_version(own_run: Path) -> None:
    with pytest.raises(VerificationError, match="cannot be read"):
        parse_genesis(b'{"format_n":2}', own_run)


def test_a_folder_that_cannot_be_written(own_home: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        project(own_run, own_home)
    assert not list(own_run.glob(".partial*"))
    assert read_manifest(own_run) is not None
