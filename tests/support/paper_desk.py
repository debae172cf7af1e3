"""A paper run in small: a desk and the simulated venue over a made-up market, with differences from a backtest planted on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from runtime import event as ev
from runtime.adapters.journal_memory import MemoryJournal
from runtime.adapters.simulator import SimulatedExchange
from runtime.approval import ApprovedOrder
from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.core.records import BAR
from runtime.desk import Desk
from runtime.divergence.period import ForecastsAt, Rows
from runtime.engine import RunInputs, backtest_events
from runtime.event import Event, Note, SessionNote
from runtime.ports import VenueEvent
from tests.support.paper import clerk

HEX = "cd" * 32


@dataclass
class Plant:
    """What makes a paper run differ from the backtest of its period.

    Attributes:
        seen: the bars of hour `i` as the daemon saw them.
        fill: what the venue's fill becomes.
        slow: hours whose bars give an instrument no fill: (hour, instrument).
        late_t: seconds that hour `i`'s bars come too late.
        after: events after hour `i`'s bars.
        down: first and last hour that ended while the daemon was down; caught up without forecasts after the last.
        lost: hours that are not caught up.
        asleep: nothing was restarted: the machine slept.
    """

    seen: Callable[[int, Rows], Rows] = lambda _i, rows: rows
    fill: Callable[[VenueEvent], VenueEvent] = lambda fill: fill
    slow: set[tuple[int, int]] = field(default_factory=set)
    late_t: dict[int, int] = field(default_factory=dict)
    after: dict[int, Callable[[int], list[Event]]] = field(default_factory=dict)
    down: tuple[int, int] | None = None
    lost: bool = False
    asleep: bool = False
    acknowledges: bool = True


def session(at_t: int, cause: str, *, started: bool) -> Event:
    """Return the start or stop of a process."""
    body = SessionNote(
        version="1", core_digest=HEX, clock="venue", venue="loopback", simulated=True, settings_digest=HEX,
        cause=cause,
    )  # fmt: skip
    return ev.session(at_t, Note(actor="daemon", session=body), started=started)


class PaperDesk:
    """Journals a paper run over the market of some inputs."""

    def __init__(self, inputs: RunInputs, plant: Plant | None = None) -> None:
        self.inputs, self.plant = inputs, plant or Plant()
        genesis = inputs.genesis
        self.desk = Desk(genesis)
        self.journal = MemoryJournal(genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
        self.venue = SimulatedExchange(self.desk.policy, acknowledges=self.plant.acknowledges)
        self.sent: dict[int, ApprovedOrder] = {}
        self.memberships_n = 0

    def run(self) -> list[Block]:
        """Return the journal's blocks."""
        hour = 0
        down = range(self.plant.down[0], self.plant.down[1] + 1) if self.plant.down else range(0)
        self._take(session(int(self.inputs.close_t[0]) - self.inputs.genesis.interval_t, "start", started=True))
        for row in backtest_events(self.inputs):
            at_t = int(row["at_t"])
            if row["kind_id"] == c.EV_DEPOSIT:
                self._take(ev.cash(at_t, c.EV_DEPOSIT, int(row["quote_id"]), int(row["amount_e8"]), clerk("genesis")))
            elif row["kind_id"] == c.EV_CLUSTERS:
                if hour - 1 in down:
                    continue
                self.memberships_n += 1
                rows = self.inputs.clusters.rows[row["cluster_n"]]
                self._take(ev.clusters(max(at_t, self.desk.now_t), self.memberships_n, rows))
            else:
                if hour not in down:
                    self._hour(hour, row)
                elif hour == down[-1]:
                    self._restart(down)
                hour += 1
        return list(self.journal.read())

    def _restart(self, down: range) -> None:
        """Come back a minute after the last missed hour (from sleep: too late to decide on it), and take in what was missed."""
        interval_t = self.inputs.genesis.interval_t
        now_t = int(self.inputs.close_t[down[-1]]) + (2_400 if self.plant.asleep else 60)
        if not self.plant.asleep:
            self._take(session(now_t, "crash-recovery", started=True))
        if self.plant.lost:
            return
        for i in down:
            close_t = int(self.inputs.close_t[i])
            self._fills(i, close_t - interval_t, close_t, now_t)
            self._take(ev.bars(now_t, close_t - interval_t, self.plant.seen(i, self.inputs.bars[i])))

    def _hour(self, i: int, row: np.void) -> None:
        close_t, open_t = int(row["at_t"]), int(row["value_n"])
        seen = self.plant.seen(i, self.inputs.bars[i])
        self._fills(i, open_t, close_t, 0)
        n = int(row["forecast_n"])
        made = (self.inputs.forecasts.rows[n], self.inputs.forecasts.feature_digests[n]) if n >= 0 else (None, b"")
        self._take(ev.bars(max(close_t + self.plant.late_t.get(i, 0), self.desk.now_t), open_t, seen, *made))
        for event in self.plant.after.get(i, lambda _t: [])(self.desk.now_t):
            self._take(event)

    def _fills(self, i: int, open_t: int, close_t: int, not_before_t: int) -> None:
        """Let the venue fill from an hour's bars as soon as they opened, as the modelled venue does."""
        shown = self.plant.seen(i, self.inputs.bars[i]).copy()
        for s in range(len(shown)):
            if (i, s) in self.plant.slow:
                shown[s]["volume_e4"] = 0
        self.venue.on_bars(shown, open_t, close_t)
        fills = [self.plant.fill(fill) for fill in self.venue.receive()]
        for fill in sorted(fills, key=lambda f: f.at_t):
            at_t = max(fill.at_t, not_before_t, self.desk.now_t)
            self._take(ev.venue(fill._replace(at_t=at_t)))

    def _take(self, event: Event) -> None:
        block = self.desk.apply(event)
        self.journal.append([block])
        approved = self.desk.approved(self.journal)  # before an answer makes the next block
        ended = decode_payload(block.payload).get("order_request", np.zeros(0, BAR))
        for row in ended:
            if row["status_id"] in (c.O_CANCELLING, c.O_CANCELLED, c.O_EXPIRED, c.O_DUST):
                answers = self.venue.cancel(self.sent[int(row["order_id"])])
                self._say(answers if row["status_id"] == c.O_CANCELLING else ())
        for order in approved:
            self.sent[order.terms.order_id] = order
            self._say(self.venue.submit(order))

    def _say(self, answers: tuple[VenueEvent, ...]) -> None:
        for answer in answers:
            self._take(ev.venue(answer._replace(at_t=max(answer.at_t, self.desk.now_t))))


class Known:
    """A record of the market as it was: its bars, and the forecasts that the bundle makes of them."""

    window_n = 24

    def __init__(self, inputs: RunInputs) -> None:
        self.inputs = inputs
        self.asked: list[int] = []

    def bars(self, open_t: int) -> Rows | None:
        """Return the bars of an hour."""
        n = int(np.searchsorted(self.inputs.close_t, open_t + self.inputs.genesis.interval_t))
        found = n < len(self.inputs.close_t) and int(self.inputs.close_t[n]) == open_t + self.inputs.genesis.interval_t
        return self.inputs.bars[n] if found else None

    def makes(self, open_t: int) -> bool:
        """Return whether the hour is one of the market's."""
        return self.bars(open_t) is not None

    def forecasts(self, open_t: int) -> ForecastsAt | None:
        """Return the forecasts of an hour."""
        self.asked.append(open_t)
        at_t = open_t + self.inputs.genesis.interval_t
        n = int(np.searchsorted(self.inputs.forecasts.at_t, at_t))
        if n == len(self.inputs.forecasts.at_t) or int(self.inputs.forecasts.at_t[n]) != at_t:
            return None
        return self.inputs.forecasts.rows[n], self.inputs.forecasts.feature_digests[n]
