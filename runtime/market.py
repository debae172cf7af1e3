"""Market data as values, and the port it comes through. Floats stop here: bars become integers before the core sees them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class ClosedBar(NamedTuple):
    """A bar that the venue has closed.

    Attributes:
        instrument_id: whose bar.
        open_t: opening time, seconds UTC.
        open, high, low, close: prices as the venue wrote them, read to the nearest double.
        volume: in units of the asset.
        origin: `ws` or `rest`.
    """

    instrument_id: int
    open_t: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    origin: str


class BookView(NamedTuple):
    """An order book whose checksum was right.

    Attributes:
        instrument_id: whose book.
        venue_ms: the venue's time, milliseconds UTC.
        bids, asks: int64 [levels, 2], price and quantity in 1e-8 units, best first.
    """

    instrument_id: int
    venue_ms: int
    bids: Ints
    asks: Ints


class TradeTick(NamedTuple):
    """A trade of the market; `side_id` is the taker's (BUY or SELL of `runtime.core.codes`)."""

    instrument_id: int
    venue_ms: int
    price_e8: int
    qty_e8: int
    side_id: int


class NoticeKind(StrEnum):
    """What a feed has to say about itself."""

    CONNECTED = "connected"
    LOST = "lost"
    GAP = "gap"
    CHECKSUM = "checksum"
    STALE = "stale"
    LATE_BAR = "late bar"
    DUPLICATE_BAR = "duplicate bar"
    REJECTED = "rejected"
    VENUE_MODE = "venue mode"


class Notice(NamedTuple):
    """Something happened to the feed; `instrument_id` -1 concerns all instruments."""

    kind: NoticeKind
    instrument_id: int
    venue_ms: int
    text: str


MarketEvent = ClosedBar | BookView | TradeTick | Notice


class MarketData(Protocol):
    """Live market data of a set of instruments."""

    async def open(self) -> None:
        """Connect and subscribe.

        Raises:
            EnvironmentFailure: the venue cannot be reached, or lists a pair that does not fit.
        """

    async def next(self) -> MarketEvent:
        """Return what happened next. Silence beyond the watchdog's bound becomes a notice, never an endless wait."""
        ...

    async def bars(self, instrument_id: int, since_t: int) -> list[ClosedBar]:
        """Return the closed bars that opened at or after a time, oldest first; at most what the venue gives in one answer.

        Raises:
            EnvironmentFailure: the venue did not answer.
        """
        ...

    async def skew_ms(self) -> int:
        """Return the venue's time minus ours, milliseconds."""
        ...

    async def close(self) -> None:
        """Disconnect. Closing twice is harmless."""
