"""Charts of a walk-forward study for notebooks. Every chart carries the label of its data (`SIMULATED` or the venue)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import altair as alt
import marimo as mo
import numpy as np
import polars as pl

from runtime.core.records import E8, PPM
from runtime.inference.panel import BarPanel, Ints
from workbench.study import StudyResult
from workbench.training.evaluate import ALL_FOLDS, Evaluation
from workbench.training.explain import ShapRow
from workbench.training.folds import Fold

WIDTH_PX: Final = 720
ROWS_MAX: Final = 4_800
"""Points per chart, below altair's own limit of 5,000: a notebook is read, not zoomed into."""
POINTS_MAX: Final = 400
"""Points per curve; the exact curves are in the study's tables."""
FEATURES_SHOWN: Final = 12
VEGA_MIME: Final = "application/vnd.vegalite.v6+json"
SERIES: Final = {"ml": "ML", "trend": "trend rule", "flat": "flat", "btc_hold": "BTC hold", "equal_weight": "equal weight"}


def _render(spec: dict[str, object], **_metadata: object) -> dict[str, object]:
    """Return a chart as Jupyter shows it: its specification alone.

    altair's own HTML carries a random id and scripts of a content network, and its own MIME type is refused by nbformat.
    """
    return {VEGA_MIME: spec, "text/plain": f"chart: {spec.get('title', '')}"}


# marimo shows charts itself, better than from a specification
if alt.renderers.active == "default" and not mo.running_in_notebook():
    alt.renderers.register("ballast", _render)
    alt.renderers.enable("ballast")


