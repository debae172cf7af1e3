"""`ballast data providers`: where bars can come from on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from runtime.console import print_json, stdout_console


def providers(json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False) -> None:
    """List the providers that are installed, what each needs, and whether its credentials are present (never which)."""
    from workbench.data.providers.registry import SPOKEN, available

    found = available()
    if json:
        print_json({"providers": [asdict(p) for p in found]})
        return
    from workbench.data.commands.tables import plain_table

    cells = []
    for p in found:
        needs = ", ".join(f"{p.name}:NAME" if n == "argument" else SPOKEN.get(n, n) for n in p.needs)
        cells.append((p.name, p.problem or p.summary, needs or "nothing", p.credentials, p.package))
    columns = ("provider", "what it gives", "needs", "credentials", "package")
    stdout_console().print(plain_table(f"{len(found)} providers", columns, cells, flexible="what it gives"))
