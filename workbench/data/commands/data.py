"""`ballast data` and `ballast dataset`: bring bars into the lake, check them, and make datasets of them.

Only typer and the standard library are imported here, so that `ballast --help` stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.console import print_json, progress, stdout_console, time_option
from runtime.errors import EXIT_GATE
from runtime.home import home_path
from workbench.data.commands import certificates as commands_certificates
from workbench.data.commands import compare as commands_compare
from workbench.data.commands import providers as commands_providers
from workbench.data.commands import sync as commands_sync

if TYPE_CHECKING:
    from runtime.progress import Report
    from workbench.data.providers import BarProvider
    from workbench.data.universe.versions import Universe

data: Final = typer.Typer(name="data", no_args_is_help=True, help="The lake: import bars, check their quality, list them.")
dataset: Final = typer.Typer(name="dataset", no_args_is_help=True, help="Datasets: build a content-addressed one, show one.")

Home = Annotated[Path | None, typer.Option("--out", "--home", help="Home folder (default: BALLAST_HOME, else ./out).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Venue = Annotated[str | None, typer.Option("--venue", help="Venue, such as binance-spot.")]
Version = Annotated[str, typer.Option("--universe", help="Universe version (`ballast universe list`).")]
Accept = Annotated[
    list[str] | None, typer.Option("--accept", help="Accept findings by name: GATE, GATE:SYMBOL or one in full.")
]

data.command("providers")(commands_providers.providers)
data.command("certify")(commands_certificates.certify)
data.command("certificates")(commands_certificates.certificates)
data.command("backfill")(commands_sync.backfill)
data.command("sync")(commands_sync.sync)
data.command("status")(commands_sync.status)


@data.command("import")
def import_command(
    path: Annotated[
        Path | None,
        typer.Argument(help="Folder VENUE/INTERVAL/SYMBOL.parquet, INTERVAL/..., Kraken OHLCVT CSVs or zips; or one file."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="files, kraken-archive, kraken, ccxt:NAME, coinapi, simulated (`data providers`).")
    ] = "files",
    venue: Venue = None,
    interval: Annotated[str | None, typer.Option("--interval", help="Only this interval (1m 5m 15m 1h 4h 1d).")] = None,
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="Only these assets, such as BTC.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="First bar, such as 2026-10-01 (kraken: older than 720 bars is made from trades)."),
    ] = None,
    correction: Annotated[
        str, typer.Option("--correction", help="Why bars on record may change; without it they may not.")
    ] = "",
    universe: Version = "v1",
    out: Home = None,
    json: Json = False,
) -> None:
    """Import bars into the lake: all of the files, or nothing. Importing the same again changes nothing."""
    from runtime.adapters.clock import SystemClock
    from workbench.data.store.ingest import import_bars
    from workbench.data.universe.store import find_universe

    version, _ = find_universe(home_path(out), universe)
    with progress() as report:
        provider = _provider(path, source, venue, interval, symbol or [], since, version, report)
        now_t = SystemClock().now_t()
        result = import_bars(home_path(out), provider, correction=correction, universe=version, now_t=now_t, report=report)
    if json:
        print_json(result.model_dump(mode="json") | {"series_n": len(result.series), "changed_n": result.changed_n})
        return
    from workbench.data.commands.tables import show_import

    show_import(stdout_console(), result)


@data.command("check")
def check_command(
    path: Annotated[Path | None, typer.Argument(help="Files to check before importing them; without it, the lake.")] = None,
    venue: Venue = None,
    interval: Annotated[str | None, typer.Option("--interval", help="Only this interval.")] = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="Only these assets (BTC) or venue symbols (BTCUSDT).")
    ] = None,
    accept: Accept = None,
    rows: Annotated[
        list[str] | None,
        typer.Option("--rows", help="Show the very bars of findings: GATE, GATE:SYMBOL or one in full."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also hold the newest bars against this machine's clock and the venue's.")
    ] = False,
    out: Home = None,
    json: Json = False,
) -> None:
    """Run the quality gates and list what they find; exit code 4 when a finding would block a dataset."""
    from workbench.data.commands.check import run_check, show_rows

    with progress() as report:
        result, found = run_check(
            home_path(out), path, venue, interval, symbol or [], accept or [], rows or [], live=live, report=report
        )
    if json:
        shown = {"rows": [r.model_dump(mode="json") for r in found]} if rows else {}
        print_json(
            {
                "verdict": result.verdict,
                "series": [s.model_dump(mode="json") for s in result.series],
                "summary": [r.model_dump(mode="json") for r in result.summary()],
                "findings": [{"name": f.name, **f.model_dump(mode="json")} for f in result.findings],
                **shown,
            }
        )
    else:
        from workbench.data.commands.tables import show_check

        show_check(stdout_console(), result)
        show_rows(stdout_console(), found)
    if result.verdict == "blocked":
        raise typer.Exit(EXIT_GATE)


@data.command("list")
def list_command(venue: Venue = None, out: Home = None, json: Json = False) -> None:
    """List the series of the lake."""
    from workbench.data.store.lake import Lake

    entries = [e for e in Lake(home_path(out)).catalog().entries if venue in (None, e.venue)]
    if json:
        print_json({"series": [{"series": e.key, "paths": e.paths(), **e.model_dump(mode="json")} for e in entries]})
        return
    from workbench.data.commands.tables import show_entries

    show_entries(stdout_console(), entries)


@data.command("prune")
def prune_command(out: Home = None, json: Json = False) -> None:
    """Remove files of the lake that neither its catalog nor a dataset names, an hour after they were written."""
    from workbench.data.datasets.prune import prune_lake

    removed = prune_lake(home_path(out))
    if json:
        print_json({"removed": removed})
        return
    for path in removed:
        typer.echo(f"removed {path}")
    typer.echo(f"{len(removed)} file{'' if len(removed) == 1 else 's'} removed")


data.command("diff")(commands_compare.diff)
data.command("reconcile")(commands_compare.reconcile)


@dataset.command("build")
def build_command(
    venue: Venue = None,
    interval: Annotated[str, typer.Option("--interval", help="Bar length (1m 5m 15m 1h 4h 1d).")] = "1h",
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="Assets, such as BTC; default all.")] = None,
    accept: Accept = None,
    min_years: Annotated[float, typer.Option("--min-years", min=0.0, help="Leave out assets with fewer years of bars.")] = 0.0,
    as_of: Annotated[str | None, typer.Option("--as-of", help="Only bars closed by this UTC time, such as 2024-12-31.")] = None,
    universe: Version = "v1",
    out: Home = None,
    json: Json = False,
) -> None:
    """Build a dataset from the lake; a finding that nobody accepted by name blocks it."""
    from workbench.data.checks.check import only_venue
    from workbench.data.datasets.build import build_dataset
    from workbench.data.universe.store import find_universe

    home = home_path(out)
    with progress() as report:
        manifest = build_dataset(
            home,
            venue or only_venue(home, interval),
            interval,
            symbol,
            accept or [],
            min_years,
            as_of_t=time_option(as_of, "--as-of"),
            universe=find_universe(home, universe)[0],
            report=report,
        )
    _show(home, manifest.dataset_hash, json)


@dataset.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Hash, unique beginning of it, or latest.")] = "latest",
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and verify its bars.")] = False,
    out: Home = None,
    json: Json = False,
) -> None:
    """Show a dataset: assets, files, gaps, findings, assumptions, hash."""
    home = home_path(out)
    if verify:
        from workbench.data.datasets.manifests import load_manifest, load_panel

        load_panel(home, load_manifest(home, name))
    _show(home, name, json)


def _show(home: Path, name: str, json: bool) -> None:
    from workbench.data.datasets.manifests import load_manifest

    manifest = load_manifest(home, name)
    if json:
        print_json(manifest.model_dump(mode="json"))
        return
    from workbench.data.commands.tables import show_dataset

    show_dataset(stdout_console(), manifest)


def _provider(
    path: Path | None,
    source: str,
    venue: str | None,
    interval: str | None,
    symbols: list[str],
    since: str | None,
    universe: Universe,
    report: Report,
) -> BarProvider:
    """Return the provider an import asks for; an option that would have no effect is refused."""
    from workbench.data.providers.registry import ProviderOptions, create

    options = ProviderOptions(
        path=path,
        venue=venue,
        interval=interval,
        assets=tuple(symbols),
        since_t=time_option(since, "--since"),
        universe=universe,
        report=report,
    )
    return create(source, options)
