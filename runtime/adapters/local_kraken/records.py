"""What the local Kraken tells of a market: trades, candles and book snapshots as values, in exact decimals."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, NamedTuple

NS: Final = 1_000_000_000
"""Nanoseconds of a second."""

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market"]


class Trade(NamedTuple):
    """One trade; `time_ns` is UTC and different for every trade of a pair, so it serves as a cursor."""

    trade_id: int
    time_ns: int
    side: Side
    order_type: OrderType
    price: Decimal
    qty: Decimal


class Candle(NamedTuple):
    """One candle that opens at `open_t` (seconds UTC); with `trades_n` 0 nobody traded and the prices are the last close."""

    open_t: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    trades_n: int


class Level(NamedTuple):
    """One price level of a book."""

    price: Decimal
    qty: Decimal


class BookSnapshot(NamedTuple):
    """A book at one time: bids from the highest price down, asks from the lowest up; empty where no price is known yet."""

    time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


def decimal_of(units: int, decimals: int) -> Decimal:
    """Return a whole number of smallest units as a decimal that keeps its trailing zeros."""
    return Decimal(units).scaleb(-decimals)


def text_of(units: int, decimals: int) -> str:
    """Return a non-negative number of smallest units in plain notation, as the venue writes it."""
    if decimals == 0:
        return str(units)
    whole, part = divmod(units, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"
