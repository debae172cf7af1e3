"""The researcher's view: three ways to the same bars, as of a time or a dataset, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from runtime.errors import DataError, UsageError, VerificationError
from tests.support.bars import HOUR_T, START_T, some_bars, write_series
from tests.support.view_home import ALL, BTC, ETH, MATIC, POL, at, make_home, of, seconds
from workbench import data
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import load_manifest, load_panel, store_manifest
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake
from workbench.data.view import lake_view
from workbench.data.view.lake_view import COLUMNS, LakeView, seconds_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("view"))


@pytest.fixture
def view(home: Path) -> Iterator[LakeView]:
    with data.open(home) as opened:
        yield opened


# ---- one table, three ways -------------------------------------------------------------------------------------------


def test_frame_table_and_relation_are_the_same_rows_in_the_same_order(view: LakeView) -> None:
    frame = view.frame().collect()
    assert frame.columns == list(COLUMNS)
    assert frame.height == len(BTC) + 26 * 24 + len(POL) + len(ETH) - 1 + 24 * 40
    assert frame.equals(view.relation().pl(), null_equal=True)
    assert frame.equals(view.table().to_polars(), null_equal=True)
    assert frame.schema == view.relation().pl().schema == view.table().to_polars().schema
    assert frame.schema["ts_utc"] == pl.Datetime("us", "UTC")


def test_series_come_in_the_order_of_venue_universe_and_time(view: LakeView) -> None:
    frame = view.frame().collect()
    told = list(dict.fromkeys(frame.select("venue", "symbol", "venue_symbol", "quote").iter_rows()))
    assert told == [
        ("binance-spot", "BTC", "BTCUSDT", "USD"),
        ("kraken-spot", "BTC", "XBTUSD", "USD"),
        ("kraken-spot", "ETH", "ETHUSD", "USD"),
        ("kraken-spot", "POL", "MATICUSD", "USD"),
        ("kraken-spot", "POL", "POLUSD", "USD"),
    ]
    assert all(frame.group_by("venue", "symbol").agg((pl.col("ts_utc").diff().drop_nulls() > timedelta()).all())["ts_utc"])


def test_values_are_the_bars_bit_for_bit(view: LakeView) -> None:
    frame = of(view.frame(), "binance-spot", "BTC")
    assert seconds(frame) == BTC.t.tolist()
    for name, values in BTC.columns():
        assert frame[name].to_numpy().tobytes() == values.tobytes(), name


def test_a_former_ticker_counts_until_the_first_bar_of_the_new_one(view: LakeView) -> None:
    frame = of(view.frame(), "kraken-spot", "POL")
    assert seconds(frame) == [t for t in MATIC.t.tolist() if t < POL.t[0]] + POL.t.tolist()
    assert frame.filter(venue_symbol="MATICUSD")["trades"].null_count() == 26 * 24
    assert frame.filter(venue_symbol="POLUSD")["trades"].null_count() == 0


@pytest.mark.parametrize("with_trades", [(True, False), (False, True), (True, True)])
def test_a_series_whose_files_differ_has_trades_where_datasets_have_them(
    tmp_path: Path, with_trades: tuple[bool, bool]
) -> None:
    for n, trades in enumerate(with_trades):
        write_series(
            tmp_path / str(n), "kraken-spot/1h/XBTUSD", some_bars(48, start_t=START_T + (2 * n - 2) * 86_400, trades=trades)
        )
        import_bars(tmp_path / "home", FileProvider(tmp_path / str(n)))
    (entry,) = Lake(tmp_path / "home").catalog().entries
    assert len(entry.paths()) == 2
    whole = Lake(tmp_path / "home").read(entry.key, entry.current.segments).trades
    with data.open(tmp_path / "home") as opened:
        frame = opened.frame().collect()
        assert frame.equals(opened.relation().pl(), null_equal=True)
        assert opened.aggregate("4h").frame().collect()["trades"].null_count() == (0 if all(with_trades) else 24)
    assert (frame["trades"].null_count() == 0) == (whole is not None) == all(with_trades)


def test_a_bar_that_may_not_have_closed_is_left_out(view: LakeView) -> None:
    assert seconds(of(view.frame(), "kraken-spot", "ETH")) == ETH.t.tolist()[:-1]


def test_a_second_source_takes_part_only_by_name(home: Path, view: LakeView) -> None:
    assert "binance-spot-b" not in {n.venue for n in view.names}
    with data.open(home, venue="binance-spot-b") as second:
        assert [n.symbol for n in second.names] == ["BTC"]


def test_ibis_sql_and_duckdb_answer_alike(view: LakeView) -> None:
    table = view.table()
    by_ibis = table.group_by("venue").agg(n=table.count(), top=table.high.max()).order_by("venue").to_polars()
    query = "select venue, count(*) as n, max(high) as top from bars group by venue order by venue"
    by_polars = view.frame().group_by("venue").agg(n=pl.len().cast(pl.Int64), top=pl.col("high").max()).sort("venue").collect()
    assert by_ibis.equals(view.sql(query).pl())
    assert by_ibis.equals(by_polars)


def test_simulated_bars_say_so(tmp_path: Path, view: LakeView) -> None:
    write_series(tmp_path, "simulated/1h/BTCUSD", some_bars())
    write_series(tmp_path, "kraken-spot/1h/XBTUSD", some_bars())
    import_bars(tmp_path / "home", FileProvider(tmp_path))
    with data.open(tmp_path / "home") as mixed, data.open(tmp_path / "home", venue="kraken-spot") as real:
        assert (mixed.label, real.label, view.label) == ("SIMULATED", "kraken-spot", "binance-spot and kraken-spot")


def test_leaving_the_view_closes_its_database(home: Path) -> None:
    with data.open(home, venue="kraken-spot") as opened:
        relation, frame = opened.relation(), opened.frame()
    with pytest.raises(duckdb.ConnectionException):
        relation.fetchall()
    assert frame.collect().height > 0, "a lazy frame reads the files itself"


def test_the_database_is_in_memory_and_the_lake_stays_as_it_was(home: Path, view: LakeView) -> None:
    before = sorted((p.name, p.stat().st_mtime_ns) for p in home.rglob("*"))
    view.aggregate("1d").frame().collect()
    view.sql("select count(*) from bars").fetchall()
    view.table().count().to_polars()
    assert sorted((p.name, p.stat().st_mtime_ns) for p in home.rglob("*")) == before


def test_nothing_is_drawn_where_results_are_written(home: Path) -> None:
    program = (
        "from workbench import data;"
        f"v = data.open({str(home)!r});"
        "print(v.sql(\"select current_setting('enable_progress_bar'), current_setting('TimeZone')\").fetchone())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(False, 'UTC')\n"


# ---- as of -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_s", [-1, 0, 1, 1_799, 3_599, 3_600])
def test_as_of_keeps_only_bars_that_had_closed(home: Path, late_s: int) -> None:
    moment_t = START_T + late_s
    with data.open(home, venue="binance-spot", symbols=["BTC"], as_of=at(moment_t)) as opened:
        assert seconds(opened.frame().collect()) == [t for t in BTC.t.tolist() if t + HOUR_T <= moment_t]
        assert opened.frame().collect().equals(opened.relation().pl(), null_equal=True)
        assert opened.as_of_t == moment_t


def test_as_of_before_the_first_bar_of_the_new_ticker_leaves_the_old_one_whole(home: Path) -> None:
    with data.open(home, venue="kraken-spot", symbols=["POL"], as_of=at(int(POL.t[0]))) as opened:
        assert set(opened.frame().collect()["venue_symbol"]) == {"MATICUSD"}
        assert opened.frame().collect().height == 26 * 24


def test_a_dataset_is_exactly_its_bars_whatever_came_later(tmp_path: Path) -> None:
    write_series(tmp_path / "a", "kraken-spot/1h/XBTUSD", BTC)
    write_series(tmp_path / "a", "kraken-spot/1h/MATICUSD", MATIC)
    write_series(tmp_path / "a", "kraken-spot/1h/POLUSD", POL)
    home = tmp_path / "home"
    import_bars(home, FileProvider(tmp_path / "a"))
    manifest = build_dataset(home, "kraken-spot", accept_names=ALL)
    more = some_bars(24 * 5, start_t=int(BTC.t[-1]) + HOUR_T, trades=True)
    write_series(tmp_path / "b", "kraken-spot/1h/XBTUSD", more)
    write_series(tmp_path / "b", "kraken-spot/1h/ETHUSD", ETH)
    import_bars(home, FileProvider(tmp_path / "b"))
    panel = load_panel(home, manifest)
    with data.open(home, dataset=manifest.dataset_hash[:10]) as opened:
        frame = opened.frame().collect()
        assert opened.verified
        assert frame.height == manifest.bars_n
        assert frame.equals(opened.relation().pl(), null_equal=True)
        assert opened.as_of_t == manifest.as_of_t
    for s, symbol in enumerate(panel.symbols):
        own, known = frame.filter(symbol=symbol), ~np.isnan(panel.close[:, s])
        assert seconds(own) == panel.open_t[known].tolist()
        assert own["close"].to_numpy().tobytes() == panel.close[known, s].tobytes()
    with data.open(home, dataset="latest", as_of=at(START_T), symbols=["POL"]) as earlier:
        assert max(seconds(earlier.frame().collect())) == START_T - HOUR_T


def test_a_dataset_leaves_out_what_it_left_out(home: Path) -> None:
    manifest = build_dataset(home, "kraken-spot", accept_names=ALL)
    with data.open(home, dataset=manifest.dataset_hash) as opened:
        assert seconds(opened.frame().filter(symbol="ETH").collect()) == ETH.t.tolist()[:-1]
        assert opened.label == "kraken-spot"


# ---- verification ------------------------------------------------------------------------------------------------------


def altered_home(tmp_path: Path) -> tuple[Path, str, Path]:
    write_series(tmp_path / "a", "binance-spot/1h/BTCUSDT", BTC)
    home = tmp_path / "home"
    import_bars(home, FileProvider(tmp_path / "a"))
    manifest = build_dataset(home, "binance-spot", accept_names=ALL)
    (entry,) = Lake(home).catalog().entries
    return home, manifest.dataset_hash, home / "lake" / entry.paths()[0]


def test_a_dataset_and_a_lake_are_verified_unless_asked_not_to(tmp_path: Path) -> None:
    home, name, file = altered_home(tmp_path)
    pl.read_parquet(file).with_columns(pl.col("close") + 1e-9).write_parquet(file)
    with data.open(home, verify=False) as opened:
        assert not opened.verified
    with pytest.raises(VerificationError, match="holds"):
        data.open(home, verify=True)
    with pytest.raises(VerificationError, match="holds"):
        data.open(home, dataset=name)
    with data.open(home, dataset=name, verify=False) as opened:
        assert not opened.verified


def test_a_dataset_that_counts_other_bars_is_refused(tmp_path: Path) -> None:
    home, name, _ = altered_home(tmp_path)
    manifest = load_manifest(home, name)
    file = manifest.files[0].model_copy(update={"rows": manifest.files[0].rows - 1})
    wrong = manifest.model_copy(update={"files": (file,)})
    wrong = wrong.model_copy(update={"dataset_hash": wrong.computed_hash()})
    store_manifest(home, wrong)
    with pytest.raises(VerificationError, match="bars in the dataset's range"):
        data.open(home, dataset=wrong.dataset_hash)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    home, _, file = altered_home(tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(VerificationError, match=r"bars/binance-spot/1h/BTCUSDT/.*cannot be read"):
        data.open(home)
    file.unlink()
    with pytest.raises(VerificationError, match=r"bars/binance-spot/1h/BTCUSDT/.*is missing"):
        data.open(home)


# ---- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"venue": "binance-spot", "symbols": ["DOGE"]}, UsageError, "DOGE"),
        ({"symbols": ["DOGE"]}, DataError, "DOGE"),
        ({"venue": "kraken-spot", "symbols": ["SOL"]}, DataError, "no 1h bars of SOL at kraken-spot"),
        ({"venue": "nowhere"}, DataError, "nowhere"),
        ({"interval": "1m"}, DataError, "kraken-spot/1d"),
        ({"interval": "2h"}, UsageError, "one of 1m"),
        ({"as_of": "2024-01-01"}, UsageError, "zone"),
        ({"as_of": "yesterday"}, UsageError, "yesterday"),
        ({"as_of": "2001-01-01T00:00Z"}, DataError, "2001-01-01"),
        ({"dataset": "nothing"}, UsageError, "nothing"),
        ({"universe": "v99"}, UsageError, "v99"),
    ],
)
def test_it_refuses(home: Path, options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        data.open(home, **options)  # type: ignore[arg-type]  # rows of options


def test_a_dataset_refuses_what_contradicts_it(home: Path) -> None:
    name = build_dataset(home, "kraken-spot", accept_names=ALL).dataset_hash
    for options in ({"venue": "binance-spot"}, {"interval": "1d"}):
        with pytest.raises(UsageError, match="the dataset's"):
            data.open(home, dataset=name, **options)  # type: ignore[arg-type]  # rows of options
    with pytest.raises(DataError, match="has no SOL"):
        data.open(home, dataset=name, symbols=["SOL"])


def test_a_time_is_read_with_its_zone() -> None:
    assert seconds_of("2024-01-01T01:00+01:00") == START_T
    assert seconds_of(at(START_T) + timedelta(microseconds=999_999)) == START_T


def test_a_daily_view_is_of_daily_bars(home: Path) -> None:
    with data.open(home, interval="1d") as opened:
        assert opened.names == (("kraken-spot", "BTC", "USD"),)
        assert opened.frame().collect().height == 39, "of daily bars the last is never certain"


def test_a_tampered_file_of_a_small_lake_is_noticed_and_a_large_one_says_it_was_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", "kraken-spot/1h/XBTUSD", some_bars(48))
    import_bars(tmp_path / "home", FileProvider(tmp_path / "in"))
    with data.open(tmp_path / "home") as view:
        assert view.verified
        assert repr(view).endswith(", verified>")
    (path,) = (tmp_path / "home/lake/bars").rglob("*.parquet")
    frame = pl.read_parquet(path)
    frame.with_columns(pl.col("volume") + 1.0).write_parquet(path)
    with pytest.raises(VerificationError, match="digest"):
        data.open(tmp_path / "home")
    monkeypatch.setattr(lake_view, "VERIFIED_BARS_N", 47)
    with data.open(tmp_path / "home") as view:
        assert not view.verified
        assert "NOT VERIFIED" in repr(view)
    with pytest.raises(VerificationError, match="digest"):
        data.open(tmp_path / "home", verify=True)


def test_options_of_the_wrong_kind_are_refused_and_one_symbol_is_one(home: Path) -> None:
    with data.open(home, symbols="BTC") as view:
        assert {n.symbol for n in view.names} == {"BTC"}
    for as_of in (1e9, 1_700_000_000):
        with pytest.raises(UsageError, match="time") as caught:
            data.open(home, as_of=as_of)  # type: ignore[arg-type]
        assert caught.value.expected
        assert caught.value.action
    for symbols in ([], [1], [""], ""):
        with pytest.raises(UsageError, match="symbols=") as refused:
            data.open(home, symbols=symbols)  # type: ignore[arg-type]
        assert "BTC" in refused.value.expected
