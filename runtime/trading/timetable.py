"""What is due when: heartbeats, bars that have not come, the clock's skew, orders that may meet a book, and the daily housekeeping."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Final

from runtime.core.codes import KILL_INTERNAL
from runtime.market import MarketData
from runtime.trading.inbox import Fetched, Inbox, Measured, Reread
from runtime.trading.market import MarketDesk
from runtime.trading.needs import Hooks
from runtime.trading.readers import fetch, measure, read_again
from runtime.trading.recovery import store_snapshot
from runtime.trading.session import Session

DAY_T: Final = 86_400
PAUSE_MS: Final = 1_000
"""Between two readings of the same bars, at least."""
Spawn = Callable[[Coroutine[None, None, None]], None]


class Timetable:
    """Does what is due; what waits for the venue becomes a task."""

    def __init__(
        self, desk: MarketDesk, session: Session, market: MarketData, inbox: Inbox, spawn: Spawn, hooks: Hooks
    ) -> None:
        self._desk, self._session, self._market, self._inbox, self._spawn, self._hooks = (
            desk,
            session,
            market,
            inbox,
            spawn,
            hooks,
        )
        self._clock, self._settings = desk.clock, desk.settings
        self.opened = False
        self._fetching = self._probing = self._reading = False
        self._fetch_from_ms = self._probe_ms = 0
        self._housekeeping_t = self._next_housekeeping_t()

    @property
    def idle(self) -> bool:
        """Whether nothing is being read."""
        return not (self._fetching or self._probing or self._reading)

    def open(self) -> None:
        """Take notice that the feed is up: it brings the bars that were missed by itself, so they are not asked for at once."""
        self.opened = True
        if not self._session.needs_history:
            self._fetch_from_ms = self._clock.now_ms() + self._settings.bar_grace_ms

    def due_ms(self) -> int:
        """Return when something is due next."""
        now_ms, desk = self._clock.now_ms(), self._desk
        due = [self._housekeeping_ms(now_ms)]
        if self.opened and not self._probing:
            due.append(self._probe_ms)
        if self.opened and not self._fetching and self._session.needs_history:
            due.append(self._fetch_from_ms)
        if desk.running:
            due.append(desk.beat_due_ms(now_ms))
            if desk.quotes_due_ms:
                due.append(desk.quotes_due_ms)
            if desk.skew_wait_ms() > now_ms:
                due.append(desk.skew_wait_ms())
            meets_ms = desk.venue.due_t(int(desk.chain.desk.policy[0]["rules"]["latency_t"])) * 1_000
            if meets_ms > now_ms:
                due.append(meets_ms)
            if self.opened and not self._fetching:
                due.append(max(desk.fetch_due_ms(), self._fetch_from_ms))
        return min(due)

    def on_tick(self, received_ns: int) -> None:
        """Do everything that is due."""
        now_ms, desk = self._clock.now_ms(), self._desk
        if self.opened and not self._probing and now_ms >= self._probe_ms:
            self._probing = True
            self._spawn(measure(self._market, self._inbox))
        if self.opened and not self._fetching and now_ms >= self._fetch_from_ms:
            if self._session.needs_history:
                self._fetch(max(self._settings.warm_up_n, self._settings.catch_up_n))
            elif desk.running and now_ms >= desk.fetch_due_ms():
                self._fetch(0)
        if desk.running and now_ms >= desk.beat_due_ms(now_ms):
            desk.beat(received_ns)
        desk.close_hours(received_ns)  # bars may have waited for the skew
        if now_ms >= self._housekeeping_ms(now_ms):
            self._keep_house(received_ns)

    # ---- bars that have not come -------------------------------------------------------------------------------

    def _fetch(self, before_n: int) -> None:
        """Read the bars of every hour that has closed and is not whole.

        A new account reads all of the `before_n` hours before: they fill the tail up to where the bundle's own bars end.
        """
        hours = self._desk.hours
        until_t = max(self._clock.now_t() // hours.interval_t * hours.interval_t, hours.close_t)
        since_t = hours.next_open_t - before_n * hours.interval_t
        missing = tuple(range(len(hours.symbols))) if before_n else hours.missing(until_t)
        self._fetching = True
        self._spawn(fetch(self._market, missing, since_t, until_t, self._inbox))

    def on_fetched(self, fetched: Fetched, received_ns: int) -> None:
        """Hand on what was read."""
        self._fetching = False
        self._fetch_from_ms = self._clock.now_ms() + max(self._settings.bar_grace_ms, PAUSE_MS)
        if self._session.needs_history:
            if fetched.missing:
                self._session.wait_for(len(fetched.missing))
                return
            self._session.begin_new(fetched.bars, received_ns)
            received_ns = time.perf_counter_ns()
        self._desk.on_fetched(fetched.bars, fetched.missing, fetched.until_t, received_ns)

    # ---- the clock ---------------------------------------------------------------------------------------------

    def on_measured(self, measured: Measured, received_ns: int) -> None:
        """Take the skew in; the first one is told to the core at once, since nothing is entered without."""
        self._probing = False
        self._probe_ms = self._clock.now_ms() + self._settings.skew_probe_t * 1_000
        health, first = self._desk.health, not self._desk.health.skew_known
        health.skew(measured.skew_ms)
        if first and health.skew_known and self._desk.running:
            self._desk.beat(received_ns)
        self._desk.close_hours(received_ns)

    # ---- once a day --------------------------------------------------------------------------------------------

    def _next_housekeeping_t(self) -> int:
        now_t, at_t = self._clock.now_t(), self._settings.housekeeping_t
        return (now_t - at_t) // DAY_T * DAY_T + DAY_T + at_t

    def _housekeeping_ms(self, now_ms: int) -> int:
        due_ms = self._housekeeping_t * 1_000
        return self._desk.after_bars_ms(max(due_ms, now_ms), due_ms) if self._desk.running else due_ms

    def _keep_house(self, received_ns: int) -> None:
        """Compare the exchange with the desk, forget old bars, rotate logs, and read the last day's bars again."""
        self._housekeeping_t = self._next_housekeeping_t()
        desk, hours = self._desk, self._desk.hours
        if desk.running:
            mismatch = desk.venue.mismatch(desk.chain.desk)
            if mismatch:
                desk.kill(KILL_INTERNAL, f"reconciliation: {mismatch}", received_ns)
        kept_n = desk.forecaster.window_n + self._settings.tail_extra_n
        desk.tail.prune(hours.next_open_t - kept_n * hours.interval_t)
        self._hooks.rotate_logs()
        if self._hooks.snapshots is not None:
            store_snapshot(self._hooks.snapshots, desk.chain.desk)
        if self.opened and not self._reading:
            self._reading = True
            everyone = tuple(range(len(hours.symbols)))
            self._spawn(read_again(self._market, everyone, hours.next_open_t - DAY_T, hours.next_open_t, self._inbox))

    def on_reread(self, reread: Reread) -> None:
        """Count the bars that the venue has changed since the core saw them; the tail keeps both values."""
        self._reading = False
        now_t = self._clock.now_t()
        changed = self._desk.tail.put([bar for bar in reread.bars if self._desk.hours.believable(bar, now_t)])
        self._desk.health.corrected_n = len(changed)
        self._hooks.log("bars read again", {"bars_n": len(reread.bars), "changed_n": len(changed)})
