"""`ballast report`: the HTML report of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.console import print_json, progress
from runtime.errors import EXIT_VERIFY


def report(
    study: Annotated[str, typer.Argument(help="Study: id, unique beginning of it, path, or `latest`.")] = "latest",
    *,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="File to write; default report.html in the study's folder.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay/--no-replay", help="Replay the runs first; the report shows the outcome.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the self-contained HTML report of a study.

    Exit code 5 when the study does not verify or a replay differs: the report is written all the same, and says so.
    """
    from reports.static.study_report import find_study, is_sealed, replay_runs, write_report
    from runtime.home import home_path

    folder = home_path(home)
    study_dir = find_study(folder, study)
    with progress() as told:
        outcomes = replay_runs(folder, study_dir, told) if replay else {}
        told("report", 0, 1)
        path = write_report(folder, study_dir, outcomes, file)
        told("report", 1, 1)
    if not is_sealed(study_dir):
        typer.echo(f"{study_dir.name} is not sealed: no notebook receipt vouches for its figures", err=True)
    parity = all(outcome["parity"] for outcome in outcomes.values()) if outcomes else None
    if json:
        print_json({"study": study_dir.name, "report": str(path), "bytes": path.stat().st_size, "replay_parity": parity})
    else:
        typer.echo(path)
    if parity is False:
        raise typer.Exit(EXIT_VERIFY)
