"""The fixed, versioned set of assets, and what each venue calls them."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from runtime.canonical import digest
from runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from workbench.data.universe.diff import Change

SECOND_SOURCE_SUFFIX: Final = "-b"
"""`binance-spot-b` holds a second, independent download of `binance-spot` series: used to check, never to fill."""
PREFIX: Final = "universe_"
YEAR_10000_T: Final = 253_402_300_800


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RenameDates(_Frozen):
    """When one venue stopped the former ticker and opened the new one."""

    former_until: AwareDatetime
    successor_from: AwareDatetime


class Rename(_Frozen):
    """A dated change of ticker of one asset."""

    asset: str
    former: str
    upgraded_on: date
    ratio: Literal[1]
    venues: dict[str, RenameDates] = {}


class Venue(_Frozen):
    """What one venue calls assets and quotes."""

    title: str
    names: dict[str, str]
    quotes: dict[str, str]
    absent: tuple[str, ...]
    assumptions: tuple[str, ...]


class ListingWindow(_Frozen):
    """When one venue listed an asset, as a later version of the universe may state it (V1 states none).

    Attributes:
        asset, venue: of the universe.
        listed_from, listed_until: `[from, until)`; None = open.
        source: the announcement or page that says so.
    """

    asset: str
    venue: str
    listed_from: AwareDatetime | None = None
    listed_until: AwareDatetime | None = None
    source: str


class Listing(NamedTuple):
    """One venue symbol resolved: whose bars they are, and for which time they may be used.

    Attributes:
        asset: name in the universe.
        quote: quote currency the prices stand for (`USD` for Binance's USDT).
        rank: position in the asset's chain of tickers, 0 = oldest.
        from_t, until_t: bars opened in `[from_t, until_t)` count, seconds UTC; None = no bound.
        former: the ticker of this symbol when it is the asset's former one, else empty.
    """

    asset: str
    quote: str
    rank: int
    from_t: int | None
    until_t: int | None
    former: str = ""


class Universe(_Frozen):
    """Assets in their fixed order, quotes, renames and venue maps of one version."""

    version: str
    assets: tuple[str, ...]
    quotes: tuple[str, ...]
    renames: tuple[Rename, ...]
    venues: dict[str, Venue]
    listings: tuple[ListingWindow, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of the whole version; `listings` takes part where there are any."""
        return digest(self.model_dump(mode="json", exclude=None if self.listings else {"listings"}))

    def venue(self, name: str) -> Venue:
        """Return the venue's map; `-b` folders share the map of their first source.

        Raises:
            DataError: the universe has no such venue.
        """
        base = name.removesuffix(SECOND_SOURCE_SUFFIX)
        if base not in self.venues:
            raise DataError(
                f"venue {name!r} is not in universe {self.version}",
                expected="one of " + ", ".join(sorted(self.venues)) + f" (or such a name with {SECOND_SOURCE_SUFFIX})",
                action="rename the folder, or give --venue",
            )
        return self.venues[base]

    def resolve(self, venue_name: str, symbol: str) -> Listing | None:
        """Return whose bars `symbol` of the venue holds, or None when that is not an asset and quote of this universe."""
        venue = self.venue(venue_name)
        ours = {name: asset for asset, name in venue.names.items()}
        for quote, stands_for in venue.quotes.items():
            if not symbol.endswith(quote):
                continue
            base = symbol.removesuffix(quote)
            asset = ours.get(base, base)
            if asset in venue.names and base not in ours:
                continue  # e.g. BTCUSD at a venue that writes XBTUSD
            rename = next((r for r in self.renames if asset in (r.asset, r.former)), None)
            if rename is not None:
                return _renamed(rename, asset, stands_for, venue_name.removesuffix(SECOND_SOURCE_SUFFIX))
            if asset in self.assets and asset not in venue.absent:
                return Listing(asset, stands_for, 0, None, None)
        return None

    def symbol(self, venue_name: str, asset: str, quote: str = "USD") -> str:
        """Return the venue's present symbol of an asset.

        Raises:
            UsageError: the universe has no such asset, or the venue does not list it in that quote.
        """
        venue = self.venue(venue_name)
        theirs = next((name for name, stands_for in venue.quotes.items() if stands_for == quote), None)
        if asset not in self.assets or asset in venue.absent or theirs is None:
            raise UsageError(
                f"{asset}/{quote} at {venue_name} is not in universe {self.version}",
                expected="an asset of " + " ".join(self.assets),
                action="choose another symbol",
            )
        return venue.names.get(asset, asset) + theirs

    def diff(self, newer: Universe) -> list[Change]:
        """Return every difference of a newer version, and what each means for datasets (`workbench.data.universe.diff`)."""
        from workbench.data.universe.diff import differences

        return differences(self, newer)

    def order(self, assets: set[str]) -> tuple[str, ...]:
        """Return the assets in universe order."""
        return tuple(a for a in self.assets if a in assets)


def _renamed(rename: Rename, ticker: str, quote: str, venue_name: str) -> Listing:
    dates = rename.venues.get(venue_name)
    if ticker == rename.former:
        return Listing(rename.asset, quote, 0, None, int(dates.former_until.timestamp()) if dates else None, ticker)
    return Listing(rename.asset, quote, 1, int(dates.successor_from.timestamp()) if dates else None, None)


def shipped_versions() -> tuple[str, ...]:
    """Return the names of the versions that ship with the package, oldest first."""
    names = [p.stem.removeprefix(PREFIX) for p in Path(__file__).parent.glob(f"{PREFIX}v*.toml")]
    return tuple(sorted(names, key=lambda n: (len(n), n)))


@cache
def load_universe(version: str = "v1") -> Universe:
    """Read a universe version that ships with the package. For a version of one's own see `universe_store.find_universe`.

    Raises:
        UsageError: no such version.
    """
    if version not in shipped_versions():
        raise UsageError(
            f"no universe version {version!r}",
            expected=", ".join(shipped_versions()),
            action="choose a version that ships with this release",
        )
    path = Path(__file__).with_name(f"{PREFIX}{version}.toml")
    return parse_universe(path.read_text(encoding="utf-8"), path.name)


def parse_universe(text: str, where: str) -> Universe:
    """Return the universe in a TOML text.

    Raises:
        DataError: it is no TOML, or not a universe.
    """
    try:
        return Universe.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as e:
        lines = str(e).splitlines()
        raise DataError(
            f"{where}: {': '.join(x.strip() for x in lines[1:3]) if isinstance(e, ValidationError) else lines[0]}",
            expected="a universe in the form of universe_v1.toml",
            action="see docs/reference/universe.md for every field",
        ) from e


def iso(at_t: int) -> str:
    """Return a time as people read it: `2024-09-10T03:00Z`; the number itself when no calendar reaches it."""
    if not 0 <= at_t < YEAR_10000_T:
        return f"{at_t}s"
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%dT%H:%MZ")
