"""The market: price with entries, exits and refusals; coverage of the dataset by asset and month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from reports.static.charts import (
    ACCENT,
    CLASS_PREFIX,
    CONTROL,
    INK_2,
    INK_3,
    OK,
    RULE,
    SURFACE,
    WARN,
    Chart,
    chart,
    frame,
    stamp,
    time_axis,
)
from reports.static.sampling import log_marks, plain, ranges, runs_of
from runtime.inference.panel import Floats, Ints

CELL_N: Final = 2
"""Marks closer than this many units are drawn once."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What one run did in one asset.

    Attributes:
        buy_t, sell_t: int64, times of fills.  buy, sell: float64, their prices (for drawing only).
        refused_t: int64, times of refused entries.
    """

    buy_t: Ints
    buy: Floats
    sell_t: Ints
    sell: Floats
    refused_t: Ints


@dataclass(frozen=True, slots=True)
class Prices:
    """Bars of one asset over the test period; float64 [N], NaN where the venue has no bar."""

    open_t: Ints
    low: Floats
    high: Floats
    close: Floats


def distinct(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Return which points (in chart units) to draw so that no two fall into the same small cell."""
    cells = np.stack([np.floor(x / CELL_N), np.floor(y / CELL_N)], axis=1)
    keep = np.zeros(len(x), dtype=np.bool_)
    keep[np.unique(cells, axis=0, return_index=True)[1]] = True
    return keep


def price_chart(symbol: str, prices: Prices, marks: Mapping[str, Marks], says: str, simulated: bool) -> Chart:
    """Return the price range of an asset with each run's fills (filled ML, hollow trend) and refusals on a bottom rail."""
    first_t, last_t = int(prices.open_t[0]), int(prices.open_t[-1])
    low, high = float(np.nanmin(prices.low)), float(np.nanmax(prices.high))

    def paint(figure: Figure, narrow: bool) -> None:
        width, height = figure.get_size_inches() * 72
        axes = frame(figure, 66, 28, 16, 56)
        axes.set_yscale("log")
        room = max(high / low, 1.001) ** 0.05
        axes.set_ylim(low / room, max(high, low * 1.001) * room)
        values = log_marks(low, max(high, low * 1.001))
        axes.set_yticks(values, [plain(float(f"{value:.3g}")) for value in values])
        axes.set_yticks([], minor=True)
        time_axis(axes, first_t, last_t, narrow)
        axes.tick_params(labelbottom=False)
        at_t, lows, highs, closes = ranges(prices.open_t, prices.low, prices.high, prices.close, 150 if narrow else 420)
        for begin, end in runs_of(~np.isnan(closes)):
            axes.fill_between(at_t[begin:end], lows[begin:end], highs[begin:end], color=CONTROL, alpha=0.4, linewidth=0.4)
        axes.plot(at_t, closes, color=INK_2, linewidth=0.9)
        rail = frame(figure, 66, 28, height - 54, 24)
        time_axis(rail, first_t, last_t, narrow)
        rail.set_ylim(0, 2)
        rail.yaxis.grid(visible=False)
        rail.set_yticks([1.5, 0.5], ["Trend \u2715", "ML \u2715"])
        rail.axhline(1, color=RULE, linewidth=0.6)
        unit_t = (last_t - first_t) / (width - 94)
        for run, mine in marks.items():
            for x, y, glyph, colour in ((mine.buy_t, mine.buy, "^", OK), (mine.sell_t, mine.sell, "v", ACCENT)):
                keep = distinct(x / unit_t, np.log(y / low) / np.log(high / low + 1e-9) * (height - 72))
                face, edge = (colour, SURFACE) if run == "ml" else (SURFACE, colour)
                (line,) = axes.plot(x[keep], y[keep], glyph, color=colour, markerfacecolor=face, markeredgecolor=edge, markersize=9 if run == "ml" else 7,
                                    markeredgewidth=0.7 if run == "ml" else 1.4, zorder=6)  # fmt: skip
                line.set_gid(f"{CLASS_PREFIX}m-{run}")
            shown = np.unique((mine.refused_t / unit_t / 3).astype(np.int64)) * 3 * unit_t
            (crosses,) = rail.plot(
                shown, [1.5 if run == "trend" else 0.5] * len(shown), "x", color=WARN, markersize=3.5, markeredgewidth=1
            )
            crosses.set_gid(f"{CLASS_PREFIX}m-{run}")
        stamp(figure, simulated)

    title = f"{symbol}: price, fills and refusals"
    return chart(f"price-{symbol.lower()}", title, says, paint, height=340, narrow_height=300)


LEVELS: Final = (
    ("complete", "every bar", ACCENT, 0.85, ""), ("most", "99 % or more", ACCENT, 0.45, ""), ("part", "some missing", WARN, 1.0, "//////"),
    ("none", "no bar", RULE, 0.6, ""),
)  # fmt: skip
"""Level -> its words, colour, opacity and texture."""


def level(seen_n: int, expected_n: int) -> str:
    """Return how complete a month is."""
    if seen_n == 0:
        return "none"
    if seen_n >= expected_n:
        return "complete"
    return "most" if seen_n * 100 >= expected_n * 99 else "part"


def coverage_chart(
    symbols: Sequence[str], months_t: Ints, levels: Sequence[Sequence[str]], says: str, simulated: bool
) -> Chart:
    """Return a map of assets by months; each cell tells how many of the month's bars exist."""
    wanted = len(months_t)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = frame(figure, 48, 8, 16, 24)
        axes.set_xlim(0, wanted)
        axes.set_ylim(len(symbols), 0)
        for name, _, colour, alpha, hatch in LEVELS:
            cells = [(x, y) for y, row in enumerate(levels) for x, found in enumerate(row) if found == name]
            if cells:
                face, edge = ("none", colour) if hatch else (colour, "none")
                axes.add_patch(PathPatch(boxes(cells, narrow), facecolor=face, edgecolor=edge, hatch=hatch, alpha=alpha,
                                         linewidth=0.5 if hatch else 0))  # fmt: skip
        axes.set_yticks([y + 0.5 for y in range(len(symbols))], symbols)
        years = [i for i in range(wanted) if months_t[i].astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12 == 0]
        step = 2 if narrow and len(years) > 6 else 1
        axes.set_xticks(years[::step], [str(months_t[i].astype("datetime64[s]"))[:4] for i in years[::step]])
        axes.tick_params(colors=INK_3)
        stamp(figure, simulated)

    return chart(
        "coverage",
        "Bars present by asset and month",
        says,
        paint,
        height=42 + 17 * len(symbols),
        narrow_height=42 + 15 * len(symbols),
    )


def boxes(cells: Sequence[tuple[int, int]], narrow: bool) -> Outline:
    """Return one outline made of a small rectangle per cell."""
    gap_x, gap_y = (0.04, 0.06) if narrow else (0.06, 0.08)
    corners, codes = [], []
    for x, y in cells:
        left, right, top, bottom = x + gap_x, x + 1 - gap_x, y + gap_y, y + 1 - gap_y
        corners += [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        codes += [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(corners, codes)
