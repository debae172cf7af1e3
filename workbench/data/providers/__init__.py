"""Where bars come from: one small port, and what every provider hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workbench.data.bars import Bars


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


class BarProvider(Protocol):
    """Delivers whole series of bars; it neither checks nor repairs them."""

    name: str
    closed: bool
    """The provider vouches that every bar it delivers had closed."""

    def series(self) -> Sequence[SeriesRef]:
        """Return what it can deliver, in a fixed order.

        Raises:
            BallastError: the source is missing or holds nothing.
        """
        ...

    def read(self, ref: SeriesRef) -> Bars:
        """Return the bars of one series.

        Raises:
            BallastError: they cannot be read or are not in the promised form.
        """
        ...
