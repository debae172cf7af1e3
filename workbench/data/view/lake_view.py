"""The researcher's view: the bars of the lake, or of one dataset, as a polars frame, an ibis table or a DuckDB relation.

All three show the same rows in the same order: series in the order of venue, universe and quote, bars in the order of time. The
database lives in memory and reads the lake's Parquet files where they are; there is no DuckDB file a second process could block
on, and nothing written into it can change the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import duckdb
import polars as pl

from runtime.errors import DataError, UsageError
from runtime.home import home_path
from runtime.progress import Report, silent
from workbench.data.bars import INTERVALS, interval_seconds
from workbench.data.datasets.manifests import DatasetManifest, load_manifest
from workbench.data.store.lake import Lake
from workbench.data.universe.store import find_universe, universe_of
from workbench.data.universe.versions import Universe, iso
from workbench.data.view import coverage
from workbench.data.view.asof import Moments, known_bars
from workbench.data.view.membership import Member, membership
from workbench.data.view.strands import Name, Strand, dataset_strands, lake_strands, verify_strands

if TYPE_CHECKING:
    import ibis

COLUMNS: Final = (
    "venue", "interval", "symbol", "venue_symbol", "quote", "ts_utc", "open", "high", "low", "close", "volume", "trades",
)  # fmt: skip
"""Of every view: `symbol` is the asset, `venue_symbol` the venue's ticker, `ts_utc` the opening time."""
AGGREGATED: Final = ("bars_n", "whole")
"""Added by `aggregate`: how many bars a bucket was made of, and whether these are all it can have."""
VALUES: Final = ("open", "high", "low", "close", "volume")
BASE: Final = "lake_bars"
"""The view of the bars themselves in the database; `LakeView.sql` calls whatever it shows `bars`."""
VERIFIED_BARS_N: Final = 5_000_000
"""A view of the lake with at most so many bars is verified when it is opened, unless told otherwise: a second at most."""
UNITS: Final = 100_000_000
"""Volumes are added up in whole units of 1e-8: integers have one sum, whatever thread adds first."""
IN_MEMORY: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@dataclass(frozen=True, slots=True, repr=False)
class LakeView:
    """Bars of one interval, read when they are asked for. A context manager: leaving it closes the database.

    Attributes:
        home: the home folder.
        interval: bar length by name.
        as_of_t: every bar had closed by this time, seconds UTC.
        names: the series, in their order.
        strands: which bars of which files make them up.
        manifest: the dataset; None = the lake's current bars.
        verified: every file was held to its digest.
    """

    home: Path
    interval: str
    as_of_t: int
    names: tuple[Name, ...]
    strands: tuple[Strand, ...]
    manifest: DatasetManifest | None
    verified: bool
    universe: Universe
    _connection: duckdb.DuckDBPyConnection
    _view: str = BASE

    def __repr__(self) -> str:
        """Return what the view is of, in one line, and whether its files were verified."""
        what = f"dataset {self.manifest.dataset_hash[:12]}" if self.manifest else "lake"
        state = "verified" if self.verified else "NOT VERIFIED"
        return f"<LakeView {what}: {self.label}, {self.interval}, {len(self.names)} series, as of {iso(self.as_of_t)}, {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; frames already collected stay, relations and tables are gone."""
        self._connection.close()

    @property
    def label(self) -> str:
        """Return the words every table and plot of this data carries: `SIMULATED`, or the venues."""
        venues = sorted({n.venue for n in self.names})
        return "SIMULATED" if "simulated" in venues else " and ".join(venues)

    def members(self, at: datetime | str, venue: str | None = None, quote: str = "USD") -> tuple[Member, ...]:
        """Return which assets of the universe had a tradable series at a time, and how that is known.

        Only bars that had closed by the view's `as_of_t` count, of any venue.

        Args:
            at: a datetime with a zone, or ISO text with one.
            venue: default the view's one venue.
            quote: quote currency.

        Raises:
            UsageError: a time without a zone, or several venues and no choice.
        """
        venues = sorted({n.venue for n in self.names})
        if venue is None and len(venues) > 1:
            raise UsageError(f"the view has {', '.join(venues)}", expected="one venue", action="choose one with venue=")
        interval = self.strands[0].key.split("/")[1]  # the lake's, whatever the view adds up
        chosen = venue or venues[0]
        return membership(self.universe, Lake(self.home), chosen, interval, seconds_of(at), quote, self.as_of_t)

    # ---- the same bars, three ways ---------------------------------------------------------------------------------

    def relation(self) -> duckdb.DuckDBPyRelation:
        """Return the bars as a DuckDB relation, not yet read."""
        return self._connection.table(self._view)

    def table(self) -> ibis.Table:
        """Return the bars as an ibis table over the same database, not yet read."""
        import ibis

        return ibis.duckdb.from_connection(self._connection).table(self._view)

    def frame(self) -> pl.LazyFrame:
        """Return the bars as a lazy polars frame; an aggregated view is computed here."""
        if self._view != BASE:
            return self.relation().pl().lazy()
        return pl.concat([_scan(strand, self.interval) for strand in self.strands])

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return the answer to a query; the bars are the table `bars`."""
        return self._connection.table(self._view).query("bars", query)

    # ---- other bars ------------------------------------------------------------------------------------------------

    def aggregate(self, interval: str) -> LakeView:
        """Return the same history in longer bars.

        A bucket is there when at least one bar is in it, and had closed by `as_of_t`; nothing is invented or filled. `bars_n` says how
        many bars it was made of, `whole` whether it has all it can have. `volume` is the sum of the volumes rounded to 1e-8; `trades` is
        null unless every bar of the bucket has it.

        Raises:
            UsageError: the interval is unknown or no multiple of the view's.
        """
        interval_t, own_t = interval_seconds(interval), interval_seconds(self.interval)
        if interval_t <= own_t or interval_t % own_t or self._view != BASE:
            longer = [n for n, t in INTERVALS.items() if t > own_t and t % own_t == 0]
            raise UsageError(
                f"aggregate to {interval!r} from {self.interval!r}{' (already aggregated)' if self._view != 'bars' else ''}",
                expected="a longer interval: " + (f"one of {', '.join(longer)}" if longer else "there is none"),
                action="choose another interval, or open the view with a shorter one",
            )
        name = f"{BASE}_{interval}"
        self._connection.execute(_aggregate_sql(name, self.names, self.strands, interval, interval_t // own_t, self.as_of_t))
        return replace(self, interval=interval, _view=name)

    # ---- what is there ---------------------------------------------------------------------------------------------

    def coverage(self, by: Literal["series", "month"] = "series") -> pl.DataFrame:
        """Return per series, or per series and calendar month (UTC), the bars that are there and the bars that could be.

        Returns:
            `venue`, `symbol`, `quote`, with `month` the month's first day; `first_utc`, `last_utc` (opening times), `bars_n`, `due_n` (between
            the first and the last bar of the series), `missing_n`, `share`. A month without any bar has a row too.
        """
        return coverage.table(self._opened(), interval_seconds(self.interval), by)

    def gaps(self) -> pl.DataFrame:
        """Return every hole between the first and the last bar of a series.

        Returns:
            `venue`, `symbol`, `quote`, `first_utc`, `last_utc` (opening times of the first and last missing bar), `bars_n`.
        """
        return coverage.gap_table(self._opened(), interval_seconds(self.interval))

    def asof(self, moments: Moments) -> pl.DataFrame:
        """Return what was known at each moment: the last bar that had closed by then, never a later one, with its age.

        Args:
            moments: times with a zone; or a frame with them in `at_utc` and, to ask for some series alone, `symbol`, `venue` or `quote`.

        Returns:
            The frame's own columns (or `at_utc`), the missing ones of `venue`, `symbol`, `quote`, then `ts_utc`, the bar's values, `closed_utc`
            and `age` (moment less closing time); null where no bar had closed yet. Rows in the order of the moments, then of the series.

        Raises:
            UsageError: moments without a zone.
        """
        return known_bars(self.frame(), self.names, interval_seconds(self.interval), moments)

    def _opened(self) -> list[tuple[Name, pl.Series]]:
        """Return the opening times of every series."""
        if self._view != BASE:
            stamps = self.frame().select("venue", "symbol", "quote", "ts_utc").collect()
            groups = stamps.partition_by("venue", "symbol", "quote", as_dict=True, include_key=False)
            return [(name, groups[name]["ts_utc"]) for name in self.names if name in groups]
        scans = [
            pl.concat([_scan(s, self.interval) for s in self.strands if s.name == name]).select("ts_utc") for name in self.names
        ]
        return [(name, found["ts_utc"]) for name, found in zip(self.names, pl.collect_all(scans), strict=True)]


def open_view(
    home: Path | str | None = None,
    *,
    dataset: str | None = None,
    venue: str | None = None,
    interval: str | None = None,
    symbols: Sequence[str] | str | None = None,
    as_of: datetime | str | None = None,
    universe: str = "v1",
    verify: bool | None = None,
    report: Report = silent,
) -> LakeView:
    """Open the bars of a home folder; see `workbench.data.open`.

    Raises:
        UsageError: no such dataset, asset, interval or universe; a time without a zone; options that contradict the dataset.
        DataError: the lake has no such series, or no bar of them had closed by `as_of`.
        VerificationError: a file is missing or damaged, or holds other bars than its address promises.
    """
    folder = home_path(None if home is None else Path(home))
    known, _ = find_universe(folder, universe)
    until_t = None if as_of is None else seconds_of(as_of)
    symbols = _symbols(symbols)
    manifest = None
    if dataset is not None:
        manifest = load_manifest(folder, dataset)
        known = universe_of(folder, manifest.universe_version, manifest.universe_digest)
        _require_same("venue", venue, manifest.venue)
        _require_same("interval", interval, manifest.interval)
        until_t = manifest.as_of_t if until_t is None else min(until_t, manifest.as_of_t)
        strands = dataset_strands(folder, known, manifest, symbols, until_t)
        length = manifest.interval
    else:
        length = interval or "1h"
        strands = lake_strands(folder, known, venue, length, symbols, until_t)
    if not strands:
        raise DataError(
            f"no {length} bar had closed by {iso(until_t or 0)}", expected="a later time", action="choose a later as_of"
        )
    bars_n = sum(segment.rows for s in strands for segment in s.segments)
    verified = (manifest is not None or bars_n <= VERIFIED_BARS_N) if verify is None else verify
    if verified:
        verify_strands(folder, strands, report)
    names = tuple(dict.fromkeys(s.name for s in strands))
    if until_t is None:
        until_t = max(ends[1] for s in strands if (ends := s.ends())) + interval_seconds(length)
    connection = duckdb.connect(":memory:", config=IN_MEMORY)
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")  # it would write into notebooks and pipes
    connection.execute(_bars_sql(strands, length))
    return LakeView(folder, length, until_t, names, tuple(strands), manifest, verified, known, connection)


def seconds_of(at: datetime | str) -> int:
    """Return a time with a zone, or the text of one, as seconds UTC.

    Raises:
        UsageError: it is no time, or has no zone.
    """
    try:
        stamp = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        stamp = None
    if not isinstance(stamp, datetime) or stamp.tzinfo is None:  # callers from a notebook are not typed
        raise UsageError(f"time {at!r}", expected="a time with a zone, such as 2024-12-31T00:00+00:00", action="give the zone")
    return int(stamp.timestamp() // 1)


def _symbols(symbols: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Return the assets asked for; one text is one asset."""
    if symbols is None:
        return None
    asked: tuple[object, ...] = (symbols,) if isinstance(symbols, str) else tuple(symbols)
    texts = tuple(s for s in asked if isinstance(s, str) and s)
    if not texts or len(texts) != len(asked):
        raise UsageError(
            f"symbols={symbols!r}",
            expected="assets of the universe, such as ['BTC', 'ETH']",
            action="name at least one, or leave symbols out for all",
        )
    return texts


