"""Kraken's market data as the MarketData port: closed bars once each, books with right checksums, trades, and notices of the rest.

One task reads the connection and keeps its deadlines; one watches the clock for the end of an interval; REST fills what the socket
did not tell, beside them. A bar counts as closed when the venue answers a ping `settle_ms` after its end: the answer stands behind
everything that the venue had said, in the same ordered stream. What the stream has no candle of is asked over REST.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from runtime.adapters.kraken import wire
from runtime.adapters.kraken.books import Books, Wrong
from runtime.adapters.kraken.candles import Candles
from runtime.adapters.kraken.pairs import SCALE_DECIMALS, Pair, find_pairs
from runtime.adapters.kraken.rest import Rest, pause_s
from runtime.adapters.kraken.session import Session
from runtime.adapters.kraken.settings import FeedSettings, socket_url
from runtime.adapters.kraken.socket import Line
from runtime.core.codes import BUY, SELL
from runtime.errors import DataError, EnvironmentFailure
from runtime.market import BookView, ClosedBar, MarketEvent, Notice, NoticeKind, TradeTick
from runtime.policy import PairRules
from runtime.ports import Clock

ALL: Final = -1
BATCH_N: Final = 256
"""Messages that are read before others of the loop get their turn."""
WAITING_MAX_N: Final = 10_000
"""Events that may wait for the consumer before books that newer ones replace are dropped."""
FILLS_AT_ONCE_N: Final = 4
AGAIN_S_MAX: Final = 5.0
UNCONFIRMED_N: Final = 3
"""Answers of REST without a bar, which may lag some seconds behind: then a bar that the stream has told is believed."""
NOT_CLOSED: Final = "REST has not closed it"


class KrakenMarketData:
    """The feed of one set of instruments. All methods belong to one event loop."""

    def __init__(
        self,
        url: str,
        symbols: Sequence[str],
        pairs: Sequence[PairRules],
        interval_t: int,
        clock: Clock,
        settings: FeedSettings | None = None,
        *,
        since_t: int | None = None,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        """Take what to follow; nothing is sent before `open`.

        Args:
            url: `settings.KRAKEN_URL`, or the address of a local Kraken.
            symbols: universe symbols, index = instrument_id.
            pairs: rules of each; they name its quote.
            interval_t: length of a bar, seconds.
            clock: says when an interval has ended.
            settings: bounds.
            since_t: opening time of the first bar to deliver; default the one in progress when the feed opens.
            observe: told the venue's time (milliseconds) whenever a message carries a later one.

        Raises:
            UsageError: the address is neither Kraken's nor one of this machine.
        """
        socket_url(url)
        self._url, self._symbols, self._rules, self._interval_t = url, tuple(symbols), tuple(pairs), interval_t
        self._clock, self._settings, self._since_t, self._observe = clock, settings or FeedSettings(), since_t, observe
        self._random = random.Random(self._settings.seed)  # noqa: S311  pauses, not secrets
        self._rest = Rest(url, self._settings)
        self._pairs: tuple[Pair, ...] = ()
        self._by_symbol: dict[str, Pair] = {}
        self._books = Books((), self._settings.depth)
        self._candles = Candles(0, interval_t, 0)
        self._trade_id: dict[int, int] = {}
        self._queue: deque[MarketEvent] = deque()
        self._compact_n = WAITING_MAX_N
        self._ready = asyncio.Event()
        self._sessions: list[Session] = []
        """The present connection; none before the first."""
        self._closed_t = 0
        """End of the last interval that the venue has closed."""
        self._again_s = 0.0
        self._venue_ms = 0
        self._mode = "online"
        self._filling: dict[int, asyncio.Task[None]] = {}
        self._fills = asyncio.Semaphore(FILLS_AT_ONCE_N)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    # ---- the port

    async def open(self) -> None:
        """Read AssetPairs, hold it against the scales, connect and subscribe.

        Raises:
            EnvironmentFailure: the venue cannot be reached, or a pair is not listed or does not fit.
        """
        try:
            listed = await self._rest.asset_pairs()
            self._pairs = find_pairs(listed, self._symbols, [rules.quote_id for rules in self._rules])
        except EnvironmentFailure:
            await self.close()
            raise
        self._by_symbol = {pair.symbol: pair for pair in self._pairs}
        self._books = Books(self._pairs, self._settings.depth)
        first_t = self._since_t if self._since_t is not None else self._clock.now_t()
        self._candles = Candles(len(self._pairs), self._interval_t, first_t // self._interval_t * self._interval_t)
        subscribed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._run(subscribed)), asyncio.create_task(self._watch_clock())]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._ready.set())
        try:
            async with asyncio.timeout(self._settings.open_s):
                await subscribed.wait()
        except TimeoutError as e:
            texts = dict.fromkeys(event.text for event in reversed(self._queue) if isinstance(event, Notice))
            said = "; ".join(list(texts)[:3]) or "no answer"
            await self.close()
            raise EnvironmentFailure(
                f"no complete subscription at {socket_url(self._url)} within {self._settings.open_s:g} s: {said}",
                expected="the venue's WebSocket to accept every channel",
                action="look at the venue's status and at the network",
            ) from e

    async def next(self) -> MarketEvent:
        """Return what happened next; the watchdog turns silence into a notice."""
        while not self._queue:
            if self._closing:
                raise EnvironmentFailure("the feed is closed", expected="an open feed", action="make a new one")
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()  # a defect of the feed shows itself here
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()

    async def bars(self, instrument_id: int, since_t: int) -> list[ClosedBar]:
        """Return the closed bars that opened at or after a time, oldest first, quiet ones as NaN; the last 720 at most.

        Raises:
            EnvironmentFailure: the venue did not give them.
        """
        pair = self._pairs[instrument_id]
        return (await self._rest.candles(instrument_id, pair.altname, pair.names, self._interval_t, since_t)).bars

    async def skew_ms(self) -> int:
        """Return the venue's time minus ours: 0 while ours lies within the venue's whole second, else the distance to it.

        Raises:
            EnvironmentFailure: the venue did not tell its time.
        """
        before_ms = self._clock.now_ms()
        venue_ms = await self._rest.time_t() * 1_000
        after_ms = self._clock.now_ms()
        if venue_ms > after_ms:
            return venue_ms - after_ms
        return min(venue_ms + 999 - before_ms, 0)

    async def close(self) -> None:
        """Disconnect and end every task. Closing twice is harmless."""
        self._closing = True
        self._ready.set()
        tasks = [*self._tasks, *self._filling.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in self._sessions:
            await session.line.close()
        await self._rest.close()

    # ---- the connection

    async def _run(self, subscribed: asyncio.Event) -> None:
        """Connect again and again, each time after a longer pause until a connection has been complete."""
        failed_n = 0
        while True:
            line = Line(self._url, self._settings)
            session = Session(line, self._pairs, self._settings, self._interval_t)
            self._sessions = [session]
            self._books.forget()
            self._candles.forget()
            self._trade_id.clear()  # what was missed while away is no hole in what comes
            try:
                if await line.open() and await self._follow(session, subscribed):
                    failed_n = 0
            finally:
                await line.close()
            self._books.forget()
            self._notice(NoticeKind.LOST, ALL, line.lost)
            failed_n += 1
            await asyncio.sleep(pause_s(self._settings, failed_n, self._random))

    async def _follow(self, session: Session, subscribed: asyncio.Event) -> bool:
        """Read one connection until it ends; return whether it ever was complete."""
        line, connected = session.line, False
        await session.subscribe_all()
        while True:
            await session.listen()
            for _ in range(min(len(line.texts), BATCH_N)):
                await self._read(session, line.texts.popleft())
            if session.complete and not connected:
                connected = True
                subscribed.set()
                self._notice(NoticeKind.CONNECTED, ALL, self._url)
            if line.texts:
                await asyncio.sleep(0)
                continue
            if line.lost:
                return connected
            await self._end_interval(session)
            dead = await session.look()
            if dead:
                self._notice(NoticeKind.STALE, ALL, dead)
                line.end(dead)

    async def _read(self, session: Session, text: str) -> None:
        try:
            frame = wire.read(text)
            if frame.rows or frame.channel:
                await self._take(session, frame)
                return
        except DataError as e:  # something was said that cannot be known: what we hold may be wrong
            self._notice(NoticeKind.GAP, ALL, e.got)
            session.line.end(e.got)
            return
        if frame.method == "pong":
            self._saw(frame.at_ms)
            if session.ponged(frame):
                self._close_bars(session, frame.at_ms)
        elif not frame.success and frame.method in {"subscribe", "error"}:
            n = self._by_symbol[frame.symbol].instrument_id if frame.symbol in self._by_symbol else ALL
            self._notice(NoticeKind.REJECTED, n, frame.error)
            await session.rejected(frame)
        elif frame.method == "subscribe" and frame.answered in {"ohlc", "trade"}:
            session.accepted(frame.answered, frame.symbol)

    async def _take(self, session: Session, frame: wire.Frame) -> None:
        """Take a message of a channel."""
        self._saw(frame.at_ms)
        if frame.channel == "status":
            for row in frame.rows:
                self._say_mode(str(row.get("system", "")))
            return
        for row in frame.rows:
            pair = self._by_symbol.get(str(row.get("symbol", "")))
            if pair is None:
                continue
            if frame.channel == "book":
                await self._take_book(session, pair, frame.kind, row)
            elif frame.channel == "ohlc":
                remark = self._candles.take(pair.instrument_id, frame.kind, row)
                if remark is not None:
                    self._notice(remark.kind, remark.instrument_id, remark.text)
            elif frame.channel == "trade":
                self._take_trade(pair, row)

    async def _take_book(self, session: Session, pair: Pair, kind: str, row: wire.Row) -> None:
        found = self._books.take(pair, kind, row)
        if isinstance(found, Wrong):
            self._notice(NoticeKind.CHECKSUM, found.instrument_id, found.text)
            await session.renew("book", pair.symbol)
            return
        if kind == "snapshot":
            session.accepted("book", pair.symbol)
        if isinstance(found, BookView):
            self._saw(found.venue_ms)
            self._emit(found)

    def _take_trade(self, pair: Pair, row: wire.Row) -> None:
        n, trade_id = pair.instrument_id, int(wire.number_of(row, "trade_id"))
        last_id = self._trade_id.get(n)
        if last_id is not None and trade_id <= last_id:
            return
        if last_id is not None and trade_id != last_id + 1:
            self._notice(NoticeKind.GAP, n, f"{pair.symbol}: {trade_id - last_id - 1} trades before {trade_id} did not come")
        self._trade_id[n] = trade_id
        price = wire.units(row.get("price"), pair.price_decimals) * 10 ** (SCALE_DECIMALS - pair.price_decimals)
        qty = wire.units(row.get("qty"), pair.lot_decimals) * 10 ** (SCALE_DECIMALS - pair.lot_decimals)
        at_ms = wire.moment_ms(row.get("timestamp"))
        self._saw(at_ms)
        self._emit(TradeTick(n, at_ms, price, qty, BUY if row.get("side") == "buy" else SELL))

    # ---- the end of an interval

    def _due_t(self, now_ms: int) -> int:
        """Return the end of the last interval that is over, stragglers included, at a time."""
        return (now_ms - self._settings.settle_ms) // 1_000 // self._interval_t * self._interval_t

    async def _end_interval(self, session: Session) -> None:
        """Ask the venue for a sign of life once an interval is over: the bars are closed at its answer."""
        due_t = self._due_t(max(self._clock.now_ms(), self._venue_ms))
        late = asyncio.get_running_loop().time() >= self._again_s
        if due_t > session.closed_t and late and session.complete and not session.pinging:
            await session.ping()

    def _close_bars(self, session: Session, venue_ms: int) -> None:
        """Deliver what the venue has closed by its own time, and ask REST for what it did not tell."""
        until_t = self._due_t(venue_ms)
        if until_t <= session.closed_t:  # nothing ended, or our clock is ahead of the venue's
            self._again_s = asyncio.get_running_loop().time() + min(self._settings.probe_s, AGAIN_S_MAX)
            return
        session.closed_t, self._closed_t = until_t, max(self._closed_t, until_t)
        closing = self._candles.close(until_t, held=not self._settings.confirm)
        for bar in closing.bars:
            self._emit(bar)
        for n in closing.missing:
            filling = self._filling.get(n)
            if filling is None or filling.done():
                task = self._filling[n] = asyncio.create_task(self._fill(n))
                task.add_done_callback(self._filled)

    async def _fill(self, instrument_id: int) -> None:
        """Ask REST for the next bars of an instrument until none is missing."""
        failed_n, noticed_t = 0, -1
        while (since_t := self._candles.next_t[instrument_id]) + self._interval_t <= self._closed_t:
            said = await self._fill_once(instrument_id, since_t, held=not self._settings.confirm or failed_n >= UNCONFIRMED_N)
            if self._candles.next_t[instrument_id] == since_t:
                failed_n += 1
                if noticed_t != since_t and (said or failed_n > UNCONFIRMED_N):
                    noticed_t = since_t
                    self._notice(NoticeKind.GAP, instrument_id, f"the bar of {since_t} is not known: {said or NOT_CLOSED}")
                await asyncio.sleep(min(pause_s(self._settings, failed_n, self._random), AGAIN_S_MAX))

    async def _fill_once(self, instrument_id: int, since_t: int, *, held: bool) -> str:
        """Deliver what one answer closes, and with `held` what the stream told; return why there was no answer."""
        pair, until_t = self._pairs[instrument_id], self._closed_t
        try:
            async with self._fills:
                told = await self._rest.candles(instrument_id, pair.altname, pair.names, self._interval_t, since_t)
        except EnvironmentFailure as e:
            for bar in self._candles.deliver(instrument_id, until_t):
                self._emit(bar)
            return e.got
        closed, hole = self._candles.fill(instrument_id, told, until_t, held=held)
        for bar in closed:
            self._emit(bar)
        if hole:
            self._notice(NoticeKind.GAP, instrument_id, hole)
        return ""

    def _filled(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._tasks.append(task)  # `next` raises what it holds
            self._ready.set()

    async def _watch_clock(self) -> None:
        """Wake the reader at the end of each interval, even when the venue says nothing."""
        while True:
            due_t = self._due_t(self._clock.now_ms())
            await self._clock.wait_until((due_t + self._interval_t) * 1_000 + self._settings.settle_ms)
            for session in self._sessions:
                session.line.wake()

    # ---- what the consumer gets

    def _saw(self, venue_ms: int) -> None:
        if venue_ms > self._venue_ms:
            self._venue_ms = venue_ms
            if self._observe is not None:
                self._observe(venue_ms)

    def _say_mode(self, mode: str) -> None:
        if mode and mode != self._mode:
            self._mode = mode
            self._notice(NoticeKind.VENUE_MODE, ALL, mode)

    def _notice(self, kind: NoticeKind, instrument_id: int, text: str) -> None:
        self._emit(Notice(kind, instrument_id, self._venue_ms, text))

    def _emit(self, event: MarketEvent) -> None:
        self._queue.append(event)
        self._ready.set()
        if len(self._queue) > self._compact_n:
            self._compact()

    def _compact(self) -> None:
        """Drop the waiting books that a newer one of the same instrument replaces: a slow consumer misses nothing else."""
        newest: set[int] = set()
        kept: list[MarketEvent] = []
        for event in reversed(self._queue):
            if isinstance(event, BookView):
                if event.instrument_id in newest:
                    continue
                newest.add(event.instrument_id)
            kept.append(event)
        self._queue = deque(reversed(kept))
        self._compact_n = max(WAITING_MAX_N, 2 * len(kept))
