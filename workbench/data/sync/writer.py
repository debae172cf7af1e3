"""The one that writes: gathers pages of many series, puts them into the lake in batches, then moves the watermarks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.errors import BallastError, DataError, GateError, VerificationError
from workbench.data.bars import Bars
from workbench.data.store.ingest import Delivery, absorb
from workbench.data.sync.board import Board, Monotonic
from workbench.data.sync.plan import Task
from workbench.data.sync.reader import Piece, Reached, Reread, Stop, in_order
from workbench.data.sync.state import SyncState, Watermark

BATCH_BARS: Final = 250_000
BATCH_S: Final = 5.0
"""A batch is written when it has this many bars, or this many seconds after its first piece."""
BATCH_S_FIRST: Final = 0.25
"""The first batch waits this long, each one after it twice as long: a process that is killed early has kept something."""


@dataclass(slots=True)
class Tally:
    """What became of one task."""

    read_n: int = 0
    added_n: int = 0
    late_n: int = 0
    changed_n: int = 0
    rows_n: int = 0
    mark: Watermark | None = None
    error: BallastError | None = None
    reread: Reread | None = None


@dataclass(slots=True)
class _Pending:
    bars: list[Bars] = field(default_factory=list)
    reached: Reached | None = None


class Writer:
    """Takes pieces and writes them; make one per job, use it from one thread."""

    def __init__(
        self,
        home: Path,
        state: SyncState,
        tasks: Sequence[Task],
        stop: Stop,
        board: Board,
        *,
        restate: bool = False,
        batch_bars: int = BATCH_BARS,
        batch_s: float = BATCH_S,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self.tallies = [Tally(rows_n=t.rows_n, mark=t.mark) for t in tasks]
        self._home, self._state, self._tasks = home, state, tasks
        self._stop, self._board, self._restate = stop, board, restate
        self._batch_bars, self._batch_s, self._monotonic = batch_bars, batch_s, monotonic
        self._pending: dict[int, _Pending] = {}
        self._bars_n = 0
        self._began_s, self._patience_s = 0.0, min(BATCH_S_FIRST, batch_s)

    def take(self, piece: Piece) -> None:
        """Take a piece; write the batch when it is large enough."""
        if self.tallies[piece.task_n].error is not None:
            return
        if not self._pending:
            self._began_s = self._monotonic()
        pending = self._pending.setdefault(piece.task_n, _Pending())
        if piece.bars is not None:
            pending.bars.append(piece.bars)
            self._bars_n += len(piece.bars)
            self.tallies[piece.task_n].read_n += len(piece.bars)
        pending.reached = piece.reached or pending.reached
        if self._bars_n >= self._batch_bars:
            self.write()

    def write_if_due(self) -> None:
        """Write the batch when its first piece has waited long enough."""
        if self._pending and self._monotonic() - self._began_s >= self._patience_s:
            self.write()
            self._patience_s = min(2 * self._patience_s, self._batch_s)

    def fail(self, task_n: int, error: BallastError) -> None:
        """Put on record why a task is not whole; what was taken of it before is still written."""
        if self.tallies[task_n].error is None:
            self.tallies[task_n].error = error
        self._stop.tasks.add(task_n)

    def write(self) -> None:
        """Write everything taken: the lake first, then the watermarks. A series the lake refuses fails alone.

        Raises:
            EnvironmentFailure: the lake or the state file cannot be written; nothing of the batch is half there.
        """
        batch, self._pending, self._bars_n = self._pending, {}, 0
        gathered: dict[int, Bars] = {}
        for n, pending in batch.items():
            if not pending.bars:
                continue
            try:
                gathered[n] = in_order(tuple(pending.bars), self._tasks[n].ref.key)
            except DataError as e:
                self.fail(n, e)
                pending.reached = None
        for name in sorted({self._tasks[n].provider.name for n in gathered}):
            for n in self._absorbed(name, {n: bars for n, bars in gathered.items() if self._tasks[n].provider.name == name}):
                batch[n].reached = None
        self._state.advance([mark for n, p in batch.items() if p.reached and (mark := self._mark(n, p.reached)) is not None])

    def _absorbed(self, name: str, gathered: dict[int, Bars]) -> list[int]:
        """Put bars of one provider into the lake, in one commit where it takes them all; return the tasks it refused."""
        try:
            self._absorb(name, gathered)
        except (GateError, DataError, VerificationError) as e:
            if len(gathered) > 1:
                return [refused for n, bars in gathered.items() for refused in self._absorbed(name, {n: bars})]
            (n,) = gathered
            self.fail(n, self._explained(e))
            return [n]
        return []

    def _absorb(self, name: str, gathered: dict[int, Bars]) -> None:
        tasks = {n: self._tasks[n] for n in gathered}
        deliveries = [Delivery(t.ref, gathered[n], name, t.provider.closed) for n, t in tasks.items()]
        by_key = {t.ref.key: self.tallies[n] for n, t in tasks.items()}
        for done in absorb(self._home, deliveries, restatement=f"restated by {name}" if self._restate else ""):
            tally = by_key[done.series]
            tally.added_n += done.added_n
            tally.late_n += done.late_n
            tally.changed_n += done.changed_n
            tally.rows_n = done.rows
        self._board.kept_n += sum(len(bars) for bars in gathered.values())

    def _explained(self, error: GateError | DataError | VerificationError) -> BallastError:
        """Return what the lake refused in words for somebody who reads a source, not a file."""
        if not isinstance(error, GateError):
            return error
        restated = not self._restate and "differ from those on record" in error.got
        return GateError(
            error.got,
            expected=error.expected,
            action="record the new values as a new version, with evidence, with `ballast data sync`"
            if restated
            else "tell the provider; what was read before is kept, and nothing of this batch",
        )

    def _mark(self, n: int, reached: Reached) -> Watermark | None:
        task, tally = self._tasks[n], self.tallies[n]
        mark = Watermark(task.source, task.ref.key, reached.whole, reached.from_t, reached.until_t, tally.rows_n)
        if mark == tally.mark:
            return None
        tally.mark = mark
        return mark
