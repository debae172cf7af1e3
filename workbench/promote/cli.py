"""`ballast promote`: from a run to a signed bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import print_json, progress, stderr_console, stdout_console, time_option

if TYPE_CHECKING:
    from runtime.ops.bundles.manifest import Manifest
    from workbench.promote.make import Promotion


def promote(
    run: Annotated[str, typer.Argument(help="A run: folder, id, the beginning of one, or a bundle's name (ml, trend).")],
    *,
    tail_until: Annotated[
        str | None,
        typer.Option(
            "--tail-until", metavar="TIME", help="Seed bars end here, with the models then in force [the data's end]."
        ),
    ] = None,
    lineage: Annotated[bool, typer.Option("--lineage", help="Replay back to the lake and the models as well.")] = False,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", help="Keep the signing key in this file (0600) instead of the keyring: paper only."),
    ] = None,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the evidence of a run and write its signed bundle to HOME/bundles.

    Exit code 4: a check does not hold; nothing was written. Exit code 5: data, models or bundle are not what their hashes say. Exit
    code 6: there is no keyring.
    """
    from runtime.home import home_path
    from workbench.promote.make import promote as make

    folder = home_path(home)
    with progress() as report:
        found = make(
            folder, run, until_t=time_option(tail_until, "--tail-until"), lineage=lineage, key_file=key_file, report=report
        )
    if found.key_made and found.manifest:
        where = "the keyring" if found.manifest.signer_store == "keyring" else "the file you named"
        note = f"a signing key was made and is kept in {where}; this home trusts its public half {found.manifest.signer}"
        stderr_console().print(note, soft_wrap=True)
    if json:
        found.require_bundle()
        if found.manifest:
            print_json(_as_json(found, found.manifest))
        return
    _print(found)
    found.require_bundle()


def _as_json(found: Promotion, manifest: Manifest) -> dict[str, object]:
    return {
        "run_id": found.run_id,
        "bundle": str(found.path),
        "name": manifest.folder_name,
        "bundle_hash": manifest.bundle_hash,
        "manifest_digest": manifest.digest,
        "signer": manifest.signer,
        "signer_store": manifest.signer_store,
        "key_made": found.key_made,
        "simulated": manifest.lineage.simulated,
        "symbols": list(manifest.symbols),
        "seed_until_t": manifest.seed_until_t,
        "models": dict(manifest.models),
        "forecasts": found.forecasts_n,
        "checks": {check.name: {"asked": check.asked, "ok": check.ok, "found": check.found} for check in found.checks},
    }


def _print(found: Promotion) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from runtime.console import iso_time

    console = stdout_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"evidence of {found.run_id}", title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in found.checks:
        word, style = ("holds", "green") if check.ok else ("FAILS", "bold red")
        table.add_row(check.name, Text(word, style) if check.asked else Text("shown", "dim"), Text(check.found))
    console.print(table)
    manifest = found.manifest
    if manifest is None:
        return
    label = "SIMULATED" if manifest.lineage.simulated else manifest.lineage.venue
    lines = {
        "bundle": str(found.path),
        "forecasts": f"{manifest.kind}, {len(manifest.symbols)} assets, every {manifest.grid_h} h, data: {label}",
        "seed until": iso_time(manifest.seed_until_t),
        "bundle hash": manifest.bundle_hash,
        "manifest": manifest.digest,
        "signed by": f"{manifest.signer} ({manifest.signer_store})",
        "admits to": ", ".join(manifest.admits),
    }
    for name, value in lines.items():
        console.print(Text(f"{name:<12}{value}"), soft_wrap=True)
    console.print(Text(f"next: ballast bundle activate {manifest.folder_name}"), soft_wrap=True)
