"""The real files: every defect their README names is found, nothing is invented, and the demo's dataset follows its rules.

Expected numbers come from the README's own table, which was made by other code than ours.
"""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from tests.support.bars import tree
from workbench.data.checks.check import CheckResult, check_files
from workbench.data.datasets.manifests import DatasetManifest, load_panel
from workbench.data.datasets.prepare import DEMO_ACCEPTED, prepare_dataset
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake

ROW = re.compile(
    r"^\| ([\w-]+/\w+/\w+)\.parquet \|.*?\| (\d{4}-\d\d-\d\d \d\d:\d\d) \| (\d{4}-\d\d-\d\d \d\d:\d\d) "
    r"\| (\d+) \| (\d+) \((\d+), (\d+)\) \| (\d+) \|"
)
YEARS_2 = 17_520


def t(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


class Described(NamedTuple):
    """One line of the README's table."""

    first_t: int
    last_t: int
    rows: int
    gaps: int
    missing: int
    longest: int
    zero_volume: int


@pytest.fixture(scope="module")
def described(real_data: Path) -> dict[str, Described]:
    found = (ROW.match(line) for line in (real_data / "README.md").read_text().splitlines())
    return {m[1]: Described(t(m[2]), t(m[3]), *(int(m[i]) for i in range(4, 9))) for m in found if m}


@pytest.fixture(scope="module")
def checked(real_data: Path) -> CheckResult:
    return check_files(FileProvider(real_data))


@pytest.fixture(scope="module")
def demo(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetManifest]:
    home = tmp_path_factory.mktemp("home")
    return home, prepare_dataset(home, real_data)


def test_every_described_series_has_the_described_defects(described: dict[str, Described], checked: CheckResult) -> None:
    """Rows, ends, gaps, missing bars, longest gap and zero-volume bars of every file equal the README's table."""
    assert len(described) == 53
    got = {}
    for s in checked.series:
        holes = [f.rows_n for f in checked.findings if f.series == s.series and f.gate == "gap"]
        quiet = sum(f.rows_n for f in checked.findings if f.series == s.series and f.gate == "zero_volume")
        got[s.series] = Described(s.first_t, s.last_t, s.rows, len(holes), sum(holes), max(holes, default=0), quiet)
    skipped = {f.series for f in checked.findings if f.gate == "unknown_symbol"}
    assert skipped == {"kraken-spot/1h/XBTUSDT", "kraken-spot/1m/XBTUSDT"}
    assert got == {name: d for name, d in described.items() if name not in skipped}


def test_no_file_is_malformed(checked: CheckResult) -> None:
    assert [f for f in checked.findings if f.severity == "fatal"] == []


@pytest.mark.parametrize(
    ("series", "at", "words"),
    [
        ("binance-spot/1h/LINKUSDT", "2020-03-12T10:00", "low 0.0001"),
        ("kraken-spot/1h/ETHUSD", "2021-02-22T14:00", "low 700"),
        ("binance-spot/1h/DOTUSDT", "2025-10-10T21:00", "low 0.633"),
        ("binance-spot/1h/APTUSDT", "2022-10-19T01:00", "high 100"),
        ("binance-spot/1h/ICPUSDT", "2021-05-11T01:00", "high 2831.02"),
    ],
)
def test_named_wicks_are_found(checked: CheckResult, series: str, at: str, words: str) -> None:
    found = [f for f in checked.findings if (f.gate, f.series, f.first_t) == ("wick", series, t(at))]
    assert len(found) == 1
    assert words in found[0].detail
    listing = at in {"2022-10-19T01:00", "2021-05-11T01:00"}
    assert ("first bar of the series" in found[0].detail) == listing


def test_named_holes_and_tails_are_found(checked: CheckResult) -> None:
    def has(gate: str, series: str, first: str, last: str) -> bool:
        return any((f.gate, f.series, f.first_t, f.last_t) == (gate, series, t(first), t(last)) for f in checked.findings)

    for symbol in ("BTC", "AAVE", "NEAR", "ALGO"):
        hole = [
            f for f in checked.findings if f.series == f"binance-spot/1h/{symbol}USDT" and f.gate == "gap" and f.rows_n > 4_000
        ]
        assert [(f.first_t // 86_400, f.last_t) for f in hole] == [(t("2024-06-15") // 86_400, t("2024-12-31T23:00"))], symbol
    for symbol in ("ETH", "HBAR", "ZEC", "FIL", "ICP", "APT", "SUI"):
        hole = [
            f for f in checked.findings if f.series == f"binance-spot/1h/{symbol}USDT" and f.gate == "gap" and f.rows_n > 8_000
        ]
        assert [f.last_t for f in hole] == [t("2024-12-31T23:00")], symbol
        assert t("2023-12-30") < hole[0].first_t < t("2024-01-01"), symbol
    assert has("zero_volume", "binance-spot/1h/BTCUSDT", "2023-03-24T12:00", "2023-03-24T12:00")
    assert has("gap", "binance-spot/1h/BTCUSDT", "2023-03-24T13:00", "2023-03-24T13:00")
    assert has("partial_tail", "kraken-spot/1h/XBTUSD", "2023-01-07T09:00", "2023-01-07T09:00")
    assert not any(f.gate == "partial_tail" and f.series == "kraken-spot/1h/ETHUSD" for f in checked.findings), (
        "ends with a day"
    )
    stale = {f.symbol for f in checked.findings if f.gate == "stale_tail"}
    assert {"XMRUSDT", "MATICUSDT", "BTCUSDT"} <= stale
    assert "ADAUSDT" not in stale


def test_the_second_downloads_agree(checked: CheckResult) -> None:
    differing = [f for f in checked.findings if f.gate == "second_source" and "differs" in f.detail]
    assert differing == []


def test_the_demo_dataset_follows_its_rules(demo: tuple[Path, DatasetManifest], described: dict[str, Described]) -> None:
    """Every asset with two years of hourly bars, MATIC and POL as one, and no other."""
    _, manifest = demo
    rows: dict[str, int] = {}
    for name, d in described.items():
        venue, interval, symbol = name.split("/")
        if (venue, interval) == ("binance-spot", "1h"):
            asset = symbol.removesuffix("USDT").replace("MATIC", "POL")
            rows[asset] = rows.get(asset, 0) + d.rows
    assert set(manifest.symbols) == {asset for asset, n in rows.items() if n >= YEARS_2}
    assert len(manifest.symbols) == 25
    assert {f.symbol for f in manifest.findings if f.gate == "short_history"} == {"APT", "SUI", "TAO", "TON"}
    assert (manifest.venue, manifest.source, manifest.simulated, manifest.verdict) == (
        "binance-spot",
        "files",
        False,
        "accepted",
    )
    assert {f.gate for f in manifest.findings if f.accepted} == set(DEMO_ACCEPTED)
    assert any("USDT history stands 1:1 for USD" in a for a in manifest.assumptions)


def test_the_panel_holds_the_files_bars_and_no_other(demo: tuple[Path, DatasetManifest], real_data: Path) -> None:
    """Every bar of the panel is a bar of a file, at its time, and every bar of a file but its unclosed last one is there."""
    home, manifest = demo
    panel = load_panel(home, manifest)
    for i, asset in enumerate(panel.symbols):
        names = ["MATICUSDT", "POLUSDT"] if asset == "POL" else [f"{asset}USDT"]
        frames = [pl.read_parquet(real_data / "binance-spot" / "1h" / f"{n}.parquet") for n in names]
        frame = pl.concat([f.head(f.height - 1) for f in frames])  # every hourly file ends inside a day
        at = (frame["ts_utc"].dt.epoch("s").to_numpy() - manifest.first_t) // 3_600
        present = np.flatnonzero(~np.isnan(panel.close[:, i]))
        assert np.array_equal(present, at), asset
        for column in ("open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(panel, column)[present, i], frame[column].to_numpy()), (asset, column)


def test_pol_is_matic_until_its_rename_and_the_hole_stays(demo: tuple[Path, DatasetManifest]) -> None:
    _, manifest = demo
    files = [f for f in manifest.files if f.symbol == "POL"]
    assert [f.series for f in files] == ["binance-spot/1h/MATICUSDT", "binance-spot/1h/POLUSDT"]
    hole = [g for g in manifest.gaps if g.symbol == "POL" and g.bars_n > 1_000]
    assert [(g.last_t, g.first_t <= t("2024-09-10T02:00")) for g in hole] == [(t("2024-12-31T23:00"), True)]
    assert len([g for g in manifest.gaps if g.symbol == "POL"]) == 19 + 1


def test_the_hash_is_of_the_bars_not_of_folder_order_or_company(
    demo: tuple[Path, DatasetManifest], real_data: Path, tmp_path: Path
) -> None:
    """A folder of this one venue elsewhere, its files brought in one by one and backwards: the same dataset."""
    _, manifest = demo
    elsewhere = tmp_path / "copied" / "binance-spot"
    shutil.copytree(real_data / "binance-spot" / "1h", elsewhere / "1h")
    home = tmp_path / "home"
    for path in sorted((elsewhere / "1h").iterdir(), reverse=True)[:5]:
        import_bars(home, FileProvider(path))
    assert prepare_dataset(home, elsewhere).dataset_hash == manifest.dataset_hash


def test_importing_the_real_files_again_changes_no_byte(real_data: Path, tmp_path: Path) -> None:
    first = import_bars(tmp_path, FileProvider(real_data))
    before = tree(tmp_path)
    again = import_bars(tmp_path, FileProvider(real_data))
    assert (len(first.series), first.changed_n, again.changed_n) == (51, 51, 0)
    assert tree(tmp_path) == before
    catalog = Lake(tmp_path).catalog()
    assert sum(e.current.rows for e in catalog.entries) == sum(s.rows for s in first.series)


def test_krakens_csv_downloads_give_the_dataset_of_the_same_parquet_files(real_data: Path, tmp_path: Path) -> None:
    """The real Kraken hours written as OHLCVT, one with a header and one without."""
    for i, symbol in enumerate(("XBTUSD", "ETHUSD")):
        frame = pl.read_parquet(real_data / "kraken-spot" / "1h" / f"{symbol}.parquet")
        prices = ("open", "high", "low", "close", "volume")
        columns = [pl.col("ts_utc").dt.epoch("s").alias("timestamp"), *(pl.col(c) for c in prices)]
        frame.select(*columns, pl.col("trades").cast(pl.Int64)).write_csv(tmp_path / f"{symbol}_60.csv", include_header=bool(i))
    from_csv = prepare_dataset(tmp_path / "a", tmp_path)
    assert from_csv.dataset_hash == prepare_dataset(tmp_path / "b", real_data / "kraken-spot").dataset_hash
    assert from_csv.symbols == ("BTC", "ETH")
