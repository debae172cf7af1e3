"""What every clock promises: it never goes back, its two readings agree, and whoever waits for a time is woken when it has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.adapters.clock import ManualClock, SystemClock, VenueClock
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import serve
from runtime.ports import Clock
from tests.support.kraken_feed import write_market
from tests.support.kraken_socket import START_T

CLOCKS = ("system", "manual", "venue")


@dataclass
class Case:
    clock: Clock
    move_ms: Callable[[int], None]
    """Lets so much time pass."""


@contextmanager
def clock_of(kind: str, folder: Path) -> Iterator[Case]:
    if kind == "system":
        yield Case(SystemClock(), lambda ms: time.sleep(ms / 1_000))
    elif kind == "manual":
        manual = ManualClock(START_T)
        yield Case(manual, lambda ms: manual.observe(manual.now_ms() + ms))
    else:
        market = LocalMarket.open([write_market(folder, n=1)], seed=1, start_ns=START_T * NS)
        with serve(market) as local:
            venue = VenueClock(local.url)

            def move(ms: int) -> None:
                wanted_ms = local.advance(local.now_ns + ms * 10**6) // 10**6
                asyncio.run(venue.wait_until(wanted_ms))

            try:
                yield Case(venue, move)
            finally:
                venue.close()


@pytest.fixture(params=CLOCKS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with clock_of(str(request.param), tmp_path) as found:
        yield found


def test_both_readings_agree_and_move_forward(case: Case) -> None:
    before_ms = case.clock.now_ms()
    case.move_ms(20)
    seconds, after_ms = case.clock.now_t(), case.clock.now_ms()
    assert after_ms >= before_ms + 20
    assert seconds <= after_ms // 1_000 <= seconds + 1


def test_a_time_that_has_passed_is_not_waited_for(case: Case) -> None:
    async def scene() -> None:
        async with asyncio.timeout(1):
            await case.clock.wait_until(case.clock.now_ms())
            await case.clock.wait_until(0)

    asyncio.run(scene())


def test_whoever_waits_is_woken_when_the_time_has_come_and_not_before(case: Case) -> None:
    async def scene() -> None:
        now_ms = case.clock.now_ms()
        early, late = (asyncio.create_task(case.clock.wait_until(now_ms + ms)) for ms in (60, 600_000))
        await asyncio.sleep(0)
        assert not early.done()
        await asyncio.get_running_loop().run_in_executor(None, case.move_ms, 60)
        async with asyncio.timeout(5):
            await early
        assert case.clock.now_ms() >= now_ms + 60
        assert not late.done()
        late.cancel()

    asyncio.run(scene())


def test_one_that_gave_up_waiting_disturbs_nobody(case: Case) -> None:
    async def scene() -> None:
        now_ms = case.clock.now_ms()
        gone, stays = (asyncio.create_task(case.clock.wait_until(now_ms + 40)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.get_running_loop().run_in_executor(None, case.move_ms, 40)
        async with asyncio.timeout(5):
            await stays

    asyncio.run(scene())
