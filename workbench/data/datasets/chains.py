"""From lake series to assets: which venue symbols hold an asset's bars, and for which time each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.errors import DataError
from runtime.progress import Report
from workbench.data.bars import Bars, interval_seconds, joined
from workbench.data.quality.findings import Finding, finding
from workbench.data.store.catalog import Catalog, Entry
from workbench.data.store.lake import Shelf
from workbench.data.universe.versions import Listing, Universe


@dataclass(frozen=True, slots=True)
class Part:
    """One series of an asset: its bars as used."""

    listing: Listing
    entry: Entry
    bars: Bars
    left_out_t: tuple[int, ...]


def asset_chains(
    lake: Shelf,
    catalog: Catalog,
    universe: Universe,
    venue: str,
    interval: str,
    quote: str,
    symbols: Sequence[str] | None,
    as_of_t: int | None,
    report: Report,
) -> tuple[dict[str, list[Part]], list[Finding]]:
    """Return per asset, in universe order, its series oldest ticker first, each cut to the time it counts for."""
    for s in symbols or ():
        universe.symbol(venue, s, quote)  # refuses an unknown asset by name
    entries = catalog.find(venue, interval)
    listed = [(found, e) for e in entries if (found := universe.resolve(venue, e.symbol)) is not None and found.quote == quote]
    wanted = [(found, e) for found, e in listed if symbols is None or found.asset in symbols]
    missing = sorted(set(symbols or ()) - {found.asset for found, _ in wanted})
    if missing or not wanted:
        have = sorted({f"{e.venue}/{e.interval}" for e in catalog.entries})
        raise DataError(
            f"the lake has no {venue}/{interval} bars" + (f" of {', '.join(missing)}" if missing else ""),
            expected="imported series; the lake has " + (", ".join(have) or "nothing"),
            action="import them with `ballast data import`",
        )
    wanted.sort(key=lambda pair: (universe.assets.index(pair[0].asset), pair[0].rank))
    chains: dict[str, list[Part]] = {}
    notes: list[Finding] = []
    for i, (listing, entry) in enumerate(wanted):
        report("read lake", i, len(wanted))
        part = _part(lake, listing, entry, as_of_t)
        chain = chains.setdefault(listing.asset, [])
        if listing.former:
            notes.append(_rename_note(universe, listing, part))
        chain.append(part)
    report("read lake", len(wanted), len(wanted))
    return {asset: _without_overlap(parts) for asset, parts in chains.items()}, notes


def _part(lake: Shelf, listing: Listing, entry: Entry, as_of_t: int | None) -> Part:
    bars = lake.read(entry.key, entry.current.segments)
    interval_t = interval_seconds(entry.interval)
    keep = np.ones(len(bars), dtype=np.bool_)
    if listing.from_t is not None:
        keep &= bars.t >= listing.from_t
    if listing.until_t is not None:
        keep &= bars.t < listing.until_t
    if as_of_t is not None:
        keep &= bars.t + interval_t <= as_of_t
    left_out = tuple(t for t in entry.current.unclosed_t if bool(keep[bars.t == t].any()))
    keep &= ~np.isin(bars.t, left_out)
    return Part(listing, entry, bars.take(keep), left_out)


def _without_overlap(parts: list[Part]) -> list[Part]:
    """Return the parts of one asset so that the newer ticker counts from its first bar on."""
    used: list[Part] = []
    start: int | None = None
    for part in reversed(parts):
        bars = part.bars if start is None else part.bars.take(part.bars.t < start)
        if len(bars):
            start = int(bars.t[0])
            used.append(Part(part.listing, part.entry, bars, part.left_out_t))
    return used[::-1]


def joined_bars(parts: list[Part]) -> Bars:
    """Return the bars of one asset in one piece."""
    return joined([p.bars for p in parts])


def _rename_note(universe: Universe, listing: Listing, part: Part) -> Finding:
    rename = next(r for r in universe.renames if r.asset == listing.asset)
    first, last = (int(part.bars.t[0]), int(part.bars.t[-1])) if len(part.bars) else (0, 0)
    return finding(
        "rename",
        listing.asset,
        part.entry.key,
        first,
        last,
        len(part.bars),
        f"{rename.former} became {rename.asset} 1:1 on {rename.upgraded_on.isoformat()}; {len(part.bars)} bars of {rename.former} count as {rename.asset}",
    )
