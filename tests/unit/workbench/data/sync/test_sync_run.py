from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError, EnvironmentFailure
from tests.support.bar_sources import HOUR, START_T, VENUE, MemorySource, failing, hourly
from workbench.data.bars import Bars
from workbench.data.store.lake import Lake
from workbench.data.sync.board import Board, Row
from workbench.data.sync.plan import OVERLAP_BARS, Span, plan_backfill, plan_sync
from workbench.data.sync.reader import Piece, Reached, Stop
from workbench.data.sync.run import SyncResult, only_one, run_tasks, sweep_lake
from workbench.data.sync.state import SyncState, Watermark
from workbench.data.sync.writer import Writer

NOW_T = START_T + 300 * HOUR + 1_234
UNREACHABLE = EnvironmentFailure("no answer", expected="an answer", action="try again")


def source(hours: int = 300, symbols: Sequence[str] = ("ETHUSD", "SOLUSD", "XBTUSD")) -> MemorySource:
    return MemorySource({s: hourly(hours, seed=i, quiet=(5, 6, 100 + i)) for i, s in enumerate(symbols)}, NOW_T)


def backfill(
    home: Path, provider: MemorySource, since_t: int | None = None, until_t: int | None = None, **options: int
) -> SyncResult:
    with only_one(home), SyncState(home, clock=time.time) as state:
        tasks = plan_backfill(state, Lake(home).catalog(), provider.name, provider, provider.series(), since_t, until_t)
        return run_tasks(home, state, tasks, title="backfill", workers_n=2, batch_s=0.0, **options)


def sync(home: Path, provider: MemorySource) -> SyncResult:
    with only_one(home), SyncState(home, clock=time.time) as state:
        tasks = plan_sync(state, Lake(home).catalog(), provider.name, provider, provider.series())
        return run_tasks(home, state, tasks, title="sync", workers_n=2, restate=True)


def held(home: Path, symbol: str) -> Bars:
    entry = Lake(home).catalog().get(f"{VENUE}/1h/{symbol}")
    assert entry is not None
    return Lake(home).read(entry.key, entry.current.segments)


def marks(home: Path) -> dict[str, tuple[int | None, int]]:
    with SyncState(home, clock=time.time, writable=False) as state:
        return {m.series.rpartition("/")[2]: (m.scanned_from_t, m.scanned_until_t) for m in state.watermarks()}


def test_a_backfill_brings_everything_and_the_next_reads_nothing_again(tmp_path: Path) -> None:
    provider = source()
    result = backfill(tmp_path, provider)
    assert result.exit_code == 0
    assert [(s.read_n, s.added_n, s.rows_n) for s in result.series] == [(297, 297, 297)] * 3
    for symbol, bars in provider.bars.items():
        assert held(tmp_path, symbol).digest == bars.digest
    closed_t = START_T + 300 * HOUR
    assert marks(tmp_path) == dict.fromkeys(provider.bars, (START_T, closed_t))
    digest = Lake(tmp_path).digest()
    provider.asked.clear()
    again = backfill(tmp_path, provider)
    assert [s.read_n for s in again.series] == [0, 0, 0]
    assert sorted(provider.asked) == [(s, closed_t, None) for s in sorted(provider.bars)]
    assert Lake(tmp_path).digest() == digest


def test_one_failing_series_does_not_stop_the_others_and_keeps_what_it_read(tmp_path: Path) -> None:
    provider = source()
    provider.before_page = failing("SOLUSD", 3, UNREACHABLE)
    result = backfill(tmp_path, provider)
    assert result.exit_code == 6
    assert [(s.series.rpartition("/")[2], s.verdict, s.rows_n) for s in result.series] == [
        ("ETHUSD", "ok", 297), ("SOLUSD", "failed", 150), ("XBTUSD", "ok", 297),
    ]  # fmt: skip
    assert result.failed[0].detail == "no answer"
    provider.before_page, provider.asked = None, []
    assert backfill(tmp_path, provider).exit_code == 0
    reached_t = int(provider.bars["SOLUSD"].t[149]) + HOUR
    assert ("SOLUSD", reached_t, None) in provider.asked, "it goes on where it stopped"
    assert held(tmp_path, "SOLUSD").digest == provider.bars["SOLUSD"].digest


