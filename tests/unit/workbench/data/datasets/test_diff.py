from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from runtime.cli import main
from runtime.errors import VerificationError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, without, write_series
from workbench.data.bars import Bars
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.diff import compare, compare_bars
from workbench.data.datasets.manifests import DatasetManifest, used_bars
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake

VENUE = "binance-spot"


def bring(home: Path, folder: Path, *, correction: str = "", **series: Bars) -> None:
    for symbol, bars in series.items():
        write_series(folder, f"{VENUE}/1h/{symbol}", bars)
    import_bars(home, FileProvider(folder), correction=correction)


def rough(seed: int) -> tuple[Bars, Bars]:
    """Return two versions of a series: rows gone, rows added, values changed, one with trade counts."""
    rng = np.random.default_rng(seed)
    base = some_bars(200, trades=True)
    a, b = base.take(rng.random(200) > 0.1), base.take(rng.random(200) > 0.1)
    for row in rng.integers(0, len(b), 12):
        name = str(rng.choice(["open", "high", "low", "close", "volume"]))
        b = changed(b, int(row), **{name: float(rng.choice([0.0, 1.0, 123.25]))})
    return (a, b) if seed % 2 else (b, Bars(a.t, a.open, a.high, a.low, a.close, a.volume))


@pytest.mark.parametrize("seed", range(8))
def test_bars_are_compared_as_plain_python_would(seed: int) -> None:
    a, b = rough(seed)
    found = compare_bars("BTC", a, b, HOUR_T, 0)
    mine = {(int(t), n): float(v) for n, c in a.columns() for t, v in zip(a.t, c, strict=True)}
    theirs = {(int(t), n): float(v) for n, c in b.columns() for t, v in zip(b.t, c, strict=True)}
    values = {key: (mine[key], theirs[key]) for key in set(mine) & set(theirs) if mine[key] != theirs[key]}
    assert {(v.open_t, v.column): (v.old, v.new) for v in found.values} == values
    assert (found.values_n, found.changed_n) == (len(values), len({t for t, _ in values}))
    assert all(v.difference_bp == ((v.new / v.old - 1.0) * 10_000.0 if v.old else None) for v in found.values)
    sizes = [float("inf") if v.difference_bp is None else abs(v.difference_bp) for v in found.values]
    assert sizes == sorted(sizes, reverse=True)
    t_a, t_b = set(a.t.tolist()), set(b.t.tolist())
    for runs, n, times in ((found.added, found.added_n, t_b - t_a), (found.removed, found.removed_n, t_a - t_b)):
        told = [t for r in runs for t in range(r.first_t, r.last_t + 1, HOUR_T)]
        assert (told, n, sum(r.bars_n for r in runs)) == (sorted(times), len(times), len(times))
        assert all(y.first_t - x.last_t > HOUR_T for x, y in pairwise(runs)), "runs are as long as they can be"
    assert found.columns_removed == (("trades",) if a.trades is not None and b.trades is None else ())
    assert [compare_bars("BTC", a, b, HOUR_T, 3).values, len(found.values) > 3] == [found.values[:3], True]


