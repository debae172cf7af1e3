"""Kraken's downloadable OHLCVT archives: zips (the full history and the quarterly updates) and folders of their CSV files.

Members of a zip are read where they are; nothing is unpacked to disk. Series that no universe asset needs are skipped by their
names alone. Where files overlap, their bars must be equal; only the last bar of an earlier file may differ, since a download ends
when it ends, and then the later file counts.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from runtime.errors import DataError
from workbench.data.bars import INTERVALS, Bars, joined, within
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.files import KRAKEN, OHLCVT_INTERVALS, OHLCVT_NAME, read_csv
from workbench.data.universe.versions import Universe, iso, load_universe

MEMBER_BYTES_MAX: Final = 4 * 1024**3
"""The largest real member, one pair's minutes since 2013, has about 0.3 GB."""
RATIO_MAX: Final = 200
"""Bars as text shrink to a fifth; a member that grows beyond this is no bars."""
MEMBERS_MAX: Final = 200_000
"""The full archive has some 10,000."""


@dataclass(frozen=True, slots=True)
class Source:
    """One CSV file, alone or inside a zip.

    Attributes:
        path: the file, or the zip that holds it.
        member: its name inside the zip; empty for a file.
    """

    path: Path
    member: str = ""

    @property
    def origin(self) -> str:
        """Return the name of the file a person downloaded."""
        return self.path.name

    @property
    def told(self) -> str:
        """Return the name of the file with that inside the zip, for messages about several of one zip."""
        return f"{self.path.name}:{self.member}" if self.member else self.path.name


