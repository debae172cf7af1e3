from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.canonical import canonical_json, digest
from runtime.errors import DataError, GateError, UsageError, VerificationError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, tree, without, write_series
from workbench.data.bars import Bars
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import DatasetManifest, load_manifest, load_panel
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars

VENUE = "binance-spot"
RENAME_T = 1_725_937_200  # 2024-09-10T03:00Z, MATIC removed
POL_T = 1_726_221_600  # 2024-09-13T10:00Z, POL opened


def bring(home: Path, folder: Path, **series: Bars) -> None:
    for symbol, bars in series.items():
        write_series(folder, f"{VENUE}/1h/{symbol}", bars)
    import_bars(home, FileProvider(folder))


def build(home: Path, *accepted: str, symbols: list[str] | None = None) -> DatasetManifest:
    return build_dataset(home, VENUE, "1h", symbols, accepted)


def test_the_hash_covers_everything_else(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars(), ETHUSDT=some_bars(price=50.0))
    manifest = build(home)
    stored = json.loads((home / "datasets" / f"{manifest.dataset_hash}.json").read_bytes())
    assert stored.pop("dataset_hash") == digest(stored) == manifest.dataset_hash
    text = canonical_json(stored).decode()
    assert str(tmp_path) not in text
    assert str(home) not in text


def test_the_hash_does_not_depend_on_folder_or_order(tmp_path: Path) -> None:
    """Same bars, brought in one go or file by file, in different folders and orders, in one piece or in two."""
    bars = {"BTCUSDT": some_bars(96), "ETHUSDT": without(some_bars(96), 9), "ADAUSDT": some_bars(96, price=0.3)}
    hashes = set()
    for i, order in enumerate((list(bars), list(reversed(bars)))):
        home = tmp_path / f"home{i}" / "deeper" / ("x" * i)
        for symbol in order:
            bring(home, tmp_path / f"in{i}" / symbol, **{symbol: bars[symbol].take(slice(0, 48 if i else 96))})
        bring(home, tmp_path / f"all{i}", **bars)
        hashes.add(build(home, "gap").dataset_hash)
    home = tmp_path / "once"
    bring(home, tmp_path / "all", **bars)
    assert hashes == {build(home, "gap").dataset_hash}


def test_findings_block_until_accepted_by_name_and_acceptance_is_in_the_hash(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=without(some_bars(), 9), ETHUSDT=changed(some_bars(), 7, low=40.0))
    before = tree(home)
    with pytest.raises(GateError, match=r"2 findings block the dataset: gap BTC \(1\); wick ETH \(1\)"):
        build(home)
    with pytest.raises(GateError, match="1 findings block"):
        build(home, "gap")
    assert tree(home) == before
    whole, narrow = build(home, "gap", "wick"), build(home, "gap:BTC", "wick:ETH:2024-01-01T07:00Z")
    assert whole.dataset_hash == narrow.dataset_hash, "what is accepted counts, not how it was written"
    assert whole.verdict == "accepted"
    only_btc = build(home, "gap", symbols=["BTC"])
    plain = json.loads(only_btc.model_dump_json(exclude={"dataset_hash"}))
    plain["findings"][0]["accepted"] = False
    assert digest(plain) != only_btc.dataset_hash


def test_the_panel_has_the_bars_and_nothing_else(home: Path, tmp_path: Path) -> None:
    btc, eth = without(some_bars(72), 9, 10), some_bars(48, start_t=START_T + 24 * HOUR_T, price=50.0)
    bring(home, tmp_path, BTCUSDT=btc, ETHUSDT=eth)
    manifest = build(home, "gap")
    panel = load_panel(home, manifest)
    assert panel.symbols == ("BTC", "ETH")
    assert np.array_equal(panel.open_t, START_T + HOUR_T * np.arange(72))
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(panel, name)
        assert np.array_equal(values[~np.isnan(values[:, 0]), 0], getattr(btc, name))
        assert np.flatnonzero(np.isnan(values[:, 0])).tolist() == [9, 10]
        assert np.isnan(values[:24, 1]).all()
        assert np.array_equal(values[24:, 1], getattr(eth, name))
    assert [(g.symbol, g.first_t, g.bars_n) for g in manifest.gaps] == [("BTC", START_T + 9 * HOUR_T, 2)]
    assert manifest.bars_n == 70 + 48


def test_a_bar_that_may_not_have_closed_is_left_out(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars(47))
    manifest = build(home, "partial_tail")
    assert manifest.last_t == START_T + 45 * HOUR_T
    assert manifest.as_of_t == START_T + 46 * HOUR_T
    assert len(load_panel(home, manifest).open_t) == 46
    assert manifest.files[0].left_out_t == (START_T + 46 * HOUR_T,)


def matic_and_pol() -> dict[str, Bars]:
    """MATIC until the venue removed it and a little beyond, POL from a little before it opened."""
    return {
        "MATICUSDT": some_bars(60, start_t=RENAME_T - 50 * HOUR_T, price=0.38),
        "POLUSDT": some_bars(60, start_t=POL_T - 3 * HOUR_T, price=0.40),
    }