def test_equal_datasets_are_equal_and_read_no_bar(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(home, tmp_path, BTCUSDT=some_bars())
    manifest = build_dataset(home, VENUE)
    monkeypatch.setattr(Lake, "read", None)
    found = compare(home, manifest, manifest)
    assert found.equal
    rest = found.model_dump(exclude={"a", "b", "equal"})
    assert all(part == () for part in rest.values()), rest


@pytest.fixture
def two(home: Path, tmp_path: Path) -> tuple[DatasetManifest, DatasetManifest]:
    """Return two datasets of one lake: before and after a correction, a late bar, growth and a new asset."""
    bars = some_bars(96)
    bring(home, tmp_path / "one", BTCUSDT=without(bars.take(slice(0, 72)), 9, 10), ETHUSDT=some_bars(72, price=50.0))
    a = build_dataset(home, VENUE, accept_names=["gap"], assumptions=["first look"])
    late = without(changed(bars, 30, close=float(bars.close[30]) * 1.0005), 10)
    bring(home, tmp_path / "two", correction="restated by the venue", BTCUSDT=late, ADAUSDT=some_bars(96, price=0.3))
    b = build_dataset(home, VENUE, "1h", ["BTC", "ADA"], ["gap"])
    return a, b


def test_everything_that_differs_is_named(home: Path, two: tuple[DatasetManifest, DatasetManifest]) -> None:
    found = compare(home, *two)
    assert not found.equal
    assert (found.symbols_only_a, found.symbols_only_b) == (("ETH",), ("ADA",))
    assert [f.field for f in found.fields] == ["as_of_t", "last_t", "bars_n"]
    (btc,) = found.assets
    assert (btc.symbol, btc.rows_a, btc.rows_b, btc.added_n, btc.removed_n, btc.changed_n) == ("BTC", 70, 95, 25, 0, 1)
    assert [(r.first_t, r.bars_n) for r in btc.added] == [(START_T + 9 * HOUR_T, 1), (START_T + 72 * HOUR_T, 24)]
    assert [(v.open_t, v.column) for v in btc.values] == [(START_T + 30 * HOUR_T, "close")]
    assert btc.values[0].difference_bp == pytest.approx(5.0)
    assert [(g.first_t, g.bars_n) for g in found.gaps_only_a] == [(START_T + 9 * HOUR_T, 2)]
    assert [(g.first_t, g.bars_n) for g in found.gaps_only_b] == [(START_T + 10 * HOUR_T, 1)]
    told = [[f.gate for f in side if f.gate != "absent"] for side in (found.findings_only_a, found.findings_only_b)]
    assert told == [["gap"], ["gap"]]
    assert (found.assumptions_only_a, found.assumptions_only_b) == (("first look",), ())
    turned = compare(home, two[1], two[0])
    assert (turned.gaps_only_a, turned.gaps_only_b) == (found.gaps_only_b, found.gaps_only_a)
    assert (turned.assets[0].removed, turned.assets[0].added) == (btc.added, btc.removed)


def test_acceptance_alone_is_a_difference(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, BTCUSDT=without(some_bars(), 9))
    a = build_dataset(home, VENUE, accept_names=["gap"])
    opened = a.findings[0].model_copy(update={"accepted": True, "certificate": "c" * 64})
    b = a.model_copy(update={"findings": (opened, *a.findings[1:])})
    b = b.model_copy(update={"dataset_hash": b.computed_hash()})
    found = compare(home, a, b)
    assert (found.findings_only_a, found.findings_only_b, found.assets) == ((), (), ())
    assert [(x.name, x.certificate_a, x.certificate_b) for x in found.acceptances] == [
        ("gap:BTC:2024-01-01T09:00Z", "", "c" * 64)
    ]


def test_a_lost_file_is_named(home: Path, two: tuple[DatasetManifest, DatasetManifest]) -> None:
    file = next(f for f in two[0].files if f.symbol == "BTC")
    (home / "lake" / file.paths()[0]).unlink()
    with pytest.raises(VerificationError, match="is missing"):
        compare(home, *two)


def test_only_the_bars_a_dataset_uses(home: Path, two: tuple[DatasetManifest, DatasetManifest]) -> None:
    file = next(f for f in two[0].files if f.symbol == "BTC")
    lake = Lake(home)
    bars = used_bars(lake, file)
    left_out = file.model_copy(update={"left_out_t": (file.first_t + 5 * HOUR_T,), "rows": file.rows - 1})
    assert used_bars(lake, left_out).t.tolist() == without(bars, 5).t.tolist()
    shorter = file.model_copy(update={"last_t": file.last_t - HOUR_T})
    with pytest.raises(VerificationError, match="69 bars in the dataset's range"):
        used_bars(lake, shorter)


def test_command(home: Path, two: tuple[DatasetManifest, DatasetManifest], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (m.dataset_hash for m in two)
    assert main(["data", "diff", a[:10], b[:10], "--json"]) == 5
    assert json.loads(capsys.readouterr().out) == compare(home, *two).model_dump(mode="json")
    assert main(["data", "diff", a[:10], b[:10]]) == 5
    out = capsys.readouterr().out
    for text in (
        "Assets only in A: ETH",
        "BTC added: 2024-01-01T09:00Z; 2024-01-04T00:00Z to 2024-01-04T23:00Z (24)",
        "+5.00",
        "first look",
    ):
        assert text in out
    assert main(["data", "diff", a, a, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True
    assert main(["data", "diff", a, "f" * 64]) == 2
