from __future__ import annotations

import random
import zlib
from decimal import Decimal
from pathlib import Path

import pytest

from runtime.adapters.order_book import DEPTHS, Level, OrderBook, difference, plain, scaled
from runtime.errors import DataError
from tests.support import kraken_books

# Kraken's guide to the v2 checksum shows this BTC/USD snapshot and its sum.
DOCUMENTED_BIDS = (
    "45283.5 0.10000000,45283.4 1.54582015,45282.1 0.10000000,45281.0 0.10000000,45280.3 1.54592586,"
    "45279.0 0.07990000,45277.6 0.03310103,45277.5 0.30000000,45277.3 1.54602737,45276.6 0.15445238"
)
DOCUMENTED_ASKS = (
    "45285.2 0.00100000,45286.4 1.54571953,45286.6 1.54571109,45289.6 1.54560911,45290.2 0.15890660,"
    "45291.8 1.54553491,45294.7 0.04454749,45296.1 0.35380000,45297.5 0.09945542,45299.5 0.18772827"
)
DOCUMENTED_CHECKSUM = 3310070434


def levels(text: str, price_decimals: int = 1, qty_decimals: int = 8) -> list[Level]:
    pairs = (row.split() for row in text.split(","))
    return [Level(scaled(price, price_decimals), scaled(qty, qty_decimals)) for price, qty in pairs]


def documented(depth: int = 10) -> OrderBook:
    book = OrderBook(depth)
    book.load(levels(DOCUMENTED_BIDS), levels(DOCUMENTED_ASKS))
    return book


def random_book(random_: random.Random, depth: int, full: bool) -> OrderBook:
    n = depth if full else random_.randrange(depth)
    book = OrderBook(depth)
    book.load(
        [Level(price, random_.randrange(1, 10**9)) for price in random_.sample(range(100, 100 + 3 * depth), n)],
        [Level(price, random_.randrange(1, 10**9)) for price in random_.sample(range(9000, 9000 + 3 * depth), n)],
    )
    return book


def test_the_documented_snapshot_has_the_documented_checksum() -> None:
    assert documented().checksum() == DOCUMENTED_CHECKSUM


def test_levels_below_the_tenth_do_not_count() -> None:
    book = documented(25)
    book.apply(levels("45000.0 1.00000000"), levels("46000.0 1.00000000"))
    assert book.checksum() == DOCUMENTED_CHECKSUM
    assert len(book.bids()) == len(book.asks()) == 11


def test_every_checksum_of_the_v2_capture_verifies(real_data: Path) -> None:
    capture = kraken_books.read_v2(real_data)
    book = OrderBook(10)
    book.load(*capture.snapshot)
    assert book.checksum() == capture.checksum
    checked_n = 0
    for update, after in kraken_books.books(capture, 10):
        assert after.checksum() == update.checksum
        assert not after.crossed()
        checked_n += 1
    assert checked_n == 509


def test_every_checksum_of_the_v1_capture_verifies(real_data: Path) -> None:
    checked = [after.checksum() == update.checksum for update, after in kraken_books.books(kraken_books.read_v1(real_data), 10)]
    assert len(checked) == 979
    assert all(checked)


@pytest.mark.parametrize("swallowed", [0, 100, 507])
def test_a_swallowed_update_of_the_capture_shows_in_the_checksum(real_data: Path, swallowed: int) -> None:
    capture = kraken_books.read_v2(real_data)
    updates = [update for n, update in enumerate(capture.updates) if n != swallowed]
    verdicts = [b.checksum() == u.checksum for u, b in kraken_books.books(capture._replace(updates=updates), 10)]
    assert all(verdicts[:swallowed])
    assert not all(verdicts[swallowed:])


def test_a_book_without_truncation_would_fail_the_capture(real_data: Path) -> None:
    # Planted defect: the depth is not 10, so levels that fell out of scope stay and return to the top ten.
    verdicts = [b.checksum() == u.checksum for u, b in kraken_books.books(kraken_books.read_v2(real_data), 1000)]
    assert not all(verdicts)


