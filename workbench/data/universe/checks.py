"""What a universe version must hold to be usable: every name once, every symbol back to its asset, every date in order."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from runtime.core.records import INSTRUMENTS
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, Venue

VERSION_NAME: Final = re.compile(r"[a-z][a-z0-9.-]{0,30}")
SYMBOL_PART: Final = re.compile(r"[A-Z0-9]{1,20}")


def problems(universe: Universe) -> list[str]:
    """Return everything that is wrong with a version, in words; nothing is wrong with an empty list."""
    found = [] if VERSION_NAME.fullmatch(universe.version) else [f"version {universe.version!r}: use a-z, 0-9, dot and dash"]
    found += _lists(universe) + _renames(universe) + _listings(universe)
    for name, venue in universe.venues.items():
        if name.endswith(SECOND_SOURCE_SUFFIX):
            found.append(f"venue {name}: {SECOND_SOURCE_SUFFIX} means the second source of a venue")
        found += [f"venue {name}: {text}" for text in _venue(universe, name, venue)]
    return found


def _repeated(names: tuple[str, ...]) -> list[str]:
    return [n for n, count in Counter(names).items() if count > 1]


def _lists(universe: Universe) -> list[str]:
    found = []
    for what, names in (("asset", universe.assets), ("quote", universe.quotes)):
        found += [f"{what} {n} is named twice" for n in _repeated(names)]
        found += [f"{what} {n!r}: use A-Z and 0-9" for n in names if not SYMBOL_PART.fullmatch(n)]
        if not names:
            found.append(f"no {what}s")
    if len(universe.assets) > INSTRUMENTS:
        found.append(f"{len(universe.assets)} assets, the core has {INSTRUMENTS} slots")
    if not universe.venues:
        found.append("no venues")
    return found


def _renames(universe: Universe) -> list[str]:
    found = [f"asset {n} is renamed twice" for n in _repeated(tuple(r.asset for r in universe.renames))]
    for r in universe.renames:
        if r.asset not in universe.assets:
            found.append(f"rename of {r.former}: {r.asset} is no asset")
        if r.former in universe.assets:
            found.append(f"rename of {r.former}: the former ticker is an asset of its own")
        for name, dates in r.venues.items():
            if name not in universe.venues:
                found.append(f"rename of {r.former}: no venue {name}")
            if dates.former_until > dates.successor_from:
                found.append(f"rename of {r.former} at {name}: the new ticker opens before the former one ends")
    return found


def _listings(universe: Universe) -> list[str]:
    found = []
    for w in universe.listings:
        where = f"listing of {w.asset} at {w.venue}"
        if w.asset not in universe.assets or w.venue not in universe.venues:
            found.append(f"{where}: no such asset or venue")
        elif w.asset in universe.venues[w.venue].absent:
            found.append(f"{where}: the venue is said never to have listed it")
        if w.listed_from is not None and w.listed_until is not None and w.listed_from >= w.listed_until:
            found.append(f"{where}: ends before it begins")
        if not w.source.strip():
            found.append(f"{where}: names no source")
    return found


def _venue(universe: Universe, name: str, venue: Venue) -> list[str]:
    found = [f"{a} is no asset" for a in (*venue.names, *venue.absent) if a not in universe.assets]
    found += [f"{q} stands for {s}, which is no quote" for q, s in venue.quotes.items() if s not in universe.quotes]
    found += [f"{n!r}: use A-Z and 0-9" for n in (*venue.names.values(), *venue.quotes) if not SYMBOL_PART.fullmatch(n)]
    found += [f"two quotes stand for {s}" for s in _repeated(tuple(venue.quotes.values()))]
    return found or _round_trips(universe, name, venue)


def _round_trips(universe: Universe, name: str, venue: Venue) -> list[str]:
    """Return the symbols that do not come back as the asset and quote they were made of, or that two of them share."""
    found = []
    owners: dict[str, str] = {}
    for asset in universe.assets:
        for quote in venue.quotes.values():
            if asset in venue.absent:
                continue
            symbol, pair = universe.symbol(name, asset, quote), f"{asset}/{quote}"
            listing = universe.resolve(name, symbol)
            if listing is None or (listing.asset, listing.quote) != (asset, quote):
                back = "nothing" if listing is None else f"{listing.asset}/{listing.quote}"
                found.append(f"{pair} is {symbol}, which is read as {back}")
            if owners.setdefault(symbol, pair) != pair:
                found.append(f"{symbol} is both {owners[symbol]} and {pair}")
    return found
