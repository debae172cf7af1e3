from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError, EnvironmentFailure, GateError, VerificationError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, tree, without, write_frame, write_ohlcvt, write_series
from workbench.data.bars import Bars, read_parquet, to_frame
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import ImportResult, import_bars
from workbench.data.store.lake import Lake
from workbench.data.store.merge import COMPLETED
from workbench.data.store.segments import series_digest, split

KEY = "binance-spot/1h/BTCUSDT"


def bring(home: Path, folder: Path, bars: Bars, key: str = KEY, correction: str = "") -> ImportResult:
    write_series(folder, key, bars)
    return import_bars(home, FileProvider(folder), correction=correction)


def stored(home: Path, key: str = KEY) -> Bars:
    entry = Lake(home).catalog().get(key)
    assert entry is not None
    return Lake(home).read(entry.key, entry.current.segments)


def content(bars: Bars, interval: str = "1h") -> str:
    return series_digest(p.segment for p in split(bars, interval))


def test_bars_arrive_exactly_and_nothing_is_invented(home: Path, tmp_path: Path) -> None:
    bars = without(some_bars(trades=True), 5, 6)
    result = bring(home, tmp_path / "in", bars)
    assert stored(home).digest == bars.digest
    assert result.series[0].sha256 == content(bars)
    assert result.series[0].added_n == 46


def test_importing_again_changes_no_byte(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path / "in", some_bars())
    before = tree(home)
    result = bring(home, tmp_path / "elsewhere", some_bars())
    assert tree(home) == before
    assert result.series[0].unchanged


def test_newer_bars_extend_the_version_and_the_old_file_stays(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path / "in", some_bars(48))
    before = tree(home / "lake" / "bars")
    bring(home, tmp_path / "in", some_bars(72))
    entry = Lake(home).catalog().get(KEY)
    assert entry is not None
    assert [v.rows for v in entry.versions] == [72]
    assert before.items() <= tree(home / "lake" / "bars").items()


def test_the_lake_does_not_depend_on_the_order_of_imports(tmp_path: Path) -> None:
    """Three downloads, two cut inside a day, the later ones knowing how the cut bars ended."""
    whole = some_bars(120)
    first, second = whole.take(slice(0, 31)), whole.take(slice(20, 55))
    first = changed(first, 30, close=float(first.open[30]), volume=0.25)  # still forming when downloaded
    second = changed(second, 34, close=float(second.open[34]), volume=0.5)
    third = whole.take(slice(40, 120))
    digests = set()
    for i, order in enumerate(([first, second, third], [third, second, first], [second, third, first], [second, first, third])):
        home = tmp_path / f"home{i}"
        for j, bars in enumerate(order):
            bring(home, tmp_path / f"in{i}-{j}", bars)
        entry = Lake(home).catalog().get(KEY)
        assert entry is not None
        assert entry.current.unclosed_t == ()
        digests.add(entry.current.sha256)
    assert digests == {content(whole)}


def test_a_forming_bar_may_be_completed_and_the_change_is_on_record(home: Path, tmp_path: Path) -> None:
    cut = changed(some_bars(31), 30, volume=0.25)
    bring(home, tmp_path / "in", cut)
    bring(home, tmp_path / "in", some_bars(48))
    entry = Lake(home).catalog().get(KEY)
    assert entry is not None
    version = entry.current
    assert (version.changed_n, version.reason, version.rows) == (1, COMPLETED, 48)
    assert [(c.open_t, c.column, c.old) for c in version.changes] == [(START_T + 30 * HOUR_T, "volume", 0.25)]
    assert entry.versions[0].unclosed_t == (START_T + 30 * HOUR_T,)


def test_a_bar_that_turns_out_to_have_been_whole_is_no_longer_open(home: Path, tmp_path: Path) -> None:
    """No bar changes, yet the lake now knows that one of them had closed."""
    whole = some_bars(96)
    bring(home, tmp_path / "a", whole.take(slice(0, 31)))
    bring(home, tmp_path / "b", whole.take(slice(31, 96)))
    before = Lake(home).catalog().get(KEY)
    bring(home, tmp_path / "c", whole.take(slice(24, 48)))
    after = Lake(home).catalog().get(KEY)
    assert before is not None
    assert after is not None
    assert (before.current.unclosed_t, after.current.unclosed_t) == ((START_T + 30 * HOUR_T,), ())
    assert before.current.sha256 == after.current.sha256 == content(whole)


