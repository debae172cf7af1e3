"""Write the report of a study: one self-contained HTML file, the same bytes for the same inputs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import JsonValue

from reports.static import charts_market, charts_portfolio, numbers
from reports.static.inputs import Inputs, Study, read_inputs, read_view
from reports.static.integrity import Difference, check_study
from reports.static.numbers import Figure
from reports.static.page import build
from runtime.errors import BallastError, UsageError
from runtime.files import write_bytes
from runtime.progress import Report, silent
from workbench.notebook.receipt import RECEIPT_NAME

FOLDER: Final = Path(__file__).parent
NAME: Final = "report.html"
STUDY_MARK: Final = "study.json"


def write_report(home: Path, study_dir: Path, replay: Mapping[str, Mapping[str, JsonValue]], out: Path | None = None) -> Path:
    """Write `report.html` of a study and return its path.

    Args:
        home: the folder that holds datasets and runs.
        study_dir: the study's folder; the report goes there unless `out` names another file.
        replay: run name -> `ReplayResult` as JSON (`parity`, `blocks`, `failure`); a run that is absent counts as not replayed.

    Raises:
        DataError: a file of the study is missing or does not have the promised form.
        EnvironmentFailure: the report cannot be written.
        VerificationError: the study is not what is on record; the report is written all the same, and says so at its top.
    """
    target = out or study_dir / NAME
    found = check_study(home, study_dir)
    try:
        page = render(read_inputs(home, study_dir, replay, found.differences))
    except (BallastError, pl.exceptions.PolarsError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        # Damaged files may hold anything; what is intact and cannot be shown is another failure, and told as that.
        if not found.differences:
            raise
        page = render_broken(study_dir.name, found.differences, str(e))
    write_bytes(target, page.encode())
    if found.differences:
        raise found.error(target)
    return target


def find_study(home: Path, name: str) -> Path:
    """Return the folder of a study named by path, id, unique beginning of the id, or `latest`.

    Raises:
        UsageError: no study, or more than one, has this name.
    """
    if (Path(name) / STUDY_MARK).is_file():
        return Path(name)
    marks = [mark for mark in (home / "studies").glob(f"*/{STUDY_MARK}") if not mark.parent.name.startswith(".")]
    if name == "latest" and marks:
        return max(marks, key=lambda mark: (mark.stat().st_mtime_ns, mark.parent.name)).parent
    found = [mark.parent for mark in marks if mark.parent.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(mark.parent.name for mark in marks)) or "none"
    raise UsageError(f"{len(found)} studies match {name!r} under {home / 'studies'}", expected=f"one of: {known}",
                     action="give a study id or a longer beginning of it; `ballast demo` makes one")  # fmt: skip


def replay_runs(home: Path, study_dir: Path, report: Report = silent) -> dict[str, dict[str, JsonValue]]:
    """Replay every run of a study and return what `write_report` takes."""
    from runtime.replay import replay

    study = read_view(study_dir / STUDY_MARK, Study)
    return {name: replay(home / "runs" / run.run_id, home, report).model_dump(mode="json") for name, run in study.runs.items()}


def is_sealed(study_dir: Path) -> bool:
    """Return whether a notebook's receipt is beside the study."""
    return (study_dir / RECEIPT_NAME).is_file()


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("reports.static"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render_broken(study_id: str, differences: tuple[Difference, ...], why: str) -> str:
    """Return the page of a study that is too damaged to report on: what does not verify, and nothing else."""
    css = Markup((FOLDER / "report.css").read_text(encoding="utf-8"))  # noqa: S704  our own file
    return _environment().get_template("broken.html.j2").render(study_id=study_id, differences=differences, why=why, css=css)


def render(inputs: Inputs) -> str:
    """Return the report as one HTML document."""
    environment = _environment()
    environment.filters |= {
        "money": lambda value, sign=False: figure(numbers.money(value, sign=sign)),
        "percent": lambda value, sign=False: figure(numbers.percent(value, sign=sign)),
        "count": numbers.count, "utc": numbers.utc, "day": numbers.day, "span": numbers.span, "plural": numbers.plural, "measure": numbers.measure,
    }  # fmt: skip
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    pin = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        page=build(inputs),
        lines=charts_portfolio.LINES,
        levels=charts_market.LEVELS,
        # Our own files, not input.
        css=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        script_pin=pin,
    )


def figure(value: Figure) -> Markup:
    """Return an exact number: the places a reader stops at, then the rest, quieter."""
    tail = f'<span class="tail">{escape(value.tail)}</span>' if value.tail else ""
    unit = f"\u00a0{escape(value.unit)}" if value.unit else ""
    # Made of escaped parts.
    return Markup(f'<span class="num">{escape(value.head)}{tail}{unit}</span>')  # noqa: S704
