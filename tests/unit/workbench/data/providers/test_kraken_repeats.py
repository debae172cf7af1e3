from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from workbench.data.providers.kraken_rest import KrakenRest, TradePage
from workbench.data.providers.kraken_trades import TradeFeed
from workbench.data.providers.trades import SECOND_NS, BarMaker, Trade, TradeOrderError

T = TypeVar("T")


class Stubborn:
    """Answers with the given pages, one per request; a page that is refused is followed by the next one, as a retry is."""

    def __init__(self, pages: list[TradePage]) -> None:
        self.pages, self.refused = pages, list[str]()

    def trades(self, _pair: str, _since_ns: int, accept: Callable[[TradePage], T]) -> T:
        while True:
            page = self.pages.pop(0)
            try:
                return accept(page)
            except TradeOrderError as e:
                self.refused.append(str(e))


def page(first: int, last: int) -> TradePage:
    trades = tuple(Trade(n, n * SECOND_NS, 100.0, 10**8) for n in range(first, last + 1))
    return TradePage(trades, last * SECOND_NS)


def test_a_page_that_comes_again_and_again_is_asked_for_again_and_not_taken_for_one_nanosecond() -> None:
    rest = Stubborn([page(1, 5), page(1, 5), page(1, 5), page(1, 5), page(1, 5), page(5, 9)])
    feed = TradeFeed(cast("KrakenRest", rest), "XBTUSD", maker := BarMaker(60, 0), 0)
    assert feed.advance()
    assert feed.advance()
    assert maker.last == Trade(9, 9 * SECOND_NS, 100.0, 10**8)
    assert len(rest.refused) == 3
    rest.pages = [page(9, 9)]
    assert not feed.advance(), "the newest trade alone is the end"
