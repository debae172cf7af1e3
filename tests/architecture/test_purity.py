"""What the decision core must not contain, found in its syntax trees; and no wall clock where a digest is made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = sorted((REPOSITORY / "runtime" / "core").rglob("*.py"))
PRODUCT = sorted(path for top in ("runtime", "workbench", "pipelines", "reports") for path in (REPOSITORY / top).rglob("*.py"))

BANNED_CALLS = {"open", "round", "float", "complex", "print", "input", "eval", "exec", "globals", "locals", "id", "hash"}
BANNED_ATTRIBUTES = {
    "float64",
    "float32",
    "floating",
    "true_divide",
    "divide",
    "random",
    "now",
    "utcnow",
    "today",
    "view_as_real",
}
UNORDERED_CALLS = {"set", "frozenset"}
VIEWS = {"keys", "values", "items"}
CLOCKS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time"), ("time", "time_ns"),
    ("time", "gmtime"), ("time", "localtime"), ("time", "strftime"), ("uuid", "uuid1"), ("uuid", "uuid4"), ("socket", "gethostname"),
    ("platform", "node"),
}  # fmt: skip
CLOCKS_ALLOWED = {
    "runtime/adapters/clock.py": "the adapter of the Clock port; what it says becomes an input",
    "runtime/commands/doctor.py": "examines the clock itself",
    "reports/dashboards/": "shows how old live values are and makes idempotency keys; writes no artefact",
    "workbench/data/providers": "asks a venue what is recent; what it fetched is content-addressed",
}


def core_findings(source: str) -> Iterator[str]:
    """Yield what the decision core must not contain."""
    for node in ast.walk(ast.parse(source)):
        found = _operator(node) or _name(node) or _iteration(node)
        if found:
            yield f"line {getattr(node, 'lineno', 0)}: {found}"


def _operator(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
        return f"float literal {node.value}"
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div | ast.Pow):
        return f"operator {type(node.op).__name__}"
    return None


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
        return f"call of {node.func.id}"
    if isinstance(node, ast.Attribute) and node.attr in BANNED_ATTRIBUTES:
        return f"attribute {node.attr}"
    return None


def _iteration(node: ast.AST) -> str | None:
    iterated = node.iter if isinstance(node, ast.For | ast.comprehension) else None
    if isinstance(iterated, ast.Set | ast.SetComp):
        return "iteration over a set"
    if isinstance(iterated, ast.Call):
        if isinstance(iterated.func, ast.Name) and iterated.func.id in UNORDERED_CALLS:
            return "iteration over a set"
        if isinstance(iterated.func, ast.Attribute) and iterated.func.attr in VIEWS:
            return "iteration over a dict"
    return None


def clock_findings(source: str) -> Iterator[str]:
    """Yield every reading of a wall clock, host name or random identity."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if (owner, node.attr) in CLOCKS:
                yield f"line {node.lineno}: {owner}.{node.attr}"


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_the_core_is_integers_only_and_ordered(path: Path) -> None:
    assert list(core_findings(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "planted",
    ["x = 1.5", "x = a / b", "x /= b", "x = a ** 2", "round(a)", "open('f')", "float(a)", "np.float64", "datetime.now()",
     "for x in {1, 2}: pass", "[x for x in set(a)]", "for k in d.items(): pass"],
)  # fmt: skip
def test_a_planted_violation_of_the_core_is_found(planted: str) -> None:
    assert len(list(core_findings(planted))) == 1


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_no_wall_clock_enters_an_artefact(path: Path) -> None:
    name = path.relative_to(REPOSITORY).as_posix()
    if any(name.startswith(allowed) for allowed in CLOCKS_ALLOWED):
        return
    assert list(clock_findings(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("planted", ["time.time()", "datetime.now(tz=UTC)", "datetime.datetime.utcnow()", "uuid.uuid4()"])
def test_a_planted_clock_is_found(planted: str) -> None:
    assert len(list(clock_findings(planted))) == 1


def test_numba_is_loaded_only_after_its_cache_is_chosen() -> None:
    """Importing numba before runtime.jit would fix its cache folder too early."""
    for path in PRODUCT:
        name = path.relative_to(REPOSITORY).as_posix()
        if name == "runtime/jit.py":
            continue
        tree = ast.parse(path.read_text("utf-8"))
        lines = {alias: node.lineno for node in tree.body for alias in _imported(node)}
        numba = [line for module, line in lines.items() if module.split(".")[0] == "numba"]
        ours = [line for module, line in lines.items() if module.startswith("runtime")]
        assert not numba or (ours and min(ours) < min(numba)), f"{name} imports numba before runtime"


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
