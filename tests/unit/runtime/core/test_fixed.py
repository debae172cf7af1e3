"""The fixed-point arithmetic against exact fractions, in whichever mode the suite runs (JIT on, or off)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core import fixed

HIGH, LOW = 2**63 - 1, -(2**63)
FUNCTIONS = {fixed.mul_floor: floor, fixed.mul_ceil: ceil}
EDGES = st.sampled_from(
    [0, 1, -1, 2, -2, HIGH, LOW, HIGH - 1, LOW + 1, 2**62, -(2**62), 2**32, 2**32 - 1, -(2**32), 10**8, 10**6]
)
WORDS = st.one_of(EDGES, st.integers(LOW, HIGH), st.integers(-(10**12), 10**12))


def oracle(a: int, b: int, c: int, function: object) -> int | str:
    if c <= 0:
        return "ZeroDivisionError"
    exact = FUNCTIONS[function](Fraction(a * b, c))
    return exact if LOW <= exact <= HIGH else "OverflowError"


def outcome(function: object, *words: int) -> int | str:
    try:
        return int(function(*(np.int64(word) for word in words)))
    except (OverflowError, ZeroDivisionError) as e:
        return type(e).__name__


@settings(max_examples=3_000, deadline=None)
@given(WORDS, WORDS, WORDS, st.sampled_from(list(FUNCTIONS)))
def test_product_over_divisor_is_exact(a: int, b: int, c: int, function: object) -> None:
    assert outcome(function, a, b, c) == oracle(a, b, c, function)


@settings(max_examples=1_000, deadline=None)
@given(WORDS, WORDS)
def test_sum_is_exact_or_refused(a: int, b: int) -> None:
    assert outcome(fixed.add, a, b) == (a + b if LOW <= a + b <= HIGH else "OverflowError")


def boundary_cases(seed: int, count: int) -> None:
    """Check quotients that straddle the ends of int64, and exact halves: neither is rounded to the nearest."""
    rng = random.Random(seed)
    for _ in range(count):
        c = rng.randint(1, HIGH)
        product = rng.choice([2**63, LOW]) * c + rng.randint(-2, 2) * c + rng.randint(-2, 2)
        a = rng.randint(1, 2**40)
        b = product // a
        if LOW <= b <= HIGH:
            function = rng.choice(list(FUNCTIONS))
            assert outcome(function, a, b, c) == oracle(a, b, c, function), (seed, a, b, c)
        c = 2 * rng.randint(1, 2**61)
        b = rng.randint(-(2**40), 2**40) * 2 + 1
        for function in FUNCTIONS:
            assert outcome(function, c // 2, b, c) == oracle(c // 2, b, c, function), (seed, c // 2, b, c)


def test_boundaries_and_halves() -> None:
    boundary_cases(1, 10_000)


@pytest.mark.slow
def test_a_million_boundary_weighted_cases() -> None:
    boundary_cases(2, 350_000)


@pytest.mark.parametrize(("value", "unit", "expected"), [(0, 7, 0), (6, 7, 0), (7, 7, 7), (20, 7, 14)])
def test_round_down(value: int, unit: int, expected: int) -> None:
    assert fixed.round_down(value, unit) == expected


def test_jit_off_follows_the_same_oracle(repository: Path) -> None:
    script = "from tests.unit.runtime.core.test_fixed import boundary_cases; boundary_cases(3, 2000)"
    subprocess.run([sys.executable, "-c", script], cwd=repository, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True)
