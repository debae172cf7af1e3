"""Value and drawdown over time: both runs beside every naive way to spend the same period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.static.charts import (
    ACCENT,
    BAD,
    BAND_HATCH,
    CROSS_HATCH,
    HALF,
    INK_2,
    INK_3,
    OK,
    RULE,
    WARN,
    Chart,
    chart,
    end_labels,
    frame,
    stamp,
    time_axis,
)
from reports.static.sampling import log_marks, plain, thin
from runtime.inference.panel import Floats, Ints


@dataclass(frozen=True, slots=True)
class Line:
    """How one series is drawn and called, everywhere in the report."""

    label: str
    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    width: float


LINES: Final = {
    "ml": Line("ML", ACCENT, "-", 2.4),
    "trend": Line("Trend", OK, "-", 1.5),
    "btc_hold": Line("BTC hold", WARN, "-", 0.8),
    "equal_weight": Line("Equal weight", INK_2, (0, (1.2, 1.2)), 1.4),
    "flat": Line("Flat", INK_3, (0, (7, 3)), 1.2),
}
Curves = Mapping[str, tuple[Ints, Floats]]
"""Series name -> time int64 [N], value float64 [N] in whole currency units (for drawing only)."""
TIERS: Final = ((-10.0, "DD10", ""), (-15.0, "DD15", BAND_HATCH), (-20.0, "HALT20", CROSS_HATCH))
"""Drawdown, percent, at which a risk tier begins; its name; its texture."""
LEFT, RIGHT, BOTTOM = 66, 92, 28


def drawdown(value: Floats) -> Floats:
    """Return the distance below the highest value so far, in percent (0 or negative)."""
    return (value / np.maximum.accumulate(value) - 1) * 100


def curve(axes: Axes, name: str, at_t: Ints, value: Floats, narrow: bool) -> tuple[str, float, str]:
    """Draw one series thinned to what the width can show; return its end label."""
    line = LINES[name]
    x, y = thin(at_t, value, 150 if narrow else 360)
    axes.plot(
        x, y, color=line.colour, linestyle=line.dash, linewidth=line.width, solid_joinstyle="round", zorder=6 - len(axes.lines)
    )
    return line.label, float(y[-1]), line.colour


def _span(curves: Curves) -> tuple[int, int]:
    return min(int(t[0]) for t, _ in curves.values()), max(int(t[-1]) for t, _ in curves.values())


def _money_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(low / (high / low) ** 0.04, high * (high / low) ** 0.06)
    marks = log_marks(low / 1.02, high * 1.02)
    axes.set_yticks(marks, [plain(mark) for mark in marks])
    axes.set_yticks([], minor=True)


def value_chart(curves: Curves, says: str, simulated: bool) -> Chart:
    """Return portfolio value of every series on one logarithmic axis, with drawdowns below on the same time axis."""
    first_t, last_t = _span(curves)
    low = min(float(v.min()) for _, v in curves.values())
    high = max(float(v.max()) for _, v in curves.values())
    names = [name for name in LINES if name in curves]

    def paint(figure: Figure, narrow: bool) -> None:
        width, height = figure.get_size_inches() * 72
        below = 120 if narrow else 150
        top = frame(figure, LEFT, RIGHT, 12, below + BOTTOM + 26)
        _money_axis(top, low, max(high, low * 1.01))
        time_axis(top, first_t, last_t, narrow)
        top.tick_params(labelbottom=False)
        end_labels(top, [curve(top, name, *curves[name], narrow) for name in names])
        bottom = frame(figure, LEFT, RIGHT, height - below - BOTTOM, BOTTOM)
        bottom.set_title("Drawdown from the high-water mark, %", loc="left", x=-LEFT / (width - LEFT - RIGHT), color=INK_3)
        falls = {name: (curves[name][0], drawdown(curves[name][1])) for name in names}
        bottom.set_ylim(min([-1.0, *(float(v.min()) for _, v in falls.values())]) * 1.04, 0.5)
        bottom.locator_params(axis="y", nbins=4)
        bottom.yaxis.set_major_formatter(lambda value, _: plain(value))
        time_axis(bottom, first_t, last_t, narrow)
        end_labels(bottom, [curve(bottom, name, *falls[name], narrow) for name in names])
        stamp(figure, simulated)

    return chart(
        "value", "Portfolio value and drawdown: both runs and the baselines", says, paint, height=470, narrow_height=470
    )


def closer_chart(curves: Curves, says: str, simulated: bool) -> Chart:
    """Return the two runs alone, against flat, on a linear axis."""
    shown = {name: curves[name] for name in ("ml", "trend", "flat") if name in curves}
    first_t, last_t = _span(shown)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = frame(figure, LEFT, 62, 12, BOTTOM)
        labels = [curve(axes, name, *shown[name], narrow) for name in shown]
        low, high = min(float(v.min()) for _, v in shown.values()), max(float(v.max()) for _, v in shown.values())
        margin = max((high - low) * 0.08, high * 0.001)
        axes.set_ylim(low - margin, high + margin)
        axes.locator_params(axis="y", nbins=6)
        axes.yaxis.set_major_formatter(lambda value, _: plain(value))
        time_axis(axes, first_t, last_t, True)
        end_labels(axes, labels)
        stamp(figure, simulated)

    return chart(
        "closer", "Portfolio value of the two runs against flat", says, paint, height=290, narrow_height=260, width=HALF
    )


def tiers_chart(curves: Curves, says: str, simulated: bool) -> Chart:
    """Return the drawdown of the two runs on the bands of the risk tiers."""
    shown = {name: (curves[name][0], drawdown(curves[name][1])) for name in ("ml", "trend") if name in curves}
    first_t, last_t = _span(shown)
    deepest = min([-24.0, *(float(v.min()) * 1.04 for _, v in shown.values())])

    def paint(figure: Figure, narrow: bool) -> None:
        axes = frame(figure, LEFT, 62, 12, BOTTOM)
        axes.set_ylim(deepest, 0.8)
        ends = [level for level, _, _ in TIERS[1:]] + [deepest]
        for (level, _, hatch), end, colour in zip(TIERS, ends, (RULE, WARN, BAD), strict=True):
            axes.axhspan(end, level, facecolor="none", edgecolor=colour, hatch=hatch, alpha=0.45, linewidth=0)
            axes.axhline(level, color=colour if colour != RULE else WARN, linewidth=0.8)
        axes.set_yticks([0.0, *(level for level, _, _ in TIERS)], ["0 %", *(name for _, name, _ in TIERS)])
        labels = [curve(axes, name, *shown[name], narrow) for name in shown]
        time_axis(axes, first_t, last_t, True)
        axes.yaxis.grid(visible=False)
        end_labels(axes, labels)
        stamp(figure, simulated)

    return chart("tiers", "Drawdown of the two runs on the risk tiers", says, paint, height=290, narrow_height=260, width=HALF)


def curves_of(series: Mapping[str, tuple[Ints, Ints]]) -> dict[str, tuple[Ints, Floats]]:
    """Return exact 1e-8 series as floats in whole currency units, for drawing only."""
    return {name: (at_t, pv_e8 / 1e8) for name, (at_t, pv_e8) in series.items()}
