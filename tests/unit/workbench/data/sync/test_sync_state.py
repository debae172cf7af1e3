from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import DataError, EnvironmentFailure, InvariantError
from workbench.data.sync.state import STATE_NAME, STATE_VERSION, LastOutcome, Source, SyncState, Watermark

MARK = Watermark("kraken-rest", "kraken-spot/1h/XBTUSD", True, 3_600, 7_200, 2)


class Clock:
    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def test_watermarks_survive_and_only_grow(tmp_path: Path) -> None:
    with SyncState(tmp_path, clock=time.time) as state:
        assert state.watermark(MARK.source, MARK.series) is None
        state.advance([MARK])
        state.advance([Watermark(MARK.source, MARK.series, True, 3_600, 10_800, 3)])
    with SyncState(tmp_path, clock=time.time) as state:
        assert state.watermark(MARK.source, MARK.series) == Watermark(MARK.source, MARK.series, True, 3_600, 10_800, 3)
        for worse in (
            MARK,
            Watermark(MARK.source, MARK.series, False, 3_600, 10_800, 3),
            replace(MARK, scanned_from_t=7_200, scanned_until_t=20_000),
        ):
            with pytest.raises(InvariantError, match="promises less"):
                state.advance([worse])
        other = Watermark("ccxt-binance", "binance-spot/1h/BTCUSDT", False, 0, 3_600, 1)
        with pytest.raises(InvariantError):
            state.advance([other, MARK])
        assert state.watermarks() == [Watermark(MARK.source, MARK.series, True, 3_600, 10_800, 3)], "all or none"
        state.forget(MARK.source, MARK.series)
        assert state.watermarks() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [STATE_NAME], "one plain file when nobody has it open"


def test_a_budget_is_shared_persisted_and_refilled(tmp_path: Path) -> None:
    clock = Clock()
    with SyncState(tmp_path, clock=clock) as state:
        assert state.acquire("free", 1) == 0.0, "no budget, no wait"
        state.allow("kraken-public", 2.0, 3.0)
        assert [state.acquire("kraken-public", 1) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]
    clock.now_s += 1.0
    with SyncState(tmp_path, clock=clock) as state:
        state.allow("kraken-public", 2.0, 3.0)
        assert state.acquire("kraken-public", 1) == 0.5, "another process goes on where the first left the budget"
        clock.now_s -= 3_600.0
        assert state.acquire("kraken-public", 1) == 1.0, "a clock set back neither refills nor blocks"
        clock.now_s += 1_000.0
        assert [b.left_n for b in state.budgets()] == [3.0]


def test_calls_that_a_killed_process_never_made_are_given_back(tmp_path: Path) -> None:
    clock = Clock()
    with SyncState(tmp_path, clock=clock) as state:
        state.allow("kraken-public", 1.0, 1.0)
        assert [state.acquire("kraken-public", 1) for _ in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    with SyncState(tmp_path, clock=clock) as state:
        state.forgive()
        assert state.acquire("kraken-public", 1) == 1.0, "the call that was made still counts"
        clock.now_s += 1.5
        state.forgive()
        assert [b.left_n for b in state.budgets()] == [0.5], "what is left stays left"


def test_calls_are_counted_by_day_endpoint_and_outcome(tmp_path: Path) -> None:
    clock = Clock()
    with SyncState(tmp_path, clock=clock) as state:
        threads = [
            threading.Thread(target=lambda: [state.count("kraken-public", "OHLC", "ok") for _ in range(20)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state.count("kraken-public", "Trades", "retried")
        assert [(c.endpoint, c.outcome, c.calls_n) for c in state.calls_today()] == [
            ("OHLC", "ok", 80),
            ("Trades", "retried", 1),
        ]
        assert state.calls_n == 81
        clock.now_s += 86_400
        assert state.calls_today() == []


def test_sources_and_outcomes(tmp_path: Path) -> None:
    clock = Clock(1_700_000_000.5)
    with SyncState(tmp_path, clock=clock) as state:
        state.remember(Source("ccxt-binance", "ccxt", {"exchange": "binance"}))
        state.remember(Source("ccxt-binance", "ccxt", {"exchange": "binance", "url": "http://127.0.0.1:1"}))
        state.ended("ccxt-binance", "binance-spot/1h/BTCUSDT", "failed", "no answer")
        state.ended("ccxt-binance", "binance-spot/1h/BTCUSDT", "ok", "")
        assert state.sources() == [Source("ccxt-binance", "ccxt", {"exchange": "binance", "url": "http://127.0.0.1:1"})]
        assert state.outcomes() == [LastOutcome("ccxt-binance", "binance-spot/1h/BTCUSDT", 1_700_000_000, "ok", "")]


def test_a_foreign_version_is_refused_and_untouched(tmp_path: Path) -> None:
    with SyncState(tmp_path, clock=time.time) as state:
        state.advance([MARK])
    path = tmp_path / STATE_NAME
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {STATE_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    for writable in (True, False):
        with pytest.raises(DataError, match=f"schema version {STATE_VERSION + 1}") as caught:
            SyncState(tmp_path, clock=time.time, writable=writable)
        assert caught.value.expected.startswith(f"version {STATE_VERSION}")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [STATE_NAME]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / STATE_NAME
    path.write_bytes(b"not a database, " * 500)
    with pytest.raises(DataError, match="no state file of ballast"):
        SyncState(tmp_path, clock=time.time)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="schema version 0"):
        SyncState(tmp_path, clock=time.time)


def test_an_empty_file_left_by_a_kill_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).touch()
    with SyncState(tmp_path, clock=time.time) as state:
        state.advance([MARK])
        assert state.watermarks() == [MARK]


def test_damage_is_found(tmp_path: Path) -> None:
    with SyncState(tmp_path, clock=time.time) as state:
        state.advance([Watermark("s", f"v/1h/{n}", True, None, n, n) for n in range(2_000)])
    path = tmp_path / STATE_NAME
    content = bytearray(path.read_bytes())
    content[8 * 4_096 : 8 * 4_096 + 600] = b"\xff" * 600
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged|no state file"):
        SyncState(tmp_path, clock=time.time)


def test_no_folder_can_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(EnvironmentFailure, match="cannot make the home folder"):
        SyncState(tmp_path / "home" / "below", clock=time.time)


def test_a_reader_sees_what_a_writer_committed_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="cannot use"):
        SyncState(tmp_path, clock=time.time, writable=False)
    assert list(tmp_path.iterdir()) == []
    with SyncState(tmp_path, clock=time.time) as writer, SyncState(tmp_path, clock=time.time, writable=False) as reader:
        writer.advance([MARK])
        assert reader.watermarks() == [MARK]
