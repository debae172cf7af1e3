"""`ballast replay`: does a run come out the same when everything is computed again?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import print_json, progress, stdout_console
from runtime.errors import EXIT_VERIFY

if TYPE_CHECKING:
    from runtime.replay import Failure, ReplayResult


def replay(
    run: Annotated[str, typer.Argument(help="Run: id, unique beginning of it, path, `latest`, `ml` or `trend`.")],
    *,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Verify the journal of a run, compute every block again, and compare them byte by byte.

    Exit code 0: REPLAY PARITY: TRUE. Exit code 5: REPLAY PARITY: FALSE, with the first difference.
    """
    from runtime.home import find_run, home_path
    from runtime.replay import replay as replay_run

    folder = home_path(home)
    run_dir = find_run(folder, run)
    with progress() as report:
        result = replay_run(run_dir, folder, report)
    if json:
        print_json(result.model_dump(mode="json"))
    else:
        _print_result(result)
    if not result.parity:
        raise typer.Exit(EXIT_VERIFY)


def _print_result(result: ReplayResult) -> None:
    from rich.text import Text

    console = stdout_console()
    style = "bold green" if result.parity else "bold red"
    console.print(Text(f"REPLAY PARITY: {'TRUE' if result.parity else 'FALSE'}", style=style))
    rows = [("run", result.run_id), ("blocks compared", str(result.blocks)), ("journal head", result.journal_head)]
    rows += [("run root", result.run_root), ("seconds", f"{sum(result.seconds.values()):.1f}")]
    if not result.same_code:
        rows.append(("note", "the core's source is not the one that made the run"))
    for name, value in rows + (_failure_rows(result.failure) if result.failure else []):
        console.print(Text(f"  {name:<16}{value}"), soft_wrap=True)


def _failure_rows(failure: Failure) -> list[tuple[str, str]]:
    rows = [("failure", failure.kind.value), ("what", failure.detail)]
    rows += [("block", str(failure.block) if failure.block else ""), ("record", failure.record)]
    rows += [("row", str(failure.row) if failure.row else ""), ("field", failure.field)]
    rows += [("stored", failure.stored), ("recomputed", failure.recomputed)]
    return [(name, value) for name, value in rows if value]
