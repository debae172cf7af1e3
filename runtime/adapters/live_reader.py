"""Reads the live tables: timeline, one decision, equity, candles, forecasts, notes and the last blocks.

`LiveReader` may be used by many threads at once: each query has a read-only connection of its own for as long as it runs. Rows of
record types are mappings of the core's field names to integers; money stays in scaled integers.
"""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from runtime.adapters.live_tables import BUSY_MS, FORECAST_FIELDS, PRICE_FIELDS, record_columns
from runtime.errors import EnvironmentFailure
from runtime.ports import Head

Row = dict[str, int]
"""A row of a record type: the core's fields and `block_seq_n`."""
LIMIT_MAX: Final = 10_000
IDLE_CONNECTIONS_N: Final = 8


@dataclass(frozen=True, slots=True)
class Filters:
    """What a timeline shows; an empty choice shows all.

    Attributes:
        instruments, actions, gates, outlooks, reasons: codes, of which a signal has one.
        since_t, until_t: seconds UTC, both included.
    """

    instruments: tuple[int, ...] = ()
    actions: tuple[int, ...] = ()
    gates: tuple[int, ...] = ()
    outlooks: tuple[int, ...] = ()
    reasons: tuple[int, ...] = ()
    since_t: int | None = None
    until_t: int | None = None


class Page(NamedTuple):
    """Signals, newest first; `cursor` asks for what comes after them, `None` at the end."""

    rows: list[Row]
    cursor: int | None


class ForecastRow(NamedTuple):
    """One asset's forecast as the journal has it; `values` by the fields of FORECAST."""

    instrument_id: int
    at_t: int
    values: Row
    feature_digest: bytes
    block_seq_n: int


class Governing(NamedTuple):
    """Which profile and bundle govern from a block on; `bundle` is the canonical JSON of its note."""

    seq_n: int
    policy_digest: str
    profile_version_n: int
    bundle: str


class BlockRow(NamedTuple):
    """The header of a block."""

    seq_n: int
    at_t: int
    kind_id: int
    records_n: int
    block_hash: bytes


class NoteRow(NamedTuple):
    """An event that somebody is responsible for; `body` is the canonical JSON of a profile, bundle or session, else `{}`."""

    seq_n: int
    at_t: int
    kind_id: int
    switch_id: int
    quote_id: int
    value_n: int
    amount_e8: int
    actor: str
    reason: str
    command_id: str
    body: str


class Decision(NamedTuple):
    """One signal with what it came from and all that came of it.

    Attributes:
        block: block of the signal.
        risk_events: what the gates compared.
        orders: every state of the orders it made; `fills` and `entries` are theirs.
        lots: states of the lots that the fills opened or reduced.
        trades: sales by these fills, and later sales of the lots they opened.
        forecast: what the signal acted on, `None` when it acted on none.
    """

    signal: Row
    block: BlockRow
    governing: Governing
    forecast: ForecastRow | None
    risk_events: list[Row]
    orders: list[Row]
    fills: list[Row]
    lots: list[Row]
    trades: list[Row]
    entries: list[Row]


class EquityPoint(NamedTuple):
    """The portfolio at the end of an hour: `close_t` is when that hour closed, `at_t` when it was taken in (later after an outage)."""

    close_t: int
    pv_e8: int
    peak_e8: int
    drawdown_ppm: int
    gross_e8: int
    realised_e8: int
    unrealised_e8: int
    fees_e8: int
    open_n: int
    at_t: int


class Candle(NamedTuple):
    """A closed bar as the core saw it."""

    open_t: int
    open_e8: int
    high_e8: int
    low_e8: int
    close_e8: int
    volume_e4: int


class Mark(NamedTuple):
    """A fill on a chart, with the action and reason of the signal behind its order."""

    at_t: int
    signal_id: int
    fill_id: int
    action_id: int
    reason_id: int
    side_id: int
    qty_e8: int
    price_e8: int


