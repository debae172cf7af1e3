"""Tables made from the journal: one sealed Parquet file per record type, rebuilt at any time.

`project` follows the chain while it writes, so a table never holds a row whose hash does not verify. Every column of a
record type is there as the core wrote it (int64), with `block_seq_n` (the block of the row) and `row_hash` added; views
with decimals, times and names are in `runtime/adapters/views.py`. Tables beside the record types:

- `block`             one row per block: header fields, digests, size of the payload
- `model_prediction`  one row per valid forecast: what the model said (of a paper run: what its blocks brought);
                      `block_seq_n` is the block that took it in, 0 if none
- `instrument`        instrument_id -> symbol

The folder is built beside its place, synced and renamed. `manifest.json` names the journal head it was built from and
the digest of every file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.adapters.inputs import open_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.journaled import event_of
from runtime.canonical import canonical_json, sha256_file
from runtime.core.codes import EV_BARS, MODE_BACKTEST
from runtime.core.digest import HEADER, Block, forecast_hash
from runtime.core.records import FORECAST, RECORD_TYPES
from runtime.errors import EnvironmentFailure, VerificationError
from runtime.files import partial_folder, publish_folder
from runtime.genesis import Genesis
from runtime.inference.bundle import ForecastTable
from runtime.ports import Head
from runtime.progress import Report, silent
from runtime.verify import FORECAST_WINDOW_N, BadBlock, ChainVerifier, JournaledForecasts, VerifiedRows, forecast_hashes

PROJECTIONS_NAME: Final = "projections"
MANIFEST_NAME: Final = "manifest.json"
FORMAT_VERSION: Final = 1
BATCH_BLOCKS_N: Final = 4_096
"""Blocks per batch: memory does not grow with the length of the journal."""

_HASH = pa.binary(32)
_BLOCK_COLUMNS: Final = ("seq_n", "at_t", "kind_id", "account_id", "mode_id", "records_n")


class TableEntry(BaseModel):
    """One sealed file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rows_n: int
    sha256: str


class Manifest(BaseModel):
    """What the projections were built from and what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: int
    genesis_hash: str
    journal_head: str
    blocks_n: int
    tables: dict[str, TableEntry]


def table_schema(name: str) -> pa.Schema:
    """Return the Arrow schema of a projection; the record types' schemas follow from their dtypes."""
    if name == "block":
        integers: Sequence[str] = (*_BLOCK_COLUMNS, "payload_bytes_n")
        return pa.schema(
            [(c, pa.int64()) for c in integers] + [(c, _HASH) for c in ("inputs_digest", "records_digest", "block_hash")]
        )
    if name == "instrument":
        return pa.schema([("instrument_id", pa.int64()), ("symbol", pa.string())])
    if name == "model_prediction":
        integers = ("at_t", "instrument_id", *(FORECAST.names or ()), "block_seq_n")
        return pa.schema([(c, pa.int64()) for c in integers] + [("feature_digest", _HASH), ("row_hash", _HASH)])
    (record,) = (r for r in RECORD_TYPES if r.name == name)
    return pa.schema([(c, pa.int64()) for c in (*(record.dtype.names or ()), "block_seq_n")] + [("row_hash", _HASH)])


TABLES: Final = (*(record.name for record in RECORD_TYPES), "block", "model_prediction", "instrument")


def project(run_dir: Path, home: Path, report: Report = silent) -> Manifest:
    """Build the projections of a run, replacing earlier ones.

    Args:
        run_dir: folder with the journal; `projections/` is made in it.
        home: home folder with the core inputs (forecasts are parents of signals).
        report: told how many blocks are done.

    Raises:
        DataError: the journal or an input is missing.
        VerificationError: the journal or an input is not what its hashes say.
        EnvironmentFailure: the folder cannot be written.
    """
    journal = SqliteJournal.open(run_dir / JOURNAL_NAME)
    folder = run_dir / PROJECTIONS_NAME
    try:
        genesis = parse_genesis(journal.genesis(), run_dir)
        stored = open_forecasts(home, genesis.forecasts_digest) if genesis.mode_id == MODE_BACKTEST else None
        with partial_folder(folder) as partial:
            head = _write_tables(partial, journal, genesis, stored, report)
            manifest = _seal(partial, genesis, head)
            publish_folder(partial, folder)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write the projections of {run_dir}: {e.strerror or e}",
            expected="a writable run folder with free space",
            action="check permissions and disk",
        ) from e
    finally:
        journal.close()
    return manifest


