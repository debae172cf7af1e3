"""The bundled verifier stands alone: the standard library, no part of the project, one file."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ALLOWED_IN_STANDARD_LIBRARY = {
    "__future__", "argparse", "collections", "hashlib", "json", "mmap", "pathlib", "struct", "sys", "time", "typing", "zipfile",
}  # fmt: skip
"""What it needs: nothing that starts a process, opens a connection, or runs other code."""


def imported(source: str) -> set[str]:
    """Return the top-level packages that a source file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").split(".")[0])
    return found


def dynamic(source: str) -> set[str]:
    """Return calls by which a source file could import or run something unseen."""
    names = {"__import__", "eval", "exec", "compile", "import_module"}
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id in names}


def test_the_verifier_imports_only_the_standard_library(repository: Path) -> None:
    source = (repository / "runtime/ops/verify_export.py").read_text("utf-8")
    assert imported(source) <= sys.stdlib_module_names
    assert imported(source) == ALLOWED_IN_STANDARD_LIBRARY
    assert dynamic(source) == set()


@pytest.mark.parametrize("line", ["import numpy", "from runtime.core import codes", "from . import audit"])
def test_a_planted_import_is_seen(line: str) -> None:
    assert not imported(f"def f():\n    {line}\n") <= sys.stdlib_module_names


def test_a_planted_dynamic_import_is_seen() -> None:
    assert dynamic("__import__('runtime')") == {"__import__"}
