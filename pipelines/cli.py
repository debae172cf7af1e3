"""`ballast demo`: the main job in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.console import print_json, progress, stdout_console


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="VENUE/INTERVAL/SYMBOL.parquet, a folder of one venue, or Kraken OHLCVT CSVs (XBTUSD_60.csv)."
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--source", metavar="auto|simulated|kraken", help="auto: --data when given, else a seeded simulated market."
        ),
    ] = "auto",
    out: Annotated[Path | None, typer.Option("--out", help="Home folder (default: $BALLAST_HOME or ./out).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=64, help="Processes; never changes a result.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Run the main job: data, walk-forward study, two backtests, replay, SQL gates, report.

    Exit code 5 when the replay differs or a gate does not hold, 4 when the trend run has no fills (parity of an empty ledger proves nothing).
    """
    from pipelines.demo import run_demo
    from runtime.home import home_path

    with progress() as report:
        found = run_demo(home_path(out), data, source, workers=workers, report=report)
    if as_json:
        print_json(found.as_json())
    else:
        from pipelines.summary import COLUMNS, summary

        console = stdout_console()
        if not console.is_terminal:
            console.width = COLUMNS  # a log or pipe has no width of its own
        console.print(summary(found), soft_wrap=False)
    found.require_proof()