def test_matic_becomes_pol_on_its_date_and_the_hole_stays(home: Path, tmp_path: Path) -> None:
    bars = matic_and_pol()
    bring(home, tmp_path, **bars)
    manifest = build(home, "gap", "partial_tail")
    panel = load_panel(home, manifest)
    assert panel.symbols == ("POL",)
    assert [(f.series, f.rows) for f in manifest.files] == [(f"{VENUE}/1h/MATICUSDT", 50), (f"{VENUE}/1h/POLUSDT", 57 - 1)]
    hole = (panel.open_t >= RENAME_T) & (panel.open_t < POL_T)
    assert np.isnan(panel.close[hole]).all()
    assert not np.isnan(panel.close[~hole]).any()
    assert [(g.first_t, g.last_t, g.bars_n) for g in manifest.gaps] == [(RENAME_T, POL_T - HOUR_T, 79)]
    assert np.array_equal(panel.close[:50, 0], bars["MATICUSDT"].close[:50])
    assert any("MATIC was renamed POL" in a for a in manifest.assumptions)
    assert ["MATIC became POL 1:1 on 2024-09-04" in f.detail for f in manifest.findings if f.gate == "rename"] == [True]


def test_where_a_venue_names_no_dates_the_new_ticker_counts_from_its_first_bar(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, "kraken-spot/1h/MATICUSD", some_bars(72, price=0.38))
    write_series(tmp_path, "kraken-spot/1h/POLUSD", some_bars(72, start_t=START_T + 48 * HOUR_T, price=0.38))
    import_bars(home, FileProvider(tmp_path))
    manifest = build_dataset(home, "kraken-spot")
    assert [f.rows for f in manifest.files] == [48, 72]
    assert manifest.gaps == ()


def test_as_of_cuts_bars_that_had_not_closed(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars(72))
    at = START_T + 30 * HOUR_T
    manifest = build_dataset(home, VENUE, as_of_t=at)
    assert (manifest.last_t + HOUR_T, manifest.as_of_t) == (at, at)
    assert manifest.dataset_hash != build(home).dataset_hash


def test_short_histories_are_left_out_by_name(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars(8_760), ETHUSDT=some_bars(8_759))
    manifest = build_dataset(home, VENUE, min_years=1.0, accept_names=["partial_tail"])
    assert manifest.symbols == ("BTC",)
    assert [(f.gate, f.symbol) for f in manifest.findings] == [("short_history", "ETH"), ("absent", "KAS")]
    with pytest.raises(DataError, match="no asset of binance-spot/1h has 3 years of bars"):
        build_dataset(home, VENUE, min_years=3.0)


def test_a_second_source_that_differs_blocks(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, f"{VENUE}-b/1h/BTCUSDT", changed(some_bars(), 20, close=101.9, high=102.5))
    bring(home, tmp_path, BTCUSDT=some_bars())
    with pytest.raises(GateError, match=r"second_source BTC \(1\)"):
        build(home)
    assert build(home, "second_source").symbols == ("BTC",)


def test_unknown_and_absent_assets_are_refused_by_name(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars())
    with pytest.raises(UsageError, match="DOGE/USD at binance-spot is not in universe v1"):
        build(home, symbols=["DOGE"])
    with pytest.raises(DataError, match="the lake has no binance-spot/1h bars of ADA"):
        build(home, symbols=["BTC", "ADA"])
    with pytest.raises(DataError, match="the lake has no kraken-spot/1h bars"):
        build_dataset(home, "kraken-spot")


def test_manifests_are_found_by_hash_prefix_and_latest(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 datasets match 'latest'"):
        load_manifest(home)
    bring(home, tmp_path, BTCUSDT=some_bars(), ETHUSDT=some_bars())
    one, two = build(home, symbols=["BTC"]), build(home)
    assert load_manifest(home, one.dataset_hash) == load_manifest(home, one.dataset_hash[:12]) == one
    assert load_manifest(home) == two
    with pytest.raises(UsageError, match="2 datasets match ''"):
        load_manifest(home, "")


def test_an_altered_manifest_or_file_is_noticed(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars())
    manifest = build(home)
    path = home / "datasets" / f"{manifest.dataset_hash}.json"
    original = path.read_bytes()
    path.write_bytes(original.replace(b'"simulated":false', b'"simulated":true'))
    with pytest.raises(VerificationError, match="has the hash"):
        load_manifest(home)
    path.write_text("{}")
    with pytest.raises(DataError, match="dataset manifest"):
        load_manifest(home)
    path.write_bytes(original)
    shutil.rmtree(home / "lake" / "bars")
    with pytest.raises(VerificationError, match="is missing"):
        load_panel(home, manifest)


def test_a_manifest_that_counts_other_bars_is_refused(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars())
    manifest = build(home)
    file = manifest.files[0].model_copy(update={"rows": 47})
    with pytest.raises(VerificationError, match="48 bars in the dataset's range"):
        load_panel(home, manifest.model_copy(update={"files": (file,)}))


def test_a_later_import_does_not_change_a_dataset(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars(48))
    manifest = build(home)
    before = load_panel(home, manifest)
    bring(home, tmp_path, BTCUSDT=some_bars(96))
    after = load_panel(home, load_manifest(home, manifest.dataset_hash))
    assert np.array_equal(before.close, after.close)
    assert build(home).dataset_hash != manifest.dataset_hash
