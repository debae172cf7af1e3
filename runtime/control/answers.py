"""Answers made once for each state of the desk and given to all who ask: two hundred readers cost little more than one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

KEPT_N: Final = 512
Stamp = Callable[[], int]
"""Tells which state of its source there is now; an answer holds as long as this does not change."""


def forever() -> int:
    """Return the stamp of what never changes."""
    return 0


class _Made(NamedTuple):
    route: str
    stamp: Stamp
    stamp_n: int
    content: asyncio.Future[bytes]


class Answers:
    """Finished answers by what was asked and for which state. Used by one event loop alone."""

    def __init__(self, kept_n: int = KEPT_N) -> None:
        self._kept_n = kept_n
        self._made: OrderedDict[str, _Made] = OrderedDict()

    async def get(self, key: str, route: str, stamp: Stamp, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the answer to `key` for the present state, made by the first who asks while the others wait for it.

        A failure is told to all who wait, and is not kept.
        """
        stamp_n = stamp()
        found = self._made.get(key)
        if found is None or found.stamp_n != stamp_n or (found.content.done() and _failed(found.content)):
            found = _Made(route, stamp, stamp_n, asyncio.ensure_future(make()))
            found.content.add_done_callback(_failed)  # looked at, also when everybody who asked has left
            self._made[key] = found
            while len(self._made) > self._kept_n:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return await asyncio.shield(found.content)  # a client that leaves must not take the answer from the others

    def ready(self, key: str) -> tuple[str, bytes] | None:
        """Return the route and the answer where it is made already and still holds."""
        found = self._made.get(key)
        if found is None or not found.content.done() or _failed(found.content) or found.stamp() != found.stamp_n:
            return None
        return found.route, found.content.result()


def _failed(future: asyncio.Future[bytes]) -> bool:
    return future.cancelled() or future.exception() is not None
