from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from runtime.errors import DataError, UsageError
from tests.support.bars import some_bars, write_ohlcvt, write_series
from workbench.data.bars import to_frame
from workbench.data.providers import files
from workbench.data.providers.files import FileProvider


def keys(path: Path, venue: str | None = None, interval: str | None = None) -> list[str]:
    return [r.key for r in FileProvider(path, venue=venue, interval=interval).series()]


def test_the_whole_layout(tmp_path: Path) -> None:
    for key in ("kraken-spot/1h/XBTUSD", "binance-spot/1d/BTCUSDT", "binance-spot/1h/BTCUSDT", "binance-spot-b/1h/BTCUSDT"):
        write_series(tmp_path, key, some_bars())
    (tmp_path / "README.md").write_text("not bars")
    (tmp_path / "kraken-trades").mkdir()
    write_series(tmp_path, "kraken-trades/XBTUSDT_2023", some_bars())
    assert keys(tmp_path) == [
        "binance-spot-b/1h/BTCUSDT", "binance-spot/1d/BTCUSDT", "binance-spot/1h/BTCUSDT", "kraken-spot/1h/XBTUSD",
    ]  # fmt: skip
    assert keys(tmp_path, interval="1d") == ["binance-spot/1d/BTCUSDT"]
    assert keys(tmp_path / "kraken-spot") == ["kraken-spot/1h/XBTUSD"], "a folder of one venue, by its name"
    assert keys(tmp_path / "kraken-spot" / "1h") == ["kraken-spot/1h/XBTUSD"], "its interval folder"


def test_a_folder_of_one_venue_under_another_name_is_told_by_its_symbols(tmp_path: Path) -> None:
    write_series(tmp_path, "mine/1h/BTCUSDT", some_bars())
    write_series(tmp_path, "mine/1h/ETHUSDT", some_bars())
    assert keys(tmp_path / "mine") == ["binance-spot/1h/BTCUSDT", "binance-spot/1h/ETHUSDT"]
    write_series(tmp_path, "theirs/1h/XBTUSD", some_bars())
    assert keys(tmp_path / "theirs") == ["kraken-spot/1h/XBTUSD"]
    assert keys(tmp_path / "theirs", venue="kraken-spot-b") == ["kraken-spot-b/1h/XBTUSD"]


def test_symbols_no_venue_knows_need_a_venue(tmp_path: Path) -> None:
    write_series(tmp_path, "mine/1h/FOOBAR", some_bars())
    with pytest.raises(UsageError, match="the venue of FOOBAR.parquet cannot be told"):
        keys(tmp_path / "mine")
    with pytest.raises(DataError, match="venue 'mtgox' is not in universe v1"):
        keys(tmp_path / "mine", venue="mtgox")


def test_a_venue_folder_nobody_knows_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, "mtgox/1h/BTCUSD", some_bars())
    with pytest.raises(DataError, match="venue 'mtgox' is not in universe v1"):
        keys(tmp_path)


def test_kraken_downloads_anywhere_below(tmp_path: Path) -> None:
    write_ohlcvt(tmp_path / "Kraken_OHLCVT" / "XBTUSD_60.csv", some_bars())
    write_ohlcvt(tmp_path / "Kraken_OHLCVT" / "XBTUSD_1440.csv", some_bars(step_t=86_400))
    write_ohlcvt(tmp_path / "Kraken_OHLCVT" / "XBTUSD_720.csv", some_bars())
    write_ohlcvt(tmp_path / "ETHUSD_60.csv", some_bars())
    assert keys(tmp_path) == ["kraken-spot/1d/XBTUSD", "kraken-spot/1h/ETHUSD", "kraken-spot/1h/XBTUSD"]
    assert keys(tmp_path, interval="1h") == ["kraken-spot/1h/ETHUSD", "kraken-spot/1h/XBTUSD"]
    with pytest.raises(DataError, match="bars of 720 minutes"):
        keys(tmp_path / "Kraken_OHLCVT" / "XBTUSD_720.csv")


def test_one_file(tmp_path: Path) -> None:
    inside = write_series(tmp_path, "binance-spot/1h/BTCUSDT", some_bars())
    assert keys(inside) == ["binance-spot/1h/BTCUSDT"]
    loose = write_series(tmp_path / "downloads", "ETHUSDT", some_bars())
    with pytest.raises(UsageError, match="its interval is unknown"):
        keys(loose)
    assert keys(loose, interval="1h") == ["binance-spot/1h/ETHUSDT"]
    daily = write_series(tmp_path, "binance-spot/1d/BTCUSDT", some_bars())
    with pytest.raises(DataError, match="no bars found for interval 1h"):
        keys(daily, interval="1h")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(DataError, match="unknown kind of file"):
        keys(text)


def test_one_series_from_two_files_is_refused(tmp_path: Path) -> None:
    write_ohlcvt(tmp_path / "a" / "XBTUSD_60.csv", some_bars())
    write_ohlcvt(tmp_path / "b" / "XBTUSD_60.csv", some_bars())
    with pytest.raises(DataError, match="comes from several files"):
        keys(tmp_path)


def test_a_folder_without_bars_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no bars found"):
        keys(tmp_path)
    write_series(tmp_path, "binance-spot/1d/BTCUSDT", some_bars())
    with pytest.raises(DataError, match="no bars found for interval 1h"):
        keys(tmp_path, interval="1h")


@pytest.mark.parametrize("trades", [False, True])
@pytest.mark.parametrize("stamp", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S+01:00"])
def test_the_usual_csv_is_read_fast_and_every_other_one_alike(
    tmp_path: Path, stamp: str, trades: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = some_bars(48, trades=trades, price=1 / 3)
    shift_t = 3_600 if "+01" in stamp else 0
    frame = to_frame(bars).with_columns(pl.from_epoch(pl.Series(bars.t + shift_t)).dt.strftime(stamp).alias("ts_utc"))
    frame.write_csv(tmp_path / "BTC.csv")
    fast = files.read_csv(tmp_path / "BTC.csv", "BTC.csv")
    general: list[str] = []
    monkeypatch.setattr(files, "_plain_bars", lambda source, first: general.append(first))
    assert files.read_csv(tmp_path / "BTC.csv", "BTC.csv").digest == fast.digest == bars.digest
    assert len(general) == 1


def test_one_time_of_another_form_changes_nothing(tmp_path: Path) -> None:
    bars = some_bars(48)
    text = to_frame(bars).write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").replace("T05:00:00Z", "T05:00:00.000000Z")
    assert text.count(".000000Z") == 2
    (tmp_path / "BTC.csv").write_text(text)
    assert files.read_csv(tmp_path / "BTC.csv", "BTC.csv").digest == bars.digest
