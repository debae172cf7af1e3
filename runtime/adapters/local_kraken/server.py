"""The local Kraken on a loopback port: REST below /0/public, WebSocket v2 at /v2, and /control to step time and switch faults.

Needs aiohttp (extra `venue`). The control interface is no part of the venue; it exists only here, and like everything else only
for callers of this machine.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from runtime.adapters.local_kraken.breakage import Answer, Delivery, error_answer
from runtime.adapters.local_kraken.clock import VirtualClock
from runtime.adapters.local_kraken.control import Control
from runtime.adapters.local_kraken.faults import FaultPlan
from runtime.adapters.local_kraken.limits import RateLimit, RateRule
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.rest import UNKNOWN_METHOD, RestInterface
from runtime.adapters.local_kraken.socket import Hub
from runtime.adapters.local_kraken.stream import Stream
from runtime.errors import BallastError, EnvironmentFailure

HOST: Final = "127.0.0.1"
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
TICK_S: Final = 0.02
"""How often a running clock publishes; REST answers move it too."""
SHUTDOWN_S: Final = 0.5
START_S_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a venue is run."""

    speed: float = 0.0
    """Virtual seconds in a real one; 0: time stands until /control/advance."""
    rate: RateRule | None = None
    """The public rate limit; None: nobody is refused."""
    rate_on_wall_clock: bool = False
    """Whether the rate limit's clock is real time; else virtual time."""
    batch_ms: int = 0
    """WebSocket messages are joined into steps of so many virtual milliseconds; 0: one for each trade."""
    stall_s: float = 600.0
    """How long a stalled REST answer holds its connection, in real time."""


class Venue:
    """One running local Kraken: the market, its clock, its faults and both interfaces."""

    def __init__(self, market: LocalMarket, faults: FaultPlan | None = None, settings: Settings | None = None) -> None:
        self.market = market
        self.faults = faults or FaultPlan(market.seed)
        self.settings = settings or Settings()
        self.clock = VirtualClock(market.now_ns, speed=self.settings.speed)
        wall = VirtualClock(0, speed=1.0)
        limit_clock = wall.now_ns if self.settings.rate_on_wall_clock else (lambda: self.market.now_ns)
        self.rest = RestInterface(market, self.faults, RateLimit(self.settings.rate, limit_clock))
        stream = Stream(market, start_ns=market.now_ns, batch_ns=self.settings.batch_ms * 1_000_000)
        self.hub = Hub(stream, self.faults, seed=market.seed, start_ns=market.now_ns)
        self._closing, self._speed_changed = asyncio.Event(), asyncio.Event()
        self._moved = asyncio.Event()
        self._control = Control(self)

    def application(self) -> web.Application:
        """Return the routes."""
        app = web.Application(middlewares=[_without_those_who_left, _only_loopback])
        app.router.add_get("/0/public/{endpoint}", self._public)
        app.router.add_get("/v2", self._socket)
        app.router.add_route("*", "/0/{other:.*}", self._unknown)
        self._control.add_routes(app)
        return app

    def tick(self) -> int:
        """Bring the market to the clock's time, queue what the WebSocket has to say about it, and return that time."""
        to_ns = self.clock.now_ns()
        if to_ns > self.market.now_ns:
            self.market.advance(to_ns)
            self.hub.publish(to_ns)
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()
        return self.market.now_ns

    async def passed(self, after_ns: int, wait_s: float) -> None:
        """Return when the virtual time has passed `after_ns`, the venue closes, or so many seconds of real time have gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self.tick() <= after_ns and not self._closing.is_set():
                    await self._moved.wait()

    async def advance(self, to_ns: int, *, flush: bool = True) -> int:
        """Move the virtual time on and return it (nanoseconds UTC) when every WebSocket message about it was written.

        Without `flush`: when every message was queued.
        """
        self.clock.advance(to_ns)
        now_ns = self.tick()
        if flush:
            await self.hub.flush()
        return now_ns

    async def run(self, stop: asyncio.Event, port: int, ready: Callable[[str], None]) -> None:
        """Serve until `stop` is set.

        Args:
            stop: ends it.
            port: of the loopback interface; 0 takes a free one.
            ready: told the base URL once connections are accepted.

        Raises:
            EnvironmentFailure: the port is taken.
        """
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, port)
            try:
                await site.start()
            except OSError as e:
                raise EnvironmentFailure(
                    f"port {port} of {HOST} cannot be served: {e.strerror}",
                    expected="a free port",
                    action="choose another --port, or 0 for any",
                ) from e
            ready(f"http://{HOST}:{runner.addresses[0][1]}")
            ticking = asyncio.create_task(self._keep_time())
            await stop.wait()
            ticking.cancel()
        finally:
            self._closing.set()
            self._moved.set()
            await self.hub.close()
            await runner.cleanup()

    def wake(self) -> None:
        """Let a changed speed be seen at once."""
        self._speed_changed.set()

    async def _keep_time(self) -> None:
        """Publish what a running clock passes; a stepped one costs nothing."""
        while True:
            if self.clock.speed:
                await asyncio.sleep(TICK_S)
                self.tick()
            else:
                self._speed_changed.clear()
                await self._speed_changed.wait()

    async def _public(self, request: web.Request) -> web.StreamResponse:
        if self.clock.speed:
            self.tick()
        answer = self.rest.answer(request.match_info["endpoint"], request.query, request.remote or "")
        if answer.delivery is Delivery.WHOLE:
            return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
        return await self._undelivered(request, answer)

    async def _unknown(self, _request: web.Request) -> web.StreamResponse:
        """Answer what is no public endpoint, a private one among them, as the venue answers a method it does not have."""
        answer = error_answer(UNKNOWN_METHOD)
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

    async def _undelivered(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        """Hold an answer back, or end the connection before it is whole."""
        if answer.delivery is Delivery.STALL:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self.settings.stall_s)
        response = web.StreamResponse(headers={"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))})
        if answer.delivery is Delivery.DROP_AFTER_HEADERS:
            await response.prepare(request)
            await response.write(answer.body[: len(answer.body) // 2])
        if request.transport is not None:
            request.transport.abort() if answer.delivery is not Delivery.DROP_AFTER_HEADERS else request.transport.close()
        return response

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await self.hub.handle(request)


@web.middleware
async def _without_those_who_left(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """End a request quietly when its client has gone: to the venue that is no error."""
    try:
        return await handler(request)
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response()  # for the framework, which cannot deliver it either and says so at debug level


@web.middleware
async def _only_loopback(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse a browser page that reached this port under a foreign name."""
    host = request.headers.get("Host", "")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name not in LOOPBACK_NAMES:
        return web.Response(status=403, text="only as 127.0.0.1 or localhost")
    return await handler(request)


