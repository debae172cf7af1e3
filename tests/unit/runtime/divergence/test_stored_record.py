"""The bars beside a journal are its record: first values, late ones, and the venue's corrections laid over them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.bar_tail import BarTail
from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.divergence.run import compare_run
from runtime.divergence.stored_record import BARS_NAME, StoredRecord, find_forecaster
from runtime.errors import DataError, InvariantError
from runtime.event import BundleNote
from runtime.inference.panel import BarPanel
from runtime.market import ClosedBar
from runtime.ops.bundles.keys import trusted_keys
from runtime.ops.bundles.read import read_bundle
from tests.support.bundles import make_bundle
from tests.support.panels import make_panel
from tests.support.paper import events_of, paper_inputs, store_paper

START_T = 1_577_836_800
HOUR_T = 3_600
HEX = "ab" * 32


class LastClose:
    """A forecaster whose forecast says the last closes of a window of three bars."""

    window_n = 3

    def forecast(self, panel: BarPanel) -> tuple[np.ndarray, bytes] | None:
        """Return the closes as returns; nothing in odd hours."""
        if panel.open_t[-1] // HOUR_T % 2:
            return None
        rows = np.zeros(INSTRUMENTS, FORECAST)
        rows["ret_main_ppm"][: len(panel.symbols)] = np.nan_to_num(panel.close[-1]).astype(np.int64)
        return rows, bytes(32)


def bar(instrument_id: int, hour: int, close: float) -> ClosedBar:
    """Return a bar that closes at a price."""
    return ClosedBar(instrument_id, START_T + hour * HOUR_T, close, close, close, close, 1.0, "ws")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a tail of five hours with a correction of hour 3 and a bar that came late."""
    genesis = paper_inputs(hours=30).genesis
    tail = BarTail(tmp_path / BARS_NAME, genesis.symbols, genesis.interval_t)
    tail.put([bar(s, hour, 100.0 + hour) for hour in range(5) for s in range(6) if (s, hour) != (5, 2)])
    assert tail.put([bar(5, 2, 77.0)]) == []
    assert tail.put([bar(1, 3, 99.0)]) == [bar(1, 3, 99.0)]
    assert tail.put([bar(1, 3, 98.0)]) == [bar(1, 3, 98.0)]
    tail.close()
    return tmp_path / BARS_NAME


def test_corrections_are_laid_over_the_first_values(path: Path) -> None:
    """The last correction counts; what was put late is there; other hours are not on record."""
    record = StoredRecord(path, paper_inputs(hours=30).genesis, None)
    corrected = record.bars(START_T + 3 * HOUR_T)
    assert corrected is not None
    assert corrected["close_e8"][:3].tolist() == [103 * 10**8, 98 * 10**8, 103 * 10**8]
    late = record.bars(START_T + 2 * HOUR_T)
    assert late is not None
    assert int(late["close_e8"][5]) == 77 * 10**8
    assert record.bars(START_T + 5 * HOUR_T) is None
    assert record.forecasts(START_T + 2 * HOUR_T) is None
    assert not record.makes(START_T + 2 * HOUR_T)


def test_bars_are_read_where_nothing_can_be_written(path: Path, tmp_path: Path) -> None:
    """SQLite cannot make its files beside a tail in a read-only folder; a log that is not empty is never left out."""
    path.with_name(f"{path.name}-shm").mkdir()  # in the way of SQLite's file, for root, too
    genesis = paper_inputs(hours=30).genesis
    corrected = StoredRecord(path, genesis, None).bars(START_T + 3 * HOUR_T)
    assert corrected is not None
    assert int(corrected["close_e8"][1]) == 98 * 10**8
    tail = BarTail(tmp_path / "live.sqlite", genesis.symbols, genesis.interval_t)
    tail.put([bar(s, 5, 111.0) for s in range(6)])
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"live.sqlite{suffix}", tmp_path / f"copy.sqlite{suffix}")
    tail.close()
    assert (tmp_path / "copy.sqlite-wal").stat().st_size > 0
    (tmp_path / "copy.sqlite-shm").mkdir()
    last = StoredRecord(tmp_path / "copy.sqlite", genesis, None).bars(START_T + 5 * HOUR_T)
    assert last is not None
    assert int(last["close_e8"][0]) == 111 * 10**8


def test_forecasts_are_made_where_the_window_is_on_record(path: Path) -> None:
    """Not before the window is full, not off the grid; on corrected bars."""
    record = StoredRecord(path, paper_inputs(hours=30).genesis, LastClose())
    assert not record.makes(START_T + HOUR_T)
    assert record.makes(START_T + 2 * HOUR_T)
    made = record.forecasts(START_T + 4 * HOUR_T)
    assert made is not None
    assert made[0]["ret_main_ppm"][0] == 104
    assert record.forecasts(START_T + 3 * HOUR_T) is None  # off the grid
    assert record.makes(START_T + 3 * HOUR_T)
    assert record.forecasts(START_T) is None


def test_pruning_forgets_corrections_too(path: Path) -> None:
    """What no window needs is on no record either."""
    genesis = paper_inputs(hours=30).genesis
    tail = BarTail(path, genesis.symbols, genesis.interval_t)
    tail.prune(START_T + 4 * HOUR_T)
    tail.close()
    record = StoredRecord(path, genesis, None)
    assert record.bars(START_T + 3 * HOUR_T) is None
    assert record.bars(START_T + 4 * HOUR_T) is not None


def test_a_file_that_is_not_of_the_account_is_refused(path: Path, tmp_path: Path) -> None:
    """Another account's bars, or no database; no file means that nothing is on record."""
    with pytest.raises(DataError, match="bars of record"):
        StoredRecord(path, paper_inputs(hours=30, symbols=4).genesis, None)
    (tmp_path / "other").write_bytes(b"nothing" * 1_000)
    with pytest.raises(DataError, match="bars of record"):
        StoredRecord(tmp_path / "other", paper_inputs(hours=30).genesis, None)
    assert StoredRecord(tmp_path / "missing", paper_inputs(hours=30).genesis, None).bars(START_T) is None


def test_a_bundle_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The report says why forecasts cannot be made again."""
    note = BundleNote(name="ml", bundle_hash=HEX, feature_set_hash=HEX, manifest_digest=HEX, signer=HEX)
    assert find_forecaster(tmp_path, note) == (None, f"the bundle ml {HEX[:12]} is not in this home folder")
    assert find_forecaster(tmp_path, None) == (None, "the journal names no bundle")


def test_the_bundle_of_a_journal_is_found_by_its_manifest(tmp_path: Path) -> None:
    """A bundle of the home whose key is trusted makes forecasts; one whose key is not is told, never used."""
    path = make_bundle(tmp_path, make_panel(1_000, 4, holes=False))
    note = read_bundle(path, trusted_keys(tmp_path)).note
    found, why = find_forecaster(tmp_path, note)
    assert found is not None
    assert found.window_n > 100
    assert why == ""
    for key in (tmp_path / "trust").iterdir():
        key.unlink()
    found, why = find_forecaster(tmp_path, note)
    assert found is None
    assert "key" in why


def test_a_run_that_cannot_be_made_is_a_broken_invariant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the core refuses in between is told with the next step, never as a cause."""
    inputs = paper_inputs(hours=30)
    store_paper(tmp_path, inputs, events_of(inputs))

    def refused(*_arguments: object) -> None:
        raise ValueError("cash would become negative")

    monkeypatch.setattr("runtime.divergence.run.attribute", refused)
    with pytest.raises(InvariantError, match="cash would become negative"):
        compare_run(tmp_path, tmp_path)
