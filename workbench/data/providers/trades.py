"""Bars made of trades: exactly what the venue's own candles say, as long as every trade arrives once and in order.

Volumes are added as whole units of the eighth decimal, the finest lot Kraken trades in, and turned into a float at the end: the
float nearest to the exact sum, which is what the venue's decimal text reads as. Sums of floats would differ in the last bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from workbench.data.bars import Bars

SECOND_NS: Final = 1_000_000_000
LOT_E: Final = 10**8
REMEMBERED_N: Final = 5_000
"""Trade ids kept to tell a repeated trade from a misplaced one: several pages of a venue."""


class Trade(NamedTuple):
    """One trade: number in its pair, time in nanoseconds UTC, price, and quantity in units of 1e-8."""

    trade_id: int
    time_ns: int
    price: float
    quantity_e8: int


class TradeOrderError(ValueError):
    """A page of trades does not continue the ones before it."""


class Row(NamedTuple):
    """One bar while it is being made."""

    open_t: int
    open: float
    high: float
    low: float
    close: float
    volume_e8: int
    trades_n: int


class BarMaker:
    """Takes pages of trades, in any overlap, and hands out bars that no later trade can change."""

    def __init__(self, step_t: int, begin_t: int) -> None:
        """Take the grid.

        Args:
            step_t: bar length in seconds.
            begin_t: first opening time, a multiple of `step_t`; earlier trades count for nothing.
        """
        self._step_t, self._begin_ns = step_t, begin_t * SECOND_NS
        self._times: dict[int, int] = {}  # of the last trades by id, oldest first
        self._last: Trade | None = None
        self._rows: list[Row] = []
        self._current: Row | None = None

    @property
    def last(self) -> Trade | None:
        """Return the newest trade taken."""
        return self._last

    @property
    def open_t(self) -> int:
        """Return the opening time of the bar in progress: every bar before it is complete."""
        return self._begin_ns // SECOND_NS if self._current is None else self._current.open_t

    @property
    def ready_n(self) -> int:
        """Return how many complete bars wait to be taken."""
        return len(self._rows)

    def add(self, page: Sequence[Trade], *, continues: bool = False) -> int:
        """Take a page; return how many of its trades were new. A page that is refused changes nothing.

        Args:
            page: trades in the order of the venue; those taken before are dropped by id.
            continues: the page was asked for from the newest trade on, so that one must be in it.

        Raises:
            TradeOrderError: trades are out of order, or some are missing between the last page and this one.
        """
        new: list[Trade] = []
        last = self._last
        oldest_id = next(iter(self._times), 0)
        fresh: dict[int, int] = {}
        for trade in page:
            known_ns = self._times.get(trade.trade_id, fresh.get(trade.trade_id))
            if known_ns is not None:
                if known_ns != trade.time_ns:
                    raise TradeOrderError(f"trade {trade.trade_id} came with two times")
                continue
            if trade.trade_id < oldest_id:
                continue  # taken long ago
            if last is not None and (trade.trade_id <= last.trade_id or trade.time_ns < last.time_ns):
                raise TradeOrderError(f"trade {trade.trade_id} follows trade {last.trade_id}")
            new.append(trade)
            fresh[trade.trade_id] = trade.time_ns
            last = trade
        if continues and self._last is not None and all(t.trade_id != self._last.trade_id for t in page):
            raise TradeOrderError(f"trades after {self._last.trade_id} are missing")
        self._take(new)
        return len(new)

    def _take(self, new: Sequence[Trade]) -> None:
        for trade in new:
            self._times[trade.trade_id] = trade.time_ns
            self._last = trade
            if trade.time_ns >= self._begin_ns:
                self._count(trade)
        for old in list(self._times)[: max(0, len(self._times) - REMEMBERED_N)]:
            del self._times[old]

    def _count(self, trade: Trade) -> None:
        open_t = trade.time_ns // (self._step_t * SECOND_NS) * self._step_t
        now = self._current
        if now is not None and open_t == now.open_t:
            high, low = max(now.high, trade.price), min(now.low, trade.price)
            volume_e8 = now.volume_e8 + trade.quantity_e8
            self._current = Row(open_t, now.open, high, low, trade.price, volume_e8, now.trades_n + 1)
            return
        if now is not None:
            self._rows.append(now)
        self._current = Row(open_t, trade.price, trade.price, trade.price, trade.price, trade.quantity_e8, 1)

    def take(self, until_t: int | None = None) -> Bars:
        """Return the complete bars not yet taken, oldest first; N may be 0.

        Args:
            until_t: all trades before it have been added, so bars that opened before it and end by it are complete too.
                None = only bars that a later one followed.
        """
        rows, self._rows = self._rows, []
        now = self._current
        if until_t is not None:
            if now is not None and now.open_t + self._step_t <= until_t:
                rows.append(now)
                self._current = None
            rows = [r for r in rows if r.open_t < until_t]
        return bars_of(rows)


def bars_of(rows: Sequence[Row]) -> Bars:
    """Return finished rows as bars."""
    table = np.array([(r.open, r.high, r.low, r.close, r.volume_e8 / LOT_E, r.trades_n) for r in rows], dtype=np.float64)
    # The quotient of whole numbers is correctly rounded at any size.
    o, h, low, c, v, n = np.ascontiguousarray(table.reshape(-1, 6).T)
    return Bars(np.array([r.open_t for r in rows], dtype=np.int64), o, h, low, c, v, n)


def aggregate(trades: Sequence[Trade], step_t: int, begin_t: int, until_t: int) -> Bars:
    """Return the bars of all trades in [begin_t, until_t), seconds UTC, multiples of `step_t`.

    Raises:
        TradeOrderError: the trades are out of order.
    """
    maker = BarMaker(step_t, begin_t)
    maker.add([t for t in trades if t.time_ns < until_t * SECOND_NS])
    return maker.take(until_t)
