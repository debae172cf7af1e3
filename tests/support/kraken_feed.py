"""The real feed against a real local Kraken on loopback, stepped hour by hour, and what the files say it must deliver."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from runtime.adapters.clock import VenueClock
from runtime.adapters.kraken.feed import KrakenMarketData
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.local_kraken.faults import FaultPlan
from runtime.adapters.local_kraken.ladder import BookShape
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import LocalKraken, Settings, serve
from runtime.market import BookView, ClosedBar, MarketEvent, Notice, NoticeKind, TradeTick
from runtime.policy import PairRules
from tests.support.kraken_socket import HOUR_NS, START_T, write_bars

HOUR_T: Final = 3_600
BASES: Final = ("XBT", "ETH", "SOL", "XRP", "ADA", "LTC", "DOT", "XDG")
SYMBOLS: Final = ("BTC", "ETH", "SOL", "XRP", "ADA", "LTC", "DOT", "DOGE")
E8: Final = 10**8


def write_market(folder: Path, *, n: int = len(BASES), hours_n: int = 96, quiet: int = 0) -> Path:
    """Write hourly bars of the first `n` bases in USD; of the last one every `quiet`-th hour is missing."""
    write_bars(folder, {f"{base}USD": 100.0 * (k + 1) for k, base in enumerate(BASES[:n])}, hours_n=hours_n)
    if quiet:
        path = folder / "1h" / f"{BASES[n - 1]}USD.parquet"
        table = pq.read_table(path)
        pq.write_table(table.filter(np.arange(table.num_rows) % quiet != 1), path)
    return folder


@dataclass
class Seen:
    """What a consumer got, and what it must have been."""

    truth: LocalMarket
    symbols: Sequence[str]
    bars: dict[tuple[int, int], ClosedBar] = field(default_factory=dict)
    next_t: dict[int, int] = field(default_factory=dict)
    notices: Counter[NoticeKind] = field(default_factory=Counter)
    books_n: int = 0
    trades: dict[int, list[int]] = field(default_factory=dict)
    compares: bool = True
    """Whether books are held against the venue's of the same time: not where several have one millisecond."""

    def take(self, event: MarketEvent) -> None:
        """Hold one event against the files; every failure says which."""
        if isinstance(event, ClosedBar):
            key = (event.instrument_id, event.open_t)
            assert key not in self.bars, f"{key} twice"
            assert self.next_t.setdefault(event.instrument_id, event.open_t) == event.open_t, f"{key} out of order"
            self.next_t[event.instrument_id] = event.open_t + HOUR_T
            self.bars[key] = event
        elif isinstance(event, BookView):
            self.books_n += 1
            if self.compares:
                self._compare(event)
        elif isinstance(event, TradeTick):
            self.trades.setdefault(event.instrument_id, []).append(event.venue_ms)
        else:
            assert isinstance(event, Notice)
            self.notices[event.kind] += 1

    def _compare(self, view: BookView) -> None:
        """Hold a book against the venue's own at the very same virtual time."""
        pair = self.truth.find(f"{self.symbols[view.instrument_id]}/USD")
        assert pair is not None
        shown = self.truth.book(pair, view.venue_ms * 10**6, 10)
        for ours, theirs in ((view.bids, shown.bids), (view.asks, shown.asks)):
            assert [tuple(row) for row in ours.tolist()] == [(int(one.price * E8), int(one.qty * E8)) for one in theirs]

    def require_bars(self, folder: Path, first_t: int, hours_n: int) -> int:
        """Require every bar of the hours, bit for bit as the file has it, and return how many there were."""
        for n, symbol in enumerate(self.symbols):
            base = BASES[SYMBOLS.index(symbol)]
            table = pq.read_table(folder / "1h" / f"{base}USD.parquet").to_pydict()
            rows = {int(t.timestamp()): k for k, t in enumerate(table["ts_utc"])}
            for open_t in range(first_t, first_t + hours_n * HOUR_T, HOUR_T):
                bar = self.bars.pop((n, open_t))
                if open_t not in rows:
                    assert all(math.isnan(value) for value in bar[2:7]), bar
                    continue
                wanted = tuple(table[name][rows[open_t]] for name in ("open", "high", "low", "close", "volume"))
                assert tuple(value.hex() for value in bar[2:7]) == tuple(value.hex() for value in wanted), bar
        assert not self.bars, "bars nobody asked for"
        return len(self.symbols) * hours_n


class Stage:
    """A running venue, the feed and its consumer."""

    def __init__(self, local: LocalKraken, feed: KrakenMarketData, clock: VenueClock, seen: Seen) -> None:
        self.local, self.feed, self.clock, self.seen = local, feed, clock, seen
        self.silence_s_max = 0.0

    async def step(self, hours_n: int = 1, *, all_bars: bool = True, patience_s: float = 30.0) -> None:
        """Step the venue and read until every bar of these hours has come."""
        await self.step_to(self.local.now_ns + hours_n * HOUR_NS, all_bars=all_bars, patience_s=patience_s)

    async def step_to(self, now_ns: int, *, all_bars: bool = True, patience_s: float = 30.0) -> None:
        """Step the venue to a time and read until every bar that has ended by then has come."""
        moved = asyncio.get_running_loop().run_in_executor(None, self.local.advance, now_ns)
        ends_t = now_ns // HOUR_NS * HOUR_T
        async with asyncio.timeout(patience_s):
            while all_bars and not all(self.seen.next_t.get(n, 0) >= ends_t for n in range(len(self.seen.symbols))):
                began_s = time.monotonic()
                self.seen.take(await self.feed.next())
                self.silence_s_max = max(self.silence_s_max, time.monotonic() - began_s)
        await moved

    async def until(self, kind: NoticeKind, *, patience_s: float = 10.0) -> Notice:
        """Read until a notice of a kind comes."""
        async with asyncio.timeout(patience_s):
            while True:
                event = await self.feed.next()
                self.seen.take(event)
                if isinstance(event, Notice) and event.kind is kind:
                    return event


@asynccontextmanager
async def stage(
    folder: Path,
    *,
    symbols: Sequence[str] = SYMBOLS,
    faults: FaultPlan | None = None,
    settings: FeedSettings | None = None,
    batch_ms: int = 3_600_000,
    shape: BookShape | None = None,
    start_t: int = START_T,
    since_t: int | None = None,
) -> AsyncIterator[Stage]:
    """Serve a folder from `start_t` on and open a feed of it."""

    def market() -> LocalMarket:
        return LocalMarket.open([folder], seed=3, start_ns=start_t * NS, shape=shape)

    with serve(market(), faults=faults, settings=Settings(batch_ms=batch_ms, stall_s=5)) as local:
        clock = VenueClock(local.url)
        feed = KrakenMarketData(
            local.url,
            symbols,
            [PairRules()] * len(symbols),
            HOUR_T,
            clock,
            settings or FeedSettings.stepped(),
            since_t=since_t,
            observe=clock.observe,
        )
        try:
            await feed.open()
            yield Stage(local, feed, clock, Seen(market(), symbols, compares=batch_ms > 0))
        finally:
            await feed.close()
            clock.close()
