"""`ballast data diff` and `ballast data reconcile`: what differs between two datasets, and how far two sources agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.console import print_json, progress, stdout_console
from runtime.errors import EXIT_VERIFY, UsageError
from runtime.home import home_path

Home = Annotated[Path | None, typer.Option("--out", "--home", help="Home folder (default: BALLAST_HOME, else ./out).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def diff(
    dataset_a: Annotated[str, typer.Argument(help="Hash, unique beginning of it, or latest.")],
    dataset_b: Annotated[str, typer.Argument(help="Hash, unique beginning of it, or latest.")],
    values: Annotated[int, typer.Option("--values", min=0, help="Changed values to name per asset; 0 = all.")] = 20,
    out: Home = None,
    json: Json = False,
) -> None:
    """Compare two datasets, bar by bar where their files differ; exit code 5 when they differ."""
    from workbench.data.datasets.diff import compare
    from workbench.data.datasets.manifests import load_manifest

    home = home_path(out)
    with progress() as report:
        a, b = load_manifest(home, dataset_a), load_manifest(home, dataset_b)
        found = compare(home, a, b, values_n=values, report=report)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        from workbench.data.commands.tables_compare import show_difference

        show_difference(stdout_console(), found)
    if not found.equal:
        raise typer.Exit(EXIT_VERIFY)


def reconcile(
    a: Annotated[str, typer.Argument(help="Venue of the lake, such as binance-spot; or a Parquet file of bars or trades.")],
    b: Annotated[str, typer.Argument(help="The other venue (binance-spot-b: a second source) or file.")],
    interval: Annotated[str, typer.Option("--interval", help="Bar length (1m 5m 15m 1h 4h 1d).")] = "1h",
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="Only these assets, such as BTC; default all.")] = None,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Worst bars to name per asset.")] = 5,
    out: Home = None,
    json: Json = False,
) -> None:
    """Compare two sources of the same bars: what each misses, correlation, differences in basis points, worst bars."""
    from workbench.data.checks.reconcile import reconcile_files, reconcile_venues

    files = [Path(name) for name in (a, b) if name.endswith(".parquet")]
    if files and (len(files) == 1 or symbol):
        raise UsageError(
            f"{a} and {b}" + (" with --symbol" if symbol else ""),
            expected="two venues of the lake, or two Parquet files and no --symbol",
            action="compare like with like; `ballast data import` brings files into the lake",
        )
    with progress() as report:
        if files:
            found = reconcile_files(files[0], files[1], interval, worst_n=worst)
        else:
            found = reconcile_venues(home_path(out), a, b, interval, symbol or [], worst_n=worst, report=report)
    if json:
        print_json(found.model_dump(mode="json"))
        return
    from workbench.data.commands.tables_compare import show_reconciled

    show_reconciled(stdout_console(), found)
