"""Removing lake files that nothing needs any longer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.adapters.clock import SystemClock
from workbench.data.datasets.manifests import HASH_HEX, datasets_dir, load_manifest
from workbench.data.store.lake import Lake

PRUNE_AGE_S: Final = 3_600.0


def prune_lake(home: Path, *, age_s: float = PRUNE_AGE_S, now_s: float | None = None) -> list[str]:
    """Remove lake files that neither the catalog nor a dataset names, and return their paths below `lake/`.

    Growth replaces the file of the newest segment; what it replaces stays only as long as something needs it.

    Args:
        home: the home folder.
        age_s: files younger than this stay, so that a reader that opened the catalog before can still open them.
        now_s: the time now, seconds since 1970; default the clock.

    Raises:
        DataError, VerificationError: a manifest cannot be read, so what it needs is unknown; nothing was removed.
        EnvironmentFailure: another process writes to the lake.
    """
    lake = Lake(home)
    with lake.locked():
        named = {
            path
            for stored in sorted(datasets_dir(home).glob("*.json"))
            if len(stored.stem) == HASH_HEX
            for file in load_manifest(home, stored.stem).files
            for path in file.paths()
        }
        return lake.prune(frozenset(named), age_s, SystemClock().now_s() if now_s is None else now_s)
