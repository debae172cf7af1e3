"""The marks: equity and drawdown, and candles with what was done. Bokeh figures without toolbars, drawn once, then streamed into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    CrosshairTool,
    DataRange1d,
    DatetimeTickFormatter,
    FixedTicker,
    HoverTool,
    NoOverlap,
    NumeralTickFormatter,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from reports.dashboards import words
from reports.dashboards.decision_shapes import Candle, Candles, Signal
from reports.dashboards.overview_values import scale_ppm
from reports.dashboards.palette import Painter
from reports.dashboards.shapes import EquityPoint, Summary, Tier

FONT: Final = "-apple-system, BlinkMacSystemFont, Inter, sans-serif"
TIMES: Final = {"hours": "%H:%M", "hourmin": "%H:%M", "minutes": "%H:%M", "days": "%d %b", "months": "%b %Y"}
E8: Final = float(words.E8)
ROLLOVER_N: Final = 4_000
ZONES: Final = ((" ", 0.07, "warn"), ("/", 0.14, "warn"), ("x", 0.16, "bad"))
"""Texture, strength and colour of the tiers below NORMAL."""
FLAT_SPAN: Final = 2.0
"""What Bokeh shows around a line without a slope."""
TICKS_MAX: Final = 8
LABELS_PX: Final = 70
"""Left of both charts, so that their hours stand above each other: labels of equity with two decimals fit."""
DECIMALS_MAX: Final = 8
KINDS: Final = ("buy", "sell", "refused", "chosen")
MARK_GAP: Final = 0.03
"""Distance of a mark from its candle, as a share of the chart's height in prices."""


def _figure(name: str, height: int, y_side: str = "left") -> Any:
    fig = figure(
        name=name, height=height, sizing_mode="stretch_width", x_axis_type="datetime", y_axis_location=y_side, toolbar_location=None,
        tools="", min_border=0, min_border_right=4, output_backend="canvas",
    )  # fmt: skip
    fig.outline_line_color = None
    fig.xgrid.visible = False
    fig.ygrid.grid_line_dash = [1, 3]
    for axis in fig.axis:
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = None
        axis.major_label_text_font, axis.major_label_text_font_size = FONT, "11px"
    fig.xaxis.formatter = DatetimeTickFormatter(**TIMES)
    fig.xaxis.major_label_policy = NoOverlap(min_distance=14)
    fig.yaxis.ticker.desired_num_ticks = 4
    return fig


