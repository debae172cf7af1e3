"""`ballast notebook`: run, verify, pin and check governed notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import print_json, progress, stdout_console
from runtime.errors import EXIT_VERIFY, UsageError

if TYPE_CHECKING:
    from workbench.notebook.verify import Verification

notebook = typer.Typer(name="notebook", help="Run, verify, pin and check governed notebooks.", no_args_is_help=True)

PAIRS = {"ignore_unknown_options": True}
"""`-p key value` takes two values, which typer cannot express for a repeated option; `_split` reads it."""

Arguments = Annotated[
    list[str],
    typer.Argument(metavar="NOTEBOOK [-p KEY VALUE]...", help="Name under notebooks/ or a path, and parameters."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Home folder (default: $BALLAST_HOME or ./out).")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; never changes a result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@notebook.command(context_settings=PAIRS)
def run(arguments: Arguments, out: OutOption = None, workers: WorkersOption = None, as_json: JsonOption = False) -> None:
    """Execute a notebook under papermill, seal it and write its receipt.

    Example: ballast notebook run walk_forward -p seed 7 -p dataset latest
    """
    from runtime.home import exclusive, home_path, sweep_partial
    from workbench.notebook.bounds import require_bounds
    from workbench.notebook.parameters import effective
    from workbench.notebook.run import default_folder, execute, find_source, notebook_parameters, parameters_from_text, store

    name, pairs = _split(arguments)
    source = find_source(name)
    given = parameters_from_text(source, pairs)
    require_bounds(source.name, effective(notebook_parameters(source), given))
    home = home_path(out)
    with exclusive(home):
        sweep_partial(home)
        with progress() as report:
            executed = execute(source, given, home, workers=workers, report=report)
        stored = store(executed, default_folder(home, executed))
    if as_json:
        print_json({
            "notebook": str(stored.notebook), "receipt": stored.receipt.model_dump(mode="json"),
            "parameters": dict(given), "spec": executed.spec, "result": executed.result, "seconds": executed.seconds,
        })  # fmt: skip
        return
    console = stdout_console()
    console.print(f"notebook  {stored.notebook}")
    for label, value in stored.receipt.model_dump(mode="json", exclude={"environment", "notebook"}).items():
        console.print(f"{label:24} {value}", highlight=False)


@notebook.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NOTEBOOK]...", help="Default: every pinned notebook.")] = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run notebooks with their pinned parameters under two runtimes and compare with the pins.

    Exit code 5 when anything differs.
    """
    from workbench.notebook.pins import PINS_NAME, read_pins
    from workbench.notebook.run import NOTEBOOKS, find_source
    from workbench.notebook.verify import verify as verify_notebook

    sources = [find_source(name) for name in names or sorted(read_pins(NOTEBOOKS / PINS_NAME))]
    if not sources:
        raise UsageError("no notebook is pinned", expected=f"notebooks/{PINS_NAME}", action="run `ballast notebook pin NAME`")
    with progress() as report:
        found = [verify_notebook(source, workers=workers, report=report) for source in sources]
    if as_json:
        print_json({"ok": all(v.ok for v in found), "notebooks": [_as_json(v) for v in found]})
    else:
        for verification in found:
            _print_verification(verification)
    if not all(v.ok for v in found):
        raise typer.Exit(EXIT_VERIFY)


@notebook.command(context_settings=PAIRS)
def pin(arguments: Arguments, workers: WorkersOption = None, as_json: JsonOption = False) -> None:
    """Record the digests of a run for this platform in notebooks/pins.json.

    Without -p, the parameters of the existing pin are used again.
    """
    from workbench.notebook.environment import environment
    from workbench.notebook.pins import pins_path, read_pins
    from workbench.notebook.run import find_source, parameters_from_text
    from workbench.notebook.verify import repin

    name, pairs = _split(arguments)
    source = find_source(name)
    before = read_pins(pins_path(source)).get(source.stem)
    given = before.parameters if before is not None and not pairs else parameters_from_text(source, pairs)
    with progress() as report:
        made = repin(source, given, workers=workers, report=report)
    here = made.platforms[environment().fingerprint]
    if as_json:
        print_json({"notebook": source.stem, "platform": environment().fingerprint, **made.model_dump(mode="json")})
        return
    console = stdout_console()
    console.print(
        f"pinned {source.stem} for platform {environment().fingerprint}: results {here.results_sha256}", highlight=False
    )
    console.print(f"commit {pins_path(source)}", highlight=False)


@notebook.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NOTEBOOK]...", help="Default: all of notebooks/.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check notebooks against the rules of governed notebooks, without running them."""
    from dataclasses import asdict

    from workbench.notebook.lint import lint
    from workbench.notebook.run import NOTEBOOKS, find_source

    sources = [find_source(name) for name in names or sorted(p.stem for p in NOTEBOOKS.glob("*.py"))]
    found = {source.name: lint(source) for source in sources}
    if as_json:
        print_json({"ok": not any(found.values()), "findings": {name: [asdict(f) for f in fs] for name, fs in found.items()}})
    else:
        console = stdout_console()
        for name, findings in found.items():
            for f in findings:
                console.print(f"{name}:{f.line}: {f.rule}: {f.text}", highlight=False, markup=False)
            if not findings:
                console.print(f"{name}: governed", highlight=False)
    if any(found.values()):
        raise typer.Exit(EXIT_VERIFY)


def _split(arguments: list[str]) -> tuple[str, dict[str, str]]:
    """Return the notebook's name and the `-p key value` pairs of a command line."""
    names: list[str] = []
    pairs: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-p", "--parameter"):
            if len(rest) < 2:
                raise _usage(f"{word} with {len(rest)} value(s)")
            key = rest.pop(0)
            if key in pairs:
                raise _usage(f"parameter {key} given twice")
            pairs[key] = rest.pop(0)
        elif word.startswith("-"):
            raise _usage(f"unknown option {word}")
        else:
            names.append(word)
    if len(names) != 1:
        raise _usage(f"{len(names)} notebook names" + (f" ({', '.join(names)})" if names else ""))
    return names[0], pairs


def _usage(got: str) -> UsageError:
    return UsageError(got, expected="NOTEBOOK [-p KEY VALUE]...", action="see `ballast notebook run --help`")


def _as_json(v: Verification) -> dict[str, object]:
    checks = [{"name": c.name, "ok": c.ok, "expected": c.expected, "got": c.got} for c in v.checks]
    return {"notebook": v.notebook, "ok": v.ok, "pinned": v.pinned, "platform": v.fingerprint, "checks": checks}


def _print_verification(v: Verification) -> None:
    console = stdout_console()
    for c in v.checks:
        line = f"{'equal' if c.ok else 'DIFFERENT':9} {v.notebook}: {c.name} {c.got}"
        console.print(line if c.ok else f"{line}, pinned {c.expected}", highlight=False, markup=False)
    if not v.pinned:
        console.print(
            f"note: no results pin for this platform ({v.fingerprint}); the portable digests and both runtimes were compared. "
            f"`ballast notebook pin {v.notebook}` records one.", highlight=False, markup=False,
        )  # fmt: skip
