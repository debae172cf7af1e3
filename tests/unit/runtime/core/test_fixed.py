"""The fixed-point arithmetic at chosen places: ends of int64, signs, exact quotients, and every branch of the long division.

The compiled counterparts are called as well: with the JIT off they run on NumPy's 64-bit words. Random cases: `test_fixed_fuzz.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.core import fixed

HIGH, LOW = 2**63 - 1, -(2**63)
REFUSED = "OverflowError"
NO_DIVISOR = "ZeroDivisionError"


def outcome(function: Callable[..., Any], *arguments: object) -> int | str:
    """Return a function's integer, or the name of what it raises; 64-bit words wrap, as they do when compiled."""
    try:
        with np.errstate(over="ignore"):
            return int(function(*arguments))
    except (OverflowError, ZeroDivisionError) as e:
        return type(e).__name__


def words(a: int, b: int, c: int, rounding: int) -> int | str:
    """Run the compiled counterpart of the specification."""
    made = fixed._compiled_mul_div(a, b, c, rounding)
    return outcome(made, np.int64(a), np.int64(b), np.int64(c), np.int64(rounding))


def sum_words(a: int, b: int) -> int | str:
    """Run the compiled counterpart of the checked sum."""
    return outcome(fixed._compiled_add(a, b), np.int64(a), np.int64(b))


# a, b, c, rounded down, rounded up
PRODUCTS = [
    (0, 5, 3, 0, 0), (5, 0, 3, 0, 0), (1, 1, 2, 0, 1), (-1, 1, 2, -1, 0), (1, -1, 2, -1, 0), (-1, -1, 2, 0, 1),
    (7, 3, 7, 3, 3), (-7, 3, 7, -3, -3), (10, 10, 3, 33, 34), (-10, 10, 3, -34, -33), (1, 1, HIGH, 0, 1), (-1, 1, HIGH, -1, 0),
    (HIGH, 1, 1, HIGH, HIGH), (LOW, 1, 1, LOW, LOW), (HIGH, HIGH, HIGH, HIGH, HIGH), (LOW, HIGH, HIGH, LOW, LOW),
    (LOW, LOW, HIGH, REFUSED, REFUSED), (HIGH, 2, 1, REFUSED, REFUSED), (LOW, -1, 1, REFUSED, REFUSED), (LOW, 2, 1, REFUSED, REFUSED),
    (HIGH, 3, 2, REFUSED, REFUSED), (2**62, 4, 2, REFUSED, REFUSED), (2**62, -4, 2, LOW, LOW), (-(2**62), 5, 2, REFUSED, REFUSED),
    (HIGH, HIGH - 1, HIGH, HIGH - 1, HIGH - 1),
    # the end of int64 between the two roundings: 2**63 - 1/2, -2**63 - 1/2, -2**63 + 1/2
    (2**62, 4 * 3, 6, REFUSED, REFUSED), ((2**64 - 1) // 3, 3, 2, HIGH, REFUSED), (-((2**64 + 2) // 6), 6, 2, REFUSED, REFUSED),
    (-(2**60), 16 * 10**6 + 1, 2 * 10**6, REFUSED, REFUSED), (-(2**60) + 1, 16, 2, LOW + 8, LOW + 8),
    # products at the edge of one word
    (2**32, 2**32, 2**32, 2**32, 2**32), (2**32 - 1, 2**32 + 1, 1, REFUSED, REFUSED), (2**32 - 1, 2**32 + 1, 2, HIGH, REFUSED),
    (2**32, 2**32, 2, REFUSED, REFUSED), (2**32, -(2**32), 2, LOW, LOW), (2**32, 2**32, 3, 6_148_914_691_236_517_205, 6_148_914_691_236_517_206),
    (5, 7, 0, NO_DIVISOR, NO_DIVISOR), (5, 7, -1, NO_DIVISOR, NO_DIVISOR), (5, 7, LOW, NO_DIVISOR, NO_DIVISOR), (0, 0, 1, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "c", "down", "up"), PRODUCTS)
def test_products_at_chosen_places(a: int, b: int, c: int, down: int | str, up: int | str) -> None:
    assert outcome(fixed.mul_floor, a, b, c) == words(a, b, c, fixed.FLOOR) == down
    assert outcome(fixed.mul_ceil, a, b, c) == words(a, b, c, fixed.CEIL) == up


def factored(target: int, rest: int) -> tuple[int, int, int]:
    """Return words a, b, c with a x b = target x c + rest, rest < c."""
    for c in range(rest + 1, 200):
        for a in range(c, 2_000):
            b, left = divmod(target * c + rest, a)
            if left == 0 and LOW <= b <= HIGH:
                return a, b, c
    raise AssertionError((target, rest))


@pytest.mark.parametrize("target", [HIGH - 1, HIGH, HIGH + 1, LOW, LOW - 1, LOW - 2])
@pytest.mark.parametrize("rest", [0, 1, 2])
def test_the_quotient_beside_either_end_is_exact_or_refused(target: int, rest: int) -> None:
    a, b, c = factored(target, rest)
    above = target + (rest > 0)
    down = target if LOW <= target <= HIGH else REFUSED
    up = above if LOW <= above <= HIGH else REFUSED
    for x, y in ((a, b), (b, a), (-a, -b)):
        if LOW <= y <= HIGH:
            assert outcome(fixed.mul_floor, x, y, c) == words(x, y, c, fixed.FLOOR) == down
            assert outcome(fixed.mul_ceil, x, y, c) == words(x, y, c, fixed.CEIL) == up


SUMS = [
    (1, 2, 3), (HIGH, 0, HIGH), (HIGH, 1, REFUSED), (HIGH - 1, 1, HIGH), (LOW, 0, LOW), (LOW, -1, REFUSED), (LOW + 1, -1, LOW),
    (HIGH, LOW, -1), (LOW, HIGH, -1), (HIGH, HIGH, REFUSED), (LOW, LOW, REFUSED), (2**62, 2**62, REFUSED), (-(2**62), -(2**62), LOW),
    (-5, 5, 0), (-5, 4, -1), (0x5555555555555555, 0x5555555555555555, REFUSED), (0, 0, 0), (2**62, 2**62 - 1, HIGH),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "expected"), SUMS)
