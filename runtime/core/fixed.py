"""Fixed-point arithmetic on int64 with a 128-bit intermediate and a stated rounding.

The Python bodies (arbitrary-precision integers) are the specification. Under the JIT the `@overload` bodies take
their place; the property tests hold both against `fractions.Fraction`, overflow and negatives included. Long
division follows Knuth, TAOCP volume 2, algorithm 4.3.1 D, with 32-bit digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from runtime.jit import core, replaced_when_compiled

FLOOR: Final = 0
CEIL: Final = 1
I64_MAX: Final = 9_223_372_036_854_775_807
I64_MIN: Final = -9_223_372_036_854_775_808

_BAD_DIVISOR: Final = "mul_div: the divisor must be positive"
_BAD_QUOTIENT: Final = "mul_div: the quotient exceeds int64"
_BAD_SUM: Final = "add: the sum exceeds int64"


def _mul_div(a: int, b: int, c: int, rounding: int) -> int:
    a, b, c = int(a), int(b), int(c)
    if c <= 0:
        raise ZeroDivisionError(_BAD_DIVISOR)
    quotient, rest = divmod(a * b, c)
    if rounding == CEIL and rest != 0:
        quotient += 1
    if quotient > I64_MAX or quotient < I64_MIN:
        raise OverflowError(_BAD_QUOTIENT)
    return np.int64(quotient)  # type: ignore[return-value]  # callers see one integer type in both modes


def _add(a: int, b: int) -> int:
    total = int(a) + int(b)
    if total > I64_MAX or total < I64_MIN:
        raise OverflowError(_BAD_SUM)
    return np.int64(total)  # type: ignore[return-value]  # callers see one integer type in both modes


# ---- compiled counterparts: unsigned words appear here and nowhere else -----------------------------------------
u64 = np.uint64


@core
def _magnitude(a: int) -> Any:
    return u64(a) if a >= 0 else u64(0) - u64(a)


@core
def _digit(high: Any, next_digit: Any, v1: Any, v0: Any) -> Any:
    """Return one 32-bit quotient digit of (high, next_digit) / (v1, v0) (algorithm D, step D3)."""
    base = u64(1) << u64(32)
    q = high // v1
    r = high - q * v1
    while q >= base or q * v0 > ((r << u64(32)) | next_digit):
        q = q - u64(1)
        r = r + v1
        if r >= base:
            break
    return q


@core
def _divide_128(high: Any, low: Any, divisor: Any) -> Any:
    """Return (quotient, remainder) of the 128-bit (high, low) by a divisor greater than `high`."""
    shift = u64(0)
    while (divisor >> u64(63)) == u64(0):
        divisor = divisor << u64(1)
        shift = shift + u64(1)
    if shift > u64(0):
        high = (high << shift) | (low >> (u64(64) - shift))
        low = low << shift
    mask = u64(0xFFFFFFFF)
    v1, v0 = divisor >> u64(32), divisor & mask
    u1, u0 = low >> u64(32), low & mask
    q1 = _digit(high, u1, v1, v0)
    middle = ((high << u64(32)) | u1) - q1 * divisor
    q0 = _digit(middle, u0, v1, v0)
    rest = ((middle << u64(32)) | u0) - q0 * divisor
    return (q1 << u64(32)) | q0, rest >> shift


@core
def _mul_div_words(a: Any, b: Any, c: Any, rounding: Any) -> Any:
    if c <= 0:
        raise ZeroDivisionError("mul_div: the divisor must be positive")
    negative = (a < 0) != (b < 0)
    x, y, divisor = _magnitude(a), _magnitude(b), u64(c)
    mask = u64(0xFFFFFFFF)
    x0, x1, y0, y1 = x & mask, x >> u64(32), y & mask, y >> u64(32)
    p00, p01, p10, p11 = x0 * y0, x0 * y1, x1 * y0, x1 * y1
    middle = (p00 >> u64(32)) + (p01 & mask) + (p10 & mask)
    low = (p00 & mask) | (middle << u64(32))
    high = p11 + (p01 >> u64(32)) + (p10 >> u64(32)) + (middle >> u64(32))
    if high == u64(0):
        q = low // divisor
        rest = low - q * divisor
    elif high >= divisor:
        raise OverflowError("mul_div: the quotient exceeds int64")
    else:
        q, rest = _divide_128(high, low, divisor)
    up = False  # whether the magnitude grows by one
    if rest != u64(0):
        up = negative if rounding == FLOOR else not negative
    limit = u64(0x8000000000000000) if negative else u64(0x7FFFFFFFFFFFFFFF)
    if q > limit or (up and q == limit):
        raise OverflowError("mul_div: the quotient exceeds int64")
    if up:
        q = q + u64(1)
    return np.int64(u64(0) - q) if negative else np.int64(q)


@replaced_when_compiled(_mul_div)
def _compiled_mul_div(a: Any, b: Any, c: Any, rounding: Any) -> Callable[..., Any]:
    def words(a: Any, b: Any, c: Any, rounding: Any) -> Any:
        return _mul_div_words(np.int64(a), np.int64(b), np.int64(c), np.int64(rounding))

    return words


@replaced_when_compiled(_add)
def _compiled_add(a: Any, b: Any) -> Callable[..., Any]:
    def words(a: Any, b: Any) -> Any:
        x, y = np.int64(a), np.int64(b)
        total = x + y
        if ((x ^ total) & (y ^ total)) < 0:
            raise OverflowError("add: the sum exceeds int64")
        return total

    return words


@core
def add(a: int, b: int) -> int:
    """Return a + b; raise `OverflowError` beyond int64."""
    return _add(a, b)


@core
def mul_floor(a: int, b: int, c: int) -> int:
    """Return a * b / c rounded towards minus infinity; c > 0."""
    return _mul_div(a, b, c, FLOOR)


@core
def mul_ceil(a: int, b: int, c: int) -> int:
    """Return a * b / c rounded towards plus infinity; c > 0."""
    return _mul_div(a, b, c, CEIL)


@core
def imin(a: int, b: int) -> int:
    """Return the smaller of two integers."""
    return a if a < b else b


@core
def imax(a: int, b: int) -> int:
    """Return the larger of two integers."""
    return a if a > b else b


@core
def round_down(value: int, unit: int) -> int:
    """Return the largest multiple of `unit` (> 0) not above a non-negative value."""
    return value - value % unit


@core
def mul_floor_saturating(a: int, b: int, c: int) -> int:
    """Return a * b / c rounded down for non-negative a and b, at most a quarter of int64's range.

    For measures of the market (traded value), of the account (its peak) and of a wish (its quantity), never for money.
    """
    most = I64_MAX // 4
    # for c >= 4 b the result is at most a / 4, and the quotient below would not fit
    if c // 4 < b and a >= mul_ceil(most, c, b):
        return most
    return mul_floor(a, b, c)