class EquityPlots:
    """Equity with its high-water mark, and below it the drawdown with the profile's tiers.

    Args:
        painter: gives the colours.
        points: hourly points, oldest first.
        summary: the present: the last point of both lines, beside the page's own numbers, and the tiers of the profile.
    """

    def __init__(self, painter: Painter, points: Sequence[EquityPoint], summary: Summary) -> None:
        self._present = _present(points, summary)
        before = [p for p in points if p.close_t < self._present.close_t]
        self._closed_t = before[-1].close_t if before else 0
        self._source = ColumnDataSource(_equity_columns([*before, self._present]))
        self.equity = self._equity(painter)
        self.drawdown = self._drawdown(painter, summary.tiers)

    def extend(self, points: Sequence[EquityPoint], summary: Summary) -> None:
        """Move the last point to the present, behind the hours that closed since."""
        present = _present(points, summary)
        fresh = [p for p in points if self._closed_t < p.close_t < present.close_t]
        if not fresh and present == self._present:
            return
        self._present = present
        first, *others = [*fresh, present]
        place = len(self._source.data["t"]) - 1
        self._source.patch({name: [(place, values[0])] for name, values in _equity_columns([first]).items()})
        if others:
            self._closed_t = fresh[-1].close_t
            self._source.stream(_equity_columns(others), rollover=ROLLOVER_N)
        written = _money_format(self._source)
        if self.equity.yaxis[0].formatter.format != written:
            self.equity.yaxis[0].formatter.format = written

    def _equity(self, painter: Painter) -> Any:
        fig = _figure("equity", 196)
        fig.min_border_bottom = 8
        fig.x_range = DataRange1d(range_padding=0.012)
        fig.yaxis.formatter = NumeralTickFormatter(format=_money_format(self._source))
        peak = fig.line("t", "peak", source=self._source, line_width=1, line_dash=[4, 3])
        line = fig.line("t", "pv", source=self._source, line_width=1.6)
        painter.paint(peak.glyph, line_color="ink3")
        painter.paint(line.glyph, line_color="accent")
        fig.min_border_left = LABELS_PX
        fig.xaxis.visible = False
        said = [("", "@t{%d %b %H:%M} UTC"), ("Equity", "@pv{0,0.00}"), ("Drawdown", "@dd{0.00} %")]
        hover = HoverTool(renderers=[line], mode="vline", tooltips=said, formatters={"@t": "datetime"})
        fig.add_tools(CrosshairTool(dimensions="height", line_alpha=0.4), hover)
        return fig

    def _drawdown(self, painter: Painter, tiers: Sequence[Tier]) -> Any:
        foot = -scale_ppm(tiers) / 1e4
        below = [t for t in tiers if t.drawdown_ppm > 0]
        fig = _figure("drawdown", 156)
        fig.x_range, fig.y_range = self.equity.x_range, Range1d(foot, 0.4)
        fig.ygrid.visible = False
        fig.yaxis.ticker = FixedTicker(ticks=[0, *(-t.drawdown_ppm / 1e4 for t in below)])
        fig.yaxis.major_label_overrides = {0: "0 %"} | {-t.drawdown_ppm / 1e4: t.tier for t in below}
        edges = [-t.drawdown_ppm / 1e4 for t in below]
        for top, bottom, (texture, strength, colour) in zip(edges, [*edges[1:], foot], ZONES, strict=False):
            zone = BoxAnnotation(
                bottom=bottom, top=top, fill_alpha=strength, line_color=None, hatch_pattern=texture, hatch_alpha=0.28, hatch_scale=7,
                level="underlay",
            )  # fmt: skip
            edge = Span(location=top, dimension="width", line_width=1)
            painter.paint(zone, fill_color=colour, hatch_color=colour)
            painter.paint(edge, line_color=colour)
            fig.add_layout(zone)
            fig.add_layout(edge)
        area = fig.varea("t", 0, "dd", source=self._source, fill_alpha=0.18)
        line = fig.line("t", "dd", source=self._source, line_width=1.3)
        painter.paint(area.glyph, fill_color="accent")
        painter.paint(line.glyph, line_color="accent")
        fig.min_border_left = LABELS_PX
        fig.add_tools(CrosshairTool(dimensions="height", line_alpha=0.4))
        return fig


def _present(points: Sequence[EquityPoint], summary: Summary) -> EquityPoint:
    """Return the present as a point, in place of an hour that closed just now; the tables may know an hour before the summary does."""
    at_t = max(summary.now_t, points[-1].close_t if points else 0)
    return EquityPoint(close_t=at_t, pv_e8=summary.pv_e8, peak_e8=summary.peak_e8, drawdown_ppm=summary.drawdown_ppm)


def _money_format(source: ColumnDataSource) -> str:
    """Return the format of the axis of money: as many decimals as keep its labels apart."""
    values = [*source.data["pv"], *source.data["peak"]]
    span = max(values) - min(values) or FLAT_SPAN
    decimals = min(max(-math.floor(math.log10(span / TICKS_MAX)), 0), DECIMALS_MAX)
    return f"0,0.{'0' * decimals}" if decimals else "0,0"


def _equity_columns(points: Sequence[EquityPoint]) -> dict[str, list[float]]:
    return {
        "t": [p.close_t * 1e3 for p in points],
        "pv": [p.pv_e8 / E8 for p in points],
        "peak": [p.peak_e8 / E8 for p in points],
        "dd": [-p.drawdown_ppm / 1e4 for p in points],
    }


