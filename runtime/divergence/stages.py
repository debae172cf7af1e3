"""From a pure backtest to the journal in seven steps: each takes one more cause from the journal, the last two are the journal.

    backtest    bars of record at their closing time, fills of the modelled venue, no downtime, no operator
    + data      bars, quotes and forecasts as they were seen live
    + restart   the hours that ended while the daemon was down, as it took them in
    + operator  switches, profiles, bundles and corrections
    + latency   the times of decisions, of first fills and of expiries; the clock's skew
    + fill      quantities and prices of the fills, and what the venue answered
    + fee       maker or taker, and the fee schedules of later profiles: this run is the journal
    + mark      the same run, its positions marked at the last quotes of an hour that is not over

What a cause is worth is how much the portfolio's value at the end changes with its step, so the causes add up by construction.
Up to `fee` positions are marked at the close of their last bar, as in a backtest, which has no other price.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.core import codes as c
from runtime.divergence.course import Course, Delay, Key, Venue
from runtime.divergence.period import Journaled, Period, Record, unanswered
from runtime.event import Event, bars
from runtime.verify import governed_by

Rows = npt.NDArray[np.void]


class Stage(IntEnum):
    """How far a run is on its way from the backtest to the journal."""

    BACKTEST = 0
    DATA = 1
    RESTART = 2
    OPERATOR = 3
    LATENCY = 4
    FILL = 5
    FEE = 6
    MARK = 7


CAUSES: Final = {stage: stage.name.lower() for stage in Stage if stage}

_SINCE: Final = {
    c.EV_BARS: Stage.BACKTEST, c.EV_CLUSTERS: Stage.BACKTEST, c.EV_RATE: Stage.BACKTEST, c.EV_DEPOSIT: Stage.BACKTEST,
    c.EV_WITHDRAWAL: Stage.BACKTEST, c.EV_QUOTE: Stage.DATA, c.EV_SESSION: Stage.RESTART, c.EV_CONTROL: Stage.OPERATOR,
    c.EV_POLICY: Stage.OPERATOR, c.EV_BUNDLE: Stage.OPERATOR, c.EV_CORRECTION: Stage.OPERATOR,
    c.EV_RECONCILIATION: Stage.OPERATOR, c.EV_HEARTBEAT: Stage.LATENCY, c.EV_FILL: Stage.FILL, c.EV_ORDER: Stage.FILL,
}  # fmt: skip
"""With which step a kind of event comes in. Cash that is paid in or out is no difference: it is in every run."""
_MAY_NOT_FIT: Final = (c.EV_FILL, c.EV_ORDER, c.EV_WITHDRAWAL, c.EV_CORRECTION, c.EV_RECONCILIATION)
"""Kinds of event that another course of things can make impossible: they are left out where they are."""


class Item(NamedTuple):
    """An event of a run, its block in the journal (0: none), and when it takes effect."""

    seq_n: int
    event: Event
    at_t: int


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the period whose bars the journal does not have as a backtest would.

    Attributes:
        late: opening times of bars taken in after a restart.
        overdue: opening times of bars taken in too late to decide on although the daemon was not restarted: it slept, or the
            venue was silent.
        missed: opening times of bars never taken in: the daemon was down.
        absent: opening times of bars never taken in although the daemon was up.
        changed: opening times of bars that the venue corrected, or that came too late.
        unknown: of these, opening times of bars that nothing has on record.
        unmade: opening times after which a forecast is missing because the bundle is not at hand.
    """

    late: tuple[int, ...]
    overdue: tuple[int, ...]
    missed: tuple[int, ...]
    absent: tuple[int, ...]
    changed: tuple[int, ...]
    unknown: tuple[int, ...]
    unmade: tuple[int, ...]


