"""The clocks: this machine's, a fixed one for tests, and the virtual time that a local Kraken publishes. None of them goes back."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from runtime.errors import EnvironmentFailure, UsageError

LOOK_AGAIN_S: Final = 1.0
"""The system's clock may be set, or the machine may sleep: a long wait is cut into pieces of this length."""
ANSWER_S: Final = 15.0
"""Patience for one answer of the venue's clock, which it gives within ten seconds even when time stands still."""
AWAY_S: Final = 0.2
"""Pause before a venue that does not answer is asked again."""


class SystemClock:
    """The clock of this machine. The only reading of wall time outside data providers and diagnostics."""

    def __init__(self) -> None:
        self._latest_ms = 0

    def now_t(self) -> int:
        """Return seconds since 1970-01-01 UTC."""
        return self.now_ms() // 1_000

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC; where the system's time was set back, the latest one said."""
        self._latest_ms = max(self._latest_ms, time.time_ns() // 1_000_000)
        return self._latest_ms

    def now_s(self) -> float:
        """Return seconds since 1970-01-01 UTC with their fraction, for measuring against another clock."""
        return time.time()

    async def wait_until(self, at_ms: int) -> None:
        """Return when the time has come; at once when it has passed."""
        while (left_ms := at_ms - self.now_ms()) > 0:  # noqa: ASYNC110  nobody sets an event when time passes
            await asyncio.sleep(min(left_ms / 1_000, LOOK_AGAIN_S))


class _Waiters:
    """Tasks of any event loop that wait for times; whoever moves the time wakes them, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def add(self, at_ms: int) -> asyncio.Future[None]:
        """Return what is done once `wake` has been called with that time or a later one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((at_ms, loop, future))
        return future

    def wake(self, now_ms: int) -> None:
        """Wake those whose time has come."""
        with self._lock:
            due = [entry for entry in self._waiting if entry[0] <= now_ms]
            self._waiting = [entry for entry in self._waiting if entry[0] > now_ms and not entry[2].done()]
        for _, loop, future in due:
            with suppress(RuntimeError):  # that loop has ended, and nobody waits in it any longer
                loop.call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _SetClock:
    """A time that others move; what waits for it is woken, nothing sleeps."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._waiters = _Waiters()

    def now_t(self) -> int:
        """Return seconds since 1970-01-01 UTC."""
        return self._now_ms // 1_000

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return self._now_ms

    async def wait_until(self, at_ms: int) -> None:
        """Return when the time has come; at once when it has passed."""
        if at_ms <= self._now_ms:
            return
        future = self._waiters.add(at_ms)
        self._waiters.wake(self._now_ms)  # it may have moved between the look and the wait
        await future

    def observe(self, at_ms: int) -> None:
        """Take notice that the time is at least this; may be called from any thread."""
        if at_ms > self._now_ms:
            self._now_ms = at_ms
            self._waiters.wake(at_ms)


class ManualClock(_SetClock):
    """A clock that stands still until it is set, forwards only."""

    def __init__(self, at_t: int) -> None:
        super().__init__(at_t * 1_000)

    @property
    def at_t(self) -> int:
        """The time it stands at, seconds UTC; setting an earlier one changes nothing."""
        return self.now_t()

    @at_t.setter
    def at_t(self, at_t: int) -> None:
        self.observe(at_t * 1_000)


class VenueClock(_SetClock):
    """The virtual time of a local Kraken, followed by one long request after another: it moves when the venue's moves.

    A thread of its own asks `GET /control/now?after_ns=N`, which the venue answers when its time has passed N. Whoever hears of a
    later time first, for example in a message of the venue, may say so with `observe`. While the venue is away the time stands still.
    """

    def __init__(self, url: str) -> None:
        """Ask the venue for its time once.

        Args:
            url: base address of the local Kraken, `http://127.0.0.1:PORT`.

        Raises:
            EnvironmentFailure: it does not answer.
            UsageError: the address is no `http://HOST:PORT`.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise UsageError(f"the venue's clock at {url!r}", expected="http://127.0.0.1:PORT", action="name a local Kraken")
        self._host, self._port = parts.hostname, parts.port or 80
        self._line: http.client.HTTPConnection | None = None
        self._closing = threading.Event()
        try:
            now_ns = self._ask(-1)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as e:
            raise EnvironmentFailure(
                f"the venue's clock at {url} does not answer: {e}",
                expected="a running local Kraken",
                action="start it with ballast kraken serve, or leave the venue's clock out",
            ) from e
        super().__init__(now_ns // 1_000_000)
        self._now_ns = now_ns
        self._thread = threading.Thread(target=self._follow, name="venue-clock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following; the time stands still from then on. Closing twice is harmless."""
        self._closing.set()
        with suppress(OSError, AttributeError):  # end the answer that the thread waits for; it may just have come
            self._line.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        self._thread.join(ANSWER_S)

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                self._now_ns = max(self._now_ns, self._ask(self._now_ns))
                self.observe(self._now_ns // 1_000_000)
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
                self._hang_up()
                self._closing.wait(AWAY_S)
        self._hang_up()

    def _ask(self, after_ns: int) -> int:
        line = self._line
        if line is None:
            line = self._line = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_S)
        line.request("GET", f"/control/now?after_ns={after_ns}")
        answer = line.getresponse()
        return int(json.loads(answer.read())["now_ns"])

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
