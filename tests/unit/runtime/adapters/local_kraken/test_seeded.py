"""Seeded trades make their bar exactly, whatever the bar; the same seed makes the same trades."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.adapters.local_kraken import bar_feed, seeded
from runtime.adapters.local_kraken.bar_feed import BarFeed
from runtime.adapters.local_kraken.columns import BarColumns, TradeColumns
from runtime.adapters.local_kraken.draws import key_of, mix, mix_all
from runtime.adapters.local_kraken.records import NS
from runtime.errors import DataError
from tests.support.local_kraken import HOUR_S, START_T, first_difference, hourly, write_bars

prices = st.integers(1, 10**11)


@st.composite
def bar_lists(draw: st.DrawFn) -> tuple[list[tuple[int, int, int, int, int, int]], int]:
    """Return bars as (open, high, low, close, lots, count) that trades can make, and their interval in seconds."""
    interval_s = draw(st.sampled_from([60, HOUR_S, 86_400]))
    bars = []
    for _ in range(draw(st.integers(1, 5))):
        a, b, c, d = sorted(draw(st.lists(prices, min_size=4, max_size=4)))
        o, close = draw(st.sampled_from([(b, c), (c, b), (a, d), (d, a), (a, a), (d, d), (b, b), (a, c), (c, d)]))
        high, low = (a, a) if draw(st.booleans()) and o == close == a else (d, a)
        needed = int(seeded.trades_needed(*(np.array([x]) for x in (o, high, low, close)))[0])
        n = needed + draw(st.sampled_from([0, 0, 1, 2, 7, 300]))
        bars.append((o, high, low, close, n + draw(st.sampled_from([0, 1, 5, 10**6, 2**52])), n))
    return bars, interval_s


def columns_of(bars: list[tuple[int, int, int, int, int, int]], interval_s: int) -> BarColumns:
    o, h, low, c, lots, n = (np.array(column, np.int64) for column in zip(*bars, strict=True))
    open_t = np.arange(len(bars), dtype=np.int64) * interval_s + 1_699_920_000
    return BarColumns(open_t, o, h, low, c, lots, n, np.cumsum(n) - n + 1)


def split(made: TradeColumns, bars: BarColumns) -> list[TradeColumns]:
    ends = np.cumsum(bars.trades_n)
    return [TradeColumns(*(column[end - n : end] for column in made)) for end, n in zip(ends, bars.trades_n, strict=True)]


@given(bar_lists(), st.integers(0, 2**63))
@settings(deadline=None, max_examples=200)
def test_trades_make_every_bar_exactly(drawn: tuple[list[tuple[int, int, int, int, int, int]], int], key: int) -> None:
    bars, interval_s = drawn
    columns = columns_of(bars, interval_s)
    made = seeded.trades_of_bars(key, columns, interval_s)
    assert made.trade_id.tolist() == list(range(1, len(made.price) + 1))
    for trades, bar, open_t in zip(split(made, columns), bars, columns.open_t.tolist(), strict=True):
        assert first_difference(trades, bar, interval_s) == ""
        assert open_t * NS < int(trades.time_ns[0])
        assert int(trades.time_ns[-1]) < (open_t + interval_s) * NS


@given(bar_lists(), st.integers(0, 2**63))
@settings(deadline=None, max_examples=60)
def test_notionals_are_exact(drawn: tuple[list[tuple[int, int, int, int, int, int]], int], key: int) -> None:
    columns = columns_of(*drawn)
    made = seeded.trades_of_bars(key, columns, drawn[1])
    exact = [sum(p * q for p, q in zip(t.price.tolist(), t.lots.tolist(), strict=True)) for t in split(made, columns)]
    assert seeded.notionals_of(columns, made) == exact


def test_notionals_beyond_64_bits_are_exact() -> None:
    columns = columns_of([(10**11, 10**11, 1, 5, 2**52, 300), (100, 120, 90, 110, 1_000, 9)], 60)
    made = seeded.trades_of_bars(5, columns, 60)
    exact = [sum(p * q for p, q in zip(t.price.tolist(), t.lots.tolist(), strict=True)) for t in split(made, columns)]
    assert exact[0] > 2**63
    assert seeded.notionals_of(columns, made) == exact


def test_the_property_above_sees_a_lost_lot_and_a_missed_extreme() -> None:
    bar = (100, 120, 90, 110, 1_000, 9)
    made = seeded.trades_of_bars(5, columns_of([bar], 60), 60)
    assert first_difference(made, bar, 60) == ""
    assert "made" in first_difference(made._replace(lots=made.lots - (np.arange(9) == 3)), bar, 60)
    assert "made" in first_difference(made._replace(price=np.minimum(made.price, 119)), bar, 60)
    assert "rise" in first_difference(made._replace(time_ns=made.time_ns[::-1]), bar, 60)
    assert "outside" in first_difference(made._replace(time_ns=made.time_ns + np.arange(9) * 60 * NS), bar, 60)
    assert "without a lot" in first_difference(made._replace(lots=np.array([992, *[1] * 8]) - [-8, *[1] * 8]), bar, 60)


def test_the_first_microsecond_of_a_bar_is_free_even_in_the_fullest_bar() -> None:
    n = 500_000  # two microseconds each
    made = seeded.trades_of_bars(5, columns_of([(7, 9, 5, 8, n, n)], 1), 1)
    assert first_difference(made, (7, 9, 5, 8, n, n), 1) == ""
    assert int(made.time_ns[0]) == 1_699_920_000 * NS + 1_000


def test_bars_one_by_one_are_bars_together() -> None:
    columns = columns_of([(100, 120, 90, 110, 1_000, 9), (110, 110, 110, 110, 5, 1), (110, 130, 100, 130, 10**9, 400)], HOUR_S)
    together = seeded.trades_of_bars(5, columns, HOUR_S)
    for n, part in enumerate(split(together, columns)):
        alone = seeded.trades_of_bars(5, BarColumns(*(column[n : n + 1] for column in columns)), HOUR_S)
        assert all(np.array_equal(a, b) for a, b in zip(part, alone, strict=True))


def test_another_key_makes_other_trades_of_the_same_bar() -> None:
    bar = (100, 120, 90, 110, 1_000, 9)
    one, other = (seeded.trades_of_bars(key, columns_of([bar], 60), 60) for key in (1, 2))
    assert one.time_ns.tolist() != other.time_ns.tolist()
    assert one.lots.tolist() != other.lots.tolist()
    assert first_difference(other, bar, 60) == ""


def test_draws_are_the_published_function() -> None:
    # SplitMix64 seeded with 1234567, first three outputs as published with the algorithm
    golden = 0x9E3779B97F4A7C15
    assert [mix(1_234_567 + n * golden & (1 << 64) - 1) for n in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]
    words = [0, 1, 2**63, 2**64 - 1]
    assert mix_all(np.array(words, np.uint64)).tolist() == [mix(word) for word in words]
    assert key_of(1, "XBTUSD") != key_of(2, "XBTUSD") != key_of(2, "XBTUSD ")


# ---- the feed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_n", [64, 131_072])
def test_a_feed_gives_the_same_trades_however_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_n: int
) -> None:
    path = write_bars(tmp_path / "1h/SOLUSD.parquet", hourly(300, quiet=frozenset({5, 6, 120})), row_group_n=70)
    everything = BarFeed(path, HOUR_S, 3).trades(0, 2**62)
    monkeypatch.setattr("runtime.adapters.local_kraken.files.BLOCK_N", block_n)
    monkeypatch.setattr(bar_feed, "BLOCK_N", block_n)
    monkeypatch.setattr(bar_feed, "BATCH_N", 100)
    feed = BarFeed(path, HOUR_S, 3)
    stepped = [feed.trades(t * NS, (t + 1_000) * NS) for t in range(START_T, START_T + 300 * HOUR_S, 1_000)]
    joined = TradeColumns(*(np.concatenate(columns) for columns in zip(*stepped, strict=True)))
    assert all(np.array_equal(a, b) for a, b in zip(joined, everything, strict=True))
    cursor, ids = 0, []
    while len((page := feed.trades(cursor, 2**62, 100)).price):
        ids += page.trade_id.tolist()
        cursor = int(page.time_ns[-1])
    assert ids == list(range(1, len(everything.price) + 1))
    middle = int(everything.time_ns[700])
    assert feed.recent(middle, 650).trade_id.tolist() == list(range(52, 702))
    assert len(feed.recent(START_T * NS, 3).price) == 0
    pieces, direct = feed.pieces(START_T * NS + 1, middle, 24 * HOUR_S * NS), feed.trades(START_T * NS, middle - 1)
    assert sum(pieces.notional.tolist()) == sum(p * q for p, q in zip(direct.price.tolist(), direct.lots.tolist(), strict=True))
    assert int(pieces.trades_n.sum()) == len(direct.price) == 700
    assert len(feed.trades(9, 5).price) == 0


def test_notionals_that_were_forgotten_are_summed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bars(tmp_path / "1h/SOLUSD.parquet", hourly(50))
    monkeypatch.setattr(bar_feed, "NOTIONALS_KEPT_N", 7)
    feed = BarFeed(path, HOUR_S, 3)
    span = (START_T * NS, (START_T + 50 * HOUR_S) * NS, HOUR_S * NS)
    assert feed.pieces(*span).notional.tolist() == feed.pieces(*span).notional.tolist()


def bar_of(**changes: float | None) -> list[tuple[int, float, float, float, float, float, int | None]]:
    row = {"t": START_T, "o": 10.0, "h": 11.0, "l": 9.0, "c": 10.5, "v": 5.0, "n": 6} | changes
    before = (START_T - HOUR_S, 10.0, 11.0, 9.0, 10.5, 5.0, None if row["n"] is None else 9)
    return [before, (int(row["t"] or 0), row["o"], row["h"], row["l"], row["c"], row["v"], row["n"])]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"t": START_T + 60}, "row 2 .* a time that opens no bar"),
        ({"t": START_T - HOUR_S}, "row 2 .* does not follow"),
        ({"h": 10.2}, "row 2 .* outside low and high"),
        ({"l": 10.2}, "row 2 .* outside low and high"),
        ({"o": -1.0, "l": -2.0}, "a price that is no decimal of a market"),
        ({"o": float("nan")}, "a price that is no decimal of a market"),
        ({"o": 10.0 + 1 / 3}, "a price that is no decimal of a market"),
        ({"v": -0.5}, "row 2 .* a volume below zero"),
        ({"v": float("inf")}, "row 2 .* a volume below zero"),
        ({"n": 3}, "row 2 .* cannot make"),
        ({"v": 0.00000005}, "row 2 .* cannot make"),
        ({"v": 0.00000003, "n": None}, "row 2 .* cannot make"),
    ],
)
def test_a_row_that_is_no_bar_is_named(tmp_path: Path, changes: dict[str, float | None], said: str) -> None:
    path = write_bars(tmp_path / "1h/SOLUSD.parquet", bar_of(**changes))
    with pytest.raises(DataError, match=said):
        BarFeed(path, HOUR_S, 3)


def test_a_bar_without_volume_is_an_interval_without_trades(tmp_path: Path) -> None:
    feed = BarFeed(write_bars(tmp_path / "1h/SOLUSD.parquet", bar_of(v=0.0)), HOUR_S, 3)
    assert len(feed.trades(0, 2**62).price) == 9
    assert feed.last_ns == START_T * NS - 1


def test_blocks_without_any_trade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.local_kraken.files.BLOCK_N", 10)
    rows = [(*bar[:5], 0.0 if n < 10 or 20 <= n < 30 else bar[5], None) for n, bar in enumerate(hourly(40))]
    feed = BarFeed(write_bars(tmp_path / "1h/SOLUSD.parquet", rows), HOUR_S, 3)
    assert feed.first_ns == (START_T + 10 * HOUR_S) * NS
    assert int(feed.recent((START_T + 25 * HOUR_S) * NS, 1).time_ns[0]) // NS // HOUR_S * HOUR_S == START_T + 19 * HOUR_S
    assert len(feed.recent((START_T + 9 * HOUR_S) * NS, 1).price) == 0
    assert feed.trades(0, 2**62).trade_id.tolist() == list(range(1, len(feed.trades(0, 2**62).price) + 1))
    nothing = write_bars(tmp_path / "1h/ETHUSD.parquet", [(*bar[:5], 0.0, None) for bar in hourly(25)])
    with pytest.raises(DataError, match="no bar of .* has a volume"):
        BarFeed(nothing, HOUR_S, 3)


def test_a_count_that_is_on_file_is_the_count(tmp_path: Path) -> None:
    feed = BarFeed(write_bars(tmp_path / "1h/SOLUSD.parquet", bar_of()), HOUR_S, 3)
    assert len(feed.trades(0, START_T * NS).price) == 9
    assert len(feed.trades(START_T * NS, 2**62).price) == 6


def test_large_volumes_have_fewer_decimals(tmp_path: Path) -> None:
    feed = BarFeed(write_bars(tmp_path / "1h/SHIBUSD.parquet", bar_of(v=15_274_305_779_676.0)), HOUR_S, 3)
    assert feed.lot_decimals == 2
    assert int(feed.trades(START_T * NS, 2**62).lots.sum()) == 1_527_430_577_967_600
    feed = BarFeed(write_bars(tmp_path / "1h/HUGE.parquet", bar_of(v=2.0**60, n=None)), HOUR_S, 3)
    assert feed.lot_decimals == 0
