"""The root of the `ballast` command.

Commands are found by name and imported only when one is used or when the root lists them: the built-ins below, and what
installed packages register under the entry point group `ballast.commands` (a `typer.Typer` with sub-commands, or one plain
function). A command that cannot be imported stays in the list, says why, and never breaks the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.core import TyperGroup

from runtime.console import run
from runtime.errors import EnvironmentFailure

if TYPE_CHECKING:
    from typer._click.core import Command, Context

GROUP: Final = "ballast.commands"
PLAIN: Final = None
"""Help pages are plain text: rich's help renderer alone imports for longer than everything else a help page needs."""
BUILT_INS: Final = {
    "audit": "runtime.commands.audit:audit",
    "bundle": "runtime.commands.bundle:bundle",
    "check": "runtime.commands.check:check",
    "divergence": "runtime.commands.divergence:divergence",
    "doctor": "runtime.commands.doctor:doctor",
    "kraken": "runtime.commands.kraken:kraken",
    "policy": "runtime.commands.policy:policy",
    "replay": "runtime.commands.replay:replay",
    "runs": "runtime.commands.runs:runs",
    "runtime": "runtime.commands.runtime:runtime",
    "sql": "runtime.commands.sql:sql",
}
"""Command name -> `module:attribute`. A package cannot replace one of these by registering the same name."""


def command_targets() -> dict[str, str]:
    """Return every command name with the `module:attribute` that implements it, without importing any."""
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return dict(sorted((found | BUILT_INS).items()))


def load_command(name: str, target: str) -> Command:
    """Import one command; a target that cannot be imported becomes a command that explains itself."""
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            found.rich_markup_mode = PLAIN
            return typer.main.get_group(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=PLAIN)
        single.command(name)(found)
        return typer.main.get_command(single)
    # A plugin may fail in any way while it is imported; the root must still list and run the others.
    except Exception as e:  # noqa: BLE001
        return _unavailable(name, target, f"{type(e).__name__}: {e}")


def _unavailable(name: str, target: str, reason: str) -> Command:
    broken = typer.Typer(add_completion=False, rich_markup_mode=PLAIN)

    @broken.command(name, help=f"(unavailable: {reason})", context_settings={"ignore_unknown_options": True})
    def explain(_arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        raise EnvironmentFailure(
            f"the command {name} cannot be loaded from {target}: {reason}",
            expected="an importable command",
            action="install the package or extra that provides it (for this repository: make install), then ballast doctor",
        )

    return typer.main.get_command(broken)


class LazyGroup(TyperGroup):
    """A command group that knows its names and imports a command only when asked for it."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002  the base class passes it
        """Return the command names in alphabetical order."""
        return list(command_targets())

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002  the base class passes it
        """Return one command, or None when nothing has that name."""
        target = command_targets().get(cmd_name)
        return load_command(cmd_name, target) if target else None


app: Final = typer.Typer(
    name="ballast",
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=PLAIN,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ballast {version('ballast')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Ballast: a governed, deterministic, auditable crypto trading workbench."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see docs/reference/exit-codes.md)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    return run(lambda: command.main(args=given, prog_name="ballast", standalone_mode=False), given)


if __name__ == "__main__":
    sys.exit(main())