def test_an_update_sets_replaces_removes_and_truncates() -> None:
    book = OrderBook(10)
    book.load([Level(p, 1) for p in range(90, 100)], [Level(p, 1) for p in range(100, 110)])
    book.apply([Level(99, 5), Level(98, 0), Level(10, 0)], [Level(95, 7)])
    assert book.bids(2) == [Level(99, 5), Level(97, 1)]
    assert [level.price for level in book.asks()] == [95, *range(100, 109)]
    assert book.crossed()
    assert not OrderBook(10).crossed()


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_difference_of_two_books_turns_one_into_the_other(depth: int) -> None:
    random_ = random.Random(depth)
    for case in range(40):
        before = random_book(random_, depth, full=bool(case % 2))
        after = random_book(random_, depth, full=bool(case % 3))
        client = OrderBook(depth)
        client.load(before.bids(), before.asks())
        client.apply(*difference(before, after))
        assert (client.bids(), client.asks()) == (after.bids(), after.asks())
        assert difference(after, client) == ([], [])


def naive_checksum(bids: dict[Decimal, Decimal], asks: dict[Decimal, Decimal]) -> int:
    """Follow Kraken's guide word for word, on texts: point out, leading zeros off, asks upward, then bids downward."""
    rows = [*sorted(asks.items())[:10], *sorted(bids.items(), reverse=True)[:10]]
    texts = [f"{number:.{decimals}f}" for row in rows for number, decimals in zip(row, (2, 8), strict=True)]
    return zlib.crc32("".join(text.replace(".", "").lstrip("0") for text in texts).encode())


@pytest.mark.parametrize("seed", range(20))
def test_random_updates_leave_the_book_of_a_naive_one(seed: int) -> None:
    random_ = random.Random(seed)
    depth = random_.choice(DEPTHS[:3])
    book = OrderBook(depth)
    naive: list[dict[Decimal, Decimal]] = [{}, {}]
    for _ in range(200):
        sides: list[list[Level]] = [[], []]
        for side, (levels_, kept) in enumerate(zip(sides, naive, strict=True)):
            for _ in range(random_.randrange(6)):
                price = random_.randrange(1, 3 * depth) + side * 3 * depth
                qty = random_.choice([0, 1, 10, random_.randrange(10**10)])
                levels_.append(Level(price, qty))
                kept.pop(Decimal(price).scaleb(-2), None)
                if qty:
                    kept[Decimal(price).scaleb(-2)] = Decimal(qty).scaleb(-8)
            for price_ in sorted(kept, reverse=side == 0)[depth:]:
                del kept[price_]
        book.apply(*sides)
        assert book.checksum() == naive_checksum(*naive), f"seed {seed}"
        assert [plain(level.price, 2) for level in book.bids()] == [f"{p:.2f}" for p in sorted(naive[0], reverse=True)]


def test_a_level_pushed_out_of_a_full_book_is_not_removed_by_message() -> None:
    before, after = OrderBook(10), OrderBook(10)
    before.load([Level(p, 1) for p in range(90, 100)], [])
    after.load([Level(p, 1) for p in range(91, 101)], [])
    assert difference(before, after).bids == [Level(100, 1)]


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(291894, 1, "29189.4"), (10, 8, "0.00000010"), (0, 8, "0.00000000"), (-5, 2, "-0.05"), (7, 0, "7"), (-7, 0, "-7")],
)
def test_numbers_keep_the_decimals_of_the_pair(value: int, decimals: int, text: str) -> None:
    assert plain(value, decimals) == text
    assert scaled(Decimal(text), decimals) == value


@pytest.mark.parametrize("value", [Decimal("0.123456789"), Decimal("NaN"), Decimal("Infinity")])
def test_a_number_that_does_not_fit_the_pair_is_refused(value: Decimal) -> None:
    with pytest.raises(DataError, match="book number"):
        scaled(value, 8)
