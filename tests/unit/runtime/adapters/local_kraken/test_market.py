"""The market: real files replayed, candles as the venue gives them, books, names of pairs, what is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime.adapters.local_kraken import candles as candles_module
from runtime.adapters.local_kraken.candles import CandleSeries
from runtime.adapters.local_kraken.feeds import TradeFeed
from runtime.adapters.local_kraken.ladder import BookShape, seeded_book
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.pairs import PairInfo, asset_key, split_pair
from runtime.adapters.local_kraken.records import NS, Candle, Level, text_of
from runtime.errors import DataError, UsageError
from tests.support.local_kraken import HOUR_S, START_T, hourly, write_bars, write_trades

DAY_S = 86_400


def sol(folder: Path, hours: int = 50, **options: frozenset[int]) -> Path:
    write_bars(folder / "1h/SOLUSD.parquet", hourly(hours, **options))
    return folder


# ---- candles -------------------------------------------------------------------------------------------------------


def test_closed_candles_are_the_file_s_bars(tmp_path: Path) -> None:
    bars = hourly(50)
    market = LocalMarket.open([sol(tmp_path)], seed=1)
    (pair,) = market.pairs
    found = market.candles(pair, HOUR_S, (START_T + 49 * HOUR_S) * NS, 50)
    assert [(c.open_t, float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume)) for c in found[:-1]] == [
        bar[:6] for bar in bars[:49]
    ]
    assert found[-1] == Candle(START_T + 49 * HOUR_S, *[found[-2].close] * 4, Decimal("0.00"), Decimal("0E-8"), 0)
    assert all(c.low <= c.vwap <= c.high and c.trades_n >= 3 for c in found[:-1])


@pytest.mark.parametrize("interval_s", [60, 900, HOUR_S, 14_400, DAY_S, 604_800])
def test_candles_are_their_trades_at_every_time(tmp_path: Path, interval_s: int) -> None:
    market = LocalMarket.open([sol(tmp_path, quiet=frozenset({3, 4, 20}))], seed=1)
    (pair,) = market.pairs
    trades = market.trades(pair, 0, 2**62)
    step_ns = (4_321 if interval_s >= HOUR_S else 31_013) * NS
    for until_ns in range(START_T * NS + 1, (START_T + 52 * HOUR_S) * NS, step_ns):
        known = [t for t in trades if t.time_ns <= until_ns]
        for n in (1, 3, 1_000):
            found = market.candles(pair, interval_s, until_ns, n)
            first_t = known[0].time_ns // NS // interval_s * interval_s if known else 0
            last_t = until_ns // NS // interval_s * interval_s
            times = list(range(first_t, last_t + 1, interval_s))[-n:] if known else []
            assert [c.open_t for c in found] == times
            for c in found:
                inside = [t for t in known if c.open_t <= t.time_ns // NS < c.open_t + interval_s]
                assert c.trades_n == len(inside)
                assert c.volume == sum(t.qty for t in inside)
                if inside:
                    values = (inside[0].price, max(t.price for t in inside), min(t.price for t in inside), inside[-1].price)
                    assert (c.open, c.high, c.low, c.close) == values
                    assert abs(c.vwap - sum(t.price * t.qty for t in inside) / c.volume) <= Decimal("0.005")


def test_kept_candles_are_built_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles_module, "CANDLES_MAX", 10)
    monkeypatch.setattr(candles_module, "KEPT_N", 20)
    market = LocalMarket.open([sol(tmp_path, 80, quiet=frozenset({7, 30, 31}))], seed=1)
    (pair,) = market.pairs
    feed = market._replayed[pair].feed
    assert feed is not None
    kept = CandleSeries(feed, HOUR_S)
    for hour in [*range(60), 75, 110, 111]:
        until_ns = (START_T + hour * HOUR_S + hour * 13) * NS
        texts, last_t = kept.texts(until_ns, 0)
        fresh = CandleSeries(feed, HOUR_S).rows(until_ns, 10)
        assert [json.loads(text)[0] for text in texts] == [row.open_t for row in fresh]
        assert [json.loads(text)[7] for text in texts] == [row.trades_n for row in fresh]
        assert last_t == (START_T + (hour - 1) * HOUR_S if texts else 0)
        assert len(kept._rows) <= 21


def test_time_never_goes_back(tmp_path: Path) -> None:
    market = LocalMarket.open([sol(tmp_path)], seed=1)
    assert market.now_ns == market.last_ns + 1 == (START_T + 50 * HOUR_S) * NS
    for to_ns, now_ns in ((5, market.now_ns), (market.now_ns + 7, market.now_ns + 7), (market.now_ns, market.now_ns + 7)):
        market.advance(to_ns)
        assert market.now_ns == now_ns


def test_what_was_asked_of_the_future_is_not_told_before_its_time(tmp_path: Path) -> None:
    market = LocalMarket.open([sol(tmp_path)], seed=1)
    (pair,) = market.pairs
    untouched = LocalMarket.open([tmp_path], seed=1).series(pair, HOUR_S)
    asked = market.series(pair, HOUR_S)
    assert asked is not None
    assert untouched is not None
    asked.rows((START_T + 45 * HOUR_S) * NS, 5)
    for hour in (0, 20, 44, 45, 46):
        for since_t in (0, START_T + 10 * HOUR_S, START_T + 90 * HOUR_S):
            until_ns = (START_T + hour * HOUR_S + 60) * NS
            assert asked.texts(until_ns, since_t) == untouched.texts(until_ns, since_t)
    assert asked.texts((START_T - HOUR_S) * NS, 0) == ([], 0)


def test_a_day_without_trades_has_no_summary(tmp_path: Path) -> None:
    market = LocalMarket.open([sol(tmp_path)], seed=1)
    (pair,) = market.pairs
    assert market.summary(pair, (START_T + 60 * HOUR_S) * NS, (START_T + 70 * HOUR_S) * NS) is None
    whole = market.summary(pair, START_T * NS, (START_T + 50 * HOUR_S) * NS)
    assert whole is not None
    assert (whole.open_t, whole.trades_n) == (START_T, len(market.trades(pair, 0, 2**62)))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    folder = sol(tmp_path)

    def told(seed: int) -> str:
        market = LocalMarket.open([folder], seed=seed)
        (pair,) = market.pairs
        at_ns = (START_T + 30 * HOUR_S + 7) * NS
        return repr([market.trades(pair, 0, at_ns), market.book(pair, at_ns, 25), market.candles(pair, 60, at_ns, 100)])

    assert told(4) == told(4)
    assert told(4) != told(5)


# ---- real files ----------------------------------------------------------------------------------------------------


def test_real_trades_make_the_venue_s_own_bars(real_data: Path) -> None:
    """All 5,388 minutes and every hour but the last, which the file has in part."""
    market = LocalMarket.open([real_data / "kraken-trades"], seed=0)
    pair = market.find("XBT/USDT")
    assert pair is not None
    for name, interval_s, n in (("1m", 60, 5_388), ("1h", HOUR_S, 129)):
        bars = pq.read_table(real_data / f"kraken-spot/{name}/XBTUSDT.parquet").to_pylist()
        assert len(bars) == n
        end_ns = (int(bars[-1]["ts_utc"].timestamp()) + interval_s) * NS
        traded = [c for c in market.candles(pair, interval_s, end_ns, 10_000)[:-1] if c.trades_n]
        assert [c.open_t for c in traded] == [int(bar["ts_utc"].timestamp()) for bar in bars]
        for candle, bar in zip(traded, bars, strict=True):
            found = tuple(float(x) for x in (candle.open, candle.high, candle.low, candle.close))
            assert found == (bar["open"], bar["high"], bar["low"], bar["close"])
            assert candle.volume == Decimal(repr(bar["volume"])).quantize(Decimal("1E-8"))


def test_real_hourly_bars_with_counts_are_made_exactly(real_data: Path) -> None:
    market = LocalMarket.open([real_data / "kraken-spot/1h"], seed=3, pairs=["XBTUSD"])
    (pair,) = market.pairs
    bars = pq.read_table(real_data / "kraken-spot/1h/XBTUSD.parquet").slice(60_000, 24).to_pylist()
    first_ns = int(bars[0]["ts_utc"].timestamp()) * NS
    trades = market.trades(pair, first_ns - 1, first_ns + DAY_S * NS - 1)
    for bar in bars:
        t = int(bar["ts_utc"].timestamp())
        inside = [x for x in trades if t <= x.time_ns // NS < t + HOUR_S]
        prices = [float(x.price) for x in inside]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (bar["open"], bar["high"], bar["low"], bar["close"])
        assert len(inside) == bar["trades"]
        assert sum(x.qty for x in inside) == Decimal(repr(bar["volume"])).quantize(Decimal("1E-8"))


def test_thirty_real_symbols_open(real_data: Path) -> None:
    market = LocalMarket.open([real_data / "binance-spot/1h"], seed=3, stand_in_for=("USD", "CAD"))
    assert len(market.pairs) == 60
    assert {market.find(name) for name in ("BTC/CAD", "XBTCAD", "XXBTZCAD", "XBT/CAD", "btccad")} == {market.find("BTCCAD")}
    shib = market.find("SHIBUSD")
    assert shib is not None
    assert (shib.pair_decimals, shib.lot_decimals) == (8, 2)


# ---- trades on file ------------------------------------------------------------------------------------------------


def test_trades_of_equal_time_stay_apart_and_in_order(tmp_path: Path) -> None:
    rows = [(10**15, 1, 5.0, 1.0), (10**15, 2, 5.5, 1.0), (10**15, 4, 5.1, 0.5), (10**15 + 1, 5, 5.2, 0.25)]
    one = write_trades(tmp_path / "kraken_ETHUSD_a.parquet", rows[2:])
    two = write_trades(tmp_path / "kraken_ETHUSD_b.parquet", rows[:2])
    market = LocalMarket.open([tmp_path], seed=0)
    (pair,) = market.pairs
    found = market.trades(pair, 0, 2**62)
    assert [t.trade_id for t in found] == [1, 2, 4, 5]
    assert [t.time_ns - 10**18 for t in found] == [0, 1, 2, 1_000]
    assert [(t.side, t.order_type) for t in found[:2]] == [("buy", "limit"), ("sell", "limit")]
    assert [t.trade_id for t in market.recent_trades(pair, 10**18 + 1, 5)] == [1, 2]
    assert [t.trade_id for t in market.trades(pair, 10**18, 10**18 + 2)] == [2, 4]
    assert TradeFeed([one, two]).last_ns == 10**18 + 1_000


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(10**15, 2, 5.0, 1.0), (10**15, 2, 5.0, 1.0)], "not in one order"),
        ([(10**15, 1, 5.0, 1.0), (10**15 - 1, 2, 5.0, 1.0)], "not in one order"),
        ([(10**15, 1, 0.0, 1.0)], "no decimal of a market"),
        ([(10**15, 1, 5.0, 0.0)], "without a quantity"),
    ],
)
def test_trades_that_cannot_be(tmp_path: Path, rows: list[tuple[int, int, float, float]], said: str) -> None:
    write_trades(tmp_path / "kraken_ETHUSD_a.parquet", rows)
    with pytest.raises(DataError, match=said):
        LocalMarket.open([tmp_path], seed=0)


# ---- folders -------------------------------------------------------------------------------------------------------


def test_the_first_folder_decides_and_trades_come_before_bars(tmp_path: Path) -> None:
    write_bars(tmp_path / "a/1h/SOLUSD.parquet", hourly(5, base=50.0))
    write_bars(tmp_path / "a/1d/SOLUSD.parquet", [(START_T, 1.0, 1.0, 1.0, 1.0, 1.0, None)])
    write_bars(tmp_path / "b/1h/SOLUSD.parquet", hourly(5, base=900.0))
    write_bars(tmp_path / "b/1h/ETHUSD.parquet", hourly(5))
    write_bars(tmp_path / "b/1h/nothing.parquet", hourly(5))
    write_trades(tmp_path / "b/kraken_ETHUSD_x.parquet", [(10**15, 1, 5.0, 1.0)])
    (tmp_path / "b/readme.txt").write_text("no market")
    (tmp_path / "b/odd.parquet").write_text("no name of a pair")
    (tmp_path / "b/notes.json").write_text("{}")
    (tmp_path / "b/SOLUSD_x.csv").write_text("")
    market = LocalMarket.open([tmp_path / "a", tmp_path / "b"], seed=0)
    assert [pair.altname for pair in market.pairs] == ["ETHUSD", "SOLUSD"]
    assert [int(market.recent_trades(pair, 2**62, 1)[0].price) for pair in market.pairs] == [5, 50]
    assert [pair.altname for pair in LocalMarket.open([tmp_path / "b"], seed=0, pairs=["SOLUSD"]).pairs] == ["SOLUSD"]


def test_two_files_of_one_pair_in_a_folder_are_refused(tmp_path: Path) -> None:
    write_bars(tmp_path / "x/1h/SOLUSD.parquet", hourly(5))
    write_bars(tmp_path / "y/1h/SOLUSD.parquet", hourly(5))
    with pytest.raises(DataError, match="both hold SOLUSD"):
        LocalMarket.open([tmp_path], seed=0)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing in .* can be replayed"):
        LocalMarket.open([tmp_path], seed=0)
    with pytest.raises(UsageError, match="no file of XBTUSD"):
        LocalMarket.open([sol(tmp_path)], seed=0, pairs=["XBTUSD"])


def test_usdt_bars_stand_for_dollars_only_below_binance(tmp_path: Path) -> None:
    write_bars(tmp_path / "binance-spot/1h/BTCUSDT.parquet", hourly(5))
    write_bars(tmp_path / "other/1h/ETHUSDT.parquet", hourly(5))
    market = LocalMarket.open([tmp_path], seed=0, stand_in_for=("USD", "CAD"))
    assert [pair.key for pair in market.pairs] == ["ETHUSDT", "XXBTZCAD", "XXBTZUSD"]
    cad, usd = market.pairs[1:]
    assert market.candles(cad, DAY_S, 2**62, 10_000)[0][1:5] == market.candles(usd, DAY_S, 2**62, 10_000)[0][1:5]


def test_kraken_s_own_csv_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.local_kraken.files.BLOCK_N", 3)
    rows = [f"{START_T + 60 * n},10.{n},11.5,9.5,10.{n}5,1.25,{5 + n}" for n in range(8)]
    (tmp_path / "XBTUSD_1.csv").write_text("\n".join(rows) + "\n")
    market = LocalMarket.open([tmp_path], seed=0)
    (pair,) = market.pairs
    found = market.candles(pair, 60, (START_T + 480) * NS, 9)[:-1]
    assert [(str(c.open), str(c.close), c.trades_n) for c in found] == [(f"10.{n}0", f"10.{n}5", 5 + n) for n in range(8)]
    (tmp_path / "XBTUSD_1.csv").write_text("1,2,3\n")
    with pytest.raises(DataError, match="cannot be read"):
        LocalMarket.open([tmp_path], seed=0)
    (tmp_path / "XBTUSD_1.csv").write_text("")
    with pytest.raises(DataError, match="has no rows"):
        LocalMarket.open([tmp_path], seed=0)


def test_parquet_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "1h/SOLUSD.parquet"
    path.parent.mkdir()
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        LocalMarket.open([tmp_path], seed=0)
    pq.write_table(pa.table({"ts_utc": [1], "open": [1.0]}), path)
    with pytest.raises(DataError, match="cannot be read"):
        LocalMarket.open([tmp_path], seed=0)
    pq.write_table(pa.table({"ts_utc": pa.array([10**9], pa.timestamp("us", "UTC")), "open": [1.0]}), path)
    with pytest.raises(DataError, match="lacks high, low, close, volume"):
        LocalMarket.open([tmp_path], seed=0)


# ---- names ---------------------------------------------------------------------------------------------------------


def test_names_of_pairs() -> None:
    def names(base: str, quote: str) -> tuple[str, ...]:
        pair = PairInfo(base, quote, 2, 8)
        return pair.altname, pair.key, pair.wsname, pair.symbol

    assert names("XBT", "USD") == ("XBTUSD", "XXBTZUSD", "XBT/USD", "BTC/USD")
    assert names("ETH", "XBT") == ("ETHXBT", "XETHXXBT", "ETH/XBT", "ETH/BTC")
    assert names("XDG", "USD") == ("XDGUSD", "XDGUSD", "XDG/USD", "DOGE/USD")
    assert names("XBT", "USDC") == ("XBTUSDC", "XBTUSDC", "XBT/USDC", "BTC/USDC")
    assert names("SOL", "CAD") == ("SOLCAD", "SOLCAD", "SOL/CAD", "SOL/CAD")
    assert [asset_key(name) for name in ("XBT", "USD", "SOL")] == ["XXBT", "ZUSD", "SOL"]
    assert [split_pair(name) for name in ("BTCUSDT", "XBTUSD", "USD", "what")] == [("XBT", "USDT"), ("XBT", "USD"), None, None]
    assert [text_of(1_234, decimals) for decimals in (0, 2, 6)] == ["1234", "12.34", "0.001234"]


# ---- books ---------------------------------------------------------------------------------------------------------


def test_a_seeded_book_stands_around_the_last_price_and_changes_slowly(tmp_path: Path) -> None:
    market = LocalMarket.open([sol(tmp_path)], seed=9)
    (pair,) = market.pairs
    at_ns = (START_T + 30 * HOUR_S) * NS
    price = market.recent_trades(pair, at_ns, 1)[0].price
    book = market.book(pair, at_ns, 100)
    bids, asks = [level.price for level in book.bids], [level.price for level in book.asks]
    assert len(bids) == len(asks) == 100
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < price < asks[0]
    assert all(level.qty > 0 for level in (*book.bids, *book.asks))
    assert market.book(pair, at_ns, 10).asks == book.asks[:10]
    later = market.book(pair, at_ns + NS, 100)
    assert 0 < sum(a != b for a, b in zip(book.asks, later.asks, strict=True)) < 10
    assert market.book(pair, START_T * NS, 10).bids == ()


def test_a_book_near_zero_and_one_that_never_constrains() -> None:
    pair = PairInfo("SHIB", "USD", 8, 2)
    book = seeded_book(1, pair, 3, 0, 10, BookShape())
    assert [str(level.price) for level in book.bids] == ["2E-8", "1E-8"]
    deep = seeded_book(1, PairInfo("XBT", "USD", 1, 8), 300_000, 0, 10, BookShape(level_value_max=10**12))
    assert min(level.qty for level in deep.asks) > 10_000


def test_an_unconstraining_book_trades_at_the_open_of_the_hour_in_progress(tmp_path: Path) -> None:
    """Without a spread and without an end, on the hour and within it, also where nobody trades; and it changes every hour."""
    write_bars(tmp_path / "1h" / "SOLUSD.parquet", hourly(40, quiet=frozenset({20, 21})))
    market = LocalMarket.open([tmp_path], seed=9, shape=BookShape.unconstraining())
    (pair,) = market.pairs
    bars = {bar[0]: bar for bar in hourly(40, quiet=frozenset({20, 21}))}
    before = None
    for hour_n in range(1, 40):
        begin_t = START_T + hour_n * HOUR_S
        wanted = Decimal(str(bars[begin_t][1])) if begin_t in bars else Decimal(str(bars[START_T + 19 * HOUR_S][4]))
        for at_s in (0, 1, 1_800, 3_599):
            book = market.book(pair, (begin_t + at_s) * NS, 10)
            assert book.bids[0].price == book.asks[0].price == wanted
            assert all(level.price * level.qty >= 4_900_000 for level in (*book.bids, *book.asks))
        assert before is None or market.book(pair, begin_t * NS, 10).bids != before, (
            "an unchanged book would be told of nowhere"
        )
        before = market.book(pair, begin_t * NS, 10).bids
    assert market.book(pair, (START_T - HOUR_S) * NS, 10).bids == ()


def test_ten_endless_levels_of_the_cheapest_coin_add_up_within_64_bits() -> None:
    book = seeded_book(1, PairInfo("SHIB", "USD", 8, 2), 3, 0, 10, BookShape.unconstraining())
    assert 0 < sum(int(level.qty * 10**8) for level in book.asks) < 2**63


def test_captures_are_replayed_to_the_update(real_data: Path) -> None:
    market = LocalMarket.open([real_data / "kraken-book"], seed=0)
    (pair,) = market.pairs
    assert (pair.symbol, pair.pair_decimals, pair.lot_decimals) == ("BTC/USD", 1, 8)
    assert [
        *market.candles(pair, 60, market.now_ns, 5),
        *market.trades(pair, 0, 2**62),
        *market.recent_trades(pair, 0, 1),
    ] == []
    update_ns = 1_690_730_998_343_415_000
    before, after = market.book(pair, update_ns - 1), market.book(pair, update_ns)
    assert before.asks[5] == Level(Decimal("29431.1"), Decimal("0.00100000"))
    assert after.asks[3] == Level(Decimal("29430.6"), Decimal("0.00100000"))
    assert market.book(pair, update_ns - 1) == before
    assert len(market.book(pair, update_ns + 30 * NS).bids) == 10
    assert market.book(pair, 0).bids == ()
    assert market.summary(pair, 0, 2**62) is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"init": {}, "updates": []}',
        '{"init": [], "updates": [1]}',
        '{"init": [[1, {"as": [["1.0", "1", "5"]]}, "book-10", "ZZZ"]], "updates": [1]}',
    ],
)
def test_what_is_no_capture(tmp_path: Path, content: str) -> None:
    (tmp_path / "book.json").write_text(content)
    with pytest.raises(DataError, match="no capture of a book"):
        LocalMarket.open([tmp_path], seed=0)


def test_a_capture_finer_than_the_pair_is_refused(tmp_path: Path) -> None:
    message = '[1, {"as": [["1.0", "0.123456789", "1700006400.5"]]}, "book-10", "SOL/USD"]'
    (tmp_path / "book.json").write_text(f'{{"init": [{message}], "updates": [{message}]}}')
    with pytest.raises(DataError, match="finer quantities"):
        LocalMarket.open([sol(tmp_path)], seed=0)
