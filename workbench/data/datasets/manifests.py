"""Manifests: what a dataset is, how it is stored, and the bars it stands for.

A manifest lists the series and the digests of their segments, the universe version, interval, as-of time, every gap, every
finding with its acceptance, and the assumptions. `dataset_hash` is the SHA-256 of the canonical JSON of all of it; it holds no
folder, no clock and no order of imports, and every later artefact names it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.canonical import canonical_json, digest
from runtime.errors import DataError, UsageError, VerificationError
from runtime.files import write_bytes
from runtime.inference.panel import BarPanel
from workbench.data.bars import Bars, interval_seconds
from workbench.data.quality.findings import Finding
from workbench.data.store.lake import Lake
from workbench.data.store.segments import Segment
from workbench.data.universe.versions import iso

SIMULATED_VENUE: Final = "simulated"
HASH_HEX: Final = 64
FORMAT: Final = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetFile(_Frozen):
    """One series of the lake and the part of it the dataset uses.

    Attributes:
        symbol: the asset.
        series: `venue/interval/SYMBOL` in the venue's words (POL has two: MATIC before its rename, POL after).
        sha256: content digest of the segments (`segments.series_digest`).
        segments: the series' segments in which the dataset's bars are; each is verified by its digest on every load.
        rows, first_t, last_t: of the bars the dataset uses.
        left_out_t: opening times of bars in that range that are left out, because they may not have closed.
    """

    symbol: str
    series: str
    sha256: str
    segments: tuple[Segment, ...]
    rows: int
    first_t: int
    last_t: int
    left_out_t: tuple[int, ...]

    def paths(self) -> tuple[str, ...]:
        """Return the paths below `lake/` of its files, in time order."""
        return tuple(s.path(self.series) for s in self.segments)


class Gap(_Frozen):
    """A hole inside an asset's history; the asset is untradable there."""

    symbol: str
    first_t: int
    last_t: int
    bars_n: int


class DatasetManifest(_Frozen):
    """What a dataset is. All times are seconds UTC; `first_t` and `last_t` are opening times, `as_of_t` is a closing time."""

    dataset_hash: str
    format: int = FORMAT
    source: str
    simulated: bool
    venue: str
    interval: str
    universe_version: str
    universe_digest: str
    as_of_t: int
    first_t: int
    last_t: int
    symbols: tuple[str, ...]
    bars_n: int
    files: tuple[DatasetFile, ...]
    gaps: tuple[Gap, ...]
    findings: tuple[Finding, ...]
    verdict: Literal["clean", "accepted"]
    assumptions: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the words every table and plot of this data carries: `SIMULATED` or the venue."""
        return "SIMULATED" if self.simulated else self.venue

    def computed_hash(self) -> str:
        """Return the hash this content has."""
        return digest(self.model_dump(mode="json", exclude={"dataset_hash"}))


def datasets_dir(home: Path) -> Path:
    """Return the folder of manifests."""
    return home / "datasets"


def store_manifest(home: Path, manifest: DatasetManifest) -> None:
    """Write a manifest under its hash.

    Raises:
        EnvironmentFailure: the folder cannot be written.
    """
    write_bytes(datasets_dir(home) / f"{manifest.dataset_hash}.json", canonical_json(manifest.model_dump(mode="json")))


def load_manifest(home: Path, name: str = "latest") -> DatasetManifest:
    """Load a manifest by its hash, a unique prefix of it, or `latest` (newest file), and verify its hash.

    Raises:
        UsageError: no manifest, or several, match.
        DataError: the file is no manifest.
        VerificationError: the content does not have the hash it is stored under.
    """
    folder = datasets_dir(home)
    stored = [p for p in folder.glob("*.json") if len(p.stem) == HASH_HEX] if folder.is_dir() else []
    found = [p for p in stored if p.stem.startswith(name)]
    if name == "latest" and stored:
        found = [max(stored, key=lambda p: (p.stat().st_mtime_ns, p.stem))]
    if len(found) != 1:
        known = ", ".join(sorted(p.stem[:12] for p in stored)) or "none"
        raise UsageError(
            f"{len(found)} datasets match {name!r}",
            expected=f"one of: {known}",
            action="build one with `ballast dataset build`, or give more digits",
        )
    try:
        manifest = DatasetManifest.model_validate_json(_of_this_format(found[0]))
    except ValidationError as e:
        raise DataError(
            f"{found[0].name}: {str(e).splitlines()[0]}", expected="a dataset manifest", action="build the dataset again"
        ) from e
    if manifest.computed_hash() != manifest.dataset_hash or manifest.dataset_hash != found[0].stem:
        raise VerificationError(
            f"manifest {found[0].name} has the hash {manifest.computed_hash()}",
            expected=found[0].stem,
            action="it was altered: build the dataset again",
        )
    return manifest


def _of_this_format(path: Path) -> bytes:
    """Return a manifest's bytes.

    Raises:
        DataError: another version of ballast wrote it.
    """
    content = path.read_bytes()
    try:
        found = json.loads(content).get("format")
    except (ValueError, AttributeError):
        return content  # no manifest at all: the schema says what is wrong
    if isinstance(found, int) and found != FORMAT:
        raise DataError(
            f"{path.name}: dataset format {found}",
            expected=f"dataset format {FORMAT}",
            action="use the version of ballast that wrote it, or build the dataset again",
        )
    return content


def used_bars(lake: Lake, file: DatasetFile) -> Bars:
    """Return the bars of one series that a dataset uses, verified.

    Raises:
        VerificationError: a file of the lake is missing, was altered, or has not the bars the dataset names.
    """
    bars = lake.read(file.series, file.segments)
    used = bars.take((bars.t >= file.first_t) & (bars.t <= file.last_t) & ~np.isin(bars.t, file.left_out_t))
    if len(used) != file.rows:
        raise VerificationError(
            f"{file.series}: {len(used)} bars in the dataset's range",
            expected=f"{file.rows}, as in the manifest",
            action="build the dataset again",
        )
    return used


def load_panel(home: Path, manifest: DatasetManifest) -> BarPanel:
    """Load the bars of a dataset on one regular grid; a missing bar is NaN in every column.

    Raises:
        VerificationError: a file is missing or does not hold the bars of the manifest.
    """
    lake = Lake(home)
    interval_t = interval_seconds(manifest.interval)
    n = (manifest.last_t - manifest.first_t) // interval_t + 1
    grid = manifest.first_t + interval_t * np.arange(n, dtype=np.int64)
    column = {s: i for i, s in enumerate(manifest.symbols)}
    values = {name: np.full((n, len(column)), np.nan) for name in ("open", "high", "low", "close", "volume")}
    for file in manifest.files:
        used = used_bars(lake, file)
        rows = (used.t - manifest.first_t) // interval_t
        for name, target in values.items():
            target[rows, column[file.symbol]] = getattr(used, name)
    return BarPanel(
        symbols=manifest.symbols,
        interval_t=interval_t,
        open_t=grid,
        open=values["open"],
        high=values["high"],
        low=values["low"],
        close=values["close"],
        volume=values["volume"],
    )


def describe(manifest: DatasetManifest) -> str:
    """Return one line about a dataset."""
    span = f"{iso(manifest.first_t)} to {iso(manifest.last_t)}"
    assets = f"{len(manifest.symbols)} asset{'' if len(manifest.symbols) == 1 else 's'}"
    return f"{manifest.label} {manifest.interval}, {assets}, {span}, {manifest.bars_n} bars"
