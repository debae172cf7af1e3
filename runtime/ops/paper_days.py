"""Completed paper days, counted from what the journal proves.

A day counts when every bar of that UTC day was taken in live: in a session on the venue's public address and the system's clock,
and before the next bar closed. Simulated, accelerated and caught-up bars never count, so a day with a long outage does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.core.codes import EV_BARS, EV_SESSION

if TYPE_CHECKING:
    from runtime.event import Event, SessionNote
    from runtime.ports import Journal

DAY_T: Final = 86_400
SYSTEM_CLOCK: Final = "system"


class PaperDays(NamedTuple):
    """How far the paper phase has come.

    Attributes:
        completed_n: whole UTC days taken in live.
        today_n: bars of the latest day taken in live so far.
        bars_n: bars that make a day.
        counting: whether bars of the present session count.
        reason: why they do not; empty when they do.
    """

    completed_n: int
    today_n: int
    bars_n: int
    counting: bool
    reason: str


class PaperDayCounter:
    """Counts paper days as the events of a chain go by, oldest first; only events of `KINDS` matter."""

    KINDS: Final = (EV_BARS, EV_SESSION)

    def __init__(self, interval_t: int, *, simulated: bool) -> None:
        """Start before the first event.

        Args:
            interval_t: seconds of a bar; a day is a whole number of them.
            simulated: whether the genesis says so; then nothing ever counts.
        """
        self._interval_t = interval_t
        self._bars_n = DAY_T // interval_t
        self._simulated = simulated
        self._completed_n = 0
        self._day_n = -1
        self._seen = 0  # one bit for each bar of the day
        self._counting = False
        self._reason = "no session has begun"

    def session(self, started: bool, note: SessionNote) -> None:
        """Take in a SESSION event."""
        self._reason = "" if started else "trading is stopped"
        if note.clock != SYSTEM_CLOCK:
            self._reason = f"the clock is the {note.clock}'s, not the system's"
        if self._simulated or note.simulated:
            self._reason = f"simulated: {note.venue} is not the venue's public address"
        self._counting = started and not self._reason

    def bars(self, open_t: int, at_t: int) -> None:
        """Take in a BARS event of the bars that opened at `open_t`."""
        day_n, second_t = divmod(open_t, DAY_T)
        if day_n != self._day_n:
            self._day_n, self._seen = day_n, 0
        live = at_t < open_t + 2 * self._interval_t
        if not (self._counting and live):
            return
        before = self._seen
        self._seen |= 1 << (second_t // self._interval_t)
        if before != self._seen and self._seen == (1 << self._bars_n) - 1:
            self._completed_n += 1

    def take(self, event: Event) -> None:
        """Take in any event of the chain."""
        row = event.record[0]
        kind = int(row["kind_id"])
        if kind == EV_BARS:
            self.bars(int(row["value_n"]), int(row["at_t"]))
        elif kind == EV_SESSION:
            note = event.note_of()
            if note is not None and note.session is not None:
                self.session(bool(row["value_n"]), note.session)

    @property
    def days(self) -> PaperDays:
        """The count so far."""
        return PaperDays(self._completed_n, self._seen.bit_count(), self._bars_n, self._counting, self._reason)


def count(journal: Journal, interval_t: int, *, simulated: bool) -> PaperDays:
    """Return the paper days that a journal proves."""
    from runtime.event import Event

    counter = PaperDayCounter(interval_t, simulated=simulated)
    for block in journal.read():
        if block.kind_id in counter.KINDS:
            counter.take(Event.decode(block.inputs))
    return counter.days
