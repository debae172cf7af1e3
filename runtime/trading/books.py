"""The last sound book of each instrument: which may be used, and when its best prices are worth an event."""

from __future__ import annotations

from typing import Final, NamedTuple

from runtime.market import BookView
from runtime.trading.settings import TradingSettings

PPM: Final = 1_000_000


class Quote(NamedTuple):
    """Best bid and ask, 1e-8."""

    bid_e8: int
    ask_e8: int

    @property
    def spread_ppm(self) -> int:
        """Width in parts per million of the bid."""
        return (self.ask_e8 - self.bid_e8) * PPM // self.bid_e8


Told = tuple[int, int, int]
"""Time, bid and ask of a journaled quote."""


class Seen(NamedTuple):
    """A book, and when it came by our clock."""

    view: BookView
    at_ms: int


class Books:
    """Sound books by instrument."""

    def __init__(self, settings: TradingSettings) -> None:
        self._settings = settings
        self._seen: dict[int, Seen] = {}

    def take(self, view: BookView, now_ms: int) -> bool:
        """Keep a book; a crossed or one-sided one makes the instrument's book unknown. Return whether it was kept."""
        if not len(view.bids) or not len(view.asks) or view.bids[0, 0] <= 0 or view.bids[0, 0] > view.asks[0, 0]:
            self._seen.pop(view.instrument_id, None)
            return False
        self._seen[view.instrument_id] = Seen(view, now_ms)
        return True

    def forget(self, instrument_id: int = -1) -> None:
        """Know a book no longer; -1: none of them."""
        if instrument_id < 0:
            self._seen.clear()
        else:
            self._seen.pop(instrument_id, None)

    def usable(self, instrument_id: int, now_ms: int, skew_ms: int) -> BookView | None:
        """Return the instrument's book unless it is too old by our clock or by the venue's own time."""
        seen = self._seen.get(instrument_id)
        if seen is None:
            return None
        oldest_ms = now_ms - self._settings.book_age_max_ms
        fresh = seen.at_ms >= oldest_ms and seen.view.venue_ms >= oldest_ms - abs(skew_ms)
        return seen.view if fresh else None

    def quote(self, instrument_id: int, now_ms: int, skew_ms: int) -> Quote | None:
        """Return the best prices of a usable book."""
        view = self.usable(instrument_id, now_ms, skew_ms)
        return None if view is None else Quote(int(view.bids[0, 0]), int(view.asks[0, 0]))

    def moved(self, quote: Quote, told: Told | None) -> bool:
        """Return whether bid or ask is further from the last journaled quote than the threshold."""
        if told is None:
            return False
        bound = self._settings.quote_move_ppm
        return any(abs(new - old) * PPM > bound * old for new, old in zip(quote, told[1:], strict=True))

    def to_renew(self, told: Told | None, now_t: int) -> bool:
        """Return whether the last journaled quote is older than the setting allows before a decision."""
        return told is None or now_t - told[0] > self._settings.quote_refresh_t

    def unknown(self, instruments_n: int, now_ms: int, skew_ms: int) -> tuple[int, ...]:
        """Return the instruments without a usable book."""
        return tuple(s for s in range(instruments_n) if self.usable(s, now_ms, skew_ms) is None)
