"""`ballast runs`: the runs of a home folder, newest first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import print_json, stderr_console, stdout_console
from runtime.errors import EXIT_VERIFY

if TYPE_CHECKING:
    from runtime.run_list import RunRow


def runs(
    *,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the runs, newest first, with what they are and how far their journals go.

    Exit code 5: a run is damaged, which its note tells: a file is missing, or the journal does not end at its anchor.
    """
    from runtime.home import check_home, home_path
    from runtime.run_list import describe_runs

    folder = home_path(home)
    check_home(folder)
    rows = describe_runs(folder)
    if json:
        print_json({"home": str(folder), "runs": [row.model_dump(mode="json") for row in rows]})
    elif rows:
        _print_table(rows)
    else:
        stderr_console().print(f"no runs in {folder}; `ballast demo` makes two")
    if any(row.damaged for row in rows):
        raise typer.Exit(EXIT_VERIFY)


def _print_table(rows: list[RunRow]) -> None:
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    right = {"blocks", "fills", "net return"}
    for name in ("run", "source", "days (UTC)", "blocks", "fills", "net return", "note"):
        table.add_column(name, justify="right" if name in right else "left", no_wrap=name == "run", overflow="fold")
    for row in rows:
        first, last = (datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d") for t in (row.first_t, row.last_t))
        net = "" if row.net_return_ppm is None else f"{row.net_return_ppm / 10_000:+.2f} %"
        fills = "" if row.fills is None else str(row.fills)
        source = f"SIMULATED {row.source}" if row.simulated else row.source
        days = "" if not row.last_t else f"{first} {last}"
        table.add_row(row.run_id, source, days, str(row.blocks), fills, net, f"DAMAGED: {row.problem}" if row.damaged else "")
    stdout_console().print(table)
