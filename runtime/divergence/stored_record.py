"""What is on record about the market of a paper account: the raw bars beside its journal, corrections laid over them, and its bundle."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from runtime.divergence.period import ForecastsAt, Rows
from runtime.errors import BallastError, DataError
from runtime.event import BundleNote
from runtime.genesis import Genesis
from runtime.inference.panel import BarPanel
from runtime.inference.quantise import bars_to_core
from runtime.ops.bundles.keys import trusted_keys
from runtime.ops.bundles.read import read_bundle
from runtime.ops.bundles.store import bundle_of

BARS_NAME: Final = "bars.sqlite"
FIELDS_N: Final = 5
"""Open, high, low, close, volume, as little-endian doubles."""


class Forecasts(Protocol):
    """What makes forecasts of bars: `runtime.inference.forecaster.Forecaster`."""

    @property
    def window_n(self) -> int:
        """Bars that it needs."""

    def forecast(self, panel: BarPanel) -> tuple[npt.NDArray[np.void], bytes] | None:
        """Return FORECAST [INSTRUMENTS] and the digest of the features for the last bar, `None` off its grid."""


class StoredRecord:
    """Bars of record of an account.

    Args:
        path: SQLite file of raw bars (`runtime.adapters.bar_tail`); without one nothing is on record.
        genesis: names the assets and the interval.
        forecaster: makes the forecasts, `None`: they cannot be made again.

    Raises:
        DataError: the file cannot be read, or is another account's.
    """

    def __init__(self, path: Path, genesis: Genesis, forecaster: Forecasts | None) -> None:
        self._genesis, self._forecaster = genesis, forecaster
        self._cells: dict[int, npt.NDArray[np.float64]] = {}
        if path.is_file():
            try:
                self._read(path)
            except (sqlite3.Error, ValueError, IndexError) as e:
                raise DataError(
                    f"the bars of record {path} cannot be read: {e}",
                    expected="the file that the daemon keeps beside its journal",
                    action="leave it out with --no-bars: the journal's own bars are then the record",
                ) from e

    @property
    def window_n(self) -> int:
        """Bars that a forecast depends on."""
        return self._forecaster.window_n if self._forecaster is not None else 0

    def bars(self, open_t: int) -> Rows | None:
        """Return BAR [INSTRUMENTS], `None` when the hour is not on record."""
        if open_t not in self._cells:
            return None
        rows, _ = bars_to_core(self._panel(open_t, 1), self._genesis.symbols)
        return np.asarray(rows[0])

    def makes(self, open_t: int) -> bool:
        """Return whether the bundle and all bars of the window are at hand."""
        first_t = open_t - (self.window_n - 1) * self._genesis.interval_t
        return self._forecaster is not None and open_t in self._cells and min(self._cells) <= first_t

    def forecasts(self, open_t: int) -> ForecastsAt | None:
        """Return the forecasts made on the bars of record opened at a time, `None` off the grid or when they cannot be made."""
        if self._forecaster is None or not self.makes(open_t):
            return None
        return self._forecaster.forecast(self._panel(open_t, self.window_n))

    def _panel(self, last_open_t: int, rows_n: int) -> BarPanel:
        interval_t, symbols = self._genesis.interval_t, self._genesis.symbols
        open_t = np.arange(rows_n, dtype=np.int64) * interval_t + (last_open_t - (rows_n - 1) * interval_t)
        nothing = np.full((len(symbols), FIELDS_N), np.nan)
        cells = np.stack([self._cells.get(t, nothing) for t in open_t.tolist()])
        return BarPanel(symbols, interval_t, open_t, *(np.ascontiguousarray(cells[:, :, field]) for field in range(FIELDS_N)))

    def _read(self, path: Path) -> None:
        connection = _connect(path)
        try:
            about = dict(connection.execute("SELECT key, value FROM about").fetchall())
            if about.get("symbols") != " ".join(self._genesis.symbols):
                raise ValueError(f"bars of {about.get('symbols')}")
            known = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in ("bar", "correction"):  # the last word counts
                if table in known:
                    rows = connection.execute(f"SELECT open_t, instrument_id, cells FROM {table}")  # noqa: S608  our own names
                    for open_t, instrument_id, cells in rows:
                        if open_t not in self._cells:
                            self._cells[open_t] = np.full((len(self._genesis.symbols), FIELDS_N), np.nan)
                        self._cells[open_t][instrument_id] = np.frombuffer(cells, "<f8")
        finally:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file for reading, also on a disk that cannot be written."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and log.stat().st_size:
            raise  # without the log the last bars would be missing
        # the log of a daemon that ended is folded in, yet SQLite wants to make an empty one; `immutable` reads the file as it is
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    return connection


def find_forecaster(home: Path, note: BundleNote | None) -> tuple[Forecasts | None, str]:
    """Return what made the forecasts of a chain, and why it cannot be had when it cannot."""
    if note is None:
        return None, "the journal names no bundle"
    path = bundle_of(home, note.manifest_digest)
    if path is None:
        return None, f"the bundle {note.name} {note.manifest_digest[:12]} is not in this home folder"
    try:
        return read_bundle(path, trusted_keys(home)).forecaster, ""
    except BallastError as e:
        return None, e.got
