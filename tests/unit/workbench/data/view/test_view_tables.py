"""What a view makes of its bars: longer bars, coverage, gaps, and what was known when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from runtime.errors import UsageError
from tests.support.bars import HOUR_T, START_T, some_bars, write_series
from tests.support.view_home import ALL, BTC, YEAR_END_T, at, make_home, of, seconds
from workbench import data
from workbench.data.datasets.build import build_dataset
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.view.lake_view import COLUMNS, LakeView


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("view"))


@pytest.fixture
def view(home: Path) -> Iterator[LakeView]:
    with data.open(home) as opened:
        yield opened


# ---- longer bars -----------------------------------------------------------------------------------------------------


def test_aggregates_are_exact_and_state_what_is_partial(view: LakeView) -> None:
    days = of(view.aggregate("1d").frame(), "binance-spot", "BTC")
    assert days.columns == [*COLUMNS, "bars_n", "whole"]
    for row in days.iter_rows(named=True):
        start_t = int(row["ts_utc"].timestamp())
        inside = BTC.take((BTC.t >= start_t) & (BTC.t < start_t + 86_400))
        assert (row["open"], row["high"], row["low"], row["close"]) == (
            inside.open[0], inside.high.max(), inside.low.min(), inside.close[-1],
        )  # fmt: skip
        assert row["volume"] == sum(round(v * 1e8) for v in inside.volume.tolist()) / 1e8
        assert row["trades"] == inside.trades.sum()  # type: ignore[union-attr]  # BTC has them
        assert (row["bars_n"], row["whole"]) == (len(inside), len(inside) == 24)
    assert days["bars_n"].to_list().count(24) == 38
    assert days.filter(~pl.col("whole"))["bars_n"].to_list() == [21, 23]


def test_an_aggregate_is_the_same_three_ways_and_on_any_number_of_threads(view: LakeView) -> None:
    longer = view.aggregate("4h")
    frame = longer.frame().collect()
    assert frame.equals(longer.relation().pl(), null_equal=True)
    assert frame.equals(longer.table().to_polars(), null_equal=True)
    longer._connection.execute("SET threads = 1")
    assert frame.equals(longer.frame().collect(), null_equal=True)
    assert longer.sql("select count(*) from bars").fetchone() == (frame.height,)


def test_a_bucket_without_bars_is_not_there(tmp_path: Path) -> None:
    bars = some_bars(72)
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", bars.take((bars.t < START_T + 86_400) | (bars.t >= START_T + 2 * 86_400)))
    import_bars(tmp_path / "home", FileProvider(tmp_path))
    with data.open(tmp_path / "home") as opened:
        assert seconds(opened.aggregate("1d").frame().collect()) == [START_T, START_T + 2 * 86_400]


def test_trades_are_null_where_a_bar_of_the_bucket_has_none(view: LakeView) -> None:
    days = of(view.aggregate("1d").frame(), "kraken-spot", "POL")
    assert days["trades"].null_count() == 26
    assert days["venue_symbol"].to_list() == ["MATICUSD"] * 26 + ["POLUSD"] * 14


def test_a_bucket_across_a_rename_is_one_bar_of_the_later_ticker(tmp_path: Path) -> None:
    write_series(tmp_path, "kraken-spot/1h/MATICUSD", some_bars(24))
    write_series(tmp_path, "kraken-spot/1h/POLUSD", some_bars(12, start_t=START_T + 12 * HOUR_T, price=2.0, trades=True))
    import_bars(tmp_path / "home", FileProvider(tmp_path))
    with data.open(tmp_path / "home") as opened:
        (day,) = opened.aggregate("1d").frame().collect().iter_rows(named=True)
        hours = opened.frame().collect()
    assert (day["symbol"], day["venue_symbol"], day["bars_n"], day["whole"]) == ("POL", "POLUSD", 24, True)
    assert (day["open"], day["close"]) == (hours["open"][0], hours["close"][-1])
    assert hours["trades"].null_count() == 12
    assert day["trades"] is None, "half of the trades is not the trades"


def test_a_bucket_still_open_at_as_of_is_not_there(home: Path) -> None:
    with data.open(home, venue="binance-spot", symbols=["BTC"], as_of=at(START_T + 13 * HOUR_T)) as opened:
        assert seconds(opened.aggregate("1d").frame().collect())[-1] == START_T - 86_400
        assert seconds(opened.aggregate("4h").frame().collect())[-1] == START_T + 8 * HOUR_T


@pytest.mark.parametrize("interval", ["1h", "15m", "1m"])
def test_only_longer_intervals_can_be_made(view: LakeView, interval: str) -> None:
    with pytest.raises(UsageError, match="one of 4h, 1d"):
        view.aggregate(interval)


def test_of_days_nothing_longer_is_made(home: Path) -> None:
    with data.open(home, interval="1d") as days, pytest.raises(UsageError, match="there is none"):
        days.aggregate("1h")


def test_an_aggregate_is_not_aggregated_again(view: LakeView) -> None:
    with pytest.raises(UsageError, match="already aggregated"):
        view.aggregate("4h").aggregate("1d")


# ---- what is there -----------------------------------------------------------------------------------------------------


def test_coverage_counts_what_is_there_and_what_could_be(view: LakeView) -> None:
    rows = {(r["venue"], r["symbol"]): r for r in view.coverage().iter_rows(named=True)}
    btc = rows["binance-spot", "BTC"]
    assert (btc["bars_n"], btc["due_n"], btc["missing_n"]) == (len(BTC), len(BTC) + 4, 4)
    assert btc["share"] == len(BTC) / (len(BTC) + 4)
    assert (btc["first_utc"], btc["last_utc"]) == (at(int(BTC.t[0])), at(int(BTC.t[-1])))
    assert rows["kraken-spot", "POL"]["missing_n"] == 0


def test_coverage_by_month_adds_up_and_shows_empty_months(tmp_path: Path) -> None:
    bars = some_bars(24 * 100, start_t=START_T - 5 * HOUR_T)
    month = (START_T + 31 * 86_400, START_T + 60 * 86_400)
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", bars.take((bars.t < month[0]) | (bars.t >= month[1])))
    import_bars(tmp_path / "home", FileProvider(tmp_path))
    with data.open(tmp_path / "home") as opened:
        months, whole = opened.coverage("month"), opened.coverage()
    assert months["month"].dt.strftime("%Y-%m").to_list() == ["2023-12", "2024-01", "2024-02", "2024-03", "2024-04"]
    assert months["due_n"].to_list()[:4] == [5, 31 * 24, 29 * 24, 31 * 24]
    assert months["bars_n"].to_list()[2] == 0
    assert months["first_utc"].to_list()[2] is None
    assert months.select("bars_n", "due_n", "missing_n").sum().row(0) == whole.select("bars_n", "due_n", "missing_n").row(0)


def test_coverage_of_longer_bars_counts_those(view: LakeView) -> None:
    days = view.aggregate("1d")
    rows = {(r["venue"], r["symbol"]): r for r in days.coverage().iter_rows(named=True)}
    assert (rows["binance-spot", "BTC"]["bars_n"], rows["binance-spot", "BTC"]["missing_n"]) == (40, 0)
    assert days.gaps().height == 0


def test_gaps_are_those_of_a_dataset(home: Path, view: LakeView) -> None:
    manifest = build_dataset(home, "binance-spot", accept_names=ALL)
    ours = view.gaps().filter(venue="binance-spot")
    assert [(s, int(a.timestamp()), int(z.timestamp()), n) for _, s, _, a, z, n in ours.iter_rows()] == [
        (g.symbol, g.first_t, g.last_t, g.bars_n) for g in manifest.gaps
    ]
    assert ours["bars_n"].to_list() == [3, 1]


# ---- what was known when -------------------------------------------------------------------------------------------------


def test_a_moment_sees_the_last_closed_bar_and_its_age(view: LakeView) -> None:
    moments = [at(START_T), at(START_T + 1_800), at(YEAR_END_T + 103 * HOUR_T), at(YEAR_END_T)]
    found = view.asof(moments).filter(venue="binance-spot", symbol="BTC")
    assert found["at_utc"].to_list() == moments
    assert found["ts_utc"].to_list() == [at(START_T - HOUR_T)] * 2 + [at(YEAR_END_T + 99 * HOUR_T), None]
    assert found["age"].to_list() == [timedelta(), timedelta(minutes=30), timedelta(hours=3), None]
    assert found["close"].to_list()[0] == BTC.close[BTC.t == START_T - HOUR_T][0]
    assert found["close"].to_list()[3] is None


def test_moments_of_named_symbols_keep_their_columns_and_order(view: LakeView) -> None:
    asked = pl.DataFrame({
        "note": ["late", "early", "unknown"], "symbol": ["ETH", "BTC", "DOGE"],
        "at_utc": pl.Series([at(START_T + 86_400), at(START_T), at(START_T)]).cast(pl.Datetime("ns", "UTC")),
    })  # fmt: skip
    found = view.asof(asked)
    assert found.columns[:3] == ["note", "symbol", "at_utc"]
    told = [(r["note"], r["symbol"], r["venue"]) for r in found.iter_rows(named=True)]
    assert told == [
        ("late", "ETH", "kraken-spot"), ("early", "BTC", "binance-spot"), ("early", "BTC", "kraken-spot"), ("unknown", "DOGE", None),
    ]  # fmt: skip
    assert found["close"].is_null().to_list() == [False, False, False, True]


def test_a_nanosecond_too_early_does_not_see_the_bar(view: LakeView) -> None:
    whole = pl.Series("at_utc", [START_T * 10**9 - 1, START_T * 10**9]).cast(pl.Datetime("ns", "UTC"))
    found = view.asof(whole).filter(venue="binance-spot", symbol="BTC")
    assert found["ts_utc"].to_list() == [at(START_T - 2 * HOUR_T), at(START_T - HOUR_T)]


@pytest.mark.parametrize("moments", [[datetime(2024, 1, 1)], pl.Series([1, 2]), pl.DataFrame({"when": [1]})])  # noqa: DTZ001  naive on purpose
def test_moments_need_a_zone(view: LakeView, moments: object) -> None:
    with pytest.raises(UsageError, match="time with a zone|times with a zone"):
        view.asof(moments)  # type: ignore[arg-type]  # wrong on purpose


def test_no_moments_give_no_rows(view: LakeView) -> None:
    assert view.asof([]).height == 0
