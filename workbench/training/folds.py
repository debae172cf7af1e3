"""Walk-forward folds over the decision grid: train, then strictly later validation, then strictly later test.

Between two windows lies a gap of purge (longest label horizon plus one grid step) and embargo, so that no label window
of one part reaches into the next. scikit-learn's `TimeSeriesSplit` cuts the grid; its gap counts rows between the last
training row and the first test row, and validation is taken from inside that gap (tests/property verify the purge on
our own label windows).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from sklearn.model_selection import TimeSeriesSplit

from runtime.errors import DataError, InvariantError
from runtime.inference.panel import Ints
from workbench.training.labels import HOUR_T

TrainRule = Literal["expanding", "rolling"]
EMBARGO_H: Final = 24
FIRST_TEST_SHARE_PCT: Final = 40
"""Share of the span that lies before the first test window when nothing else is asked for."""
TRAIN_ROWS_MIN: Final = 200


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold; windows are half-open ranges `[first, end)` of decision-grid rows.

    Attributes:
        fold_n: number from 0 in time order.
        train, validation, test: row ranges, in that order in time.
        purge_t, embargo_t: seconds; every gap between windows exceeds their sum.
    """

    fold_n: int
    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]
    purge_t: int
    embargo_t: int


def make_folds(
    at_t: Ints,
    *,
    folds_n: int,
    horizon_max_h: int,
    grid_h: int,
    first_row: int = 0,
    first_test_t: int | None = None,
    train_rule: TrainRule = "expanding",
    rolling_days: int = 730,
    embargo_h: int = EMBARGO_H,
) -> list[Fold]:
    """Cut the decision grid into folds whose test windows tile the time from the first test to the end.

    Args:
        at_t: int64 [N], decision times on a regular grid of `grid_h` hours.
        folds_n: number of folds; all test windows have one length.
        horizon_max_h: longest label horizon, hours; the purge is this plus one grid step.
        grid_h: hours between two decisions.
        first_row: first row that may be trained on (rows before it lack full feature windows).
        first_test_t: earliest time of the first test window; default: after 40 % of the span.
        train_rule: `expanding` trains on all the past, `rolling` on the last `rolling_days`.
        rolling_days: length of a rolling training window.
        embargo_h: hours added to every purge.

    Raises:
        DataError: the history is too short for that many folds.
    """
    grid_t = grid_h * HOUR_T
    purge_t = horizon_max_h * HOUR_T + grid_t
    gap_n = -(-(purge_t + embargo_h * HOUR_T) // grid_t)
    rows_n = len(at_t) - first_row
    test_from = rows_n * FIRST_TEST_SHARE_PCT // 100
    if first_test_t is not None:
        test_from = max(int(np.searchsorted(at_t, first_test_t)) - first_row, 0)
    test_n = max((rows_n - test_from) // folds_n, 0)
    # train | gap | validation | gap | test: validation ends where the test window of the previous fold would, minus a gap.
    validation_n = test_n - gap_n
    train_n = rows_n - folds_n * test_n - test_n - gap_n
    if validation_n < gap_n or train_n < TRAIN_ROWS_MIN:
        raise DataError(
            f"{rows_n} decision rows give test windows of {test_n} and {max(train_n, 0)} rows to train on",
            expected=f"windows of at least {2 * gap_n} rows and {TRAIN_ROWS_MIN} training rows in the first fold",
            action="ask for fewer folds, a later or earlier first_test, or use a longer dataset",
        )
    splitter = TimeSeriesSplit(
        n_splits=folds_n,
        test_size=test_n,
        gap=validation_n + 2 * gap_n,
        max_train_size=rolling_days * 24 // grid_h if train_rule == "rolling" else None,
    )
    folds = []
    for n, (train, test) in enumerate(splitter.split(np.empty(rows_n))):
        test_first = first_row + int(test[0])
        fold = Fold(
            fold_n=n,
            train=(first_row + int(train[0]), first_row + int(train[-1]) + 1),
            validation=(test_first - gap_n - validation_n, test_first - gap_n),
            test=(test_first, first_row + int(test[-1]) + 1),
            purge_t=purge_t,
            embargo_t=embargo_h * HOUR_T,
        )
        check_fold(fold, at_t)
        folds.append(fold)
    return folds


def check_fold(fold: Fold, at_t: Ints) -> None:
    """Refuse a fold whose windows are out of order or closer than purge plus embargo.

    Raises:
        InvariantError: always a bug, never a data problem.
    """
    for (_, end), (first, _), name in (
        (fold.train, fold.validation, "train to validation"),
        (fold.validation, fold.test, "validation to test"),
    ):
        distance_t = int(at_t[first]) - int(at_t[end - 1])
        if distance_t < fold.purge_t + fold.embargo_t:
            raise InvariantError(
                f"fold {fold.fold_n}: {name} is {distance_t} s",
                expected=f"at least {fold.purge_t + fold.embargo_t} s (purge and embargo)",
                action="report this as a bug; no result of this study can be trusted",
            )


def test_range(folds: list[Fold]) -> tuple[int, int]:
    """Return the row range that the test windows tile.

    Raises:
        InvariantError: the windows do not follow each other without a hole or an overlap.
    """
    for before, after in pairwise(folds):
        if before.test[1] != after.test[0]:
            raise InvariantError(
                f"test windows of folds {before.fold_n} and {after.fold_n} do not meet",
                expected="test windows that tile the time",
                action="report this as a bug",
            )
    return folds[0].test[0], folds[-1].test[1]
