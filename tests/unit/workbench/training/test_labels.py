"""Labels: entry at the next open, exit h hours later, nothing across a gap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.errors import UsageError
from runtime.inference.panel import BarPanel
from tests.support.panels import HOUR_T, make_panel, with_values
from workbench.training.labels import decision_rows, make_labels, past_returns


def test_a_label_runs_from_the_next_open_to_the_open_h_hours_later() -> None:
    panel = make_panel(200, 2, holes=False)
    rows = decision_rows(panel, 4)
    labels = make_labels(panel, rows, (1, 24))
    assert ((labels.at_t % (4 * HOUR_T)) == 0).all()
    i = int(rows[3])
    assert labels.at_t[3] == panel.open_t[i + 1]
    assert labels.returns[3, 1, 1] == panel.open[i + 25, 1] / panel.open[i + 1, 1] - 1.0
    assert labels.up[3, 1, 1] == float(labels.returns[3, 1, 1] > 0)
    assert labels.returns[3, 0, 0] == panel.open[i + 2, 0] / panel.open[i + 1, 0] - 1.0


def test_every_label_equals_a_plain_loop_over_the_bars() -> None:
    panel = make_panel(400, 3, seed=3)
    rows = decision_rows(panel, 4)
    labels = make_labels(panel, rows, (4, 24))
    past = past_returns(panel, rows, (4, 24))
    for n, i in enumerate(rows.tolist()):
        for s in range(3):
            for k, h in enumerate((4, 24)):
                assert _same(labels.returns[n, s, k], _forward(panel, i, s, h)), (i, s, h)
                assert _same(past[n, s, k], _backward(panel, i, s, h)), (i, s, h)
    assert np.isnan(labels.returns).any(), "the panel must hold gaps for this test to mean something"
    np.testing.assert_array_equal(np.isnan(labels.up), np.isnan(labels.returns))


def _forward(panel: BarPanel, i: int, s: int, h: int) -> float:
    if i + 1 + h >= len(panel.open_t) or np.isnan(panel.close[i : i + h + 2, s]).any():
        return math.nan
    return float(panel.open[i + 1 + h, s] / panel.open[i + 1, s] - 1.0)


def _backward(panel: BarPanel, i: int, s: int, h: int) -> float:
    if i - h + 1 < 0 or np.isnan(panel.close[i - h + 1 : i + 1, s]).any():
        return math.nan
    return float(panel.close[i, s] / panel.open[i - h + 1, s] - 1.0)


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or a == b


@pytest.mark.parametrize("missing", [0, 1, 12, 24, 25])
def test_one_missing_bar_anywhere_between_decision_and_exit_removes_the_label(missing: int) -> None:
    panel = make_panel(100, 1, holes=False)
    rows = np.array([30], np.int64)
    assert not np.isnan(make_labels(panel, rows, (24,)).returns).any()
    for values in (panel.open, panel.close):
        values[30 + missing] = np.nan
    assert np.isnan(make_labels(panel, rows, (24,)).returns).all()
    assert np.isnan(make_labels(panel, rows, (24,)).up).all()


def test_bars_outside_the_label_do_not_matter() -> None:
    panel = make_panel(100, 1, holes=False)
    rows = np.array([30], np.int64)
    before = make_labels(panel, rows, (24,)).returns
    later = make_labels(with_values(panel, after=55, factor=3.0), rows, (24,)).returns
    np.testing.assert_array_equal(before, later)
    panel.close[29] = np.nan
    np.testing.assert_array_equal(before, make_labels(panel, rows, (24,)).returns)


def test_a_past_return_reads_no_later_bar() -> None:
    panel = make_panel(100, 2, holes=False)
    rows = np.array([30, 50], np.int64)
    before = past_returns(panel, rows, (4,))
    np.testing.assert_array_equal(before, past_returns(with_values(panel, after=50, factor=2.0), rows, (4,)))


def test_a_grid_that_is_no_whole_number_of_bars_is_refused() -> None:
    panel = make_panel(20, 1, holes=False)
    slow = BarPanel(panel.symbols, 7 * HOUR_T, panel.open_t, panel.open, panel.high, panel.low, panel.close, panel.volume)
    with pytest.raises(UsageError, match="decision grid of 4 h"):
        decision_rows(slow, 4)
    with pytest.raises(UsageError, match="horizon of 4 h"):
        make_labels(slow, np.array([1], np.int64), (4,))
