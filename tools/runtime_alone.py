"""Install the runtime extra alone into an empty environment, from the lock and by hash, and see that the daemon loads there.

    python -m tools.runtime_alone FOLDER [--extra venue]

FOLDER becomes a virtual environment. The lock holds everything; what the extra needs of it follows from its `# via` notes, so that one
resolution serves both and no version differs. A research package that gets in through a dependency fails it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==", re.MULTILINE)
PROJECT: Final = "ballast"
RESEARCH: Final = frozenset({
    "altair", "bokeh", "lightgbm", "marimo", "matplotlib", "mlflow", "nbclient", "nbformat", "panel", "papermill", "polars",
    "scikit-learn", "scipy", "shap", "vectorbt",
})  # fmt: skip
"""No pandas here: ibis installs it beside its DuckDB backend. Nothing of the runtime imports it, which `LOADS` shows."""
IMPORTED_AS: Final = ("pandas", "sklearn", "workbench", "pipelines", "reports")
LOADS: Final = """
import runtime.daemon, sys
from importlib.metadata import distributions
loaded = {name.split(".")[0] for name in sys.modules} & set(sys.argv[1].split(","))
assert not loaded, f"loaded: {loaded}"
print(len({d.metadata["Name"] for d in distributions()}))
"""


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return every pin of a lock by its name: its lines, and the names of what asked for it."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    starts = [m.start() for m in PIN.finditer(lock)]
    for start, end in zip(starts, [*starts[1:], len(lock)], strict=True):
        block = lock[start:end]
        name = canonicalize_name(block.split("==")[0].split("[")[0])
        asked = re.split(r"#\s+via", block, maxsplit=1)[1]
        parents = {
            canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", asked.replace("(pyproject.toml)", ""))
        }
        lines = "".join(line for line in block.splitlines(keepends=True) if not line.lstrip().startswith("#"))
        before, _ = found.get(name, ("", frozenset()))
        found[name] = (before + lines, frozenset(parents) | found.get(name, ("", frozenset()))[1])
    return found


def subset(lock: str, declared: Iterable[str]) -> dict[str, str]:
    """Return the pins that some declared dependencies need, by name.

    Raises:
        KeyError: a declared dependency is not locked.
    """
    known = pins(lock)
    wanted: set[str] = {canonicalize_name(Requirement(line).name) for line in declared}
    missing = wanted - set(known)
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    grown = True
    while grown:
        more = {name for name, (_, parents) in known.items() if parents & wanted} - wanted
        wanted |= more
        grown = bool(more)
    return {name: known[name][0] for name in sorted(wanted)}


def declared(extras: Iterable[str]) -> list[str]:
    """Return what the project declares for its base and some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


def install(folder: Path, extras: Iterable[str] = ("runtime",)) -> Path:
    """Make an environment with the project and some extras alone, and return its Python.

    Raises:
        CalledProcessError: a step failed; it has said why.
    """
    chosen = subset((ROOT / "requirements.lock").read_text("utf-8"), declared(extras))
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    wanted = folder / "requirements.lock"
    wanted.write_text("".join(chosen.values()), "utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-qq"]
    subprocess.run([*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(wanted)], check=True)
    wheels = folder / "wheels"
    build = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*build, "-w", str(wheels), str(ROOT)], check=True)
    subprocess.run([*pip, "--no-deps", "--no-index", *map(str, wheels.glob("*.whl"))], check=True)
    return python


def main(arguments: list[str]) -> int:
    """Install and load; return 1 when a research package is there."""
    extras = ["runtime", *(word for flag, word in pairwise(arguments) if flag == "--extra")]
    python = install(Path(arguments[0]), extras)
    chosen = subset((ROOT / "requirements.lock").read_text("utf-8"), declared(extras))
    intruders = sorted(set(chosen) & RESEARCH)
    for name in intruders:
        print(f"{name} came with {', '.join(sorted(pins((ROOT / 'requirements.lock').read_text('utf-8'))[name][1]))}")
    done = subprocess.run(
        [str(python), "-c", LOADS, ",".join((*RESEARCH, *IMPORTED_AS))], capture_output=True, text=True, cwd="/", check=False
    )
    print(done.stderr or f"the daemon loads with {done.stdout.strip()} packages installed")
    return 1 if intruders or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
