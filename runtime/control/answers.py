"""Answers made once for each state of the desk and given to all who ask: two hundred readers cost little more than one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

KEPT_N: Final = 512


class Answers:
    """Finished answers by what was asked and after which block. Used by one event loop alone."""

    def __init__(self, kept_n: int = KEPT_N) -> None:
        self._kept_n = kept_n
        self._made: OrderedDict[str, tuple[int, asyncio.Future[bytes]]] = OrderedDict()

    async def get(self, key: str, stamp_n: int, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the answer to `key` for a state, made by the first who asks while the others wait for it.

        A failure is told to all who wait, and is not kept.
        """
        found = self._made.get(key)
        if found is None or found[0] != stamp_n or (found[1].done() and _failed(found[1])):
            found = (stamp_n, asyncio.ensure_future(make()))
            self._made[key] = found
            while len(self._made) > self._kept_n:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return await asyncio.shield(found[1])  # a client that leaves must not take the answer from the others


def _failed(future: asyncio.Future[bytes]) -> bool:
    return future.cancelled() or future.exception() is not None
