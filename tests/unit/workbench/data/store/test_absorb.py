"""What a sync brings: growth, late bars, restated bars, and what is kept of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError, GateError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, tree, without
from workbench.data.bars import Bars, within
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import load_manifest, load_panel
from workbench.data.datasets.prune import prune_lake
from workbench.data.providers import SeriesRef
from workbench.data.store.catalog import Entry
from workbench.data.store.ingest import Delivery, absorb
from workbench.data.store.lake import Lake
from workbench.data.store.merge import ImportedSeries
from workbench.data.store.segments import series_digest, split

REF = SeriesRef("kraken-spot", "1h", "XBTUSD", "OHLC", "XBTUSD")
MONTHS = SeriesRef("kraken-spot", "15m", "XBTUSD", "OHLC", "XBTUSD")


def bring(home: Path, bars: Bars, restatement: str = "", ref: SeriesRef = REF) -> ImportedSeries:
    (done,) = absorb(home, [Delivery(ref, bars, "kraken-rest", closed=True)], restatement=restatement)
    return done


def entry_of(home: Path, ref: SeriesRef = REF) -> Entry:
    entry = Lake(home).catalog().get(ref.key)
    assert entry is not None
    return entry


def test_growth_extends_the_version_in_place(home: Path) -> None:
    whole = some_bars(240)
    for a in range(0, 240, 24):
        done = bring(home, whole.take(slice(max(a - 3, 0), a + 24)))
        assert (done.added_n, done.late_n, done.changed_n) == (24, 0, 0)
    (version,) = entry_of(home).versions
    assert version.sha256 == series_digest(p.segment for p in split(whole, "1h"))
    assert (version.rows, version.sources) == (240, ("kraken-rest: OHLC",))


def test_an_earlier_history_is_growth_too(home: Path) -> None:
    whole = some_bars(240)
    bring(home, whole.take(slice(100, 240)))
    assert bring(home, whole.take(slice(0, 100))).late_n == 0
    (version,) = entry_of(home).versions
    assert Lake(home).read(REF.key, version.segments).digest == whole.digest


def test_the_same_bars_again_write_nothing(home: Path) -> None:
    bring(home, some_bars(48))
    before = tree(home)
    assert bring(home, some_bars(48)).unchanged
    assert bring(home, some_bars(48).take(slice(5, 9)), "restated by kraken-rest").unchanged
    assert absorb(home, [Delivery(REF, some_bars(48).take(slice(0, 0)), "kraken-rest", closed=True)]) == []
    assert tree(home) == before


def test_late_bars_make_a_version_with_their_runs(home: Path) -> None:
    bring(home, without(some_bars(48), 10, 11, 20))
    done = bring(home, some_bars(48))
    assert (done.added_n, done.late_n, done.changed_n) == (3, 3, 0)
    first, second = entry_of(home).versions
    assert (first.rows, first.late_n, second.rows, second.late_n) == (45, 0, 48, 3)
    hour = [(run.first_t - START_T) // HOUR_T for run in second.late], [run.bars_n for run in second.late]
    assert hour == ([10, 20], [2, 1])
    bring(home, some_bars(72))
    assert [(v.rows, v.late_n) for v in entry_of(home).versions] == [(45, 0), (72, 3)], "growth keeps the evidence"


def test_restated_bars_need_a_reason_and_leave_evidence(home: Path) -> None:
    bring(home, some_bars(48))
    before = tree(home)
    restated = changed(some_bars(48), 7, close=100.05)
    with pytest.raises(GateError, match="1 bars differ from those on record"):
        bring(home, restated)
    assert tree(home) == before
    done = bring(home, restated, "restated by kraken-rest")
    assert (done.changed_n, done.added_n) == (1, 0)
    old, new = entry_of(home).versions
    (change,) = new.changes
    assert (new.reason, new.changed_n) == ("restated by kraken-rest", 1)
    assert (change.open_t, change.column, change.new) == (START_T + 7 * HOUR_T, "close", 100.05)
    assert Lake(home).read(REF.key, old.segments).digest == some_bars(48).digest, "the version before stays readable"


def test_malformed_bars_never_arrive(home: Path) -> None:
    with pytest.raises(GateError, match="ohlc in kraken-spot/1h/XBTUSD"):
        bring(home, changed(some_bars(48), 3, low=200.0))
    assert tree(home) == {}


def test_only_the_touched_segments_are_rewritten(home: Path) -> None:
    whole = some_bars(2 * 30 * 96 + 40 * 96, step_t=900)
    bring(home, whole.take(slice(0, len(whole) - 4)), ref=MONTHS)
    before = tree(home / "lake" / "bars")
    bring(home, whole.take(slice(len(whole) - 4, len(whole))), ref=MONTHS)
    after = tree(home / "lake" / "bars")
    assert len(after.keys() - before.keys()) == 1
    entry = entry_of(home, MONTHS)
    assert [s.period for s in entry.current.segments] == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert Lake(home).read(MONTHS.key, entry.current.segments).digest == whole.digest


def test_a_window_reads_what_it_needs_and_no_more(home: Path) -> None:
    whole = some_bars(100 * 96, step_t=900)
    bring(home, whole, ref=MONTHS)
    entry, lake = entry_of(home, MONTHS), Lake(home)
    (lake.root / entry.paths()[0]).write_bytes(b"damaged")
    since_t, until_t = START_T + 40 * 86_400, START_T + 50 * 86_400
    part = lake.read(entry.key, entry.current.segments, since_t, until_t)
    assert part.digest == within(whole, since_t, until_t).digest


def test_the_lakes_digest_is_of_its_bars_alone(tmp_path: Path) -> None:
    whole = some_bars(240)
    digests = set()
    for name, cuts in (("a", [(0, 240)]), ("b", [(0, 100), (50, 240)]), ("c", [(120, 240), (0, 130)])):
        for a, z in cuts:
            bring(tmp_path / name, whole.take(slice(a, z)))
        digests.add(Lake(tmp_path / name).digest())
    bring(tmp_path / "late", without(whole, 7))
    other = Lake(tmp_path / "late").digest()
    bring(tmp_path / "late", whole)
    assert digests == {Lake(tmp_path / "late").digest()} != {other}


def test_pruning_takes_what_nothing_names_and_is_old_enough(home: Path) -> None:
    bring(home, some_bars(48))
    named = entry_of(home).paths()[0]
    bring(home, some_bars(72))
    lake = Lake(home)
    files = {p.relative_to(lake.root).as_posix() for p in lake.root.rglob("*.parquet")}
    assert files == {named, *entry_of(home).paths()}
    now_s = (lake.root / named).stat().st_mtime + 100.0
    with lake.locked():
        assert lake.prune(frozenset(), 3_600.0, now_s) == [], "a reader of the catalog before may still want it"
        assert lake.prune(frozenset({named}), 10.0, now_s) == [], "a dataset names it"
        assert lake.prune(frozenset(), 10.0, now_s) == [named]
    assert lake.read(REF.key, entry_of(home).current.segments).digest == some_bars(72).digest


def test_a_lake_of_another_format_is_refused_by_name(home: Path) -> None:
    bring(home, some_bars(48))
    path = Lake(home).catalog_path
    path.write_text(path.read_text().replace('"format":2', '"format":1'))
    before = tree(home)
    with pytest.raises(DataError, match="lake format 1") as e:
        bring(home, some_bars(72))
    assert e.value.expected == "lake format 2"
    assert tree(home) == before


def test_segments_are_cut_by_the_calendar() -> None:
    hours = some_bars(24 * 800)
    pieces = split(hours, "1h")
    assert [p.segment.period for p in pieces] == ["2024", "2025", "2026"]
    assert sum(p.segment.rows for p in pieces) == len(hours)
    assert np.concatenate([p.bars.t for p in pieces]).tolist() == hours.t.tolist()
    assert [p.segment.period for p in split(some_bars(900, step_t=86_400), "1d")] == ["all"]
    assert split(hours.take(slice(0, 0)), "1h") == []


def test_what_a_dataset_names_is_never_pruned(home: Path) -> None:
    bring(home, some_bars(48))
    manifest = build_dataset(home, "kraken-spot")
    bring(home, some_bars(72))
    bring(home, some_bars(96))
    first, last = manifest.files[0].paths()[0], entry_of(home).paths()[0]
    later_s = 2_000_000_000.0 * 2
    (removed,) = prune_lake(home, now_s=later_s)
    assert removed not in {first, last}
    assert load_panel(home, load_manifest(home, manifest.dataset_hash)).close.shape == (48, 1)
    assert prune_lake(home, now_s=later_s) == []


def test_an_unreadable_dataset_stops_a_pruning(home: Path) -> None:
    bring(home, some_bars(48))
    manifest = build_dataset(home, "kraken-spot")
    bring(home, some_bars(72))
    path = home / "datasets" / f"{manifest.dataset_hash}.json"
    path.write_text(path.read_text().replace('"format":2', '"format":1'))
    before = tree(home)
    with pytest.raises(DataError, match="dataset format 1"):
        prune_lake(home, now_s=4_000_000_000.0)
    assert tree(home) == before