def _require_same(what: str, given: str | None, has: str) -> None:
    if given not in (None, has):
        raise UsageError(f"{what} {given!r}", expected=f"{has}, the dataset's", action=f"leave out {what}")


# ---- polars ----------------------------------------------------------------------------------------------------------


def _scan(strand: Strand, interval: str) -> pl.LazyFrame:
    frame = pl.scan_parquet(list(strand.files), extra_columns="ignore").filter(strand.condition())
    told = {
        "venue": strand.name.venue, "interval": interval, "symbol": strand.name.symbol, "venue_symbol": strand.venue_symbol,
        "quote": strand.name.quote,
    }  # fmt: skip
    trades = pl.col("trades") if strand.trades else pl.lit(None, pl.Float64).alias("trades")
    return frame.select(*(pl.lit(v, pl.String).alias(n) for n, v in told.items()), "ts_utc", *VALUES, trades)


# ---- SQL: our own names and numbers, and texts quoted by `_text` -----------------------------------------------------------


def _bars_sql(strands: Sequence[Strand], interval: str) -> str:
    """Return the statement that makes the view; UNION ALL of scans keeps the order of its rows."""
    selects = []
    for s in strands:
        told = (s.name.venue, interval, s.name.symbol, s.venue_symbol, s.name.quote)
        columns = ", ".join(f"{_text(v)} AS {n}" for n, v in zip(COLUMNS, told, strict=False))
        selects.append(f"SELECT {columns}, ts_utc, {', '.join(VALUES)}, {_trades(s)} FROM {_source(s)}")  # noqa: S608  see above
    return f"CREATE VIEW {BASE} AS " + " UNION ALL ".join(selects)


