"""The tasks that wait for the venue, so that the loop never does: each puts what it gets into the inbox."""

from __future__ import annotations

import asyncio

from runtime.errors import EnvironmentFailure
from runtime.market import ClosedBar, MarketData, Notice, NoticeKind, TradeTick
from runtime.ports import Clock
from runtime.trading.inbox import Fetched, Inbox, Measured, Opened, Reread

OPEN_AGAIN_MS = 5_000


async def pump(market: MarketData, clock: Clock, inbox: Inbox) -> None:
    """Open the feed, again and again until it stands, then hand on what comes; single trades are for nobody here."""
    while True:
        try:
            await market.open()
            break
        except EnvironmentFailure as e:
            inbox.put(Notice(NoticeKind.LOST, -1, clock.now_ms(), str(e)))
            await clock.wait_until(clock.now_ms() + OPEN_AGAIN_MS)
    inbox.put(Opened())
    while True:
        event = await market.next()
        if not isinstance(event, TradeTick):
            inbox.put(event)
        await asyncio.sleep(0)  # a feed that always has something must not starve the loop


async def _read(market: MarketData, instruments: tuple[int, ...], since_t: int) -> tuple[list[ClosedBar], tuple[int, ...]]:
    """Return the closed bars of some instruments since a time, and the instruments that gave no answer."""
    bars: list[ClosedBar] = []
    missing: list[int] = []
    for s in instruments:
        try:
            bars += await market.bars(s, since_t)
        except EnvironmentFailure:
            missing.append(s)
    return bars, tuple(missing)


async def fetch(market: MarketData, instruments: tuple[int, ...], since_t: int, until_t: int, inbox: Inbox) -> None:
    """Read bars that opened at or after a time and closed until another."""
    bars, missing = await _read(market, instruments, since_t)
    inbox.put(Fetched(bars, missing, until_t))


async def read_again(market: MarketData, instruments: tuple[int, ...], since_t: int, before_t: int, inbox: Inbox) -> None:
    """Read bars that the core has seen already, to find the ones that the venue has changed since."""
    bars, _ = await _read(market, instruments, since_t)
    inbox.put(Reread([bar for bar in bars if bar.open_t < before_t]))


async def measure(market: MarketData, inbox: Inbox) -> None:
    """Measure the clock's skew."""
    try:
        skew_ms: int | None = await market.skew_ms()
    except EnvironmentFailure:
        skew_ms = None
    inbox.put(Measured(skew_ms))
