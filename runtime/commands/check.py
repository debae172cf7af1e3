"""`ballast check`: do the tables of a run keep every invariant?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import print_json, progress, stdout_console
from runtime.errors import EXIT_VERIFY

if TYPE_CHECKING:
    from runtime.ops.check import CheckResult


def check(
    run: Annotated[str, typer.Argument(help="Run: id, unique beginning of it, path, `latest`, `ml` or `trend`.")],
    *,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="A study's tables/predictions.parquet [default: of the study that made the run]."),
    ] = None,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the SQL validation gates over a run: ledger, lots, orders, approvals, caps, predictions, hours, times.

    Exit code 0: RUN VALID: TRUE. Exit code 5: RUN VALID: FALSE, with the first row against each broken gate.
    """
    from runtime.home import find_predictions, find_run, home_path
    from runtime.ops.check import check_run

    folder = home_path(home)
    run_dir = find_run(folder, run)
    predictions = predictions or find_predictions(folder, run_dir.resolve().name)
    with progress() as report:
        result = check_run(run_dir, folder, predictions, report)
    if json:
        print_json(result.model_dump(mode="json"))
    else:
        _print_result(result)
    if not result.valid:
        raise typer.Exit(EXIT_VERIFY)


def _print_result(result: CheckResult) -> None:
    from rich.text import Text

    console = stdout_console()
    style = "bold green" if result.valid else "bold red"
    console.print(Text(f"RUN VALID: {'TRUE' if result.valid else 'FALSE'}", style=style))
    console.print(Text(f"  run {result.run_id}, {len(result.gates)} gates, {result.seconds:.1f} s"))
    for gate in result.gates:
        verdict = {-1: "skipped", 0: "holds"}.get(gate.violations, f"{gate.violations} VIOLATIONS")
        console.print(Text(f"  {gate.name:<25}{verdict:<16}{gate.proves}"), soft_wrap=True)
        if gate.violations > 0:
            first = ", ".join(f"{name}={value}" for name, value in gate.first.items())
            console.print(Text(f"  {'':<25}first: {first}", style="red"), soft_wrap=True)
