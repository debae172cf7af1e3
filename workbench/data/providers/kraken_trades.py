"""Kraken's trades of one pair, page after page: each trade once, in order, none missing."""

from __future__ import annotations

from runtime.errors import DataError
from workbench.data.providers.kraken_rest import CURSOR_NS_MAX, KrakenRest, TradePage
from workbench.data.providers.trades import BarMaker, TradeOrderError


class TradeFeed:
    """Feeds a maker of bars.

    Every page but the first is asked for from the newest known trade on: trades of one nanosecond cannot fall between two pages,
    and a page that lacks that trade has lost others too. Nothing before the first page can show that it begins where it should,
    so two answers must begin alike.
    """

    def __init__(self, rest: KrakenRest, pair: str, maker: BarMaker, since_ns: int) -> None:
        """Take where trades go; only those later than `since_ns` count. Nothing is sent yet."""
        self._rest, self._pair, self._maker, self._since_ns = rest, pair, maker, since_ns
        self._last_ns: int | None = None

    def advance(self) -> bool:
        """Fetch the next page; return whether there was something new.

        Raises:
            EnvironmentFailure: Kraken cannot be reached, or its pages do not fit together.
            DataError: more trades of one nanosecond than a page holds.
        """
        if self._last_ns is None:
            return self._first() > 0
        new_n, held_n = self._next(self._last_ns)
        if new_n == 0 and held_n > 1 and self._rest.trades(self._pair, self._last_ns, lambda page: len(page.trades)):
            # There are later trades, but the page in front of them is full of trades of one nanosecond - or one came just now.
            new_n, _ = self._next(self._last_ns)
            if new_n == 0:
                raise DataError(
                    f"{held_n} trades of {self._pair} in one nanosecond fill a page",
                    expected="fewer trades in one nanosecond than a page holds",
                    action="import Kraken's OHLCVT archive for this time",
                )
        return new_n > 0

    def _first(self) -> int:
        began = self._rest.trades(self._pair, self._since_ns, _beginning)

        def confirmed(page: TradePage) -> int:
            nonlocal began
            before, began = began, _beginning(page)
            if before != began:
                raise TradeOrderError(f"the first trade was {before}, now it is {began}")
            self._last_ns = page.last_ns
            return self._maker.add(page.trades)

        return self._rest.trades(self._pair, self._since_ns, confirmed)

    def _next(self, last_ns: int) -> tuple[int, int]:
        """Take the page from the newest trade on; return how many trades were new, and how many it held."""

        def accept(page: TradePage) -> tuple[int, int]:
            new_n = self._maker.add(page.trades, continues=True)
            if new_n == 0 and page.trades and page.trades[0].time_ns < last_ns - CURSOR_NS_MAX:
                raise TradeOrderError(f"a page that was taken before came again, from trade {page.trades[0].trade_id}")
            self._last_ns = page.last_ns
            return new_n, len(page.trades)

        return self._rest.trades(self._pair, last_ns - 1, accept)


def _beginning(page: TradePage) -> int | None:
    return page.trades[0].trade_id if page.trades else None