class CandlePlot:
    """Hollow candles up, filled ones down; fills at their candle, refusals on a rail at the foot, a ring around the open decision.

    Args:
        painter: gives the colours.
        interval_t: seconds of a bar.
    """

    def __init__(self, painter: Painter, interval_t: int) -> None:
        self._wicks = ColumnDataSource({"t": [], "low": [], "high": []})
        self._up, self._down = (ColumnDataSource({"t": [], "top": [], "bottom": []}) for _ in range(2))
        self._marks = {kind: ColumnDataSource({"t": [], "y": [], "said": []}) for kind in KINDS}
        fig = _figure("candles", 232, "right")
        fig.x_range = DataRange1d(range_padding=0.05)
        fig.min_border_left = 6
        wick = fig.segment("t", "low", "t", "high", source=self._wicks, line_width=1)
        width_ms = interval_t * 1e3 * 0.62
        up = fig.vbar("t", width_ms, "top", "bottom", source=self._up, line_width=1)
        down = fig.vbar("t", width_ms, "top", "bottom", source=self._down, line_width=1)
        painter.paint(wick.glyph, line_color="ink3")
        painter.paint(up.glyph, fill_color="surf", line_color="ink2")
        painter.paint(down.glyph, fill_color="ink2", line_color="ink2")
        for kind, marker, size, colour in (
            ("buy", "triangle", 11, "ok"),
            ("sell", "inverted_triangle", 11, "accent"),
            ("refused", "x", 6, "warn"),
        ):
            mark = fig.scatter(
                "t", "y", source=self._marks[kind], marker=marker, size=size, line_width=1.3 if kind == "refused" else 1
            )
            painter.paint(mark.glyph, line_color=colour, **({} if kind == "refused" else {"fill_color": colour}))
            said = HoverTool(
                renderers=[mark], tooltips=[("", "@said"), ("", "@t{%d %b %H:%M} UTC")], formatters={"@t": "datetime"}
            )
            fig.add_tools(said)
        ring = fig.scatter("t", "y", source=self._marks["chosen"], marker="circle", size=17, fill_alpha=0, line_width=2)
        painter.paint(ring.glyph, line_color="ink")
        self.figure = fig

    def show(self, found: Candles, chosen: Signal) -> None:
        """Draw the candles of an asset with its marks, and a ring around one decision.

        Args:
            found: candles, fills and refusals, oldest first.
            chosen: the decision.
        """
        candles = found.candles
        self._wicks.data = {
            "t": [_middle(c, found.interval_t) for c in candles], "low": [c.low_e8 / E8 for c in candles], "high": [c.high_e8 / E8 for c in candles],
        }  # fmt: skip
        self._up.data = _bodies([c for c in candles if c.close_e8 >= c.open_e8], found.interval_t)
        self._down.data = _bodies([c for c in candles if c.close_e8 < c.open_e8], found.interval_t)
        if not candles:
            for source in self._marks.values():
                source.data = {"t": [], "y": [], "said": []}
            return
        low, high = min(c.low_e8 for c in candles) / E8, max(c.high_e8 for c in candles) / E8
        gap = (high - low) * MARK_GAP or high * 1e-3
        by_hour = {c.open_t: c for c in candles}
        last = candles[-1]

        def level(at_t: int, kind: str) -> float:
            candle = by_hour.get(at_t // found.interval_t * found.interval_t, last)
            return {"buy": candle.low_e8 / E8 - gap, "sell": candle.high_e8 / E8 + gap, "refused": low - 3 * gap}.get(
                kind, candle.close_e8 / E8
            )

        fills = {kind: [m for m in found.marks if (m.side == "BUY") == (kind == "buy")] for kind in ("buy", "sell")}
        for kind, marks in fills.items():
            self._marks[kind].data = {
                "t": [m.at_t * 1e3 for m in marks],
                "y": [level(m.at_t, kind) for m in marks],
                "said": [f"{words.action(m.action)[1]} at {words.price(m.price_e8)}" for m in marks],
            }
        first_t = candles[0].open_t
        refusals = [r for r in found.refusals if r.at_t >= first_t]
        self._marks["refused"].data = {
            "t": [r.at_t * 1e3 for r in refusals],
            "y": [low - 3 * gap] * len(refusals),
            "said": [f"{words.action(r.action)[1]} refused: {words.gate(r.gate)}" for r in refusals],
        }
        mine = next((m for m in found.marks if m.signal_id == chosen.signal_id), None)
        kind = "refused" if chosen.refused else "buy" if mine and mine.side == "BUY" else "sell" if mine else "held"
        at_t = mine.at_t if mine else chosen.at_t
        inside = [at_t] if at_t >= first_t else []
        self._marks["chosen"].data = {
            "t": [t * 1e3 for t in inside],
            "y": [level(t, kind) for t in inside],
            "said": [""] * len(inside),
        }


def _middle(candle: Candle, interval_t: int) -> float:
    return (candle.open_t + interval_t / 2) * 1e3


def _bodies(candles: Sequence[Candle], interval_t: int) -> dict[str, list[float]]:
    return {
        "t": [_middle(c, interval_t) for c in candles],
        "top": [max(c.open_e8, c.close_e8) / E8 for c in candles],
        "bottom": [min(c.open_e8, c.close_e8) / E8 for c in candles],
    }
