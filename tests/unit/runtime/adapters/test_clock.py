from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from runtime.adapters.clock import ManualClock, SystemClock, VenueClock
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import Settings, serve
from runtime.errors import EnvironmentFailure, UsageError
from tests.support.kraken_feed import write_market
from tests.support.kraken_socket import START_T


def test_the_systems_clock_moves_forward_in_all_its_readings() -> None:
    clock = SystemClock()
    first = clock.now_t()
    second = clock.now_s()
    assert first <= second <= clock.now_t() + 1


def test_a_system_time_that_is_set_back_does_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before_ms = clock.now_ms()
    monkeypatch.setattr(time, "time_ns", lambda: (before_ms - 60_000) * 1_000_000)
    assert clock.now_ms() == before_ms


def test_a_manual_clock_stands_still_and_goes_forwards_only() -> None:
    clock = ManualClock(5)
    assert (clock.now_t(), clock.now_t()) == (5, 5)
    clock.at_t = 9
    assert (clock.now_t(), clock.now_ms(), clock.at_t) == (9, 9_000, 9)
    clock.at_t = 7
    assert clock.now_t() == 9


def test_who_waited_in_a_loop_that_has_ended_is_forgotten() -> None:
    clock = ManualClock(5)

    async def scene() -> None:
        waiting = asyncio.ensure_future(clock.wait_until(9_000))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(scene())
    clock.at_t = 10
    assert clock.now_t() == 10


@pytest.mark.parametrize("url", ["https://api.kraken.com", "127.0.0.1:80", "http://"])
def test_only_a_local_kraken_has_a_clock(url: str) -> None:
    with pytest.raises(UsageError, match="venue's clock"):
        VenueClock(url)


def test_a_venue_that_is_not_there_is_named() -> None:
    with pytest.raises(EnvironmentFailure, match="does not answer"):
        VenueClock("http://127.0.0.1:9")


def test_a_running_venue_is_followed_and_an_absent_one_waited_for(tmp_path: Path) -> None:
    folder = write_market(tmp_path, n=1)

    def market() -> LocalMarket:
        return LocalMarket.open([folder], seed=1, start_ns=START_T * NS)

    before = set(threading.enumerate())
    with serve(market(), settings=Settings(speed=3_600)) as local:
        clock = VenueClock(local.url)
        asyncio.run(_within(clock, START_T * 1_000 + 300_000))
        port = int(local.url.rpartition(":")[2])
    stood_ms = clock.now_ms()
    later = market()
    later.advance((stood_ms + 7_200_000) * 10**6)
    with serve(later, port=port) as again:
        asyncio.run(_within(clock, stood_ms + 7_200_000))
        assert clock.now_ms() == again.now_ns // 10**6
        clock.close()
        clock.close()
        again.advance(again.now_ns + 3_600 * NS)
    assert clock.now_ms() == stood_ms + 7_200_000
    assert "venue-clock" not in {thread.name for thread in set(threading.enumerate()) - before}


async def _within(clock: VenueClock, at_ms: int) -> None:
    async with asyncio.timeout(10):
        await clock.wait_until(at_ms)
