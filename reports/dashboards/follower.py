"""One reader of the control API for all browser sessions: what the daemon last said, as one immutable value.

The event stream wakes it; without news it asks once a second, so that the age of what it holds is known. Sessions never ask the API
for what every page shows: they subscribe, and are called on the same event loop when there is something new.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from reports.dashboards.client import ControlClient, RequestRefused, RuntimeUnreachable
from reports.dashboards.decision_shapes import Signal, Timeline
from reports.dashboards.shapes import Asset, Assets, Equity, EquityPoint, Status, Summary

POLL_S: Final = 1.0
BREATH_S: Final = 0.15
"""Between two readings however fast blocks come: a page shows no more, and the daemon has better things to do."""
PAGE_N: Final = 1_000
FRESH_N: Final = 100
HELD_N: Final = 10_000
"""Newest decisions held for filtering; what is older is in the journal and in `ballast sql`."""
EQUITY_POINTS_N: Final = 1_500
EQUITY_S: Final = 90 * 86_400
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the daemon said, and when.

    Attributes:
        version_n: grows with every change.
        read_s: monotonic time of the last answer.
        moved_s: monotonic time at which the head last moved.
        tables_n: last block that `signals` and `equity` know: the daemon's tables follow its journal a moment later.
        signals: newest first, at most `HELD_N`.
        equity: hourly points, oldest first.
    """

    version_n: int
    read_s: float
    moved_s: float
    tables_n: int
    status: Status
    summary: Summary
    assets: tuple[Asset, ...]
    signals: tuple[Signal, ...]
    equity: tuple[EquityPoint, ...]


@dataclass(slots=True)
class Follower:
    """Follows one daemon; `snapshot` is `None` until it answered once.

    Args:
        client: of its control API.
    """

    client: ControlClient
    snapshot: Snapshot | None = None
    reason: str = "Waiting for the runtime."
    _listeners: list[Callable[[], None]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def age_ms(self) -> int:
        """Return the milliseconds since the daemon last answered."""
        return int((time.monotonic() - self.snapshot.read_s) * 1000) if self.snapshot else 1_000_000

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a listener after every change, and return what ends that."""
        self._listeners.append(listener)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def wake(self) -> None:
        """Read again now: a command of ours was carried out."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        stream = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    await self._read()
                except (RuntimeUnreachable, RequestRefused) as e:
                    if str(e) != self.reason:
                        log.info("no answer: %s", e)
                    self.reason = str(e)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_S)
                self._wake.clear()
                await asyncio.sleep(BREATH_S)
        finally:
            stream.cancel()

    async def _listen(self) -> None:
        while True:
            with suppress(RuntimeUnreachable, RequestRefused):
                async for _ in self.client.events():
                    self._wake.set()
            await asyncio.sleep(POLL_S)

    async def _read(self) -> None:
        status = await self.client.read(Status, "/runtime/status")
        now_s, old = time.monotonic(), self.snapshot
        known = old if old is not None and old.status.run_id == status.run_id else None
        if known is not None and known.status.head == status.head and known.tables_n >= status.head.seq_n:
            self.snapshot = replace(known, status=status, read_s=now_s, version_n=known.version_n + (known.status != status))
        else:
            summary = await self.client.read(Summary, "/portfolio/summary")
            assets = await self.client.read(Assets, "/portfolio/assets")
            signals, signals_n = await self._signals(known.signals if known else ())
            equity, equity_n = await self._equity(known, status.now_t)
            self.snapshot = Snapshot(
                version_n=old.version_n + 1 if old else 1,
                read_s=now_s,
                moved_s=known.moved_s if known and known.status.head == status.head else now_s,
                tables_n=min(signals_n, equity_n),
                status=status,
                summary=summary,
                assets=assets.assets,
                signals=signals,
                equity=equity,
            )
        self.reason = ""
        if old is None or self.snapshot.version_n != old.version_n:
            for listener in list(self._listeners):
                listener()

    async def _signals(self, known: Sequence[Signal]) -> tuple[tuple[Signal, ...], int]:
        """Return the newest decisions (what is new, then what is known) and the last block they know."""
        last_n, found, cursor, tables_n = known[0].signal_id if known else 0, list[Signal](), "", 0
        while len(found) < HELD_N:
            limit = FRESH_N if known and not cursor else PAGE_N
            page = await self.client.read(Timeline, "/decisions/timeline", limit=limit, cursor=cursor)
            tables_n = tables_n or page.seq_n
            fresh = [s for s in page.signals if s.signal_id > last_n]
            found += fresh
            if page.cursor is None or len(fresh) < len(page.signals):
                break
            cursor = page.cursor
        return ((*found, *known)[:HELD_N] if found else tuple(known)), tables_n

    async def _equity(self, known: Snapshot | None, now_t: int) -> tuple[tuple[EquityPoint, ...], int]:
        """Return the hourly points (all at first, then those of new hours) and the last block they know."""
        since_t = known.equity[-1].close_t if known and known.equity else 0
        if known is not None and since_t and now_t // 3600 == since_t // 3600:
            return known.equity, known.status.head.seq_n
        since_t = since_t or max(now_t - EQUITY_S, 0)
        answer = await self.client.read(Equity, "/portfolio/equity", since_t=since_t, points=EQUITY_POINTS_N)
        held = known.equity if known else ()
        return (*held, *(p for p in answer.points if not held or p.close_t > since_t)), answer.seq_n
