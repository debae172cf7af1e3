"""The charts of equity and drawdown: hours where they closed, the present at their end, and labels that differ."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reports.dashboards.palette import Painter, theme_of
from reports.dashboards.plots import EquityPlots
from reports.dashboards.shapes import CapUse, EquityPoint, Summary

E8 = 10**8
USE = CapUse.model_construct()


def present(now_t: int, pv: float, peak: float = 0.0) -> Summary:
    """Return a summary with what the charts read."""
    return Summary.model_construct(
        now_t=now_t, pv_e8=int(pv * E8), peak_e8=int(max(pv, peak) * E8), drawdown_ppm=0, tiers=(), total=USE, budget=USE
    )


def hour(n: int, pv: float) -> EquityPoint:
    """Return the point of an hour."""
    return EquityPoint(close_t=n * 3_600, pv_e8=int(pv * E8), peak_e8=int(pv * E8), drawdown_ppm=0)


def drawn(plots: EquityPlots) -> tuple[list[float], list[float]]:
    """Return times in seconds and equity, as drawn."""
    data = plots.equity.renderers[1].data_source.data
    return [t / 1e3 for t in data["t"]], list(data["pv"])


def test_the_last_point_is_the_present_and_hours_come_before_it() -> None:
    points = [hour(1, 100.0), hour(2, 101.0)]
    plots = EquityPlots(Painter("light"), points, present(7_300, 101.5))
    assert drawn(plots) == ([3_600, 7_200, 7_300], [100.0, 101.0, 101.5])
    plots.extend(points, present(8_000, 99.0))
    assert drawn(plots) == ([3_600, 7_200, 8_000], [100.0, 101.0, 99.0])
    points += [hour(3, 98.0), hour(4, 97.0)]
    plots.extend(points, present(14_400, 97.0))
    assert drawn(plots) == ([3_600, 7_200, 10_800, 14_400], [100.0, 101.0, 98.0, 97.0]), "no time twice"
    plots.extend(points, present(14_500, 96.0))
    plots.extend(points, present(14_500, 96.0))
    assert drawn(plots) == ([3_600, 7_200, 10_800, 14_400, 14_500], [100.0, 101.0, 98.0, 97.0, 96.0])


def test_before_the_first_hour_there_is_the_present() -> None:
    plots = EquityPlots(Painter("light"), [], present(50, 10_000.0))
    assert drawn(plots) == ([50], [10_000.0])


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([10_000.0, 10_000.0], "0,0.0"),  # Bokeh shows 2 around a flat line, in steps of a half
        ([10_000.0, 10_001.5], "0,0.0"),
        ([10_000.0, 10_000.2], "0,0.00"),
        ([9_000.0, 10_000.0], "0,0"),
    ],
)
def test_labels_have_the_decimals_that_keep_them_apart(values: Sequence[float], written: str) -> None:
    plots = EquityPlots(Painter("light"), [hour(n + 1, pv) for n, pv in enumerate(values)], present(9_000, values[-1]))
    assert plots.equity.yaxis[0].formatter.format == written
    plots.extend([hour(n + 1, pv) for n, pv in enumerate(values)], present(9_001, values[-1] - 5_000))
    assert plots.equity.yaxis[0].formatter.format == "0,0"


def test_a_theme_is_chosen_or_of_the_system() -> None:
    assert [theme_of(name) for name in ("dark", "system-dark", "light", "system-light", "", "x")] == [
        "dark",
        "dark",
        *["light"] * 4,
    ]