class LocalKraken:
    """A venue that runs in a thread of this process; methods may be called from any other thread."""

    def __init__(self, venue: Venue, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.venue, self.url, self._loop = venue, url, loop

    @property
    def websocket_url(self) -> str:
        """Return the address of WebSocket v2."""
        return self.url.replace("http://", "ws://") + "/v2"

    @property
    def now_ns(self) -> int:
        """Return the virtual time."""
        return self.venue.market.now_ns

    def advance(self, to_ns: int) -> int:
        """Move the virtual time on; on return every message about it was written."""
        return asyncio.run_coroutine_threadsafe(self.venue.advance(to_ns), self._loop).result()


@contextmanager
def serve(
    market: LocalMarket, *, faults: FaultPlan | None = None, settings: Settings | None = None, port: int = 0
) -> Iterator[LocalKraken]:
    """Run a venue in a thread until the block ends; nothing of it is left afterwards.

    Args:
        market: what it replays; the venue moves its time.
        faults: default none.
        settings: default stepped time, no rate limit.
        port: of the loopback interface; 0 takes a free one.

    Raises:
        EnvironmentFailure: the port is taken.
        UsageError: the speed is out of bounds.
    """
    started: Future[LocalKraken] = Future()
    stops: list[Callable[[], object]] = []

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        venue = Venue(market, faults, settings)
        await venue.run(stop, port, lambda url: started.set_result(LocalKraken(venue, url, loop)))

    def body() -> None:
        try:
            asyncio.run(main())
        except BallastError as e:
            started.set_exception(e)

    thread = threading.Thread(target=body, name="local-kraken")
    thread.start()
    try:
        yield started.result(START_S_MAX)
    finally:
        for stop in stops:
            with suppress(RuntimeError):  # the loop has ended by itself
                stop()
        thread.join()


async def run_until_signal(venue_of: Callable[[], Venue], port: int, ready: Callable[[str, Venue], None]) -> int:
    """Serve until SIGINT or SIGTERM and return the signal's number. The venue is made inside the running loop."""
    stop, received = asyncio.Event(), [0]

    def end(number: int) -> None:
        received[0] = number
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    try:
        venue = venue_of()
        await venue.run(stop, port, lambda url: ready(url, venue))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return received[0]