def ensure_projections(run_dir: Path, home: Path, report: Report = silent) -> Manifest:
    """Return the manifest of projections that belong to the journal's head, building them when there are none.

    Raises:
        VerificationError: a sealed file was changed.
        DataError, EnvironmentFailure: as `project`.
    """
    manifest = read_manifest(run_dir)
    journal = SqliteJournal.open(run_dir / JOURNAL_NAME)
    try:
        head = journal.head()
    finally:
        journal.close()
    if (
        manifest is None
        or (manifest.journal_head, manifest.blocks_n) != (head.block_hash.hex(), head.seq_n)
        or manifest.format_version != FORMAT_VERSION
    ):
        return project(run_dir, home, report)
    for name, entry in manifest.tables.items():
        path = run_dir / PROJECTIONS_NAME / f"{name}.parquet"
        if not path.is_file() or sha256_file(path) != entry.sha256:
            raise VerificationError(
                f"the projection {path} is not the file that was sealed",
                expected=f"SHA-256 {entry.sha256}",
                action=f"keep it as evidence, then delete {path.parent}: it is rebuilt from the journal",
            )
    return manifest


def read_manifest(run_dir: Path) -> Manifest | None:
    """Return the manifest of a run's projections, or `None` when there is no usable one."""
    try:
        return Manifest.model_validate_json((run_dir / PROJECTIONS_NAME / MANIFEST_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def parse_genesis(content: bytes, where: Path) -> Genesis:
    """Return the genesis of a journal.

    Raises:
        VerificationError: the content is not a genesis this version understands.
    """
    try:
        return Genesis.model_validate_json(content)
    except ValidationError as e:
        first = e.errors()[0]
        raise VerificationError(
            f"the genesis of {where} cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            expected="a genesis of format 1",
            action="open the run with the Ballast version that wrote it",
        ) from e


def _write_tables(folder: Path, journal: SqliteJournal, genesis: Genesis, stored: ForecastTable | None, report: Report) -> Head:
    """Write every table; `stored` are a backtest's forecasts, a paper or live chain carries its own."""
    lookup = JournaledForecasts() if stored is None else forecast_hashes(stored)
    verifier = ChainVerifier(genesis.hash, journal.owner, bytes.fromhex(genesis.policy_digest), lookup)
    total = journal.head().seq_n
    taken_by = np.zeros(0 if stored is None else len(stored.at_t), np.int64)
    with _Writers(folder) as writers:
        for blocks in batches(journal.read(), BATCH_BLOCKS_N):
            found = verifier.follow(blocks)
            if isinstance(found, BadBlock):
                raise VerificationError(
                    f"the journal in {folder.parent} does not verify at block {found.seq_n}: {found.what}",
                    expected="an unbroken chain",
                    action="keep the evidence, run `ballast replay` for the details, restore from a backup",
                )
            writers.write("block", _block_table(blocks))
            for record in RECORD_TYPES:
                writers.write(record.name, _record_table(record.name, found))
            if stored is None:
                _write_journaled(writers, blocks)
            else:
                _note_taken(taken_by, stored, blocks)
            report("projections", verifier.head.seq_n, total)
        if stored is not None:
            for first in range(0, len(stored.at_t), FORECAST_WINDOW_N):
                part = slice(first, first + FORECAST_WINDOW_N)
                taken = (stored.at_t[part], taken_by[part])
                writers.write("model_prediction", _prediction_table(stored.rows[part], stored.feature_digests[part], *taken))
        names = pa.table(
            {"instrument_id": range(len(genesis.symbols)), "symbol": list(genesis.symbols)}, table_schema("instrument")
        )
        writers.write("instrument", names)
    return verifier.head


def _note_taken(taken_by: npt.NDArray[np.int64], stored: ForecastTable, blocks: Sequence[Block]) -> None:
    """Note which of some blocks took in which of the forecasts."""
    bars = np.array([(block.at_t, block.seq_n) for block in blocks if block.kind_id == EV_BARS], np.int64).reshape(-1, 2)
    _, taken, made = np.intersect1d(bars[:, 0], stored.at_t, assume_unique=True, return_indices=True)
    taken_by[made] = bars[taken, 1]


def _write_journaled(writers: _Writers, blocks: Sequence[Block]) -> None:
    """Write the forecasts that some blocks brought."""
    events = [(block.seq_n, event_of(block)) for block in blocks if block.kind_id == EV_BARS]
    brought = [(seq_n, event) for seq_n, event in events if event.forecasts is not None]
    if brought:
        rows = np.stack([event.forecasts for _, event in brought if event.forecasts is not None])
        at_t = np.array([event.at_t for _, event in brought], np.int64)
        taken_by = np.array([seq_n for seq_n, _ in brought], np.int64)
        writers.write("model_prediction", _prediction_table(rows, [e.feature_digest for _, e in brought], at_t, taken_by))


def batches(blocks: Iterator[Block], size: int) -> Iterator[list[Block]]:
    """Yield lists of up to `size` blocks."""
    while batch := list(islice(blocks, size)):
        yield batch


class _Writers:
    """One Parquet writer per table; every table gets a file, empty or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> Self:
        for name in TABLES:
            schema = table_schema(name)
            encodings = {
                field.name: "DELTA_BINARY_PACKED" if pa.types.is_int64(field.type) else "PLAIN" for field in schema
            }  # fmt: skip
            self._open[name] = pq.ParquetWriter(
                self._folder / f"{name}.parquet", schema, compression="zstd", use_dictionary=False, column_encoding=encodings
            )
        return self

    def write(self, name: str, table: pa.Table) -> None:
        if table.num_rows:
            self._open[name].write_table(table)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for writer in self._open.values():
            writer.close()


def _record_table(name: str, found: VerifiedRows) -> pa.Table:
    rows = found.tables[name]
    columns = [np.ascontiguousarray(rows[c]) for c in rows.dtype.names or ()]
    arrays = [pa.array(c) for c in (*columns, found.block_seq_n[name])]
    return pa.Table.from_arrays([*arrays, _digests(b"".join(found.row_hashes[name]))], schema=table_schema(name))


def _block_table(blocks: Sequence[Block]) -> pa.Table:
    headers = np.frombuffer(b"".join(block.header for block in blocks), "<i8").reshape(len(blocks), HEADER.size // 8)
    arrays = [pa.array(np.ascontiguousarray(headers[:, i])) for i in range(len(_BLOCK_COLUMNS))]
    arrays.append(pa.array([len(block.payload) for block in blocks], pa.int64()))
    digests = ("inputs_digest", "records_digest", "block_hash")
    arrays += [_digests(b"".join(getattr(block, field) for block in blocks)) for field in digests]
    return pa.Table.from_arrays(arrays, schema=table_schema("block"))


def _prediction_table(
    rows: npt.NDArray[np.void], feature_digests: Sequence[bytes], at_t: npt.NDArray[np.int64], taken_by: npt.NDArray[np.int64]
) -> pa.Table:
    """Return the valid ones of FORECAST [N, INSTRUMENTS]; `taken_by` int64 [N] is each time's block, 0 if none."""
    times, instruments = np.nonzero(rows["valid_n"])
    valid = rows[times, instruments]
    hashes = [
        forecast_hash(row.tobytes(), feature_digests[n]) for row, n in zip(valid, times.tolist(), strict=True)
    ]  # fmt: skip
    features = np.frombuffer(b"".join(feature_digests), "V32")
    integers: list[npt.NDArray[np.int64]] = [at_t[times], instruments.astype(np.int64)]
    integers += [np.ascontiguousarray(valid[field]) for field in FORECAST.names or ()]
    arrays = [pa.array(column) for column in (*integers, taken_by[times])]
    return pa.Table.from_arrays(
        [*arrays, _digests(features[times].tobytes()), _digests(b"".join(hashes))], schema=table_schema("model_prediction")
    )


def _digests(content: bytes) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(_HASH, len(content) // 32, [None, pa.py_buffer(content)])


def _seal(folder: Path, genesis: Genesis, head: Head) -> Manifest:
    entries = {}
    for name in sorted(TABLES):
        path = folder / f"{name}.parquet"
        entries[name] = TableEntry(rows_n=pq.read_metadata(path).num_rows, sha256=sha256_file(path))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        genesis_hash=genesis.hash.hex(),
        journal_head=head.block_hash.hex(),
        blocks_n=head.seq_n,
        tables=entries,
    )
    (folder / MANIFEST_NAME).write_bytes(canonical_json(manifest.model_dump(mode="json")))
    return manifest
