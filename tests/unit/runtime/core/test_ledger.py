"""Cash entries and portfolio value, with records and expected numbers chosen by hand."""

from __future__ import annotations

import pytest

from runtime.core import codes as c
from runtime.core import ledger
from runtime.core.fixed import I64_MAX
from runtime.core.records import INSTRUMENTS
from tests.support.books import HOUR_T, NOW_T, Books

LAST = INSTRUMENTS - 1


def post(books: Books, quote: int, delta: int, *, kind: int = c.L_BUY) -> None:
    ledger.post(books.state, books.out, (quote, kind, 31, 5, HOUR_T - 3_600), (delta, 32, 33, 34))


def test_an_entry_says_what_was_what_moved_and_what_is() -> None:
    books = Books()
    books.desk["entry_n"] = 70
    books.cash[c.CAD]["cash_e8"], books.cash[c.CAD]["entry_n"], books.cash[c.CAD]["last_entry_id"] = 1_000, 6, 44
    post(books, c.CAD, -999)
    post(books, c.CAD, 500, kind=c.L_SELL)
    first, second = books.rows("cash_ledger")
    expected = {
        "entry_id": 71, "account_id": 7, "mode_id": 2, "origin_hour_t": HOUR_T - 3_600, "hour_t": HOUR_T, "at_t": NOW_T,
        "quote_id": c.CAD, "entry_n": 7, "previous_entry_id": 44, "kind_id": c.L_BUY, "fill_id": 31, "instrument_id": 5,
        "before_e8": 1_000, "delta_e8": -999, "after_e8": 1, "notional_e8": 32, "fee_e8": 33, "slippage_e8": 34,
    }  # fmt: skip
    assert first == expected
    changed = {
        "entry_id": 72,
        "entry_n": 8,
        "previous_entry_id": 71,
        "kind_id": c.L_SELL,
        "before_e8": 1,
        "delta_e8": 500,
        "after_e8": 501,
    }
    assert second == expected | changed
    cash = books.cash[c.CAD]
    assert (int(cash["cash_e8"]), int(cash["entry_n"]), int(cash["last_entry_id"])) == (501, 8, 72)
    assert int(books.cash[c.USD]["entry_n"]) == int(books.cash[c.USDC]["entry_n"]) == 0


def test_a_balance_may_reach_zero_but_not_less() -> None:
    books = Books()
    books.cash[c.USD]["cash_e8"] = 10
    post(books, c.USD, -10)
    assert int(books.cash[c.USD]["cash_e8"]) == 0
    with pytest.raises(ValueError, match="cash would become negative"):
        post(books, c.USD, -1)
    assert len(books.rows("cash_ledger")) == 1
    books.cash[c.USD]["cash_e8"] = I64_MAX
    with pytest.raises(OverflowError):
        post(books, c.USD, 1)


@pytest.mark.parametrize(
    ("quote", "amount", "expected"),
    [
        (c.USD, 10**15 + 1, 10**15 + 1),
        (c.CAD, 10**15 + 1, 730_000_000_000_000),
        (c.CAD, -1, -1),
        (c.USDC, 10**15, 999_900_000_000_000),
    ],
)
def test_amounts_are_valued_at_the_rate_rounded_down(quote: int, amount: int, expected: int) -> None:
    books = Books()
    assert ledger.to_base(books.state, quote, amount) == expected


def test_revaluing_moves_every_sum_by_the_change() -> None:
    books = Books()
    books.desk["gross_e8"], books.cash["exposure_e8"] = 10_000, (3_000, 4_000, 5_000)
    position = books.positions[1]
    position["qty_e8"], position["mark_e8"], position["value_e8"] = 3 * 10**15, 10**8 + 1, 700
    ledger.revalue(books.policy, books.state, 1)
    value = (3 * 10**15 + 3 * 10**7) * 73 // 100
    assert int(position["value_e8"]) == value
    assert int(books.desk["gross_e8"]) == 10_000 + value - 700
    assert [int(x) for x in books.cash["exposure_e8"]] == [3_000, 4_000 + value - 700, 5_000]
    position["qty_e8"] = 1
    position["mark_e8"] = 3 * 10**8
    ledger.revalue(books.policy, books.state, 1)
    assert int(position["value_e8"]) == 2  # 3 CAD units at 0.73
    position["qty_e8"] = 0
    ledger.revalue(books.policy, books.state, 1)
    assert int(position["value_e8"]) == 0
    assert int(books.desk["gross_e8"]) == 9_300
    assert [int(x) for x in books.cash["exposure_e8"]] == [3_000, 3_300, 5_000]


