"""Folds: no label window of one part reaches into another, whatever is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import DataError, InvariantError
from workbench.training import folds as folding
from workbench.training.folds import Fold, check_fold, make_folds

HOUR_T = 3_600


@st.composite
def asked(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, object], int]:
    grid_h = draw(st.sampled_from([1, 2, 4, 8, 24]))
    horizon_h = draw(st.sampled_from([1, 4, 24, 72]))
    rows_n = draw(st.integers(600, 6_000))
    at_t = 1_600_000_000 // (24 * HOUR_T) * 24 * HOUR_T + grid_h * HOUR_T * np.arange(rows_n, dtype=np.int64)
    first_test = draw(st.none() | st.integers(200, rows_n - 1).map(lambda i: int(at_t[i])))
    arguments: dict[str, object] = {
        "folds_n": draw(st.integers(2, 12)),
        "horizon_max_h": horizon_h,
        "grid_h": grid_h,
        "first_row": draw(st.integers(0, 200)),
        "first_test_t": first_test,
        "train_rule": draw(st.sampled_from(["expanding", "rolling"])),
        "rolling_days": draw(st.integers(30, 800)),
        "embargo_h": draw(st.integers(0, 48)),
    }
    return at_t, arguments, horizon_h


@settings(max_examples=300, deadline=None)
@given(asked())
def test_label_windows_of_one_part_never_touch_another(case: tuple[np.ndarray, dict[str, object], int]) -> None:
    at_t, arguments, horizon_h = case
    try:
        folds = make_folds(at_t, **arguments)  # type: ignore[arg-type]  the strategy draws them
    except DataError:
        return  # too short for what was asked: a refusal is fine, a leak is not
    assert len(folds) == arguments["folds_n"]
    for fold in folds:
        assert fold.train[0] >= arguments["first_row"]
        assert (
            fold.train[0] < fold.train[1] <= fold.validation[0] < fold.validation[1] <= fold.test[0] < fold.test[1] <= len(at_t)
        )
        windows = [_label_spans(at_t, part, horizon_h) for part in (fold.train, fold.validation, fold.test)]
        # earlier labels are all known (embargo included) before the later part makes its first decision
        for earlier, later in ((0, 1), (1, 2), (0, 2)):
            latest_label = windows[earlier][1]
            first_decision = windows[later][0]
            assert latest_label + int(arguments["embargo_h"]) * HOUR_T < first_decision  # type: ignore[call-overload]
        if arguments["train_rule"] == "rolling":
            days = (int(at_t[fold.train[1] - 1]) - int(at_t[fold.train[0]])) / 86_400
            assert days < int(arguments["rolling_days"])  # type: ignore[call-overload]
    first, end = folding.test_range(folds)
    assert end == len(at_t)
    if arguments["first_test_t"] is not None:
        assert at_t[first] >= arguments["first_test_t"]
    # out-of-fold rows of earlier folds are known when a later fold's test begins
    for fold in folds:
        for earlier in folds[: fold.fold_n + 1]:
            assert _label_spans(at_t, earlier.validation, horizon_h)[1] < at_t[fold.test[0]]


def _label_spans(at_t: np.ndarray, window: tuple[int, int], horizon_h: int) -> tuple[int, int]:
    """Return the first decision of a window and the end of its last label window."""
    return int(at_t[window[0]]), int(at_t[window[1] - 1]) + horizon_h * HOUR_T


def test_windows_that_touch_are_refused() -> None:
    at_t = 14_400 * np.arange(100, dtype=np.int64)
    near = Fold(0, (0, 40), (41, 60), (90, 100), purge_t=76 * HOUR_T, embargo_t=24 * HOUR_T)
    with pytest.raises(InvariantError, match="train to validation"):
        check_fold(near, at_t)
    with pytest.raises(InvariantError, match="do not meet"):
        folding.test_range([Fold(0, (0, 1), (2, 3), (4, 5), 0, 0), Fold(1, (0, 1), (2, 3), (6, 7), 0, 0)])


def test_a_short_history_is_refused_with_what_to_do() -> None:
    at_t = 14_400 * np.arange(300, dtype=np.int64)
    with pytest.raises(DataError, match="fewer folds"):
        make_folds(at_t, folds_n=8, horizon_max_h=72, grid_h=4)
