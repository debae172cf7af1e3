"""Explanations that take a second: computed on demand in a process of their own, a few at a time, never in the daemon.

A process for each keeps the trading loop's interpreter free and the daemon's memory flat, and ends with it whatever happens.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import ValidationError

from runtime.control.demand_worker import Failed, Task
from runtime.control.guard import Refused
from runtime.control.models import Problem

WORKER: Final = (sys.executable, "-m", "runtime.control.demand_worker")
RETRY_AFTER_S: Final = b"2"
STATUS: Final = {"data": 404, "usage": 404, "verification": 409}
"""Kind of a worker's failure -> status; everything else is a failure of ours or of the machine: 503."""


class Demand:
    """Runs one worker at a time, and lets a few wait.

    Args:
        queue_n: explanations under way or waiting; further ones are refused.
        limit_s: time that one may take.
        command: the worker.
    """

    def __init__(self, queue_n: int, limit_s: float, command: tuple[str, ...] = WORKER) -> None:
        self._queue_n, self._limit_s, self._command = queue_n, limit_s, command
        self._one = asyncio.Semaphore(1)
        self._waiting_n = 0
        self._running: set[asyncio.subprocess.Process] = set()

    async def answer(self, task: Task) -> bytes:
        """Return what the worker makes of a task: the JSON of the answer.

        Raises:
            Refused: 503 too many are waiting, or the worker broke; 404, 409 it cannot be explained; 504 it took too long.
        """
        if self._waiting_n >= self._queue_n:
            raise _refused(503, "busy", "too many explanations at once", "a free place", "ask again in a moment")
        self._waiting_n += 1
        try:
            async with self._one:
                return await self._run(task)
        finally:
            self._waiting_n -= 1

    def close(self) -> None:
        """End what is under way."""
        for process in self._running:
            process.kill()

    async def _run(self, task: Task) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        self._running.add(process)
        try:
            talk: Awaitable[tuple[bytes, bytes]] = process.communicate(task.model_dump_json().encode())
            out, _ = await asyncio.wait_for(talk, self._limit_s)
        except TimeoutError as e:
            raise _refused(
                504, "busy", f"no explanation within {self._limit_s:g} s", "an answer in time", "ask again later"
            ) from e
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._running.discard(process)
        if process.returncode == 0:
            return out
        try:
            failed = Failed.model_validate_json(out)
        except ValidationError as e:
            got = f"the worker ended with {process.returncode}"
            raise _refused(503, "environment", got, "an explanation", "look into the log of the daemon") from e
        status = STATUS.get(failed.kind, 503)
        kind = "not-found" if status == 404 else failed.kind
        raise _refused(status, kind, failed.got, failed.expected, failed.action)


def _refused(status: int, kind: str, got: str, expected: str, action: str) -> Refused:
    headers = [(b"retry-after", RETRY_AFTER_S)] if status == 503 else []
    return Refused(status, Problem(kind=kind, got=got, expected=expected, action=action), headers)


Explain = Callable[[Task], Awaitable[bytes]]
