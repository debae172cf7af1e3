"""What a forecast is about: the return from the next bar's open to the open h hours later, and its sign.

A decision is made at a bar's close (`at_t`). The earliest possible fill is the next bar's open, so the label starts
there. A label is missing when any bar between decision and exit is missing: a gap is never bridged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.errors import UsageError
from runtime.inference.panel import BarPanel, Floats, Ints

HOUR_T: Final = 3_600


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels on the decision grid.

    Attributes:
        at_t: int64 [N], decision times.
        horizons_h: horizons in hours, ascending, H of them.
        returns: float64 [N, S, H], gross return as a ratio (0.01 is one percent); NaN where a gap is in the way.
        up: float64 [N, S, H], 1.0 where the return is positive, else 0.0; NaN where the return is.
    """

    at_t: Ints
    horizons_h: tuple[int, ...]
    returns: Floats
    up: Floats


def decision_rows(panel: BarPanel, grid_h: int) -> Ints:
    """Return the row numbers of the bars that close on the decision grid (whole multiples of `grid_h` since the epoch).

    Raises:
        UsageError: the grid is not a multiple of the bar interval.
    """
    grid_t = grid_h * HOUR_T
    if grid_t % panel.interval_t:
        raise UsageError(
            f"a decision grid of {grid_h} h on bars of {panel.interval_t} s",
            expected="a grid that is a whole number of bars",
            action="choose another grid_h or other bars",
        )
    return np.flatnonzero((panel.open_t + panel.interval_t) % grid_t == 0).astype(np.int64)


def make_labels(panel: BarPanel, rows: Ints, horizons_h: tuple[int, ...]) -> Labels:
    """Label every decision row and asset at every horizon.

    Args:
        panel: bars, T rows of S assets.
        rows: int64 [N], row numbers of the decision bars.
        horizons_h: hours, ascending.

    Returns:
        labels whose returns are `open[i + 1 + h] / open[i + 1] - 1` for decision row i, h counted in bars.

    Raises:
        UsageError: a horizon is not a whole number of bars.
    """
    bars_n = len(panel.open_t)
    absent = np.isnan(panel.close) | np.isnan(panel.open)
    # absent_before[i] counts missing bars in rows < i, so that a range is free of gaps when two counts are equal.
    absent_before = np.zeros((bars_n + 1, len(panel.symbols)), dtype=np.int64)
    np.cumsum(absent, axis=0, out=absent_before[1:])
    returns = np.full((len(rows), len(panel.symbols), len(horizons_h)), np.nan)
    for k, horizon_h in enumerate(horizons_h):
        if horizon_h * HOUR_T % panel.interval_t:
            raise UsageError(
                f"a horizon of {horizon_h} h on bars of {panel.interval_t} s",
                expected="a horizon that is a whole number of bars",
                action="choose other horizons_h or other bars",
            )
        span = horizon_h * HOUR_T // panel.interval_t
        inside = np.flatnonzero(rows + 1 + span < bars_n)
        i = rows[inside]
        gap_free = absent_before[i + span + 2] == absent_before[i]
        entry, leave = panel.open[i + 1], panel.open[i + 1 + span]
        returns[inside, :, k] = np.where(gap_free, leave / entry - 1.0, np.nan)
    up = np.where(np.isnan(returns), np.nan, returns > 0.0)
    return Labels(panel.open_t[rows] + panel.interval_t, horizons_h, returns, up)


def past_returns(panel: BarPanel, rows: Ints, horizons_h: tuple[int, ...]) -> Floats:
    """Return the gross return over the h hours that end at the decision (float64 [N, S, H]); NaN across a gap.

    The persistence baseline reads nothing else.
    """
    absent = np.isnan(panel.close) | np.isnan(panel.open)
    absent_before = np.zeros((len(panel.open_t) + 1, len(panel.symbols)), dtype=np.int64)
    np.cumsum(absent, axis=0, out=absent_before[1:])
    past = np.full((len(rows), len(panel.symbols), len(horizons_h)), np.nan)
    for k, horizon_h in enumerate(horizons_h):
        span = horizon_h * HOUR_T // panel.interval_t
        inside = np.flatnonzero(rows - span + 1 >= 0)
        i = rows[inside]
        gap_free = absent_before[i + 1] == absent_before[i - span + 1]
        past[inside, :, k] = np.where(gap_free, panel.close[i] / panel.open[i - span + 1] - 1.0, np.nan)
    return past
