from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from workbench.data.bars import joined, read_parquet
from workbench.data.providers.trades import BarMaker, Trade, TradeOrderError, aggregate

MINUTE_NS = 60 * 10**9


def some(n: int, *, every_ns: int = 7 * 10**9) -> list[Trade]:
    return [Trade(100 + i, i * every_ns + 5, 100.0 + (i * 37) % 11, 10**6 * (1 + i % 5)) for i in range(n)]


@pytest.mark.parametrize("seed", range(40))
def test_pages_in_any_overlap_give_the_same_bars(seed: int) -> None:
    rng, trades = random.Random(seed), some(400)
    whole = aggregate(trades, 60, 0, 3_000)
    maker, parts, at = BarMaker(60, 0), [], 0
    while at < len(trades):
        n, back = rng.randint(1, 60), rng.randint(1, 30)
        new_n = maker.add(trades[max(0, at - back) : at + n], continues=at > 0)
        assert new_n == len(trades[at : at + n])
        at += n
        if rng.random() < 0.5:
            parts.append(maker.take())
            assert len(parts[-1]) == 0 or int(parts[-1].t[-1]) < maker.open_t
    parts.append(maker.take(3_000))
    got = joined([p for p in parts if len(p)])
    assert got.digest == whole.digest, f"seed {seed}"


def test_only_complete_bars_come_out() -> None:
    maker = BarMaker(60, 0)
    maker.add(some(20))  # until second 133
    assert maker.take().t.tolist() == [0, 60]
    assert len(maker.take()) == 0
    assert maker.take(130).t.tolist() == [], "the bar of second 120 ends at 180"
    assert maker.take(180).t.tolist() == [120]


@pytest.mark.parametrize(
    "page",
    [
        [2, 1],  # backwards
        [0, 1, 3, 2],
        [5, 6],  # a hole between the pages
    ],
)
def test_a_page_that_does_not_continue_is_refused_and_changes_nothing(page: list[int]) -> None:
    trades = some(10)
    maker = BarMaker(60, 0)
    maker.add(trades[:1])
    with pytest.raises(TradeOrderError):
        maker.add([trades[i] for i in page], continues=True)
    assert maker.last == trades[0]
    assert maker.add(trades, continues=True) == 9


def test_one_trade_with_two_times_is_refused() -> None:
    maker = BarMaker(60, 0)
    maker.add([Trade(1, 5, 1.0, 1)])
    with pytest.raises(TradeOrderError, match="two times"):
        maker.add([Trade(1, 6, 1.0, 1)])


def test_volumes_are_the_floats_that_their_decimal_texts_read_as() -> None:
    rng = random.Random(3)
    for _ in range(500):
        lots = [rng.randrange(1, 10 ** rng.randrange(2, 16)) for _ in range(rng.randrange(1, 5))]
        made = aggregate([Trade(i + 1, i, 1.0, n) for i, n in enumerate(lots)], 60, 0, 60)
        text = f"{sum(lots) // 10**8}.{sum(lots) % 10**8:08d}"
        assert float(made.volume[0]) == float(text), text


def test_sums_are_exact_at_any_size() -> None:
    many = [Trade(i + 1, i, 1.0, 10_000_001) for i in range(30)]  # 0.10000001 thirty times
    assert float(aggregate(many, 60, 0, 60).volume[0]) == 3.0000003
    huge = [Trade(i + 1, i, 0.00001, 10**19 + 1) for i in range(3)]  # more than 64 bits hold
    assert float(aggregate(huge, 60, 0, 60).volume[0]) == 300_000_000_000.00000003


@pytest.mark.parametrize(("interval", "step_t", "bars_n"), [("1m", 60, 5_388), ("1h", 3_600, 129)])
def test_the_shared_trades_aggregate_to_every_bar_of_the_venue(
    interval: str, step_t: int, bars_n: int, real_data: Path
) -> None:
    frame = pl.read_parquet(real_data / "kraken-trades" / "kraken_XBTUSDT_2023-11-17_22.parquet")
    micros = frame["ts_utc"].dt.timestamp("us").to_list()
    lots = np.round(frame["amount"].to_numpy() * 1e8).astype(np.int64).tolist()
    trades = [Trade(*row) for row in zip(frame["trade_id"], (m * 1_000 for m in micros), frame["price"], lots, strict=True)]
    assert len(trades) == 26_921
    begin_t = micros[0] // 10**6 // step_t * step_t
    got = aggregate(trades, step_t, begin_t, micros[-1] // 10**6 // step_t * step_t + step_t)
    real = read_parquet(real_data / "kraken-spot" / interval / "XBTUSDT.parquet", "XBTUSDT")
    assert len(got) == len(real) == bars_n
    assert np.array_equal(got.t, real.t)
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(got, name), getattr(real, name)), name
    assert np.array_equal(np.round(real.volume * 1e8), np.round(got.volume * 1e8)), "volume to the last lot decimal"
    assert got.trades is not None
    assert got.trades.sum() == 26_921
