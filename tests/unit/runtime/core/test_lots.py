"""Lots one at a time: what is opened, merged and closed, in which order and for how much."""

from __future__ import annotations

import pytest

from runtime.core import codes as c
from runtime.core import lots
from runtime.core.records import MAX_LOTS
from tests.support.books import HOUR_T, NOW_T, Books

S = 3
ORIGIN_T = HOUR_T - 7_200
LINKS = (21, c.CAD, 9)


def opened(*bought: tuple[int, int], books: Books | None = None) -> Books:
    """Return books with one lot for each (quantity, cost); fill ids count from 100."""
    books = books or Books()
    for i, (qty, cost) in enumerate(bought):
        lots.open_lot(books.state, books.out, S, ORIGIN_T, 100 + i, qty, cost)
    return books


def held(books: Books) -> list[tuple[int, int, int]]:
    """Return (lot, quantity, cost) of the open lots, oldest first."""
    position = books.positions[S]
    ring = [(int(position["lot_head_n"]) + i) % MAX_LOTS for i in range(int(position["lot_n"]))]
    return [tuple(int(books.state["lots"][S, k][name]) for name in ("lot_id", "qty_e8", "cost_e8")) for k in ring]


def position(books: Books) -> tuple[int, int, int]:
    return tuple(int(books.positions[S][name]) for name in ("qty_e8", "cost_e8", "lot_n"))


def close(books: Books, qty: int, proceeds: int) -> int:
    return int(lots.close_lots(books.state, books.out, S, ORIGIN_T, LINKS, qty, proceeds))


def test_lots_are_opened_in_order_and_numbered_across_instruments() -> None:
    books = Books()
    books.desk["lot_n"] = 40
    opened((10, 1_000), (20, 2_500), books=books)
    assert held(books) == [(41, 10, 1_000), (42, 20, 2_500)]
    assert position(books) == (30, 3_500, 2)
    assert [int(t) for t in books.state["lots"][S]["opened_t"][:3]] == [NOW_T, NOW_T, 0]
    first, second = books.rows("position_lot")
    assert (first["lot_row_id"], first["lot_id"], first["fill_id"], first["instrument_id"]) == (1, 41, 100, S)
    assert (first["kind_id"], first["qty_e8"], first["cost_e8"]) == (c.LOT_OPEN, 10, 1_000)
    assert (first["left_e8"], first["left_cost_e8"]) == (10, 1_000)
    assert (first["origin_hour_t"], first["hour_t"], first["at_t"]) == (ORIGIN_T, HOUR_T, NOW_T)
    assert (second["lot_id"], second["fill_id"], second["qty_e8"], second["cost_e8"]) == (42, 101, 20, 2_500)
    assert int(books.positions[0]["lot_n"]) == 0, "no other instrument's lots"


@pytest.mark.parametrize("head", [0, 1, 5, MAX_LOTS - 1])
def test_a_full_ring_grows_its_newest_lot(head: int) -> None:
    books = Books()
    books.positions[S]["lot_head_n"] = head
    opened(*[(i + 1, 10 * (i + 1)) for i in range(MAX_LOTS)], books=books)
    before = held(books)
    assert before == [(i + 1, i + 1, 10 * (i + 1)) for i in range(MAX_LOTS)]
    opened((7, 5_000), books=books)
    assert held(books) == [*before[:-1], (MAX_LOTS, MAX_LOTS + 7, 10 * MAX_LOTS + 5_000)]
    assert position(books) == (sum(q for _, q, _ in before) + 7, sum(k for *_, k in before) + 5_000, MAX_LOTS)
    row = books.rows("position_lot")[-1]
    assert (row["kind_id"], row["lot_id"], row["qty_e8"], row["cost_e8"]) == (c.LOT_MERGE, MAX_LOTS, 7, 5_000)
    assert (row["left_e8"], row["left_cost_e8"]) == (MAX_LOTS + 7, 10 * MAX_LOTS + 5_000)
    assert (row["fill_id"], row["instrument_id"], row["origin_hour_t"]) == (100, S, ORIGIN_T)
    assert int(books.desk["lot_n"]) == MAX_LOTS


