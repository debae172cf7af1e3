from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.pairs import PairInfo
from runtime.adapters.local_kraken.quotes import ticker_at
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.requests import Topic
from runtime.adapters.local_kraken.stream import Event, Stream
from runtime.adapters.order_book import OrderBook
from tests.support import kraken_books
from tests.support.kraken_socket import HOUR_NS, START_NS, write_bars

NAMES = {"XBTUSD": 37_000.0, "ETHUSD": 2_000.0}
TOPICS = [
    topic
    for symbol in ("BTC/USD", "ETH/USD")
    for topic in (
        Topic("book", symbol, depth=10),
        Topic("trade", symbol),
        Topic("ohlc", symbol, interval_min=60),
        Topic("ticker", symbol, event_trigger="trades"),
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), NAMES, trades=True)


def market_of(folder: Path) -> LocalMarket:
    return LocalMarket.open([folder], seed=11, start_ns=START_NS)


def stream_of(folder: Path, topics: list[Topic], batch_ns: int = 0) -> Stream:
    stream = Stream(market_of(folder), start_ns=START_NS, batch_ns=batch_ns)
    for topic in topics:
        stream.open(topic)
    return stream


def rows(events: list[Event]) -> list[dict[str, Any]]:
    return [row for event in events for row in json.loads(event.text, parse_float=Decimal)["data"]]


def pair_of(market: LocalMarket, symbol: str) -> PairInfo:
    return next(pair for pair in market.pairs if pair.symbol == symbol)