class ArchiveProvider:
    """Bars of Kraken's archives: one zip, one CSV, or a folder of any number of both."""

    name = "kraken-archive"
    closed = False

    def __init__(
        self,
        path: Path,
        *,
        interval: str | None = None,
        assets: Sequence[str] | None = None,
        quote: str | None = None,
        universe: Universe | None = None,
    ) -> None:
        """Take where the archives lie; nothing is read yet.

        Args:
            path: a zip, a CSV or a folder; folders are searched to any depth.
            interval: only this one; default every interval the lake knows.
            assets: only these of the universe; default all.
            quote: only pairs of this quote; default every quote of the universe.
            universe: whose symbols are taken.
        """
        self._path, self._interval, self._quote = path, interval, quote
        self._universe = universe or load_universe()
        self._assets = None if assets is None else frozenset(assets)
        self._sources: dict[str, list[Source]] | None = None
        self._zips: dict[Path, zipfile.ZipFile] = {}  # a directory of 10,000 members is read once, not once a series
        self.skipped_n = 0
        """Files of other pairs and intervals that were passed over."""

    def series(self) -> Sequence[SeriesRef]:
        """Return every series of the archives that the universe knows, in the order of venue, interval, symbol.

        Raises:
            DataError: the path is missing, an archive is damaged or hostile, or nothing in it is wanted.
        """
        if self._sources is None:
            self._sources = self._search()
        refs = []
        for key, sources in sorted(self._sources.items()):
            venue, interval, symbol = key.split("/")
            names = dict.fromkeys(s.origin for s in sources)
            refs.append(SeriesRef(venue, interval, symbol, ", ".join(names), key))
        return refs

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the bars of one series, all its files joined, in one page.

        Raises:
            DataError: a file is damaged, not in the promised form, or contradicts another.
        """
        self.series()
        sources = (self._sources or {}).get(ref.locator, [])
        if not sources:
            raise DataError(
                f"{ref.key} is not in {self._path.name}", expected="one of its series", action="choose another series"
            )
        parts = [(self._read(s), s.told if len({x.origin for x in sources}) < len(sources) else s.origin) for s in sources]
        bars = _together(parts, ref)
        end_t = int(bars.t.max()) + INTERVALS[ref.interval]
        yield Page(within(bars, since_t, until_t), end_t if until_t is None else min(end_t, until_t))

    def _search(self) -> dict[str, list[Source]]:
        path = self._path
        if not path.exists():
            raise DataError(
                f"{path} does not exist", expected="a zip of Kraken's OHLCVT files or a folder of them", action="check the path"
            )
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        found: dict[str, list[Source]] = {}
        for file in files:
            for source, name in _contents(file):
                key = self._key(name)
                if key is None:
                    self.skipped_n += 1
                else:
                    found.setdefault(key, []).append(source)
        if not found:
            raise DataError(
                f"{path.name}: no wanted series in {len(files)} files ({self.skipped_n} others)",
                expected="files such as XBTUSD_60.csv, of intervals " + ", ".join(OHLCVT_INTERVALS),
                action="check the path, and --interval and --symbol",
            )
        return found

    def _key(self, name: str) -> str | None:
        """Return the series of a file by its name, or None when it is not wanted."""
        match = OHLCVT_NAME.match(name)
        interval = OHLCVT_INTERVALS.get(match[2]) if match else None
        if match is None or interval is None or self._interval not in (None, interval):
            return None
        listing = self._universe.resolve(KRAKEN, match[1])
        if listing is None or self._quote not in (None, listing.quote):
            return None
        return f"{KRAKEN}/{interval}/{match[1]}" if self._assets is None or listing.asset in self._assets else None

    def _read(self, source: Source) -> Bars:
        """Return the bars of one CSV file."""
        if not source.member:
            return read_csv(source.path, source.path.name)
        where = f"{source.path.name}: {PurePosixPath(source.member).name}"
        try:
            if source.path not in self._zips:
                self._zips[source.path] = zipfile.ZipFile(source.path)
            # zipfile stops at the size the directory states, checked before, and compares the checksum there.
            content = self._zips[source.path].read(source.member)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, OSError) as e:
            raise DataError(f"{where}: damaged: {e}", expected="a complete member", action="download the archive again") from e
        return read_csv(content, where)


def _contents(file: Path) -> Iterator[tuple[Source, str]]:
    """Yield every CSV of a file with its bare name: itself, or the members of a zip."""
    if file.suffix.lower() == ".csv":
        yield Source(file), file.name
    elif file.suffix.lower() == ".zip":
        for member in _members(file):
            yield Source(file, member.filename), PurePosixPath(member.filename).name


def _members(file: Path) -> list[zipfile.ZipInfo]:
    """Return the CSV members of a zip after a look at its directory alone."""
    try:
        with zipfile.ZipFile(file) as z:
            members = z.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError) as e:
        raise DataError(
            f"{file.name}: not readable as a zip: {e}", expected="a complete zip of OHLCVT files", action="download it again"
        ) from e
    if len(members) > MEMBERS_MAX:
        raise _hostile(file, f"{len(members)} members", f"at most {MEMBERS_MAX}")
    names = [m.filename for m in members]
    if len(set(names)) < len(names):
        raise _hostile(file, "two members of one name", "every name once")
    wanted = []
    for m in members:
        path = PurePosixPath(m.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in m.filename or ":" in m.filename:
            raise _hostile(file, f"a member named {m.filename[:80]!r}", "names below the archive")
        if m.is_dir() or path.suffix != ".csv" or path.parts[0] == "__MACOSX":
            continue
        if m.flag_bits & 1:
            raise _hostile(file, f"{path.name} is encrypted", "plain members")
        if m.file_size > MEMBER_BYTES_MAX or m.file_size > RATIO_MAX * max(m.compress_size, 1):
            raise _hostile(
                file, f"{path.name} grows from {m.compress_size} to {m.file_size} bytes", f"at most {RATIO_MAX} times and 4 GB"
            )
        wanted.append(m)
    return wanted


def _hostile(file: Path, got: str, expected: str) -> DataError:
    return DataError(f"{file.name}: {got}", expected=expected, action="download the archive from Kraken again")


def _together(parts: Sequence[tuple[Bars, str]], ref: SeriesRef) -> Bars:
    """Return the bars of all files of one series, the earlier-ending file first.

    Raises:
        DataError: two files have different bars of the same time.
    """
    ordered = sorted(parts, key=lambda p: (int(p[0].t.max()), len(p[0]), p[1]))
    bars, name = ordered[0]
    for later, later_name in ordered[1:]:
        if bool((np.diff(later.t) <= 0).any()) or bool((np.diff(bars.t) <= 0).any()):
            raise DataError(
                f"{ref.key}: out of order in {name} or {later_name}",
                expected="bars in time order",
                action="download them again",
            )
        last_t = int(bars.t[-1])
        if bool((later.t == last_t).any()) and int(later.t[-1]) > last_t:
            bars = bars.take(slice(0, -1))  # a download may end inside its last bar; the one that went past it counts
        _compare(bars, name, later, later_name, ref)
        kept = bars.take(~np.isin(bars.t, later.t))
        bars = _sorted(joined([kept, later])) if len(kept) else later
        name = later_name
    return bars


def _compare(bars: Bars, name: str, later: Bars, later_name: str, ref: SeriesRef) -> None:
    _, a, b = np.intersect1d(bars.t, later.t, assume_unique=True, return_indices=True)
    theirs = dict(later.columns())
    for column, values in bars.columns():
        if column not in theirs:
            continue
        differ = np.flatnonzero(values[a] != theirs[column][b])
        if len(differ):
            i = int(differ[0])
            raise DataError(
                f"{ref.key}: {len(differ)} bars differ between {name} and {later_name}; first {iso(int(bars.t[a[i]]))} {column}: "
                f"{values[a[i]]:.10g} and {theirs[column][b[i]]:.10g}",
                expected="overlapping files that agree",
                action="import the archive you trust alone; nothing was imported",
            )


def _sorted(bars: Bars) -> Bars:
    return bars if bool((np.diff(bars.t) > 0).all()) else bars.take(np.argsort(bars.t, kind="stable"))
