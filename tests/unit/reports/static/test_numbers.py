"""Money as text: every digit of the integer, no digit that is not in it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.static import numbers


@given(st.integers(-(10**18), 10**18))
def test_money_reads_back_exactly(value_e8: int) -> None:
    figure = numbers.money(value_e8, "USD", sign=True)
    text = (figure.head + figure.tail).replace(",", "").replace(numbers.MINUS, "-")
    assert Decimal(text) == Decimal(value_e8).scaleb(-8)
    assert len(figure.tail) == 6
    assert (figure.head[0] == "+") == (value_e8 > 0)


@given(st.integers(-(10**9), 10**9))
def test_percent_reads_back_exactly(value_ppm: int) -> None:
    figure = numbers.percent(value_ppm)
    assert Decimal((figure.head + figure.tail).replace(",", "").replace(numbers.MINUS, "-")) == Decimal(value_ppm).scaleb(-4)
    assert str(figure).endswith(" %")


@pytest.mark.parametrize(
    ("value_e8", "text"),
    [
        (0, "0.00"),
        (-1, "0.00"),
        (499_999, "0.00"),
        (500_000, "0.00"),
        (1_500_000, "0.02"),
        (-123_456_789_012, "\u22121,234.57"),
    ],
)
def test_sentences_round_half_even_and_have_no_negative_zero(value_e8: int, text: str) -> None:
    assert numbers.money_text(value_e8) == text


@pytest.mark.parametrize(
    ("after", "before", "ppm"), [(110, 100, 100_000), (90, 100, -100_000), (1, 0, 0), (10**17 + 1, 10**17, 0)]
)
def test_ratio(after: int, before: int, ppm: int) -> None:
    assert numbers.ratio_ppm(after, before) == ppm


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2013"), (float("nan"), "\u2013"), (0.53765, "0.5376"), (-0.00001, "0.0000"), (-0.5, "\u22120.5000")],
)
def test_measures(value: float | None, text: str) -> None:
    assert numbers.measure(value) == text


def test_times_and_spans() -> None:
    assert numbers.utc(1_709_265_600) == "2024-03-01 04:00"
    assert numbers.day(1_709_265_600) == "2024-03-01"
    assert [numbers.span(h * 3600) for h in (1, 76, 240, 241, 480)] == ["1 h", "76 h", "240 h", "10 d 1 h", "20 d"]
    assert [numbers.plural(n, "entry", "entries") for n in (0, 1, 1200)] == ["0 entries", "1 entry", "1,200 entries"]
