"""Bars and trades as columns of whole numbers: prices in ticks, quantities in lots, times in nanoseconds."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Wide = npt.NDArray[Any]
"""Python integers without limit, in an array of objects: a price times a quantity does not fit 64 bits."""

DECIMALS_MAX: Final = 12
"""More decimals than this are the remains of an arithmetic in floats, not a price."""


class BarColumns(NamedTuple):
    """Bars [N] with trades, oldest first."""

    open_t: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    lots: Ints
    trades_n: Ints
    first_id: Ints
    """Number of the first trade inside the bar; the trades of a pair are numbered from 1 without a hole."""


class TradeColumns(NamedTuple):
    """Trades [N], oldest first; times are strictly increasing."""

    time_ns: Ints
    trade_id: Ints
    price: Ints
    lots: Ints
    buy: Flags
    limit: Flags


class Pieces(NamedTuple):
    """Parts of candles [N], oldest first: whole bars, or single trades as bars of one price."""

    time_ns: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    lots: Ints
    notional: Wide
    """Sum of price times quantity, in ticks times lots."""
    trades_n: Ints


NO_INTS: Final = np.zeros(0, np.int64)
NO_TRADES: Final = TradeColumns(NO_INTS, NO_INTS, NO_INTS, NO_INTS, np.zeros(0, np.bool_), np.zeros(0, np.bool_))


def take_bars(bars: BarColumns, first_n: int, end_n: int) -> BarColumns:
    """Return rows first_n .. end_n - 1."""
    return BarColumns(*(column[first_n:end_n] for column in bars))


def take_trades(trades: TradeColumns, first_n: int, end_n: int) -> TradeColumns:
    """Return rows first_n .. end_n - 1."""
    time_ns, trade_id, price, lots, buy, limit = trades
    part = slice(first_n, end_n)
    return TradeColumns(time_ns[part], trade_id[part], price[part], lots[part], buy[part], limit[part])


def join_trades(parts: list[TradeColumns]) -> TradeColumns:
    """Return parts as one."""
    return parts[0] if len(parts) == 1 else TradeColumns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def pieces_of_trades(trades: TradeColumns) -> Pieces:
    """Return every trade as a piece."""
    notional = trades.price.astype(object) * trades.lots.astype(object)
    price = trades.price
    return Pieces(trades.time_ns, price, price, price, price, trades.lots, notional, np.ones(len(price), np.int64))


def join_pieces(parts: list[Pieces]) -> Pieces:
    """Return parts as one."""
    return parts[0] if len(parts) == 1 else Pieces(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fold(pieces: Pieces, step_ns: int) -> Pieces:
    """Return one piece per interval of `step_ns` that has any; its time is the interval's beginning."""
    if len(pieces.time_ns) == 0:
        return pieces
    bucket = pieces.time_ns // step_ns
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    ends = np.append(starts[1:], len(bucket)) - 1
    return Pieces(
        bucket[starts] * step_ns,
        pieces.open[starts],
        np.maximum.reduceat(pieces.high, starts),
        np.minimum.reduceat(pieces.low, starts),
        pieces.close[ends],
        np.add.reduceat(pieces.lots, starts),
        np.add.reduceat(pieces.notional, starts),
        np.add.reduceat(pieces.trades_n, starts),
    )


def fewest_decimals(values: npt.NDArray[np.float64]) -> int | None:
    """Return with how few decimals every value [N] can be written exactly (its shortest decimal), None when over the limit.

    k / 10**d is the double nearest to that decimal, since both are exact and IEEE division rounds once.
    """
    for decimals in range(DECIMALS_MAX + 1):
        scale = 10.0**decimals
        if bool(np.all(np.rint(values * scale) / scale == values)):
            return decimals
    return None


def units_of(values: npt.NDArray[np.float64], decimals: int) -> Ints:
    """Return values [N] in whole numbers of 10**-decimals, the nearest."""
    return np.rint(values * 10.0**decimals).astype(np.int64)
