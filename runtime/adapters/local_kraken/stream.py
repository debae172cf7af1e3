"""From the market to messages: what every subscription says between two virtual times, in one fixed order. No socket here.

The order is time, then pair, then channel (`channels.CHANNELS`), then the subscription's depth, interval or trigger. A message is
made once and sent to everyone who has the subscription. With a batch, time is cut at its multiples and each subscription says at
most one thing per cut (the trades of a minute in one message, as the venue itself may join them); without one, every trade speaks.
Either way the messages do not depend on how the virtual time was stepped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from runtime.adapters.local_kraken import channels
from runtime.adapters.local_kraken.captures import BookUpdate
from runtime.adapters.local_kraken.channels import CHANNELS
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.pairs import PairInfo
from runtime.adapters.local_kraken.quotes import FormingCandle, book_times, ticker_at
from runtime.adapters.local_kraken.records import NS, BookSnapshot, Candle, Trade
from runtime.adapters.local_kraken.requests import Topic
from runtime.adapters.order_book import Change, Level, OrderBook, difference, scaled

SNAPSHOT_TRADES: Final = 50
SNAPSHOT_CANDLES: Final = 10
"""Candles of an `ohlc` snapshot; the venue sends about as many."""
_RANK: Final = {channel: n for n, channel in enumerate(CHANNELS)}


class Event(NamedTuple):
    """One message of one subscription."""

    time_ns: int
    pair_n: int
    rank: int
    topic: Topic
    text: str


def _change(snapshot: BookSnapshot | BookUpdate, pair: PairInfo) -> Change:
    return Change(
        [Level(scaled(level.price, pair.pair_decimals), scaled(level.qty, pair.lot_decimals)) for level in snapshot.bids],
        [Level(scaled(level.price, pair.pair_decimals), scaled(level.qty, pair.lot_decimals)) for level in snapshot.asks],
    )


class _Book:
    """The book of one subscription, as every client that followed its messages has it."""

    def __init__(self, market: LocalMarket, pair: PairInfo, depth: int, at_ns: int) -> None:
        self._market, self._pair, self._depth = market, pair, depth
        self._book = self._read(at_ns)
        self._at_ns = at_ns

    def _read(self, at_ns: int) -> OrderBook:
        book = OrderBook(self._depth)
        book.load(*_change(self._market.book(self._pair, at_ns, self._depth), self._pair))
        return book

    def snapshot(self) -> str:
        shown = Change(self._book.bids(), self._book.asks())
        return channels.book("snapshot", self._pair, shown, self._book.checksum(), self._at_ns)

    def messages(self, times: Sequence[int], *, recorded: bool) -> Iterator[tuple[int, str]]:
        """Yield what turns the book into the one of each time: the recorded updates themselves, or the difference."""
        for at_ns in times:
            updates = self._recorded(at_ns) if recorded else []
            before_ns, self._at_ns = self._at_ns, at_ns
            if updates and before_ns < at_ns:
                for update in updates:
                    change = _change(update, self._pair)
                    self._book.apply(*change)
                    yield at_ns, channels.book("update", self._pair, change, self._book.checksum(), at_ns)
                continue
            after = self._read(at_ns)
            change = difference(self._book, after)
            self._book = after
            if change.bids or change.asks:
                yield at_ns, channels.book("update", self._pair, change, after.checksum(), at_ns)

    def _recorded(self, at_ns: int) -> Sequence[BookUpdate]:
        """Return the updates recorded for this time, where the book before is the recorded one at the same depth."""
        for capture in self._market.captures(self._pair):
            if capture.depth_n == self._depth and capture.covers(self._at_ns):
                return capture.updates(at_ns - 1, at_ns)
        return ()


class Stream:
    """The messages of all open subscriptions, up to a virtual time that only moves on."""

    def __init__(self, market: LocalMarket, *, start_ns: int, batch_ns: int = 0) -> None:
        self._market = market
        self._batch_ns = batch_ns
        self.now_ns = self._cut(start_ns)
        self._pairs = {pair.symbol: (n, pair) for n, pair in enumerate(market.pairs)}
        self._open: dict[str, dict[Topic, int]] = {}
        self._books: dict[Topic, _Book] = {}
        self._shown: dict[Topic, tuple[object, ...]] = {}
        self._candle: dict[Topic, Candle | None] = {}
        self._forming: dict[Topic, FormingCandle] = {}

    def _cut(self, at_ns: int) -> int:
        return at_ns - at_ns % self._batch_ns if self._batch_ns else at_ns

    def knows(self, symbol: str) -> bool:
        """Return whether the venue lists this symbol, exactly as written."""
        return symbol in self._pairs

    def topics(self) -> list[Topic]:
        """Return what somebody follows."""
        return [topic for topics in self._open.values() for topic in topics]

    def open(self, topic: Topic) -> None:
        """Add one subscriber."""
        topics = self._open.setdefault(topic.symbol, {})
        topics[topic] = topics.get(topic, 0) + 1
        if topics[topic] > 1 or not topic.symbol:
            return
        pair = self._pairs[topic.symbol][1]
        if topic.channel == "book":
            self._books[topic] = _Book(self._market, pair, topic.depth, self.now_ns)
        elif topic.channel == "ticker":
            self._shown[topic] = self._event(pair, topic, self.now_ns)
        elif topic.channel == "ohlc":
            step_s = 60 * topic.interval_min
            if self._batch_ns:
                self._candle[topic] = next(iter(self._market.candles(pair, step_s, self.now_ns, 1)), None)
            else:
                self._forming[topic] = FormingCandle(self._market, pair, step_s, self.now_ns)

    def close(self, topic: Topic) -> None:
        """Remove one subscriber; what nobody follows is not computed."""
        topics = self._open[topic.symbol]
        topics[topic] -= 1
        if topics[topic] == 0:
            del topics[topic]
            self._books.pop(topic, None)
            self._shown.pop(topic, None)
            self._candle.pop(topic, None)
            self._forming.pop(topic, None)

    def snapshot(self, topic: Topic) -> str | None:
        """Return the snapshot of an open subscription, or None where there is nothing to show yet."""
        if topic.channel == "instrument":
            return channels.instrument("snapshot", self._market.pairs)
        pair = self._pairs[topic.symbol][1]
        if topic.channel == "book":
            return self._books[topic].snapshot()
        if topic.channel == "trade":
            return channels.trade("snapshot", pair, self._market.recent_trades(pair, self.now_ns, SNAPSHOT_TRADES))
        if topic.channel == "ohlc":
            candles = self._market.candles(pair, 60 * topic.interval_min, self.now_ns, SNAPSHOT_CANDLES)
            traded = [candle for candle in candles if candle.trades_n]
            return channels.ohlc("snapshot", pair, topic.interval_min, traded, self.now_ns)
        ticker = ticker_at(self._market, pair, self.now_ns)
        return None if ticker is None else channels.ticker("snapshot", pair, ticker, self.now_ns)

    def advance(self, to_ns: int) -> list[Event]:
        """Return every message after the last call until `to_ns` (with a batch: until its last multiple), in order."""
        until_ns = self._cut(to_ns)
        if until_ns <= self.now_ns:
            return []
        events: list[Event] = []
        for symbol, (pair_n, pair) in self._pairs.items():
            topics = self._open.get(symbol)
            if topics:
                events.extend(self._of_pair(pair_n, pair, list(topics), until_ns))
        self.now_ns = until_ns
        events.sort(key=lambda event: event[:4])  # stable: what one subscription says at one time keeps its order
        return events

    def _of_pair(self, pair_n: int, pair: PairInfo, topics: list[Topic], until_ns: int) -> Iterator[Event]:
        cuts = range(self.now_ns + self._batch_ns, until_ns + 1, self._batch_ns) if self._batch_ns else None
        wanted = {topic.channel for topic in topics}
        trades: Sequence[Trade] = ()
        if "trade" in wanted or (cuts is None and wanted - {"book"}):
            trades = self._market.trades(pair, self.now_ns, until_ns)
        for topic in topics:
            for at_ns, text in self._of_topic(pair, topic, trades, cuts, until_ns):
                yield Event(at_ns, pair_n, _RANK[topic.channel], topic, text)

    def _of_topic(
        self, pair: PairInfo, topic: Topic, trades: Sequence[Trade], cuts: Sequence[int] | None, until_ns: int
    ) -> Iterator[tuple[int, str]]:
        traded = [trade.time_ns for trade in trades] if cuts is None else cuts
        if topic.channel == "trade":
            yield from self._trades(pair, trades)
        elif topic.channel == "ohlc":
            yield from self._candles(pair, topic, trades) if cuts is None else self._candles_at(pair, topic, cuts)
        elif topic.event_trigger == "trades":
            yield from self._tickers(pair, topic, traded, always=cuts is None)
        else:
            times = book_times(self._market, pair, self.now_ns, until_ns) if cuts is None else cuts
            bbo = topic.channel == "ticker"
            yield from self._tickers(pair, topic, times) if bbo else self._books[topic].messages(times, recorded=cuts is None)

    def _trades(self, pair: PairInfo, trades: Sequence[Trade]) -> Iterator[tuple[int, str]]:
        group: list[Trade] = []
        end_ns = 0
        for trade in trades:
            due_ns = -(-trade.time_ns // self._batch_ns) * self._batch_ns if self._batch_ns else trade.time_ns
            if group and due_ns != end_ns:
                yield end_ns, channels.trade("update", pair, group)
                group = []
            group.append(trade)
            end_ns = due_ns
        if group:
            yield end_ns, channels.trade("update", pair, group)

    def _candles(self, pair: PairInfo, topic: Topic, trades: Sequence[Trade]) -> Iterator[tuple[int, str]]:
        """Yield the forming candle at every trade."""
        forming = self._forming[topic]
        for trade in trades:
            candle = forming.add(trade)
            yield trade.time_ns, channels.ohlc("update", pair, topic.interval_min, [candle], trade.time_ns)

    def _candles_at(self, pair: PairInfo, topic: Topic, cuts: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yield at every cut the candles that changed since the last: the closed ones, then the forming one."""
        step_s = 60 * topic.interval_min
        for at_ns in cuts:
            shown = self._candle[topic]
            since_t = (at_ns - self._batch_ns) // NS if shown is None else shown.open_t
            touched_n = at_ns // NS // step_s - since_t // step_s + 1
            for candle in self._market.candles(pair, step_s, at_ns, touched_n):
                if candle.trades_n and candle != shown:
                    self._candle[topic] = candle
                    yield at_ns, channels.ohlc("update", pair, topic.interval_min, [candle], at_ns)

    def _tickers(
        self, pair: PairInfo, topic: Topic, times: Sequence[int], *, always: bool = False
    ) -> Iterator[tuple[int, str]]:
        """Yield the ticker at each time whose event happened: a trade since the last one, or another best level."""
        for at_ns in times:
            if not always:
                event = self._event(pair, topic, at_ns)
                if event == self._shown[topic]:
                    continue
                self._shown[topic] = event
            now = ticker_at(self._market, pair, at_ns)
            if now is not None:
                yield at_ns, channels.ticker("update", pair, now, at_ns)

    def _event(self, pair: PairInfo, topic: Topic, at_ns: int) -> tuple[object, ...]:
        if topic.event_trigger == "trades":
            return tuple(trade.trade_id for trade in self._market.recent_trades(pair, at_ns, 1))
        book = self._market.book(pair, at_ns, 1)
        return (book.bids, book.asks)