def test_bars_on_record_change_only_with_a_reason(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path / "in", some_bars())
    before = tree(home)
    corrected = changed(some_bars(), 7, close=100.05)
    with pytest.raises(GateError, match="1 bars differ from those on record; first 2024-01-01T07:00Z close"):
        bring(home, tmp_path / "in", corrected)
    assert tree(home) == before
    bring(home, tmp_path / "in", corrected, correction="venue restated the bar")
    entry = Lake(home).catalog().get(KEY)
    assert entry is not None
    assert (entry.current.reason, entry.current.changed_n) == ("venue restated the bar", 1)
    assert (entry.current.changes[0].column, entry.current.changes[0].new) == ("close", 100.05)
    assert stored(home).digest == corrected.digest


def test_one_bad_file_stops_the_whole_import(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, "binance-spot/1h/ETHUSDT", changed(some_bars(), 3, low=200.0))
    write_series(tmp_path, "binance-spot/1h/ADAUSDT", changed(some_bars(), 3, open=-1.0, low=-1.0))
    with pytest.raises(GateError) as e:
        bring(home, tmp_path, some_bars())
    assert "ohlc in binance-spot/1h/ETHUSDT" in e.value.got
    assert "non_positive in binance-spot/1h/ADAUSDT" in e.value.got
    assert tree(home) == {}


def test_unknown_symbols_are_skipped_by_name_unless_nothing_else_is_there(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, "binance-spot/1h/DOGEUSDT", some_bars())
    result = bring(home, tmp_path, some_bars())
    assert [(f.gate, f.symbol, f.severity) for f in result.findings] == [("unknown_symbol", "DOGEUSDT", "note")]
    assert Lake(home).catalog().get("binance-spot/1h/DOGEUSDT") is None
    with pytest.raises(DataError, match="no known symbol among DOGEUSDT.parquet"):
        import_bars(home, FileProvider(tmp_path / "binance-spot" / "1h" / "DOGEUSDT.parquet"))


