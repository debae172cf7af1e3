"""Bars on their way to the core: nothing invented, nothing stale."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from runtime.core import codes as c
from runtime.core.digest import decode_payload
from runtime.market import ClosedBar
from runtime.trading.settings import TradingSettings
from tests.support.trading import HOUR_T, START_T, Bench, account

WARM_N = 24
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T
QUIET = TradingSettings(warm_up_n=WARM_N, quote_move_ppm=1_000_000)


def bench_of(tmp_path: Path, settings: TradingSettings | None = None, **changes: object) -> Bench:
    inputs = account(seed=2, hours=80, warm_n=WARM_N, **changes)
    return Bench(tmp_path, inputs, BEGIN_T, settings)


def hours_of(bench: Bench) -> list[int]:
    return [(int(e.record[0]["value_n"]) - START_T) // HOUR_T for e in bench.events(c.EV_BARS)]


def kills(bench: Bench) -> list[tuple[int, str]]:
    switched = [e for e in bench.events(c.EV_CONTROL) if e.record[0]["instrument_id"] == c.SWITCH_KILL]
    notes = [(e, e.note_of()) for e in switched]
    return [(int(e.record[0]["value_n"]), note.reason) for e, note in notes if note is not None and note.actor == "system"]


def present(bench: Bench, hour: int) -> list[int]:
    event = bench.events(c.EV_BARS)[hour]
    assert event.bars is not None
    return np.flatnonzero(event.bars["present_n"]).tolist()


def test_a_bar_that_does_not_come_is_asked_for_and_then_stays_absent(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    quiet_t = BEGIN_T + 2 * HOUR_T

    async def play(bench: Bench) -> None:
        await bench.step(BEGIN_T + HOUR_T, but=(1, 2))
        assert hours_of(bench)[-1] == WARM_N, "two bars are missing, and the grace is not over"
        await bench.step(BEGIN_T + HOUR_T + 20)
        assert hours_of(bench)[-1] == WARM_N + 1
        bench.market.hidden.add((quiet_t - HOUR_T, 3))
        await bench.step(quiet_t, but=(3,))
        await bench.step(quiet_t + 19)
        assert hours_of(bench)[-1] == WARM_N + 1
        await bench.step(quiet_t + 20)

    bench.run(play)
    assert hours_of(bench) == list(range(WARM_N + 3))
    whole = np.flatnonzero(bench.inputs.bars[WARM_N + 1]["present_n"]).tolist()
    assert present(bench, WARM_N + 1) == whole
    assert 3 not in present(bench, WARM_N + 2)
    last = bench.blocks(c.EV_BARS)[-1]
    assert last.at_t == quiet_t + 20
    assert bench.events(c.EV_BARS)[-1].forecasts is not None or quiet_t not in bench.inputs.forecasts.at_t
    bench.close()


def test_an_hour_of_which_nothing_is_known_waits(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    spoken = int(np.flatnonzero(bench.inputs.bars[WARM_N + 1]["present_n"])[0])

    async def play(bench: Bench) -> None:
        bench.market.broken = set(range(5))
        await bench.step(BEGIN_T + HOUR_T, but=range(5))
        for n in range(1, 6):
            await bench.step(BEGIN_T + HOUR_T + 20 * n)
        assert hours_of(bench)[-1] == WARM_N, "no instrument has spoken"
        bench.market.put(bench.market.bar(BEGIN_T, spoken))
        await bench.settled()
        await bench.step(BEGIN_T + HOUR_T + 200)
        assert hours_of(bench)[-1] == WARM_N + 1, "the venue answered for none of the others, twice"
        assert present(bench, WARM_N + 1) == [spoken]
        bench.market.broken = set()

    bench.run(play)
    bench.close()


def test_missed_hours_are_caught_up_without_forecasts_and_without_decisions(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def some(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 10 * HOUR_T)

    async def later(bench: Bench) -> None:
        await bench.step(bench.clock.now_t() + 25)

    bench.run(some)
    before = bench.journal.head().seq_n
    bench.reopen()
    back_t = BEGIN_T + 16 * HOUR_T + 600
    bench.clock.at_t = back_t
    bench.run(later)
    assert hours_of(bench) == list(range(WARM_N + 17)), "every hour once, in order"
    new = [e for b, e in zip(bench.blocks(), bench.events(), strict=True) if b.seq_n > before and b.kind_id == c.EV_BARS]
    assert [e.forecasts is not None for e in new[:-1]] == [False] * 5
    assert all(e.at_t == back_t + 25 for e in new), "taken in when they were, not when they closed"
    stale = [b for b in bench.blocks(c.EV_BARS) if b.seq_n > before][:-1]
    assert not any("trade_signal" in decode_payload(b.payload) for b in stale), "no decision on stale data"
    assert bench.forecaster.asked_t[1:] == [BEGIN_T + 16 * HOUR_T], "the first one warms up"
    bench.close()


def test_bars_older_than_the_profile_allows_carry_no_forecast(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, bar_age_max_t=900)
    known = set(bench.inputs.forecasts.at_t.tolist())
    first_t = next(t for t in range(BEGIN_T + HOUR_T, BEGIN_T + 30 * HOUR_T, HOUR_T) if t in known)

    async def play(bench: Bench) -> None:
        await bench.hours(first_t - HOUR_T)
        bench.clock.at_t = first_t + 901
        bench.market.hour(first_t)
        await bench.settled()

    bench.run(play)
    event = bench.events(c.EV_BARS)[-1]
    assert int(event.record[0]["value_n"]) == first_t - HOUR_T
    assert event.at_t == first_t + 901
    assert event.forecasts is None
    bench.close()


def test_a_late_bar_is_no_block_and_kept(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        bench.market.hidden.add((BEGIN_T, 0))
        await bench.step(BEGIN_T + HOUR_T, but=(0,))
        await bench.step(BEGIN_T + HOUR_T + 20)
        bench.market.put(bench.market.bar(BEGIN_T, 0), bench.market.bar(BEGIN_T, 1), bench.market.bar(BEGIN_T + HOUR_T, 1))
        await bench.settled()

    bench.run(play)
    assert hours_of(bench)[-1] == WARM_N + 1
    assert 0 not in present(bench, WARM_N + 1)
    assert bench.trader.view.feed.late_n == 2
    assert not math.isnan(bench.tail.panel(BEGIN_T, 1).close[0, 0])
    bench.close()


@pytest.mark.parametrize(
    "bar",
    [
        ClosedBar(0, BEGIN_T, 10.0, 9.0, 8.0, 8.5, 1.0, "ws"),
        ClosedBar(0, BEGIN_T, -1.0, 9.0, -2.0, 8.5, 1.0, "ws"),
        ClosedBar(0, BEGIN_T, 1.0, math.inf, 1.0, 1.0, 1.0, "ws"),
        ClosedBar(0, BEGIN_T, 1.0, 1.0, 1.0, math.nan, 1.0, "ws"),
        ClosedBar(0, BEGIN_T, 1.0, 1.0, 1.0, 1.0, -1.0, "ws"),
        ClosedBar(0, BEGIN_T + 7, 1.0, 1.0, 1.0, 1.0, 1.0, "ws"),
        ClosedBar(99, BEGIN_T, 1.0, 1.0, 1.0, 1.0, 1.0, "ws"),
        ClosedBar(0, BEGIN_T + 5 * HOUR_T, 1.0, 1.0, 1.0, 1.0, 1.0, "ws"),
    ],
    ids=["range", "negative", "endless", "half", "volume", "grid", "stranger", "future"],
)
def test_an_impossible_bar_is_refused_and_counted(tmp_path: Path, bar: ClosedBar) -> None:
    bench = bench_of(tmp_path, QUIET.model_copy(update={"gaps_max_n": 1}))

    async def play(bench: Bench) -> None:
        bench.clock.at_t = BEGIN_T + HOUR_T
        bench.market.put(bar)
        await bench.settled()
        bench.market.hour(BEGIN_T + HOUR_T)
        await bench.settled()

    bench.run(play)
    assert hours_of(bench)[-1] == WARM_N + 1
    whole = np.flatnonzero(bench.inputs.bars[WARM_N + 1]["present_n"]).tolist()
    assert present(bench, WARM_N + 1) == whole
    assert [cause for cause, _ in kills(bench)] == [c.KILL_DATA]
    bench.close()
