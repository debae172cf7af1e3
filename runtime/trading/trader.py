"""The trading loop: one consumer of one queue. Feed, timers, readers of REST and the operator's threads put in; it alone commits.

It never sleeps on wall time: it waits for its queue, and its timers wait on the Clock port.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from runtime.errors import BallastError, EnvironmentFailure, InvariantError
from runtime.market import BookView, ClosedBar, MarketData, Notice
from runtime.ports import Clock, Journal
from runtime.trading.books import Books
from runtime.trading.commands import ActivateBundle, Command, Receipt
from runtime.trading.commit import Chain
from runtime.trading.health import Health
from runtime.trading.hours import Hours
from runtime.trading.inbox import (
    Asked,
    Content,
    Failed,
    Fetched,
    Inbox,
    Item,
    Loaded,
    Measured,
    Opened,
    Reread,
    Shutdown,
    Tick,
)
from runtime.trading.market import MarketDesk
from runtime.trading.needs import Hooks, PaperExchange, Start, Tail
from runtime.trading.readers import pump
from runtime.trading.recovery import Recovered, warm_up
from runtime.trading.saying import FeedLog
from runtime.trading.session import Session
from runtime.trading.settings import TradingSettings
from runtime.trading.timetable import Timetable
from runtime.trading.venue import Venue
from runtime.trading.view import RuntimeView
from runtime.trading.viewing import Viewer

SETTLED_N: Final = 5
"""Turns of the event loop without anything to do after which nothing is to be expected at this time."""


class Trader:
    """Trades one account from where its chain stands until it is shut down or halts.

    Args:
        recovered: where the chain stands (`runtime.trading.recovery.recover`).
        journal: the same journal, open for writing.
        market: live data of the genesis's symbols.
        exchange: where orders go.
        clock: the time.
        tail: raw bars.
        settings: bounds of the loop.
        start: what this process is, and which bundle it begins with.
        hooks: what the loop calls.

    Attributes:
        view: how things stand; replaced after everything the loop did, readable from any thread.

    Raises:
        InvariantError: the bundle is for other assets.
    """

    def __init__(
        self, recovered: Recovered, journal: Journal, market: MarketData, exchange: PaperExchange, clock: Clock, tail: Tail,
        settings: TradingSettings, start: Start, hooks: Hooks,
    ) -> None:  # fmt: skip
        genesis = recovered.desk.genesis
        if start.forecaster.symbols != genesis.symbols:
            raise InvariantError(
                f"a bundle for {', '.join(start.forecaster.symbols)}",
                expected=f"the assets of the account, {', '.join(genesis.symbols)}",
                action="activate a bundle of the same assets, or begin another account",
            )
        self._market, self._clock, self._hooks, self._feed_log = market, clock, hooks, FeedLog(hooks)
        venue, books, self._health = Venue(exchange, journal, settings.refill_t), Books(settings), Health(settings)
        chain = Chain(recovered.desk, recovered.past, journal, venue, clock, hooks)
        newest_t = (clock.now_t() // genesis.interval_t - 1) * genesis.interval_t
        next_t = recovered.next_open_t if recovered.past.ended_by else None
        hours = Hours(genesis.symbols, genesis.interval_t, newest_t if next_t is None else next_t)
        self._desk = MarketDesk(chain, venue, hours, books, self._health, start.forecaster, tail, clock, settings)
        self._session = Session(self._desk, start, hooks)
        self._inbox = Inbox()
        self._timetable = Timetable(self._desk, self._session, market, self._inbox, self._spawn, hooks)
        self._viewer = Viewer(chain, self._session, books, self._health, start, hooks, clock.now_t())
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: tuple[int, asyncio.Task[None]] | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[Asked | Shutdown] = []
        self._ended = self._busy = False
        self.view: RuntimeView = self._viewer.look(clock.now_ms())

    # ---- from any thread ---------------------------------------------------------------------------------------

    def submit(self, command: Command) -> Future[Receipt]:
        """Ask for something; the receipt comes when it is durable or refused."""
        answer: Future[Receipt] = Future()
        self._post(Asked(command, answer))
        return answer

    def shutdown(self, reason: str) -> None:
        """Ask `run` to stop trading and return."""
        self._post(Shutdown(reason))

    def _post(self, content: Asked | Shutdown) -> None:
        with self._lock:
            if self._loop is not None and not self._ended:
                self._loop.call_soon_threadsafe(self._inbox.first, content)
            elif not self._ended:
                self._early.append(content)
            elif isinstance(content, Asked):
                self._session.refuse(content)

    # ---- the loop ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Trade until `shutdown`.

        Raises:
            BallastError: what halted it. The journal holds everything that was acted on, and the next start folds it.
        """
        try:
            warm_up(self._desk.chain.desk.genesis)
            self._desk.warm_up()
            self._session.begin_if_known(time.perf_counter_ns())
            with self._lock:
                self._loop = asyncio.get_running_loop()
                for content in self._early:
                    self._inbox.first(content)
            self._spawn(pump(self._market, self._clock, self._inbox))
            await self._consume()
        except BallastError as e:
            self._session.halt(str(e))
            raise
        finally:
            if self._session.state not in ("stopped", "halted"):
                self._session.halt("the loop ended without a word: see the log")
            self._publish()
            await self._end()

    async def _consume(self) -> None:
        while True:
            self._publish()
            self._plan()
            item = await self._inbox.get()
            if isinstance(item.content, Shutdown):
                self._session.stop(item.content.reason, item.received_ns)
                return
            self._busy = True
            self._handle(item)
            self._desk.show_books(item.received_ns)
            self._busy = False
            await asyncio.sleep(0)  # a full queue must not starve the timers and the operator

    def _handle(self, item: Item) -> None:
        content, received_ns = item
        if not isinstance(content, BookView):
            self._desk.journal_quotes(received_ns)
        match content:
            case Asked():
                command = self._session.carry_out(content, received_ns)
                if command is not None:
                    self._spawn(self._load(command, content.answer))
            case Loaded():
                self._session.activate(content, received_ns)
            case BookView() | ClosedBar() | Notice():
                self._health.heard(self._clock.now_ms())
                self._on_market(content, received_ns)
            case _:
                self._on_task(content, received_ns)

    def _on_market(self, content: BookView | ClosedBar | Notice, received_ns: int) -> None:
        if isinstance(content, BookView):
            self._desk.on_book(content, received_ns)
        elif isinstance(content, ClosedBar):
            self._desk.on_bar(content, received_ns)
        else:
            self._desk.on_notice(content)
            self._feed_log.take(content, self._clock.now_ms())

    def _on_task(self, content: Content, received_ns: int) -> None:
        """Take in what a timer or a reader says."""
        match content:
            case Tick():
                self._timetable.on_tick(received_ns)
            case Opened():
                self._timetable.open()
            case Fetched():
                self._timetable.on_fetched(content, received_ns)
            case Measured():
                self._timetable.on_measured(content, received_ns)
            case Reread():
                self._timetable.on_reread(content)
            case Failed():
                raise content.error
            case _:
                pass

    async def settled(self) -> None:
        """Return when nothing is left to do at the present time: for tests and simulations that step the clock."""
        quiet_n = 0
        while quiet_n < SETTLED_N and not self._ended:
            await asyncio.sleep(0)
            idle = not len(self._inbox) and not self._busy and self._timetable.idle
            quiet_n = quiet_n + 1 if idle else 0

    # ---- tasks and the view ------------------------------------------------------------------------------------

    async def _load(self, command: ActivateBundle, answer: Future[Receipt]) -> None:
        """Load a bundle in a thread; the loop goes on meanwhile."""
        try:
            found = await asyncio.to_thread(self._hooks.load_bundle, command.path)
        except BallastError as e:
            self._inbox.first(Loaded(command, answer, None, str(e)))
        else:
            self._inbox.first(Loaded(command, answer, found, ""))

    def _plan(self) -> None:
        """Let the timer wait for what is due next."""
        due_ms = self._timetable.due_ms()
        if self._timer is not None:
            if self._timer[0] == due_ms and not self._timer[1].done():
                return
            self._timer[1].cancel()
        self._timer = (due_ms, asyncio.ensure_future(self._tick_at(due_ms)))

    async def _tick_at(self, due_ms: int) -> None:
        await self._clock.wait_until(due_ms)
        self._inbox.put(Tick())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._inbox.first(Failed(error))

    async def _end(self) -> None:
        """Refuse what nobody will carry out, end the tasks, and close the feed."""
        with self._lock:
            self._ended = True
        await asyncio.sleep(0)  # what other threads have posted is in the inbox now
        tasks = [*self._tasks, *([self._timer[1]] if self._timer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while len(self._inbox):
            item = await self._inbox.get()
            if isinstance(item.content, Asked):
                self._session.refuse(item.content)
            elif isinstance(item.content, Loaded):
                item.content.answer.set_result(Receipt(False, self.view.head.seq_n, self.view.now_t, "the loop has ended"))
        self._session.refuse_loading()
        with suppress(EnvironmentFailure):
            await self._market.close()

    def _publish(self) -> None:
        self.view = self._viewer.look(self._clock.now_ms())
