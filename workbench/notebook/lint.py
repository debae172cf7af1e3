"""What a governed notebook may not contain: constructs that fail, differ or hide input under one of its runtimes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.errors import BallastError, DataError
from workbench.notebook.convert import PARAMETERS, read_source, to_notebook
from workbench.notebook.parameters import declared
from workbench.notebook.seal import parameters_cell

REQUIRED_CELLS: Final = (PARAMETERS, "given", "controls", "spec", "result")
BANNED_MARIMO: Final = {
    "app_meta": "depends on how the notebook is shown",
    "cache": "fails under a Jupyter kernel",
    "cli_args": "fails under a Jupyter kernel; use the parameters cell",
    "lru_cache": "fails under a Jupyter kernel",
    "notebook_dir": "names a folder of this machine",
    "notebook_location": "names a folder of this machine",
    "persistent_cache": "fails under a Jupyter kernel, and hides what was computed",
    "query_params": "fails under a Jupyter kernel; use the parameters cell",
    "sql": "fails under a Jupyter kernel; use duckdb or ibis",
    "state": "makes cells depend on the order of clicks",
    "stop": "fails under a Jupyter kernel; raise an error",
    "watch": "depends on files that are no parameter",
}
BANNED_MODULES: Final = {
    "http": "reads the network",
    "multiprocessing": "parallelism belongs behind the Executor",
    "os": "reads the environment; settings reach a study through its parameters",
    "random": "is not seeded by the parameters; use numpy's Generator with a seed parameter",
    "requests": "reads the network",
    "secrets": "is random",
    "socket": "reads the network",
    "subprocess": "runs what no receipt records",
    "threading": "parallelism belongs behind the Executor",
    "time": "reads a clock",
    "urllib": "reads the network",
    "uuid": "is random",
}
BANNED_BUILTINS: Final = {
    "__import__": "hides an import",
    "breakpoint": "waits for a person",
    "eval": "hides code",
    "exec": "hides code",
    "getattr": "hides a name from this check",
    "id": "is a memory address",
    "input": "waits for a person",
    "open": "reads a file that no receipt records",
}
CLOCK_METHODS: Final = ("now", "utcnow", "today")
SEEDED_RANDOM: Final = ("Generator", "PCG64", "Philox", "SeedSequence", "default_rng")
CHECK_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: its name, the line (0: the whole file) and what is wrong."""

    rule: str
    line: int
    text: str


def lint(source: Path) -> list[Finding]:
    """Return every finding about a notebook, `marimo check --strict` included; an empty list means it is governed."""
    code = read_source(source).decode()
    try:
        tree = ast.parse(code)
    except SyntaxError as e:
        return [Finding("syntax", e.lineno or 0, str(e))]
    findings = [*_structure(tree), *_Names(tree).findings(), *_conversion(source)]
    if not any(f.rule == "convert" for f in findings):
        findings += _marimo_check(source)
    return sorted(findings, key=lambda f: (f.line, f.rule, f.text))


def require_clean(source: Path) -> None:
    """Raise `DataError` with all findings when a notebook has any."""
    if findings := lint(source):
        lines = "\n".join(f"  {source.name}:{f.line}: {f.rule}: {f.text}" for f in findings)
        raise DataError(
            f"{source.name} breaks {len(findings)} rule(s) of governed notebooks\n{lines}",
            expected="no finding",
            action="change the notebook as each line says",
        )


def _structure(tree: ast.Module) -> Iterator[Finding]:
    cells = [node for node in tree.body if isinstance(node, ast.FunctionDef) and _is_cell(node)]
    for name in REQUIRED_CELLS:
        count = sum(cell.name == name for cell in cells)
        if count != 1:
            yield Finding("cells", 0, f"{count} cells are named {name!r}; a governed notebook has exactly one")
    for node in tree.body:
        if isinstance(node, ast.With):
            for inner in node.body:
                if not isinstance(inner, ast.Import | ast.ImportFrom):
                    yield Finding("setup", inner.lineno, "app.setup contains more than imports")
    for cell in cells:
        for found in ast.walk(cell):
            if isinstance(found, ast.Import | ast.ImportFrom):
                yield Finding("imports", found.lineno, f"cell {cell.name!r} imports; imports belong in app.setup")


def _is_cell(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(d).startswith("app.cell") for d in node.decorator_list)


class _Names:
    """Finds banned names behind whatever alias they were imported under."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._modules: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for a in node.names:
                    self._modules[a.asname or a.name.partition(".")[0]] = a.name if a.asname else a.name.partition(".")[0]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for a in node.names:
                    self._modules[a.asname or a.name] = f"{node.module}.{a.name}"

    def findings(self) -> Iterator[Finding]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                yield from (f for a in node.names for f in self._banned_module(a.name, node.lineno))
            elif isinstance(node, ast.ImportFrom):
                yield from self._banned_module(node.module or "", node.lineno)
                for a in node.names:
                    yield from self._banned_path(f"{node.module}.{a.name}", node.lineno)
            elif isinstance(node, ast.Attribute):
                yield from self._banned_path(self._path(node), node.lineno)
            elif isinstance(node, ast.Call):
                yield from self._banned_call(node)

    def _path(self, node: ast.expr) -> str:
        """Return `numpy.random.rand` for `np.random.rand`; empty when the root is not an imported name."""
        if isinstance(node, ast.Name):
            return self._modules.get(node.id, "")
        if isinstance(node, ast.Attribute):
            root = self._path(node.value)
            return f"{root}.{node.attr}" if root else ""
        return ""

    def _banned_module(self, module: str, line: int) -> Iterator[Finding]:
        root = module.partition(".")[0]
        if root in BANNED_MODULES:
            yield Finding("module", line, f"{root} {BANNED_MODULES[root]}")

    def _banned_path(self, path: str, line: int) -> Iterator[Finding]:
        parts = path.split(".")
        if parts[0] == "marimo" and len(parts) == 2 and parts[1] in BANNED_MARIMO:
            yield Finding("marimo", line, f"mo.{parts[1]} {BANNED_MARIMO[parts[1]]}")
        if parts[:2] == ["numpy", "random"] and len(parts) == 3 and parts[2] not in SEEDED_RANDOM:
            yield Finding(
                "random", line, f"np.random.{parts[2]} uses a hidden seed; use np.random.Generator(np.random.PCG64(seed))"
            )

    def _banned_call(self, node: ast.Call) -> Iterator[Finding]:
        if isinstance(node.func, ast.Name) and node.func.id in BANNED_BUILTINS and node.func.id not in self._modules:
            yield Finding("builtin", node.lineno, f"{node.func.id}() {BANNED_BUILTINS[node.func.id]}")
        path = self._path(node.func)
        parts = path.split(".")
        if parts[0] in ("datetime", "pandas", "polars") and parts[-1] in CLOCK_METHODS:
            yield Finding("clock", node.lineno, f"{path}() reads a clock")
        if path == "numpy.random.default_rng" and not (node.args or node.keywords):
            yield Finding("random", node.lineno, "default_rng() without a seed differs in every run")


def _conversion(source: Path) -> Iterator[Finding]:
    try:
        declared(parameters_cell(to_notebook(source)))
    except BallastError as e:
        yield Finding("convert", 0, e.got)


def _marimo_check(source: Path) -> Iterator[Finding]:
    done = subprocess.run(  # noqa: S603  our own interpreter and a path
        [sys.executable, "-P", "-m", "marimo", "-q", "check", "--strict", str(source)],
        capture_output=True, text=True, check=False, timeout=CHECK_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode != 0:
        yield Finding("marimo check", 0, " ".join((done.stdout + done.stderr).split()))
