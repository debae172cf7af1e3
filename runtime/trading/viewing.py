"""Making the view: what others may know of the loop, after each thing it did."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from runtime.core.codes import MODE_NAMES, TIER_NAMES
from runtime.genesis import Genesis
from runtime.trading.books import Books
from runtime.trading.commit import Chain
from runtime.trading.health import Health
from runtime.trading.hours import FUTURE_MAX_T
from runtime.trading.needs import Hooks, Rows, Start
from runtime.trading.saying import EntriesLog
from runtime.trading.session import Session
from runtime.trading.view import FeedHealth, RuntimeView


def run_id_of(genesis: Genesis) -> str:
    """Return the name of the run's folder."""
    return f"{MODE_NAMES[genesis.mode_id]}-{genesis.hash.hex()[:12]}"


def _kept(rows: Rows) -> Rows:
    copy = rows.copy()
    copy.flags.writeable = False
    return copy


class Viewer:
    """Makes one immutable view after another; what seldom changes is copied only when it did."""

    def __init__(
        self, chain: Chain, session: Session, books: Books, health: Health, start: Start, hooks: Hooks, now_t: int
    ) -> None:
        self._chain, self._session, self._books, self._health = chain, session, books, health
        self._start, self._hooks, self._started_t = start, hooks, now_t
        self._policy = chain.desk.policy
        self._policy_row = _kept(self._policy)
        self._run_id = run_id_of(chain.desk.genesis)
        self._entries_log = EntriesLog(hooks)

    def look(self, now_ms: int) -> RuntimeView:
        """Return how things stand."""
        desk, past, session = self._chain.desk, self._chain.past, self._session
        if desk.policy is not self._policy:
            self._policy, self._policy_row = desk.policy, _kept(desk.policy)
        feed = self._feed(now_ms)
        reasons = self._reasons(feed, now_ms // 1_000)
        if session.state == "running":
            self._entries_log.take(reasons)
        return RuntimeView(
            state=session.state,
            mode_id=desk.genesis.mode_id,
            run_id=self._run_id,
            genesis=desk.genesis,
            head=desk.head,
            now_t=desk.now_t,
            state_row=_kept(desk.state),
            policy_row=self._policy_row,
            profile=desk.profile,
            profile_version_n=desk.profile.version,
            bundle=session.bundle,
            symbols=desk.genesis.symbols,
            forecasts=None if past.forecasts is None else _kept(past.forecasts),
            forecast_t=past.forecast_t,
            feature_digest=past.feature_digest,
            feed=feed,
            latency=self._chain.latency(),
            started_t=self._started_t,
            reasons=(*session.reasons, *reasons.values()),
            simulated=desk.genesis.simulated or self._start.session.simulated,
            clock=self._start.session.clock,
            paper_days=self._hooks.paper_days(),
        )

    def _feed(self, now_ms: int) -> FeedHealth:
        feed = self._health.feed
        stale = self._books.unknown(len(self._chain.desk.genesis.symbols), now_ms, feed.skew_ms)
        return dataclasses.replace(feed, stale_instruments=stale)

    def _reasons(self, feed: FeedHealth, clock_t: int) -> dict[str, str]:
        """Return why nothing is entered now, though trading runs: words by what they are about."""
        row, rules = self._chain.desk.state[0]["desk"], self._chain.desk.policy[0]["rules"]
        found = {}
        if row["kill_n"] != 0:
            found["kill"] = f"the kill switch is on (cause {int(row['kill_n'])})"
        if row["halt_n"] != 0:
            found["halt"] = "entries are halted"
        if self._chain.desk.policy[0]["tiers"][row["tier_id"]]["allow_entry_n"] == 0:
            found["tier"] = f"the drawdown tier {TIER_NAMES[int(row['tier_id'])]} allows no entries"
        if row["recovering_n"] >= rules["severe_max_n"]:
            found["severe"] = f"{int(row['recovering_n'])} severe losses are being recovered from"
        if not feed.connected:
            found["feed"] = ": ".join(filter(None, ("the feed is not connected", self._health.lost_text)))
        if not self._health.skew_known:
            found["skew"] = "the clock's skew is not measured yet"
        elif abs(feed.skew_ms) > int(rules["skew_max_ms"]):
            found["skew"] = f"the clock is {feed.skew_ms} ms from the venue's"
        if feed.venue_mode != "online":
            found["mode"] = f"the venue is in mode {feed.venue_mode}"
        return found | self._unusable(feed, clock_t)

    def _unusable(self, feed: FeedHealth, clock_t: int) -> dict[str, str]:
        """Return which data cannot be used: the clock's time, books, bars."""
        desk, rules = self._chain.desk, self._chain.desk.policy[0]["rules"]
        found = {}
        behind_t = desk.now_t - clock_t
        if behind_t > FUTURE_MAX_T:
            whose = "venue time" if self._start.session.clock == "venue" else "system time"
            found["clock"] = (
                f"the clock ({whose}) is behind the journal by {behind_t} s: its last block is at {_iso(desk.now_t)}"
            )
        if len(feed.stale_instruments) == len(desk.genesis.symbols):
            found["books"] = f"no usable book of {len(desk.genesis.symbols)} instruments"
        bar_t = int(desk.state[0]["positions"]["mark_t"].max())
        if bar_t > 0 and clock_t - bar_t > desk.genesis.interval_t + int(rules["bar_age_max_t"]):
            found["bars"] = f"no bar since {_iso(bar_t)}"
        return found


def _iso(at_t: int) -> str:
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


__all__ = ["Viewer", "run_id_of"]
