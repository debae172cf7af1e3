"""`ballast doctor`: is this machine fit to run what was asked of it? One row and one fix for each check; no network."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from runtime.console import print_json, stdout_console
from runtime.errors import EXIT_ENVIRONMENT
from runtime.home import home_path

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
COLOURS: Final = {OK: "green", WARN: "yellow", FAIL: "red"}
GIB: Final = 1 << 30
DISK_FAIL_GIB: Final = 1
DISK_WARN_GIB: Final = 5
CLOCK_SAMPLE_S: Final = 0.05
CLOCK_DRIFT_S_MAX: Final = 0.02
YEAR_MIN: Final = 2026
YEAR_MAX: Final = 2100
SECONDS_PER_YEAR: Final = 31_556_952
NAMES_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One check: what was found, and what to do when it is not as it should be."""

    check: str
    status: str
    found: str
    fix: str = ""


def check_python() -> Row:
    """Check that the interpreter is one the lock was made for."""
    found = f"Python {platform.python_version()} ({platform.python_implementation()})"
    if (3, 11) <= sys.version_info[:2] <= (3, 13) and platform.python_implementation() == "CPython":
        return Row("python", OK, found)
    return Row("python", FAIL, found, "use CPython 3.11, 3.12 or 3.13: make clean && make install PYTHON=python3.11")


def check_disk(home: Path) -> Row:
    """Check the free space of the disk that holds the home folder."""
    free_gib = shutil.disk_usage(_existing(home)).free / GIB
    status = FAIL if free_gib < DISK_FAIL_GIB else WARN if free_gib < DISK_WARN_GIB else OK
    fix = "" if status == OK else f"free {DISK_WARN_GIB} GiB, or put the home on another disk with BALLAST_HOME"
    return Row("disk", status, f"{free_gib:.1f} GiB free", fix)


def check_clock() -> Row:
    """Check that the wall clock runs as fast as the monotonic one and shows a plausible year."""
    wall_s, steady_s = time.time(), time.monotonic()
    time.sleep(CLOCK_SAMPLE_S)
    drift_s = abs((time.time() - wall_s) - (time.monotonic() - steady_s))
    year = 1970 + int(wall_s) // SECONDS_PER_YEAR
    found = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(wall_s))} UTC, {drift_s * 1000:.1f} ms drift"
    if not YEAR_MIN <= year <= YEAR_MAX:
        return Row("clock", FAIL, found, "set the system clock (enable network time)")
    if drift_s > CLOCK_DRIFT_S_MAX:
        return Row("clock", WARN, found, "the clock was just stepped: enable network time, then run doctor again")
    return Row("clock", OK, found)


def check_keyring() -> Row:
    """Check that secrets could be kept by the operating system. Backtests need none; live trading refuses file backends."""
    from runtime.ops.bundles.keys import SAFE_KEYRINGS

    try:
        import keyring

        backend = keyring.get_keyring()
    # A keyring backend is third-party code that may fail in any way while it looks for its service.
    except Exception as e:  # noqa: BLE001
        return Row("keyring", WARN, f"{type(e).__name__}: {e}", "repair the keyring service; backtests work without it")
    backends = getattr(backend, "backends", None) or [backend]
    modules = [type(b).__module__ for b in backends]
    found = ", ".join(modules)
    if any(module.startswith(SAFE_KEYRINGS) for module in modules):
        return Row("keyring", OK, found)
    fix = "start a Secret Service (GNOME Keyring, KWallet) or use the macOS Keychain before live trading; backtests need none"
    return Row("keyring", WARN, f"{found} keeps no secrets safely", fix)


def check_home(home: Path) -> Row:
    """Check that the home folder exists or can be made, and can be written."""
    existing = _existing(home)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Row("home", FAIL, f"{existing} is not a writable folder", "set BALLAST_HOME to a folder you can write")
    return Row("home", OK, f"{home} ({'writable' if existing == home else 'not there yet, can be made'})")


