"""Point-in-time membership: which assets of the universe had a tradable series at a venue at one time, and how we know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

from runtime.inference.panel import Ints
from workbench.data.bars import interval_seconds
from workbench.data.store.catalog import Entry
from workbench.data.store.lake import Lake
from workbench.data.store.segments import Segment
from workbench.data.universe.versions import Listing, Universe, iso

Reason = Literal[
    "listed",
    "never listed",
    "outside its listing",
    "between tickers",
    "before its first bar",
    "after its last bar",
    "in a gap",
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
        member: it was listed and tradable: a bar of its series opened at or before the time and had not closed before it.
        reason: `listed`, or what speaks against it; `in a gap`: listed, but no bar is there at that very time, so not tradable.
        series: `venue/interval/SYMBOL` that counts at that time, or the last one that did; empty when there is none.
        facts: what it rests on.
    """

    asset: str
    member: bool
    reason: Reason
    series: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """The bars of one series that had closed by a time; files are read, and verified, only where an answer needs them.

    Attributes:
        last_open_t: the latest opening time that had closed by then; None = every bar of the lake is known.
    """

    lake: Lake
    entry: Entry
    last_open_t: int | None

    def before(self, at_t: int | None) -> int | None:
        """Return the last opening time at or before a time (None: of all)."""
        bound_t = min((t for t in (at_t, self.last_open_t) if t is not None), default=None)
        for segment in reversed(self.entry.current.segments):
            if bound_t is None or segment.first_t <= bound_t:
                t = self._opened(segment)
                t = t if bound_t is None else t[t <= bound_t]
                if len(t):
                    return int(t[-1])
        return None

    def after(self, at_t: int | None) -> int | None:
        """Return the first opening time after a time (None: of all)."""
        for segment in self.entry.current.segments:
            if at_t is None or segment.last_t > at_t:
                t = self._opened(segment)
                t = t if at_t is None else t[t > at_t]
                if len(t):
                    return int(t[0]) if self.last_open_t is None or t[0] <= self.last_open_t else None
        return None

    def _opened(self, segment: Segment) -> Ints:
        return self.lake.read(self.entry.key, (segment,)).t  # a last bar that may have been cut is there all the same


@dataclass(frozen=True, slots=True)
class _Link:
    """One ticker of an asset and its first and last known bar."""

    listing: Listing
    known: _Known
    first_t: int
    last_t: int

    @property
    def entry(self) -> Entry:
        return self.known.entry


def membership(
    universe: Universe, lake: Lake, venue: str, interval: str, at_t: int, quote: str = "USD", as_of_t: int | None = None
) -> tuple[Member, ...]:
    """Return every asset of the universe, in its order, with whether it was a member at a time.

    The universe decides first: an asset a venue never listed, a listing window, the dates of a rename. What it does not say the
    lake's own first and last bar say: a series that has ended may have been delisted, or only not been downloaded any further;
    the fact names the bar and leaves it open.

    Only bars that had closed by `as_of_t` are known, so bars that came later change nothing. An asset is tradable at a time when the very
    bar of that time is there; where that bar had not closed by `as_of_t`, when the bar before it is. There is no tolerance: one missing bar
    is `in a gap`, whose length the facts tell.

    Args:
        universe: the version; dates in it that lie after `as_of_t` are not told.
        lake: of the home folder.
        venue, interval: whose bars.
        at_t: the time, seconds UTC.
        quote: quote currency.
        as_of_t: what is known, seconds UTC; None = all the lake holds.

    Raises:
        DataError: the universe has no such venue.
        UsageError: the interval is unknown.
        VerificationError: a file that is needed is missing or holds other bars.
    """
    interval_t = interval_seconds(interval)
    universe.venue(venue)
    last_open_t = None if as_of_t is None else as_of_t - interval_t
    chains: dict[str, list[_Link]] = {}
    for entry in lake.catalog().find(venue, interval):
        listing = universe.resolve(venue, entry.symbol)
        if listing is not None and listing.quote == quote:
            known = _Known(lake, entry, last_open_t)
            first_t, last_t = known.after(None), known.before(None)
            if first_t is not None and last_t is not None:
                chains.setdefault(listing.asset, []).append(_Link(listing, known, first_t, last_t))
    return tuple(
        _member(universe, asset, venue, sorted(chains.get(asset, []), key=lambda c: c.listing.rank), at_t, interval_t, as_of_t)
        for asset in universe.assets
    )


