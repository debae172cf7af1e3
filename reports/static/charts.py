"""Charts as SVG inside the page: drawn by matplotlib, coloured by the page's own CSS variables.

Why so: docs/adr/0010-report-charts.md. Each chart is drawn for a desktop and, where its shape asks for it, once more for a
phone; the style sheet shows one of them. The same figures always give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports.static.sampling import time_marks

COLOURS: Final = {
    "bg": "#f3f4f2", "surface": "#ffffff", "ink": "#15191d", "ink-2": "#4a545e", "ink-3": "#66717b", "rule": "#dde1e3",
    "control": "#848f98", "accent": "#1f5a85", "ok": "#00707a", "warn": "#8a5a00", "bad": "#b4330e",
}  # fmt: skip
"""Name of the CSS variable -> its light value. Charts are drawn in these and handed over as `var(--name)`."""
INK, INK_2, INK_3, RULE, CONTROL, ACCENT, OK, WARN, BAD, SURFACE = (
    COLOURS[name] for name in ("ink", "ink-2", "ink-3", "rule", "control", "accent", "ok", "warn", "bad", "surface")
)
STYLE: Final = {
    "svg.fonttype": "none", "svg.hashsalt": "ballast", "text.parse_math": False, "axes.unicode_minus": True, "text.color": INK_2, "axes.labelcolor": INK_3, "axes.edgecolor": RULE,
    "axes.facecolor": "none", "figure.facecolor": "none", "xtick.color": INK_3, "ytick.color": INK_3,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0,
    "ytick.minor.size": 0, "xtick.major.pad": 6, "ytick.major.pad": 6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.spines.left": False, "grid.color": RULE, "grid.linewidth": 1, "lines.linewidth": 1.5, "hatch.linewidth": 1,
    "axes.axisbelow": True, "path.simplify": False,
}  # fmt: skip
SIZES: Final = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize")
TEXT_SIZE: Final = 11
PHONE_SIZE: Final = 13
"""Text in units; the phone drawing is shown smaller than its units."""
WIDE: Final = 980
NARROW: Final = 400
HALF: Final = 560
SMALL: Final = 320
"""Chart widths in units (small ones stand three in a row); the page scales them to its column, so one unit is about one pixel."""
BAND_HATCH: Final = "////"
CROSS_HATCH: Final = "xxxx"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart: what it shows in words, and one or two drawings of it."""

    name: str
    title: str
    says: str
    wide: Markup | None
    narrow: Markup


Painter = Callable[[Figure, bool], None]
"""Draws on an empty figure; the flag says whether it is the narrow one."""


def chart(name: str, title: str, says: str, paint: Painter, *, height: int, narrow_height: int, width: int = WIDE) -> Chart:
    """Draw a chart once for each width.

    Args:
        name: unique in the page; prefix of every id inside the drawing.
        title: the accessible name.  says: one sentence with the message and the extremes, for who cannot see it.
        width, height, narrow_height: in units.
    """
    wide = draw(f"{name}-w", title, says, paint, width, height, False)
    return Chart(name, title, says, wide, draw(f"{name}-n", title, says, paint, NARROW, narrow_height, True))


def one_chart(name: str, title: str, says: str, paint: Painter, *, height: int, width: int = NARROW) -> Chart:
    """Draw a chart that stands in a column of the page and so needs one width only."""
    return Chart(name, title, says, None, draw(name, title, says, paint, width, height, True))


def draw(name: str, title: str, says: str, paint: Painter, width: int, height: int, narrow: bool) -> Markup:
    """Return one drawing as an SVG element."""
    size = PHONE_SIZE if width == NARROW else TEXT_SIZE
    settings: dict[str, Any] = dict(mpl.rcParamsDefault.items()) | STYLE | dict.fromkeys(SIZES, size)
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        paint(figure, narrow)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return page_svg(out.getvalue(), name, title, says, width, height)


