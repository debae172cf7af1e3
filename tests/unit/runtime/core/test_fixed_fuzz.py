"""The fixed-point arithmetic against exact fractions on random words, in whichever mode the suite runs (JIT on, or off)."""

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
ROUNDINGS = {fixed.mul_floor: floor, fixed.mul_ceil: ceil}
FUNCTIONS = list(ROUNDINGS)
POWERS = [2**k for k in (0, 1, 20, 30, 31, 32, 33, 40, 52, 53, 61, 62)]
EDGES = sorted(
    w
    for w in {s * (p + d) for p in [*POWERS, 2**63, 10**6, 10**8] for d in (-2, -1, 0, 1, 2) for s in (1, -1)}
    if LOW <= w <= HIGH
)
WORDS = st.one_of(st.sampled_from(EDGES), st.integers(LOW, HIGH), st.integers(-(10**12), 10**12))


def oracle(a: int, b: int, c: int, function: object) -> int | str:
    if c <= 0:
        return "ZeroDivisionError"
    exact = ROUNDINGS[function](Fraction(a * b, c))
    return exact if LOW <= exact <= HIGH else "OverflowError"


def outcome(function: object, *words: int) -> int | str:
    try:
        return int(function(*(np.int64(word) for word in words)))
    except (OverflowError, ZeroDivisionError) as e:
        return type(e).__name__


@settings(max_examples=3_000, deadline=None, derandomize="CI" in os.environ)
@given(WORDS, WORDS, WORDS, st.sampled_from(FUNCTIONS))
def test_product_over_divisor_is_exact(a: int, b: int, c: int, function: object) -> None:
    assert outcome(function, a, b, c) == oracle(a, b, c, function)


@settings(max_examples=1_000, deadline=None, derandomize="CI" in os.environ)
@given(WORDS, WORDS)
def test_sum_is_exact_or_refused(a: int, b: int) -> None:
    assert outcome(fixed.add, a, b) == (a + b if LOW <= a + b <= HIGH else "OverflowError")


def edge_case(rng: random.Random) -> tuple[int, int, int]:
    """Return three words at or near powers of two and ten, divisors mostly positive."""
    a, b, c = (rng.choice(EDGES) for _ in range(3))
    return a, b, c if rng.random() < 0.05 else max(abs(c), 1) if c > LOW else HIGH


def end_case(rng: random.Random) -> tuple[int, int, int]:
    """Return words whose quotient straddles an end of int64."""
    c = rng.randint(1, HIGH)
    product = rng.choice([2**63, LOW]) * c + rng.randint(-2, 2) * c + rng.randint(-2, 2)
    a = rng.choice([rng.randint(1, 2**40), max(abs(product) // HIGH + 1, rng.randint(1, HIGH))])
    return a, max(min(product // a, HIGH), LOW), c


def exact_case(rng: random.Random) -> tuple[int, int, int]:
    """Return words whose product is a multiple of the divisor, or one beside it in one factor."""
    c = rng.randint(1, 2 ** rng.randint(1, 62))
    b = rng.randint(LOW, HIGH)
    return rng.choice([c, -c, c - 1, 1 - c]), b, c


def money_case(rng: random.Random) -> tuple[int, int, int]:
    """Return a quantity or amount, a price or rate, and the scale between them."""
    return (
        rng.randint(-(10 ** rng.randint(1, 18)), 10 ** rng.randint(1, 18)),
        rng.randint(0, 10 ** rng.randint(1, 14)),
        rng.choice([10**6, 10**8]),
    )


def word_case(rng: random.Random) -> tuple[int, int, int]:
    """Return words of any length."""
    a, b, c = (rng.randint(-(2 ** rng.randint(1, 63)), 2 ** rng.randint(1, 63) - 1) for _ in range(3))
    return a, b, abs(c) if c != LOW and rng.random() < 0.95 else c


KINDS = (edge_case, end_case, exact_case, money_case, word_case)


def differential_cases(seed: int, count: int) -> None:
    """Compare `count` products and a fifth as many sums with exact fractions; every case names its seed when it fails."""
    rng = random.Random(seed)
    for i in range(count):
        words = KINDS[i % len(KINDS)](rng)
        function = FUNCTIONS[(i // len(KINDS)) % len(FUNCTIONS)]
        assert outcome(function, *words) == oracle(*words, function), (seed, i, words)
        if i % 5 == 0:
            a, b = words[:2]
            assert outcome(fixed.add, a, b) == (a + b if LOW <= a + b <= HIGH else "OverflowError"), (seed, i, a, b)


def test_boundary_weighted_cases() -> None:
    differential_cases(1, 20_000)


@pytest.mark.slow
def test_a_million_boundary_weighted_cases() -> None:
    differential_cases(2, int(os.environ.get("BALLAST_FIXED_CASES", "1000000")))


def test_every_kind_of_case_meets_its_branch() -> None:
    """A generator that never leaves the middle of the range would prove nothing."""
    rng = random.Random(3)
    seen = {kind.__name__: {str(oracle(*kind(rng), f))[:8] for f in FUNCTIONS for _ in range(400)} for kind in KINDS}
    assert all("Overflow" in seen[name] for name in ("edge_case", "end_case", "word_case")), seen
    assert all("ZeroDivi" in seen[name] for name in ("edge_case", "word_case"))
    ends = [abs(abs(e) - 2**63) for _ in range(400) if isinstance(e := oracle(*end_case(rng), fixed.mul_floor), int)]
    assert sum(distance <= 4 for distance in ends) > 50


def test_jit_off_follows_the_same_oracle(repository: Path) -> None:
    script = "from tests.unit.runtime.core.test_fixed_fuzz import differential_cases; differential_cases(3, 4000)"
    subprocess.run([sys.executable, "-c", script], cwd=repository, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True)
