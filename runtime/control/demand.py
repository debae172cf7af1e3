"""Explanations that take a second: computed on demand in a process of their own, one at a time, never in the daemon.

The trading loop's interpreter stays free, and so does the daemon's memory: the process ends when nobody asks for a while, and with the
daemon, whose pipe it reads.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final, cast

from pydantic import ValidationError

from runtime.control.demand_worker import Reply, Task
from runtime.control.guard import Refused
from runtime.control.models import Problem

WORKER: Final = (sys.executable, "-m", "runtime.control.demand_worker")
IDLE_S: Final = 120.0
REPLY_BYTES_MAX: Final = 2**24
RETRY_AFTER_S: Final = b"2"
STATUS: Final = {"data": 404, "usage": 404, "verification": 409}
"""Kind of a worker's failure -> status; everything else is a failure of ours or of the machine: 503."""


class Demand:
    """Asks a worker one task at a time, and lets a few wait. Used by one event loop alone.

    Args:
        queue_n: explanations under way or waiting; further ones are refused.
        limit_s: time that one may take.
        command: the worker.
        idle_s: time without a task after which the worker ends.
    """

    def __init__(self, queue_n: int, limit_s: float, command: tuple[str, ...] = WORKER, idle_s: float = IDLE_S) -> None:
        self._queue_n, self._limit_s, self._command, self._idle_s = queue_n, limit_s, command, idle_s
        self._one = asyncio.Semaphore(1)
        self._waiting_n = 0
        self._talking = False
        self._process: Process | None = None
        self._idle: asyncio.Task[None] | None = None

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
                reply = await self._ask(task)
        finally:
            self._waiting_n -= 1
        if reply.failed is None:
            return reply.answer.encode()
        failed = reply.failed
        status = STATUS.get(failed.kind, 503)
        kind = "not-found" if status == 404 else failed.kind
        raise _refused(status, kind, failed.got, failed.expected, failed.action)

    async def end(self) -> None:
        """End the worker, whatever it does."""
        if self._idle is not None:
            self._idle.cancel()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if not self._talking:  # else whoever waits for its reply comes here next
            self._process = None
            await process.communicate()  # closes the pipes

    async def _ask(self, task: Task) -> Reply:
        if self._idle is not None:
            self._idle.cancel()
        whole, self._talking = False, True
        try:
            reply = Reply.model_validate_json(await asyncio.wait_for(self._talk(task), self._limit_s))
            whole = True
        except TimeoutError as e:
            raise _refused(
                504, "busy", f"no explanation within {self._limit_s:g} s", "an answer in time", "ask again later"
            ) from e
        except (ValidationError, ValueError, ConnectionError) as e:
            raise _refused(503, "environment", "the worker broke", "an explanation", "look into the log of the daemon") from e
        finally:
            self._talking = False
            if whole:
                self._idle = asyncio.create_task(self._end_when_idle())
            else:  # whatever it says next would be taken for the answer to another task
                await self.end()
        return reply

    async def _end_when_idle(self) -> None:
        await asyncio.sleep(self._idle_s)
        self._idle = None
        await self.end()

    async def _talk(self, task: Task) -> bytes:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, limit=REPLY_BYTES_MAX
            )
        asked = cast("asyncio.StreamWriter", self._process.stdin)  # both are pipes
        told = cast("asyncio.StreamReader", self._process.stdout)
        asked.write(task.model_dump_json().encode() + b"\n")
        await asked.drain()
        return await told.readline()


def _refused(status: int, kind: str, got: str, expected: str, action: str) -> Refused:
    headers = [(b"retry-after", RETRY_AFTER_S)] if status == 503 else []
    return Refused(status, Problem(kind=kind, got=got, expected=expected, action=action), headers)
