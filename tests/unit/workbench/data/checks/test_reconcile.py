from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.cli import main
from runtime.errors import DataError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, without, write_frame, write_series
from workbench.data.bars import Bars
from workbench.data.checks.reconcile import (
    Source,
    median,
    percentile,
    reconcile_bars,
    reconcile_files,
    reconcile_venues,
    source_pairs,
    trade_bars,
)
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake


def noisy(seed: int, n: int = 300) -> tuple[Bars, Bars]:
    """Return two series of one asset: other holes, prices that differ a little, other volumes."""
    rng = np.random.default_rng(seed)
    a = some_bars(n)
    walk = 100.0 * np.cumprod(1.0 + rng.normal(0.0, 0.01, n))
    a = Bars(a.t, walk, walk * 1.01, walk * 0.99, walk, rng.uniform(0.0, 9.0, n))
    off = walk * (1.0 + rng.normal(0.0, 0.001, n))
    b = Bars(a.t + 5 * HOUR_T, off, off * 1.01, off * 0.99, np.roll(off, -5), rng.uniform(0.0, 9.0, n))
    return a.take(rng.random(n) > 0.1), b.take(rng.random(n) > 0.1)


@pytest.mark.parametrize("seed", range(8))
def test_every_figure_equals_plain_python(seed: int) -> None:
    a, b = noisy(seed)
    found = reconcile_bars("BTC", Source("a", a), Source("b", b), HOUR_T, worst_n=4)
    mine = {int(t): (float(c), float(v)) for t, c, v in zip(a.t, a.close, a.volume, strict=True)}
    theirs = {int(t): (float(c), float(v)) for t, c, v in zip(b.t, b.close, b.volume, strict=True)}
    both = sorted(set(mine) & set(theirs))
    lo, hi = max(min(mine), min(theirs)), min(max(mine), max(theirs))
    assert (found.span_first_t, found.span_last_t, found.first_t, found.last_t) == (lo, hi, both[0], both[-1])
    assert (found.rows_a, found.rows_b, found.both_n) == (len(mine), len(theirs), len(both))
    assert found.only_a_n == sum(lo <= t <= hi and t not in theirs for t in mine) > 0
    assert found.only_b_n == sum(lo <= t <= hi and t not in mine for t in theirs) > 0
    signed = {t: (mine[t][0] / theirs[t][0] - 1.0) * 10_000.0 for t in both}
    far = sorted(abs(x) for x in signed.values())
    assert found.median_bp == pytest.approx(statistics.median(far), rel=1e-12)
    assert found.bias_bp == pytest.approx(statistics.median(signed.values()), rel=1e-12)
    assert sum(x <= (found.p95_bp or 0.0) for x in far) >= 0.95 * len(far) > sum(x < (found.p95_bp or 0.0) for x in far)
    assert (found.max_bp, found.p95_bp in far) == (far[-1], True)
    pairs = [
        (mine[t + HOUR_T][0] / mine[t][0] - 1.0, theirs[t + HOUR_T][0] / theirs[t][0] - 1.0)
        for t in both
        if t + HOUR_T in signed
    ]
    assert found.returns_n == len(pairs)
    assert found.correlation == pytest.approx(statistics.correlation(*zip(*pairs, strict=True)), rel=1e-9)
    assert found.volume_ratio == pytest.approx(sum(mine[t][1] for t in both) / sum(theirs[t][1] for t in both), rel=1e-12)
    expected = sorted(signed, key=lambda t: (-abs(signed[t]), t))[:4]
    assert [(w.open_t, w.close_a, w.close_b, w.volume_a, w.volume_b, w.difference_bp) for w in found.worst] == [
        (t, mine[t][0], theirs[t][0], mine[t][1], theirs[t][1], signed[t]) for t in expected
    ]


def test_equal_series_agree_wholly_and_name_no_worst_bar() -> None:
    a = some_bars(60)
    found = reconcile_bars("BTC", Source("a", a), Source("b", without(a, 7)), HOUR_T)
    assert (found.equal_n, found.only_a_n, found.only_b_n, found.max_bp, found.worst) == (59, 1, 0, 0.0, ())
    assert found.correlation == pytest.approx(1.0)
    assert reconcile_bars("BTC", Source("a", a), Source("b", changed(a, 7, high=500.0)), HOUR_T).equal_n == 59


