"""`ballast replay`: does a run come out the same when everything is computed again?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import iso_time, print_json, progress, stdout_console, time_option
from runtime.errors import EXIT_VERIFY, UsageError

if TYPE_CHECKING:
    from runtime.difference import Failure
    from runtime.replay import ReplayResult


def replay(
    run: Annotated[str, typer.Argument(help="Run: id, unique beginning of it, path, `latest`, `ml` or `trend`.")],
    *,
    level: Annotated[str, typer.Option("--level", help="How far to go: chain, decisions or lineage.")] = "decisions",
    from_block: Annotated[int, typer.Option("--from", min=1, help="Begin at the nearest snapshot before this block.")] = 1,
    at: Annotated[str, typer.Option("--at", help="The same by time, ISO 8601, UTC.")] = "",
    explain: Annotated[int, typer.Option("--explain", min=0, help="Explain this block instead: decisions, gates, hashes.")] = 0,
    symbol: Annotated[
        str, typer.Option("--symbol", help="With --explain: this instrument too, even if nothing was written.")
    ] = "",
    snapshots: Annotated[bool, typer.Option("--snapshots", help="Store snapshots of the run beside its journal.")] = False,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Verify the journal of a run, compute every block again, and compare them byte by byte.

    Exit code 0: REPLAY PARITY: TRUE. Exit code 5: REPLAY PARITY: FALSE, with the first difference.
    """
    from runtime.home import find_run, home_path
    from runtime.replay import Level
    from runtime.replay import replay as replay_run

    if level not in set(Level):
        raise UsageError(f"--level {level}", expected="chain, decisions or lineage", action="choose one of them")
    if snapshots and (from_block > 1 or at):
        raise UsageError(
            "--snapshots together with --from or --at", expected="a replay from the genesis", action="leave one out"
        )

    folder = home_path(home)
    run_dir = find_run(folder, run)
    if explain:
        _explain(run_dir, folder, explain, symbol, json=json)
        return
    with progress() as report:
        result = replay_run(
            run_dir,
            folder,
            report,
            level=Level(level),
            from_block=from_block,
            at_t=time_option(at, "--at"),
            keep_snapshots=snapshots,
        )
    if json:
        print_json(result.model_dump(mode="json"))
    else:
        _print_result(result)
    if not result.parity:
        raise typer.Exit(EXIT_VERIFY)


def _explain(run_dir: Path, home: Path, block: int, symbol: str, *, json: bool) -> None:
    from rich.text import Text

    from runtime.ops.explain import explain_block
    from runtime.ops.explain_text import explanation_lines

    found = explain_block(run_dir, home, block, symbol)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        for line in explanation_lines(found):
            stdout_console().print(Text(line), soft_wrap=True)
    if not found.same_records:
        raise typer.Exit(EXIT_VERIFY)


def _print_result(result: ReplayResult) -> None:
    from rich.text import Text

    console = stdout_console()
    style = "bold green" if result.parity else "bold red"
    title = "CHAIN INTACT" if result.level == "chain" else "REPLAY PARITY"
    console.print(Text(f"{title}: {'TRUE' if result.parity else 'FALSE'}", style=style))
    rows = [("run", result.run_id), ("blocks compared", str(result.blocks)), ("journal head", result.journal_head)]
    if result.snapshot:
        rows.append(("from block", f"{result.first_block}, given the snapshot {result.snapshot}"))
    rows += [("run root", result.run_root), ("seconds", f"{sum(result.seconds.values()):.1f}")]
    if result.level == "lineage" and result.parity:
        rows.append(("lineage", "bars, features and forecasts follow from the lake and the models"))
    if not result.same_code:
        rows.append(("note", "the core's source is not the one that made the run"))
    if result.platform:
        rows.append(("platform", "; ".join(result.platform)))
    for name, value in rows + (_failure_rows(result.failure) if result.failure else []):
        console.print(Text(f"  {name:<16}{value}"), soft_wrap=True)


def _failure_rows(failure: Failure) -> list[tuple[str, str]]:
    rows = [("failure", failure.kind.value), ("what", failure.detail)]
    rows += [("file", failure.path), ("block", str(failure.block) if failure.block else ""), ("record", failure.record)]
    rows += [("symbol", failure.symbol), ("time", iso_time(failure.at_t) if failure.at_t else "")]
    rows += [("row", str(failure.row) if failure.row else ""), ("field", failure.field)]
    rows += [("stored", failure.stored), ("recomputed", failure.recomputed)]
    return [(name, value) for name, value in rows if value]