def test_sums_at_chosen_places(a: int, b: int, expected: int | str) -> None:
    assert outcome(fixed.add, a, b) == sum_words(a, b) == expected


@pytest.mark.parametrize(
    ("a", "b", "c", "words_"),
    [
        (5, 7, 0, "divisor must be positive"),
        (HIGH, 2, 1, "exceeds int64"),
        (LOW, 2, 1, "exceeds int64"),
        (LOW, -1, 1, "exceeds int64"),
    ],
)
def test_a_refusal_says_what_is_wrong(a: int, b: int, c: int, words_: str) -> None:
    with pytest.raises((OverflowError, ZeroDivisionError), match=f"mul_div: the .*{words_}"):
        fixed.mul_floor(a, b, c)
    with pytest.raises((OverflowError, ZeroDivisionError), match=f"mul_div: the .*{words_}"), np.errstate(over="ignore"):
        fixed._compiled_mul_div(a, b, c, 0)(a, b, c, 0)


@pytest.mark.parametrize(("a", "b"), [(HIGH, 1), (LOW, -1)])
def test_a_refused_sum_says_so(a: int, b: int) -> None:
    with pytest.raises(OverflowError, match="add: the sum exceeds int64"):
        fixed.add(a, b)
    with pytest.raises(OverflowError, match="add: the sum exceeds int64"), np.errstate(over="ignore"):
        fixed._compiled_add(a, b)(a, b)


def test_specification_and_counterpart_give_one_integer_type() -> None:
    assert type(fixed._mul_div(2, 3, 1, fixed.FLOOR)) is type(fixed._add(2, 3)) is np.int64


@pytest.mark.parametrize(("value", "magnitude"), [(0, 0), (1, 1), (-1, 1), (HIGH, HIGH), (LOW + 1, HIGH), (LOW, 2**63)])
def test_a_magnitude_is_a_word(value: int, magnitude: int) -> None:
    assert outcome(fixed._magnitude, np.int64(value)) == magnitude


def divided(high: int, low: int, divisor: int) -> tuple[int, int]:
    with np.errstate(over="ignore"):
        quotient, rest = fixed._divide_128(np.uint64(high), np.uint64(low), np.uint64(divisor))
    return int(quotient), int(rest)


