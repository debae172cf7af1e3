"""The feed of a pair: what traded between two times, as columns of whole numbers. Here from trades on file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from runtime.adapters.local_kraken.columns import (
    Ints,
    Pieces,
    TradeColumns,
    fewest_decimals,
    pieces_of_trades,
    take_trades,
    units_of,
)
from runtime.adapters.local_kraken.files import TRADE_COLUMNS, Floats, RowFile
from runtime.errors import DataError

LOT_DECIMALS_MAX: Final = 8
EXACT_MAX: Final = 2**53
"""Whole numbers up to here are exact in the files' floats; the lots of one row stay below it."""
SUM_MAX: Final = 2**62


class Feed(Protocol):
    """What traded in one pair. Times are UTC nanoseconds."""

    price_decimals: int
    lot_decimals: int
    first_ns: int
    """Nothing traded before."""
    last_ns: int
    """Nothing trades after."""

    def trades(self, after_ns: int, until_ns: int, limit_n: int | None = None) -> TradeColumns:
        """Return the trades with after < time <= until, oldest first, at most the first `limit_n`."""

    def recent(self, until_ns: int, n: int) -> TradeColumns:
        """Return the last `n` trades with time <= until, oldest first."""

    def pieces(self, first_ns: int, until_ns: int, step_ns: int) -> Pieces:
        """Return the parts, oldest first, of what traded with first <= time < until; none lies across a multiple of `step_ns`."""


def lot_decimals_of(volume_max: float, volume_sum: float) -> int:
    """Return the decimals of a pair's quantities: 8, or fewer where the numbers are so large that floats carry fewer."""
    for decimals in range(LOT_DECIMALS_MAX, 0, -1):
        if volume_max * 10**decimals < EXACT_MAX and volume_sum * 10**decimals < SUM_MAX:
            return decimals
    return 0


def price_decimals_of(prices: Floats, path: Path) -> int:
    """Return the fewest decimals that write every price [N] of a file exactly.

    Raises:
        DataError: a price is not a positive number, or no decimal of 12 digits after the point.
    """
    decimals = fewest_decimals(prices) if bool(np.all(np.isfinite(prices) & (prices > 0))) else None
    if decimals is None:
        raise DataError(
            f"{path} has a price that is no decimal of a market",
            expected="positive prices with at most 12 decimals",
            action="check the file with ballast data check, or leave it out",
        )
    return decimals


class TradeFeed:
    """A feed made of real trades. They are held in memory, 34 bytes each.

    Trades of one time get a nanosecond each between them, in the order of their ids, as the venue's own times differ: the cursor
    of the interface would lose trades of equal time at the edge of a page.
    """

    def __init__(self, paths: Sequence[Path], least_decimals: int = 0) -> None:
        """Read files of one pair, in any order; prices get at least so many decimals.

        Raises:
            DataError: a file cannot be read, or its trades are not in the order of their ids and times.
        """
        parts: list[dict[str, np.ndarray[tuple[int], np.dtype[np.generic]]]] = []
        for path in paths:
            file = RowFile(path)
            parts += [file.block(n, TRADE_COLUMNS) for n in range(file.blocks_n)]
        parts.sort(key=lambda rows: int(rows["trade_id"][0]))
        price, amount = (np.concatenate([rows[name] for rows in parts]).astype(np.float64) for name in ("price", "amount"))
        trade_id, time_ns = (np.concatenate([rows[name] for rows in parts]).astype(np.int64) for name in ("trade_id", "ts_ns"))
        self.price_decimals = max(least_decimals, price_decimals_of(price, paths[0]))
        if not bool(np.all(np.isfinite(amount) & (amount > 0))):
            raise DataError(
                f"{paths[0]} has a trade without a quantity", expected="amounts above zero", action="leave the file out"
            )
        self.lot_decimals = lot_decimals_of(float(amount.max()), float(amount.sum()))
        if bool(np.any(np.diff(trade_id) <= 0)) or bool(np.any(np.diff(time_ns) < 0)):
            raise DataError(
                f"the trades of {', '.join(map(str, paths))} are not in one order",
                expected="rising ids and times, each trade once",
                action="sort the file by trade id, or leave one of two overlapping files out",
            )
        self._all = TradeColumns(
            _distinct(time_ns),
            trade_id,
            units_of(price, self.price_decimals),
            units_of(amount, self.lot_decimals),
            np.concatenate([rows["side"] == "buy" for rows in parts]),
            np.concatenate([rows["type"] == "limit" for rows in parts]),
        )
        self.first_ns, self.last_ns = int(self._all.time_ns[0]), int(self._all.time_ns[-1])

    def trades(self, after_ns: int, until_ns: int, limit_n: int | None = None) -> TradeColumns:
        """See `Feed`."""
        low, high = map(int, np.searchsorted(self._all.time_ns, [after_ns, until_ns], side="right"))
        return take_trades(self._all, low, high if limit_n is None else min(high, low + limit_n))

    def recent(self, until_ns: int, n: int) -> TradeColumns:
        """See `Feed`."""
        end = int(np.searchsorted(self._all.time_ns, until_ns, side="right"))
        return take_trades(self._all, max(end - n, 0), end)

    def pieces(self, first_ns: int, until_ns: int, step_ns: int) -> Pieces:  # noqa: ARG002  a trade lies across nothing
        """See `Feed`."""
        return pieces_of_trades(self.trades(first_ns - 1, until_ns - 1))


def _distinct(time_ns: Ints) -> Ints:
    """Return times [N], never falling, made different: each at least one nanosecond after the one before."""
    rank = np.arange(len(time_ns))
    return np.maximum.accumulate(time_ns - rank) + rank
