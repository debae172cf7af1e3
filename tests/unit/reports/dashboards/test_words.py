"""Numbers as an operator reads them: exact from the scaled integer to its text."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.dashboards import words
from runtime.core import codes


@given(st.integers(-(2**62), 2**62), st.integers(0, 8))
def test_a_number_is_rounded_as_decimal_rounds_it(value: int, digits_n: int) -> None:
    exact = Decimal(value).scaleb(-8).quantize(Decimal(1).scaleb(-digits_n), ROUND_HALF_UP)
    text = words.decimal(value, 8, digits_n)
    assert Decimal(text.replace(",", "").replace(words.MINUS, "-")) == exact


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (words.money(-12_345_678_900_000), "\u2212123,456.79"),
        (words.money(0, sign=True), "0.00"),
        (words.money(-1), "0.00"),
        (words.percent(-68_700, 2), "\u22126.87 %"),
        (words.basis_points(1_250), "+12.5"),
        (words.probability(553_000), "0.553"),
        (words.price(94_293_80000000), "94,293.8"),
        (words.price(1_42170000), "1.4217"),
        (words.quantity(2_95000000), "2.95"),
        (words.quantity(100_000_000), "1.00"),
        (words.span(12.3), "12.3 s"),
        (words.span(7_260), "2 h 01 m"),
        (words.span(187_200), "2 d 04 h"),
        (words.moment(0), words.NONE),
    ],
)
def test_what_is_shown(got: str, expected: str) -> None:
    assert got == expected


def test_every_code_of_the_core_has_words() -> None:
    assert set(codes.ACTION_NAMES.values()) == set(words.ACTIONS)
    assert set(codes.GATE_NAMES.values()) == set(words.GATES)
    assert set(codes.OUTLOOK_NAMES.values()) == set(words.OUTLOOKS)
    assert set(codes.REASON_NAMES.values()) == set(words.REASONS)
    assert set(codes.TIER_NAMES.values()) == set(words.TIERS)


def test_a_code_of_a_newer_daemon_is_shown_as_words() -> None:
    assert words.gate("SOME_NEW_GATE") == "Some new gate"
    assert words.action("SOMETHING_NEW")[1] == "Something new"
