"""The subscriptions and signs of life of one connection: what was asked, what was answered, and what is overdue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from runtime.adapters.kraken.pairs import Pair
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.kraken.socket import Line
from runtime.adapters.kraken.wire import Frame

REPAIRS_MAX: Final = 5
"""Renewed subscriptions of one channel and symbol on one connection; then a new connection is the better repair."""
PONGS_MAX: Final = 3
"""A sign of life that is asked for may come after so many deadlines while other messages come."""
DEAF_S: Final = 0.02
"""A wait that ends later than this was not the venue's silence."""
DEAF_MAX: Final = 5
"""Times in a row that a late wait is excused: a loop that is always busy still ends a dead connection."""
ALREADY: Final = "Already subscribed"

Key = tuple[str, str]
"""Channel and symbol."""


class Session:
    """What one connection owes us. All times are the loop's, seconds of real time."""

    def __init__(self, line: Line, pairs: Sequence[Pair], settings: FeedSettings, interval_t: int) -> None:
        self.line = line
        self.closed_t = 0
        """End of the last interval that the venue has closed on this connection."""
        self._pairs, self._settings, self._interval_t = pairs, settings, interval_t
        self._loop = asyncio.get_running_loop()
        self._owed: dict[Key, float] = {}
        """Subscriptions without an answer (books: without a right snapshot) and since when."""
        self._repairs: dict[Key, int] = {}
        self._heard_s = self._loop.time()
        self._deaf_n = 0
        self._ping_id = 0
        self._ping_s: float | None = None

    @property
    def complete(self) -> bool:
        """Say whether every subscription stands."""
        return not self._owed

    @property
    def pinging(self) -> bool:
        """Say whether a sign of life is awaited."""
        return self._ping_s is not None

    async def subscribe_all(self) -> None:
        """Ask for every channel of every pair."""
        symbols = [pair.symbol for pair in self._pairs]
        for channel in ("book", "ohlc", "trade") if self._settings.trades else ("book", "ohlc"):
            await self._subscribe(channel, symbols)

    async def renew(self, channel: str, symbol: str) -> None:
        """Ask again for one subscription whose content is wrong; too often on one connection ends it."""
        if self._count(channel, symbol):
            await self.line.send({"method": "unsubscribe", "params": self._params(channel, [symbol])})
            await self._subscribe(channel, [symbol])

    async def rejected(self, frame: Frame) -> None:
        """Ask again for what was refused, unless the refusal says that it stands already."""
        for key in [key for key in self._owed if key[1] == frame.symbol]:
            if frame.error.startswith(ALREADY):
                self._owed.pop(key, None)
            elif self._count(*key):
                await self._subscribe(key[0], [key[1]])

    def accepted(self, channel: str, symbol: str) -> None:
        """Count a subscription as standing."""
        self._owed.pop((channel, symbol), None)

    def heard(self) -> None:
        """Note that something came."""
        self._heard_s = self._loop.time()
        self._deaf_n = 0

    async def listen(self) -> None:
        """Return when there is something to read, something is overdue, or the connection has ended.

        While others kept the loop busy nobody listened: that time counts against no deadline of the venue.
        """
        due_s = self.next_look_s()
        until_s = self._loop.time() + due_s
        await self.line.wait(due_s)
        deaf_s = self._loop.time() - until_s
        if self.line.texts:
            self.heard()
        elif deaf_s > DEAF_S and self._deaf_n < DEAF_MAX:
            self._deaf_n += 1
            self._excuse(deaf_s + 2 * DEAF_S)  # and a moment to read what came meanwhile

    def _excuse(self, by_s: float) -> None:
        """Move every deadline."""
        self._heard_s += by_s
        self._ping_s = None if self._ping_s is None else self._ping_s + by_s
        self._owed = {key: since_s + by_s for key, since_s in self._owed.items()}

    async def ping(self) -> None:
        """Ask for a sign of life; the answer stands behind everything the venue has said before it."""
        self._ping_id += 1
        self._ping_s = self._loop.time()
        await self.line.send({"method": "ping", "req_id": self._ping_id})

    def ponged(self, frame: Frame) -> bool:
        """Take an answer and return whether it is the one that is awaited."""
        if frame.req_id != self._ping_id or self._ping_s is None:
            return False
        self._ping_s = None
        return True

    async def look(self) -> str:
        """Ask for a sign of life after a silence; return why the connection counts as dead, or nothing."""
        now_s, answer_s = self._loop.time(), self._settings.answer_s
        if self._ping_s is not None:
            silent = now_s - max(self._ping_s, self._heard_s) >= answer_s
            if silent or now_s - self._ping_s >= PONGS_MAX * answer_s:
                return f"no answer to a ping within {answer_s:g} s"
        elif now_s - self._heard_s >= self._settings.probe_s:
            await self.ping()
        late = [key for key, since_s in self._owed.items() if now_s - since_s >= answer_s]
        return f"no answer to {len(late)} subscriptions ({late[0][0]} of {late[0][1]})" if late else ""

    def next_look_s(self) -> float:
        """Return in how many seconds `look` has something to do."""
        now_s, answer_s = self._loop.time(), self._settings.answer_s
        due = [since_s + answer_s for since_s in self._owed.values()]
        if self._ping_s is None:
            due.append(self._heard_s + self._settings.probe_s)
        else:
            due.append(min(max(self._ping_s, self._heard_s) + answer_s, self._ping_s + PONGS_MAX * answer_s))
        return max(min(due) - now_s, 0.0) + 0.001  # the loop's timers may fire a little early

    def _count(self, channel: str, symbol: str) -> bool:
        key = (channel, symbol)
        self._repairs[key] = self._repairs.get(key, 0) + 1
        if self._repairs[key] > REPAIRS_MAX:
            self.line.end(f"{channel} of {symbol} is still refused or wrong after {REPAIRS_MAX} renewed subscriptions")
            return False
        return True

    async def _subscribe(self, channel: str, symbols: Sequence[str]) -> None:
        now_s = self._loop.time()
        self._owed |= {(channel, symbol): now_s for symbol in symbols}
        await self.line.send({"method": "subscribe", "params": self._params(channel, symbols)})

    def _params(self, channel: str, symbols: Sequence[str]) -> dict[str, object]:
        params: dict[str, object] = {"channel": channel, "symbol": list(symbols)}
        if channel == "book":
            params["depth"] = self._settings.depth
        elif channel == "ohlc":
            params["interval"] = self._interval_t // 60
        return params
