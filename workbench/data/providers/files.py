"""Local files: folders of Parquet or CSV in the layout `VENUE/INTERVAL/SYMBOL`, and Kraken's OHLCVT downloads.

Accepted forms, each also as one file:

- `DIR/VENUE/INTERVAL/SYMBOL.parquet` (or `.csv` with the same columns and a header);
- `DIR/INTERVAL/SYMBOL.parquet`: the folder of one venue, named after it or told apart by its symbols; or its interval folder;
- `XBTUSD_60.csv` anywhere below DIR: Kraken OHLCVT, minutes in the name, with or without a header line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from runtime.errors import DataError, UsageError
from workbench.data.bars import INTERVALS, REQUIRED, Bars, first_text, from_frame, read_parquet, within
from workbench.data.providers import Page, SeriesRef
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

KRAKEN: Final = "kraken-spot"
OHLCVT_NAME: Final = re.compile(r"^([A-Z0-9]+)_(\d+)\.csv$")
OHLCVT_COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume", "trades")
SECONDS_MAX: Final = 100_000_000_000
"""A larger number is a time in milliseconds or a shorter unit, and would overflow as seconds."""
OHLCVT_INTERVALS: Final = {str(seconds // 60): name for name, seconds in INTERVALS.items()}
SUFFIXES: Final = (".parquet", ".csv")


class FileProvider:
    """Bars of a local file or folder."""

    name = "files"
    closed = False

    def __init__(
        self,
        path: Path,
        *,
        venue: str | None = None,
        interval: str | None = None,
        universe: Universe | None = None,
    ) -> None:
        """Take a file or folder.

        Args:
            path: what to read.
            venue: overrides the venue of a file or of a folder of one venue.
            interval: keeps only this interval; names it for a single file outside the layout.
            universe: whose symbol maps tell venues apart.
        """
        self._path, self._venue, self._interval = path, venue, interval
        self._universe = universe or load_universe()

    def series(self) -> Sequence[SeriesRef]:
        """Return every series found, in the order of venue, interval, symbol.

        Raises:
            DataError: the path is missing, unreadable, or holds no series.
            UsageError: the venue of a folder or file cannot be told.
        """
        path = self._path
        if not path.exists():
            raise DataError(f"{path} does not exist", expected="a file or folder of bars", action="check the path")
        found = [self._one_file(path)] if path.is_file() else self._folder(path)
        kept = sorted((r for r in found if self._interval in (None, r.interval)), key=lambda r: (r.key, r.origin))
        if not kept:
            raise DataError(
                f"{path}: no bars found" + (f" for interval {self._interval}" if self._interval else ""),
                expected="VENUE/INTERVAL/SYMBOL.parquet, INTERVAL/SYMBOL.parquet or Kraken OHLCVT files such as XBTUSD_60.csv",
                action="check the folder's layout (intervals: " + ", ".join(INTERVALS) + ")",
            )
        twice = [key for key, n in Counter(r.key for r in kept).items() if n > 1]
        if twice:
            names = ", ".join(r.origin for r in kept if r.key == twice[0])
            raise DataError(
                f"{twice[0]} comes from several files: {names}", expected="one file per series", action="remove all but one"
            )
        return kept

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the bars of one file in one page.

        Raises:
            DataError: the file is empty, truncated or not in the promised form.
        """
        bars = self._read(ref)
        end_t = int(bars.t.max()) + INTERVALS[ref.interval]
        yield Page(within(bars, since_t, until_t), end_t if until_t is None else min(end_t, until_t))

    def _read(self, ref: SeriesRef) -> Bars:
        path = Path(ref.locator)
        if path.is_dir():
            raise DataError(f"{ref.origin} is a folder", expected="a file of bars", action="rename or move the folder")
        try:
            if path.suffix == ".parquet":
                return read_parquet(path, ref.origin)
            return read_csv(path, ref.origin)
        except (PermissionError, FileNotFoundError) as e:
            raise DataError(
                f"{ref.origin}: {e.strerror}", expected="a readable file", action="check that it is there, and its permissions"
            ) from e

    def _one_file(self, path: Path) -> SeriesRef:
        kraken = OHLCVT_NAME.match(path.name)
        if kraken is not None:
            return self._ohlcvt(path, kraken)
        if path.suffix not in SUFFIXES:
            action = "use --source kraken-archive for Kraken's zips" if path.suffix == ".zip" else "convert it first"
            raise DataError(f"{path.name}: unknown kind of file", expected="a .parquet or .csv file", action=action)
        interval = path.parent.name if path.parent.name in INTERVALS else self._interval
        if interval is None:
            raise UsageError(
                f"{path.name}: its interval is unknown",
                expected="a folder named like 1h, or --interval",
                action="give --interval",
            )
        return SeriesRef(self._venue_of(path.parent.parent, [path]), interval, path.stem, path.name, str(path))

    def _folder(self, root: Path) -> list[SeriesRef]:
        refs: list[SeriesRef] = []
        own = {i: _bar_files(root / i) for i in INTERVALS if (root / i).is_dir()}
        home = root
        if root.name in INTERVALS:  # the innermost folder of the layout
            own, home = {root.name: _bar_files(root)}, root.parent
        if own:
            venue = self._venue_of(home, [p for files in own.values() for p in files])
            refs += [_ref(venue, interval, p) for interval, files in own.items() for p in files]
        else:
            for folder in sorted(p for p in root.iterdir() if p.is_dir()):
                inner = {i: _bar_files(folder / i) for i in INTERVALS if (folder / i).is_dir()}
                if inner:
                    self._universe.venue(folder.name)  # refuses a venue nobody knows by its name
                refs += [_ref(folder.name, interval, p) for interval, files in inner.items() for p in files]
        taken = {r.locator for r in refs}
        for path in sorted(root.rglob("*.csv")):
            kraken = OHLCVT_NAME.match(path.name)
            if kraken is not None and str(path) not in taken and kraken[2] in OHLCVT_INTERVALS:
                refs.append(self._ohlcvt(path, kraken))
        return refs

    def _ohlcvt(self, path: Path, name: re.Match[str]) -> SeriesRef:
        if name[2] not in OHLCVT_INTERVALS:
            raise DataError(
                f"{path.name}: bars of {name[2]} minutes",
                expected="minutes " + ", ".join(OHLCVT_INTERVALS),
                action="choose another file",
            )
        return SeriesRef(self._venue or KRAKEN, OHLCVT_INTERVALS[name[2]], name[1], path.name, str(path))

    def _venue_of(self, folder: Path, files: list[Path]) -> str:
        """Return the venue of a folder of one venue: as told, by its name, or the one whose symbols the files are."""
        if self._venue is not None:
            self._universe.venue(self._venue)
            return self._venue
        name = folder.resolve().name
        if name.removesuffix(SECOND_SOURCE_SUFFIX) in self._universe.venues:
            return name
        known = {
            v: sum(self._universe.resolve(v, p.stem) is not None for p in files)
            for v in self._universe.venues
            if v != "simulated"
        }
        best = [v for v, n in known.items() if n == max(known.values())]
        if len(best) > 1:
            raise UsageError(
                f"{name}: the venue of {', '.join(sorted(p.name for p in files)[:3])} cannot be told",
                expected="a folder named after its venue ("
                + ", ".join(sorted(self._universe.venues))
                + "), or symbols of one venue",
                action="give --venue or rename the folder",
            )
        return best[0]


