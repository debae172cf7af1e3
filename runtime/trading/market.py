"""Market events and time become events of the desk: bars, quotes, fills, heartbeats, and the kill switch when they cannot be trusted.

The order at the end of an hour is that of a backtest (`runtime.engine.Schedule`): fills of orders that met no book since the bar opened,
fresh quotes, the bars with their forecasts, then a new membership when one is due.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from runtime import event as events
from runtime.core.codes import SWITCH_KILL
from runtime.event import Event, Note
from runtime.inference.clusters import DEFAULT_CLUSTERS
from runtime.inference.quantise import bars_to_core
from runtime.market import BookView, ClosedBar, Notice, NoticeKind
from runtime.ports import Clock
from runtime.trading.books import Books
from runtime.trading.commit import Chain
from runtime.trading.health import Health
from runtime.trading.hours import FUTURE_MAX_T, Hours, Taken
from runtime.trading.needs import Forecasting, Rows, Tail
from runtime.trading.past import SYSTEM
from runtime.trading.settings import TradingSettings
from runtime.trading.venue import Venue

HOUR_T: Final = 3_600
SKEW_UNKNOWN_MS: Final = 600_000
"""Journaled until the skew was measured: beyond any bound that a profile can set, so nothing is entered."""
QUOTES_WAIT_MS: Final = 1_000
"""How long a quote that decides nothing waits for others, so that a burst of books is one transaction."""


class MarketDesk:
    """What the market and the clock make of a chain while trading runs.

    Args:
        chain: desk and journal.
        venue: the exchange.
        hours, books, health: what is known of the market.
        forecaster: of the bundle in force.
        tail: the last raw bars.
    """

    def __init__(
        self, chain: Chain, venue: Venue, hours: Hours, books: Books, health: Health, forecaster: Forecasting, tail: Tail,
        clock: Clock, settings: TradingSettings,
    ) -> None:  # fmt: skip
        self.chain, self.venue, self.hours, self.books, self.health = chain, venue, hours, books, health
        self.forecaster, self.tail, self.clock, self.settings = forecaster, tail, clock, settings
        self.running = False
        self.asked_until_t = 0
        self.beat_t = 0
        self.resumed_ms = 0
        self.quotes_due_ms = 0
        self._moved: set[int] = set()
        self._failed_t = 0

    def warm_up(self) -> None:
        """Compile, or load from the cache, what the first forecast and membership will need.

        On the last bars that are there: a forecast on bars that are still to be fetched would ask no model, and warm none.
        """
        interval_t, grid_t = self.hours.interval_t, self.forecaster.grid_h * HOUR_T
        newest = self.tail.panel(self.hours.next_open_t, self.forecaster.window_n)
        known = np.flatnonzero(np.isfinite(newest.close).any(axis=1))
        last_t = int(newest.open_t[known[-1]]) if len(known) else self.hours.next_open_t
        panel = self.tail.panel((last_t + interval_t) // grid_t * grid_t - interval_t, self.forecaster.window_n)
        self.forecaster.forecast(panel)
        self.forecaster.memberships(panel)

    # ---- what comes in -----------------------------------------------------------------------------------------

    def on_book(self, view: BookView, received_ns: int) -> None:
        """Keep a book; tell the core when it moved far; let the instrument's order meet it."""
        now_ms = self.clock.now_ms()
        s = view.instrument_id
        if not 0 <= s < len(self.hours.symbols) or not self.books.take(view, now_ms):
            if len(view.bids) and len(view.asks):
                self.health.trouble(now_ms)  # crossed, or nobody's: an empty side is no defect before the first trade
            return
        if not self.running:
            return
        quote = self.books.quote(s, now_ms, self.health.feed.skew_ms)
        if quote is None or not self.books.moved(quote, self.chain.past.quoted.get(s)):
            return
        if self.chain.desk.state[0]["positions"][s]["qty_e8"] > 0:
            self.chain.take(events.quote(self.chain.now_t(), s, *quote, moved=True), received_ns)
        else:
            self.quotes_due_ms = self.quotes_due_ms or now_ms + QUOTES_WAIT_MS
            self._moved.add(s)

    def journal_quotes(self, received_ns: int) -> None:
        """Journal, in one transaction, the quotes that moved and decide nothing: before anything but a book, or a second later."""
        moved, self._moved, self.quotes_due_ms = self._moved, set(), 0
        if not moved:
            return
        now_ms, at_t = self.clock.now_ms(), self.chain.now_t()
        found = [(s, self.books.quote(s, now_ms, self.health.feed.skew_ms)) for s in sorted(moved)]
        told = [events.quote(at_t, s, *quote) for s, quote in found if quote is not None]
        if told and self.running:
            self.chain.take_all(told, received_ns)

    def on_bar(self, bar: ClosedBar, received_ns: int) -> None:
        """Keep a bar for its hour; close the hour when it was the last one."""
        taken = self.hours.take(bar, self.clock.now_t())
        if taken is Taken.REFUSED:
            self.health.trouble(self.clock.now_ms())
        elif taken is Taken.DUPLICATE:
            self.health.duplicate()
        else:
            self.health.bar(bar.open_t + self.hours.interval_t)
            if taken is Taken.LATE:
                self.health.late()
                self.tail.put([bar])
            elif not self.hours.missing():
                self.close_hours(received_ns)

    def on_notice(self, notice: Notice) -> None:
        """Count it; a book that is doubted is known no longer."""
        self.health.notice(notice, self.clock.now_ms())
        if notice.kind is NoticeKind.LOST:
            self.books.forget()
        elif notice.kind in (NoticeKind.CHECKSUM, NoticeKind.STALE):
            self.books.forget(notice.instrument_id)

    def on_fetched(self, bars: list[ClosedBar], missing: tuple[int, ...], until_t: int, received_ns: int) -> None:
        """Take bars read by REST; what it did not have either stays absent. Twice without an answer is an answer for single ones."""
        for bar in bars:
            if bar.open_t >= self.hours.next_open_t:
                self.hours.take(bar, self.clock.now_t())
        answered = not missing or (self._failed_t == self.hours.close_t and not self.hours.empty())
        self._failed_t = 0 if answered else self.hours.close_t
        if answered:
            self.asked_until_t = max(self.asked_until_t, until_t)
        self.close_hours(received_ns)

    # ---- hours -------------------------------------------------------------------------------------------------

    def close_hours(self, received_ns: int) -> None:
        """Hand every hour that is whole, or was asked for in vain, to the core, oldest first."""
        while self.running and self.hours.close_t <= self.clock.now_t() + FUTURE_MAX_T:
            waits = self.hours.missing() and self.hours.close_t > self.asked_until_t
            if waits or self.clock.now_ms() < self.skew_wait_ms():
                return
            self._close_hour(received_ns)
            received_ns = time.perf_counter_ns()  # the next hour was waiting for this one

    def skew_wait_ms(self) -> int:
        """Return until when bars wait for the first measurement of the skew, without which nothing could be entered on them."""
        return 0 if self.health.skew_asked else self.resumed_ms + self.settings.bar_grace_ms

    def _close_hour(self, received_ns: int) -> None:
        open_t, close_t = self.hours.next_open_t, self.hours.close_t
        closed, panel = self.hours.pop()
        self.tail.put(closed)
        rows, _ = bars_to_core(panel, panel.symbols)
        chain = self.chain
        chain.take_answers(self.venue.show_bars(rows[0], open_t, close_t), received_ns)
        at_t = max(chain.now_t(), close_t)
        forecasts = self._forecasts(open_t, close_t, at_t)
        chain.take(events.bars(at_t, open_t, rows[0], *forecasts), received_ns, before=self._fresh_quotes(at_t))
        self.clusters_if_due(at_t, received_ns)
        self._check_market(received_ns)

    def _forecasts(self, open_t: int, close_t: int, at_t: int) -> tuple[Rows | None, bytes]:
        """Return the forecasts of an hour; none off the grid, and none on bars that are too old to act on."""
        newest = close_t + self.hours.interval_t > at_t
        fresh = at_t - close_t <= int(self.chain.desk.policy[0]["rules"]["bar_age_max_t"])
        if not newest or not fresh or close_t % (self.forecaster.grid_h * HOUR_T):
            return None, b""
        found = self.forecaster.forecast(self.tail.panel(open_t, self.forecaster.window_n))
        return (None, b"") if found is None else found

    def _fresh_quotes(self, at_t: int) -> list[Event]:
        """Return the present best prices where the last journaled ones are old, so that the spread gate sees the real ones."""
        now_ms, quoted = self.clock.now_ms(), self.chain.past.quoted
        fresh: list[Event] = []
        for s in range(len(self.hours.symbols)):
            quote = self.books.quote(s, now_ms, self.health.feed.skew_ms)
            if quote is not None and self.books.to_renew(quoted.get(s), at_t):
                fresh.append(events.quote(at_t, s, *quote))
        return fresh

    def clusters_if_due(self, at_t: int, received_ns: int) -> None:
        """Take in the membership that the grid asks for after the last bars: every `step_n` bars from the first ones on."""
        past, interval_t = self.chain.past, self.hours.interval_t
        if past.first_open_t < 0:
            return
        due_n = (past.last_open_t - past.first_open_t) // (interval_t * DEFAULT_CLUSTERS.step_n) + 1
        if past.clusters_n >= due_n:
            return
        panel = self.tail.panel(past.last_open_t, self.forecaster.window_n)
        self.chain.take(events.clusters(at_t, due_n, self.forecaster.memberships(panel)), received_ns)

    # ---- orders and time ---------------------------------------------------------------------------------------

    def show_books(self, received_ns: int) -> None:
        """Let every open order meet the book that it may take from now, in the order of the instruments.

        Between the end of an hour and its bars nothing is filled: that book belongs to the next hour, as in a backtest.
        """
        now_ms = self.clock.now_ms()
        if not self.running or self._bars_first(now_ms):
            return
        latency_t = int(self.chain.desk.policy[0]["rules"]["latency_t"])
        for known in sorted(self.venue.open.values(), key=lambda o: o.order.terms.instrument_id):
            view = self.books.usable(known.order.terms.instrument_id, now_ms, self.health.feed.skew_ms)
            now_t = self.chain.now_t()
            if view is not None and self.venue.meets(known, view, now_t, latency_t):
                self.chain.take_answers(self.venue.show_book(known, view, now_t), received_ns)

    def beat(self, received_ns: int) -> None:
        """Give a sign of life with the measured skew, ask about open questions, and throw the kill switch if the feed is bad."""
        at_t = self.chain.now_t()
        self.beat_t = at_t
        skew_ms = self.health.feed.skew_ms if self.health.skew_known else SKEW_UNKNOWN_MS
        self.chain.take(events.heartbeat(at_t, skew_ms), received_ns)
        for order in self.venue.unresolved():
            self.chain.take_answers(self.venue.query(order), received_ns)
        fault = self.health.fault(self.clock.now_ms(), self.venue.unknown_since_t())
        if fault is not None:
            self.kill(*fault, received_ns)

    def kill(self, cause: int, reason: str, received_ns: int) -> None:
        """Throw the kill switch, unless it is on already."""
        if self.chain.desk.state[0]["desk"]["kill_n"] == 0:
            note = Note(actor=SYSTEM, reason=reason)
            self.chain.take(events.control(self.chain.now_t(), SWITCH_KILL, cause, note), received_ns)

    def _check_market(self, received_ns: int) -> None:
        now_ms = self.clock.now_ms()
        quotes = [self.books.quote(s, now_ms, self.health.feed.skew_ms) for s in range(len(self.hours.symbols))]
        fault = self.health.market_fault([quote.spread_ppm for quote in quotes if quote is not None])
        if fault is not None:
            self.kill(*fault, received_ns)

    # ---- when what is due ---------------------------------------------------------------------------------------

    def fetch_due_ms(self) -> int:
        """Return when bars that have not come are asked for by REST."""
        return self.hours.close_t * 1_000 + self.settings.bar_grace_ms

    def beat_due_ms(self, now_ms: int) -> int:
        """Return when the next heartbeat is due; it lets the bars of the hour go first, for a while."""
        due_ms = (self.beat_t + self.settings.heartbeat_t) * 1_000
        return self.after_bars_ms(max(due_ms, now_ms), due_ms)

    def after_bars_ms(self, at_ms: int, due_ms: int) -> int:
        """Return when something due at a time may be done: not while the bars of an hour are awaited."""
        return self._patience_ms() if self._bars_first(at_ms) else due_ms

    def _patience_ms(self) -> int:
        """Return until when other events wait for the bars of an hour that is over."""
        return self.hours.close_t * 1_000 + 2 * self.settings.bar_grace_ms + 1_000

    def _bars_first(self, at_ms: int) -> bool:
        """Return whether an hour is over at a time, and its bars are still awaited."""
        return self.hours.close_t * 1_000 <= at_ms < self._patience_ms()
