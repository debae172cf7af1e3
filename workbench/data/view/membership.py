"""Point-in-time membership: which assets of the universe had a tradable series at a venue at one time, and how we know."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, NamedTuple

from workbench.data.bars import interval_seconds
from workbench.data.store.catalog import Catalog, Entry
from workbench.data.universe.versions import Listing, Universe, iso

Reason = Literal[
    "listed",
    "never listed",
    "outside its listing",
    "between tickers",
    "before its first bar",
    "after its last bar",
    "no series",
]
MEMBER: Final[Reason] = "listed"


class Fact(NamedTuple):
    """One thing that is known, and where it comes from (`universe v1`, `listing`, `lake`)."""

    source: str
    text: str


class Member(NamedTuple):
    """What is known about one asset at one time.

    Attributes:
        asset: of the universe.
        member: it had a series whose first and last bar embrace the time; holes inside do not count here (see gaps).
        reason: `listed`, or what speaks against it.
        series: `venue/interval/SYMBOL` that counts at that time, or the last one that did; empty when there is none.
        facts: what it rests on.
    """

    asset: str
    member: bool
    reason: Reason
    series: str
    facts: tuple[Fact, ...]


def membership(
    universe: Universe, catalog: Catalog, venue: str, interval: str, at_t: int, quote: str = "USD"
) -> tuple[Member, ...]:
    """Return every asset of the universe, in its order, with whether it was a member at a time.

    The universe decides first: an asset a venue never listed, a listing window, the dates of a rename. What it does not say the
    lake's own first and last bar say: a series that has ended may have been delisted, or only not been downloaded any further;
    the fact names the bar and leaves it open.

    Args:
        universe: the version.
        catalog: the lake's (`Lake.catalog`).
        venue, interval: whose bars.
        at_t: the time, seconds UTC.
        quote: quote currency.

    Raises:
        DataError: the universe has no such venue.
        UsageError: the interval is unknown.
    """
    interval_t = interval_seconds(interval)
    universe.venue(venue)
    chains: dict[str, list[tuple[Listing, Entry]]] = {}
    for entry in catalog.find(venue, interval):
        listing = universe.resolve(venue, entry.symbol)
        if listing is not None and listing.quote == quote:
            chains.setdefault(listing.asset, []).append((listing, entry))
    return tuple(
        _member(universe, asset, venue, sorted(chains.get(asset, []), key=lambda c: c[0].rank), at_t, interval_t)
        for asset in universe.assets
    )


def _member(
    universe: Universe, asset: str, venue: str, chain: list[tuple[Listing, Entry]], at_t: int, interval_t: int
) -> Member:
    version = f"universe {universe.version}"
    if asset in universe.venue(venue).absent:
        return Member(asset, False, "never listed", "", (Fact(version, f"{venue} never listed {asset}"),))
    windows = [w for w in universe.listings if (w.asset, w.venue) == (asset, venue)]
    facts = [Fact("listing", _words(w.listed_from, w.listed_until) + f": {w.source}") for w in windows]
    inside = any(_holds(w.listed_from, at_t, after=True) and _holds(w.listed_until, at_t, after=False) for w in windows)
    if windows and not inside:
        return Member(asset, False, "outside its listing", "", tuple(facts))
    if not chain:
        return Member(asset, False, "no series", "", (*facts, Fact("lake", f"no series of {asset} at {venue}")))
    before = Member(asset, False, "before its first bar", chain[0][1].key, ())
    for i, (listing, entry) in enumerate(chain):
        first_t, end_t = entry.current.first_t, entry.current.last_t + interval_t
        told = [*facts, Fact("lake", f"{entry.key}: bars from {iso(first_t)} to {iso(entry.current.last_t)}")]
        told += _rename_facts(version, listing, entry)
        opened_t = first_t if listing.from_t is None else listing.from_t
        first_t = max(first_t, opened_t)
        if listing.until_t is not None:
            end_t = min(end_t, listing.until_t)
        if at_t < first_t:
            reason: Reason = "between tickers" if i and at_t < opened_t else "before its first bar"
            return Member(asset, False, reason, before.series, (*before.facts, *told))
        if at_t < end_t and not _taken_over(chain, listing, at_t):
            return Member(asset, True, MEMBER, entry.key, tuple(told))
        before = Member(asset, False, "after its last bar", entry.key, tuple(told))
    return before


def _taken_over(chain: list[tuple[Listing, Entry]], listing: Listing, at_t: int) -> bool:
    """Return whether a newer ticker of the asset has begun by that time: from its first bar on it alone counts."""
    return any(other.rank > listing.rank and at_t >= max(e.current.first_t, other.from_t or 0) for other, e in chain)


def _rename_facts(version: str, listing: Listing, entry: Entry) -> list[Fact]:
    if listing.until_t is not None:
        return [Fact(version, f"{entry.symbol} counts as {listing.asset} until {iso(listing.until_t)}")]
    if listing.from_t is not None:
        return [Fact(version, f"{entry.symbol} opened {iso(listing.from_t)}")]
    return [Fact(version, f"{listing.former} was renamed {listing.asset}")] if listing.former else []


def _holds(bound: datetime | None, at_t: int, *, after: bool) -> bool:
    if bound is None:
        return True
    return at_t >= bound.timestamp() if after else at_t < bound.timestamp()


def _words(first: datetime | None, last: datetime | None) -> str:
    begin = iso(int(first.timestamp())) if first else "the beginning"
    return f"listed from {begin} to {iso(int(last.timestamp())) if last else 'now'}"
