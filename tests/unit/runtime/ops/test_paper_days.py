"""Which bars count towards a paper day, and which never do."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import event as events
from runtime.core.records import BAR, INSTRUMENTS
from runtime.event import Event, Note, SessionNote
from runtime.ops.paper_days import DAY_T, PaperDayCounter, count
from tests.support.days import chain

HOUR_T = 3_600
DAY_0 = 20_000 * DAY_T


def session(*, at_t: int = DAY_0, started: bool = True, clock: str = "system", simulated: bool = False) -> Event:
    venue = "http://127.0.0.1:1" if simulated else "https://api.kraken.com"
    body = SessionNote(
        version="1",
        core_digest="0" * 64,
        clock=clock,
        venue=venue,
        simulated=simulated,
        settings_digest="0" * 64,
        cause="start",
    )
    return events.session(at_t, Note(actor="test", session=body), started=started)


def bar(hour: int, late_t: int = 0) -> Event:
    return events.bars(DAY_0 + (hour + 1) * HOUR_T + late_t, DAY_0 + hour * HOUR_T, np.zeros(INSTRUMENTS, BAR))


def counted(*taken: Event, simulated: bool = False) -> PaperDayCounter:
    counter = PaperDayCounter(HOUR_T, simulated=simulated)
    for event in taken:
        counter.take(event)
    return counter


def test_a_whole_utc_day_counts_when_its_last_bar_closes() -> None:
    hours = [bar(hour) for hour in range(24)]
    assert counted(session(), *hours[:23]).days == (0, 23, 24, True, "")
    assert counted(session(), *hours).days == (1, 24, 24, True, "")
    assert counted(session(), *hours, bar(24)).days == (1, 1, 24, True, "")


def test_a_restart_within_the_day_does_not_matter() -> None:
    taken = [*map(bar, range(9)), session(started=False), session(), *map(bar, range(9, 24))]
    assert counted(session(), *taken).days.completed_n == 1


@pytest.mark.parametrize("missing", [0, 11, 23])
def test_a_missing_bar_costs_the_day(missing: int) -> None:
    hours = [bar(hour) for hour in range(48) if hour != missing]
    assert counted(session(), *hours).days.completed_n == 1, "only the second day"


def test_a_bar_taken_in_after_the_next_one_closed_costs_the_day() -> None:
    hours = [bar(hour, HOUR_T if hour == 7 else HOUR_T - 1) for hour in range(24)]
    assert counted(session(), *hours).days.completed_n == 0
    assert counted(session(), *[bar(hour, HOUR_T - 1) for hour in range(24)]).days.completed_n == 1


def test_the_same_bar_twice_is_one() -> None:
    assert counted(session(), *[bar(0)] * 30, *[bar(hour) for hour in range(1, 23)]).days.completed_n == 0


@pytest.mark.parametrize(
    ("start", "genesis", "reason"),
    [(session(simulated=True), False, "simulated"), (session(), True, "simulated"), (session(clock="venue"), False, "the clock is"),
     (session(started=False), False, "stopped")],
)  # fmt: skip
def test_what_is_simulated_accelerated_or_stopped_never_counts(start: Event, genesis: bool, reason: str) -> None:
    found = counted(start, *map(bar, range(48)), simulated=genesis).days
    assert found.completed_n == 0
    assert not found.counting
    assert reason in found.reason


def test_one_simulated_hour_costs_the_day() -> None:
    taken = [*map(bar, range(12)), session(simulated=True), bar(12), session(), *map(bar, range(13, 24))]
    assert counted(session(), *taken).days.completed_n == 0


def test_before_any_session_nothing_counts() -> None:
    found = counted(*map(bar, range(24))).days
    assert (found.completed_n, found.reason) == (0, "no session has begun")


def test_a_session_that_does_not_say_what_it_is_does_not_count() -> None:
    bare = events.session(DAY_0, Note(actor="test"), started=True)
    assert not counted(bare, *map(bar, range(24))).days.counting


def test_a_journal_is_counted() -> None:
    with chain([session(), *map(bar, range(24)), events.heartbeat(DAY_0 + DAY_T, 0)]) as journal:
        assert count(journal, HOUR_T, simulated=False).completed_n == 1
        assert count(journal, HOUR_T, simulated=True).completed_n == 0
