"""Core inputs as content-addressed Parquet files: bars, forecasts, cluster memberships, exactly as the core saw them.

The address is the SHA-256 over canonical bytes (not over the Parquet bytes, which depend on the library's version),
and is recomputed on every load. One row per time; one column per field and instrument (`close_e8_04`). Instruments
that hold nothing but zeros at the end of the capacity are left out of the file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS
from runtime.errors import DataError, InvariantError, VerificationError
from runtime.files import atomic_path
from runtime.home import inputs_path
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import Clusters

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]

BARS_TAG: Final = b"ballast.bars.1\0"
_KIND: Final = b"ballast.kind"
_SYMBOLS: Final = b"ballast.symbols"
_ROW_GROUP_ROWS_N: Final = 1 << 17


class InputMissing(DataError):
    """A core input that a run names is not in `inputs/`."""

    kind = "input missing"


class InputChanged(VerificationError):
    """A core input is not what its address says."""

    kind = "input changed"


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
    path = _path(home, digest)
    table = _read(path, "bars")
    bars = _rows(path, table, BAR)
    close_t = _ints(path, table, "close_t")
    _require_digest(path, bars_digest(bars, close_t), digest)
    return bars, close_t


def store_forecasts(home: Path, forecasts: Forecasts) -> str:
    """Write the forecasts of a run and return their digest; writing the same forecasts again changes nothing.

    Raises:
        InvariantError: shapes or types are not the core's.
        EnvironmentFailure: the folder cannot be written.
    """
    _require_shape(forecasts.rows, FORECAST, len(forecasts.at_t))
    columns: dict[str, pa.Array] = {
        "at_t": pa.array(np.asarray(forecasts.at_t, np.int64)),
        "feature_digest": pa.array(forecasts.feature_digests, pa.binary(32)),
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
    path = _path(home, digest)
    table = _read(path, "forecasts")
    try:
        symbols = tuple(json.loads(table.schema.metadata[_SYMBOLS]))
        feature_digests = table["feature_digest"].to_pylist()
    except (KeyError, ValueError, TypeError) as e:
        raise _changed(path, f"it lacks its symbols or feature digests ({e})") from e
    if any(type(d) is not bytes for d in feature_digests):
        raise _changed(path, "a feature digest is missing")
    at_t, rows = _ints(path, table, "at_t"), _rows(path, table, FORECAST)
    try:
        found = Forecasts(symbols=symbols, at_t=at_t, rows=rows, feature_digests=feature_digests)
    except InvariantError as e:
        raise _changed(path, e.got) from e
    _require_digest(path, found.digest, digest)
    return found


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
    path = _path(home, digest)
    table = _read(path, "clusters")
    found = Clusters(_ints(path, table, "at_t"), _rows(path, table, CLUSTER))
    _require_digest(path, found.digest, digest)
    return found


def _path(home: Path, digest: str) -> Path:
    return inputs_path(home) / f"{digest}.parquet"


def _require_shape(rows: Rows, dtype: np.dtype[np.void], length: int) -> None:
    if rows.dtype != dtype or rows.shape != (length, INSTRUMENTS):
        raise InvariantError(
            f"core inputs of shape {rows.shape} and type {rows.dtype}",
            expected=f"shape ({length}, {INSTRUMENTS}) and type {dtype}",
            action="quantise with runtime.inference.quantise",
        )


def _column(field: str, instrument: int) -> str:
    return f"{field}_{instrument:02d}"


def _used_instruments(rows: Rows) -> int:
    flat = np.ascontiguousarray(rows).view("<i8").reshape(len(rows), INSTRUMENTS, rows.dtype.itemsize // 8)
    used = np.flatnonzero(flat.any(axis=(0, 2)))
    return int(used[-1]) + 1 if len(used) else 0


def _write(path: Path, kind: str, columns: dict[str, pa.Array], rows: Rows, metadata: dict[bytes, bytes]) -> None:
    fields: list[str] = list(rows.dtype.names or ())
    packed = {
        _column(field, i): pa.array(np.ascontiguousarray(rows[field][:, i]))
        for i in range(_used_instruments(rows))
        for field in fields
    }
    table = pa.table(columns | packed).replace_schema_metadata({_KIND: kind.encode(), **metadata})
    integers = [name for name in table.column_names if pa.types.is_int64(table.schema.field(name).type)]
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=_ROW_GROUP_ROWS_N,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            write_statistics=False,
        )


def _read(path: Path, kind: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError as e:
        raise InputMissing(
            f"no core input {path}",
            expected=f"the {kind} that the run names",
            action="restore home/inputs, or run the study again",
        ) from e
    except (pa.ArrowException, OSError) as e:
        raise _changed(path, f"it cannot be read: {str(e).splitlines()[0]:.200}") from e
    found = (table.schema.metadata or {}).get(_KIND, b"").decode(errors="replace")
    if found != kind:
        raise _changed(path, f"it holds {found or 'something else'!r}, not {kind}")
    return table


def _ints(path: Path, table: pa.Table, name: str) -> Ints:
    column = table[name] if name in table.column_names else None
    if column is None or not pa.types.is_int64(column.type) or column.null_count:
        raise _changed(path, f"column {name} is missing or not int64")
    return np.ascontiguousarray(column.to_numpy(), np.int64)


def _rows(path: Path, table: pa.Table, dtype: np.dtype[np.void]) -> Rows:
    rows = np.zeros((table.num_rows, INSTRUMENTS), dtype)
    fields: list[str] = list(dtype.names or ())
    present = [i for i in range(INSTRUMENTS) if _column(fields[0], i) in table.column_names]
    for i in present:
        for field in fields:
            rows[field][:, i] = _ints(path, table, _column(field, i))
    return rows


def _require_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise _changed(path, f"its content has the digest {found}")


def _changed(path: Path, what: str) -> InputChanged:
    return InputChanged(
        f"the core input {path} was changed: {what}",
        expected="the content its name says (SHA-256 over canonical bytes)",
        action="restore home/inputs from a backup, or run the study again",
    )
