"""`ballast bundle`: what was promoted, whether it may be used, and which one makes the forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.console import print_json, stderr_console, stdout_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtime.ops.bundles.manifest import Manifest
    from runtime.ops.bundles.read import LoadedBundle

bundle: Final = typer.Typer(
    name="bundle",
    help="Signed bundles: verify, show and list them, choose the one that makes the forecasts, keep the trusted keys.",
    no_args_is_help=True,
    add_completion=False,
)
Home = Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="Folder, its name, the beginning of a digest, or a bundle's name (ml, trend).")
]
Why = Annotated[str, typer.Option("--reason", help="Why, in a sentence; it stands in the journal.")]
REASON_CHARS_MAX: Final = 500


@bundle.command()
def verify(name: Name, *, home: Home = None, json: Json = False) -> None:
    """Verify signature, checksums and compatibility, and ask the forecaster again at the recorded check vectors.

    Exit code 5: refused, with the reason.
    """
    loaded = _loaded(home, name)
    if json:
        print_json({"valid": True, "forecasts": loaded.forecasts_n, **_summary(loaded.manifest, loaded.path)})
        return
    manifest = loaded.manifest
    stdout_console().print(
        f"valid: {manifest.folder_name}, {len(manifest.files)} files, signed by {manifest.signer[:12]} ({manifest.signer_store}), "
        f"{loaded.forecasts_n} recorded forecasts came out the same here; admits to {', '.join(manifest.admits)}",
        soft_wrap=True,
    )


@bundle.command()
def show(name: Name, *, home: Home = None, json: Json = False) -> None:
    """Show what a bundle is made of, where it comes from and what was found at its promotion. It is verified first."""
    loaded = _loaded(home, name)
    if json:
        print_json({**_summary(loaded.manifest, loaded.path), "manifest": loaded.manifest.model_dump(mode="json")})
        return
    _print_bundle(loaded)


@bundle.command("list")
def list_(*, home: Home = None, json: Json = False) -> None:
    """List the bundles of a home folder; which one is active, which was before it, and why one is refused."""
    from runtime.home import home_path
    from runtime.ops.bundles.keys import trusted_keys
    from runtime.ops.bundles.read import check_compatible, open_sealed
    from runtime.ops.bundles.refusal import BundleRefused
    from runtime.ops.bundles.store import known_bundles, read_pointer

    folder = home_path(home)
    pointer, trusted = read_pointer(folder), trusted_keys(folder)
    found: dict[str, dict[str, object]] = {}
    for path in known_bundles(folder):
        state = "" if pointer is None else {pointer.active: "active", pointer.previous: "previous"}.get(path.name, "")
        try:
            manifest = open_sealed(path, trusted).manifest
            check_compatible(manifest)
            found[path.name] = {**_summary(manifest, path), "state": state, "refused": ""}
        except BundleRefused as e:
            found[path.name] = {"name": path.name, "state": state, "refused": e.got}
    if json:
        print_json({"home": str(folder), "pending": bool(pointer and pointer.pending), "bundles": list(found.values())})
        return
    rows = [
        [name, str(about["state"]), str(about.get("data", "")), str(about.get("seed_until", "")),
         str(about["refused"]) or f"{about['signer']}"[:12]]
        for name, about in found.items()
    ]  # fmt: skip
    _print_table(("bundle", "state", "data", "seed until", "signed by, or why refused"), rows)


@bundle.command()
def activate(name: Name, *, reason: Why = "", home: Home = None, json: Json = False) -> None:
    """Make a bundle the one that forecasts: verified and staged, then switched at once, or not at all.

    A running daemon journals it as an event at its next block; without one, the next start does.
    """
    from runtime.home import home_path
    from runtime.ops.bundles.store import find_bundle

    folder = home_path(home)
    _switch(folder, find_bundle(folder, name), reason, json=json)


@bundle.command()
def rollback(*, reason: Why = "", home: Home = None, json: Json = False) -> None:
    """Go back to the bundle that was active before; a second time undoes the first."""
    from runtime.home import home_path
    from runtime.ops.bundles.store import previous

    folder = home_path(home)
    _switch(folder, previous(folder), reason or "rollback", json=json)


@bundle.command()
def keys(*, home: Home = None, json: Json = False) -> None:
    """List the public keys whose signatures this home folder accepts."""
    from runtime.home import home_path
    from runtime.ops.bundles.keys import trusted_keys

    folder = home_path(home)
    found = trusted_keys(folder)
    if json:
        print_json({"home": str(folder), "keys": [key.model_dump(mode="json") for key in found.values()]})
        return
    _print_table(("public key", "private half", "label"), [[key.public_key, key.store, key.label] for key in found.values()])


@bundle.command()
def trust(
    public_key: Annotated[str, typer.Argument(metavar="KEY", help="Ed25519 public key: 64 hexadecimal digits.")],
    *,
    label: Annotated[str, typer.Option("--label", help="Whose key it is.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Accept the signature of a key from now on. Compare the digits with its owner first, by another way than the bundle's."""
    from pydantic import ValidationError

    from runtime.errors import UsageError
    from runtime.home import home_path
    from runtime.ops.bundles.keys import TrustedKey
    from runtime.ops.bundles.keys import trust as trust_key

    folder = home_path(home)
    try:
        key = TrustedKey(public_key=public_key.lower(), store="elsewhere", label=label)
    except ValidationError as e:
        raise UsageError(
            f"{public_key!a:.100} labelled {label!a:.100}",
            expected="64 hexadecimal digits, and a label of at most 80 characters",
            action="copy the key whole, as `ballast bundle keys` prints it where it was made",
        ) from e
    added = trust_key(folder, key)
    if json:
        print_json({"public_key": key.public_key, "added": added})
    else:
        stdout_console().print(f"{'trusted from now on' if added else 'trusted already'}: {key.public_key}", soft_wrap=True)


