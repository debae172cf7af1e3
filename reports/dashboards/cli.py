"""`ballast dashboard`: the operator's pages in a browser."""

from __future__ import annotations

import os
from json import dumps
from pathlib import Path
from typing import Annotated, Final

import typer

EXIT_ENVIRONMENT: Final = 6
EXIT_INTERRUPTED: Final = 130
"""As docs/reference/exit-codes.md has it: this package knows the control API and nothing of the runtime's code."""
HOME_VARIABLE: Final = "BALLAST_HOME"


def default_endpoint(home: Path | None) -> Path:
    """Return where a daemon of a home folder writes its endpoint."""
    folder = home if home is not None else Path(os.environ.get(HOME_VARIABLE) or "out")
    return folder / "runtime" / "endpoint.json"


def dashboard(
    *,
    home: Annotated[Path | None, typer.Option("--home", help="Home folder of the daemon [env BALLAST_HOME, ./out].")] = None,
    endpoint: Annotated[
        Path | None, typer.Option("--endpoint", help="Endpoint file of the daemon; default HOME/runtime/endpoint.json.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the link in the browser.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the link in one JSON object.")] = False,
) -> None:
    """Watch and steer a running daemon in a browser: Overview and Decisions.

    Serves on this machine only. The printed link opens a session; the daemon may be started before or after. Ctrl-C ends it.
    """
    path = endpoint or default_endpoint(home)
    try:
        import asyncio

        from reports.dashboards.server import serve
    except ImportError as e:
        typer.echo(
            f"environment: the dashboards cannot be loaded ({e.name} is missing)\n  expected: the extra `dashboards`\n  do: pip install 'ballast[dashboards]'",
            err=True,
        )
        raise typer.Exit(EXIT_ENVIRONMENT) from e

    def opened(link: str) -> None:
        typer.echo(dumps({"endpoint": str(path), "link": link}) if json else link)
        typer.echo(f"following {path}; Ctrl-C ends it", err=True)
        if open_browser:
            import webbrowser

            webbrowser.open(link)

    try:
        asyncio.run(serve(path, port, opened))
    except KeyboardInterrupt:  # how a server ends: nothing was interrupted
        typer.echo("stopped", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except OSError as e:
        typer.echo(
            f"environment: cannot serve on port {port}: {e.strerror or e}\n  expected: a free port\n  do: leave --port out",
            err=True,
        )
        raise typer.Exit(EXIT_ENVIRONMENT) from e
