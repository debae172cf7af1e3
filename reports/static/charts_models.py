"""How well the forecasts did, and on which windows: reliability, skill per fold, the fold timeline."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.static.charts import (
    ACCENT,
    BAND_HATCH,
    CONTROL,
    INK_2,
    INK_3,
    OK,
    SMALL,
    SURFACE,
    WARN,
    Chart,
    chart,
    frame,
    one_chart,
    stamp,
    time_axis,
)
from reports.static.sampling import plain

MODELS = {
    "blend": "Blend (used)", "global": "Global", "per_coin": "Per coin", "single_feature": "Single feature",
    "persistence": "Persistence", "base_rate": "Base rate",
}  # fmt: skip
"""Models of the metrics table in the order of the report: what is used, its parts, then the naive ones."""
ALL_FOLDS = -1
OURS = ("blend", "global", "per_coin", "single_feature")
"""Models that set the scale of the skill chart; one that falls off it is named at the edge with its figure."""


def reliability_chart(horizon_h: int, bins: pl.DataFrame, says: str, simulated: bool) -> Chart:
    """Return observed against forecast frequency per bin, with the number of forecasts in each bin below."""
    rows = bins.sort("bin_n").filter(pl.col("n") > 0)
    mean, seen, n = rows["prob_mean"].to_list(), rows["observed"].to_list(), rows["n"].to_list()
    low = max(0.0, min([*mean, *seen, 0.5]) - 0.03)
    high = min(1.0, max([*mean, *seen, 0.5]) + 0.03)

    def paint(figure: Figure, _narrow: bool) -> None:
        height = figure.get_size_inches()[1] * 72
        axes = frame(figure, 52, 16, 22, 136)
        axes.plot([low, high], [low, high], color=CONTROL, linestyle=(0, (4, 3)), linewidth=1)
        axes.plot(
            mean, seen, color=ACCENT, linewidth=1.4, marker="o", markersize=5, markerfacecolor=SURFACE, markeredgewidth=1.6
        )
        axes.set_title("Came true, share", loc="left", x=-0.14, color=INK_3, pad=8)
        counts = frame(figure, 52, 16, height - 94, 42)
        counts.bar(mean, n, width=(high - low) * 0.025, color=ACCENT, alpha=0.75)
        counts.set_title("Forecasts in the bin", loc="left", x=-0.14, color=INK_3, pad=6)
        counts.set_ylim(0, max([*n, 1]) * 1.1)
        counts.set_yticks([0, max([*n, 1])], ["0", plain(max([*n, 1]))])
        counts.set_xlabel("Forecast probability that the price is higher", labelpad=6)
        for part in (axes, counts):
            part.set_xlim(low, high)
            part.grid(visible=True, linewidth=0.6)
            part.locator_params(axis="x", nbins=6)
            part.xaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
        axes.set_ylim(low, high)
        axes.locator_params(axis="y", nbins=6)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
        axes.tick_params(labelbottom=False)
        stamp(figure, simulated)

    return one_chart(
        f"reliability-{horizon_h}", f"Reliability of the {horizon_h} h forecasts", says, paint, height=330, width=SMALL
    )


def skill_chart(horizon_h: int, metrics: pl.DataFrame, says: str, simulated: bool) -> Chart:
    """Return Brier skill per model: one dot per fold, a diamond for all folds together, a line at no skill."""
    at = metrics.filter((pl.col("horizon_h") == horizon_h) & pl.col("brier_skill").is_finite())
    shown = [name for name in MODELS if len(at.filter(pl.col("model") == name)) and name != "base_rate"]
    dots = {name: _percent(at.filter((pl.col("model") == name) & (pl.col("fold_n") != ALL_FOLDS))) for name in shown}
    whole = {name: _percent(at.filter((pl.col("model") == name) & (pl.col("fold_n") == ALL_FOLDS))) for name in shown}
    near = [v for name in shown if name in OURS for v in dots[name] + whole[name]]
    reach = max([abs(v) for v in near] + [0.1]) * 1.25

    def paint(figure: Figure, _narrow: bool) -> None:
        axes = frame(figure, 92, 12, 16, 40)
        axes.axvline(0, color=INK_2, linewidth=1)
        axes.set_xlim(-reach, reach)
        for y, name in enumerate(reversed(shown)):
            colour = ACCENT if name == "blend" else INK_3
            axes.plot(
                dots[name], [y] * len(dots[name]), "o", color="none", markeredgecolor=colour, markeredgewidth=1.2, markersize=6
            )
            axes.plot(whole[name], [y] * len(whole[name]), "D", color=colour, markersize=7, zorder=5)
            if any(v < -reach for v in dots[name] + whole[name]):
                text = f"\u25c2 all folds {plain(round(whole[name][0], 1))} %" if whole[name] else "\u25c2 off the scale"
                axes.text(-reach * 0.97, y, text, va="center", fontsize=10, color=INK_2)
        axes.set_yticks(range(len(shown)), [MODELS[name] for name in reversed(shown)])
        axes.set_ylim(-0.6, max(len(shown) - 0.4, 0.6))
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(lambda value, _: plain(round(value, 6)))
        axes.xaxis.grid(visible=True, linewidth=0.6)
        axes.set_xlabel("\u2190 worse than base rate, %, better \u2192", labelpad=5)
        stamp(figure, simulated)

    return one_chart(
        f"skill-{horizon_h}",
        f"Brier skill at {horizon_h} h per model and fold",
        says,
        paint,
        height=70 + 26 * len(shown),
        width=SMALL,
    )


def _percent(rows: pl.DataFrame) -> list[float]:
    return [100 * v for v in rows["brier_skill"].to_list()]


PIECES = (
    ("train", "Train", CONTROL, ""), ("validation", "Validation", ACCENT, BAND_HATCH), ("test", "Test", OK, ""),
)  # fmt: skip


def folds_chart(folds: pl.DataFrame, says: str, simulated: bool) -> Chart:
    """Return one row per fold: train, purge, validation, embargo and test on a common time axis."""
    rows = folds.sort("fold_n").to_dicts()
    first_t, last_t = min(row["train_first_t"] for row in rows), max(row["test_last_t"] for row in rows)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = frame(figure, 34, 30, 16, 26)
        least_t = (last_t - first_t) * (0.006 if narrow else 0.0025)
        for y, row in enumerate(rows):
            for piece, _, colour, hatch in PIECES:
                begin_t, end_t = row[f"{piece}_first_t"], row[f"{piece}_last_t"]
                _piece(axes, begin_t, end_t, y, colour, hatch)
            _gap(axes, row["train_last_t"], row["validation_first_t"], y, least_t)
            _gap(axes, row["validation_last_t"], row["test_first_t"], y, least_t)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [str(row["fold_n"]) for row in rows])
        time_axis(axes, first_t, last_t, narrow)
        axes.yaxis.grid(visible=False)
        axes.xaxis.grid(visible=True, linewidth=0.6)
        stamp(figure, simulated)

    height = 50 + max(2, len(rows)) * 20
    return chart("folds", "Walk-forward folds", says, paint, height=height, narrow_height=height)


def _piece(axes: Axes, begin_t: int, end_t: int, y: int, colour: str, hatch: str) -> None:
    face = "none" if hatch else colour
    axes.add_patch(
        Rectangle((begin_t, y - 0.34), end_t - begin_t, 0.68, facecolor=face, edgecolor=colour, hatch=hatch, linewidth=0.8)
    )


def _gap(axes: Axes, begin_t: int, end_t: int, y: int, least_t: float) -> None:
    """Draw a purge or embargo, wider than scale where it would vanish."""
    width = max(end_t - begin_t, least_t)
    middle = (begin_t + end_t) / 2
    axes.add_patch(
        Rectangle((middle - width / 2, y - 0.42), width, 0.84, facecolor=WARN, edgecolor=SURFACE, linewidth=0.5, zorder=4)
    )