# ---- helpers ---------------------------------------------------------------------------------------------------


def _loaded(home: Path | None, name: str) -> LoadedBundle:
    from runtime.home import home_path
    from runtime.ops.bundles.keys import trusted_keys
    from runtime.ops.bundles.read import read_bundle
    from runtime.ops.bundles.store import find_bundle

    folder = home_path(home)
    return read_bundle(find_bundle(folder, name), trusted_keys(folder))


def _switch(home: Path, source: Path, reason: str, *, json: bool) -> None:
    """Stage a bundle; then a running daemon switches to it at a block boundary, else the pointer is swapped here."""
    from uuid import uuid4

    from runtime.errors import EnvironmentFailure, UsageError
    from runtime.home import sweep_partial
    from runtime.ops.api_client import ControlClient
    from runtime.ops.bundles.store import point, stage
    from runtime.ops.endpoint import read_endpoint
    from runtime.ops.lock import holder

    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise UsageError(
            f"--reason of {len(reason)} characters", expected=f"at most {REASON_CHARS_MAX} that print", action="shorten it"
        )
    sweep_partial(home)
    staged = stage(home, source)
    staged.require_mode("paper")
    about: Mapping[str, object] = _summary(staged.manifest, staged.path)
    running = holder(home)
    if running is None:
        point(home, staged.path.name, pending=True)
        said = "no daemon runs: its next start journals it"
        about = {**about, "journaled": False}
    else:
        endpoint = read_endpoint(home)
        if endpoint is None:
            raise EnvironmentFailure(
                f"the daemon {running.pid} has no endpoint yet",
                expected="its control API to be up",
                action="try again in a second; nothing was switched",
            )
        # the manifest's digest: two promotions of one rule have one bundle hash
        body = {"bundle_hash": staged.manifest.digest, "reason": reason}
        receipt = ControlClient(endpoint, timeout_s=30.0).post("/bundle/activate", body, f"cli-{uuid4()}")
        said = f"journaled by the daemon in block {receipt.get('seq_n')}"
        about = {**about, "journaled": True, "receipt": receipt}
    if json:
        print_json(about)
    else:
        stdout_console().print(f"active: {staged.manifest.folder_name}; {said}", soft_wrap=True)


def _summary(manifest: Manifest, path: Path) -> dict[str, object]:
    from runtime.console import iso_time

    return {
        "name": manifest.folder_name,
        "path": str(path),
        "kind": manifest.kind,
        "bundle_hash": manifest.bundle_hash,
        "manifest_digest": manifest.digest,
        "signer": manifest.signer,
        "signer_store": manifest.signer_store,
        "data": "SIMULATED" if manifest.lineage.simulated else manifest.lineage.venue,
        "symbols": list(manifest.symbols),
        "seed_until": iso_time(manifest.seed_until_t),
        "admits": list(manifest.admits),
    }


def _print_bundle(loaded: LoadedBundle) -> None:
    from rich.text import Text

    manifest, console = loaded.manifest, stdout_console()
    lineage, compatible = manifest.lineage, manifest.compatibility
    parts = loaded.description.parts
    rows = {
        "bundle": f"{manifest.folder_name} ({manifest.kind}, format {manifest.format_n})",
        "bundle hash": manifest.bundle_hash,
        "manifest": manifest.digest,
        "signed by": f"{manifest.signer} ({manifest.signer_store})",
        "admits to": ", ".join(manifest.admits),
        "assets": ", ".join(manifest.symbols),
        "forecasts": f"every {manifest.grid_h} h on {manifest.interval_t} s bars, for {', '.join(map(str, loaded.description.horizons_h))} h",
        "models": f"{len(manifest.model_hashes)} of fold {parts[-1].fold_n}" if parts else "none: a rule with stated constants",
        "seed": f"{len(loaded.tail.open_t)} bars until {_summary(manifest, loaded.path)['seed_until']}",
        "features": manifest.feature_set_hash,
        "policy": f"{manifest.policy.name}@{manifest.policy.version} {manifest.policy.policy_digest}",
        "runs with": f"ballast {compatible.app}, deciding source {compatible.core_digest}",
        "data": f"{'SIMULATED' if lineage.simulated else lineage.venue}, dataset {lineage.dataset_hash}",
        "run": f"{lineage.run_id}, run root {lineage.run_root}",
        "study": f"{lineage.study_id}, digest {lineage.study_digest}",
        "commit": lineage.source_commit or "unknown",
    }
    for name, value in rows.items():
        console.print(Text(f"{name:<12}{value}"), soft_wrap=True)
    _print_table(
        ("evidence", "", "found"),
        [[evidence.name, "asked" if evidence.asked else "shown", evidence.found] for evidence in manifest.evidence],
    )
    for sentence in manifest.assumptions:
        stderr_console().print(Text(f"assumes: {sentence}"), soft_wrap=True)


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, name in enumerate(names):
        table.add_column(name, no_wrap=n < len(names) - 1, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stdout_console().print(table)
