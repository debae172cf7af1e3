"""Run a backfill or a sync: many series read at once, one writer, and an end in which nothing is half-written.

Whatever ends the process, kill -9 included, the next run goes on from the watermarks and arrives at the same lake.
"""

from __future__ import annotations

import fcntl
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.errors import EXIT_OK, BallastError, EnvironmentFailure
from runtime.files import TEMPORARY_PREFIX
from workbench.data.store.lake import Lake
from workbench.data.sync.board import Board, Monotonic, Pulse, Row
from workbench.data.sync.plan import Task
from workbench.data.sync.reader import End, Piece, Reader, Stop
from workbench.data.sync.state import SyncState
from workbench.data.sync.writer import BATCH_BARS, BATCH_S, Tally, Writer
from workbench.data.universe.versions import iso

LOCK_NAME: Final = ".sync-lock"
TICK_S: Final = 0.1
PAGES_AHEAD: Final = 4
"""Pages per worker that may wait for the writer; more would only fill memory."""

Watch = Callable[[Board], None]
"""Told about ten times a second how far the job is; may raise KeyboardInterrupt."""


class SeriesResult(BaseModel):
    """What became of one series.

    Attributes:
        series, source: which one, and whose.
        verdict: `ok`, `failed`, `absent` (its source no longer lists it) or `skipped` (not in the universe).
        read_n: bars read, those on record already included.
        added_n, late_n, changed_n: bars new to the lake, of these late ones, and bars whose values changed.
        rows_n: bars the lake has now.
        scanned_until_t: its watermark, seconds UTC; None when there is none yet.
        withdrawn_n: bars on record that the source had no more when they were read again; they stay.
        detail, action, exit_code: of a failure; `detail` tells of withdrawn bars too.
    """

    model_config = ConfigDict(frozen=True)

    series: str
    source: str
    verdict: str
    read_n: int
    added_n: int
    late_n: int
    changed_n: int
    rows_n: int
    scanned_until_t: int | None
    withdrawn_n: int = 0
    detail: str = ""
    action: str = ""
    exit_code: int = EXIT_OK


