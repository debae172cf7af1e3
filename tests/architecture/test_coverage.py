"""What `make coverage` may leave out: few lines, each with its reason beside it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

EXCLUDED_LINES_MAX = 60
PRAGMA = re.compile(r"#\s*pragma:\s*no (?:cover|branch)\b(?P<reason>.*)")
PATTERNS = {"if TYPE_CHECKING:", "if __name__ == .__main__.:", "@overload", "\\.\\.\\.$"}
"""What never runs by its form: imports for type checkers, the entry of a script, signatures without a body."""


def exclusions(source: str) -> Iterator[tuple[int, int, str]]:
    """Yield (line, lines left out, reason) for each pragma: the whole statement that begins on its line."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt | ast.ExceptHandler)]
    for number, line in enumerate(source.splitlines(), 1):
        found = PRAGMA.search(line)
        if found:
            ends = [(node.end_lineno or number) for node in statements if node.lineno == number]
            yield number, max(ends, default=number) - number + 1, found["reason"].strip(" -:;,")


def test_what_coverage_leaves_out_is_short_and_has_reasons(repository: Path) -> None:
    found = [
        (path.relative_to(repository).as_posix(), *entry)
        for path in sorted((repository / "runtime").rglob("*.py"))
        for entry in exclusions(path.read_text("utf-8"))
    ]
    assert [entry for entry in found if len(entry[3]) < 15] == [], "say why beside the pragma"
    assert sum(lines for _, _, lines, _ in found) <= EXCLUDED_LINES_MAX, found


def test_no_pattern_leaves_out_more(repository: Path) -> None:
    settings = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["coverage"]
    assert set(settings["report"]["exclude_also"]) == PATTERNS
    assert set(settings["run"]["omit"]) == {"*/__main__.py"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n", []),
        ("x = 1  # pragma: no cover\n", [(1, 1, "")]),
        ("if x:  # pragma: no cover - another system's\n    a = 1\n    b = 2\n", [(1, 3, "another system's")]),
        ("def f():  # pragma: no branch, always true\n    pass\n", [(1, 2, "always true")]),
    ],
)
def test_exclusions_are_counted_by_statement(source: str, expected: list[tuple[int, int, str]]) -> None:
    assert list(exclusions(source)) == expected
