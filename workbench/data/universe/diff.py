"""What changed between two universe versions, and what each change means for datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from workbench.data.universe.versions import ListingWindow, Rename, Universe, Venue, iso

REBUILT = "datasets name the universe's digest: none of the old version is equal to one of the new"


class Change(NamedTuple):
    """One difference.

    Attributes:
        kind: `asset added`, `asset removed`, `assets reordered`, `quote added`, `rename changed`, `venue symbol changed`, ...
        subject: what it is about.
        old, new: the values; empty where there is none.
        means: what it means for datasets, in a sentence.
    """

    kind: str
    subject: str
    old: str
    new: str
    means: str


def differences(a: Universe, b: Universe) -> list[Change]:
    """Return every difference between an older and a newer version; an empty list means equal but for the name."""
    return [*_assets(a, b), *_quotes(a, b), *_renames(a, b), *_venues(a, b), *_listings(a, b)]


def _assets(a: Universe, b: Universe) -> list[Change]:
    found = [
        Change("asset added", x, "", str(b.assets.index(x) + 1), "its series are imported from now on; panels get a column")
        for x in b.assets
        if x not in a.assets
    ]
    found += [
        Change("asset removed", x, str(a.assets.index(x) + 1), "", "its series stay in the lake and are in no new dataset")
        for x in a.assets
        if x not in b.assets
    ]
    old, new = [x for x in a.assets if x in b.assets], [x for x in b.assets if x in a.assets]
    if old != new:
        moved = [x for x, y in zip(old, new, strict=True) if x != y]
        means = "columns, instrument numbers and ties change: models and runs of the old version do not fit"
        found.append(Change("assets reordered", " ".join(moved), " ".join(old), " ".join(new), means))
    return found


def _quotes(a: Universe, b: Universe) -> list[Change]:
    found = [Change("quote added", q, "", q, "its pairs can be imported and traded") for q in b.quotes if q not in a.quotes]
    found += [Change("quote removed", q, q, "", "its pairs are in no new dataset") for q in a.quotes if q not in b.quotes]
    shared = [q for q in a.quotes if q in b.quotes]
    if shared != [q for q in b.quotes if q in a.quotes]:
        found.append(Change("quotes reordered", "quotes", " ".join(a.quotes), " ".join(b.quotes), "per-quote slots change"))
    return found


def _renames(a: Universe, b: Universe) -> list[Change]:
    old, new = {r.asset: r for r in a.renames}, {r.asset: r for r in b.renames}
    found = []
    for asset in dict.fromkeys((*old, *new)):
        before, after = _rename(old.get(asset)), _rename(new.get(asset))
        kind = "rename added" if not before else "rename removed" if not after else "rename changed"
        means = "which bars of the former ticker count, and until when, changes"
        if before != after:
            found.append(Change(kind, asset, before, after, means))
    return found


def _rename(r: Rename | None) -> str:
    if r is None:
        return ""
    dates = [
        f"{name} until {iso(int(d.former_until.timestamp()))} from {iso(int(d.successor_from.timestamp()))}"
        for name, d in sorted(r.venues.items())
    ]
    return "; ".join([f"{r.former} {r.ratio}:1 on {r.upgraded_on.isoformat()}", *dates])


def _venues(a: Universe, b: Universe) -> list[Change]:
    found = []
    for name in dict.fromkeys((*a.venues, *b.venues)):
        if name not in a.venues:
            found.append(Change("venue added", name, "", b.venues[name].title, "its folders and series are known from now on"))
        elif name not in b.venues:
            found.append(Change("venue removed", name, a.venues[name].title, "", "its folders are refused by name"))
        else:
            found += _venue(name, a.venues[name], b.venues[name])
    return found


def _venue(name: str, a: Venue, b: Venue) -> list[Change]:
    found = [Change("venue title changed", name, a.title, b.title, "words only")] if a.title != b.title else []
    symbols = "the asset's series have another symbol there: series under the old one are skipped"
    found += _maps("venue symbol changed", name, a.names, b.names, symbols)
    found += _maps("venue quote changed", name, a.quotes, b.quotes, "pairs of that quote resolve differently, or no longer")
    for asset in sorted({*a.absent} ^ {*b.absent}):
        gone = asset in b.absent
        means = "its files of that venue are skipped" if gone else "its files of that venue are taken"
        kind = "asset said never listed" if gone else "asset no longer said never listed"
        found.append(Change(kind, f"{asset} at {name}", "", "", means))
    found += [
        Change("assumption removed", name, x, "", "new datasets no longer state it")
        for x in a.assumptions
        if x not in b.assumptions
    ]
    found += [Change("assumption added", name, "", x, "new datasets state it") for x in b.assumptions if x not in a.assumptions]
    return found


def _maps(kind: str, venue: str, a: Mapping[str, str], b: Mapping[str, str], means: str) -> list[Change]:
    return [
        Change(kind, f"{key} at {venue}", a.get(key, ""), b.get(key, ""), means)
        for key in dict.fromkeys((*a, *b))
        if a.get(key) != b.get(key)
    ]


def _listings(a: Universe, b: Universe) -> list[Change]:
    means = "point-in-time membership changes; bars do not"
    old, new = [_window(w) for w in a.listings], [_window(w) for w in b.listings]
    found = [Change("listing removed", w.split(":", 1)[0], w, "", means) for w in old if w not in new]
    return found + [Change("listing added", w.split(":", 1)[0], "", w, means) for w in new if w not in old]


def _window(w: ListingWindow) -> str:
    first = iso(int(w.listed_from.timestamp())) if w.listed_from else "the beginning"
    last = iso(int(w.listed_until.timestamp())) if w.listed_until else "now"
    return f"{w.asset} at {w.venue}: {first} to {last} ({w.source})"