def prices_chart(panel: BarPanel, label: str) -> alt.Chart:
    """Draw the closes of every asset relative to its first one, on a logarithmic axis; a gap stays a gap."""
    points = min(POINTS_MAX, ROWS_MAX // max(len(panel.symbols), 1))
    step = -(-len(panel.open_t) // points)
    frames = []
    for s, symbol in enumerate(panel.symbols):
        close = panel.close[:, s]
        known = np.flatnonzero(~np.isnan(close))
        if len(known):
            at_t = panel.open_t[::step]
            frames.append(pl.DataFrame({"day": _times(at_t), "asset": symbol, "growth": close[::step] / close[known[0]]}))
    table = pl.concat(frames).filter(pl.col("growth").is_not_nan()).with_columns(pl.col("growth").round(4))
    chart = alt.Chart(table).mark_line(strokeWidth=1.2)
    return _titled(
        chart.encode(
            alt.X("day:T", title=None),
            alt.Y("growth:Q", scale=alt.Scale(type="log"), title="price, first close = 1"),
            alt.Color("asset:N", sort=list(panel.symbols), title=None),
        ),
        f"Prices ({label})",
    )


def folds_chart(folds: Sequence[Fold], at_t: Ints, label: str) -> alt.Chart:
    """Draw each fold's training, validation and test window; the white between them is purge and embargo."""
    rows = [
        {"fold": fold.fold_n, "window": name, "from": _time(at_t[first]), "to": _time(at_t[end - 1])}
        for fold in folds
        for name, (first, end) in (("train", fold.train), ("validation", fold.validation), ("test", fold.test))
    ]
    chart = alt.Chart(pl.DataFrame(rows)).mark_bar(height={"band": 0.7})
    order = ["train", "validation", "test"]
    return _titled(
        chart.encode(
            alt.X("from:T", title=None),
            alt.X2("to:T"),
            alt.Y("fold:O"),
            alt.Color(
                "window:N", sort=order, scale=alt.Scale(domain=order, range=["#9db4c0", "#e0a458", "#c1292e"]), title=None
            ),
        ),
        f"Walk-forward folds ({label})",
    )


def skill_chart(evaluation: Evaluation, label: str) -> alt.FacetChart:
    """Draw the Brier skill against the base rate by forecaster and horizon, per fold and (thick) over all folds."""
    rows = [
        {
            "forecaster": row.model,
            "horizon": f"{row.horizon_h} h",
            "skill %": round(100 * row.scores.brier_skill, 3),
            "all": row.fold_n == ALL_FOLDS,
        }
        for row in evaluation.metrics
        if row.scores.brier_skill == row.scores.brier_skill
    ]
    base = alt.Chart().encode(
        alt.X("skill %:Q", title="Brier skill against the base rate, % (right of 0 is better)"),
        alt.Y("forecaster:N", sort=None, title=None),
    )
    points = base.transform_filter("!datum.all").mark_point(size=18, opacity=0.6, color="#9db4c0")
    overall = base.transform_filter("datum.all").mark_tick(thickness=3, size=16, color="#c1292e")
    layered = alt.layer(points, overall, data=pl.DataFrame(rows)).properties(width=WIDTH_PX - 120)
    faceted: alt.FacetChart = layered.facet(row=alt.Row("horizon:N", sort=None, title=None))
    return faceted.properties(title=f"Forecast skill ({label})")


def calibration_chart(evaluation: Evaluation, label: str) -> alt.LayerChart:
    """Draw the observed share over the forecast probability; on the diagonal a forecast means what it says."""
    rows = [
        {
            "horizon": f"{r.horizon_h} h",
            "forecast": round(r.bin.prob_mean, 5),
            "observed": round(r.bin.observed, 5),
            "n": r.bin.n,
        }
        for r in evaluation.calibration
        if r.bin.n
    ]
    table = pl.DataFrame(rows)
    shown = [*table["forecast"].to_list(), *table["observed"].to_list()]
    low, high = float(min(shown, default=0.0)), float(max(shown, default=1.0))
    scale = alt.Scale(domain=[low, high])
    line = alt.Chart(table).mark_line(point=True).encode(
        alt.X("forecast:Q", scale=scale, title="forecast probability of a rise"),
        alt.Y("observed:Q", scale=scale, title="observed share"),
        alt.Color("horizon:N", sort=None, title=None),
        tooltip=["horizon", "forecast", "observed", "n"],
    )  # fmt: skip
    ideal = alt.Chart(pl.DataFrame({"forecast": [low, high], "observed": [low, high]})).mark_line(
        strokeDash=[4, 4], color="#999"
    )
    return (ideal.encode(x="forecast:Q", y="observed:Q") + line).properties(
        width=WIDTH_PX // 2, height=WIDTH_PX // 2, title=f"Calibration over all test windows ({label})"
    )


def shap_chart(shap: Sequence[ShapRow], label: str) -> alt.Chart:
    """Draw the features that move the last fold's global models most, by mean absolute SHAP value."""
    table = pl.DataFrame(
        [{"horizon": f"{r.horizon_h} h", "feature": r.feature, "log-odds": round(r.mean_abs, 6)} for r in shap]
    )
    total = table.group_by("feature").agg(pl.col("log-odds").sum()).sort(["log-odds", "feature"], descending=[True, False])
    shown = total["feature"].head(FEATURES_SHOWN).to_list()
    chart = alt.Chart(table.filter(pl.col("feature").is_in(shown))).mark_bar()
    return _titled(
        chart.encode(
            alt.X("log-odds:Q", title="mean absolute SHAP value, log-odds"),
            alt.Y("feature:N", sort=shown, title=None),
            alt.Color("horizon:N", sort=None, title=None),
        ),
        f"What moves the models ({label})",
    )


def equity_chart(curves: pl.DataFrame, label: str) -> alt.VConcatChart:
    """Draw value and drawdown of both runs beside the baselines.

    Args:
        curves: columns at_t (seconds UTC), series, pv_e8: the study's equity table.
        label: label of the data.
    """
    times = curves["at_t"].unique().sort()
    kept = times.gather_every(-(-len(times) // POINTS_MAX))
    table = (
        curves.with_columns(pl.col("series").cast(pl.String).replace(SERIES), pl.col("pv_e8") / E8)
        .with_columns(drawdown=(pl.col("pv_e8") / pl.col("pv_e8").cum_max().over("series") - 1) * 100)
        .filter(pl.col("at_t").is_in(kept.implode()))
        .select(
            day=pl.from_epoch("at_t"), series="series", value=pl.col("pv_e8").round(2), drawdown=pl.col("drawdown").round(3)
        )
    )
    names = list(SERIES.values())
    colour = alt.Color("series:N", sort=names, scale=alt.Scale(domain=names), title=None)
    base = alt.Chart(table).mark_line(strokeWidth=1.4).encode(alt.X("day:T", title=None), colour)
    value = base.encode(alt.Y("value:Q", scale=alt.Scale(zero=False), title="portfolio value, USD")).properties(width=WIDTH_PX)
    drawdown = base.encode(alt.Y("drawdown:Q", title="drawdown, %")).properties(width=WIDTH_PX, height=120)
    return alt.vconcat(value, drawdown).properties(title=f"Runs and baselines, net of costs ({label})")


def refusals_chart(refusals: Mapping[str, Mapping[str, int]], label: str) -> alt.Chart:
    """Draw how often each gate refused an action, by run."""
    rows = [{"run": run, "gate": gate, "refusals": n} for run, found in refusals.items() for gate, n in found.items()]
    table = pl.DataFrame(rows, schema={"run": pl.String, "gate": pl.String, "refusals": pl.Int64})
    chart = alt.Chart(table).mark_bar()
    encoded = chart.encode(alt.X("refusals:Q"), alt.Y("gate:N", sort="-x", title=None), alt.Color("run:N", title=None))
    return _titled(encoded, f"Refusals by gate ({label})")


def portfolio_table(result: StudyResult) -> pl.DataFrame:
    """Return one row per run and baseline: what it ended with, its return, drawdown, costs and number of orders."""
    rows = []
    for name, words in SERIES.items():
        figures = result.runs.get(name) or result.baselines[name]
        run = result.runs.get(name)
        rows.append({
            "series": words,
            "final value USD": round(figures.final_pv_e8 / E8, 2),
            "net return %": round(100 * figures.net_return_ppm / PPM, 3),
            "drawdown %": round(100 * figures.max_drawdown_ppm / PPM, 3),
            "fees USD": round(figures.fees_e8 / E8, 2),
            "orders": run.orders if run else None,
            "fills": run.fills if run else None,
            "trades": run.trades if run else None,
        })  # fmt: skip
    return pl.DataFrame(rows)


def metrics_table(evaluation: Evaluation) -> pl.DataFrame:
    """Return the scores of every forecaster over all test windows."""
    rows = [
        {
            "horizon h": row.horizon_h, "forecaster": row.model, "n": row.scores.n, "AUC": round(row.scores.auc, 4),
            "Brier skill %": round(100 * row.scores.brier_skill, 3), "log loss": round(row.scores.log_loss, 5),
            "ECE": round(row.scores.ece, 4),
        }
        for row in evaluation.metrics
        if row.fold_n == ALL_FOLDS
    ]  # fmt: skip
    return pl.DataFrame(rows)


def _titled(chart: alt.Chart, title: str) -> alt.Chart:
    return chart.properties(width=WIDTH_PX, title=title)


def _times(at_t: Ints) -> pl.Series:
    return pl.from_epoch(pl.Series(at_t))


def _time(at_t: int) -> datetime:
    return datetime.fromtimestamp(int(at_t), UTC).replace(tzinfo=None)
