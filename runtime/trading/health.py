"""How the feed is doing, in numbers, and when that is bad enough for the kill switch.

Entries are gated by the core from journaled numbers (age of bars and forecasts, clock skew, spread). What is here is for the cases in
which the account should take no new risk until a person has looked.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Final

from runtime.core.codes import KILL_DATA, KILL_EXCHANGE, KILL_MARKET
from runtime.market import Notice, NoticeKind
from runtime.trading.settings import TradingSettings
from runtime.trading.view import FeedHealth

HOUR_MS: Final = 3_600_000
ONLINE: Final = "online"
WIDE_MIN_N: Final = 3
"""Fewer books than this say nothing about the market."""


class Health:
    """Counts what the feed says of itself."""

    def __init__(self, settings: TradingSettings) -> None:
        self._settings = settings
        self.feed = FeedHealth()
        self._lost_ms: int | None = None
        self._troubles_ms: deque[int] = deque(maxlen=settings.gaps_max_n)
        self.skew_known = self.skew_asked = False
        self.corrected_n = 0
        self.lost_text = ""

    def heard(self, now_ms: int) -> None:
        """A message came."""
        self.feed = dataclasses.replace(self.feed, last_message_ms=now_ms)

    def bar(self, close_t: int) -> None:
        """A bar came."""
        if close_t > self.feed.last_bar_t:
            self.feed = dataclasses.replace(self.feed, last_bar_t=close_t)

    def late(self) -> None:
        """A bar came after its hour."""
        self.feed = dataclasses.replace(self.feed, late_n=self.feed.late_n + 1)

    def duplicate(self) -> None:
        """A bar came twice."""
        self.feed = dataclasses.replace(self.feed, duplicate_n=self.feed.duplicate_n + 1)

    def trouble(self, now_ms: int) -> None:
        """Something came that is no sound data."""
        self._troubles_ms.append(now_ms)

    def skew(self, skew_ms: int | None) -> None:
        """The skew was measured, or could not be."""
        self.skew_asked = True
        if skew_ms is not None:
            self.skew_known = True
            self.feed = dataclasses.replace(self.feed, skew_ms=skew_ms)

    def lost(self, now_ms: int) -> None:
        """The connection is gone."""
        if self._lost_ms is None:
            self._lost_ms = now_ms
        self.feed = dataclasses.replace(self.feed, connected=False)

    def notice(self, notice: Notice, now_ms: int) -> None:
        """Take in what the feed says of itself."""
        feed = self.feed
        match notice.kind:
            case NoticeKind.CONNECTED:
                again = int(self._lost_ms is not None and feed.last_message_ms > 0)
                self._lost_ms = None
                self.feed = dataclasses.replace(feed, connected=True, reconnects_n=feed.reconnects_n + again)
            case NoticeKind.LOST:
                self.lost_text = notice.text
                self.lost(now_ms)
            case NoticeKind.GAP:
                self.trouble(now_ms)
                self.feed = dataclasses.replace(feed, gaps_n=feed.gaps_n + 1)
            case NoticeKind.CHECKSUM:
                self.trouble(now_ms)
                self.feed = dataclasses.replace(feed, checksum_n=feed.checksum_n + 1)
            case NoticeKind.LATE_BAR:
                self.late()
            case NoticeKind.DUPLICATE_BAR:
                self.duplicate()
            case NoticeKind.VENUE_MODE:
                self.feed = dataclasses.replace(feed, venue_mode=notice.text or ONLINE)
            case NoticeKind.STALE | NoticeKind.REJECTED:
                pass

    def fault(self, now_ms: int, unknown_since_t: int) -> tuple[int, str] | None:
        """Return the cause and reason for throwing the kill switch now, or `None`."""
        s = self._settings
        if self._lost_ms is not None and now_ms - self._lost_ms > s.lost_max_t * 1_000:
            return KILL_EXCHANGE, f"no market data for {(now_ms - self._lost_ms) // 1_000} s (bound {s.lost_max_t} s)"
        if unknown_since_t >= 0 and now_ms // 1_000 - unknown_since_t > s.unknown_max_t:
            return KILL_EXCHANGE, f"an order of unknown outcome for more than {s.unknown_max_t} s"
        if len(self._troubles_ms) == s.gaps_max_n and now_ms - self._troubles_ms[0] <= HOUR_MS:
            return KILL_DATA, f"{s.gaps_max_n} gaps, wrong checksums or impossible bars within an hour"
        if self.corrected_n >= s.corrected_max_n:
            return KILL_DATA, f"{self.corrected_n} bars of the last day were changed by the venue afterwards"
        return None

    def market_fault(self, spreads_ppm: list[int]) -> tuple[int, str] | None:
        """Return why the market is too thin to trade: at least half of the usable books wider than the bound."""
        wide_n = sum(spread > self._settings.spread_wide_ppm for spread in spreads_ppm)
        if len(spreads_ppm) < WIDE_MIN_N or 2 * wide_n < len(spreads_ppm):
            return None
        return KILL_MARKET, f"{wide_n} of {len(spreads_ppm)} books wider than {self._settings.spread_wide_ppm} ppm"

    def forgive(self) -> None:
        """Count anew: a person released the kill switch."""
        self._troubles_ms.clear()
        self.corrected_n = 0
        if self._lost_ms is not None:
            self._lost_ms = max(self._lost_ms, self.feed.last_message_ms)