class SyncResult(BaseModel):
    """What a backfill or sync did.

    Attributes:
        series: what became of each.
        calls_n: calls it made, those for the list of series and those that were made again included, as `status` counts them.
        elapsed_s: seconds.
        pruned_n: files of the lake that nothing needs any longer and that were removed.
    """

    model_config = ConfigDict(frozen=True)

    series: tuple[SeriesResult, ...]
    calls_n: int
    elapsed_s: float
    pruned_n: int = 0

    @property
    def failed(self) -> list[SeriesResult]:
        """Return the series that are not whole."""
        return [s for s in self.series if s.verdict == "failed"]

    @property
    def exit_code(self) -> int:
        """Return the exit code of the first failure, else 0."""
        return next((s.exit_code for s in self.failed), EXIT_OK)


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Let one backfill or sync work in a home folder at a time; the lock ends with the process, however it ends.

    Raises:
        EnvironmentFailure: another one is at work, or the folder cannot be written.
    """
    path, fd = home / LOCK_NAME, -1
    try:
        home.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if fd >= 0:
            os.close(fd)
        busy = isinstance(e, BlockingIOError)
        raise EnvironmentFailure(
            f"another backfill or sync works in {home}" if busy else f"cannot write {home}: {e.strerror or e}",
            expected="one backfill or sync at a time; this one changed nothing" if busy else "a writable folder",
            action="wait until it ends; `ballast data status` shows how far it is"
            if busy
            else "check permissions and disk, or choose another folder with --out",
        ) from e
    try:
        yield
    finally:
        os.close(fd)


def sweep_lake(home: Path) -> list[Path]:
    """Remove what a killed writer left half-written in the lake, and return what was removed.

    Raises:
        EnvironmentFailure: another process writes to the lake.
    """
    lake = Lake(home)
    if not lake.root.is_dir():
        return []
    with lake.locked():  # whoever holds it is the only writer, so every temporary file is a dead one's
        found = sorted(p for p in lake.root.rglob(f"{TEMPORARY_PREFIX}*") if p.is_file())
        for path in found:
            path.unlink(missing_ok=True)
    return found


def run_tasks(
    home: Path,
    state: SyncState,
    tasks: Sequence[Task],
    *,
    title: str,
    workers_n: int,
    stop: Stop | None = None,
    pulse: Pulse | None = None,
    restate: bool = False,
    watch: Watch = lambda _: None,
    batch_bars: int = BATCH_BARS,
    batch_s: float = BATCH_S,
    monotonic: Monotonic = time.monotonic,
) -> SyncResult:
    """Read tasks with several threads and write what they read. Call it inside `only_one`.

    Args:
        home: the home folder.
        state: its open state file.
        tasks: each of another series; threads share their providers.
        title: what the job is called in its progress.
        workers_n: how many series are read at once.
        stop: set when the job ends early; give the one whose `sleep` the provider waits with.
        pulse: give the one the provider reports to.
        restate: bars on record may change, with evidence.
        watch: told how far it is.
        batch_bars, batch_s: when a batch is written.
        monotonic: clock of the progress.

    Raises:
        EnvironmentFailure: lake or state cannot be written. What was written before is whole.
        KeyboardInterrupt: from Ctrl-C; the same holds.
    """
    stop, pulse = stop or Stop(), pulse or Pulse()
    board = Board(title, [Row(t.ref.key) for t in tasks], lambda: state.calls_n, monotonic)
    writer = Writer(
        home,
        state,
        tasks,
        stop,
        board,
        restate=restate,
        batch_bars=batch_bars,
        batch_s=batch_s,
        monotonic=monotonic,
    )
    pieces: queue.Queue[Piece | End] = queue.Queue(max(1, workers_n) * PAGES_AHEAD)

    def emit(item: Piece | End) -> None:
        while True:
            stop.check(item.task_n)
            try:
                return pieces.put(item, timeout=TICK_S)
            except queue.Full:
                continue

    def read(n: int) -> None:
        row = board.rows[n]
        row.status, row.began_s = "reading", monotonic()
        pulse.row = row
        try:
            Reader(n, tasks[n], emit, stop, row, int(state.now_s)).run()
        finally:
            row.ended_s = monotonic()

    with ThreadPoolExecutor(max(1, workers_n), thread_name_prefix="read") as pool:
        try:
            _write_all([pool.submit(read, n) for n in range(len(tasks))], pieces, writer, board, watch)
        except BaseException:
            stop.everyone.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    withdrawn = _withdrawn(home, tasks, writer.tallies)
    results = [_result(task, tally, gone) for task, tally, gone in zip(tasks, writer.tallies, withdrawn, strict=True)]
    for r in results:
        state.ended(r.source, r.series, r.verdict, r.detail)
    return SyncResult(series=tuple(results), calls_n=board.calls(), elapsed_s=round(board.elapsed_s, 3))


def _write_all(
    readers: Sequence[Future[None]], pieces: queue.Queue[Piece | End], writer: Writer, board: Board, watch: Watch
) -> None:
    """Write what the readers hand over until all of them have ended."""
    while True:
        ended = all(f.done() for f in readers)  # asked before the queue is: what they put there is seen below
        try:
            item = pieces.get(timeout=0 if ended else TICK_S)
        except queue.Empty:
            if ended:
                break
            item = None
        if isinstance(item, Piece):
            writer.take(item)
        elif item is not None:
            if item.error is not None:
                writer.fail(item.task_n, item.error)
            writer.tallies[item.task_n].reread = item.reread
            board.rows[item.task_n].status = "failed" if item.error is not None else "done"
        writer.write_if_due()
        watch(board)
    for reader in readers:
        reader.result()  # a bug in a reader is a bug of the job
    writer.write()
    for row, tally in zip(board.rows, writer.tallies, strict=True):
        row.status = "failed" if tally.error is not None else "done"
    board.finished = True
    watch(board)


def _withdrawn(home: Path, tasks: Sequence[Task], tallies: Sequence[Tally]) -> list[np.ndarray]:
    """Return per task the opening times on record that its source had no bar of when it was read again.

    Such bars stay on record: nobody knows who is right, so it is said and nothing is changed.
    """
    lake = Lake(home)
    catalog = lake.catalog()
    found = []
    for task, tally in zip(tasks, tallies, strict=True):
        entry, again = catalog.get(task.ref.key), tally.reread
        if entry is None or again is None or tally.error is not None:
            found.append(np.empty(0, dtype=np.int64))
            continue
        held = lake.read(entry.key, entry.current.segments, again.since_t, again.until_t).t
        found.append(held[~np.isin(held, again.t)])
    return found


def _result(task: Task, tally: Tally, withdrawn: np.ndarray) -> SeriesResult:
    error: BallastError | None = tally.error
    detail = ""
    if len(withdrawn):
        detail = f"{len(withdrawn)} bars on record are not in {task.source} any more, first {iso(int(withdrawn[0]))}; they stay"
    return SeriesResult(
        series=task.ref.key,
        source=task.source,
        verdict="failed" if error else "ok",
        read_n=tally.read_n,
        added_n=tally.added_n,
        late_n=tally.late_n,
        changed_n=tally.changed_n,
        rows_n=tally.rows_n,
        scanned_until_t=tally.mark.scanned_until_t if tally.mark else None,
        withdrawn_n=len(withdrawn),
        detail=error.got if error else detail,
        action=error.action if error else "",
        exit_code=error.exit_code if error else EXIT_OK,
    )