def _ref(venue: str, interval: str, path: Path) -> SeriesRef:
    return SeriesRef(venue, interval, path.stem, path.name, str(path))


def _bar_files(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.suffix in SUFFIXES and not p.name.startswith(".") and OHLCVT_NAME.match(p.name) is None
    )


def read_csv(source: Path | bytes, where: str) -> Bars:
    """Return the bars of a CSV: with a header and `ts_utc`, or Kraken OHLCVT with or without its header.

    Args:
        source: the file, or its content.
        where: names it in messages.

    Raises:
        DataError: it is empty, truncated or not in the promised form.
    """
    return from_frame(_csv_frame(source, where), where)


def _csv_frame(source: Path | bytes, where: str) -> pl.DataFrame:
    first = _first_line(source)
    if not first:
        raise DataError(f"{where}: empty file", expected="lines of bars", action="remove it or download it again")
    header = not first[:1].isdigit()
    try:
        frame = _plain_bars(source, first) if header else _plain_ohlcvt(source, first)
        if frame is None:
            frame = pl.read_csv(source, has_header=header, infer_schema_length=None)
    except pl.exceptions.PolarsError as e:
        raise DataError(
            f"{where}: not readable as CSV: {str(e).splitlines()[0]}",
            expected="comma-separated bars",
            action="download it again",
        ) from e
    if not header:
        if frame.width not in (6, 7):
            raise DataError(
                f"{where}: {frame.width} columns without a header",
                expected=", ".join(OHLCVT_COLUMNS),
                action="download it again",
            )
        frame.columns = list(OHLCVT_COLUMNS[: frame.width])
    names = {c: c.strip().lower() for c in frame.columns}
    frame = frame.rename(names | {c: "trades" for c, n in names.items() if n == "count"})
    if "timestamp" in frame.columns and "ts_utc" not in frame.columns:
        return _unix_time(frame, where)
    if "ts_utc" in frame.columns and frame["ts_utc"].dtype == pl.String:
        return _zoned_time(frame, where)
    return frame


