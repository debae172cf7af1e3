"""The books of all instruments: every message applied in exact integers, every checksum compared, nothing wrong ever shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from runtime.adapters.kraken import wire
from runtime.adapters.kraken.pairs import SCALE_DECIMALS, Pair
from runtime.adapters.order_book import Level, OrderBook
from runtime.errors import DataError
from runtime.market import BookView

QTY_MAX_E8: Final = 2**59
"""A level with more is shown with this much: ten of them still add up within 64 bits."""


class Wrong(NamedTuple):
    """Why a book cannot be trusted any longer: subscribe to it again."""

    instrument_id: int
    text: str


class Books:
    """One book for each instrument; unknown until a snapshot whose checksum is right, and after anything that is not."""

    def __init__(self, pairs: Sequence[Pair], depth: int) -> None:
        self._pairs, self._depth = pairs, depth
        self._books: list[OrderBook | None] = [None] * len(pairs)
        self._at_ms = [0] * len(pairs)

    def forget(self) -> None:
        """Make every book unknown: the connection they came through has ended."""
        self._books = [None] * len(self._pairs)

    def known(self, instrument_id: int) -> bool:
        """Say whether a book is known."""
        return self._books[instrument_id] is not None

    def take(self, pair: Pair, kind: str, row: wire.Row) -> BookView | Wrong | None:
        """Apply one message and return the book, why it is wrong, or None when there is nothing to show.

        Updates of an unknown book are skipped; a locked or one-sided book is shown as it is, a crossed one is not.
        """
        n = pair.instrument_id
        book = OrderBook(self._depth) if kind == "snapshot" else self._books[n]
        if book is None:
            return None
        self._books[n] = None
        try:
            bids, asks = (wire.levels(row, side, pair.price_decimals, pair.lot_decimals) for side in ("bids", "asks"))
            told, at_ms = wire.text_of(row, "checksum"), _moment(row, self._at_ms[n])
        except DataError as e:
            return Wrong(n, f"{pair.symbol}: {e.got}")
        (book.load if kind == "snapshot" else book.apply)(bids, asks)
        if told != str(book.checksum()):
            return Wrong(n, f"{pair.symbol}: the {kind} says checksum {told}, the book has {book.checksum()}")
        self._books[n] = book
        shown = BookView(n, at_ms, _levels(book.bids(), pair), _levels(book.asks(), pair))
        if at_ms < self._at_ms[n] or (len(shown.bids) and len(shown.asks) and shown.bids[0, 0] > shown.asks[0, 0]):
            return None
        self._at_ms[n] = at_ms
        return shown


def _moment(row: wire.Row, default_ms: int) -> int:
    """Return the time of a book message; snapshots of 2023 carry none."""
    return wire.moment_ms(row["timestamp"]) if "timestamp" in row else default_ms


def _levels(levels: Sequence[Level], pair: Pair) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    price, lot = 10 ** (SCALE_DECIMALS - pair.price_decimals), 10 ** (SCALE_DECIMALS - pair.lot_decimals)
    rows = [(level.price * price, min(level.qty * lot, QTY_MAX_E8)) for level in levels]
    shown = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
    shown.setflags(write=False)
    return shown
