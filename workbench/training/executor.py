"""The seam through which work is spread: `map` a function over tasks, results in task order.

A task's result may depend on the task alone, so the number of workers, or a cluster behind the same Protocol, never
changes a digest. Big arrays do not travel inside tasks: a task names a folder of `.npy` files that every worker maps
into memory (`workbench.training.matrix`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import Final, Protocol, TypeVar

from runtime.errors import EnvironmentFailure, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

WORKERS_VARIABLE: Final = "BALLAST_WORKERS"
PRELOADED: Final = ("workbench.training.models", "runtime.inference.features")
"""Imported once in the fork server: a worker then starts in milliseconds."""
MAX_WORKERS: Final = 64


class Executor(Protocol):
    """Runs tasks somewhere."""

    @property
    def workers_n(self) -> int:
        """Return how many tasks run at once; for cutting work into parts, never for changing its result."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `function(task)` for every task, in the order of the tasks; the first failure is raised."""


@dataclass(frozen=True, slots=True)
class InProcessExecutor:
    """Runs tasks one after the other, here."""

    workers_n: int = 1

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `function(task)` for every task, in order."""
        for task in tasks:
            yield function(task)


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """Runs tasks in a pool of processes that lives as long as one `map`.

    Workers start from a clean server process, never by forking this one (threads and open databases do not survive a
    fork). They ignore Ctrl-C: the parent stops them, whatever it was doing.
    """

    workers_n: int

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `function(task)` for every task, in order; closing the iterator or any failure stops the workers.

        Raises:
            EnvironmentFailure: a worker died (killed, or out of memory).
        """
        pool = ProcessPoolExecutor(
            min(self.workers_n, max(len(tasks), 1)), mp_context=_context(warm=False), initializer=_start_worker
        )
        finished = False
        try:
            pending: deque[Future[Result]] = deque(pool.submit(function, task) for task in tasks)
            while pending:
                yield pending.popleft().result()
            finished = True
        except BrokenProcessPool as e:
            raise EnvironmentFailure(
                "a worker process died",
                expected="workers that live until their tasks are done",
                action="check free memory, or run with fewer workers (--workers 1)",
            ) from e
        finally:
            _stop(pool, kill=not finished)


def _context(*, warm: bool) -> BaseContext:
    # macOS frameworks do not survive any fork after use; a spawned worker costs its imports instead.
    if sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    if warm:
        forkserver.ensure_running()
    return context


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(pool: ProcessPoolExecutor, *, kill: bool) -> None:
    # Python 3.14 has a public `terminate_workers`; before it, only this attribute knows the processes.
    processes = list((getattr(pool, "_processes", None) or {}).values())
    if kill:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with contextlib.suppress(ValueError):  # it already ended and was closed
                process.terminate()
    pool.shutdown(wait=True)


def executor_for(workers_n: int) -> Executor:
    """Return the executor for a number of workers; one worker runs in this process.

    For more, the server that workers start from begins its imports now, beside whatever the caller does next.

    Raises:
        UsageError: the number is out of bounds.
    """
    if not 1 <= workers_n <= MAX_WORKERS:
        raise UsageError(f"{workers_n} workers", expected=f"1 to {MAX_WORKERS}", action="set --workers or BALLAST_WORKERS")
    if workers_n == 1:
        return InProcessExecutor()
    _context(warm=True)
    return ProcessExecutor(workers_n)


def executor_from_environment() -> Executor:
    """Return the executor that `BALLAST_WORKERS` asks for; default: one worker per available processor, at most eight.

    Raises:
        UsageError: the variable is not a number, or out of bounds.
    """
    asked = os.environ.get(WORKERS_VARIABLE, "")
    if not asked:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return executor_for(min(available, 8))
    if not asked.isdecimal():
        raise UsageError(f"{WORKERS_VARIABLE}={asked!r}", expected=f"a number from 1 to {MAX_WORKERS}", action="correct it")
    return executor_for(int(asked))
