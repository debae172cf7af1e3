"""The form of the repository: sizes, locks without addresses, no path of a machine, an inventory of what can be executed."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
"""Without the docstring: a screen should be enough to understand one thing."""
REASON = re.compile(r"(?:above|over|more than) (?:about )?400 lines", re.IGNORECASE)
ADDRESS = re.compile(r"https?://|file://|--(?:extra-)?index-url|--find-links|^-i ", re.MULTILINE)
EXECUTABLE = {".c", ".sql", ".sh", ".mjs", ".js", ".yaml", ".yml"}
TEXT = {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".json", ".sql", ".lock", ""}


def tracked() -> list[Path]:
    """Return the files that Git tracks and those it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    return sorted(REPOSITORY / name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file())


FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_a_file_fits_or_says_why_it_does_not(path: Path) -> None:
    text = path.read_text("utf-8")
    lines = text.count("\n")
    assert lines <= LINES_MAX or REASON.search(text), f"{lines} lines; split it, or say in it why it is above 400 lines"


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_a_function_fits_a_screen() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name} has {code_lines(node)} lines"
        for path in PYTHON
        if not relative(path).startswith("notebooks/")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_locks_carry_hashes_and_no_address() -> None:
    for lock in (path for path in FILES if path.suffix == ".lock"):
        text = lock.read_text("utf-8")
        assert not ADDRESS.search(text)
        pins = [line for line in text.splitlines() if re.match(r"[a-zA-Z0-9]", line)]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins), "every pin is exact and has hashes"


def test_the_lock_satisfies_every_declared_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    lines = (REPOSITORY / "requirements.lock").read_text("utf-8").splitlines()
    pins = {
        canonicalize_name(pin.name): pin for pin in (Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum())
    }
    for requirement in map(Requirement, declared):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not locked: make lock"
        (version,) = (specifier.version for specifier in pin.specifier)
        assert requirement.specifier.contains(version, prereleases=True), f"{pin} against {requirement}"


def test_no_path_of_this_machine() -> None:
    here = str(REPOSITORY)
    home = str(Path.home())
    needles = [here + "/", *([home + "/"] if home != "/" else [])]
    found = [
        relative(path)
        for path in FILES
        if path.suffix in TEXT and any(needle in path.read_text("utf-8", errors="ignore") for needle in needles)
    ]
    assert found == []


def inventory() -> dict[str, str]:
    """Return the inventory of executable artefacts that are not importable Python: path -> the check that runs it."""
    return {
        entry["path"]: entry["check"]
        for entry in tomllib.loads((REPOSITORY / "tests/architecture/inventory.toml").read_text("utf-8"))["artefact"]
    }


def test_every_executable_artefact_is_in_the_inventory() -> None:
    listed = inventory()
    executable = {
        relative(path)
        for path in FILES
        if path.suffix in EXECUTABLE
        or path.name == "Makefile"
        or relative(path).startswith(".ci/")
        or (relative(path).startswith("notebooks/") and path.suffix == ".py")
    }
    assert executable == set(listed), "list it in tests/architecture/inventory.toml with the check that runs it"


def test_every_check_of_the_inventory_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    for path, check in inventory().items():
        kind, _, name = check.partition(" ")
        exists = name in targets if kind == "make" else (REPOSITORY / name).exists()
        assert exists, f"{path}: {check}"


def test_the_frozen_phases_are_unchanged() -> None:
    """A finished phase has a DIGEST file: the SHA-256 of each other file in it. Nothing in it changes afterwards."""
    for digest in (REPOSITORY / "docs/phases").glob("*/DIGEST"):
        assert phase_digest(digest.parent) == digest.read_text("utf-8"), f"{digest.parent.name} is frozen"


def phase_digest(folder: Path) -> str:
    """Return one line for each file of a phase folder: SHA-256 and relative path."""
    import hashlib

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DIGEST")
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    )


def test_an_edit_to_a_frozen_phase_is_seen(tmp_path: Path) -> None:
    (tmp_path / "log.md").write_text("a")
    before = phase_digest(tmp_path)
    (tmp_path / "log.md").write_text("b")
    assert phase_digest(tmp_path) != before
