"""What the WebSocket tells beyond trades and candles: when a book may have changed, a candle as it forms, the ticker of 24 hours."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from runtime.adapters.local_kraken.channels import Ticker
from runtime.adapters.local_kraken.market import DAY_NS, LocalMarket
from runtime.adapters.local_kraken.pairs import PairInfo
from runtime.adapters.local_kraken.records import NS, Candle, Trade, decimal_of
from runtime.adapters.order_book import scaled

BOOK_STEP_NS: Final = NS
"""A seeded book is drawn again at whole seconds (and at trades)."""


def book_times(market: LocalMarket, pair: PairInfo, after_ns: int, until_ns: int) -> Sequence[int]:
    """Return the times with after < time <= until at which the book of a pair may have changed, ascending."""
    seconds = range((after_ns // BOOK_STEP_NS + 1) * BOOK_STEP_NS, until_ns + 1, BOOK_STEP_NS)
    times = {trade.time_ns for trade in market.trades(pair, after_ns, until_ns)}
    times.update(seconds)
    times.update(update.time_ns for capture in market.captures(pair) for update in capture.updates(after_ns, until_ns))
    return sorted(times)


def ticker_at(market: LocalMarket, pair: PairInfo, at_ns: int) -> Ticker | None:
    """Return the ticker of a pair at a time, None where no trade or no book is known yet.

    Volume, average, extremes and change are of the 24 hours until then; the change is from the first trade in them.
    """
    last = market.recent_trades(pair, at_ns, 1)
    book = market.book(pair, at_ns, 1)
    if not last or not book.bids or not book.asks:
        return None
    price = last[0].price
    bid, ask = book.bids[0], book.asks[0]
    day = market.summary(pair, at_ns - DAY_NS + 1, at_ns)
    if day is None:  # nobody traded for a day
        zero = Decimal(0)
        return Ticker(bid.price, bid.qty, ask.price, ask.qty, price, zero, price, price, price, zero, zero, 0)
    change = price - day.open
    return Ticker(
        bid.price,
        bid.qty,
        ask.price,
        ask.qty,
        price,
        day.volume,
        day.vwap,
        day.low,
        day.high,
        change,
        100 * change / day.open,
        day.trades_n,
    )


class FormingCandle:
    """A candle that grows trade by trade: exactly what `LocalMarket.candles` would say after each, without asking it."""

    def __init__(self, market: LocalMarket, pair: PairInfo, interval_s: int, at_ns: int) -> None:
        """Begin with what has traded in the interval of `at_ns` until then."""
        self._pair, self._interval_s = pair, interval_s
        self._open_t = at_ns // NS // interval_s * interval_s
        self._prices: list[int] = []
        self._lots = self._notional = self._trades_n = 0
        for trade in market.trades(pair, self._open_t * NS - 1, at_ns):
            self.add(trade)

    def add(self, trade: Trade) -> Candle:
        """Take the next trade and return the candle it leaves."""
        pair = self._pair
        open_t = trade.time_ns // NS // self._interval_s * self._interval_s
        price, lots = scaled(trade.price, pair.pair_decimals), scaled(trade.qty, pair.lot_decimals)
        if open_t != self._open_t or not self._trades_n:
            self._open_t, self._prices = open_t, [price] * 4
            self._lots = self._notional = self._trades_n = 0
        first, high, low, _ = self._prices
        self._prices = [first, max(high, price), min(low, price), price]
        self._lots += lots
        self._notional += price * lots
        self._trades_n += 1
        vwap = (2 * self._notional + self._lots) // (2 * self._lots)
        opened, highest, lowest, closed, average = (decimal_of(units, pair.pair_decimals) for units in (*self._prices, vwap))
        return Candle(
            open_t, opened, highest, lowest, closed, average, decimal_of(self._lots, pair.lot_decimals), self._trades_n
        )
