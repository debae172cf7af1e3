"""Where bars come from: one small port, and what every provider hands over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runtime.errors import DataError
from workbench.data.bars import Bars, joined


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """One series a provider can deliver.

    Attributes:
        venue, interval, symbol: in the venue's own words.
        origin: file name or endpoint; goes into the lake as evidence, so no folder and no host of this machine.
        locator: what the provider needs to read it (a path, an endpoint).
    """

    venue: str
    interval: str
    symbol: str
    origin: str
    locator: str

    @property
    def key(self) -> str:
        """Return `venue/interval/SYMBOL`."""
        return f"{self.venue}/{self.interval}/{self.symbol}"


class Page(NamedTuple):
    """One step of a delivery.

    Attributes:
        bars: in the order of the source; may be empty.
        until_t: every bar the source has that opened before it is in this page or an earlier one, seconds UTC. A delivery that
            was interrupted goes on with `since_t` set to it.
    """

    bars: Bars
    until_t: int


class BarProvider(Protocol):
    """Delivers series of bars in pages; it neither repairs nor invents them."""

    name: str
    closed: bool
    """The provider vouches that every bar it delivers had closed."""

    def series(self) -> Sequence[SeriesRef]:
        """Return what it can deliver, in a fixed order.

        Raises:
            BallastError: the source is missing or holds nothing.
        """
        ...

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the bars of one series, oldest page first.

        Args:
            ref: one of `series()`.
            since_t: first opening time wanted, seconds UTC; None = all that the source has.
            until_t: bars that open at this time or later are not wanted; None = up to now.

        Raises:
            BallastError: they cannot be read or are not in the promised form.
        """
        ...


def read_series(provider: BarProvider, ref: SeriesRef) -> Bars:
    """Return all bars of one series, in the order of the source.

    Raises:
        DataError: the source has none.
        BallastError: they cannot be read.
    """
    pages = [page.bars for page in provider.pages(ref) if len(page.bars)]
    if not pages:
        raise DataError(f"{ref.origin}: no bars", expected="at least one bar", action="leave the series out")
    return joined(pages)