def test_what_cannot_be_measured_is_none() -> None:
    early, late = some_bars(5), some_bars(5, start_t=START_T + 90 * HOUR_T)
    found = reconcile_bars("BTC", Source("a", early), Source("b", late), HOUR_T)
    assert (found.both_n, found.only_a_n, found.only_b_n, found.span_first_t, found.first_t) == (0, 0, 0, None, None)
    assert (found.correlation, found.median_bp, found.p95_bp, found.bias_bp, found.volume_ratio) == (None,) * 5
    flat = Bars(early.t, *(np.full(5, 2.0) for _ in range(4)), np.zeros(5))
    still = reconcile_bars("BTC", Source("a", flat), Source("b", flat), HOUR_T)
    assert (still.returns_n, still.correlation, still.volume_ratio) == (4, None, None)


def test_median_and_percentile_by_hand() -> None:
    assert (median([]), median([1.0, 2.0, 9.0]), median([1.0, 2.0, 4.0, 9.0])) == (None, 2.0, 3.0)
    hundred = [float(i) for i in range(1, 101)]
    assert (percentile([], 95), percentile([7.0], 95), percentile(hundred, 95), percentile(hundred[:20], 95)) == (
        None,
        7.0,
        95.0,
        19.0,
    )


def closed_at(bars: Bars, row: int, ratio: float) -> Bars:
    """Return the bars with one close moved, and the bar's range with it."""
    close = float(bars.close[row]) * ratio
    return changed(bars, row, close=close, high=max(float(bars.high[row]), close), low=min(float(bars.low[row]), close))


@pytest.fixture
def lake(tmp_path: Path, home: Path) -> Path:
    """Return a home with Binance, its second source, and Kraken, which calls Bitcoin XBT."""
    bars = some_bars(72)
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", bars)
    write_series(tmp_path / "in", "binance-spot/1h/MATICUSDT", bars)
    write_series(tmp_path / "in", "binance-spot/1h/POLUSDT", some_bars(48, start_t=START_T + 300 * 86_400))
    write_series(tmp_path / "in", "binance-spot-b/1h/BTCUSDT", closed_at(bars, 30, 1.02))
    write_series(tmp_path / "in", "kraken-spot/1h/XBTUSD", without(closed_at(bars, 20, 0.995), 10, 11))
    write_series(tmp_path / "in", "kraken-spot/1h/MATICUSD", some_bars(40))  # ends within a day: the last may not have closed
    write_series(tmp_path / "in", "kraken-spot/1h/ETHUSD", bars)
    import_bars(home, FileProvider(tmp_path / "in"))
    return home


def test_venues_are_matched_by_the_universe(lake: Path) -> None:
    found = reconcile_venues(lake, "binance-spot", "kraken-spot")
    assert [(p.asset, p.ticker, p.series_a, p.series_b) for p in found.pairs] == [
        ("BTC", "", "binance-spot/1h/BTCUSDT", "kraken-spot/1h/XBTUSD"),
        ("POL", "MATIC", "binance-spot/1h/MATICUSDT", "kraken-spot/1h/MATICUSD"),
    ]
    btc, matic = found.pairs
    assert (btc.both_n, btc.only_a_n, btc.only_b_n, btc.equal_n, len(btc.worst)) == (70, 2, 0, 69, 1)
    assert (btc.worst[0].open_t, btc.bias_bp) == (START_T + 20 * HOUR_T, 0.0)
    assert btc.max_bp == pytest.approx((1 / 0.995 - 1) * 10_000)
    assert matic.both_n == 39, "a bar that may not have closed takes no part"
    assert found.series_only_a == ("binance-spot/1h/POLUSDT",)
    assert found.series_only_b == ("kraken-spot/1h/ETHUSD",)


def test_symbols_choose_assets(lake: Path) -> None:
    only = reconcile_venues(lake, "binance-spot", "kraken-spot", assets=["BTC"])
    assert [p.asset for p in only.pairs] == ["BTC"]
    with pytest.raises(DataError, match="of ETH in common"):
        reconcile_venues(lake, "binance-spot", "kraken-spot", assets=["ETH"])
    with pytest.raises(DataError, match="no 1d series in common"):
        reconcile_venues(lake, "binance-spot", "kraken-spot", "1d")


def test_sources_that_share_an_asset(lake: Path) -> None:
    assert list(source_pairs(Lake(lake).catalog().entries)) == [
        ("binance-spot", "binance-spot-b", "1h"),
        ("binance-spot", "kraken-spot", "1h"),
    ]