HARD = [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
"""Halves of words that make the first guess of a quotient digit too large by one, by two, or beyond a digit."""


def test_the_long_division_with_hard_digits() -> None:
    rng = random.Random(7)
    for v1 in [1, 3, 2**30, 2**31, 2**31 + 1, 2**32 - 1]:
        for v0 in HARD:
            divisor = v1 << 32 | v0
            for u1 in HARD:
                for u0 in HARD:
                    high = min(divisor - 1, rng.choice([divisor - 1, divisor - 2, divisor // 2, 1, rng.randrange(divisor)]))
                    dividend = high << 64 | u1 << 32 | u0
                    assert divided(high, u1 << 32 | u0, divisor) == divmod(dividend, divisor)


@pytest.mark.parametrize("divisor", [1, 2, 3, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_the_long_division_shifts_any_divisor(divisor: int) -> None:
    for high in {0, divisor // 3, divisor - 1}:
        for low in (0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1):
            assert divided(high, low, divisor) == divmod(high << 64 | low, divisor)


# high, next digit, divisor's halves, and how many guesses are too large
DIGITS = [
    (5, 0, 2**31, 0),
    (2**63 - 1, 2**32 - 1, 2**31, 2**32 - 1),
    (2**31 << 32, 0, 2**31, 2**32 - 1),
    (2**62, 0, 2**31, 2**31),
    ((2**31 << 32) + 2**31 - 1, 2**32 - 2, 2**31, 2**32 - 1),
    (2**64 - 2**33, 0, 2**32 - 1, 2**32 - 1),
    # two guesses too many
    (8_098_850_627_683_090_432, 2**31, 2**31, 2**32 - 2),
    (9_223_372_040_523_633_991, 2**32 - 1, 2**31, 2**32 - 2),
]


@pytest.mark.parametrize(("high", "following", "v1", "v0"), DIGITS)
def test_a_digit_of_the_quotient_is_exact(high: int, following: int, v1: int, v0: int) -> None:
    with np.errstate(over="ignore"):
        digit = int(fixed._digit(np.uint64(high), np.uint64(following), np.uint64(v1), np.uint64(v0)))
    assert digit == (high << 32 | following) // (v1 << 32 | v0)


@pytest.mark.parametrize(("a", "b", "smaller", "larger"), [(1, 2, 1, 2), (2, 1, 1, 2), (-1, 1, -1, 1), (3, 3, 3, 3)])
def test_the_smaller_and_the_larger(a: int, b: int, smaller: int, larger: int) -> None:
    assert (fixed.imin(a, b), fixed.imax(a, b)) == (smaller, larger)


@pytest.mark.parametrize(("value", "unit", "expected"), [(0, 7, 0), (6, 7, 0), (7, 7, 7), (20, 7, 14), (21, 1, 21)])
def test_round_down(value: int, unit: int, expected: int) -> None:
    assert fixed.round_down(value, unit) == expected


QUARTER = HIGH // 4


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (10, 10, 3, 33), (0, 0, 1, 0), (5, 0, 1, 0), (HIGH, 0, 1, 0), (HIGH, HIGH, 1, QUARTER), (HIGH, 1, 1, QUARTER),
        (QUARTER, 1, 1, QUARTER), (QUARTER - 1, 1, 1, QUARTER - 1), (QUARTER + 1, 1, 1, QUARTER), (QUARTER // 8, 8, 1, QUARTER // 8 * 8),
        (QUARTER // 8 - 1, 8, 1, QUARTER // 8 * 8 - 8), (QUARTER // 8 - 1, 80, 10, QUARTER // 8 * 8 - 8), (HIGH, HIGH, HIGH, QUARTER),
        (HIGH, 3, HIGH, 3), (HIGH - 1, 3, HIGH, 2), (2**61, 1, 1, QUARTER), (2**61 - 2, 1, 1, 2**61 - 2),
        (1, QUARTER // 2 + 1, 1, QUARTER // 2 + 1), (HIGH, 1, 4, QUARTER), (HIGH, 1, 5, HIGH // 5), (HIGH, 2, 8, QUARTER),
        (QUARTER, 4, 4, QUARTER), (QUARTER - 1, 4, 4, QUARTER - 1), (3, QUARTER, 4, QUARTER * 3 // 4), (7, 0, 3, 0), (10, 4, 17, 2), (HIGH, 3, 10, QUARTER),
        (2**60, 2, 1, QUARTER),
    ],
)  # fmt: skip
def test_a_measure_of_the_market_saturates(a: int, b: int, c: int, expected: int) -> None:
    assert fixed.mul_floor_saturating(a, b, c) == expected
