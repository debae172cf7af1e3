from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from reports.static.quality.heatmap import Column, cells, columns, counted, level_of, marks, ticks
from workbench.data.quality.findings import finding
from workbench.data.quality.gates import gaps

HOUR_T = 3_600


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def naive(t: list[int], step: int, column: Column) -> tuple[int, int]:
    """Count one cell the slow way: every opening time between the series' first and last bar that falls into the column."""
    could = [x for x in range(t[0], t[-1] + 1, step) if column.start_t <= x < column.end_t]
    held = set(t)
    return sum(x in held for x in could), len(could)


@pytest.mark.parametrize("seed", range(12))
def test_cells_equal_naive_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = (HOUR_T, 4 * HOUR_T, 86_400)[seed % 3]
    n = int(rng.integers(30, 2_500))
    start = int(rng.integers(300_000, 430_000)) * 4 * HOUR_T // 86_400 * 86_400
    t = start + step * np.flatnonzero(rng.random(n) > rng.choice([0.0, 0.003, 0.3]))
    if seed % 4 == 0:
        t = np.delete(t, slice(len(t) // 3, 2 * len(t) // 3))
    _, grid = columns(int(t[0]) - seed * 86_400, int(t[-1]) + seed * 86_400)
    expected = {i: naive(t.tolist(), step, c) for i, c in enumerate(grid)}
    expected = {i: pair for i, pair in expected.items() if pair[1]}
    assert {i: (p, e) for i, p, e in counted(t, step, grid)} == expected
    drawn = cells(t, step, grid, gaps(t, step))
    covered = [i for c in drawn for i in range(c.first, c.last + 1)]
    assert covered == sorted(expected), "every column once, none twice"
    for c in drawn:
        inside = [expected[i] for i in range(c.first, c.last + 1)]
        assert (c.present_n, c.expected_n) == (sum(p for p, _ in inside), sum(e for _, e in inside))
        assert {level_of(*pair) for pair in inside} == {c.level}
    assert sum(c.expected_n - c.present_n for c in drawn) == sum(g for _, _, g in gaps(t, step))


def test_a_level_never_flatters() -> None:
    assert [level_of(*pair) for pair in ((720, 720), (719, 720), (99, 100), (98, 100), (90, 100), (89, 100), (1, 720), (0, 9))] == [
        "full", "most", "most", "some", "some", "part", "part", "none",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last", "unit", "labels"),
    [
        ("2024-02-28", "2024-03-01", "day", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        ("2024-01-03", "2024-06-30", "week", ["2024-01-01", "2024-01-08"]),
        ("2021-12-31", "2024-02-01", "month", ["2021-12", "2022-01"]),
    ],
)
def test_the_axis(first: str, last: str, unit: str, labels: list[str]) -> None:
    found, grid = columns(at(first), at(last))
    assert found == unit
    assert [c.label for c in grid][: len(labels)] == labels
    assert all(a.end_t == b.start_t for a, b in pairwise(grid))
    assert grid[0].start_t <= at(first)
    assert grid[-1].start_t <= at(last) < grid[-1].end_t


def test_a_cell_names_its_holes() -> None:
    t = np.array([at("2024-01-01") + HOUR_T * i for i in range(60 * 24) if not 30 <= i < 33 and i != 50])
    _, grid = columns(int(t[0]), int(t[-1]))
    (second,) = [c for c in cells(t, HOUR_T, grid, gaps(t, HOUR_T)) if c.first == 1]
    assert second.says == "2024-01-02: 21 of 24 bars; missing 2024-01-02 06:00 to 2024-01-02 08:00 (3)"
    (third,) = [c for c in cells(t, HOUR_T, grid, gaps(t, HOUR_T)) if c.first == 2]
    assert third.says == "2024-01-03: 23 of 24 bars; missing 2024-01-03 02:00"


def test_a_hole_is_settled_only_when_all_of_them_are() -> None:
    t = np.array([at("2024-01-01") + HOUR_T * i for i in range(70 * 24) if not 20 <= i < 100 and i not in {130, 140, 200}])
    _, grid = columns(int(t[0]), int(t[-1]))
    holes = gaps(t, HOUR_T)
    assert len(holes) == 4
    for settled in (set(), {holes[0][0]}, {holes[1][0]}, {holes[1][0], holes[2][0], holes[3][0]}):
        for cell in cells(t, HOUR_T, grid, holes, frozenset(settled)):
            inside = {a for a, z, _ in holes if a < grid[cell.last].end_t and z >= grid[cell.first].start_t}
            assert cell.settled == (bool(inside) and inside <= settled)


def test_a_mark_has_the_worst_severity_of_its_column() -> None:
    _, grid = columns(at("2021-01-01"), at("2024-12-31"))
    t = at("2022-05-10")
    wick, jump = (finding(gate, "BTC", "s", t, t, 1, "") for gate in ("wick", "jump"))
    accepted = wick.model_copy(update={"accepted": True})
    note = finding("rename", "BTC", "s", at("2021-01-05"), t, 1, "")
    found = marks([accepted, jump, note, finding("gap", "BTC", "s", t, t, 1, "")], grid)
    assert [(m.column, m.kind, m.says) for m in found] == [
        (0, "settled", "2021-01: rename 1"),
        (16, "blocking", "2022-05: wick 1, jump 1"),
    ]
    fatal = finding("ohlc", "BTC", "s", t, t, 1, "")
    assert [m.kind for m in marks([accepted, fatal], grid)] == ["fatal"]
    assert [m.kind for m in marks([accepted], grid)] == ["settled"]
    assert marks([finding("schema", "BTC", "s", 0, 0, 0, "no time")], grid) == ()


def test_labels_have_room() -> None:
    unit, grid = columns(at("2013-10-06"), at("2026-03-25"))
    found = ticks(unit, grid)
    assert sum(t.span for t in found) == len(grid)
    assert [t.text for t in found if t.shown == "never"] == ["2013", "2026"], "three months are too narrow for a year"
    shown = [t.first for t in found if t.shown == "always"]
    assert min(b - a for a, b in pairwise(shown)) * 6 >= len(grid)