def trades_frame(times: list[float], prices: list[float], amounts: list[float]) -> pl.DataFrame:
    stamps = [datetime.fromtimestamp(START_T + t, UTC) for t in times]
    return pl.DataFrame({"ts_utc": stamps, "price": prices, "amount": amounts}).with_columns(
        pl.col("ts_utc").cast(pl.Datetime("us", "UTC"))
    )


def test_trades_make_bars() -> None:
    bars = trade_bars(trades_frame([0.5, 59.9, 60.0, 200.0], [10.0, 8.0, 9.0, 7.0], [1.0, 2.0, 0.1, 0.2]), 60, "trades")
    assert bars.t.tolist() == [START_T, START_T + 60, START_T + 180], "no bar where nobody traded"
    rows = [x.tolist() for x in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
    assert rows == [[10.0, 9.0, 7.0], [10.0, 9.0, 7.0], [8.0, 9.0, 7.0], [8.0, 9.0, 7.0], [3.0, 0.1, 0.2]]
    assert bars.trades is not None
    assert bars.trades.tolist() == [2.0, 1.0, 1.0]
    with pytest.raises(DataError, match="out of order"):
        trade_bars(trades_frame([60.0, 0.0], [1.0, 1.0], [1.0, 1.0]), 60, "trades")
    with pytest.raises(DataError, match="no column amount"):
        trade_bars(trades_frame([0.0], [1.0], [1.0]).drop("amount"), 60, "trades")


def test_files_of_bars_or_trades(tmp_path: Path) -> None:
    trades = write_frame(tmp_path, "trades", trades_frame([1.0, 61.0, 130.0], [10.0, 11.0, 12.0], [1.0, 1.0, 1.0]))
    bars = write_series(tmp_path, "bars", some_bars(3, step_t=60, price=10.0))
    found = reconcile_files(bars, trades, "1m").pairs[0]
    assert (found.asset, found.both_n, found.equal_n) == ("bars", 3, 0)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"bad\.parquet"):
        reconcile_files(bars, tmp_path / "bad.parquet", "1m")
    twice = write_series(tmp_path, "twice", some_bars(3, step_t=60).take(np.array([0, 1, 1])))
    with pytest.raises(DataError, match="share an opening time"):
        reconcile_files(bars, twice, "1m")


def test_command(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "reconcile", "binance-spot", "kraken-spot"]
    assert main([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == reconcile_venues(lake, "binance-spot", "kraken-spot").model_dump(mode="json")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "POL (MATIC)" in out
    assert "Only B has: ETHUSD" in out
    assert main([*arguments, "--symbol", "ETH"]) == 3
    assert main(["data", "reconcile", "binance-spot", str(tmp_path / "x.parquet")]) == 2


def test_real_trades_make_the_venues_own_bars(real_data: Path) -> None:
    trades = real_data / "kraken-trades" / "kraken_XBTUSDT_2023-11-17_22.parquet"
    found = reconcile_files(real_data / "kraken-spot" / "1m" / "XBTUSDT.parquet", trades, "1m").pairs[0]
    assert (found.both_n, found.equal_n, found.only_a_n, found.only_b_n, found.max_bp) == (5_388, 5_388, 0, 0, 0.0)
    assert found.volume_ratio == pytest.approx(1.0, abs=1e-9)


def test_real_venues_agree_within_the_premium_of_their_quotes(real_data: Path, home: Path) -> None:
    for venue, symbol in (("binance-spot", "BTCUSDT"), ("kraken-spot", "XBTUSD")):
        import_bars(home, FileProvider(real_data / venue / "1h" / f"{symbol}.parquet", venue=venue, interval="1h"))
    found = reconcile_venues(home, "binance-spot", "kraken-spot").pairs[0]
    assert (found.both_n, found.only_a_n, found.only_b_n) == (15_405, 5, 11)
    assert 0.99 < (found.correlation or 0.0) < 1.0
    assert 4.0 < (found.median_bp or 0.0) < 5.0
    # The crash of May 2021, and the day in May 2022 when USDT fell below a dollar: bitcoin was dearer in USDT.
    assert [(w.open_t, w.difference_bp > 180) for w in found.worst[:2]] == [(1_621_425_600, True), (1_652_335_200, True)]
