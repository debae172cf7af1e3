"""Thinning keeps what the eye must not lose, and axes carry round marks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.static import sampling


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_thinning_keeps_ends_and_extremes_in_order(n: int, buckets_n: int, seed: int) -> None:
    value = np.random.Generator(np.random.PCG64(seed)).normal(size=n)
    at_t = np.arange(n, dtype=np.int64) * 3600
    x, y = sampling.thin(at_t, value, buckets_n)
    assert len(x) <= max(n if n <= 2 * buckets_n else 0, 2 * buckets_n + 2)
    assert (np.diff(x) > 0).all()
    assert (x[0], x[-1], y.min(), y.max()) == (at_t[0], at_t[-1], value.min(), value.max())
    assert (y == value[x // 3600]).all()


def test_ranges_keep_wicks_and_leave_holes_open() -> None:
    n = 1000
    close = np.full(n, 10.0)
    low, high = close - 1, close + 1
    low[501], high[77] = 0.5, 99.0
    for values in (low, high, close):
        values[200:300] = np.nan
    _, lows, highs, closes = sampling.ranges(np.arange(n, dtype=np.int64), low, high, close, 50)
    assert np.nanmin(lows) == 0.5
    assert np.nanmax(highs) == 99.0
    assert np.isnan(closes).tolist() == [10 <= i < 15 for i in range(50)]
    assert list(sampling.runs_of(~np.isnan(closes))) == [(0, 10), (15, 50)]


@pytest.mark.parametrize(
    ("first", "last", "most", "texts"),
    [
        ("2020-01-01", "2024-12-31", 5, ["2020", "2021", "2022", "2023", "2024"]),
        ("2023-11-15", "2024-02-20", 5, ["2023-12", "2024-01", "2024-02"]),
        ("2024-03-02", "2024-03-08", 4, ["2024-03-02", "2024-03-04", "2024-03-06", "2024-03-08"]),
    ],
)
def test_time_marks(first: str, last: str, most: int, texts: list[str]) -> None:
    begin, end = (int(np.datetime64(day, "s").astype(np.int64)) for day in (first, last))
    assert [text for _, text in sampling.time_marks(begin, end, most)] == texts


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e4))
def test_log_marks_lie_within_and_rise(low: float, ratio: float) -> None:
    marks = sampling.log_marks(low, low * ratio)
    assert 2 <= len(marks) <= 14
    assert all(a < b for a, b in pairwise(marks))
    assert all(low * 0.999999 <= mark <= low * ratio * 1.000001 for mark in marks)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (-20.0, "\u221220"), (140_000.0, "140,000"), (0.00025, "0.00025"), (0.0, "0")]
)
def test_axis_numbers(value: float, text: str) -> None:
    assert sampling.plain(value) == text