def test_a_position_is_worth_its_rounded_down_notional_at_the_rate() -> None:
    books = Books()
    books.positions[0]["qty_e8"], books.positions[0]["mark_e8"] = 7, 99_999_999
    ledger.revalue(books.policy, books.state, 0)
    assert int(books.positions[0]["value_e8"]) == 6


# ---- value, drawdown, tiers -------------------------------------------------------------------------------------
def valued(gross: int = 1_000, peak: int = 0, tier: int = 0) -> Books:
    books = Books()
    books.desk["gross_e8"], books.desk["peak_e8"], books.desk["tier_id"] = gross, peak, tier
    for k, drawdown in enumerate((0, 100_000, 150_000, 200_000)):
        books.policy["tiers"][k]["drawdown_ppm"] = drawdown
    return books


def desk(books: Books, *names: str) -> tuple[int, ...]:
    return tuple(int(books.desk[name]) for name in names)


def test_the_value_is_positions_plus_cash_of_every_currency() -> None:
    books = valued(gross=5)
    books.cash["cash_e8"] = (10**15, 10**15, 10**15)
    assert ledger.mark(books.policy, books.state) == 0
    total = 5 + 10**15 + 730_000_000_000_000 + 999_900_000_000_000
    assert desk(books, "pv_e8", "peak_e8", "drawdown_ppm", "tier_id") == (total, total, 0, 0)


@pytest.mark.parametrize(
    ("value", "drawdown", "tier"),
    [(10**12, 0, 0), (900_001 * 10**6, 99_999, 0), (900_000 * 10**6, 100_000, 1), (850_000 * 10**6 + 1, 149_999, 1),
     (850_000 * 10**6, 150_000, 2), (800_000 * 10**6 + 1, 199_999, 2), (800_000 * 10**6, 200_000, 3), (0, 1_000_000, 3)],
)  # fmt: skip
def test_the_tier_follows_the_drawdown_both_ways(value: int, drawdown: int, tier: int) -> None:
    for before in (c.TIER_NORMAL, c.TIER_DD10, c.TIER_DD15):
        books = valued(gross=value, peak=10**12, tier=before)
        assert ledger.mark(books.policy, books.state) == before
        assert desk(books, "pv_e8", "peak_e8", "drawdown_ppm", "tier_id") == (value, 10**12, drawdown, tier)


def test_the_last_tier_stays_whatever_the_drawdown() -> None:
    books = valued(gross=10**12, peak=10**12, tier=c.TIER_HALT20)
    assert ledger.mark(books.policy, books.state) == c.TIER_HALT20
    assert desk(books, "drawdown_ppm", "tier_id") == (0, c.TIER_HALT20)


def test_a_higher_value_is_the_new_peak_and_no_value_has_no_drawdown() -> None:
    books = valued(gross=1_001, peak=1_000)
    books.desk["drawdown_ppm"] = 55
    ledger.mark(books.policy, books.state)
    assert desk(books, "peak_e8", "drawdown_ppm") == (1_001, 0)
    books = valued(gross=0, peak=0)
    books.desk["drawdown_ppm"] = 55
    ledger.mark(books.policy, books.state)
    assert desk(books, "peak_e8", "drawdown_ppm", "tier_id") == (0, 0, 0)
    books = valued(gross=0, peak=1)
    ledger.mark(books.policy, books.state)
    assert desk(books, "peak_e8", "drawdown_ppm", "tier_id") == (1, 1_000_000, 3)
    books = valued(gross=2, peak=3)
    ledger.mark(books.policy, books.state)
    assert desk(books, "drawdown_ppm") == (333_333,)


def test_a_deposit_or_withdrawal_scales_the_peak_so_that_the_drawdown_stays() -> None:
    books = valued(peak=1_000)
    ledger.move_peak(books.state, 800, 1_600)
    assert desk(books, "peak_e8") == (2_000,)
    ledger.move_peak(books.state, 1_600, 401)
    assert desk(books, "peak_e8") == (501,), "rounded down: 2000 x 401 / 1600 = 501.25"
    ledger.move_peak(books.state, 1, 1)
    assert desk(books, "peak_e8") == (501,)
    ledger.move_peak(books.state, 0, 77)
    assert desk(books, "peak_e8") == (77,), "an account without value begins anew"


def test_the_cost_of_open_lots_is_summed_in_the_base_currency() -> None:
    books = Books()
    for s, qty, cost in ((0, 1, 100), (1, 2, 10**15), (2, 0, 999), (LAST, 3, 10**10)):
        books.positions[s]["qty_e8"], books.positions[s]["cost_e8"] = qty, cost
    assert ledger.open_cost_base(books.policy, books.state) == 100 + 730_000_000_000_000 + 9_999_000_000
    assert ledger.open_cost_base(Books().policy, Books().state) == 0