class Backdrop:
    """What the runs share: the period, its bars on record, and what became of the journal's orders.

    Args:
        period: of the journal.
        record: bars and forecasts as they are on record by now.
    """

    def __init__(self, period: Period, record: Record) -> None:
        self.period, self.record = period, record
        self.interval_t = period.genesis.interval_t
        self.record_bars = {t: self._merged(t, seen) for t, seen in period.bars.items()}
        self.hours = self._survey()
        for open_t in (*self.hours.missed, *self.hours.absent):
            found = record.bars(open_t)
            if found is not None:
                self.record_bars[open_t] = found
        self.paper = _verbatim(period)
        self.delays = self._delays()
        self.last_seq_n = self._last_words()

    def _merged(self, open_t: int, seen: Rows) -> Rows:
        found = self.record.bars(open_t)
        return seen if found is None else found

    def _survey(self) -> Hours:
        period, interval_t = self.period, self.interval_t
        taken = {int(e.event.record[0]["value_n"]): e for e in period.events if e.event.kind_id == c.EV_BARS}
        late = [t for t, e in taken.items() if period.restarted(t + interval_t, e.seq_n)]
        overdue = [t for t, e in taken.items() if t not in late and self._is_overdue(t, e.event)]
        first = period.since_t if taken and period.since_t else min(taken, default=0) + interval_t
        grid = range(first - first % interval_t + (interval_t if first % interval_t else 0), period.end_t + 1, interval_t)
        holes = [close_t - interval_t for close_t in grid if close_t - interval_t not in period.bars] if taken else []
        missed = [t for t in holes if period.is_down(t + interval_t) is not None]
        absent = [t for t in holes if period.is_down(t + interval_t) is None]
        changed = [t for t in sorted(taken) if not np.array_equal(self.record_bars[t], period.bars[t])]
        unknown = [t for t in holes if self.record.bars(t) is None]
        # without the bundle a forecast that the daemon was too late to make cannot be made; nor one on corrected bars
        wanted = {*late, *overdue, *(set(holes) - set(unknown)), *changed}
        unmade = [t for t in wanted if not self.record.makes(t)]
        return Hours(*(tuple(sorted(hours)) for hours in (late, overdue, missed, absent, changed, unknown, unmade)))

    def _is_overdue(self, open_t: int, event: Event) -> bool:
        """Return whether an hour was taken in so late that the daemon made no forecast on it: stale, or not the newest one."""
        close_t = open_t + self.interval_t
        age_t = min(int(self.period.policy[0]["rules"]["bar_age_max_t"]), self.interval_t - 1)
        return event.forecasts is None and close_t > self.period.started_t and event.at_t - close_t > age_t

    def _delays(self) -> dict[Key, Delay]:
        """Return the first fill of each order, with the bar under way: a fill without a book comes when its bar has closed."""
        found: dict[Key, Delay] = {}
        next_t = 0
        for _, event in reversed(self.period.events):
            if event.kind_id == c.EV_BARS:
                next_t = int(event.record[0]["value_n"])
            elif event.kind_id == c.EV_FILL:
                key = self.paper.key_of[int(event.record[0]["order_id"])]
                found[key] = Delay(event.at_t, next_t or event.at_t - event.at_t % self.interval_t)
        return found

    def _last_words(self) -> dict[Key, int]:
        """Return the last block of the journal that is about each order."""
        found: dict[Key, int] = {}
        for seq_n, event in self.period.events:
            if event.kind_id in {c.EV_FILL, c.EV_ORDER}:
                key = self.paper.key_of.get(int(event.record[0]["order_id"]))
                if key is not None:
                    found[key] = seq_n
        return found

    # ---- the events of a run -----------------------------------------------------------------------------------

    def items(self, stage: Stage) -> list[Item]:
        """Return the events of a run in order, with their times."""
        items = [item for journaled in self.period.events for item in self._item(journaled, stage)]
        times = [item.at_t for item in items]
        for i in range(len(times) - 1, 0, -1):  # what the journal has before an hour's bars stays before them
            times[i - 1] = min(times[i - 1], times[i])
        items = [item._replace(at_t=at_t) for item, at_t in zip(items, times, strict=True)]
        healed = self._healed(stage)
        if not healed:
            return items
        order = [(item.at_t, 0, n) for n, item in enumerate(items)] + [(item.at_t, 1, n) for n, item in enumerate(healed)]
        return [(healed if late else items)[n] for _, late, n in sorted(order)]

    def _item(self, journaled: Journaled, stage: Stage) -> list[Item]:
        seq_n, event = journaled
        if stage < _SINCE[event.kind_id]:
            return []
        if event.kind_id != c.EV_BARS:
            return [Item(seq_n, event, event.at_t)]
        open_t = int(event.record[0]["value_n"])
        late = open_t in self.hours.late or open_t in self.hours.overdue
        if stage < (Stage.RESTART if open_t in self.hours.late else Stage.DATA if late else Stage.BACKTEST):
            return []
        if stage < Stage.DATA and not late:
            event = self._on_record(open_t, event)
        if stage < Stage.OPERATOR and not late:
            event = self._without_switch(seq_n, open_t, event)
        timely = stage < Stage.LATENCY and not late
        return [Item(seq_n, event, min(open_t + self.interval_t, event.at_t) if timely else event.at_t)]

    def _on_record(self, open_t: int, seen: Event) -> Event:
        """Return an hour's event as it would be on the bars of record."""
        rows = self.record_bars[open_t]
        span_t = self.record.window_n * self.interval_t
        touched = any(open_t - span_t < t <= open_t for t in (*self.hours.changed, *self.hours.absent))
        event = bars(seen.at_t, open_t, rows, seen.forecasts, seen.feature_digest)
        return self._made_again(open_t, event) if touched else event

    def _made_again(self, open_t: int, event: Event) -> Event:
        """Return an hour's event with the forecasts that the bundle makes on the bars of record, where it can."""
        if not self.record.makes(open_t):
            return event
        forecasts, feature_digest = self.record.forecasts(open_t) or (None, b"")
        return bars(
            event.at_t, open_t, event.bars if event.bars is not None else self.record_bars[open_t], forecasts, feature_digest
        )

    def _without_switch(self, seq_n: int, open_t: int, event: Event) -> Event:
        """Return an hour's event with the forecasts of the period's first bundle, if an operator activated another since."""
        return self._made_again(open_t, event) if 0 < self.period.switched_n < seq_n else event

    def _healed(self, stage: Stage) -> list[Item]:
        """Return the hours that a daemon which was never down would have seen."""
        opened = () if stage >= Stage.RESTART else (*self.hours.late, *self.hours.missed)
        if stage == Stage.BACKTEST:
            opened = (*opened, *self.hours.absent, *self.hours.overdue)
        known = self._shown(stage)
        items = []
        for open_t in sorted(opened):
            if open_t in known:
                made = self.record.forecasts(open_t)
                close_t = open_t + self.interval_t
                event = bars(close_t, open_t, known[open_t], *(made or (None, b"")))
                items.append(Item(0, event, close_t))
        return items

    def _shown(self, stage: Stage) -> dict[int, Rows]:
        """Return the bars that there are in a run, by opening time."""
        if stage == Stage.BACKTEST:
            return self.record_bars
        missed = {} if stage >= Stage.RESTART else {t: self.record_bars[t] for t in self.hours.missed if t in self.record_bars}
        return {**self.period.bars, **missed}

    # ---- a run -------------------------------------------------------------------------------------------------

    def run(self, stage: Stage) -> Course:
        """Return a run of the period as far as a stage.

        Raises:
            ValueError, OverflowError: the core refuses what no other course of things can make impossible.
        """
        if stage >= Stage.FEE:
            return self.paper
        period = self.period
        state = period.state if stage >= Stage.FILL else unanswered(period.state)
        venue = Venue(
            self._shown(stage),
            self.interval_t,
            delays=self.delays if stage >= Stage.LATENCY else {},
            down=tuple((d.from_t, d.to_t) for d in period.down) if stage >= Stage.RESTART else (),
            excepted=frozenset(self.paper.results) if stage >= Stage.FILL else frozenset(),
            since_t=period.since_t,
        )
        course = Course(period.genesis, state, period.policy, venue, keep=stage == Stage.BACKTEST)
        for item in self.items(stage):
            self._apply(course, item)
        course.let_fill(period.end_t + 1)
        return course

    def _apply(self, course: Course, item: Item) -> None:
        event = item.event
        if event.kind_id in {c.EV_FILL, c.EV_ORDER}:
            found = self._translated(course, event)
            if found is None:
                return
            event = found
        profile = None
        if event.kind_id == c.EV_POLICY:
            profile = governed_by(event).model_copy(update={"fees": self.period.fees})
        try:
            course.apply(event, item.seq_n, item.at_t, profile)
        except (ValueError, OverflowError):
            if event.kind_id not in _MAY_NOT_FIT:
                raise
            course.left_out_n += 1
        for key in course.cancelling():
            if item.seq_n >= self.last_seq_n.get(key, 0) and key in self.last_seq_n:
                course.answer(key, c.O_CANCELLED)

    def _translated(self, course: Course, event: Event) -> Event | None:
        """Return what the venue did to an order of the journal, done to the same order of this run; `None`: it has no such order."""
        key = self.paper.key_of.get(int(event.record[0]["order_id"]))
        order_id = course.open_order(key) if key is not None else 0
        if key is None or not order_id:
            return None
        record = event.record.copy()
        record["order_id"] = order_id
        if event.kind_id == c.EV_FILL:
            self._fit(course, key, record[0])
        return Event(record)

    def _fit(self, course: Course, key: Key, fill: np.void) -> None:
        o = course.state[0]["orders"][key.instrument_id]
        rules = course.policy[0]["rules"]
        qty, left = int(fill["qty_e8"]), int(o["left_e8"])
        theirs = self.paper.results[key]
        mine = course.results[key]
        # the fill that completed the journal's order completes this one, whose size may differ by a little
        fill["qty_e8"] = left if mine.qty_e8 + qty >= theirs.wanted_e8 else min(qty, left)
        fill["liquidity_id"] = c.MAKER if key.side_id == c.BUY and rules["maker_entry_n"] != 0 else c.TAKER
        if key.side_id == c.BUY:
            fill["price_e8"] = min(int(fill["price_e8"]), int(o["limit_price_e8"]))


def _verbatim(period: Period) -> Course:
    """Return the run of the journal's own events."""
    course = Course(period.genesis, period.state, period.policy, None, keep=True)
    for seq_n, event in period.events:
        course.apply(event, seq_n, event.at_t)
    return course
