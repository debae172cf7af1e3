"""Charts of an exploration, interactive: click a legend or a bar to choose, drag or turn the wheel to zoom, point for the numbers.

Every chart carries the label of its data (`SIMULATED` or the venue). Parameters and views are named, so that equal data give
equal specifications.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import altair as alt
import numpy as np
import polars as pl

from runtime.inference.panel import Floats, Ints
from workbench.data.quality.findings import GATES, Finding
from workbench.data.view.estimates import Correlations, Market
from workbench.notebook.charts import ROWS_MAX

MISSING: Final = {
    "none": "#9db4c0", "below 1 %": "#cfd6c4", "1 to 10 %": "#e9cf94", "10 to 50 %": "#e0a458", "above 50 %": "#c1292e", "all": "#5b0f14",
}  # fmt: skip
"""Classes of the share of missing bars, and their colours."""
SEVERITY: Final = {"fatal": "#5b0f14", "blocking": "#e0a458", "note": "#9db4c0"}
WIDTH_PX: Final = 620
"""With axis and legend it fits into a notebook of medium width."""
DIM: Final = 0.12
MONTHS: Final = alt.Axis(format="%Y-%m", labelOverlap=True)
FEW_N: Final = 12
"""Up to so many assets a matrix shows its numbers and a legend stands beside its chart; more go into tooltips and below."""
ROW_PX: Final = 16
ESTIMATES: Final = {"Corwin-Schultz": "corwin_schultz", "Abdi-Ranaldo": "abdi_ranaldo"}


def prices_chart(market: Market) -> alt.LayerChart | alt.FacetChart:
    """Draw the closes relative to the first one, on a logarithmic axis; a hole stays a hole.

    Of each stretch of bars that becomes one point the last close counts: an hour's outage is not a hole of a month.
    """
    step = _step(len(market.open_t), len(market.symbols))
    frames = []
    for s, symbol in enumerate(market.symbols):
        known = np.flatnonzero(~np.isnan(market.close[:, s]))
        points = pl.DataFrame({"row": np.arange(0, len(market.open_t), step)})
        bars = pl.DataFrame({"row": known // step * step, "at": known, "close": market.close[known, s]})
        shown = points.join(bars.group_by("row").last(), on="row", how="left", maintain_order="left")
        times = _times(market.open_t[shown["at"].fill_null(shown["row"]).to_numpy()])
        growth = shown["close"] / market.close[known[0], s]
        frames.append(pl.DataFrame({"time": times, "asset": symbol, "growth": growth, "close": shown["close"]}))
    table = pl.concat(frames).with_columns(pl.col("growth").round_sig_figs(5), pl.col("close").round_sig_figs(6))
    return _lines(
        table, "prices", market.symbols, alt.Y("growth:Q", scale=alt.Scale(type="log"), title="price, first close = 1"), ["close"],
        f"Prices ({market.label})",
    )  # fmt: skip


def coverage_chart(market: Market) -> alt.Chart:
    """Draw which share of the bars of each month is missing."""
    table, since = _newest(market.months)
    share = 100.0 * pl.col("missing_n") / pl.col("due_n")
    names = list(MISSING)
    kind = (
        pl.when(share == 0.0).then(pl.lit(names[0])).when(share < 1.0).then(pl.lit(names[1])).when(share < 10.0).then(pl.lit(names[2]))
        .when(share < 50.0).then(pl.lit(names[3])).when(share < 100.0).then(pl.lit(names[4])).otherwise(pl.lit(names[5]))
    )  # fmt: skip
    table = table.select(
        pl.col("month").cast(pl.Datetime("ms")), pl.col("symbol").alias("asset"), kind.alias("missing"), share.round(2).alias("missing %"),
        pl.col("bars_n").alias("bars"), pl.col("due_n").alias("due"),
    )  # fmt: skip
    chosen = alt.selection_point(name="coverage_class", fields=["missing"], bind="legend")
    return (
        alt.Chart(table)
        .mark_rect(stroke="white", strokeWidth=0.3)
        .encode(
            alt.X("yearmonth(month):T", title=None),
            alt.Y("asset:N", sort=list(market.symbols), title=None),
            alt.Color(
                "missing:N", sort=names, scale=alt.Scale(domain=names, range=list(MISSING.values())), title="bars missing"
            ),
            opacity=alt.condition(chosen, alt.value(1.0), alt.value(DIM)),
            tooltip=["asset", alt.Tooltip("yearmonth(month):T", title="month"), "bars:Q", "due:Q", "missing %:Q"],
        )
        .add_params(chosen)
        .properties(width=WIDTH_PX, height=alt.Step(ROW_PX), title=f"Bars by month{since} ({market.label})", name="coverage")
    )


def findings_chart(findings: Sequence[Finding], label: str) -> alt.VConcatChart:
    """Draw what the gates found; a click on a gate shows its years and assets alone, one on an asset its gates."""
    schema = {"gate": pl.String, "severity": pl.String, "asset": pl.String, "year": pl.String, "bars": pl.Int64}
    rows = [(f.gate, f.severity, f.symbol, str(datetime.fromtimestamp(f.first_t, UTC).year), f.rows_n) for f in findings]
    table = (
        pl.DataFrame(rows, schema=schema, orient="row")
        .group_by("gate", "severity", "asset", "year", maintain_order=True)
        .agg(pl.len().alias("findings"), pl.col("bars").sum())
        .head(ROWS_MAX)
    )
    gates = [g for g in GATES if g in set(table["gate"])]
    assets = list(dict.fromkeys(f.symbol for f in findings))
    gate = alt.selection_point(name="findings_gate", fields=["gate"])
    asset = alt.selection_point(name="findings_asset", fields=["asset"])
    known = [level for level in SEVERITY if level in set(table["severity"])]
    colour = alt.Color("severity:N", scale=alt.Scale(domain=known, range=[SEVERITY[level] for level in known]), title=None)
    count = alt.X("sum(findings):Q", title="findings")
    tip = ["gate:N", "severity:N", alt.Tooltip("sum(findings):Q", title="findings"), alt.Tooltip("sum(bars):Q", title="bars")]
    base = alt.Chart(table).mark_bar()
    by_gate = (
        base.encode(count, alt.Y("gate:N", sort=gates, title=None), colour, tooltip=tip, opacity=_lit(gate))
        .add_params(gate)
        .transform_filter(asset)
        .properties(width=WIDTH_PX // 2 - 60, height=alt.Step(ROW_PX), name="findings_by_gate", title="by gate")
    )
    by_asset = (
        base.encode(
            count, alt.Y("asset:N", sort=assets, title=None), colour, tooltip=["asset:N", *tip[1:]], opacity=_lit(asset)
        )
        .add_params(asset)
        .transform_filter(gate)
        .properties(width=WIDTH_PX // 2 - 60, height=alt.Step(ROW_PX), name="findings_by_asset", title="by asset")
    )
    by_year = (
        base.encode(
            alt.X("year:O", title=None, axis=alt.Axis(labelAngle=0)), alt.Y("sum(findings):Q", title="findings"), colour,
            tooltip=["year:O", *tip[1:]],
        )
        .transform_filter(gate)
        .transform_filter(asset)
        .properties(width=WIDTH_PX, height=110, name="findings_by_year", title="by year")
    )  # fmt: skip
    both = alt.hconcat(by_gate, by_asset)
    return alt.vconcat(both, by_year).properties(title=f"Findings of the quality gates ({label})")


def correlation_chart(found: Correlations, label: str) -> alt.LayerChart | alt.FacetChart:
    """Draw the correlation of the returns of every two assets."""
    rows = [
        {"a": a, "b": b, "correlation": round(float(found.matrix[i, j]), 3), "returns": int(found.n[i, j])}
        for i, a in enumerate(found.symbols)
        for j, b in enumerate(found.symbols)
        if i != j and not np.isnan(found.matrix[i, j])
    ]
    table = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "correlation": pl.Float64, "returns": pl.Int64})
    low = min(table["correlation"].to_list(), default=0.0)
    order = list(found.symbols)
    cells = max(ROW_PX + 4, min(48, WIDTH_PX // max(len(order), 1) - 2))
    base = alt.Chart(table).encode(
        alt.X("a:N", sort=order, title=None, axis=alt.Axis(orient="top", labelAngle=-45)), alt.Y("b:N", sort=order, title=None)
    )
    over = alt.selection_point(name="correlation_cell", on="pointerover", empty=False, clear="pointerout")
    colour = alt.Color(
        "correlation:Q", scale=alt.Scale(scheme="blues", domain=[min(low, 0.0) if low < 0.1 else low, 1.0]), title=None
    )
    edge = alt.condition(over, alt.value("black"), alt.value("white"))
    rects = (
        base.mark_rect(strokeWidth=1)
        .encode(colour, stroke=edge, tooltip=["a", "b", "correlation:Q", "returns:Q"])
        .add_params(over)
    )
    rects = rects.properties(name="correlation")
    limit = (1.0 + low) / 2.0
    ink = alt.condition(f"datum.correlation > {limit:.3f}", alt.value("white"), alt.value("#333"))
    text = base.mark_text(fontSize=10).encode(alt.Text("correlation:Q", format=".2f"), color=ink)
    layers = [rects, text] if len(order) <= FEW_N else [rects]
    size = alt.Step(cells)
    return alt.layer(*layers).properties(width=size, height=size, title=f"Correlation of returns ({label})")


def volatility_chart(market: Market, volatility: Floats, window_days: int) -> alt.VConcatChart:
    """Draw the rolling volatility; drag over the lower chart to choose the time of the upper one."""
    step = _step(len(market.open_t), len(market.symbols), offset=len(market.open_t) - 1)
    rows = slice((len(market.open_t) - 1) % step, None, step)
    frames = [
        pl.DataFrame({"time": _times(market.open_t[rows]), "asset": symbol, "volatility": 100.0 * volatility[rows, s]})
        for s, symbol in enumerate(market.symbols)
    ]
    table = pl.concat(frames).with_columns(_shown("volatility", 2))
    brush = alt.selection_interval(name="volatility_time", encodings=["x"])
    chosen = _legend("volatility_asset")
    base = alt.Chart(table).mark_line(strokeWidth=1.2, clip=True)
    colour = _asset_colour(market.symbols)
    value = alt.Y("volatility:Q", title="per year, %")
    upper = (
        base.encode(
            alt.X("time:T", title=None, scale=alt.Scale(domain=brush)), value, colour, opacity=_lit(chosen),
            tooltip=["asset", alt.Tooltip("time:T", format="%Y-%m-%d"), "volatility"],
        )
        .add_params(chosen)
        .properties(width=WIDTH_PX, height=240, name="volatility_detail")
    )  # fmt: skip
    lower = (
        base.encode(alt.X("time:T", title=None), alt.Y("volatility:Q", title=None), colour, opacity=_lit(chosen))
        .add_params(brush)
        .properties(width=WIDTH_PX, height=50, name="volatility_whole")
    )
    return alt.vconcat(upper, lower).properties(title=f"Volatility of the last {window_days} days, annualised ({market.label})")


def week_chart(table: pl.DataFrame, label: str) -> alt.Chart:
    """Draw how much prices move by hour of the week; the asset is chosen below the chart.

    Args:
        table: `estimates.hour_of_week`.
        label: of the data.
    """
    assets = table.columns[2:]
    rounded = table.with_columns(_shown(a, 3) for a in assets)
    asset = alt.param(name="week_asset", value=assets[0], bind=alt.binding_select(options=assets, name="asset "))
    days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    hours = list(dict.fromkeys(table["hour"].to_list()))
    return (
        alt.Chart(rounded)
        .mark_rect()
        .transform_calculate(relative="datum[week_asset]")
        .encode(
            alt.X(
                "hour:O",
                sort=hours,
                title="hour (UTC)",
                axis=alt.Axis(labelAngle=0, labelExpr="slice(datum.label, 3) == '00' ? slice(datum.label, 0, 2) : ''"),
            ),
            alt.Y("day:O", sort=days, title=None),
            alt.Color("relative:Q", scale=alt.Scale(scheme="redyellowblue", reverse=True, domainMid=1.0), title="average = 1"),
            tooltip=["day", "hour", alt.Tooltip("relative:Q", format=".2f")],
        )
        .add_params(asset)
        .properties(width=WIDTH_PX, height=alt.Step(26), title=f"Movement by hour of the week ({label})", name="week")
    )


def spreads_chart(table: pl.DataFrame, symbols: Sequence[str], label: str) -> alt.Chart:
    """Draw the monthly spread estimates; which of the two is chosen below the chart.

    Args:
        table: `estimates.spreads`.
        symbols: in their order.
        label: of the data.
    """
    newest, since = _newest(table)
    shown = _every_month(newest).select(
        pl.col("month").cast(pl.Datetime("ms")),
        pl.col("symbol").alias("asset"),
        *(_shown(c, 2).alias(n) for n, c in ESTIMATES.items()),
        "n",
    )
    method = alt.param(
        name="spread_method", value=next(iter(ESTIMATES)), bind=alt.binding_radio(options=list(ESTIMATES), name="estimator ")
    )
    chosen = _legend("spread_asset")
    return (
        alt.Chart(shown)
        .mark_line(strokeWidth=1.2, point=alt.OverlayMarkDef(size=10))
        .transform_calculate(spread="datum[spread_method]")
        .encode(
            alt.X("month:T", title=None),
            alt.Y("spread:Q", title="estimated spread, bp"),
            _asset_colour(symbols),
            opacity=_lit(chosen),
            tooltip=["asset", alt.Tooltip("month:T", format="%Y-%m"), *(f"{n}:Q" for n in ESTIMATES), "n:Q"],
        )
        .add_params(method, chosen)
        .properties(width=WIDTH_PX, title=f"Spread told from highs, lows and closes{since} ({label})", name="spreads")
        .interactive(name="spread_zoom", bind_y=False)
    )


def venues_chart(table: pl.DataFrame, symbols: Sequence[str], first: str, second: str) -> alt.LayerChart:
    """Draw the median distance of two venues' closes, within the band that holds nine of ten.

    Args:
        table: `estimates.venue_spreads`.
        symbols: in their order.
        first, second: labels of the two.
    """
    newest, since = _newest(table)
    shown = _every_month(newest).select(
        pl.col("month").cast(pl.Datetime("ms")),
        pl.col("symbol").alias("asset"),
        *(_shown(c, 2) for c in ("median", "low", "high")),
        "n",
    )
    chosen = _legend("venues_asset")
    base = alt.Chart(shown).encode(
        alt.X("month:T", title=None, axis=MONTHS), _asset_colour([s for s in symbols if s in set(shown["asset"])])
    )
    band = base.mark_area(clip=True).encode(
        alt.Y("low:Q", title=f"{first} above {second}, bp"),
        alt.Y2("high:Q"),
        opacity=alt.condition(chosen, alt.value(0.2), alt.value(0.03)),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=14)).encode(
        alt.Y("median:Q"),
        opacity=_lit(chosen),
        tooltip=["asset", alt.Tooltip("month:T", format="%Y-%m"), "median", "low", "high", "n"],
    )
    line = line.add_params(chosen).properties(name="venues").interactive(name="venues_zoom", bind_y=False)
    return (band + line).properties(width=WIDTH_PX, title=f"Price of {first} against {second}{since}")


def _lines(
    table: pl.DataFrame, name: str, symbols: Sequence[str], y: alt.Y, told: Sequence[str], title: str
) -> alt.LayerChart | alt.FacetChart:
    """Return lines by asset with a legend to choose by, zoom along time, and the numbers of the point under the pointer."""
    chosen = _legend(f"{name}_asset")
    near = alt.selection_point(
        name=f"{name}_near", fields=["time", "asset"], nearest=True, on="pointerover", empty=False, clear="pointerout"
    )
    base = alt.Chart(table).encode(alt.X("time:T", title=None), y, _asset_colour(symbols))
    line = base.mark_line(strokeWidth=1.2).encode(opacity=_lit(chosen)).add_params(chosen)
    line = line.properties(name=name).interactive(name=f"{name}_zoom", bind_y=False)
    column = str(y.shorthand).removesuffix(":Q")
    point = (
        base.mark_point(size=40, filled=True)
        .encode(
            opacity=alt.condition(near, alt.value(1.0), alt.value(0.0)),
            tooltip=["asset", alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), column, *told],
        )
        .add_params(near)
        .properties(name=f"{name}_points")
    )
    return alt.layer(line, point).properties(width=WIDTH_PX, title=title)


def _legend(name: str) -> alt.Parameter:
    return alt.selection_point(name=name, fields=["asset"], bind="legend")


def _lit(chosen: alt.Parameter) -> alt.OpacityValue:
    """Return full strength for what is chosen, and for everything while nothing is."""
    return alt.OpacityValue(DIM, condition={"param": chosen.name, "value": 1.0})


def _asset_colour(symbols: Sequence[str]) -> alt.Color:
    return alt.Color(
        "asset:N", sort=list(symbols), scale=alt.Scale(domain=list(symbols)), title=None, legend=_asset_legend(len(symbols))
    )


def _asset_legend(n: int) -> alt.Legend:
    if n <= FEW_N:
        return alt.Legend(symbolLimit=40, symbolOpacity=1)
    return alt.Legend(symbolLimit=40, symbolOpacity=1, orient="bottom", columns=10, rowPadding=1)


def _shown(column: str, decimals: int) -> pl.Expr:
    return pl.col(column).round(decimals).fill_nan(None)


def _step(rows_n: int, symbols_n: int, *, offset: int = 0) -> int:
    points = max(2, ROWS_MAX // max(symbols_n, 1) - 1)
    return max(1, -(-(rows_n + (offset > 0)) // points))


def _newest(table: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Return the newest months that fit into one chart, and what the title says when some do not."""
    if table.height <= ROWS_MAX:
        return table, ""
    counts = table.group_by("month").len().sort("month", descending=True).with_columns(pl.col("len").cum_sum())
    (first,) = counts.filter(pl.col("len") <= ROWS_MAX).select(pl.col("month").min()).row(0)
    return table.filter(pl.col("month") >= first), f" since {first:%Y-%m}"


def _every_month(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with an empty one for every month between the first and last of an asset that has none: a hole stays a hole."""
    filled = [
        own.sort("month").upsample("month", every="1mo").with_columns(pl.lit(symbol).alias("symbol"))
        for (symbol,), own in table.partition_by("symbol", as_dict=True, maintain_order=True).items()
    ]
    return pl.concat(filled) if filled else table


def _times(at_t: Ints) -> pl.Series:
    return pl.from_epoch(pl.Series(at_t)).cast(pl.Datetime("ms"))
