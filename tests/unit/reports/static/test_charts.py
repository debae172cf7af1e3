"""Drawings that belong to the page: its colours, its font, ids of their own, figures untouched."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from reports.static import charts
from reports.static.charts_portfolio import LINES, value_chart


def paint(figure: Figure, _narrow: bool) -> None:
    axes = charts.frame(figure, 40, 10, 10, 20)
    axes.bar([0, 1], [1, 2], color=charts.ACCENT, hatch="//", edgecolor=charts.WARN)
    axes.set_yticks([0.125, 1.875], ["0.125", "1.875 $x$ <b>"])
    axes.plot([0, 1], [1, 2], "o", color=charts.OK)[0].set_gid("class:m-ml")


def test_a_drawing_takes_the_colours_font_and_names_of_the_page() -> None:
    svg = str(charts.draw("probe", "A <title>", "It says & so", paint, 300, 200, narrow=False))
    assert "#1f5a85" not in svg
    assert "var(--accent)" in svg
    assert "font-family" not in svg
    assert "DejaVu" not in svg
    assert ">0.125<" in svg, "a figure of the axis was rounded"
    assert "1.875 $x$ &lt;b&gt;" in svg
    assert 'class="m-ml"' in svg
    assert "A &lt;title&gt;" in svg
    assert "It says &amp; so" in svg
    assert set(re.findall(r'(?:href="#|url\(#)([\w-]+)', svg)) <= set(re.findall(r' id="([\w-]+)"', svg))
    assert all(name.startswith("probe-") for name in re.findall(r' id="([\w-]+)"', svg))
    assert svg == str(charts.draw("probe", "A <title>", "It says & so", paint, 300, 200, narrow=False))


def test_settings_of_the_user_do_not_reach_a_drawing() -> None:
    import matplotlib as mpl

    before = charts.draw("probe", "t", "s", paint, 300, 200, narrow=False)
    with mpl.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 30, "axes.grid": True}):
        assert charts.draw("probe", "t", "s", paint, 300, 200, narrow=False) == before


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    placed = charts.spread([10, 10, 11, 50, 99.5], 14, 0, 100)
    assert placed == sorted(placed)
    assert all(b - a >= 14 - 1e-9 for a, b in pairwise(placed))
    assert max(placed) <= 100


def test_every_curve_is_named_in_words() -> None:
    at_t = np.arange(1000, dtype=np.int64) * 3600
    chart = value_chart({name: (at_t, np.full(1000, 100.0)) for name in LINES}, "flat", simulated=True)
    assert chart.wide is not None
    for drawing in (chart.wide, chart.narrow):
        assert all(drawing.count(f">{line.label}<") == 2 for line in LINES.values())
        assert "SIMULATED" in drawing


def test_the_style_sheet_holds_the_palette_with_enough_contrast() -> None:
    from reports.static.study_report import FOLDER

    css = (FOLDER / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    assert len(blocks) == 3, "light, dark, print"
    for block in blocks:
        values = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        assert set(charts.COLOURS) <= set(values)
        for name in ("ink", "ink-2", "ink-3", "accent", "ok", "warn", "bad"):
            for ground in ("bg", "surface", "wash"):
                assert contrast(values[name], values[ground]) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