TAG: Final = re.compile(r"<[^>]*>")
"""Numbers are shortened inside tags only: texts are figures people read."""
NUMBER: Final = re.compile(r"-?\d+\.\d{2,}")
IDENTIFIED: Final = re.compile(r' id="([^"]+)"')
FONT: Final = re.compile(r"font: ([\d.]+)px [^;\"]+")
FONT_LONG: Final = re.compile(r"font-size: ([\d.]+)px; font-family: [^;\"]+")
CLASS_PREFIX: Final = "class:"


def page_svg(source: str, name: str, title: str, says: str, width: int, height: int) -> Markup:
    """Turn matplotlib's file into an element of our page.

    Prefixes ids so that none repeats, drops those nothing refers to, makes `class:x` groups into classes, shortens numbers
    to a tenth of a unit, lets the page's font and colours in, and names the drawing for assistive technology.
    """
    body = source[source.index("<defs>") : source.rindex("</svg>")]
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = TAG.sub(lambda tag: NUMBER.sub(lambda found: _short(found.group()), tag.group()), body)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = IDENTIFIED.sub(lambda found: _identity(found.group(1), name, used), body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    body = FONT_LONG.sub(r"font-size: \1px", FONT.sub(r"font-size: \1px", body))
    for variable, value in COLOURS.items():
        body = body.replace(value, f"var(--{variable})")
    body = re.sub(r"<g\s*/>", "", body)
    body = re.sub(r">\s+<", "><", body.replace("xlink:href", "href")).replace("\n", " ")
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-t {name}-s" class="plot">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-s">{escape(says)}</desc>'
    )
    # Built from matplotlib's own escaped output and from texts escaped above.
    return Markup(head + body + "</svg>")  # noqa: S704


def _short(number: str) -> str:
    text = f"{float(number):.1f}"
    return text.removesuffix(".0")


def _identity(found: str, name: str, used: set[str]) -> str:
    if found.startswith(CLASS_PREFIX):
        return f' class="{found.removeprefix(CLASS_PREFIX)}"'
    return f' id="{name}-{found}"' if found in used else ""


def frame(figure: Figure, left: float, right: float, top: float, bottom: float) -> Axes:
    """Return axes inset by margins in units."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height))


def time_axis(axes: Axes, first_t: int, last_t: int, narrow: bool) -> None:
    """Set the x axis to a period, marked at round dates in UTC."""
    span_t = max(1, last_t - first_t)
    axes.set_xlim(first_t, first_t + span_t)
    marks = time_marks(first_t, last_t, 5 if narrow else 10)
    axes.set_xticks([at_t for at_t, _ in marks], [text for _, text in marks])
    axes.xaxis.grid(visible=False)
    axes.yaxis.grid(visible=True, linewidth=0.6)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions apart until they are `gap` from each other, keeping their order and staying within bounds."""
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    placed = [0.0] * len(wanted)
    at = low - gap
    for i in order:
        at = placed[i] = max(wanted[i], at + gap)
    at = high + gap
    for i in reversed(order):
        at = placed[i] = min(placed[i], at - gap)
    return placed


def end_labels(axes: Axes, labels: Sequence[tuple[str, float, str]], gap: float = 14) -> None:
    """Write each curve's name beside its end, in its colour, moved apart where they would touch.

    Args:
        labels: (text, last value in data units, colour).
    """
    axes.figure.canvas.draw()
    box = axes.get_window_extent()
    ends = [float(axes.transData.transform((0, value))[1]) for _, value, _ in labels]
    for (text, _, colour), at in zip(labels, spread(ends, gap, box.y0, box.y1), strict=True):
        axes.annotate(text, (1, (at - box.y0) / box.height), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points",
                      color=colour, va="center", annotation_clip=False)  # fmt: skip


def stamp(figure: Figure, simulated: bool) -> None:
    """Write SIMULATED on a drawing of simulated data, so that a copied picture still says it."""
    if simulated:
        figure.text(0.999, 0.995, "SIMULATED", ha="right", va="top", color=WARN, fontweight="bold", fontsize=9)
