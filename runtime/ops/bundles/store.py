"""Which bundle is active: `HOME/runtime/bundle/` holds verified copies, and a pointer that one rename swaps.

A bundle is copied there from verified bytes, so that what happens to its source changes nothing. The pointer names the active one and
the one before it, for a rollback; copies that it names no longer are removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.canonical import canonical_json
from runtime.errors import EnvironmentFailure, UsageError, VerificationError
from runtime.event import BundleNote
from runtime.files import partial_folder, publish_folder, write_bytes
from runtime.home import exclusive
from runtime.ops.bundles import manifest as m
from runtime.ops.bundles.keys import TrustedKey, trusted_keys
from runtime.ops.bundles.package import bundles_path
from runtime.ops.bundles.read import LoadedBundle, SealedBundle, load, open_sealed
from runtime.ops.bundles.refusal import BundleRefused
from runtime.ops.lock import runtime_path

FOLDER: Final = "bundle"
POINTER_NAME: Final = "active.json"
NAME: Final = r"^[a-z][a-z0-9_]{0,30}-[0-9a-f]{12}$"
DIGITS_MIN: Final = 6


class Pointer(BaseModel):
    """Names of the active bundle and of the one before it, each a folder beside this file.

    Attributes:
        pending: activated while no daemon ran, so that no chain has it yet: the next start journals it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    active: str = Field(pattern=NAME)
    previous: str | None = Field(default=None, pattern=NAME)
    pending: bool = False


def store_path(home: Path) -> Path:
    """Return the folder of the active bundle and its predecessor."""
    return runtime_path(home) / FOLDER


def read_pointer(home: Path) -> Pointer | None:
    """Return the pointer, `None` when no bundle was ever activated.

    Raises:
        VerificationError: it is damaged.
    """
    path = store_path(home) / POINTER_NAME
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as e:
        raise VerificationError(
            f"{path} does not say which bundle is active",
            expected="the pointer as `ballast bundle activate` wrote it",
            action="remove it and activate a bundle again",
        ) from e


def active(home: Path) -> Path | None:
    """Return the folder of the active bundle, `None` when there is none. It is verified when it is read, not here.

    Raises:
        VerificationError: the pointer is damaged.
    """
    pointer = read_pointer(home)
    return store_path(home) / pointer.active if pointer else None


def stage(home: Path, source: Path, trusted: Mapping[str, TrustedKey] | None = None) -> LoadedBundle:
    """Verify a bundle in full and copy its verified bytes beside the active one; which one is active does not change.

    Raises:
        UsageError: there is no such folder.
        BundleRefused: the bundle; nothing was changed.
        EnvironmentFailure: the folder cannot be written.
    """
    sealed = open_sealed(source, trusted_keys(home) if trusted is None else trusted)
    loaded = load(sealed)
    target = store_path(home) / sealed.manifest.folder_name
    if source.resolve() != target.resolve():
        _copy(sealed, target)
    return replace(loaded, path=target)


def _copy(sealed: SealedBundle, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with partial_folder(target) as partial:
            for name, content in sealed.files.items():
                (partial / name).parent.mkdir(exist_ok=True)
                (partial / name).write_bytes(content)
            (partial / m.SIGNATURE_NAME).write_bytes(sealed.signature)
            (partial / m.MANIFEST_NAME).write_bytes(sealed.manifest.canonical())
            publish_folder(partial, target)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot stage {target}: {e.strerror or e}",
            expected="a writable folder with free space; the active bundle is as it was",
            action="check permissions and disk",
        ) from e


def point(home: Path, name: str, *, pending: bool) -> None:
    """Make a staged bundle the active one, by one rename; the one before it is kept for a rollback.

    Args:
        home: the home folder.
        name: the bundle's folder name, as `stage` made it.
        pending: whether the next start of a daemon has to journal it; a daemon that has journaled it says False.

    Raises:
        UsageError: it is not a staged one.
        EnvironmentFailure: the folder cannot be written.
    """
    folder = store_path(home)
    if not re.fullmatch(NAME, name) or not (folder / name / m.MANIFEST_NAME).is_file():
        raise UsageError(f"{name} is not staged", expected=f"a bundle below {folder}", action="stage it first")
    with exclusive(folder):
        before = read_pointer(home)
        if before is not None and before.active == name:
            pointer = Pointer(active=name, previous=before.previous, pending=before.pending and pending)
        else:
            pointer = Pointer(active=name, previous=before.active if before else None, pending=pending)
        if pointer != before:
            write_bytes(folder / POINTER_NAME, canonical_json(pointer.model_dump(mode="json")))
        _sweep(folder, pointer)


def activate(home: Path, source: Path, trusted: Mapping[str, TrustedKey] | None = None) -> LoadedBundle:
    """Stage a bundle and make it the active one, for a daemon that is not running: its next start journals it.

    Raises:
        UsageError, BundleRefused, EnvironmentFailure: see `stage`; the active bundle is as it was.
    """
    staged = stage(home, source, trusted)
    point(home, staged.path.name, pending=True)
    return staged


