"""`ballast quality`: the HTML quality report of the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.console import print_json, progress


def quality(
    *,
    venue: Annotated[str | None, typer.Option("--venue", help="Only this venue, such as binance-spot.")] = None,
    interval: Annotated[str | None, typer.Option("--interval", help="Only this interval (1m 5m 15m 1h 4h 1d).")] = None,
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="Show findings as accepted: GATE, GATE:SYMBOL or one in full.")
    ] = None,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="File to write; default quality.html in the home folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the one-page HTML quality report of the lake: verdict, coverage heat map, gaps, findings, sources, versions.

    Exit code 0 once the page is written, whatever it says: `ballast data check` is the gate.
    """
    from reports.static.quality.facts import read_inputs
    from reports.static.quality.report import NAME, write_quality
    from runtime.home import home_path

    folder = home_path(home)
    with progress() as told:
        inputs = read_inputs(folder, venue=venue, interval=interval, accepted=accept or [], report=told)
        told("write page", 0, 1)
        target = file or folder / NAME
        page = write_quality(inputs, target)
        told("write page", 1, 1)
    if not json:
        typer.echo(target)
        return
    print_json(
        {
            "file": str(target),
            "bytes": target.stat().st_size,
            "verdict": inputs.check.verdict,
            "lake_digest": page.lake_digest,
            "as_of_t": page.as_of_t,
            "series_n": len(inputs.series),
            "bars_n": sum(len(s.t) for s in inputs.series),
            "missing_n": sum(s.missing_n for s in inputs.series),
            "gaps_n": page.gaps_n,
            "findings_n": len(inputs.check.findings),
        }
    )