def _aggregate_sql(name: str, names: Sequence[Name], strands: Sequence[Strand], interval: str, due_n: int, as_of_t: int) -> str:
    """Return the statement that makes the view of longer bars; a bucket's `venue_symbol` is that of its last bar."""
    width = 1_000_000 * interval_seconds(interval)
    numbered = list(enumerate(strands))
    # Series by series: the buckets of one stay in the processor's cache, those of all do not.
    buckets = " UNION ALL ".join(
        _bucket_sql(series_n, [(i, s) for i, s in numbered if s.name == series], width, as_of_t)
        for series_n, series in enumerate(names)
    )
    told = ", ".join(
        f"({i}, {', '.join(map(_text, (s.name.venue, interval, s.name.symbol, s.venue_symbol, s.name.quote)))})"
        for i, s in numbered
    )
    return f"""CREATE OR REPLACE VIEW {name} AS
        SELECT told.* EXCLUDE (strand_n), make_timestamptz(bucket_n * {width}) AS ts_utc, {", ".join(VALUES)}, trades, bars_n,
            bars_n = {due_n} AS whole
        FROM ({buckets}) AS bucket
        JOIN (VALUES {told}) AS told(strand_n, {", ".join(COLUMNS[:5])}) ON told.strand_n = bucket.strand_n
        ORDER BY series_n, bucket_n"""  # noqa: S608  see above


