"""Which bars of which files a view shows, before any of them is read.

A strand is what one venue ticker contributes to one asset: POL has two at Binance, MATIC until its rename and POL after. Strands
are chosen from the catalog, or from a dataset's manifest, alone; `workbench.data.datasets.chains` does the same with the bars in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from runtime.errors import DataError, VerificationError
from runtime.inference.panel import Ints
from runtime.progress import Report, silent
from workbench.data.bars import interval_seconds
from workbench.data.datasets.manifests import DatasetManifest
from workbench.data.store.catalog import Entry
from workbench.data.store.lake import Lake
from workbench.data.store.segments import Segment
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Listing, Universe

RESTORE = "import the same bars again (or run that demo again): the file is then written anew"


class Name(NamedTuple):
    """One series of a view: whose bars they are, at which venue, in which quote currency."""

    venue: str
    symbol: str
    quote: str


@dataclass(frozen=True, slots=True)
class Strand:
    """Bars of one venue ticker, still in their files.

    Attributes:
        name: the series of the view they belong to.
        venue_symbol: the ticker in the venue's words.
        key: `venue/interval/SYMBOL` in the lake.
        segments: the segments they are in, in time order.
        files: their Parquet files, in the same order.
        since_t, until_t: bars opened in `[since_t, until_t)` count, seconds UTC; None = no bound.
        left_out_t: opening times left out, because those bars may not have closed.
        rows: how many bars count; None = as many as there are.
        trades: the files have the number of trades.
    """

    name: Name
    venue_symbol: str
    key: str
    segments: tuple[Segment, ...]
    files: tuple[Path, ...]
    since_t: int | None
    until_t: int | None
    left_out_t: tuple[int, ...]
    rows: int | None = None
    trades: bool = False

    def keeps(self, t: Ints) -> npt.NDArray[np.bool_]:
        """Return bool [N]: which bars, by their opening times int64 [N], count."""
        kept = ~np.isin(t, self.left_out_t)
        if self.since_t is not None:
            kept &= t >= self.since_t
        if self.until_t is not None:
            kept &= t < self.until_t
        return kept

    def condition(self) -> pl.Expr:
        """Return the same as a polars condition on `ts_utc`."""
        stamp = pl.col("ts_utc")
        kept = pl.lit(value=True)
        if self.since_t is not None:
            kept &= stamp >= _stamp(self.since_t)
        if self.until_t is not None:
            kept &= stamp < _stamp(self.until_t)
        for at_t in self.left_out_t:
            kept &= stamp != _stamp(at_t)
        return kept

    def ends(self) -> tuple[int, int] | None:
        """Return the opening times of the first and last bar that count, seconds UTC, or None when none does."""
        ends = np.array([self.segments[0].first_t, self.segments[-1].last_t])
        if self.keeps(ends).all():
            return int(ends[0]), int(ends[1])
        stamp = pl.col("ts_utc").dt.epoch("s")
        frame = pl.scan_parquet(list(self.files)).filter(self.condition())
        first_t, last_t = frame.select(stamp.min().alias("first"), stamp.max().alias("last")).collect().row(0)
        return None if first_t is None else (first_t, last_t)


def lake_strands(
    home: Path, universe: Universe, venue: str | None, interval: str, symbols: Sequence[str] | None, as_of_t: int | None
) -> list[Strand]:
    """Return the strands of the lake's current bars, in the order of venue, universe and quote, oldest ticker first.

    Second sources take part only when `venue` names one.

    Raises:
        UsageError: an unknown asset or interval.
        DataError: the lake has no such series, or `venue` is unknown.
        VerificationError: a file of them is missing or unreadable.
    """
    lake = Lake(home)
    interval_t = interval_seconds(interval)
    entries = [e for e in lake.catalog().entries if e.interval == interval and _wanted(e.venue, venue)]
    if venue is not None:
        for s in symbols or ():
            universe.symbol(venue, s)  # refuses an unknown asset or venue by name
    found: dict[Name, list[tuple[Listing, Entry]]] = {}
    for e in entries:
        listing = universe.resolve(e.venue, e.symbol)
        if listing is not None and (symbols is None or listing.asset in symbols):
            found.setdefault(Name(e.venue, listing.asset, listing.quote), []).append((listing, e))
    missing = sorted(set(symbols or ()) - {name.symbol for name in found})
    if missing or not found:
        have = sorted({f"{e.venue}/{e.interval}" for e in lake.catalog().entries})
        raise DataError(
            f"the lake has no {interval} bars"
            + (f" of {', '.join(missing)}" if missing else "")
            + (f" at {venue}" if venue else ""),
            expected="imported series; the lake has " + (", ".join(have) or "nothing"),
            action="import them with `ballast data import`",
        )
    order = sorted(found, key=lambda n: (n.venue, universe.assets.index(n.symbol), n.quote))
    strands: list[Strand] = []
    for name in order:
        chain = sorted(found[name], key=lambda pair: pair[0].rank)
        strands += _without_overlap([_lake_strand(lake, name, listing, e, interval_t, as_of_t) for listing, e in chain])
    return strands


def dataset_strands(
    home: Path, universe: Universe, manifest: DatasetManifest, symbols: Sequence[str] | None, as_of_t: int | None
) -> list[Strand]:
    """Return the strands of exactly a dataset's bars, in its own order, cut to those that had closed by `as_of_t`.

    Raises:
        DataError: the dataset has no such asset.
        VerificationError: a file of them is missing or unreadable.
    """
    missing = sorted(set(symbols or ()) - set(manifest.symbols))
    if missing:
        raise DataError(
            f"dataset {manifest.dataset_hash[:12]} has no {', '.join(missing)}",
            expected="an asset of " + " ".join(manifest.symbols),
            action="choose another symbol, or build another dataset",
        )
    lake, interval_t, strands = Lake(home), interval_seconds(manifest.interval), []
    for file in manifest.files:
        if symbols is not None and file.symbol not in symbols:
            continue
        symbol = file.series.rsplit("/", 1)[-1]
        listing = universe.resolve(manifest.venue, symbol)
        name = Name(manifest.venue, file.symbol, listing.quote if listing else "")
        until_t = file.last_t + 1 if as_of_t is None else min(file.last_t + 1, as_of_t - interval_t + 1)
        strand = Strand(
            name,
            symbol,
            file.series,
            file.segments,
            tuple(lake.root / s.path(file.series) for s in file.segments),
            file.first_t,
            until_t,
            file.left_out_t,
            file.rows if until_t == file.last_t + 1 else None,
        )
        opened = _opened(strand)
        if opened.ends() is not None:
            strands.append(opened)
    return strands


def verify_strands(home: Path, strands: Sequence[Strand], report: Report = silent) -> None:
    """Read every segment and hold it to its digest, and to the number of bars its dataset names.

    Raises:
        VerificationError: a file holds other bars than its address promises.
    """
    lake = Lake(home)
    for i, strand in enumerate(strands):
        report("verify bars", i, len(strands))
        found = int(strand.keeps(lake.read(strand.key, strand.segments).t).sum())
        if strand.rows is not None and found != strand.rows:
            raise VerificationError(
                f"{strand.key}: {found} bars in the dataset's range",
                expected=f"{strand.rows}, as in its manifest",
                action="build the dataset again",
            )
    report("verify bars", len(strands), len(strands))


def _wanted(have: str, venue: str | None) -> bool:
    return have == venue if venue is not None else not have.endswith(SECOND_SOURCE_SUFFIX)


def _lake_strand(lake: Lake, name: Name, listing: Listing, entry: Entry, interval_t: int, as_of_t: int | None) -> Strand:
    ends = [t for t in (listing.until_t, None if as_of_t is None else as_of_t - interval_t + 1) if t is not None]
    version = entry.current
    strand = Strand(
        name,
        entry.symbol,
        entry.key,
        version.segments,
        tuple(lake.root / path for path in entry.paths()),
        listing.from_t,
        min(ends, default=None),
        version.unclosed_t,
    )
    return _opened(strand)


def _opened(strand: Strand) -> Strand:
    """Return the strand with the segments that may hold its bars, their files looked at."""
    kept = [
        (s, p)
        for s, p in zip(strand.segments, strand.files, strict=True)
        if (strand.since_t is None or s.last_t >= strand.since_t) and (strand.until_t is None or s.first_t < strand.until_t)
    ]
    kept = kept or [(strand.segments[0], strand.files[0])]  # no bar of it counts, and its conditions say so
    trades = [_has_trades(path) for _, path in kept]
    return replace(strand, segments=tuple(s for s, _ in kept), files=tuple(p for _, p in kept), trades=all(trades))


def _has_trades(path: Path) -> bool:
    try:
        return "trades" in pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as e:
        what = "is missing" if not path.is_file() else f"cannot be read: {str(e).splitlines()[0]}"
        name = "/".join(path.parts[-4:])
        raise VerificationError(f"lake file bars/{name} {what}", expected="bars of its address", action=RESTORE) from e


def _without_overlap(strands: list[Strand]) -> list[Strand]:
    """Return the strands of one asset so that the newer ticker counts from its first bar on; those without a bar are left out."""
    used: list[Strand] = []
    start_t: int | None = None
    for strand in reversed(strands):
        bounds = [t for t in (strand.until_t, start_t) if t is not None]
        cut = replace(strand, until_t=min(bounds, default=None))
        ends = cut.ends()
        if ends is not None:
            start_t = ends[0]
            used.append(cut)
    return used[::-1]


def _stamp(at_t: int) -> datetime:
    return datetime.fromtimestamp(at_t, UTC)
