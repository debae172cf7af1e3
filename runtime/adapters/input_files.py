"""Reading input files by row groups: what is read is what was verified, and only a few groups are in memory at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.core.records import INSTRUMENTS
from runtime.errors import DataError, VerificationError
from runtime.inference.bundle import DIGEST_BYTES

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]
T = TypeVar("T")

KIND: Final = b"ballast.kind"
DIGEST: Final = "feature_digest"
_GROUPS_N: Final = 2
"""Row groups of a file that are held decoded."""


class InputMissing(DataError):
    """A core input that a run names is not in `inputs/`."""

    kind = "input missing"


class InputChanged(VerificationError):
    """A core input is not what its address says."""

    kind = "input changed"


def changed(path: Path, what: str) -> InputChanged:
    """Return the error that says what of a file is not what its address promises."""
    return InputChanged(
        f"the core input {path} was changed: {what}",
        expected="the content its name says (SHA-256 over canonical bytes)",
        action="restore home/inputs from a backup, or run the study again",
    )


def column_name(field: str, instrument: int) -> str:
    """Return the name of the column that holds one field of one instrument."""
    return f"{field}_{instrument:02d}"


def _ints(path: Path, table: pa.Table, name: str) -> Ints:
    column = table[name] if name in table.column_names else None
    if column is None or not pa.types.is_int64(column.type) or column.null_count:
        raise changed(path, f"column {name} is missing or not int64")
    return np.ascontiguousarray(column.to_numpy(), np.int64)


class InputFile:
    """An input's Parquet file, read by row groups; whatever is wrong with it is one typed error."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except FileNotFoundError as e:
            raise InputMissing(
                f"no core input {path}",
                expected=f"the {kind} that the run names",
                action="restore home/inputs, or run the study again",
            ) from e
        except (pa.ArrowException, OSError) as e:
            raise self._unreadable(e) from e
        self._schema: pa.Schema = self._file.schema_arrow
        self.metadata: dict[bytes, bytes] = self._schema.metadata or {}
        found = self.metadata.get(KIND, b"").decode(errors="replace")
        if found != kind:
            raise changed(path, f"it holds {found or 'something else'!r}, not {kind}")
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self.first_rows = np.cumsum([0, *sizes]).tolist()
        self.rows_n: int = self.first_rows[-1]

    def _unreadable(self, e: Exception) -> InputChanged:
        return changed(self.path, f"it cannot be read: {str(e).splitlines()[0]:.200}")

    def has(self, name: str) -> bool:
        """Return whether there is such a column."""
        return name in self._schema.names

    def ints(self, name: str) -> Ints:
        """Return a whole column of int64."""
        return _ints(self.path, self.group(None, [name]), name)

    def group(self, n: int | None, names: list[str]) -> pa.Table:
        """Return columns of one row group, or of all."""
        missing = [name for name in names if not self.has(name)]
        if missing:
            raise changed(self.path, f"column {missing[0]} is missing")
        try:
            table = (
                self._file.read(names, use_threads=False)
                if n is None
                else self._file.read_row_group(n, names, use_threads=False)
            )
        except (pa.ArrowException, OSError) as e:
            raise self._unreadable(e) from e
        expected = self.rows_n if n is None else self.first_rows[n + 1] - self.first_rows[n]
        if table.num_rows != expected:
            raise changed(self.path, f"{table.num_rows} rows where {expected} should be")
        return table


class _Groups(ABC, Generic[T]):
    """What a file's row groups hold, the last ones used kept; a group read again must be the one that was sealed."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._held: OrderedDict[int, T] = OrderedDict()
        self._sealed: list[bytes] = []

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._file.rows_n

    @abstractmethod
    def _decode(self, n: int) -> T:
        """Read a row group."""

    @abstractmethod
    def _bytes(self, group: T) -> bytes | memoryview:
        """Return what a row group's hash covers."""

    def seal(self, h: hashlib._Hash) -> None:
        """Feed every group to a hash, in order, and remember each one's own."""
        for n in range(len(self._file.first_rows) - 1):
            content = self._bytes(self._group(n))
            h.update(content)
            self._sealed.append(hashlib.sha256(content).digest())

    def _group(self, n: int) -> T:
        found = self._held.get(n)
        if found is None:
            found = self._decode(n)
            if n < len(self._sealed) and hashlib.sha256(self._bytes(found)).digest() != self._sealed[n]:
                raise changed(self._file.path, "since it was opened")
            self._held[n] = found
            if len(self._held) > _GROUPS_N:
                self._held.popitem(last=False)
        self._held.move_to_end(n)
        return found

    def _parts(self, key: slice) -> list[tuple[int, int, int]]:
        """Return (group, first row in it, row after the last) of a range of rows."""
        first, stop, step = key.indices(len(self))
        if step != 1:
            raise ValueError("rows are read in their order")
        starts = self._file.first_rows
        parts = []
        n = bisect_right(starts, first) - 1
        while first < stop:
            end = min(stop, starts[n + 1])
            if first < end:
                parts.append((n, first - starts[n], end - starts[n]))
            first = max(first, end)
            n += 1
        return parts


class StoredRows(_Groups[Rows]):
    """Records [N, INSTRUMENTS] of an input file, by row number."""

    def __init__(self, file: InputFile, dtype: np.dtype[np.void]) -> None:
        super().__init__(file)
        self._dtype = dtype
        self._fields: list[str] = list(dtype.names or ())
        self._instruments = [i for i in range(INSTRUMENTS) if file.has(column_name(self._fields[0], i))]

    def _decode(self, n: int) -> Rows:
        names = {(i, field): column_name(field, i) for i in self._instruments for field in self._fields}
        table = self._file.group(n, list(names.values()))
        rows = np.zeros((self._file.first_rows[n + 1] - self._file.first_rows[n], INSTRUMENTS), self._dtype)
        for (i, field), name in names.items():
            rows[field][:, i] = _ints(self._file.path, table, name)
        return rows

    def _bytes(self, group: Rows) -> bytes | memoryview:
        return group.view("<i8").data

    @overload
    def __getitem__(self, key: int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Rows: ...
    def __getitem__(self, key: int | slice) -> Any:
        """Return one row [INSTRUMENTS] or a range of rows, as a copy or a view that nobody changes."""
        if not isinstance(key, slice):
            return self[key : key + 1][0]
        parts = [self._group(n)[first:stop] for n, first, stop in self._parts(key)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.zeros((0, INSTRUMENTS), self._dtype), *parts])


class StoredDigests(_Groups[list[bytes]], Sequence[bytes]):
    """Feature digests of an input file, by row number."""

    def _decode(self, n: int) -> list[bytes]:
        digests: list[bytes | None] = self._file.group(n, [DIGEST])[DIGEST].to_pylist()
        found = [d for d in digests if type(d) is bytes and len(d) == DIGEST_BYTES]
        if len(found) != len(digests):
            raise changed(self._file.path, "a feature digest is missing")
        return found

    def _bytes(self, group: list[bytes]) -> bytes | memoryview:
        return b"".join(group)

    @overload
    def __getitem__(self, key: int) -> bytes: ...
    @overload
    def __getitem__(self, key: slice) -> list[bytes]: ...
    def __getitem__(self, key: int | slice) -> bytes | list[bytes]:
        """Return one digest or a range of them."""
        if not isinstance(key, slice):
            return self[key : key + 1][0]
        return [d for n, first, stop in self._parts(key) for d in self._group(n)[first:stop]]
