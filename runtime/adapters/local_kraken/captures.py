"""Recorded books: what a subscriber of the venue's WebSocket saw, replayed at the time it was recorded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from runtime.adapters.local_kraken.pairs import PairInfo, split_pair
from runtime.adapters.local_kraken.records import NS, BookSnapshot, Level
from runtime.errors import DataError


class BookUpdate(NamedTuple):
    """Levels that change at a time; quantity zero takes a level away."""

    time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class BookCapture:
    """A recorded book: what a subscriber to it saw at each time, at the recorded depth."""

    def __init__(self, symbol_key: tuple[str, str], depth_n: int, updates: Sequence[BookUpdate]) -> None:
        """Take base and quote (Kraken's names), the depth, and the snapshot followed by the updates."""
        self.base, self.quote = symbol_key
        self.depth_n, self._updates = depth_n, updates
        self.first_ns, self.last_ns = updates[0].time_ns, updates[-1].time_ns
        self._next_n = 0
        self._sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
        levels = [level for update in updates for level in (*update.bids, *update.asks)]
        self.price_decimals = max(_decimals(level.price) for level in levels)
        self.lot_decimals = max(_decimals(level.qty) for level in levels)

    def covers(self, at_ns: int) -> bool:
        """Return whether the recording knows the book at a time."""
        return self.first_ns <= at_ns <= self.last_ns

    def book(self, pair: PairInfo, at_ns: int, depth_n: int) -> BookSnapshot:
        """Return the book at a time that is covered."""
        if self._next_n and self._updates[self._next_n - 1].time_ns > at_ns:  # a time before the last one asked for
            self._next_n, self._sides = 0, ({}, {})
        while self._next_n < len(self._updates) and self._updates[self._next_n].time_ns <= at_ns:
            self._apply(self._updates[self._next_n])
            self._next_n += 1
        price, lot = Decimal(1).scaleb(-pair.pair_decimals), Decimal(1).scaleb(-pair.lot_decimals)
        bids, asks = (
            tuple(Level(p.quantize(price), side[p].quantize(lot)) for p in sorted(side, reverse=highest)[:depth_n])
            for side, highest in zip(self._sides, (True, False), strict=True)
        )
        return BookSnapshot(at_ns, bids, asks)

    def updates(self, after_ns: int, until_ns: int) -> Sequence[BookUpdate]:
        """Return the recorded updates with after < time <= until, as they came (the first of all is the snapshot)."""
        first, end = (bisect_right(self._updates, at_ns, key=lambda update: update.time_ns) for at_ns in (after_ns, until_ns))
        return self._updates[first:end]

    def _apply(self, update: BookUpdate) -> None:
        for side, changes, highest in zip(self._sides, update[1:], (True, False), strict=True):
            for level in changes:
                if level.qty:
                    side[level.price] = level.qty
                else:
                    side.pop(level.price, None)
            for price in sorted(side, reverse=highest)[self.depth_n :]:  # what fell out of the depth is never told again
                del side[price]


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(-int(exponent), 0)


class _LevelV2(BaseModel):
    price: Decimal
    qty: Decimal


class _DataV2(BaseModel):
    symbol: str
    bids: list[_LevelV2]
    asks: list[_LevelV2]
    timestamp: datetime | None = None


class _MessageV2(BaseModel):
    channel: Literal["book"]
    data: tuple[_DataV2]


class _CaptureV2(BaseModel):
    init: _MessageV2
    updates: list[_MessageV2] = Field(min_length=1)


class _SidesV1(BaseModel):
    """Levels of a message of version 1: `as` and `bs` in the snapshot, `a` and `b` in updates; each price, quantity, time."""

    all_asks: list[list[str]] = Field(default=[], alias="as")
    all_bids: list[list[str]] = Field(default=[], alias="bs")
    asks: list[list[str]] = Field(default=[], alias="a")
    bids: list[list[str]] = Field(default=[], alias="b")


class _CaptureV1(BaseModel):
    init: list[object]
    updates: list[object] = Field(min_length=1)


def read_capture(path: Path) -> BookCapture:
    """Return the book of a JSON file `{"init": ..., "updates": [...]}` with messages of WebSocket v1 or v2.

    Raises:
        DataError: the file has another form.
    """
    try:
        capture = TypeAdapter(_CaptureV2 | _CaptureV1).validate_json(path.read_bytes())
        if isinstance(capture, _CaptureV2):
            return _joined(capture.init.data[0].symbol, [_update_v2(m) for m in (capture.init, *capture.updates)])
        messages = [m for m in (*capture.init, *capture.updates) if isinstance(m, list)]
        return _joined(str(messages[0][-1]), list(_updates_v1(messages)))
    except (OSError, ValidationError, ValueError, IndexError) as e:
        raise DataError(
            f"{path} is no capture of a book: {e}",
            expected='{"init": snapshot, "updates": [...]} of WebSocket v1 or v2',
            action="leave the file out",
        ) from e


def _joined(symbol: str, updates: list[BookUpdate]) -> BookCapture:
    pair = split_pair(symbol.replace("/", ""))
    if pair is None:
        raise ValueError(f"unknown symbol {symbol}")
    snapshot = updates[0]
    if not snapshot.time_ns:  # version 2 gives a snapshot no time: it holds until the first update
        updates = [snapshot._replace(time_ns=updates[1].time_ns - 1), *updates[1:]]
    return BookCapture(pair, max(len(snapshot.bids), len(snapshot.asks)), updates)


def _update_v2(message: _MessageV2) -> BookUpdate:
    data = message.data[0]
    bids, asks = (tuple(Level(x.price, x.qty) for x in side) for side in (data.bids, data.asks))
    return BookUpdate(0 if data.timestamp is None else _ns(data.timestamp), bids, asks)


def _ns(moment: datetime) -> int:
    """Return nanoseconds; a datetime's microseconds are exact, its `timestamp()` is a float."""
    return int(moment.replace(microsecond=0).timestamp()) * NS + moment.microsecond * 1_000


def _updates_v1(messages: Sequence[list[object]]) -> Iterator[BookUpdate]:
    """Yield one update per message, at the latest time of its levels."""
    last_ns = 0
    for message in messages:
        parts = [_SidesV1.model_validate(part) for part in message[1:-2]]
        rows = [[row for part in parts for row in (*part.all_bids, *part.bids)]]
        rows.append([row for part in parts for row in (*part.all_asks, *part.asks)])
        last_ns = max([last_ns, *(int(Decimal(row[2]) * NS) for side in rows for row in side)])
        bids, asks = (tuple(Level(Decimal(row[0]), Decimal(row[1])) for row in side) for side in rows)
        yield BookUpdate(last_ns, bids, asks)
