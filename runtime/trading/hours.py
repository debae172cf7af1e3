"""Bars by the hour: which bars of which hour are here, and which hour is the next that the core may see.

Nothing is invented: an hour is handed on when every instrument has spoken, or when it has been waited and asked for; what is absent
then stays absent for the core, and a bar that comes after its hour is late.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

import numpy as np

from runtime.inference.panel import BarPanel
from runtime.inference.quantise import PRICE_MAX
from runtime.market import ClosedBar

PRICE_MIN: Final = 1e-8
FUTURE_MAX_T: Final = 60
"""A bar that closes later than this after our clock is not believed."""


class Taken(Enum):
    """What became of a bar."""

    KEPT = "kept"
    DUPLICATE = "duplicate"
    LATE = "late"
    REFUSED = "refused"


class Hours:
    """The bars that wait for their hour.

    Args:
        symbols: instrument i is symbols[i].
        interval_t: seconds of a bar.
        next_open_t: opening time of the first hour that the core has not seen.
    """

    def __init__(self, symbols: tuple[str, ...], interval_t: int, next_open_t: int) -> None:
        self.symbols, self.interval_t, self.next_open_t = symbols, interval_t, next_open_t
        self._waiting: dict[int, dict[int, ClosedBar]] = {}

    @property
    def close_t(self) -> int:
        """When the next hour closes."""
        return self.next_open_t + self.interval_t

    def take(self, bar: ClosedBar, now_t: int) -> Taken:
        """Take a bar in, once, if it can be one."""
        if not self.believable(bar, now_t):
            return Taken.REFUSED
        if bar.open_t < self.next_open_t:
            return Taken.LATE
        hour = self._waiting.setdefault(bar.open_t, {})
        if bar.instrument_id in hour:
            return Taken.DUPLICATE
        hour[bar.instrument_id] = bar
        return Taken.KEPT

    def missing(self, until_t: int | None = None) -> tuple[int, ...]:
        """Return the instruments that have not spoken about the next hour, or about one of the hours that closed until a time."""
        last = self.next_open_t if until_t is None else until_t - self.interval_t
        hours = [self._waiting.get(open_t, {}) for open_t in range(self.next_open_t, last + 1, self.interval_t)]
        return tuple(s for s in range(len(self.symbols)) if any(s not in hour for hour in hours))

    def empty(self) -> bool:
        """Return whether no instrument has spoken about the next hour."""
        return not self._waiting.get(self.next_open_t)

    def pop(self) -> tuple[list[ClosedBar], BarPanel]:
        """Return the next hour's bars, and as a panel [1, S], NaN where one is absent; go on to the hour after it."""
        hour = self._waiting.pop(self.next_open_t, {})
        values = np.full((5, 1, len(self.symbols)), np.nan)
        for s, bar in hour.items():
            values[:, 0, s] = bar.open, bar.high, bar.low, bar.close, bar.volume
        panel = BarPanel(self.symbols, self.interval_t, np.array([self.next_open_t], np.int64), *values)
        self.next_open_t += self.interval_t
        return [hour[s] for s in sorted(hour)], panel

    def skip_to(self, open_t: int) -> int:
        """Give up the hours before one that no venue can give any more; return how many."""
        skipped_n = max((open_t - self.next_open_t) // self.interval_t, 0)
        self.next_open_t = max(self.next_open_t, open_t)
        self._waiting = {t: hour for t, hour in self._waiting.items() if t >= self.next_open_t}
        return skipped_n

    def believable(self, bar: ClosedBar, now_t: int) -> bool:
        """Return whether a bar is on the grid, not from the future, of a known instrument, and has prices the core can hold."""
        if not 0 <= bar.instrument_id < len(self.symbols) or bar.open_t % self.interval_t:
            return False
        if bar.open_t + self.interval_t > now_t + FUTURE_MAX_T:
            return False
        if is_quiet(bar):
            return True
        prices = (bar.open, bar.high, bar.low, bar.close)
        if not all(PRICE_MIN <= price <= PRICE_MAX for price in prices) or not 0 <= bar.volume < math.inf:
            return False
        return bar.low <= min(bar.open, bar.close) and bar.high >= max(bar.open, bar.close)


def is_quiet(bar: ClosedBar) -> bool:
    """Return whether the venue says that nobody traded."""
    return all(math.isnan(value) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume))