def _member(
    universe: Universe, asset: str, venue: str, chain: list[_Link], at_t: int, interval_t: int, as_of_t: int | None
) -> Member:
    version = f"universe {universe.version}"
    if asset in universe.venue(venue).absent:
        return Member(asset, False, "never listed", "", (Fact(version, f"{venue} never listed {asset}"),))
    windows = [w for w in universe.listings if (w.asset, w.venue) == (asset, venue)]
    facts = [Fact("listing", _words(w.listed_from, w.listed_until, as_of_t) + f": {w.source}") for w in windows]
    inside = any(_holds(w.listed_from, at_t, after=True) and _holds(w.listed_until, at_t, after=False) for w in windows)
    if windows and not inside:
        return Member(asset, False, "outside its listing", "", tuple(facts))
    if not chain:
        by = "" if as_of_t is None else f" with a bar closed by {iso(as_of_t)}"
        return Member(asset, False, "no series", "", (*facts, Fact("lake", f"no series of {asset} at {venue}{by}")))
    before = Member(asset, False, "before its first bar", chain[0].entry.key, ())
    for i, link in enumerate(chain):
        listing, entry = link.listing, link.entry
        told = [*facts, Fact("lake", f"{entry.key}: bars from {iso(link.first_t)} to {iso(link.last_t)}")]
        told += _rename_facts(version, listing, entry, as_of_t)
        opened_t = link.first_t if listing.from_t is None else listing.from_t
        first_t, end_t = max(link.first_t, opened_t), _end_t(link, interval_t, as_of_t)
        if at_t < first_t:
            reason: Reason = "between tickers" if i and at_t < opened_t else "before its first bar"
            return Member(asset, False, reason, before.series, (*before.facts, *told))
        if at_t < end_t and not _taken_over(chain, listing, at_t):
            hole = _hole(link.known, at_t, interval_t)
            if hole is not None:
                return Member(asset, False, "in a gap", entry.key, (*told, hole))
            return Member(asset, True, MEMBER, entry.key, tuple(told))
        before = Member(asset, False, "after its last bar", entry.key, tuple(told))
    return before


def _end_t(link: _Link, interval_t: int, as_of_t: int | None) -> int:
    """Return when the ticker ends: with its last bar, or with the bar after it while that one had no time to close."""
    end_t = link.last_t + interval_t
    if as_of_t is not None and as_of_t < end_t + interval_t:
        end_t += interval_t
    return end_t if link.listing.until_t is None else min(end_t, link.listing.until_t)


def _hole(known: _Known, at_t: int, interval_t: int) -> Fact | None:
    """Return the missing bars around a time between the first and the last known one, or None when its bar is there."""
    last_t = known.before(at_t)
    next_t = known.after(at_t)
    if last_t is None or next_t is None or at_t < last_t + interval_t:
        return None
    missing_n = (next_t - last_t) // interval_t - 1
    return Fact(
        "lake", f"no bar from {iso(last_t + interval_t)} to {iso(next_t - interval_t)} ({missing_n} missing): not tradable"
    )


def _taken_over(chain: list[_Link], listing: Listing, at_t: int) -> bool:
    """Return whether a newer ticker of the asset has begun by that time: from its first bar on it alone counts."""
    return any(c.listing.rank > listing.rank and at_t >= max(c.first_t, c.listing.from_t or 0) for c in chain)


def _rename_facts(version: str, listing: Listing, entry: Entry, as_of_t: int | None) -> list[Fact]:
    if listing.until_t is not None:
        if as_of_t is not None and as_of_t < listing.until_t:
            return []
        return [Fact(version, f"{entry.symbol} counts as {listing.asset} until {iso(listing.until_t)}")]
    if listing.from_t is not None:
        return [Fact(version, f"{entry.symbol} opened {iso(listing.from_t)}")]
    return [Fact(version, f"{listing.former} was renamed {listing.asset}")] if listing.former else []


def _holds(bound: datetime | None, at_t: int, *, after: bool) -> bool:
    if bound is None:
        return True
    return at_t >= bound.timestamp() if after else at_t < bound.timestamp()


def _words(first: datetime | None, last: datetime | None, as_of_t: int | None) -> str:
    if last is not None and as_of_t is not None and last.timestamp() > as_of_t:
        last = None  # nobody knew by then
    begin = iso(int(first.timestamp())) if first else "the beginning"
    return f"listed from {begin} to {iso(int(last.timestamp())) if last else 'now'}"
