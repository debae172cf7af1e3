"""Hours of the real feed against the local Kraken with hundreds of faults of WebSocket and REST: every bar once, no wrong book.

BALLAST_FEED_HOURS is the size of the slow proof (default 720: thirty days).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.local_kraken.faults import REST, Fault, FaultPlan, Switch
from runtime.market import NoticeKind
from tests.support import tally
from tests.support.kraken_feed import Stage, stage, write_market
from tests.support.kraken_socket import START_T

HOURS_VARIABLE: Final = "BALLAST_FEED_HOURS"
SOCKET_PPM: Final = {
    Fault.WS_GAP: 2_500,
    Fault.WS_BAD_CHECKSUM: 2_500,
    Fault.WS_DUPLICATE: 2_500,
    Fault.WS_LATE: 2_500,
    Fault.WS_OUT_OF_ORDER: 2_500,
    Fault.WS_GARBAGE: 1_000,
    Fault.WS_DISCONNECT: 1_000,
    Fault.WS_STALL: 300,
    Fault.WS_REJECT: 2_500,
}
"""Parts per million of the messages; of the subscriptions for the last."""
REST_PPM: Final = dict.fromkeys(sorted(REST - {Fault.TIME_SKEW}), 10_000) | {Fault.STALL: 3_000}
"""Parts per million of the calls."""


def plan_of(seed: int, times: int) -> FaultPlan:
    plan = FaultPlan(seed)
    for fault, ppm in SOCKET_PPM.items():
        plan.add(Switch(fault, probability_ppm=times * ppm))
    for fault, ppm in REST_PPM.items():
        plan.add(Switch(fault, place="OHLC", probability_ppm=ppm))
    return plan


async def play(folder: Path, hours_n: int, seed: int, *, times: int, jump_every: int = 11) -> FaultPlan:
    """Step hour by hour, sometimes several at once, and hold everything the feed said against the files."""
    plan = plan_of(seed, times)
    settings = replace(FeedSettings.stepped(seed=seed), answer_s=0.25, probe_s=0.25, rest_timeout_s=0.3, backoff_max_s=0.1)
    began_s = time.perf_counter()
    async with stage(folder, faults=plan, settings=settings) as place:
        hour_n = 0
        while hour_n < hours_n:
            step_n = min(3 if hour_n % jump_every == jump_every - 1 else 1, hours_n - hour_n)
            await place.step(step_n)
            hour_n += step_n
        bars_n = place.seen.require_bars(folder, START_T, hours_n)
        notices = ", ".join(f"{n} {kind}" for kind, n in sorted(place.seen.notices.items()))
        tally.LINES.append(
            f"feed: {hours_n} hours, {bars_n} bars once each, {place.seen.books_n} books equal to the venue's, "
            f"{sum(plan.injected.values())} faults of {len(plan.injected)} kinds ({notices}), longest silence "
            f"{place.silence_s_max:.1f} s, {hours_n / (time.perf_counter() - began_s):.1f} hours/s"
        )
        assert place.seen.books_n > hours_n * len(place.seen.symbols) // 2
        return plan


def test_every_bar_once_and_no_wrong_book_through_faults(tmp_path: Path) -> None:
    plan = asyncio.run(play(write_market(tmp_path, hours_n=200, quiet=5), 60, seed=4, times=8))
    assert sum(plan.injected.values()) > 60
    assert set(SOCKET_PPM) <= set(plan.injected), "a kind of the WebSocket never happened: choose another seed"


@pytest.mark.slow
def test_thirty_days_of_faults(tmp_path: Path) -> None:
    hours_n = int(os.environ.get(HOURS_VARIABLE, "720"))
    plan = asyncio.run(play(write_market(tmp_path, hours_n=2 * hours_n + 20, quiet=5), hours_n, seed=5, times=4))
    assert sum(plan.injected.values()) > 500 * hours_n // 720


def one_fault(folder: Path, switch: Switch, hours_n: int = 4, *, settings: FeedSettings | None = None) -> Stage:
    """Play some hours with one switch and return the stage."""

    async def scene() -> Stage:
        plan = FaultPlan(1)
        async with stage(folder, symbols=("BTC", "ETH"), faults=plan, settings=settings) as place:
            await place.step()
            plan.add(switch)
            for _ in range(hours_n - 1):
                await place.step()
            assert plan.injected, "the fault never happened"
            place.seen.require_bars(folder, START_T, hours_n)
            return place

    return asyncio.run(scene())


WHAT_IS_SAID: Final = {
    Fault.WS_DISCONNECT: {NoticeKind.LOST, NoticeKind.CONNECTED},
    Fault.WS_GAP: {NoticeKind.CHECKSUM},
    Fault.WS_BAD_CHECKSUM: {NoticeKind.CHECKSUM},
    Fault.WS_DUPLICATE: set(),
    Fault.WS_LATE: set(),
    Fault.WS_OUT_OF_ORDER: set(),
    Fault.WS_GARBAGE: {NoticeKind.GAP, NoticeKind.LOST, NoticeKind.CONNECTED},
    Fault.WS_STALL: {NoticeKind.STALE, NoticeKind.LOST, NoticeKind.CONNECTED},
}


@pytest.mark.parametrize("fault", sorted(WHAT_IS_SAID))
@pytest.mark.parametrize("channel", ["book", "ohlc"])
def test_each_fault_of_a_message_is_survived_and_named(tmp_path: Path, fault: Fault, channel: str) -> None:
    if channel == "ohlc" and fault is Fault.WS_BAD_CHECKSUM:
        return  # only books have one
    place = one_fault(write_market(tmp_path, n=2), Switch(fault, place=channel, next_n=1))
    said = set(place.seen.notices)
    wanted = WHAT_IS_SAID[fault] - ({NoticeKind.CHECKSUM} if channel == "ohlc" else set())
    assert wanted <= said
    assert place.silence_s_max < 2.0  # probe, answer, and a machine with other work


@pytest.mark.parametrize("fault", sorted(REST - {Fault.TIME_SKEW}))
def test_each_fault_of_rest_is_survived(tmp_path: Path, fault: Fault) -> None:
    """The candle is lost on the WebSocket, and the first answer of REST is broken: the bar comes all the same."""
    settings = replace(FeedSettings.stepped(), rest_timeout_s=0.3)

    async def scene() -> None:
        plan = FaultPlan(1)
        folder = write_market(tmp_path, n=2)
        async with stage(folder, symbols=("BTC", "ETH"), faults=plan, settings=settings) as place:
            await place.step()
            await place.feed.bars(0, START_T)  # a page that a duplicate can repeat
            plan.add(Switch(Fault.WS_GAP, place="ohlc", next_n=2))
            plan.add(Switch(fault, place="OHLC", next_n=1))
            await place.step()
            assert set(plan.injected) == {Fault.WS_GAP, fault}
            assert {bar.origin for bar in place.seen.bars.values() if bar.open_t > START_T} == {"rest"}
            place.seen.require_bars(folder, START_T, 2)

    asyncio.run(scene())
