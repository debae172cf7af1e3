"""Making the view: what others may know of the loop, after each thing it did."""

from __future__ import annotations

import dataclasses

from runtime.core.codes import MODE_NAMES
from runtime.genesis import Genesis
from runtime.trading.books import Books
from runtime.trading.commit import Chain
from runtime.trading.health import Health
from runtime.trading.needs import Hooks, Rows, Start
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

    def look(self, now_ms: int) -> RuntimeView:
        """Return how things stand."""
        desk, past, session = self._chain.desk, self._chain.past, self._session
        if desk.policy is not self._policy:
            self._policy, self._policy_row = desk.policy, _kept(desk.policy)
        feed = self._feed(now_ms)
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
            reasons=(*session.reasons, *self._reasons(feed)),
            simulated=desk.genesis.simulated or self._start.session.simulated,
            clock=self._start.session.clock,
            paper_days=self._hooks.paper_days(),
        )

    def _feed(self, now_ms: int) -> FeedHealth:
        feed = self._health.feed
        stale = self._books.unknown(len(self._chain.desk.genesis.symbols), now_ms, feed.skew_ms)
        return dataclasses.replace(feed, stale_instruments=stale)

    def _reasons(self, feed: FeedHealth) -> tuple[str, ...]:
        """Return why nothing is entered now, though trading runs."""
        row, rules = self._chain.desk.state[0]["desk"], self._chain.desk.policy[0]["rules"]
        found = []
        if row["kill_n"] != 0:
            found.append(f"the kill switch is on (cause {int(row['kill_n'])})")
        if row["halt_n"] != 0:
            found.append("entries are halted")
        if not feed.connected:
            found.append(": ".join(filter(None, ("the feed is not connected", self._health.lost_text))))
        if not self._health.skew_known:
            found.append("the clock's skew is not measured yet")
        elif abs(feed.skew_ms) > int(rules["skew_max_ms"]):
            found.append(f"the clock is {feed.skew_ms} ms from the venue's")
        if feed.venue_mode != "online":
            found.append(f"the venue is in mode {feed.venue_mode}")
        return tuple(found)


__all__ = ["Viewer", "run_id_of"]
