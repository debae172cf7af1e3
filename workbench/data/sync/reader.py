"""One thread's part of a backfill: read one series page by page, check each page, and hand it to the one that writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from runtime.errors import BallastError, DataError
from workbench.data.bars import Bars, interval_seconds, joined
from workbench.data.providers import Page
from workbench.data.sync.board import Row
from workbench.data.sync.plan import Span, Task
from workbench.data.universe.versions import iso


@dataclass(frozen=True, slots=True)
class Reached:
    """What a series' watermark may say once the bars handed over so far are in the lake."""

    whole: bool
    from_t: int | None
    until_t: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bars of task number `task_n` for the lake, and what its watermark may say after them (None: as before)."""

    task_n: int
    bars: Bars | None
    reached: Reached | None


@dataclass(frozen=True, slots=True)
class Reread:
    """What a source still has of [since_t, until_t), which was on record before: opening times, int64 [N]."""

    since_t: int
    until_t: int
    t: np.ndarray


@dataclass(frozen=True, slots=True)
class End:
    """Task number `task_n` has ended; `error` tells why it is not whole, `reread` what it read again."""

    task_n: int
    error: BallastError | None = None
    reread: Reread | None = None


Emit = Callable[[Piece | End], None]


class Stopped(Exception):
    """The job was told to stop, or nobody wants this series any more."""


@dataclass(slots=True)
class Stop:
    """Asks readers to stop: all of them, or those of single tasks."""

    everyone: threading.Event = field(default_factory=threading.Event)
    tasks: set[int] = field(default_factory=set)

    def check(self, task_n: int) -> None:
        """Raise `Stopped` when this task is to stop."""
        if self.everyone.is_set() or task_n in self.tasks:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until everyone is to stop."""
        if self.everyone.wait(seconds):
            raise Stopped


@dataclass(slots=True)
class Reader:
    """Reads the spans of one task."""

    task_n: int
    task: Task
    emit: Emit
    stop: Stop
    row: Row
    now_t: int

    def run(self) -> None:
        """Read every span and hand over its pages; a failure of the source ends this series only."""
        try:
            mark = self.task.mark
            base = Reached(mark.whole, mark.scanned_from_t, mark.scanned_until_t) if mark else None
            reread = None
            for span in self.task.spans:
                if span.front and base:
                    base = self._read_front(span, base)
                    continue
                until_t = base.until_t if base else None
                base, reached_t, times = self._read(span, base)
                if span.since_t is not None and until_t is not None and span.since_t < until_t:
                    until_t = min(until_t, reached_t)  # a stale answer may end before the watermark
                    t = np.concatenate([np.empty(0, dtype=np.int64), *times])
                    reread = Reread(span.since_t, until_t, t[t < until_t])
            self.emit(End(self.task_n, reread=reread))
        except BallastError as e:
            self.emit(End(self.task_n, e))
        except Stopped:
            return

    def _read_front(self, span: Span, base: Reached) -> Reached:
        """Hand over what lies before the watermark's beginning; it counts only when it is whole."""
        first_t = None
        for _, bars in self._pages(span):
            self.emit(Piece(self.task_n, bars, None))
            if first_t is None and bars is not None:
                first_t = int(bars.t[0])
        from_t = span.since_t if span.since_t is not None else base.from_t if first_t is None else first_t
        base = Reached(base.whole or span.since_t is None, from_t, base.until_t)
        self.emit(Piece(self.task_n, None, base))
        return base

    def _read(self, span: Span, base: Reached | None) -> tuple[Reached | None, int, list[np.ndarray]]:
        """Hand over a span's pages, each of which moves the watermark; return it, the last page's end and the opening times."""
        times: list[np.ndarray] = []
        until_t = span.since_t or 0
        for until_t, bars in self._pages(span):
            base = base or Reached(span.since_t is None, span.since_t, until_t)
            from_t = int(bars.t[0]) if base.from_t is None and bars is not None else base.from_t
            base = Reached(base.whole, from_t, max(base.until_t, until_t))
            self.emit(Piece(self.task_n, bars, base))
            times += [bars.t] if bars is not None else []
        return base, until_t, times

    def _pages(self, span: Span) -> Iterator[tuple[int, Bars | None]]:
        """Yield where each page of a span ends and its bars, checked."""
        self.row.since_t, self.row.until_t = span.since_t, self.now_t if span.until_t is None else span.until_t
        for page in self.task.provider.pages(self.task.ref, span.since_t, span.until_t):
            self.stop.check(self.task_n)
            bars = self._checked(page, span)
            yield page.until_t, bars
            if self.row.since_t is None and bars is not None:
                self.row.since_t = int(bars.t[0])
            self.row.at_t = page.until_t
            self.row.bars_n += len(page.bars)

    def _checked(self, page: Page, span: Span) -> Bars | None:
        """Return a page's bars in time order, each once, or None when it has none.

        Raises:
            DataError: the page holds bars outside what it promises, or two different bars of one time.
        """
        if len(page.bars) == 0:
            return None
        bars = in_order((page.bars,), self.task.ref.key)
        first_t, last_t = int(bars.t[0]), int(bars.t[-1])
        early = span.since_t is not None and first_t < span.since_t
        late = last_t >= page.until_t or (span.until_t is not None and last_t >= span.until_t)
        off_grid = bars.t % interval_seconds(self.task.ref.interval) != 0
        if early or late or bool(off_grid.any()):
            wrong_t = first_t if early else last_t if late else int(bars.t[off_grid][0])
            raise DataError(
                f"{self.task.ref.key}: {self.task.provider.name} gave a bar of {iso(wrong_t)}",
                expected=f"bars on the grid of {self.task.ref.interval}, from {_at(span.since_t)} to {iso(page.until_t)}",
                action="run it again; what was read before it is kept",
            )
        return bars


def in_order(pieces: tuple[Bars, ...], key: str) -> Bars:
    """Return the bars of pages in time order, each once.

    Args:
        pieces: bars of one series, N > 0 in total, in any order, the same bar possibly more than once.
        key: names the series in messages.

    Raises:
        DataError: two bars of one time differ.
    """
    bars = joined(pieces)
    if bool((np.diff(bars.t) > 0).all()):
        return bars
    bars = bars.take(np.argsort(bars.t, kind="stable"))
    again = np.flatnonzero(np.diff(bars.t) == 0)
    for name, values in bars.columns():
        differ = again[values[again] != values[again + 1]]
        if len(differ):
            i = int(differ[0])
            raise DataError(
                f"{key}: two bars of {iso(int(bars.t[i]))} in one reading, with {name} {values[i]:g} and {values[i + 1]:g}",
                expected="one bar per opening time",
                action="run it again; what was read before it is kept",
            )
    return bars.take(np.delete(np.arange(len(bars)), again))


def _at(at_t: int | None) -> str:
    return "the beginning" if at_t is None else iso(at_t)