def _first_line(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return source[:4_096].split(b"\n", 1)[0].decode("utf-8", errors="replace").strip()
    with source.open("r", encoding="utf-8", errors="replace") as f:
        return f.readline().strip()


def _plain_ohlcvt(source: Path | bytes, first: str) -> pl.DataFrame | None:
    """Read Kraken's form with its types known, twice as fast as with types to be found; None when the file is not quite so."""
    types = [pl.Int64, *[pl.Float64] * 5, pl.Int64]
    names = OHLCVT_COLUMNS[: first.count(",") + 1]
    try:
        return pl.read_csv(source, has_header=False, schema=dict(zip(names, types, strict=False)))
    except pl.exceptions.PolarsError:
        return None  # the general way names what is wrong


def _plain_bars(source: Path | bytes, first: str) -> pl.DataFrame | None:
    """Read the lake's own columns with their types known, eight times as fast; None when the file is not quite so."""
    names = first.split(",")
    if set(names) - {"trades"} != set(REQUIRED) or len(set(names)) != len(names):
        return None
    try:
        return pl.read_csv(source, schema={n: pl.String if n == "ts_utc" else pl.Float64 for n in names})
    except pl.exceptions.PolarsError:
        return None  # the general way names what is wrong


def _unix_time(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    if not frame["timestamp"].dtype.is_integer():
        raise DataError(
            f"{where}: timestamp is {frame['timestamp'].dtype}{first_text(frame['timestamp'])}",
            expected="whole seconds since 1970 UTC",
            action="download it again",
        )
    beyond = frame["timestamp"].is_between(-SECONDS_MAX, SECONDS_MAX).not_().arg_true()
    if len(beyond):
        raise DataError(
            f"{where}: timestamp {frame['timestamp'][int(beyond[0])]} in row {beyond[0] + 1}: milliseconds or nanoseconds",
            expected="whole seconds since 1970 UTC",
            action="divide the times, or download it again",
        )
    stamps = (pl.col("timestamp").cast(pl.Int64) * 1_000_000).cast(pl.Datetime("us", "UTC"))
    return frame.with_columns(stamps.alias("ts_utc"))


def _zoned_time(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    stamps = frame["ts_utc"]
    plain = stamps.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False, cache=False)
    if plain.null_count() == stamps.null_count():  # every time is written in the one usual way
        return frame.with_columns(plain.dt.replace_time_zone("UTC"))
    naive = stamps.str.contains(r"(Z|[+-]\d\d:?\d\d)$").not_().arg_true()
    if len(naive):
        raise DataError(
            f"{where}: {len(naive)} naive timestamps in ts_utc, first in row {naive[0] + 1}: {stamps[int(naive[0])]!r}",
            expected="times with a zone, such as 2024-01-01T00:00:00Z",
            action="write the times with their zone; local times cannot be guessed",
        )
    try:
        times = stamps.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    except pl.exceptions.PolarsError as e:  # not one value tells the format
        raise DataError(f"{where}: row 1: {stamps[0]!r} is no time", expected="ISO 8601 times", action="fix the times") from e
    bad = (times.is_null() & stamps.is_not_null()).arg_true()
    if len(bad):
        raise DataError(
            f"{where}: row {bad[0] + 1}: {stamps[int(bad[0])]!r} is no time", expected="ISO 8601 times", action="fix the times"
        )
    return frame.with_columns(times)
