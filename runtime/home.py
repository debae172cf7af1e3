"""The home folder: where lake, studies and runs live, and how a person names a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from runtime.errors import UsageError

HOME_VARIABLE: Final = "BALLAST_HOME"
DEFAULT_HOME: Final = Path("out")
RUN_MARK: Final = "genesis.json"
"""A folder under `runs/` is a run when it holds this file; it is written before the run folder gets its name."""


def home_path(option: Path | None = None) -> Path:
    """Return the home folder: the option, else the environment variable BALLAST_HOME, else `./out`."""
    if option is not None:
        return option
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def inputs_path(home: Path) -> Path:
    """Return the folder of content-addressed core inputs."""
    return home / "inputs"


def runs_path(home: Path) -> Path:
    """Return the folder of runs."""
    return home / "runs"


def list_runs(home: Path) -> list[Path]:
    """Return the run folders, newest first (by the time their genesis was written, then by name)."""
    folder = runs_path(home)
    if not folder.is_dir():
        return []
    marks = [
        (mark.stat().st_mtime_ns, mark.parent) for mark in folder.glob(f"*/{RUN_MARK}") if not mark.parent.name.startswith(".")
    ]
    return [path for _, path in sorted(marks, key=lambda m: (m[0], m[1].name), reverse=True)]


def find_run(home: Path, name: str) -> Path:
    """Return the folder of a run.

    Args:
        home: the home folder.
        name: a path, a run id, its unique beginning, `latest`, or a bundle's name (`ml`, `trend`), which means its
            newest run.

    Raises:
        UsageError: nothing, or more than one run, has this name.
    """
    as_path = Path(name)
    if (as_path / RUN_MARK).is_file():
        return as_path
    runs = list_runs(home)
    if name == "latest" and runs:
        return runs[0]
    for matches in ([r for r in runs if r.name == name], [r for r in runs if r.name.rpartition("-")[0] == name]):
        if matches:
            return matches[0]
    found = [run for run in runs if run.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(run.name for run in (found or runs)[:8]) or "none"
    raise UsageError(
        f"{'more than one run is' if found else 'no run is'} named {name!r} under {runs_path(home)}",
        expected=f"one of: {known}",
        action="give a run id or a longer beginning of it; `ballast runs` lists them",
    )
