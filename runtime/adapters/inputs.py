"""Core inputs as content-addressed Parquet files: bars, forecasts, cluster memberships, exactly as the core saw them.

The address is the SHA-256 over canonical bytes (not over the Parquet bytes, which depend on the library's version),
and is recomputed on every load. One row per time; one column per field and instrument (`close_e8_04`). Instruments
that hold nothing but zeros at the end of the capacity are left out of the file.

`load_bars` and `load_forecasts` bring all of a file into memory. `open_inputs` gives a run the same content through the
file's row groups, a few of which are in memory at a time; the rows it reads are the ones whose digest was checked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.adapters.input_files import (
    DIGEST,
    KIND,
    InputChanged,
    InputFile,
    InputMissing,
    StoredDigests,
    StoredRows,
    changed,
    column_name,
)
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS
from runtime.engine import RunInputs
from runtime.errors import InvariantError
from runtime.files import atomic_path
from runtime.genesis import Genesis
from runtime.home import inputs_path
from runtime.inference.bundle import Forecasts, forecasts_hasher
from runtime.inference.clusters import Clusters

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]

__all__ = [
    "BARS_TAG",
    "InputChanged",
    "InputMissing",
    "StoredForecasts",
    "StoredInputs",
    "bars_digest",
    "load_bars",
    "load_clusters",
    "load_forecasts",
    "open_bars",
    "open_forecasts",
    "open_inputs",
    "store_bars",
    "store_clusters",
    "store_forecasts",
]

BARS_TAG: Final = b"ballast.bars.1\0"
_SYMBOLS: Final = b"ballast.symbols"
_ROW_GROUP_ROWS_N: Final = 4_096


def bars_digest(bars: Rows, close_t: Ints) -> str:
    """Return the SHA-256 of BARS_TAG | T as int64 LE | close_t as int64 LE | bars [T, INSTRUMENTS], C order."""
    h = hashlib.sha256(BARS_TAG + np.int64(len(close_t)).astype("<i8").tobytes())
    h.update(np.ascontiguousarray(close_t, "<i8").data)
    h.update(np.ascontiguousarray(bars).view("<i8").data)
    return h.hexdigest()


def store_bars(home: Path, bars: Rows, close_t: Ints) -> str:
    """Write the bars of a run and return their digest; writing the same bars again changes nothing.

    Args:
        home: the home folder.
        bars: BAR [T, INSTRUMENTS].
        close_t: int64 [T], closing times, seconds UTC.

    Raises:
        InvariantError: shapes or types are not the core's.
        EnvironmentFailure: the folder cannot be written.
    """
    _require_shape(bars, BAR, len(close_t))
    address = bars_digest(bars, close_t)
    columns: dict[str, pa.Array] = {"close_t": pa.array(np.asarray(close_t, np.int64))}
    _write(_path(home, address), "bars", columns, bars, {})
    return address


def load_bars(home: Path, digest: str) -> tuple[Rows, Ints]:
    """Return bars BAR [T, INSTRUMENTS] and close_t int64 [T].

    Raises:
        InputMissing: there is no such file.
        InputChanged: the file cannot be read, or its content has another digest.
    """
    bars, close_t = open_bars(home, digest)
    return bars[:], close_t


def open_bars(home: Path, digest: str) -> tuple[StoredRows, Ints]:
    """Return the bars as a table of BAR [T, INSTRUMENTS] that reads what it is asked for, and close_t int64 [T].

    Raises:
        InputMissing: there is no such file.
        InputChanged: the file cannot be read, or its content has another digest.
    """
    file = InputFile(_path(home, digest), "bars")
    close_t = file.ints("close_t")
    rows = StoredRows(file, BAR)
    h = hashlib.sha256(BARS_TAG + np.int64(len(close_t)).astype("<i8").tobytes())
    h.update(np.ascontiguousarray(close_t, "<i8").data)
    rows.seal(h)
    _require_digest(file.path, h.hexdigest(), digest)
    return rows, close_t


def store_forecasts(home: Path, forecasts: Forecasts) -> str:
    """Write the forecasts of a run and return their digest; writing the same forecasts again changes nothing.

    Raises:
        InvariantError: shapes or types are not the core's.
        EnvironmentFailure: the folder cannot be written.
    """
    _require_shape(forecasts.rows, FORECAST, len(forecasts.at_t))
    columns: dict[str, pa.Array] = {
        "at_t": pa.array(np.asarray(forecasts.at_t, np.int64)),
        DIGEST: pa.array(forecasts.feature_digests, pa.binary(32)),
    }
    symbols = json.dumps(list(forecasts.symbols)).encode()
    _write(_path(home, forecasts.digest), "forecasts", columns, forecasts.rows, {_SYMBOLS: symbols})
    return forecasts.digest


def load_forecasts(home: Path, digest: str) -> Forecasts:
    """Return the forecasts of a run.

    Raises:
        InputMissing: there is no such file.
        InputChanged: the file cannot be read, or its content has another digest.
    """
    return open_forecasts(home, digest).read()


@dataclass(frozen=True, slots=True)
class StoredForecasts:
    """The forecasts of a run, of which a few row groups are in memory at a time; see `Forecasts`."""

    path: Path
    symbols: tuple[str, ...]
    at_t: Ints
    rows: StoredRows
    feature_digests: StoredDigests

    def read(self) -> Forecasts:
        """Return the same forecasts, all of them in memory.

        Raises:
            InputChanged: they are not forecasts, although their digest fits.
        """
        try:
            return Forecasts(self.symbols, self.at_t, self.rows[:], self.feature_digests[:])
        except InvariantError as e:
            raise changed(self.path, e.got) from e


def open_forecasts(home: Path, digest: str) -> StoredForecasts:
    """Return the forecasts of a run as a table that reads what it is asked for.

    Raises:
        InputMissing: there is no such file.
        InputChanged: the file cannot be read, or its content has another digest.
    """
    file = InputFile(_path(home, digest), "forecasts")
    try:
        symbols = tuple(json.loads(file.metadata[_SYMBOLS]))
        h = forecasts_hasher(symbols, file.rows_n)
    except (KeyError, ValueError, TypeError) as e:
        raise changed(file.path, f"it lacks its symbols ({e})") from e
    at_t, rows, digests = file.ints("at_t"), StoredRows(file, FORECAST), StoredDigests(file)
    try:
        Forecasts(symbols, at_t[:0], rows[:0], [])
    except InvariantError as e:
        raise changed(file.path, e.got) from e
    if (np.diff(at_t) <= 0).any():
        raise changed(file.path, "its times do not increase strictly")
    h.update(np.ascontiguousarray(at_t, "<i8").data)
    rows.seal(h)
    digests.seal(h)
    _require_digest(file.path, h.hexdigest(), digest)
    return StoredForecasts(file.path, symbols, at_t, rows, digests)


def store_clusters(home: Path, clusters: Clusters) -> str:
    """Write the cluster memberships of a run and return their digest; writing the same again changes nothing.

    Raises:
        EnvironmentFailure: the folder cannot be written.
    """
    columns: dict[str, pa.Array] = {"at_t": pa.array(np.asarray(clusters.at_t, np.int64))}
    _write(_path(home, clusters.digest), "clusters", columns, clusters.rows, {})
    return clusters.digest


def load_clusters(home: Path, digest: str) -> Clusters:
    """Return the cluster memberships of a run.

    Raises:
        InputMissing: there is no such file.
        InputChanged: the file cannot be read, or its content has another digest.
    """
    file = InputFile(_path(home, digest), "clusters")
    found = Clusters(file.ints("at_t"), StoredRows(file, CLUSTER)[:])
    _require_digest(file.path, found.digest, digest)
    return found


@dataclass(frozen=True, slots=True)
class StoredInputs:
    """All that a run is computed from, for `runtime.engine`; bars and forecasts stay in their files."""

    genesis: Genesis
    bars: StoredRows
    close_t: Ints
    forecasts: StoredForecasts
    clusters: Clusters

    def read(self) -> RunInputs:
        """Return the same inputs, all of them in memory."""
        return RunInputs(self.genesis, self.bars[:], self.close_t, self.forecasts.read(), self.clusters)


def open_inputs(home: Path, genesis: Genesis) -> StoredInputs:
    """Return the stored inputs of a run; the memory they take does not grow with history, but for the times.

    Raises:
        InputMissing: a file that the genesis names is not there.
        InputChanged: a file cannot be read, or its content has another digest.
    """
    bars, close_t = open_bars(home, genesis.bars_digest)
    forecasts = open_forecasts(home, genesis.forecasts_digest)
    return StoredInputs(genesis, bars, close_t, forecasts, load_clusters(home, genesis.clusters_digest))


def _path(home: Path, digest: str) -> Path:
    return inputs_path(home) / f"{digest}.parquet"


def _require_shape(rows: Rows, dtype: np.dtype[np.void], length: int) -> None:
    if rows.dtype != dtype or rows.shape != (length, INSTRUMENTS):
        raise InvariantError(
            f"core inputs of shape {rows.shape} and type {rows.dtype}",
            expected=f"shape ({length}, {INSTRUMENTS}) and type {dtype}",
            action="quantise with runtime.inference.quantise",
        )


def _used_instruments(rows: Rows) -> int:
    flat = np.ascontiguousarray(rows).view("<i8").reshape(len(rows), INSTRUMENTS, rows.dtype.itemsize // 8)
    used = np.flatnonzero(flat.any(axis=(0, 2)))
    return int(used[-1]) + 1 if len(used) else 0


def _write(path: Path, kind: str, columns: dict[str, pa.Array], rows: Rows, metadata: dict[bytes, bytes]) -> None:
    fields: list[str] = list(rows.dtype.names or ())
    names = {column_name(field, i): (field, i) for i in range(_used_instruments(rows)) for field in fields}
    kinds = [(name, column.type) for name, column in columns.items()] + [(name, pa.int64()) for name in names]
    schema = pa.schema(kinds, {KIND: kind.encode(), **metadata})
    integers = [name for name, arrow in kinds if pa.types.is_int64(arrow)]
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            write_statistics=False,
        ) as writer,
    ):
        for first in range(0, len(rows), _ROW_GROUP_ROWS_N):
            part = slice(first, first + _ROW_GROUP_ROWS_N)
            arrays = [column[part] for column in columns.values()]
            arrays += [pa.array(np.ascontiguousarray(rows[field][part, i])) for field, i in names.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _require_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise changed(path, f"its content has the digest {found}")