def check_data(home: Path) -> Row:
    """Check that the lake can be read, and count what it holds."""
    lake = home / "lake"
    if not lake.exists():
        return Row("data", OK, "no lake yet: `ballast demo` or `ballast data import` makes one")
    if not os.access(lake, os.R_OK | os.X_OK):
        return Row("data", FAIL, f"{lake} cannot be read", f"give yourself access: chmod -R u+rwX {lake}")
    files_n = sum(1 for _ in (lake / "bars").rglob("*.parquet"))
    datasets_n = sum(1 for _ in (home / "datasets").glob("*.json"))
    return Row("data", OK, f"{files_n} bar files, {datasets_n} datasets")


def check_lock() -> Row:
    """Compare the installed packages with requirements.lock: another version is drift, a missing package is a warning."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    lock = Path(__file__).resolve().parents[2] / "requirements.lock"
    if not lock.is_file():
        return Row("lock", WARN, "no requirements.lock beside the package", "install from a checkout with make install")
    pins = [Requirement(line.rstrip(" \\")) for line in lock.read_text("utf-8").splitlines() if line[:1].isalnum()]
    wanted = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    missing, drifted = [], []
    for pin in wanted:
        try:
            installed = version(pin.name)
        except PackageNotFoundError:
            missing.append(pin.name)
            continue
        if not pin.specifier.contains(installed, prereleases=True):
            drifted.append(f"{pin.name} {installed} (locked {str(pin.specifier).removeprefix('==')})")
    if drifted:
        found = f"{len(drifted)} of {len(wanted)} packages differ: {_some(drifted)}"
        return Row("lock", FAIL, found, "make clean && make install")
    if missing:
        return Row("lock", WARN, f"{len(missing)} of {len(wanted)} packages are missing: {_some(missing)}", "make install")
    return Row("lock", OK, f"{len(wanted)} packages as locked")


def check_compiled() -> Row:
    """Report the state of the compiled-code cache of this source and this compiler."""
    import runtime.jit  # noqa: F401  importing it chooses the cache folder

    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return Row("compiled", WARN, "compilation is off (NUMBA_DISABLE_JIT=1)", "unset NUMBA_DISABLE_JIT: it is for tests")
    if not os.access(_existing(folder), os.W_OK | os.X_OK):
        return Row("compiled", WARN, f"{folder} cannot be written", "set BALLAST_CACHE_DIR to a folder you can write")
    files_n = sum(1 for _ in folder.rglob("*.nbc"))
    return Row("compiled", OK, f"{files_n} compiled functions cached" if files_n else "empty: the first run compiles once")


def check_cpu() -> Row:
    """Report the processor fingerprint: trained models are reproducible per fingerprint, decisions everywhere."""
    from llvmlite import binding

    from runtime.machine import processor_flags, system_name

    name = f"{system_name()} {binding.get_host_cpu_name()}, {os.cpu_count()} cores"
    return Row("cpu", OK, f"{name}, features {processor_flags()}")


def examine(home: Path) -> list[Row]:
    """Run every check."""
    checks: tuple[Callable[[], Row], ...] = (
        check_python,
        lambda: check_disk(home),
        check_clock,
        check_keyring,
        lambda: check_home(home),
        lambda: check_data(home),
        check_lock,
        check_compiled,
        check_cpu,
    )
    return [check() for check in checks]


def doctor(
    home: Annotated[Path | None, typer.Option(help="Home folder to examine [default: BALLAST_HOME or ./out].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Check Python, disk, clock, keyring, folders, lock, compiled code and processor: one row, one fix each.

    Exits 0 when nothing fails (warnings allowed), 6 otherwise.
    """
    rows = examine(home_path(home))
    failed = any(row.status == FAIL for row in rows)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(row) for row in rows]})
    else:
        _print_table(rows)
    if failed:
        raise typer.Exit(EXIT_ENVIRONMENT)


def _print_table(rows: list[Row]) -> None:
    from rich.table import Table

    table = Table("check", "status", "found", "fix", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.check, f"[{COLOURS[row.status]}]{row.status}[/]", row.found, row.fix)
    stdout_console().print(table)


def _existing(path: Path) -> Path:
    found = path.absolute()
    while not found.exists():
        found = found.parent
    return path if found == path.absolute() else found


def _some(names: list[str]) -> str:
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