class LiveReader:
    """The reading side of the live tables in `path`; the writer may rebuild or replace the file meanwhile.

    Raises:
        EnvironmentFailure: of every method: the file is not there yet, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[tuple[int, sqlite3.Connection]] = queue.LifoQueue(IDLE_CONNECTIONS_N)

    def close(self) -> None:
        """Close the connections that no query uses."""
        while True:
            try:
                self._idle.get_nowait()[1].close()
            except queue.Empty:
                return

    # ---- decisions ---------------------------------------------------------------------------------------------

    def timeline(self, filters: Filters | None = None, cursor: int | None = None, limit: int = 100) -> Page:
        """Return signals, newest first.

        Args:
            filters: which ones.
            cursor: of the page before.
            limit: 1 to `LIMIT_MAX` rows.
        """
        filters = filters or Filters()
        choices = {
            "instrument_id": filters.instruments, "action_id": filters.actions, "gate_id": filters.gates,
            "outlook_id": filters.outlooks, "reason_id": filters.reasons,
        }  # fmt: skip
        terms: list[str] = []
        values: list[int] = []
        for column, chosen in choices.items():
            if chosen:
                terms.append(f"{column} IN ({', '.join('?' * len(chosen))})")
                values += chosen
        bounds = (("at_t >= ?", filters.since_t), ("at_t <= ?", filters.until_t), ("signal_id < ?", cursor))
        for term, bound in bounds:
            if bound is not None:
                terms.append(term)
                values.append(bound)
        limit = min(max(limit, 1), LIMIT_MAX)
        with self._connection() as connection:
            where = (
                f"WHERE {' AND '.join(terms)} ORDER BY signal_id DESC LIMIT ?" if terms else "ORDER BY signal_id DESC LIMIT ?"
            )
            rows = _records(connection, "trade_signal", where, (*values, limit))
        return Page(rows, rows[-1]["signal_id"] if len(rows) == limit else None)

    def decision(self, signal_id: int) -> Decision | None:
        """Return one decision, `None` when there is no such signal."""
        with self._connection() as connection:
            found = _records(connection, "trade_signal", "WHERE signal_id = ?", (signal_id,))
            if not found:
                return None
            signal = found[0]
            seq_n = signal["block_seq_n"]
            block = connection.execute("SELECT * FROM block WHERE seq_n = ?", (seq_n,)).fetchone()
            governing = connection.execute("SELECT * FROM governing WHERE seq_n <= ? ORDER BY seq_n DESC LIMIT 1", (seq_n,))
            place = (signal["instrument_id"], signal["forecast_t"])
            orders = _records(connection, "order_request", "WHERE signal_id = ? ORDER BY order_row_id", (signal_id,))
            order_ids = sorted({order["order_id"] for order in orders})
            fills = _records(connection, "order_fill", _within("order_id", order_ids), order_ids)
            fill_ids = [fill["fill_id"] for fill in fills]
            lots = _records(connection, "position_lot", _within("fill_id", fill_ids), fill_ids)
            opened = sorted({lot["lot_id"] for lot in lots if lot["qty_e8"] > 0})
            either = f"{_within('fill_id', fill_ids)} OR lot_id IN ({', '.join('?' * len(opened))})"
            return Decision(
                signal,
                BlockRow(*block),
                Governing(*governing.fetchone()),
                next(iter(_forecasts(connection, "WHERE instrument_id = ? AND at_t = ?", place)), None),
                _records(connection, "risk_event", "WHERE signal_id = ? ORDER BY risk_event_id", (signal_id,)),
                orders,
                fills,
                lots,
                _records(connection, "executed_trade", f"{either} ORDER BY trade_id", (*fill_ids, *opened)),
                _records(connection, "cash_ledger", _within("fill_id", fill_ids), fill_ids),
            )

    def notes(self, limit: int = 100, before_n: int | None = None) -> list[NoteRow]:
        """Return what operators and the daemon did, newest first, before a block."""
        sql = "SELECT * FROM note WHERE seq_n < ? ORDER BY seq_n DESC LIMIT ?"
        with self._connection() as connection:
            rows = connection.execute(sql, (_above(before_n), min(max(limit, 1), LIMIT_MAX)))
            return [NoteRow(*row) for row in rows]

    def forecasts(self, at_t: int | None = None) -> list[ForecastRow]:
        """Return the forecasts of a decision time, by default of the last one, in the order of instruments."""
        with self._connection() as connection:
            if at_t is None:
                at_t = connection.execute("SELECT coalesce(max(at_t), 0) FROM forecast").fetchone()[0]
            return _forecasts(connection, "WHERE at_t = ? ORDER BY instrument_id", (at_t,))

    # ---- the portfolio -----------------------------------------------------------------------------------------

    def equity(self, since_t: int = 0, until_t: int | None = None, points: int = 500) -> list[EquityPoint]:
        """Return the last state of each hour closed from `since_t` to `until_t`, oldest first: no two have the same `close_t`.

        Thinned to about `points`: of each stretch the first, lowest, highest and last.
        """
        sql = (
            f"SELECT {', '.join(EquityPoint._fields)} FROM hour "  # noqa: S608  our own names
            "JOIN portfolio_hourly_state USING (block_seq_n) WHERE close_t >= ? AND close_t <= ? ORDER BY close_t"
        )
        with self._connection() as connection:
            found = connection.execute(sql, (since_t, _above(until_t))).fetchall()
        if len(found) > points:
            found = _thinned(found, max(points // 4, 1))
        return [EquityPoint(*row) for row in found]

    def hourly(self, table: str = "portfolio_hourly_state") -> Row | None:
        """Return the last row of `portfolio_hourly_state` or `risk_hourly_state`."""
        key = record_columns(table)[0]
        with self._connection() as connection:
            return next(iter(_records(connection, table, f"ORDER BY {key} DESC LIMIT 1", ())), None)

    def clusters(self) -> list[Row]:
        """Return the exposure of each cluster in the last hourly state."""
        last = "WHERE portfolio_state_id = (SELECT max(state_id) FROM portfolio_hourly_state) ORDER BY cluster_id"
        with self._connection() as connection:
            return _records(connection, "cluster_exposure_hourly_state", last, ())

    # ---- charts and blocks -------------------------------------------------------------------------------------

    def candles(self, instrument_id: int, since_t: int = 0, limit: int = 1_000) -> tuple[list[Candle], list[Mark]]:
        """Return the last bars opened at or after a time, oldest first, and the fills since the first of them."""
        fields = ", ".join(("open_t", *PRICE_FIELDS))
        bars = f"SELECT {fields} FROM bar WHERE instrument_id = ? AND open_t >= ? ORDER BY open_t DESC LIMIT ?"  # noqa: S608
        marks = """SELECT f.at_t, o.signal_id, f.fill_id, s.action_id, s.reason_id, f.side_id, f.qty_e8, f.price_e8