def test_csv_and_parquet_of_the_same_bars_are_the_same(tmp_path: Path) -> None:
    bars = some_bars(trades=True)
    homes = []
    for i, header in enumerate((False, True)):
        write_ohlcvt(tmp_path / f"c{i}" / "XBTUSD_60.csv", bars, header=header)
        homes.append(tmp_path / f"home{i}")
        import_bars(homes[-1], FileProvider(tmp_path / f"c{i}"))
    homes.append(tmp_path / "home2")
    write_series(tmp_path / "p", "kraken-spot/1h/XBTUSD", bars)
    import_bars(homes[-1], FileProvider(tmp_path / "p"))
    text = tmp_path / "t" / "kraken-spot" / "1h" / "XBTUSD.csv"
    text.parent.mkdir(parents=True)
    to_frame(bars).write_csv(text, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    homes.append(tmp_path / "home3")
    import_bars(homes[-1], FileProvider(tmp_path / "t"))
    assert {stored(h, "kraken-spot/1h/XBTUSD").digest for h in homes} == {bars.digest}


def test_times_of_another_zone_and_unit_are_the_same_bars(home: Path, tmp_path: Path) -> None:
    frame = to_frame(some_bars())
    frame = frame.with_columns(frame["ts_utc"].dt.convert_time_zone("America/Toronto").dt.cast_time_unit("ns"))
    write_frame(tmp_path, KEY, frame)
    import_bars(home, FileProvider(tmp_path))
    assert stored(home).digest == some_bars().digest


def test_the_digest_is_of_the_bars_not_of_the_file(tmp_path: Path) -> None:
    frame = to_frame(some_bars())
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    frame.write_parquet(paths[0], compression="snappy")
    frame.write_parquet(paths[1], compression="zstd", row_group_size=7)
    assert paths[0].read_bytes() != paths[1].read_bytes()
    assert read_parquet(paths[0], "a").digest == read_parquet(paths[1], "b").digest == some_bars().digest


def test_the_digest_follows_its_written_definition() -> None:
    """Computed here from the docstring of `Bars.digest` with the standard library alone."""
    bars = some_bars(5)
    content = b"ballast-bars-1\0" + struct.pack("<q", 5) + b"t\0" + struct.pack("<5q", *bars.t.tolist())
    for name, values in bars.columns():
        content += name.encode() + b"\0" + struct.pack("<5d", *values.tolist())
    assert bars.digest == hashlib.sha256(content).hexdigest()


def test_an_altered_lake_file_is_noticed(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, some_bars())
    entry = Lake(home).catalog().get(KEY)
    assert entry is not None
    path = Lake(home).root / entry.paths()[0]
    to_frame(changed(some_bars(), 7, close=100.05)).write_parquet(path)
    with pytest.raises(VerificationError, match="holds bars with digest"):
        stored(home)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(VerificationError, match="not readable as Parquet"):
        stored(home)
    path.unlink()
    with pytest.raises(VerificationError, match="is missing"):
        stored(home)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other bars"])
@pytest.mark.parametrize("history", ["one import", "two imports", "then longer", "an older version"])
def test_a_damaged_file_is_written_anew_by_an_import_of_its_bars(home: Path, tmp_path: Path, damage: str, history: str) -> None:
    """The lake is byte for byte what it was, and a longer import goes through as if nothing had happened."""
    whole = some_bars(96)
    first = whole.take(slice(0, 48))
    if history == "an older version":
        first = without(first, 20, 21)
    bring(home, tmp_path / "a", first)
    if history == "two imports":
        bring(home, tmp_path / "b", whole.take(slice(48, 96)))
    elif history == "an older version":
        bring(home, tmp_path / "b", whole.take(slice(0, 48)))
    entry = Lake(home).catalog().get(KEY)
    assert entry is not None
    before = tree(home)
    (lost,) = entry.versions[0].segments
    path = home / "lake" / lost.path(KEY)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        to_frame(changed(some_bars(), 7, close=100.05)).write_parquet(path)
    longer = history in {"two imports", "then longer"}
    done = bring(home, tmp_path / "again", whole if longer else first).series[0]
    assert done.restored
    assert Lake(home).holds(KEY, lost)
    if history == "then longer":
        assert (stored(home).digest, done.added_n) == (whole.digest, 48)
    else:
        assert done.unchanged
        assert tree(home) == before


def test_a_damaged_file_stays_damaged_when_other_bars_come(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, some_bars())
    entry = Lake(home).catalog().get(KEY)
    assert entry is not None
    (home / "lake" / entry.paths()[0]).unlink()
    before = tree(home)
    with pytest.raises(VerificationError, match="is missing") as e:
        bring(home, tmp_path, changed(some_bars(), 7, close=100.05))
    assert "import the same bars again" in e.value.action
    assert tree(home) == before


def test_a_second_writer_fails_at_once(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, some_bars())
    with Lake(home).locked(), pytest.raises(EnvironmentFailure, match="another process writes"):
        bring(home, tmp_path, some_bars(72))
    bring(home, tmp_path, some_bars(72))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_commit_that_fails_leaves_no_trace(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException | type[BaseException], fresh: bool
) -> None:
    """The second of two files fails while it is written; the first one is removed again."""
    import workbench.data.store.lake as lake_module

    if not fresh:
        bring(home, tmp_path / "before", some_bars(24))
    before = tree(home / "lake")
    real, calls = lake_module.to_frame, []

    def failing(bars: Bars) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise failure
        return real(bars)

    monkeypatch.setattr(lake_module, "to_frame", failing)
    write_series(tmp_path / "in", "binance-spot/1h/ETHUSDT", some_bars())
    expected = KeyboardInterrupt if failure is KeyboardInterrupt else EnvironmentFailure
    with pytest.raises(expected):
        bring(home, tmp_path / "in", some_bars())
    assert len(calls) == 2
    assert tree(home / "lake") == before
    monkeypatch.undo()
    assert bring(home, tmp_path / "in", some_bars()).changed_n == 2


def test_a_stop_just_after_the_catalogs_rename_keeps_its_files(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runtime.files as files_module

    real = files_module.sync

    def stopping(path: Path) -> None:
        if path.name == "catalog":
            raise KeyboardInterrupt
        real(path)

    monkeypatch.setattr(files_module, "sync", stopping)
    with pytest.raises(KeyboardInterrupt):
        bring(home, tmp_path, some_bars())
    assert stored(home).digest == some_bars().digest


def test_a_synchronisers_conflict_copy_is_never_read(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, some_bars())
    catalog = Lake(home).catalog_path
    catalog.with_name("head (conflicted copy).json").write_text("{}")
    assert [e.key for e in Lake(home).catalog().entries] == [KEY]


def test_a_damaged_catalog_is_named(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path, some_bars())
    Lake(home).catalog_path.write_text("{broken")
    with pytest.raises(DataError, match="head.json"):
        bring(home, tmp_path, some_bars(72))


def test_volume_of_negative_zero_is_zero(home: Path, tmp_path: Path) -> None:
    bring(home, tmp_path / "a", changed(some_bars(), 4, volume=-0.0))
    assert not bool(np.signbit(stored(home).volume).any())