def test_a_sale_inside_a_lot_takes_its_share_of_the_cost_rounded_down() -> None:
    books = opened((7, 1_000), (5, 900))
    assert close(books, 3, 500) == 500 - 428  # 1000 x 3 / 7 = 428.57
    assert held(books) == [(1, 4, 572), (2, 5, 900)]
    assert position(books) == (9, 1_472, 2)
    row = books.rows("position_lot")[-1]
    assert (row["kind_id"], row["qty_e8"], row["cost_e8"]) == (c.LOT_REDUCE, -3, -428)
    assert (row["left_e8"], row["left_cost_e8"], row["fill_id"]) == (4, 572, 21)
    assert (row["instrument_id"], row["origin_hour_t"]) == (S, ORIGIN_T)
    (trade,) = books.rows("executed_trade")
    assert (trade["lot_id"], trade["lot_row_id"], trade["fill_id"]) == (1, 3, 21)
    assert (trade["quote_id"], trade["campaign_id"], trade["instrument_id"]) == (c.CAD, 9, S)
    assert (trade["qty_e8"], trade["cost_e8"], trade["proceeds_e8"], trade["pnl_e8"]) == (3, 428, 500, 72)
    assert (trade["origin_hour_t"], trade["hour_t"], trade["opened_t"]) == (ORIGIN_T, HOUR_T, NOW_T)
    assert int(books.positions[S]["realised_e8"]) == 72


def test_a_sale_across_lots_takes_the_oldest_first_and_the_last_slice_takes_the_rest() -> None:
    books = opened((7, 1_000), (5, 901), (3, 77))
    books.positions[S]["realised_e8"] = 10_000
    # 500 for 10: the first 7 get 350, the other 3 what is left of the money
    assert close(books, 10, 501) == (350 - 1_000) + (151 - 540)
    assert held(books) == [(2, 2, 361), (3, 3, 77)]
    assert position(books) == (5, 438, 2)
    assert int(books.positions[S]["lot_head_n"]) == 1
    assert int(books.positions[S]["realised_e8"]) == 10_000 - 1_039
    kinds = [(r["kind_id"], r["lot_id"], r["qty_e8"], r["cost_e8"]) for r in books.rows("position_lot")[3:]]
    assert kinds == [(c.LOT_CLOSE, 1, -7, -1_000), (c.LOT_REDUCE, 2, -3, -540)]
    trades = [(t["lot_id"], t["lot_row_id"], t["qty_e8"], t["cost_e8"], t["proceeds_e8"]) for t in books.rows("executed_trade")]
    assert trades == [(1, 4, 7, 1_000, 350), (2, 5, 3, 540, 151)]


@pytest.mark.parametrize("head", [0, MAX_LOTS - 2, MAX_LOTS - 1])
def test_selling_everything_empties_the_ring_wherever_it_begins(head: int) -> None:
    books = Books()
    books.positions[S]["lot_head_n"] = head
    opened((1, 11), (2, 22), (4, 45), books=books)
    assert close(books, 7, 100) == 100 - 78
    assert position(books) == (0, 0, 0)
    assert int(books.positions[S]["lot_head_n"]) == (head + 3) % MAX_LOTS
    assert [t["proceeds_e8"] for t in books.rows("executed_trade")] == [14, 28, 58]  # 100/7, then 86 x 2/6, then the rest
    opened((9, 90), books=books)
    assert held(books) == [(4, 9, 90)]


def test_closing_exactly_one_lot_leaves_the_next_untouched() -> None:
    books = opened((7, 1_000), (5, 900))
    assert close(books, 7, 1_234) == 234
    assert held(books) == [(2, 5, 900)]
    assert [r["kind_id"] for r in books.rows("position_lot")[2:]] == [c.LOT_CLOSE]


def test_a_last_slice_of_one_unit_is_sold() -> None:
    books = opened((7, 1_000), (2, 200))
    assert close(books, 8, 80) == 80 - 1_100
    assert held(books) == [(2, 1, 100)]
    assert close(books, 1, 30) == -70
    assert position(books) == (0, 0, 0)


def test_a_large_lot_is_split_with_a_128_bit_product() -> None:
    books = opened((3 * 10**17, 10**18 + 1))
    assert close(books, 10**17, 5) == 5 - (10**18 + 1) // 3


def test_more_than_is_held_is_refused_before_anything_changes() -> None:
    books = opened((7, 1_000))
    with pytest.raises(ValueError, match="exceeds the lots held"):
        close(books, 8, 1)
    assert held(books) == [(1, 7, 1_000)]
    assert books.rows("executed_trade") == []