@pytest.mark.parametrize("batch_ns", [0, 60 * NS, HOUR_NS])
def test_the_messages_do_not_depend_on_the_steps(folder: Path, batch_ns: int) -> None:
    one = stream_of(folder, TOPICS, batch_ns).advance(START_NS + max(HOUR_NS // 4, batch_ns))
    many = stream_of(folder, TOPICS, batch_ns)
    pieces = [event for n in range(1, 61) for event in many.advance(START_NS + n * max(HOUR_NS // 4, batch_ns) // 60)]
    assert one == pieces
    assert {event.topic for event in one} == set(TOPICS)


def test_the_order_is_time_then_pair_then_channel(folder: Path) -> None:
    events = stream_of(folder, TOPICS[::-1]).advance(START_NS + HOUR_NS // 4)
    keys = [event[:3] for event in events]
    assert keys == sorted(keys)
    at_one_time = [event.topic.channel for event in events if event[:2] == events[-1][:2]]
    assert at_one_time == [channel for channel in ("book", "trade", "ohlc", "ticker") if channel in at_one_time]


def test_forming_candles_are_those_of_the_market_after_every_trade(folder: Path) -> None:
    market = market_of(folder)
    pair = pair_of(market, "BTC/USD")
    for interval_min in (1, 60):
        topic = Topic("ohlc", "BTC/USD", interval_min=interval_min)
        begin_ns = START_NS + 1_000 * NS  # inside an interval of an hour
        stream = Stream(market, start_ns=begin_ns)
        stream.open(topic)
        events = stream.advance(begin_ns + 2 * HOUR_NS)
        assert len(events) == len(market.trades(pair, begin_ns, begin_ns + 2 * HOUR_NS)) > 10
        for event in events:
            row, candle = rows([event])[0], market.candles(pair, 60 * interval_min, event.time_ns, 1)[0]
            told = [row[name] for name in ("open", "high", "low", "close", "vwap", "volume", "trades")]
            assert told == [candle.open, candle.high, candle.low, candle.close, candle.vwap, candle.volume, candle.trades_n]


def test_with_a_batch_each_bar_is_told_at_its_close_as_it_stands_in_the_file(folder: Path) -> None:
    market = market_of(folder)
    stream = stream_of(folder, [Topic("ohlc", "BTC/USD", interval_min=60)], HOUR_NS)
    events = stream.advance(START_NS + 3 * HOUR_NS + NS)
    assert [event.time_ns for event in events] == [START_NS + n * HOUR_NS for n in (1, 2, 3)]
    candles = market.candles(pair_of(market, "BTC/USD"), 3600, START_NS + 3 * HOUR_NS - 1, 3)
    assert [row["close"] for row in rows(events)] == [candle.close for candle in candles]
    assert [row["volume"] for row in rows(events)] == [candle.volume for candle in candles]


def test_a_batch_joins_trades_and_loses_none(folder: Path) -> None:
    topic = Topic("trade", "BTC/USD")
    single = stream_of(folder, [topic]).advance(START_NS + 2 * HOUR_NS)
    batched = stream_of(folder, [topic], 600 * NS).advance(START_NS + 2 * HOUR_NS)
    assert rows(single) == rows(batched)
    assert len(batched) < len(single)
    ids = [row["trade_id"] for row in rows(single)]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.parametrize("depth", [10, 25, 100])
@pytest.mark.parametrize("batch_ns", [0, 60 * NS])
def test_a_client_that_applies_the_updates_has_the_book_of_the_market(folder: Path, depth: int, batch_ns: int) -> None:
    market = market_of(folder)
    pair, topic = pair_of(market, "ETH/USD"), Topic("book", "ETH/USD", depth=depth)
    stream = stream_of(folder, [topic], batch_ns)
    book = OrderBook(depth)
    snapshot = json.loads(stream.snapshot(topic) or "", parse_float=Decimal)["data"][0]
    texts = [snapshot, *rows(stream.advance(START_NS + 600 * NS))]
    for n, data in enumerate(texts):
        sides = [[(int(row["price"].scaleb(2)), int(row["qty"].scaleb(8))) for row in data[name]] for name in ("bids", "asks")]
        (book.apply if n else book.load)(*sides)  # type: ignore[arg-type]
        assert book.checksum() == data["checksum"]
    shown = market.book(pair, START_NS + 600 * NS, depth)
    assert [(price, qty) for price, qty in book.bids()] == [(int(x.price.scaleb(2)), int(x.qty.scaleb(8))) for x in shown.bids]
    assert len(texts) > 8


def test_tickers_come_with_trades_or_with_another_best_level(folder: Path) -> None:
    market = market_of(folder)
    trades = market.trades(pair_of(market, "BTC/USD"), START_NS, START_NS + HOUR_NS)
    by_trade = stream_of(folder, [Topic("ticker", "BTC/USD", event_trigger="trades")]).advance(START_NS + HOUR_NS)
    assert [event.time_ns for event in by_trade] == [trade.time_ns for trade in trades]
    assert [row["last"] for row in rows(by_trade)] == [trade.price for trade in trades]
    quotes = rows(stream_of(folder, [Topic("ticker", "BTC/USD", event_trigger="bbo")]).advance(START_NS + 600 * NS))
    best = [(row["bid"], row["bid_qty"], row["ask"], row["ask_qty"]) for row in quotes]
    assert len(best) > 3
    assert all(one != other for one, other in pairwise(best))


def test_the_ticker_tells_of_the_last_24_hours(folder: Path) -> None:
    market = market_of(folder)
    pair, at_ns = pair_of(market, "BTC/USD"), START_NS + 1_234 * NS
    trades = market.trades(pair, at_ns - 24 * HOUR_NS, at_ns)
    book, now = market.book(pair, at_ns), ticker_at(market, pair, at_ns)
    assert now is not None
    assert (now.bid, now.bid_qty, now.ask, now.ask_qty) == (*book.bids[0], *book.asks[0])
    assert (now.last, now.trades_n, now.volume) == (trades[-1].price, len(trades), sum(trade.qty for trade in trades))
    assert (now.high, now.low) == (max(trade.price for trade in trades), min(trade.price for trade in trades))
    assert now.change == trades[-1].price - trades[0].price
    assert float(now.change_pct) == pytest.approx(float(now.change / trades[0].price) * 100)
    assert float(now.vwap) == pytest.approx(float(sum(t.price * t.qty for t in trades) / now.volume), abs=0.1)


def test_the_ticker_of_a_dead_market_keeps_the_last_price(folder: Path) -> None:
    market = market_of(folder)
    pair = pair_of(market, "BTC/USD")
    now = ticker_at(market, pair, market.last_ns + 25 * HOUR_NS)
    assert now is not None
    assert (now.volume, now.change, now.trades_n) == (0, 0, 0)
    assert now.last == now.high == now.low == now.vwap


def test_what_nobody_follows_is_not_computed(folder: Path) -> None:
    topic = TOPICS[0]
    stream = stream_of(folder, [topic, topic])
    stream.close(topic)
    assert stream.advance(START_NS + 60 * NS)
    stream.close(topic)
    assert stream.advance(START_NS + 120 * NS) == []


def test_the_real_capture_is_told_exactly_as_it_was_recorded(real_data: Path) -> None:
    capture = kraken_books.read_v2(real_data)
    market = LocalMarket.open([kraken_books.v2_path(real_data).parent], seed=1)
    recording = next(capture for capture in market.captures(market.pairs[0]) if capture.first_ns == market.first_ns)
    start_ns = recording.first_ns
    stream, topic = Stream(market, start_ns=start_ns), Topic("book", "BTC/USD", depth=10)
    stream.open(topic)
    snapshot = json.loads(stream.snapshot(topic) or "", parse_float=Decimal)["data"][0]
    assert snapshot["checksum"] == capture.checksum
    raw = json.loads(kraken_books.v2_path(real_data).read_text(), parse_float=Decimal)["updates"]
    told = [json.loads(event.text, parse_float=Decimal) for event in stream.advance(recording.last_ns)]
    assert told == raw
    assert len(told) == 509


def test_real_trades_are_told_as_they_stand_in_the_file(real_data: Path) -> None:
    path = real_data / "kraken-trades" / "kraken_XBTUSDT_2025-11-10_nautilus.parquet"
    file = pq.read_table(path).sort_by([("ts_utc", "ascending"), ("trade_id", "ascending")]).to_pylist()
    market = LocalMarket.open([path.parent], seed=1, pairs=["XBTUSDT"])
    start_ns = int(file[0]["ts_utc"].timestamp()) * NS - NS
    stream = Stream(market, start_ns=start_ns)
    topics = [Topic("trade", "BTC/USDT"), Topic("ohlc", "BTC/USDT", interval_min=1)]
    for topic in topics:
        stream.open(topic)
    events = stream.advance(market.last_ns)
    told = rows([event for event in events if event.topic.channel == "trade"])
    assert len(told) == len(file) == 1000
    for row, trade in zip(told, file, strict=True):
        assert (row["trade_id"], row["side"], row["ord_type"]) == (trade["trade_id"], trade["side"], trade["type"])
        assert (float(row["price"]), float(row["qty"])) == (trade["price"], trade["amount"])
        assert row["timestamp"].startswith(f"{trade['ts_utc']:%Y-%m-%dT%H:%M:%S}")
    candles = {row["interval_begin"]: row for row in rows([event for event in events if event.topic.channel == "ohlc"])}
    for begin, row in candles.items():
        minute = [trade for trade in told if trade["timestamp"][:16] == begin[:16]]
        assert (row["open"], row["close"], row["trades"]) == (minute[0]["price"], minute[-1]["price"], len(minute))
        assert row["volume"] == sum(trade["qty"] for trade in minute)
        assert (row["high"], row["low"]) == (max(t["price"] for t in minute), min(t["price"] for t in minute))


def test_a_pair_of_books_only_has_no_ticker_and_no_candles(real_data: Path) -> None:
    market = LocalMarket.open([kraken_books.v2_path(real_data).parent], seed=1)
    stream = Stream(market, start_ns=market.first_ns)
    for topic in (Topic("ticker", "BTC/USD", event_trigger="bbo"), Topic("ohlc", "BTC/USD", interval_min=60)):
        stream.open(topic)
    assert stream.snapshot(Topic("ticker", "BTC/USD", event_trigger="bbo")) is None
    assert stream.advance(market.first_ns + 10 * NS) == []