FROM order_fill f JOIN order_request o ON o.order_row_id = f.order_row_id JOIN trade_signal s ON s.signal_id = o.signal_id
WHERE f.instrument_id = ? AND f.at_t >= ? ORDER BY f.fill_id"""
        with self._connection() as connection:
            rows = connection.execute(bars, (instrument_id, since_t, min(max(limit, 1), LIMIT_MAX))).fetchall()
            candles = [Candle(*row) for row in reversed(rows)]
            first_t = candles[0].open_t if candles else since_t
            return candles, [Mark(*row) for row in connection.execute(marks, (instrument_id, first_t))]

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols by instrument."""
        with self._connection() as connection:
            return tuple(row[0] for row in connection.execute("SELECT symbol FROM instrument ORDER BY instrument_id"))

    def watermark(self) -> Head:
        """Return the last block that the tables hold."""
        with self._connection() as connection:
            values = dict(connection.execute("SELECT name, value FROM meta"))
        return Head(int.from_bytes(values.get("seq_n", b""), "big"), bytes(values.get("block_hash", b"")))

    def last_blocks(self, limit: int = 20) -> list[BlockRow]:
        """Return the last blocks, newest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM block ORDER BY seq_n DESC LIMIT ?", (min(max(limit, 1), LIMIT_MAX),))
            return [BlockRow(*row) for row in rows]

    def blocks_after(self, seq_n: int, limit: int = 1_000) -> list[BlockRow]:
        """Return the blocks after a number, oldest first: what an event stream goes on with."""
        sql = "SELECT * FROM block WHERE seq_n > ? ORDER BY seq_n LIMIT ?"
        with self._connection() as connection:
            return [BlockRow(*row) for row in connection.execute(sql, (seq_n, min(max(limit, 1), LIMIT_MAX)))]

    # ---- connections -------------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one read transaction: what a method returns is of one moment."""
        try:
            inode = self._path.stat().st_ino
            connection = self._take(inode)
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as e:
            raise EnvironmentFailure(
                f"the live tables {self._path} cannot be read: {e}",
                expected="the file that the daemon keeps beside its journal",
                action="wait for the daemon to build it, or look into its log",
            ) from e
        try:
            self._idle.put_nowait((inode, connection))
        except queue.Full:
            connection.close()

    def _take(self, inode: int) -> sqlite3.Connection:
        while True:
            try:
                made_of, connection = self._idle.get_nowait()
            except queue.Empty:
                break
            if made_of == inode:
                return connection
            connection.close()  # of a file that was replaced
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        return connection


def _records(connection: sqlite3.Connection, table: str, where: str, values: Sequence[int]) -> list[Row]:
    columns = record_columns(table)
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table} {where}", values)  # noqa: S608  our own text
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _forecasts(connection: sqlite3.Connection, where: str, values: Sequence[int]) -> list[ForecastRow]:
    found = connection.execute(f"SELECT * FROM forecast {where}", values)  # noqa: S608  our own text
    return [
        ForecastRow(row[0], row[1], dict(zip(FORECAST_FIELDS, row[2:-2], strict=True)), bytes(row[-2]), row[-1])
        for row in found
    ]


def _within(column: str, ids: Sequence[int]) -> str:
    return f"WHERE {column} IN ({', '.join('?' * len(ids))})"


def _above(bound: int | None) -> int:
    return 2**62 if bound is None else bound


def _thinned(rows: list[tuple[int, ...]], stretches: int) -> list[tuple[int, ...]]:
    """Keep of each stretch its first and last row and those of its lowest and highest value (the second column)."""
    kept: set[int] = set()
    for n in range(stretches):
        part = range(n * len(rows) // stretches, (n + 1) * len(rows) // stretches)
        if part:
            kept |= {part[0], part[-1], min(part, key=lambda i: rows[i][1]), max(part, key=lambda i: rows[i][1])}
    return [rows[i] for i in sorted(kept)]
