"""`HOME/sync.sqlite`: how far each series was read, the rate budgets, and how many calls were made.

It is bookkeeping, not data: whoever deletes it loses no bar and reads the sources from their beginning again. It is written
after the lake and may lag it; a watermark that led the lake would lose bars for good.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from runtime.errors import BallastError, DataError, EnvironmentFailure, InvariantError

STATE_NAME: Final = "sync.sqlite"
STATE_VERSION: Final = 1
"""`PRAGMA user_version` of the file; another one is refused."""
BUSY_MS: Final = 10_000
PROBLEMS_N: Final = 3

_SCHEMA: Final = (
    """CREATE TABLE watermark (
    source TEXT NOT NULL, series TEXT NOT NULL, whole INTEGER NOT NULL, scanned_from_t INTEGER,
    scanned_until_t INTEGER NOT NULL, bars_n INTEGER NOT NULL, PRIMARY KEY (source, series)
) STRICT""",
    "CREATE TABLE source (name TEXT PRIMARY KEY, kind TEXT NOT NULL, options TEXT NOT NULL) STRICT",
    """CREATE TABLE outcome (
    source TEXT NOT NULL, series TEXT NOT NULL, at_t INTEGER NOT NULL, verdict TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (source, series)
) STRICT""",
    """CREATE TABLE budget (
    account TEXT PRIMARY KEY, rate_per_s REAL NOT NULL, burst_n REAL NOT NULL, left_n REAL NOT NULL, at_s REAL NOT NULL
) STRICT""",
    """CREATE TABLE calls (
    day TEXT NOT NULL, account TEXT NOT NULL, endpoint TEXT NOT NULL, outcome TEXT NOT NULL, calls_n INTEGER NOT NULL,
    PRIMARY KEY (day, account, endpoint, outcome)
) STRICT""",
)

Clock = Callable[[], float]
"""Seconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Source:
    """A provider as it was asked for, so that a sync can ask for it again.

    Attributes:
        name: the provider's own name, such as `kraken-rest` or `ccxt-binance`.
        kind: the name it is registered under.
        options: what it was made with; never a credential.
    """

    name: str
    kind: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far one series of one source was read: every bar that opened in [scanned_from_t, scanned_until_t) is in the lake.

    Attributes:
        source, series: whose, and which.
        whole: it was read from what the source calls its beginning; some give more when they are asked for a time before it.
        scanned_from_t: as asked for, else the first bar's opening time (None: there was no bar), seconds UTC.
        scanned_until_t: seconds UTC.
        bars_n: bars the lake had of the series then; a lake with fewer is not the one this was written for.
    """

    source: str
    series: str
    whole: bool
    scanned_from_t: int | None
    scanned_until_t: int
    bars_n: int


@dataclass(frozen=True, slots=True)
class LastOutcome:
    """How the last attempt at a series ended: `ok` or `failed`, when (seconds UTC), and the message."""

    source: str
    series: str
    at_t: int
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class Budget:
    """The rate budget of an account: calls a second, how many may come at once, and how many are left now.

    Fewer than none are left while callers wait for calls they have taken.
    """

    account: str
    rate_per_s: float
    burst_n: float
    left_n: float


@dataclass(frozen=True, slots=True)
class CallCount:
    """Calls of one day (UTC), account, endpoint and outcome (`ok`, `retried`, `failed`)."""

    day: str
    account: str
    endpoint: str
    outcome: str
    calls_n: int


class SyncState:
    """The open state file. Safe to use from the threads of one process; other processes may read it meanwhile."""

    def __init__(self, home: Path, *, clock: Clock, writable: bool = True) -> None:
        """Open the file, making it when it is missing and `writable`.

        Raises:
            DataError: it is no state file, or is of another version.
            EnvironmentFailure: it cannot be opened or written.
        """
        self.path = home / STATE_NAME
        self._clock = clock
        self._lock = threading.Lock()
        self.calls_n = 0
        """Calls counted since this object was made."""
        if writable:
            _make_folder(home)
        with _translated(self.path):
            self._connection = _connect(self.path, writable)
        try:
            with _translated(self.path):
                self._prepare(writable)
        except BaseException:
            self._connection.close()
            raise

    @staticmethod
    def exists(home: Path) -> bool:
        """Return whether a home folder has a state file."""
        return (home / STATE_NAME).is_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the last one to close it folds its write-ahead log back."""
        with self._lock:
            self._connection.close()

    @property
    def now_s(self) -> float:
        """The clock, seconds since 1970 UTC."""
        return self._clock()

    # ---- watermarks ----------------------------------------------------------------------------------------------

    def watermark(self, source: str, series: str) -> Watermark | None:
        """Return how far a series was read, or None."""
        rows = self._rows("SELECT * FROM watermark WHERE source = ? AND series = ?", (source, series))
        return _watermark(rows[0]) if rows else None

    def watermarks(self) -> list[Watermark]:
        """Return every watermark, by source and series."""
        rows = self._rows("SELECT * FROM watermark ORDER BY source, series", ())
        return [_watermark(row) for row in rows]

    def advance(self, marks: Sequence[Watermark]) -> None:
        """Put watermarks on record, all or none. Call it after the lake holds what they promise.

        Raises:
            InvariantError: a watermark would promise less than the one on record.
        """
        with self._transaction() as connection:
            for mark in marks:
                rows = connection.execute("SELECT * FROM watermark WHERE source = ? AND series = ?", _key(mark)).fetchall()
                if rows and not _covers(mark, _watermark(rows[0])):
                    raise InvariantError(
                        f"watermark {mark} promises less than the one on record, {_watermark(rows[0])}",
                        expected="watermarks that only grow",
                        action="report it; the lake is untouched by this",
                    )
                values = (mark.whole, mark.scanned_from_t, mark.scanned_until_t, mark.bars_n)
                connection.execute("INSERT OR REPLACE INTO watermark VALUES (?, ?, ?, ?, ?, ?)", (*_key(mark), *values))

    def forget(self, source: str, series: str) -> None:
        """Remove a watermark: the series is read from its beginning again."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM watermark WHERE source = ? AND series = ?", (source, series))

    # ---- sources and outcomes ------------------------------------------------------------------------------------

    def remember(self, source: Source) -> None:
        """Put on record how a source was asked for."""
        options = json.dumps(dict(source.options), sort_keys=True)
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO source VALUES (?, ?, ?)", (source.name, source.kind, options))

    def sources(self) -> list[Source]:
        """Return every source on record, by name."""
        rows = self._rows("SELECT name, kind, options FROM source ORDER BY name", ())
        return [Source(str(name), str(kind), json.loads(str(options))) for name, kind, options in rows]

    def ended(self, source: str, series: str, verdict: str, detail: str) -> None:
        """Put on record how an attempt at a series ended."""
        row = (source, series, int(self._clock()), verdict, detail)
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, ?, ?, ?)", row)

    def outcomes(self) -> list[LastOutcome]:
        """Return how the last attempt at every series ended, by source and series."""
        rows = self._rows("SELECT * FROM outcome ORDER BY source, series", ())
        return [LastOutcome(*cast("tuple[str, str, int, str, str]", row)) for row in rows]

    # ---- the call ledger -----------------------------------------------------------------------------------------

    def allow(self, account: str, rate_per_s: float, burst_n: float) -> None:
        """Set the rate budget of an account; what is left of a budget on record stays left."""
        with self._transaction() as connection:
            row = connection.execute("SELECT left_n, at_s FROM budget WHERE account = ?", (account,)).fetchone()
            left_n, at_s = row or (burst_n, self._clock())
            connection.execute(
                "INSERT OR REPLACE INTO budget VALUES (?, ?, ?, ?, ?)",
                (account, rate_per_s, burst_n, min(left_n, burst_n), at_s),
            )

    def forgive(self) -> None:
        """Give back calls taken by a process that ended before it made them. Call it inside `only_one`: nobody else waits."""
        with self._transaction() as connection:
            now_s = self._clock()
            for b in connection.execute("SELECT * FROM budget").fetchall():
                if _left_n(b[1], b[2], b[3], b[4], now_s) < 0:
                    connection.execute("UPDATE budget SET left_n = 0, at_s = ? WHERE account = ?", (now_s, b[0]))

    def acquire(self, account: str, cost_n: int) -> float:
        """Take calls from an account's budget; return the seconds to wait before making them.

        What is taken is taken: callers that wait are served one after the other. An account without a budget never waits.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT rate_per_s, burst_n, left_n, at_s FROM budget WHERE account = ?", (account,)
            ).fetchone()
            if row is None:
                return 0.0
            rate_per_s, now_s = float(row[0]), self._clock()
            left_n = _left_n(rate_per_s, row[1], row[2], row[3], now_s) - cost_n
            connection.execute("UPDATE budget SET left_n = ?, at_s = ? WHERE account = ?", (left_n, now_s, account))
        return max(0.0, -left_n / rate_per_s)

    def count(self, account: str, endpoint: str, outcome: str) -> None:
        """Count one call that was made."""
        self.calls_n += 1
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO calls VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET calls_n = calls_n + 1",
                (_day(self._clock()), account, endpoint, outcome),
            )

    def budgets(self) -> list[Budget]:
        """Return every account's budget with what is left of it now."""
        now_s = self._clock()
        rows = cast("list[tuple[str, float, float, float, float]]", self._rows("SELECT * FROM budget ORDER BY account", ()))
        return [Budget(name, rate, burst, _left_n(rate, burst, left, at_s, now_s)) for name, rate, burst, left, at_s in rows]

    def calls_today(self) -> list[CallCount]:
        """Return the calls of the clock's day (UTC), by account, endpoint and outcome."""
        rows = self._rows("SELECT * FROM calls WHERE day = ? ORDER BY account, endpoint, outcome", (_day(self._clock()),))
        return [CallCount(*cast("tuple[str, str, str, str, int]", row)) for row in rows]

    # ---- the file ------------------------------------------------------------------------------------------------

    def _prepare(self, writable: bool) -> None:
        """Check the version and the form of the file, or make a new one whole."""
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        tables_n = int(self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
        if version == STATE_VERSION:
            problems = [str(r[0]) for r in self._connection.execute(f"PRAGMA quick_check({PROBLEMS_N})") if r[0] != "ok"]
            if problems:
                raise DataError(
                    f"{self.path} is damaged: {'; '.join(problems)}",
                    expected="a state file that SQLite finds sound",
                    action="move it away and backfill again: no bar is lost, bars on record are only read again",
                )
        elif version or tables_n or not writable:
            raise DataError(
                f"{self.path} has schema version {version}",
                expected=f"version {STATE_VERSION}, the one this version of ballast writes",
                action="use the ballast that wrote it, or move the file away and backfill again (bars on record stay)",
            )
        if writable:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        if not tables_n:
            with self._transaction() as connection:
                if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:  # nobody else was faster
                    for statement in _SCHEMA:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {STATE_VERSION}")

    def _rows(self, statement: str, values: Sequence[str]) -> list[tuple[object, ...]]:
        with self._lock, _translated(self.path):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _key(mark: Watermark) -> tuple[str, str]:
    """Return what a watermark is found by."""
    return mark.source, mark.series


def _watermark(row: tuple[object, ...]) -> Watermark:
    source, series, whole, from_t, until_t, bars_n = cast("tuple[str, str, int, int | None, int, int]", row)
    return Watermark(source, series, bool(whole), from_t, until_t, bars_n)


def _covers(new: Watermark, old: Watermark) -> bool:
    """Return whether a watermark promises at least what another one does."""
    starts = old.scanned_from_t is None or (new.scanned_from_t is not None and new.scanned_from_t <= old.scanned_from_t)
    return starts and new.whole >= old.whole and new.scanned_until_t >= old.scanned_until_t


def _left_n(rate_per_s: float, burst_n: float, left_n: float, at_s: float, now_s: float) -> float:
    """Return what is left of a budget now; a clock that was set back refills nothing."""
    return min(burst_n, left_n + max(0.0, now_s - at_s) * rate_per_s)


def _day(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d")


def _make_folder(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot make the home folder {home}: {e.strerror or e}",
            expected="a writable folder",
            action="choose another folder with --out",
        ) from e


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    # A reader opens for writing too, and never writes: only so does the last one to close remove the write-ahead log's files.
    mode = "rwc" if writable else "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA trusted_schema = OFF")
    if not writable:
        connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Tell SQLite's failures in our own words."""
    try:
        yield
    except BallastError:
        raise
    except sqlite3.OperationalError as e:
        raise EnvironmentFailure(
            f"cannot use {path}: {e}",
            expected="a writable folder with free space",
            action="check permissions and disk, then run it again: it goes on where it stopped",
        ) from e
    except sqlite3.DatabaseError as e:
        raise DataError(
            f"{path} is no state file of ballast: {e}",
            expected="a file that `ballast data backfill` wrote",
            action="move it away and backfill again: no bar is lost, bars on record are only read again",
        ) from e