def bundle_to_start(home: Path, journaled: BundleNote | None) -> tuple[Path, bool]:
    """Return the bundle that a daemon starts with, and whether it still has to be journaled.

    The chain is the truth: what it says is loaded even when a crash left the pointer behind. Only what a person activated
    meanwhile comes before it.

    Args:
        home: the home folder.
        journaled: what the chain says; `None` for a chain that has named no bundle.

    Raises:
        UsageError: no bundle was ever activated.
        VerificationError: the bundle that the chain names is not there.
    """
    pointer = read_pointer(home)
    if pointer is None and journaled is None:
        raise UsageError(
            "no bundle is active",
            expected="a bundle that makes the forecasts",
            action="`ballast promote RUN`, then `ballast bundle activate NAME`",
        )
    if pointer is not None and (pointer.pending or journaled is None):
        return store_path(home) / pointer.active, True
    name = f"{journaled.name}-{journaled.manifest_digest[:12]}" if journaled else ""
    found = next((path for path in reversed(known_bundles(home)) if path.name == name), None)
    if found is None:
        raise VerificationError(
            f"the bundle {name} that the journal names is neither staged nor promoted in {home}",
            expected="the bundle that made the last forecasts",
            action="copy it back below bundles/, or activate another one with `ballast bundle activate`",
        )
    return found, False


def previous(home: Path) -> Path:
    """Return the folder of the bundle that was active before.

    Raises:
        UsageError: there was none.
    """
    pointer = read_pointer(home)
    if pointer is None or pointer.previous is None:
        raise UsageError(
            "no bundle was active before this one",
            expected="a bundle to go back to",
            action="activate another one: `ballast bundle list`",
        )
    return store_path(home) / pointer.previous


def rollback(home: Path, trusted: Mapping[str, TrustedKey] | None = None) -> LoadedBundle:
    """Make the bundle that was active before the active one again, verified anew; a second rollback undoes the first.

    Raises:
        UsageError: there was none.
        BundleRefused: it is refused by now; the active bundle is as it was.
    """
    return activate(home, previous(home), trusted)


def _sweep(folder: Path, pointer: Pointer) -> None:
    """Remove copies that the pointer names no longer; what cannot be removed now is removed another time."""
    for path in folder.iterdir():
        if re.fullmatch(NAME, path.name) and path.name not in {pointer.active, pointer.previous} and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def known_bundles(home: Path) -> list[Path]:
    """Return the folders of promoted bundles, then of staged ones, by name; none of them is verified."""
    folders = (bundles_path(home), store_path(home))
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if re.fullmatch(NAME, path.name) and (path / m.MANIFEST_NAME).is_file()
    ]


def bundle_of(home: Path, digest: str) -> Path | None:
    """Return the newest bundle with this bundle hash or manifest digest, staged ones first; `None` when there is none."""
    found = [path for path in known_bundles(home) if _has_digest(path, digest, exact=True)]
    return max(found, key=lambda path: (path.parent == store_path(home), path.stat().st_mtime_ns), default=None)


def find_bundle(home: Path, text: str) -> Path:
    """Return the folder of a bundle.

    Args:
        home: the home folder.
        text: a path; else a folder's name, the beginning of a manifest's digest or of a bundle hash (six digits or more), or a
            bundle's name (`ml`, `trend`) when only one has it. Promoted bundles come before staged copies of them.

    Raises:
        UsageError: no bundle, or several, are meant.
    """
    as_path = Path(text)
    if (as_path / m.MANIFEST_NAME).is_file():
        return as_path
    known = {path.name: path for path in reversed(known_bundles(home))}
    found = {name: path for name, path in known.items() if _is_meant(path, text)}
    if len(found) == 1:
        return next(iter(found.values()))
    raise UsageError(
        f"{len(found) or 'no'} bundle{'s' if len(found) > 1 else ''} named {text!r} in {home}",
        expected=f"one of: {', '.join(sorted(found or known)) or 'none: there are no bundles'}",
        action="promote a run with `ballast promote`, or give the folder's name",
    )


def _is_meant(path: Path, text: str) -> bool:
    if text in {path.name, path.name.rpartition("-")[0]}:
        return True
    return len(text) >= DIGITS_MIN and re.fullmatch(r"[0-9a-f]+", text) is not None and _has_digest(path, text, exact=False)


def _has_digest(path: Path, text: str, *, exact: bool) -> bool:
    try:
        with (path / m.MANIFEST_NAME).open("rb") as f:
            manifest = m.parse_manifest(f.read(m.MANIFEST_BYTES_MAX))
    except (OSError, BundleRefused):
        return False
    digests = (manifest.digest, manifest.bundle_hash)
    return text in digests if exact else any(found.startswith(text) for found in digests)