def test_an_earlier_beginning_is_read_without_reading_the_rest_again(tmp_path: Path) -> None:
    provider = source()
    middle_t = START_T + 150 * HOUR
    backfill(tmp_path, provider, since_t=middle_t, until_t=middle_t + 50 * HOUR)
    assert marks(tmp_path)["XBTUSD"] == (middle_t, middle_t + 50 * HOUR)
    provider.asked.clear()
    provider.before_page = failing("XBTUSD", 1, UNREACHABLE)
    backfill(tmp_path, provider)
    assert marks(tmp_path)["XBTUSD"] == (middle_t, middle_t + 50 * HOUR), "a front counts when it was read whole"
    assert marks(tmp_path)["ETHUSD"] == (START_T, START_T + 300 * HOUR)
    assert [a for a in provider.asked if a[0] == "ETHUSD"] == [
        ("ETHUSD", None, middle_t), ("ETHUSD", middle_t + 50 * HOUR, None),
    ]  # fmt: skip
    provider.before_page = None
    backfill(tmp_path, provider)
    assert held(tmp_path, "XBTUSD").digest == provider.bars["XBTUSD"].digest


def test_sync_brings_new_late_and_restated_bars_with_evidence(tmp_path: Path) -> None:
    provider = source()
    whole = provider.bars["XBTUSD"]
    late, wrong = len(whole) - 20, len(whole) - 10
    close = whole.close.copy()
    close[wrong] *= 1.0005
    provider.now_t = NOW_T - 4 * HOUR
    provider.bars["XBTUSD"] = replace(whole, close=close).take(np.delete(np.arange(len(whole)), late))
    backfill(tmp_path, provider)
    before = Lake(tmp_path).digest()
    provider.bars["XBTUSD"], provider.now_t, provider.asked = whole, NOW_T, []
    result = sync(tmp_path, provider)
    assert result.exit_code == 0
    mine = next(s for s in result.series if s.series.endswith("XBTUSD"))
    assert (mine.added_n, mine.late_n, mine.changed_n) == (5, 1, 1)
    assert ("XBTUSD", START_T + (296 - OVERLAP_BARS) * HOUR, None) in provider.asked
    assert held(tmp_path, "XBTUSD").digest == whole.digest
    entry = Lake(tmp_path).catalog().get(mine.series)
    assert entry is not None
    assert len(entry.versions) == 2
    assert "restated by memory" in entry.current.reason
    assert [c.column for c in entry.current.changes] == ["close"]
    assert Lake(tmp_path).digest() != before
    digest = Lake(tmp_path).digest()
    assert sum(s.added_n + s.changed_n for s in sync(tmp_path, provider).series) == 0
    assert Lake(tmp_path).digest() == digest, "a further sync changes nothing"


def test_a_bar_that_the_source_has_no_more_stays_and_is_told(tmp_path: Path) -> None:
    provider = source()
    whole = provider.bars["XBTUSD"]
    backfill(tmp_path, provider)
    digest = Lake(tmp_path).digest()
    assert [s.withdrawn_n for s in sync(tmp_path, provider).series] == [0, 0, 0]
    gone = len(whole) - 7
    provider.bars["XBTUSD"] = whole.take(np.delete(np.arange(len(whole)), gone))
    result = sync(tmp_path, provider)
    assert [s.withdrawn_n for s in result.series] == [0, 0, 1]
    assert result.exit_code == 0
    assert result.series[2].detail.startswith("1 bars on record are not in memory any more, first 2024-01-13T05:00Z")
    assert Lake(tmp_path).digest() == digest
    provider.now_t -= 9 * HOUR
    assert [s.withdrawn_n for s in sync(tmp_path, provider).series] == [0, 0, 0], "an answer that ends early withdraws nothing"


def test_a_backfill_refuses_a_restated_bar_and_says_what_records_it(tmp_path: Path) -> None:
    provider = source()
    backfill(tmp_path, provider)
    with SyncState(tmp_path, clock=time.time) as state:
        state.forget("memory", f"{VENUE}/1h/XBTUSD")
    close = provider.bars["XBTUSD"].close.copy()
    close[70] *= 1.0005
    provider.bars["XBTUSD"] = replace(provider.bars["XBTUSD"], close=close)
    result = backfill(tmp_path, provider)
    assert result.exit_code == 4
    assert [s.verdict for s in result.series] == ["ok", "ok", "failed"]
    assert "1 bars differ" in result.failed[0].detail
    assert "ballast data sync" in result.failed[0].action


