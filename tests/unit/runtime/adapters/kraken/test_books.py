from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.adapters.kraken import wire
from runtime.adapters.kraken.books import QTY_MAX_E8, Books, Wrong
from runtime.adapters.kraken.pairs import Pair
from runtime.adapters.local_kraken import channels
from runtime.adapters.local_kraken.pairs import PairInfo
from runtime.adapters.order_book import Change, Level, OrderBook, difference
from runtime.market import BookView
from runtime.policy import PairRules

INFO = PairInfo("XBT", "USD", 1, 8)
PAIR = Pair(0, "BTC/USD", frozenset({"XBTUSD"}), "XBTUSD", 1, 8, PairRules())
AT_NS = 1_700_006_400 * 10**9


def row_of(kind: str, change: Change, checksum: int, at_ns: int = AT_NS) -> wire.Row:
    """Return what the wire brings of a book message of the local Kraken."""
    said = channels.book("snapshot" if kind == "snapshot" else "update", INFO, change, checksum, at_ns)
    return wire.read(said).rows[0]


def full(book: OrderBook) -> Change:
    return Change(book.bids(), book.asks())


def book_of(seed: int, *, mid: int = 370_000) -> OrderBook:
    random_ = random.Random(seed)
    made = OrderBook(10)
    bids = [Level(mid - n, random_.randrange(1, 10**9)) for n in random_.sample(range(1, 40), 14)]
    asks = [Level(mid + n, random_.randrange(1, 10**9)) for n in random_.sample(range(1, 40), 14)]
    made.load(bids, asks)
    return made


def test_a_snapshot_and_updates_are_shown_in_whole_1e_8() -> None:
    books, first, second = Books([PAIR], 10), book_of(1), book_of(2)
    shown = books.take(PAIR, "snapshot", row_of("snapshot", full(first), first.checksum()))
    assert isinstance(shown, BookView)
    assert shown.bids.tolist() == [[level.price * 10**7, level.qty] for level in first.bids()]
    assert (shown.instrument_id, shown.venue_ms, shown.bids.dtype, shown.bids.flags.writeable) == (
        0,
        AT_NS // 10**6,
        np.int64,
        False,
    )
    then = books.take(PAIR, "update", row_of("update", difference(first, second), second.checksum(), AT_NS + 10**9))
    assert isinstance(then, BookView)
    assert then.asks.tolist() == [[level.price * 10**7, level.qty] for level in second.asks()]


@given(st.integers(0, 10**6), st.integers(0, 2**32 - 1), st.booleans())
def test_no_book_with_a_wrong_sum_is_shown_and_none_after_it_before_a_right_snapshot(seed: int, sum_: int, lost: bool) -> None:
    """Whether the sum is wrong or an update was lost: silence until the snapshot."""
    books, first, second, third = Books([PAIR], 10), book_of(seed), book_of(seed + 1), book_of(seed + 2)
    books.take(PAIR, "snapshot", row_of("snapshot", full(first), first.checksum()))
    if lost:
        row = row_of("update", difference(second, third), third.checksum())
        probe = OrderBook(10)
        probe.load(first.bids(), first.asks())
        probe.apply(*difference(second, third))
        right = probe.checksum() == third.checksum()
    else:
        row, right = row_of("update", difference(first, second), sum_), sum_ == second.checksum()
    assert isinstance(books.take(PAIR, "update", row), BookView if right else Wrong)
    if right:
        return
    assert not books.known(0)
    assert books.take(PAIR, "update", row_of("update", difference(second, third), third.checksum())) is None
    assert isinstance(books.take(PAIR, "snapshot", row_of("snapshot", full(third), third.checksum() ^ 1)), Wrong)
    assert isinstance(books.take(PAIR, "snapshot", row_of("snapshot", full(third), third.checksum())), BookView)


def test_what_cannot_be_read_makes_the_book_unknown() -> None:
    books, first = Books([PAIR], 10), book_of(1)
    good = row_of("snapshot", full(first), first.checksum())
    for change in ({"bids": 5}, {"checksum": None}, {"timestamp": "soon"}, {"bids": [{"price": "1.23", "qty": "1"}]}):
        assert isinstance(books.take(PAIR, "snapshot", good), BookView)
        assert isinstance(books.take(PAIR, "update", good | change), Wrong)
        assert not books.known(0)


def test_all_books_are_unknown_after_a_lost_connection() -> None:
    books, first = Books([PAIR], 10), book_of(1)
    books.take(PAIR, "snapshot", row_of("snapshot", full(first), first.checksum()))
    books.forget()
    assert not books.known(0)
    assert books.take(PAIR, "update", row_of("update", Change([], []), first.checksum())) is None


def test_a_locked_book_is_shown_and_a_crossed_or_older_one_is_not() -> None:
    books = Books([PAIR], 10)
    locked, crossed = OrderBook(10), OrderBook(10)
    locked.load([Level(100, 5)], [Level(100, 5)])
    crossed.load([Level(101, 5)], [Level(100, 5)])
    later = row_of("snapshot", full(locked), locked.checksum(), AT_NS + 10**9)
    assert isinstance(books.take(PAIR, "snapshot", later), BookView)
    assert books.take(PAIR, "snapshot", row_of("snapshot", full(crossed), crossed.checksum(), AT_NS + 10**9)) is None
    assert books.take(PAIR, "snapshot", row_of("snapshot", full(locked), locked.checksum())) is None


def test_an_endless_level_is_shown_with_the_most_that_adds_up() -> None:
    books, book = Books([PAIR], 10), OrderBook(10)
    book.load([Level(100, 10**30)], [])
    shown = books.take(PAIR, "snapshot", row_of("snapshot", full(book), book.checksum()))
    assert isinstance(shown, BookView)
    assert shown.bids.tolist() == [[10**9, QTY_MAX_E8]]
    assert shown.asks.shape == (0, 2)


def test_the_recording_of_the_venue_is_followed_to_its_end(real_data: Path) -> None:
    capture = json.loads((real_data / "kraken-book" / "kraken_BTCUSD_book10_ws_v2.json").read_text(), parse_float=str)
    books, shown_n = Books([PAIR], 10), 0
    for message in [capture["init"], *capture["updates"]]:
        text = _with_numbers(message)
        for frame in [wire.read(text)]:
            for row in frame.rows if frame.channel == "book" else ():
                found = books.take(PAIR, frame.kind, row)
                assert not isinstance(found, Wrong), found
                shown_n += isinstance(found, BookView)
    assert shown_n > 400


def _with_numbers(message: object) -> str:
    """Return JSON whose numbers have the digits of the recording."""
    if isinstance(message, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_with_numbers(value)}" for key, value in message.items()) + "}"
    if isinstance(message, list):
        return "[" + ",".join(map(_with_numbers, message)) + "]"
    if isinstance(message, str) and message.replace(".", "").replace("e-", "").replace("E-", "").isdecimal():
        return message
    return json.dumps(message)
