"""The tail of bars that forecasts are computed from: exact doubles in one SQLite file, and the same rows in memory beside it.

It is no part of the chain: it can be made again from the venue or the dataset at any time. What a forecast used is in the journal,
as the digest of its window.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.errors import DataError, EnvironmentFailure, UsageError
from runtime.inference.panel import BarPanel
from runtime.market import ClosedBar

FORMAT_N: Final = 1
GROWTH_N: Final = 512
"""Rows that are added to the memory at once."""
DISK_ERRORS: Final = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")
FIELDS_N: Final = 5
"""Open, high, low, close, volume."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bar (
    open_t INTEGER NOT NULL, instrument_id INTEGER NOT NULL, cells BLOB NOT NULL, PRIMARY KEY (open_t, instrument_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS correction (
    open_t INTEGER NOT NULL, instrument_id INTEGER NOT NULL, cells BLOB NOT NULL, PRIMARY KEY (open_t, instrument_id)
) WITHOUT ROWID;
"""
_CELLS: Final = struct.Struct("<5d")

Floats = npt.NDArray[np.float64]


class BarTail:
    """The last bars of a set of instruments on one grid. NaN is absent: the venue has no bar, or it was never put."""

    def __init__(self, path: Path, symbols: Sequence[str], interval_t: int) -> None:
        """Open the file, or make it.

        Args:
            path: of the SQLite file.
            symbols: universe symbols, index = instrument_id.
            interval_t: seconds between rows.

        Raises:
            DataError: the file holds bars of other instruments or another interval, or is damaged.
            EnvironmentFailure: the disk is full, or the file may not be written.
        """
        self._symbols, self._interval_t, self._path = tuple(symbols), interval_t, path
        self._first_t: int | None = None
        self._rows_n = 0
        self._cells: Floats = np.full((0, len(self._symbols), FIELDS_N), np.nan)
        """Float64 [rows, symbols, 5]; the first `_rows_n` rows count."""
        self._put: npt.NDArray[np.bool_] = np.zeros((0, len(self._symbols)), np.bool_)
        """Whether a bar was put there, if only to say that there was none."""
        try:
            self._store = sqlite3.connect(path, isolation_level=None)
            self._store.execute("PRAGMA journal_mode = WAL")
            self._store.execute("PRAGMA synchronous = NORMAL")
            self._store.executescript(_SCHEMA)
            self._claim()
            self._read()
        except (sqlite3.DatabaseError, ValueError, IndexError, TypeError) as e:
            if (getattr(e, "sqlite_errorname", "") or "").startswith(DISK_ERRORS):
                raise self._no_disk(e) from e
            raise DataError(
                f"the bar tail {path} cannot be read: {e}",
                expected="a file that this program wrote",
                action="delete it: it is filled again from the venue",
            ) from e

    @property
    def last_open_t(self) -> int | None:
        """Opening time of the newest row; None when there is none."""
        return None if self._first_t is None else self._first_t + (self._rows_n - 1) * self._interval_t

    def put(self, bars: Sequence[ClosedBar]) -> list[ClosedBar]:
        """Keep bars and return those of them that say something else than what is already kept, which stays.

        What they say is put on record beside it, in the table `correction`: `ballast divergence` compares with it. A quiet bar
        (all NaN) is kept as the statement that there is none.

        Raises:
            EnvironmentFailure: the file cannot be written; the bars are kept in memory.
            UsageError: a bar is off the grid or of an unknown instrument.
        """
        changed: list[ClosedBar] = []
        fresh: list[tuple[int, int, bytes]] = []
        for bar in bars:
            if bar.open_t % self._interval_t or not 0 <= bar.instrument_id < len(self._symbols):
                raise UsageError(
                    f"a bar of instrument {bar.instrument_id} at {bar.open_t}",
                    expected=f"one of {len(self._symbols)} instruments, on the grid of {self._interval_t} s",
                    action="report this as a defect of the feed",
                )
            row, cells = self._row(bar.open_t), bar[2:7]
            if self._put[row, bar.instrument_id]:
                if _CELLS.pack(*cells) != self._cells[row, bar.instrument_id].astype("<f8").tobytes():
                    changed.append(bar)
                continue
            self._cells[row, bar.instrument_id] = cells
            self._put[row, bar.instrument_id] = True
            fresh.append((bar.open_t, bar.instrument_id, _CELLS.pack(*cells)))
        if fresh:
            self._write("INSERT INTO bar VALUES (?, ?, ?)", fresh)
        if changed:
            corrections = [(bar.open_t, bar.instrument_id, _CELLS.pack(*bar[2:7])) for bar in changed]
            self._write("INSERT OR REPLACE INTO correction VALUES (?, ?, ?)", corrections)
        return changed

    def seed(self, panel: BarPanel) -> None:
        """Keep the bars of a panel where nothing is kept yet, for example those that a bundle brings.

        Raises:
            UsageError: the panel has other symbols or another interval.
        """
        if panel.symbols != self._symbols or panel.interval_t != self._interval_t:
            raise UsageError(
                f"a panel of {len(panel.symbols)} symbols and {panel.interval_t} s",
                expected=f"{', '.join(self._symbols)} and {self._interval_t} s",
                action="take the bundle that belongs to this account",
            )
        columns = np.stack([panel.open, panel.high, panel.low, panel.close, panel.volume], axis=2)
        bars = [
            ClosedBar(n, int(open_t), *columns[row, n].tolist(), "seed")  # type: ignore[call-arg]  # five floats
            for row, open_t in enumerate(panel.open_t)
            for n in range(len(self._symbols))
            if not np.isnan(columns[row, n]).all()
            and not self.has(n, int(open_t))  # what the venue itself said stays unquestioned
        ]
        self.put(bars)

    def panel(self, last_open_t: int, rows_n: int) -> BarPanel:
        """Return the `rows_n` rows that end with the one that opened at `last_open_t`; what is not kept is NaN.

        Raises:
            UsageError: the time is off the grid, or no row is wanted.
        """
        if last_open_t % self._interval_t or rows_n < 1:
            raise UsageError(
                f"{rows_n} rows until {last_open_t}",
                expected="a time on the grid, one row at least",
                action="report this defect",
            )
        open_t = np.arange(rows_n, dtype=np.int64) * self._interval_t + (last_open_t - (rows_n - 1) * self._interval_t)
        cells = np.full((rows_n, len(self._symbols), FIELDS_N), np.nan)
        if self._first_t is not None:
            begin = (int(open_t[0]) - self._first_t) // self._interval_t
            low, high = max(begin, 0), min(begin + rows_n, self._rows_n)
            if low < high:
                cells[low - begin : high - begin] = self._cells[low:high]
        columns = [np.ascontiguousarray(cells[:, :, field]) for field in range(FIELDS_N)]
        return BarPanel(self._symbols, self._interval_t, open_t, *columns)

    def has(self, instrument_id: int, open_t: int) -> bool:
        """Say whether a bar was put there, a quiet one included."""
        if self._first_t is None:
            return False
        row = (open_t - self._first_t) // self._interval_t
        return 0 <= row < self._rows_n and bool(self._put[row, instrument_id])

    def prune(self, before_t: int) -> None:
        """Forget the rows that opened before a time."""
        if self._first_t is None or before_t <= self._first_t:
            return
        drop_n = min(-(-(before_t - self._first_t) // self._interval_t), self._rows_n)
        for table in ("bar", "correction"):
            self._write(f"DELETE FROM {table} WHERE open_t < ?", [(self._first_t + drop_n * self._interval_t,)])  # noqa: S608  ours
        self._cells, self._put = self._cells[drop_n:].copy(), self._put[drop_n:].copy()
        self._rows_n -= drop_n
        self._first_t = self._first_t + drop_n * self._interval_t if self._rows_n else None
        if self._first_t is None:
            self._cells, self._put = self._cells[:0], self._put[:0]

    def close(self) -> None:
        """Release the file. Closing twice is harmless."""
        self._store.close()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._store:
                self._store.execute("BEGIN")
                self._store.executemany(statement, rows)
        except sqlite3.OperationalError as e:
            raise self._no_disk(e) from e

    def _no_disk(self, error: Exception) -> EnvironmentFailure:
        return EnvironmentFailure(
            f"the bar tail {self._path} cannot be written: {error}",
            expected="a disk with room that can be written",
            action="free space or correct the permissions, then start again",
        )

    def _row(self, open_t: int) -> int:
        """Return the row of a time, made if it is new on either end."""
        if self._first_t is None:
            self._first_t = open_t
        row = (open_t - self._first_t) // self._interval_t
        if row < 0:
            self._cells = np.concatenate([np.full((-row, *self._cells.shape[1:]), np.nan), self._cells[: self._rows_n]])
            self._put = np.concatenate([np.zeros((-row, self._put.shape[1]), np.bool_), self._put[: self._rows_n]])
            self._first_t, self._rows_n = open_t, self._rows_n - row
            return 0
        if row >= len(self._cells):
            more_n = row + 1 - len(self._cells) + GROWTH_N
            self._cells = np.concatenate([self._cells, np.full((more_n, *self._cells.shape[1:]), np.nan)])
            self._put = np.concatenate([self._put, np.zeros((more_n, self._put.shape[1]), np.bool_)])
        self._rows_n = max(self._rows_n, row + 1)
        return row

    def _claim(self) -> None:
        """Mark the file as this set's, or refuse one of another."""
        wanted = {"format": str(FORMAT_N), "symbols": " ".join(self._symbols), "interval_t": str(self._interval_t)}
        self._store.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", wanted.items())
        found = dict(self._store.execute("SELECT key, value FROM about"))
        if found != wanted:
            self._store.close()
            raise DataError(
                f"{self._path} holds bars of {found.get('symbols')} every {found.get('interval_t')} s",
                expected=f"{wanted['symbols']} every {self._interval_t} s",
                action="delete it: it is filled again from the venue",
            )

    def _read(self) -> None:
        rows = self._store.execute("SELECT open_t, instrument_id, cells FROM bar ORDER BY open_t, instrument_id").fetchall()
        if not rows:
            return
        self._first_t = rows[0][0]
        self._row(rows[-1][0])
        at = np.array([(open_t - rows[0][0]) // self._interval_t for open_t, _, _ in rows])
        n = np.array([instrument_id for _, instrument_id, _ in rows])
        self._cells[at, n] = np.frombuffer(b"".join(cells for _, _, cells in rows), "<f8").reshape(len(rows), FIELDS_N)
        self._put[at, n] = True
