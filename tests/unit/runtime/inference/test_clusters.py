"""Clusters from correlations, against exact arithmetic and markets whose links are known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from runtime.core.records import CLUSTER, INSTRUMENTS
from runtime.errors import InvariantError
from runtime.inference.clusters import Clusters, ClusterSpec, _components, _correlation, _links, memberships
from runtime.inference.panel import BarPanel

SPEC = ClusterSpec(window_n=40, step_n=10, coverage_ppm=500_000, threshold_ppm=700_000)
HOUR_T = 3_600


def prices(returns: np.ndarray) -> np.ndarray:
    """Return price paths from 100 that make these returns."""
    return np.vstack([np.full((1, returns.shape[1]), 100.0), 100.0 * np.cumprod(1.0 + returns, axis=0)])


def market(bars_n: int = 60) -> np.ndarray:
    """Return four paths: 0 and 1 nearly alike, 2 alone, 3 nearly the opposite of 0."""
    rng = np.random.default_rng(5)
    base, own = rng.normal(0, 0.01, bars_n), rng.normal(0, 0.01, (bars_n, 4))
    return prices(np.column_stack([base, base + 0.1 * own[:, 1], own[:, 2], -base + 0.1 * own[:, 3]]))


def exact_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of one-bar returns with exact sums."""
    a = [Fraction(x[i] / x[i - 1] - 1.0) for i in range(1, len(x))]
    b = [Fraction(y[i] / y[i - 1] - 1.0) for i in range(1, len(y))]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    xy = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True))
    return float(xy) / math.sqrt(float(sum((p - mean_a) ** 2 for p in a)) * float(sum((q - mean_b) ** 2 for q in b)))


def panel(close: np.ndarray) -> BarPanel:
    names = tuple(f"S{i}" for i in range(close.shape[1]))
    return BarPanel(
        names, HOUR_T, HOUR_T * np.arange(len(close), dtype=np.int64), close, close, close, close, np.ones_like(close)
    )


def test_correlations_are_those_of_exact_sums() -> None:
    close = market()
    for i in range(4):
        for j in range(4):
            found = _correlation(close[:, i].copy(), close[:, j].copy(), 10)
            assert found == pytest.approx(exact_correlation(close[:, i], close[:, j]), abs=1e-9)


def test_bars_that_either_asset_lacks_are_left_out() -> None:
    close = market()
    close[20, 0], close[35, 1] = np.nan, np.nan
    known = [i for i in range(1, 61) if not {i, i - 1} & {20, 35}]
    assert _correlation(close[:, 0].copy(), close[:, 1].copy(), len(known)) > 0.9
    assert _correlation(close[:, 0].copy(), close[:, 1].copy(), len(known) + 1) == 0.0, "too few in common"


def test_a_price_that_never_moves_is_linked_to_nothing() -> None:
    flat, moving = np.full(30, 5.0), market(29)[:, 0].copy()
    assert _correlation(flat, moving, 1) == _correlation(moving, flat, 1) == 0.0


def test_links_are_made_from_the_threshold_on() -> None:
    close = market()
    expected = np.zeros((4, 4), np.int64)
    expected[0, 1] = expected[1, 0] = 1
    assert np.array_equal(_links(close, 10, 0.7), expected)
    exactly = _correlation(close[:, 0].copy(), close[:, 1].copy(), 10)
    assert _links(close, 10, exactly)[0, 1] == 1
    assert _links(close, 10, math.nextafter(exactly, 2.0))[0, 1] == 0


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [([], [0, 1, 2, 3, 4]), ([(0, 4)], [0, 1, 2, 3, 0]), ([(3, 4), (1, 3)], [0, 1, 2, 1, 1]), ([(0, 2), (2, 4), (1, 3)], [0, 1, 0, 1, 0]),
     ([(0, 1), (2, 3), (1, 3)], [0, 0, 0, 0, 4])],
)  # fmt: skip
def test_connected_assets_share_the_lowest_one(pairs: list[tuple[int, int]], expected: list[int]) -> None:
    linked = np.zeros((5, 5), np.int64)
    for i, j in pairs:
        linked[i, j] = linked[j, i] = 1
    assert _components(linked).tolist() == expected


def test_memberships_follow_the_window_and_know_no_later_bar() -> None:
    close = market(120)
    rng = np.random.default_rng(6)
    close[71:, 1] = 100.0 * np.cumprod(1.0 + rng.normal(0, 0.01, len(close) - 71))  # asset 1 goes its own way
    made = memberships(panel(close), np.array([45, 118]), SPEC)
    rows = [45, 55, 65, 75, 85, 95, 105, 115]
    assert made.at_t.tolist() == [HOUR_T * (row + 1) for row in rows]
    first = made.rows["cluster_id"][:, 1].tolist()
    assert first[:3] == [0, 0, 0]
    assert first[-1] == 1, "after a whole window of its own"
    assert made.rows["cluster_id"][:, 2:].tolist() == [list(range(2, INSTRUMENTS))] * len(rows)
    changed = close.copy()
    changed[66:] *= 3.0
    again = memberships(panel(changed), np.array([45, 118]), SPEC)
    assert np.array_equal(again.rows[:3], made.rows[:3])


def test_the_constants_and_the_memberships_have_digests() -> None:
    assert ClusterSpec().digest == ClusterSpec().digest != SPEC.digest
    rows = np.zeros((2, INSTRUMENTS), CLUSTER)
    times = np.array([1, 2])
    digests = {Clusters(times, rows).digest}
    rows = rows.copy()
    rows["cluster_id"][1, 31] = 1
    digests |= {Clusters(times, rows).digest, Clusters(times + 1, rows).digest}
    assert len(digests) == 3


@pytest.mark.parametrize(
    "rows", [np.zeros((1, INSTRUMENTS), CLUSTER), np.zeros((2, 3), CLUSTER), np.zeros((2, INSTRUMENTS), np.int64)]
)
def test_another_shape_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(InvariantError, match="memberships of shape"):
        Clusters(np.array([1, 2]), rows)
