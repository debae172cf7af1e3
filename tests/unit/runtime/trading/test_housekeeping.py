"""Once a day: the exchange is compared with the desk, old bars go, logs turn, the last day's bars are read again, a desk is stored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from runtime.core import codes as c
from runtime.trading.needs import Hooks
from runtime.trading.recovery import SNAPSHOTS_KEPT_N, recover
from runtime.trading.settings import TradingSettings
from tests.support.trading import HOUR_T, START_T, Bench, account

DAY_T = 86_400
WARM_N = 24
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T


def bench_of(tmp_path: Path, **settings: int) -> Bench:
    bench = Bench(tmp_path, account(seed=2, hours=170, warm_n=WARM_N), BEGIN_T, TradingSettings(warm_up_n=WARM_N, **settings))
    hooks: Hooks = dataclasses.replace(bench.hooks, snapshots=tmp_path / "snapshots")
    bench.use(hooks)
    return bench


def test_a_day_ends_with_a_clean_house(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, tail_extra_n=0)

    async def play(bench: Bench) -> None:
        await bench.hours(START_T + 6 * DAY_T)

    bench.run(play)
    assert bench.told.rotated_n == 5
    assert bench.told.lines.count("bars read again") == 5
    stored = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert len(stored) == SNAPSHOTS_KEPT_N
    assert stored[-1].startswith(f"desk-{bench.journal.head().seq_n:012d}-"), "one at the stop as well"
    assert recover(bench.journal, snapshots=tmp_path / "snapshots").desk.head == bench.journal.head()
    assert not [e for e in bench.events(c.EV_CONTROL) if e.record[0]["instrument_id"] == c.SWITCH_KILL]
    bench.close()


def test_an_exchange_that_differs_from_the_desk_throws_the_kill_switch(tmp_path: Path) -> None:
    bench = bench_of(tmp_path / "first")
    rests_t: list[int] = []

    async def until_one_rests(bench: Bench) -> None:
        while not bench.exchange.resting():
            await bench.step((bench.clock.now_t() // HOUR_T + 1) * HOUR_T)
        rests_t.append(bench.clock.now_t())

    async def play(bench: Bench) -> None:
        await until_one_rests(bench)
        ((order_id, _),) = list(bench.exchange.resting().items())[:1]
        orders = bench.exchange._state["orders"]
        orders["left_e8"][orders["order_id"] == order_id] -= 1
        await bench.step(bench.clock.now_t() + 60)

    bench.run(until_one_rests)
    bench.close()
    bench = bench_of(tmp_path / "second", housekeeping_t=rests_t[0] % DAY_T + 60)
    bench.run(play)
    (event,) = [e for e in bench.events(c.EV_CONTROL) if e.record[0]["instrument_id"] == c.SWITCH_KILL]
    note = event.note_of()
    assert int(event.record[0]["value_n"]) == c.KILL_INTERNAL
    assert note is not None
    assert note.reason.startswith("reconciliation: order ")
    bench.close()


def test_bars_that_the_venue_changed_are_counted_and_many_throw_the_kill_switch(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, corrected_max_n=10)

    async def play(bench: Bench) -> None:
        await bench.hours(START_T + 2 * DAY_T - HOUR_T)
        n = int(np.searchsorted(bench.market.panel.open_t, START_T + 2 * DAY_T - 5 * HOUR_T))
        bench.market.panel.volume[n : n + 3] *= 2
        await bench.hours(START_T + 2 * DAY_T)
        await bench.step(START_T + 2 * DAY_T + 120)

    bench.run(play)
    (event,) = [e for e in bench.events(c.EV_CONTROL) if e.record[0]["instrument_id"] == c.SWITCH_KILL]
    assert int(event.record[0]["value_n"]) == c.KILL_DATA
    bench.close()
