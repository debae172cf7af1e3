"""The one queue of the loop. Books do not pile up, and what an operator asks for comes first."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from runtime.event import BundleNote
from runtime.market import BookView, ClosedBar, MarketEvent
from runtime.trading.commands import ActivateBundle, Command, Receipt
from runtime.trading.needs import Forecasting


class Asked(NamedTuple):
    """A command, and where its receipt goes."""

    command: Command
    answer: Future[Receipt]


class Loaded(NamedTuple):
    """What loading a bundle came to: the bundle, or why not."""

    command: ActivateBundle
    answer: Future[Receipt]
    found: tuple[BundleNote, Forecasting] | None
    refusal: str


class Tick(NamedTuple):
    """A time that the loop waited for has come."""


class Opened(NamedTuple):
    """The feed is up for the first time."""


class Fetched(NamedTuple):
    """Bars read by REST; `missing` are the instruments that did not answer."""

    bars: list[ClosedBar]
    missing: tuple[int, ...]
    until_t: int


class Reread(NamedTuple):
    """The last day's bars, read again by the housekeeping."""

    bars: list[ClosedBar]


class Measured(NamedTuple):
    """The clock's skew in milliseconds; `None`: the venue did not say."""

    skew_ms: int | None


class Failed(NamedTuple):
    """A task of the loop ended with an error that nothing foresaw."""

    error: BaseException


class Shutdown(NamedTuple):
    """End the process's part in trading."""

    reason: str


Content = MarketEvent | Opened | Asked | Loaded | Tick | Fetched | Reread | Measured | Failed | Shutdown


class Item(NamedTuple):
    """Something received, and when: `received_ns` is a count for measuring latency, no time of day."""

    content: Content
    received_ns: int


class Inbox:
    """What came in and is not done yet, for one consumer; all of it belongs to the loop's thread."""

    def __init__(self) -> None:
        self._urgent: deque[Item] = deque()
        self._waiting: deque[Item | int] = deque()
        self._books: dict[int, Item] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._waiting)

    def put(self, content: Content) -> None:
        """Add at the end; a book takes the place of the instrument's book that still waits."""
        item = Item(content, time.perf_counter_ns())
        if isinstance(content, BookView):
            if content.instrument_id not in self._books:
                self._waiting.append(content.instrument_id)
            self._books[content.instrument_id] = item
        else:
            self._waiting.append(item)
        self._filled.set()

    def first(self, content: Content) -> None:
        """Add before everything but what was added so before."""
        self._urgent.append(Item(content, time.perf_counter_ns()))
        self._filled.set()

    async def get(self) -> Item:
        """Return what is next; wait for it when there is nothing."""
        while not len(self):
            self._filled.clear()
            await self._filled.wait()
        if self._urgent:
            return self._urgent.popleft()
        found = self._waiting.popleft()
        return self._books.pop(found) if isinstance(found, int) else found
