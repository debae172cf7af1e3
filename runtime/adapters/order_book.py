"""A price-level order book in exact integers, with the checksum Kraken sends beside every change of it.

The venue side (`runtime.adapters.local_kraken`) and the client side (the daemon's market data) use this one class: what the first
publishes the second must rebuild, and the CRC32 says whether it did. Prices and quantities are integers at the decimals of the
pair, which is more than speed: the checksum is taken over the digits of the wire text without point and leading zeros, and these
are the digits of the scaled integer. A float, or a Decimal that lost its trailing zeros, gives another sum.

Source of the algorithm: Kraken's guides to the book checksum of WebSocket v1 and v2.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from runtime.errors import DataError

DEPTHS: Final = (10, 25, 100, 500, 1000)
"""Levels per side that a client of the venue can subscribe to."""
CHECKSUM_LEVELS: Final = 10
"""Levels per side that the checksum covers, whatever the depth."""


class Level(NamedTuple):
    """One price level: price and quantity as integers at the pair's decimals; a quantity of 0 removes the level."""

    price: int
    qty: int


class Change(NamedTuple):
    """The levels of both sides that one message sets or removes, in the order of the message."""

    bids: Sequence[Level]
    asks: Sequence[Level]


def scaled(value: Decimal | int | str, decimals: int) -> int:
    """Return a wire number as an integer at the given decimals.

    Args:
        value: what the JSON parser returned with `parse_float=Decimal` (or the number's text); never a float.
        decimals: digits after the point that the pair has.

    Raises:
        DataError: the number is not finite, or has more digits after the point than the pair.
    """
    number = Decimal(value)
    if not number.is_finite():
        raise DataError(f"the book number {value}", expected="a finite number", action="drop the message and subscribe again")
    result = int(number.scaleb(decimals))
    if Decimal(result).scaleb(-decimals) != number:
        raise DataError(
            f"the book number {value} of a pair with {decimals} decimals",
            expected=f"at most {decimals} digits after the point",
            action="read the pair's decimals again (instrument channel or AssetPairs)",
        )
    return result


def plain(value: int, decimals: int) -> str:
    """Return an integer at the given decimals as the wire writes it: all decimals, no exponent (`plain(10, 8)`: 0.00000010)."""
    sign, digits = ("-", str(-value)) if value < 0 else ("", str(value))
    if decimals == 0:
        return sign + digits
    digits = digits.rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


class _Side:
    """One side, best level first: sorted keys (the price, negated for bids) beside a map of quantities."""

    __slots__ = ("keys", "qty", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.qty: dict[int, int] = {}

    def load(self, levels: Iterable[Level], depth: int) -> None:
        best = sorted((self.sign * price, qty) for price, qty in levels if qty)[:depth]
        self.qty = dict(best)
        self.keys = list(self.qty)

    def apply(self, levels: Iterable[Level], depth: int) -> None:
        keys, qty = self.keys, self.qty
        for price, size in levels:
            key = self.sign * price
            if key in qty:
                if size:
                    qty[key] = size
                else:
                    del qty[key]
                    del keys[bisect_left(keys, key)]
            elif size:
                qty[key] = size
                keys.insert(bisect_left(keys, key), key)
        for key in keys[depth:]:
            del qty[key]
        del keys[depth:]

    def top(self, n: int | None) -> list[Level]:
        return [Level(self.sign * key, self.qty[key]) for key in self.keys[:n]]

    def digits(self) -> str:
        return "".join(f"{abs(key)}{self.qty[key]}" for key in self.keys[:CHECKSUM_LEVELS])


class OrderBook:
    """The best `depth` levels of both sides of one pair.

    A client keeps it equal to the venue's: `load` the snapshot, `apply` every update in the order of arrival, and compare
    `checksum()` with the message's. When they differ the book is wrong and stays wrong: subscribe again. Updates carry no
    removal for a level that better ones pushed out of the depth, so a book truncates itself after each message.
    """

    __slots__ = ("_asks", "_bids", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._bids = _Side(-1)
        self._asks = _Side(1)

    def load(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Forget everything and take a snapshot (levels in any order)."""
        self._bids.load(bids, self.depth)
        self._asks.load(asks, self.depth)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take all levels of one update message, in its order, then truncate to the depth."""
        self._bids.apply(bids, self.depth)
        self._asks.apply(asks, self.depth)

    def bids(self, n: int | None = None) -> list[Level]:
        """Return the best `n` bids (all without `n`), highest price first."""
        return self._bids.top(n)

    def asks(self, n: int | None = None) -> list[Level]:
        """Return the best `n` asks (all without `n`), lowest price first."""
        return self._asks.top(n)

    def crossed(self) -> bool:
        """Say whether the best bid reaches the best ask: true of no sound book."""
        return bool(self._bids.keys and self._asks.keys) and -self._bids.keys[0] >= self._asks.keys[0]

    def checksum(self) -> int:
        """Return the CRC32 of the ten best asks, then the ten best bids: price digits and quantity digits of each."""
        return zlib.crc32((self._asks.digits() + self._bids.digits()).encode())


def difference(before: OrderBook, after: OrderBook) -> Change:
    """Return the update that turns one book into another of the same depth, best levels first, removals before sets.

    A level that the new ones push out of a full book is left out, as the venue leaves it out.
    """
    depth = after.depth
    return Change(
        _side_difference(before.bids(), after.bids(), -1, depth), _side_difference(before.asks(), after.asks(), 1, depth)
    )


def _side_difference(before: list[Level], after: list[Level], sign: int, depth: int) -> list[Level]:
    kept = {level.price for level in after}
    full = len(after) >= depth
    removed = [
        Level(level.price, 0)
        for level in before
        if level.price not in kept and not (full and sign * level.price > sign * after[-1].price)
    ]
    known = dict(before)
    return removed + [level for level in after if known.get(level.price) != level.qty]