def _bucket_sql(series_n: int, strands: Sequence[tuple[int, Strand]], width: int, as_of_t: int) -> str:
    """Return the query of the buckets of one series, each `width` microseconds long and closed by `as_of_t`."""
    bars = " UNION ALL ".join(
        f"SELECT {i} AS strand_n, epoch_us(ts_utc) AS us, {', '.join(VALUES)}, {_trades(s)} FROM {_source(s)}"  # noqa: S608  see above
        for i, s in strands
    )
    return f"""SELECT {series_n} AS series_n, us // {width} AS bucket_n, max(strand_n) AS strand_n, arg_min(open, us) AS open,
            max(high) AS high, min(low) AS low, arg_max(close, us) AS close,
            CAST(sum(CAST(volume * {UNITS} AS HUGEINT)) AS DOUBLE) / {UNITS} AS volume,
            CASE WHEN count(trades) = count(*) THEN sum(trades) END AS trades, count(*) AS bars_n
        FROM ({bars}) WHERE us < {(1_000_000 * as_of_t) // width * width} GROUP BY us // {width}"""  # noqa: S608  see above


def _source(strand: Strand) -> str:
    conditions = []
    if strand.since_t is not None:
        conditions.append(f"ts_utc >= {_stamp(strand.since_t)}")
    if strand.until_t is not None:
        conditions.append(f"ts_utc < {_stamp(strand.until_t)}")
    conditions += [f"ts_utc <> {_stamp(t)}" for t in strand.left_out_t]
    files = ", ".join(_text(str(path)) for path in strand.files)
    return f"read_parquet([{files}])" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")


def _trades(strand: Strand) -> str:
    return "trades" if strand.trades else "CAST(NULL AS DOUBLE) AS trades"


def _stamp(at_t: int) -> str:
    return f"TIMESTAMPTZ '{datetime.fromtimestamp(at_t, UTC):%Y-%m-%d %H:%M:%S}+00'"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
