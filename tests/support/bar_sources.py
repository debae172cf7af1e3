"""Providers for tests of backfill and sync: bars in memory, delivered in pages, with failures where a test wants them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from runtime.errors import BallastError
from workbench.data.bars import Bars, within
from workbench.data.providers import Page, SeriesRef

HOUR = 3_600
START_T = 1_704_067_200
VENUE = "kraken-spot"


def hourly(hours: int, *, seed: int = 1, start_t: int = START_T, quiet: Sequence[int] = ()) -> Bars:
    """Return a random walk of hourly bars; quiet hours have none."""
    rng = np.random.Generator(np.random.PCG64(seed))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, hours)))
    opened = np.concatenate(([100.0], close[:-1]))
    t = start_t + HOUR * np.arange(hours, dtype=np.int64)
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    bars = Bars(t, opened, high, low, close, rng.uniform(1, 5, hours), rng.integers(1, 9, hours).astype(np.float64))
    return bars.take(~np.isin(np.arange(hours), quiet))


@dataclass
class MemorySource:
    """Bars by symbol; `before_page` may raise or wait; what is asked for is kept."""

    bars: dict[str, Bars]
    now_t: int
    page_n: int = 50
    name: str = "memory"
    closed: bool = True
    before_page: Callable[[str, int], None] | None = None
    asked: list[tuple[str, int | None, int | None]] = field(default_factory=list)
    pages_n: int = 0
    gone: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def series(self) -> Sequence[SeriesRef]:
        """Return a series per symbol."""
        return [SeriesRef(VENUE, "1h", s, "memory", s) for s in sorted(self.bars) if s not in self.gone]

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield pages of `page_n` bars; the last one reaches to the last closed hour."""
        with self.lock:
            self.asked.append((ref.symbol, since_t, until_t))
        end_t = self.now_t // HOUR * HOUR if until_t is None else min(until_t, self.now_t // HOUR * HOUR)
        bars = within(self.bars[ref.symbol], since_t, end_t)
        for k in range(0, max(len(bars), 1), self.page_n):
            if self.before_page is not None:
                self.before_page(ref.symbol, k // self.page_n)
            page = bars.take(slice(k, k + self.page_n))
            last = k + self.page_n >= len(bars)
            with self.lock:
                self.pages_n += 1
            yield Page(page, end_t if last else int(page.t[-1]) + HOUR)


def failing(symbol: str, page_n: int, error: BallastError) -> Callable[[str, int], None]:
    """Return a `before_page` that raises before one page of one symbol."""

    def before(asked: str, n: int) -> None:
        if (asked, n) == (symbol, page_n):
            raise error

    return before