def test_duplicate_overlapping_and_unordered_pages_are_put_in_order(tmp_path: Path) -> None:
    provider = source(symbols=("XBTUSD",))

    class Untidy(MemorySource):
        def pages(self, ref, since_t=None, until_t=None):  # type: ignore[no-untyped-def]
            for page in MemorySource.pages(self, ref, since_t, until_t):
                n = len(page.bars)
                yield page._replace(bars=page.bars.take(np.concatenate((np.arange(n)[::-1], np.arange(n // 2)))))
                yield page

    untidy = Untidy(provider.bars, NOW_T)
    assert backfill(tmp_path, untidy).exit_code == 0
    assert held(tmp_path, "XBTUSD").digest == provider.bars["XBTUSD"].digest


@pytest.mark.parametrize(
    ("defect", "message"),
    [("twice", "two bars of"), ("beyond", "gave a bar of"), ("before", "gave a bar of"), ("off grid", "gave a bar of")],
)
def test_pages_that_break_their_promise_are_refused(tmp_path: Path, defect: str, message: str) -> None:
    class Broken(MemorySource):
        def pages(self, ref, since_t=None, until_t=None):  # type: ignore[no-untyped-def]
            for n, page in enumerate(MemorySource.pages(self, ref, since_t, until_t)):
                bars, end_t = page.bars, page.until_t
                if n == 2:
                    if defect == "twice":
                        again = bars.take(np.array([7]))
                        bars = bars.take(np.concatenate((np.arange(len(bars)), [7])))
                        bars = replace(bars, close=np.append(bars.close[:-1], again.close * 1.01))
                    elif defect == "beyond":
                        end_t = int(bars.t[-1])
                    else:
                        bars = replace(bars, t=bars.t - (200 * HOUR if defect == "before" else 60))
                yield page._replace(bars=bars, until_t=end_t)

    provider = source(symbols=("XBTUSD",))
    since_t = START_T
    result = backfill(tmp_path, Broken(provider.bars, NOW_T), since_t=since_t)
    assert result.exit_code == DataError.exit_code
    assert message in result.failed[0].detail
    assert result.series[0].rows_n == 100, "what came before is kept"
    assert marks(tmp_path)["XBTUSD"] == (since_t, int(provider.bars["XBTUSD"].t[99]) + HOUR)


def test_a_lake_that_lost_bars_is_read_again(tmp_path: Path) -> None:
    provider = source(symbols=("XBTUSD",))
    backfill(tmp_path, provider)
    for path in sorted((tmp_path / "lake").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert backfill(tmp_path, provider).series[0].added_n == 297
    assert held(tmp_path, "XBTUSD").digest == provider.bars["XBTUSD"].digest


def test_a_locked_lake_ends_the_job_with_one_message_and_nothing_half_written(tmp_path: Path) -> None:
    provider = source()
    backfill(tmp_path, provider, until_t=START_T + 100 * HOUR)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with Lake(tmp_path).locked(), pytest.raises(EnvironmentFailure, match="another process writes"):
        backfill(tmp_path, provider)
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
    assert marks(tmp_path) == dict.fromkeys(provider.bars, (START_T, START_T + 100 * HOUR))
    assert backfill(tmp_path, provider).exit_code == 0


def test_a_second_one_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(EnvironmentFailure, match="another backfill or sync works in"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_ctrl_c_leaves_whole_batches_and_ends_the_readers(tmp_path: Path) -> None:
    provider, waits = source(), threading.Event()

    def watch(board: Board) -> None:
        if board.bars_n > 150:
            waits.set()
            raise KeyboardInterrupt

    with only_one(tmp_path), SyncState(tmp_path, clock=time.time) as state:
        tasks = plan_backfill(state, Lake(tmp_path).catalog(), provider.name, provider, provider.series(), None, None)
        with pytest.raises(KeyboardInterrupt):
            run_tasks(tmp_path, state, tasks, title="backfill", workers_n=2, watch=watch, batch_bars=60)
    assert waits.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("read")]
    assert not list(tmp_path.rglob(".partial-*"))
    for symbol, (_, until_t) in marks(tmp_path).items():
        bars = provider.bars[symbol]
        assert set(bars.t[bars.t < until_t]) <= set(held(tmp_path, symbol).t)
    assert backfill(tmp_path, provider).exit_code == 0
    for symbol, bars in provider.bars.items():
        assert held(tmp_path, symbol).digest == bars.digest


def test_the_first_pages_are_kept_at_once_and_later_ones_in_larger_batches(tmp_path: Path) -> None:
    provider, now_s, written_s = source(symbols=("XBTUSD",)), [100.0], list[float]()
    with SyncState(tmp_path, clock=time.time) as state:
        tasks = plan_backfill(state, Lake(tmp_path).catalog(), provider.name, provider, provider.series(), None, None)
        board = Board("backfill", [Row(t.ref.key) for t in tasks], lambda: 0, lambda: now_s[0])
        writer = Writer(tmp_path, state, tasks, Stop(), board, monotonic=lambda: now_s[0])
        for n in range(200):
            now_s[0] = 100.0 + n / 4
            bars = provider.bars["XBTUSD"].take(slice(n, n + 1))
            until_t = int(bars.t[0]) + HOUR
            kept_n = board.kept_n
            writer.take(Piece(0, bars, Reached(True, START_T, until_t)))
            now_s[0] += 0.25
            writer.write_if_due()
            if board.kept_n > kept_n:
                written_s.append(now_s[0] - 100.0)
                assert marks(tmp_path)["XBTUSD"] == (START_T, until_t)
    steps = np.diff([0.0, *written_s]).tolist()
    assert steps[:5] == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert set(steps[5:]) == {5.0}


def test_a_bug_in_a_provider_is_not_swallowed(tmp_path: Path) -> None:
    provider = source()

    def before(symbol: str, n: int) -> None:
        if symbol == "ETHUSD":
            raise ZeroDivisionError

    provider.before_page = before
    with pytest.raises(ZeroDivisionError):
        backfill(tmp_path, provider)


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    assert sweep_lake(tmp_path) == []
    backfill(tmp_path, source())
    left = tmp_path / "lake" / "bars" / VENUE / ".partial-1-x.parquet"
    left.write_bytes(b"half")
    assert sweep_lake(tmp_path) == [left]
    assert not left.exists()


def test_plans(tmp_path: Path) -> None:
    provider = source(symbols=("XBTUSD",))
    (ref,) = provider.series()
    with SyncState(tmp_path, clock=time.time) as state:
        catalog = Lake(tmp_path).catalog()
        assert plan_sync(state, catalog, "memory", provider, [ref])[0].spans == (Span(None, None),)
        state.advance([Watermark("memory", ref.key, False, START_T, START_T + 10 * HOUR, 0)])
        (task,) = plan_sync(state, catalog, "memory", provider, [ref])
        assert task.spans == (Span(START_T, None),), "never before the beginning"
        (task,) = plan_backfill(state, catalog, "memory", provider, [ref], START_T, START_T + 10 * HOUR)
        assert task.spans == ()
        (task,) = plan_backfill(state, catalog, "memory", provider, [ref], None, START_T + 5 * HOUR)
        assert task.spans == (Span(None, START_T, front=True),)
        state.advance([Watermark("memory", ref.key, True, START_T, START_T + 10 * HOUR, 0)])
        (task,) = plan_backfill(state, catalog, "memory", provider, [ref], None, START_T + 10 * HOUR)
        assert task.spans == (), "it was read from its beginning"
        (task,) = plan_backfill(state, catalog, "memory", provider, [ref], START_T - 5, None)
        assert task.spans == (Span(START_T - 5, START_T, front=True), Span(START_T + 10 * HOUR, None))
        state.advance([Watermark("none", ref.key, True, None, START_T, 0)])
        (task,) = plan_backfill(state, catalog, "none", provider, [ref], START_T - 5, START_T)
        assert task.spans == (Span(START_T - 5, START_T, front=True),), "no bar was found there before"


def test_the_board_tells_rate_and_time_left() -> None:
    from workbench.data.sync.board import Row, clock_text

    now = [100.0]
    rows = [Row("a"), Row("b", "reading", 500, 0, 250, 1_000, 100.0), Row("c", "done", 1_000, began_s=100.0, ended_s=110.0)]
    board = Board("backfill", rows, lambda: 7, lambda: now[0])
    now[0] = 110.0
    assert (board.bars_n, board.ended_n, board.rate_per_s) == (1_500, 1, 150.0)
    assert board.row_eta_s(rows[1]) == pytest.approx(30.0)
    assert board.row_rate_per_s(rows[1]) == 50.0
    assert board.eta_s == pytest.approx(10 * (1 - 1.25 / 3) / (1.25 / 3))
    assert [clock_text(s) for s in (None, 7.4, 754, 11_220)] == ["-:--", "0:07", "12:34", "3:07:00"]


def test_the_lock_ends_with_the_process(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with only_one(tmp_path):
            os._exit(0)
    os.waitpid(child, 0)
    with only_one(tmp_path):
        pass
