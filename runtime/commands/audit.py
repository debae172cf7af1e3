"""`ballast audit`: a run for a stranger's eyes: one archive that carries its own verifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from runtime.console import print_json, progress, stdout_console
from runtime.errors import EXIT_VERIFY

audit: Final = typer.Typer(
    name="audit",
    help="Export a run for an auditor, and verify such an export without this program's code.",
    no_args_is_help=True,
    add_completion=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@audit.command()
def export(
    run: Annotated[str, typer.Argument(help="Run: id, unique beginning of it, path, `latest`, `ml` or `trend`.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", help="File to write [<run id>.audit.zip].")] = None,
    home: Annotated[Path | None, typer.Option("--home", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Json = False,
) -> None:
    """Write a run, its inputs and a verifier into one archive: equal bytes for equal runs.

    The chain and the inputs are verified on the way: exit code 5 when they do not hold.
    """
    from runtime.home import find_run, home_path
    from runtime.ops.audit import export_run

    folder = home_path(home)
    with progress() as report:
        summary = export_run(find_run(folder, run), folder, out, report)
    if json:
        print_json(summary.model_dump(mode="json"))
        return
    console = stdout_console()
    for name, value in summary.model_dump().items():
        console.print(f"  {name:<10}{value}", soft_wrap=True, markup=False, highlight=False)


@audit.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Archive made by `ballast audit export`.")],
    *,
    run_root: Annotated[str, typer.Option("--run-root", help="The run root you know from elsewhere.")] = "",
    any_verifier: Annotated[
        bool, typer.Option("--any-verifier", help="Start the archive's verifier even when it is not this version's own.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the verifier that an archive carries, in a bare Python without this program.

    Exit code 0: EXPORT VERIFIED: TRUE. Exit code 5: EXPORT VERIFIED: FALSE, with the first defect.
    """
    from json import loads

    from runtime.ops.audit import run_bundled_verifier

    result: dict[str, object] = loads(run_bundled_verifier(file, run_root=run_root, any_verifier=any_verifier))
    if json:
        print_json(result)
    else:
        _print_result(result)
    if result["verified"] is not True:
        raise typer.Exit(EXIT_VERIFY)


def _print_result(result: dict[str, object]) -> None:
    from rich.text import Text

    console = stdout_console()
    whole = result["verified"] is True
    style = "bold green" if whole else "bold red"
    console.print(Text(f"EXPORT VERIFIED: {'TRUE' if whole else 'FALSE'}", style=style))
    shown: dict[str, object] = {name: result[name] for name in ("scope", "run_root", "blocks", "records", "seconds")}
    defect = result["defect"]
    if isinstance(defect, dict):
        shown |= {name: value for name, value in defect.items() if value not in ("", 0)}
    if result["changed_members"]:
        shown["changed"] = result["changed_members"]
    for name, value in shown.items():
        console.print(Text(f"  {name:<16}{value}"), soft_wrap=True)
    not_checked = result["not_checked"]
    for line in not_checked if isinstance(not_checked, list) else []:
        console.print(Text(f"  not checked     {line}"), soft_wrap=True)
