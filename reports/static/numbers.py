"""Exact figures for people: scaled integers in, grouped decimal text out, never through binary floats."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from math import isnan
from typing import Final, NamedTuple

MINUS: Final = "\u2212"
NO_VALUE: Final = "\u2013"
MONEY_SHOWN_N: Final = 2
MONEY_EXACT_N: Final = 8
PERCENT_SHOWN_N: Final = 2
PERCENT_EXACT_N: Final = 4


class Figure(NamedTuple):
    """One exact number, split where the eye may stop reading: `head` + `tail` is the whole of it."""

    head: str
    tail: str
    unit: str

    def __str__(self) -> str:
        return self.head + self.tail + (f" {self.unit}" if self.unit else "")


def exact(value: Decimal, shown_n: int, exact_n: int, unit: str = "", *, sign: bool = False) -> Figure:
    """Return a decimal with thousands separators and all `exact_n` places, cut after `shown_n` of them."""
    text = f"{abs(value):,.{exact_n}f}"
    negative = value < 0 and any(digit in text for digit in "123456789")
    mark = MINUS if negative else "+" if sign and value > 0 else ""
    cut = len(text) - exact_n + shown_n
    return Figure(mark + text[:cut], text[cut:], unit)


def money(value_e8: int, unit: str = "", *, sign: bool = False) -> Figure:
    """Return money or a quantity given in 1e-8 units, exact to the last unit."""
    return exact(Decimal(value_e8).scaleb(-8), MONEY_SHOWN_N, MONEY_EXACT_N, unit, sign=sign)


def percent(value_ppm: int, *, sign: bool = False) -> Figure:
    """Return a ratio given in 1e-6 units as a percentage, exact to the last unit."""
    return exact(Decimal(value_ppm).scaleb(-4), PERCENT_SHOWN_N, PERCENT_EXACT_N, "%", sign=sign)


def money_text(value_e8: int) -> str:
    """Return money rounded half-even to cents, for sentences; tables show the exact figure."""
    return str(exact(Decimal(value_e8).scaleb(-8).quantize(Decimal("0.01"), ROUND_HALF_EVEN), 2, 2))


def percent_text(value_ppm: int, *, sign: bool = True) -> str:
    """Return a ratio rounded half-even to hundredths of a percent, for sentences."""
    return str(exact(Decimal(value_ppm).scaleb(-4).quantize(Decimal("0.01"), ROUND_HALF_EVEN), 2, 2, "%", sign=sign))


def measure(value: float | None, places_n: int = 4, *, sign: bool = False) -> str:
    """Return a statistic (AUC, Brier, ...), which is a float by nature, with fixed places; an en dash when undefined."""
    if value is None or isnan(value):
        return NO_VALUE
    return str(exact(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places_n), ROUND_HALF_EVEN), places_n, places_n,
                     sign=sign))  # fmt: skip


def count(value_n: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{value_n:,}".replace("-", MINUS)


def ratio_ppm(after_e8: int, before_e8: int) -> int:
    """Return `after / before - 1` in 1e-6 units, rounded half-even; 0 when there is nothing to divide by."""
    if before_e8 == 0:
        return 0
    change = Decimal(after_e8 - before_e8) * 1_000_000 / Decimal(before_e8)
    return int(change.quantize(Decimal(1), ROUND_HALF_EVEN))


def utc(at_t: int) -> str:
    """Return `2024-03-01 04:00` for seconds since 1970, in UTC."""
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d %H:%M")


def day(at_t: int) -> str:
    """Return `2024-03-01` for seconds since 1970, in UTC."""
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d")


def month(at_t: int) -> str:
    """Return `2024-03` for seconds since 1970, in UTC."""
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m")


def year(at_t: int) -> int:
    """Return the UTC calendar year of seconds since 1970."""
    return datetime.fromtimestamp(at_t, UTC).year


def span(seconds_t: int) -> str:
    """Return a duration in whole hours, or in days when that is the natural word."""
    hours = seconds_t // 3600
    if hours <= 240:
        return f"{hours} h"
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def plural(n: int, one: str, many: str = "") -> str:
    """Return `1 fill`, `2 fills`."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"
