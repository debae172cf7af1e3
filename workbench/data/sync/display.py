"""How a running backfill looks: live bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from runtime.console import PLAIN_INTERVAL_S, check_stop, stderr_console
from workbench.data.sync.board import Board, Row, clock_text
from workbench.data.sync.run import Watch

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEPS: Final = 1_000
"""Resolution of a bar; a series' progress is the share of its time that was read."""


@contextmanager
def watching() -> Iterator[Watch]:
    """Yield a `Watch` that draws on stderr; it is also the safe point where a Ctrl-C that got lost is raised again."""
    if not sys.stderr.isatty():
        yield Lines().watch
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[bars]:>10} bars"),
        TextColumn("{task.fields[rate]:>9}/s"),
        TextColumn("ETA {task.fields[eta]:>7}"),
    )
    with Progress(*columns, console=stderr_console(), expand=True) as progress:
        yield Bars(progress).watch


class Bars:
    """One line in total and one per series that is being read; a series that has ended leaves the screen."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._total: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def watch(self, board: Board) -> None:
        """Draw how far it is."""
        check_stop()
        if self._total is None:
            self._total = self._progress.add_task("", total=STEPS, bars="0", rate="0", eta=clock_text(None))
        self._progress.update(
            self._total,
            description=f"{board.title} {board.ended_n}/{len(board.rows)}, {board.calls()} calls",
            completed=int(board.fraction * STEPS),
            bars=f"{board.bars_n:,}",
            rate=f"{board.rate_per_s:,.0f}",
            eta=clock_text(board.eta_s),
        )
        for row in board.rows:
            if row.status == "reading":
                self._draw(board, row)
            elif row.key in self._tasks:
                self._progress.remove_task(self._tasks.pop(row.key))

    def _draw(self, board: Board, row: Row) -> None:
        if row.key not in self._tasks:
            name = row.key.split("/", 1)[1]
            self._tasks[row.key] = self._progress.add_task(f"  {name}", total=STEPS, bars="0", rate="0", eta=clock_text(None))
        self._progress.update(
            self._tasks[row.key],
            completed=int(row.fraction * STEPS),
            bars=f"{row.bars_n:,}",
            rate=f"{board.row_rate_per_s(row):,.0f}",
            eta=clock_text(board.row_eta_s(row)),
        )


class Lines:
    """A line when it begins, every few seconds, and at the end."""

    def __init__(self) -> None:
        self._printed_s = -PLAIN_INTERVAL_S
        self._ended = False

    def watch(self, board: Board) -> None:
        """Print how far it is, when it is time."""
        check_stop()
        ended = board.finished
        if self._ended or (not ended and board.elapsed_s - self._printed_s < PLAIN_INTERVAL_S):
            return
        self._printed_s, self._ended = board.elapsed_s, ended
        end = f"in {board.elapsed_s:.1f} s" if ended else f"ETA {clock_text(board.eta_s)}"
        print(
            f"{board.title}: {board.ended_n}/{len(board.rows)} series, {board.bars_n:,} bars, "
            f"{board.rate_per_s:,.0f} bars/s, {board.calls()} calls, {end}",
            file=sys.stderr,
            flush=True,
        )
