"""The market of the local Kraken: what has happened until a virtual time, as values. No socket, no wall clock, no state but time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.adapters.local_kraken.pairs import PairInfo, PairTable
from runtime.adapters.local_kraken.records import BookSnapshot, Candle, Level, Trade

if TYPE_CHECKING:
    from runtime.adapters.local_kraken.feeds import Feed

__all__ = ["BookSnapshot", "Candle", "Level", "LocalMarket", "PairInfo", "Trade"]


class LocalMarket:
    """Pairs, trades, candles and books of a replay; `now_ns` is the virtual time and never goes back.

    Being under construction: the interface stands, the methods follow.
    """

    def __init__(self, feeds: dict[PairInfo, Feed], *, seed: int, start_ns: int) -> None:
        self._feeds = feeds
        self.seed = seed
        self.now_ns = start_ns
        self.table = PairTable(tuple(feeds))

    @property
    def pairs(self) -> tuple[PairInfo, ...]:
        """Return the pairs in the order of their altnames."""
        return self.table.pairs

    def find(self, name: str) -> PairInfo | None:
        """Return the pair of a key, altname, wsname or v2 symbol; None when there is none."""
        return self.table.find(name)

    def advance(self, to_ns: int) -> None:
        """Move the virtual time on; a time that has passed changes nothing."""
        self.now_ns = max(self.now_ns, to_ns)

    def trades(self, pair: PairInfo, after_ns: int, until_ns: int, limit_n: int | None = None) -> Sequence[Trade]:
        """Return the trades with after_ns < time <= until_ns, oldest first; at most the first `limit_n`."""
        raise NotImplementedError

    def candles(self, pair: PairInfo, interval_s: int, until_ns: int, n: int) -> Sequence[Candle]:
        """Return the last `n` candles as they stood at `until_ns`, oldest first; the last one is still forming.

        A candle holds the trades with open_t <= time < open_t + interval_s; the forming one those until `until_ns` included.
        From the first trade on every interval has a candle.
        """
        raise NotImplementedError

    def book(self, pair: PairInfo, at_ns: int, depth_n: int = 10) -> BookSnapshot:
        """Return the book at a time, `depth_n` levels a side at most (a capture has what it holds: 10)."""
        raise NotImplementedError
