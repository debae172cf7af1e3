"""Write the quality report: one self-contained HTML file, the same bytes for the same lake."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.static import numbers
from reports.static.quality import heatmap
from reports.static.quality.facts import Inputs
from reports.static.quality.page import SEVERITIES, Page, build
from runtime.files import write_bytes

SHARED: Final = Path(__file__).parent.parent
FOLDER: Final = Path(__file__).parent
NAME: Final = "quality.html"


def write_quality(inputs: Inputs, target: Path) -> Page:
    """Write the page of a lake and return what it shows.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    page = build(inputs)
    write_bytes(target, render(page).encode())
    return page


def render(page: Page) -> str:
    """Return the page as one HTML document."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("reports.static.quality"), PackageLoader("reports.static")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": numbers.count, "utc": numbers.utc, "day": numbers.day, "plural": numbers.plural, "measure": numbers.measure, "percent": numbers.percent,
    }  # fmt: skip
    script = "".join(
        (folder / name).read_text(encoding="utf-8") for folder, name in ((SHARED, "report.js"), (FOLDER, "quality.js"))
    )
    css = "".join(
        (folder / name).read_text(encoding="utf-8") for folder, name in ((SHARED, "report.css"), (FOLDER, "quality.css"))
    )
    return environment.get_template("quality.html.j2").render(
        page=page,
        levels=heatmap.LEVELS,
        severities=SEVERITIES,
        # Our own files, not input.
        css=Markup(css),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        script_pin=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
