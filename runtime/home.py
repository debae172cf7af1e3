"""The home folder: where lake, studies and runs live, and how a person names a run."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runtime.errors import EnvironmentFailure, UsageError
from runtime.files import TEMPORARY_PREFIX

HOME_VARIABLE: Final = "BALLAST_HOME"
DEFAULT_HOME: Final = Path("out")
RUN_MARK: Final = "genesis.json"
RUN_JOURNAL: Final = "journal.sqlite"
"""A folder under `runs/` is a run when it holds one of these; both are written before the run folder gets its name.

One is enough, so that a run that lost the other is still found, and found to be damaged.
"""
RUN_SUMMARY: Final = "run.json"

OWNER: Final = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}(\d+)-")
"""The process that a temporary name belongs to."""


def home_path(option: Path | None = None) -> Path:
    """Return the home folder: the option, else the environment variable BALLAST_HOME, else `./out`."""
    if option is not None:
        return option
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def check_home(home: Path) -> None:
    """Refuse a home folder that is not there: a mistyped name must not look like an empty home.

    Raises:
        UsageError: there is no such folder.
    """
    if not home.is_dir():
        raise UsageError(
            f"the home folder {home} does not exist",
            expected="the folder that a demo, a study or a backtest wrote",
            action=f"correct --home or {HOME_VARIABLE}; `ballast demo` makes a home with two runs",
        )


def inputs_path(home: Path) -> Path:
    """Return the folder of content-addressed core inputs."""
    return home / "inputs"


def runs_path(home: Path) -> Path:
    """Return the folder of runs."""
    return home / "runs"


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold a home folder for one job at a time; the operating system lets go of it when the process ends, however it ends.

    Raises:
        EnvironmentFailure: another job holds it, or the folder cannot be made or opened.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        fd = os.open(home, os.O_RDONLY)  # the folder itself: no lock file stays behind
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot open the home folder {home}: {e.strerror or e}",
            expected="a writable folder",
            action="choose another folder with --out",
        ) from e
    try:
        with suppress(OSError):  # a file system without locks: nothing to hold, as before
            _hold(fd, home)
        yield
    finally:
        os.close(fd)


def _hold(fd: int, home: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise EnvironmentFailure(
            f"another job is working in {home}",
            expected="one job at a time in a home folder; this one changed nothing",
            action="wait until the other one ends, or choose another folder with --out",
        ) from e


def sweep_partial(home: Path) -> list[Path]:
    """Remove what a killed process left half-written under `inputs`, `runs`, `studies` and where bundles are; return what was removed.

    Only names that begin with `TEMPORARY_PREFIX` and the number of a process that is no longer alive are touched.
    """
    names = ("studies", "bundles", "trust", "runtime/bundle")
    folders = (inputs_path(home), runs_path(home), *(home / name for name in names))
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob(f"{TEMPORARY_PREFIX}*"))]
    removed = []
    for path in found:
        number = OWNER.match(path.name)
        if number is None or _alive(int(number[1])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
        removed.append(path)
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def list_runs(home: Path) -> list[Path]:
    """Return the run folders, newest first (by the time their genesis, else their journal, was written, then by name)."""
    folder = runs_path(home)
    if not folder.is_dir():
        return []
    found = [(mark.stat().st_mtime_ns, run) for run in folder.glob("[!.]*") if (mark := _mark(run)) is not None]
    return [path for _, path in sorted(found, key=lambda m: (m[0], m[1].name), reverse=True)]


def find_predictions(home: Path, run_id: str) -> Path | None:
    """Return `tables/predictions.parquet` of the study in a home folder that made a run, or `None` when none says so."""
    for study in sorted((home / "studies").glob("[!.]*/study.json")):
        try:
            runs = json.loads(study.read_bytes())["runs"].values()
            named = any(run["run_id"] == run_id for run in runs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a damaged study is for the report to say; here it is no study of this run
        found = study.parent / "tables" / "predictions.parquet"
        if named and found.is_file():
            return found
    return None


def _mark(folder: Path) -> Path | None:
    """Return the file that makes a folder a run."""
    return next((path for path in (folder / RUN_MARK, folder / RUN_JOURNAL) if path.is_file()), None)


def find_run(home: Path, name: str) -> Path:
    """Return the folder of a run.

    Args:
        home: the home folder.
        name: a path, a run id, its unique beginning, `latest`, or a bundle's name (`ml`, `trend`), which means its
            newest run.

    Raises:
        UsageError: nothing, or more than one run, has this name, or there is no home folder.
    """
    as_path = Path(name)
    if _mark(as_path) is not None:
        return as_path
    check_home(home)
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
