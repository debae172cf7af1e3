"""Risk cannot be bypassed: only approved orders reach an exchange, and only the risk engine makes orders."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCT = sorted(path for top in ("runtime", "workbench", "pipelines", "reports") for path in (REPOSITORY / top).rglob("*.py"))
APPROVAL = "runtime/approval.py"
RISK = "runtime/core/risk.py"
ORDERS = "runtime/core/orders.py"
MAKERS = {"place", "retry"}
RETRY_ALLOWED = "runtime/core/campaign.py"  # only after risk.readmit; a test below holds the order of the two

SNIPPET = """
from dataclasses import dataclass
from typing import Any
from runtime.approval import ApprovedOrder, Terms
from runtime.ports import Exchange
@dataclass(frozen=True)
class Lookalike:
    genesis: bytes
    row: bytes
    row_hash: bytes
    signal_hash: bytes
def right(exchange: Exchange, order: ApprovedOrder) -> None:
    exchange.submit(order)
    exchange.cancel(order)
def wrong(exchange: Exchange, order: ApprovedOrder, like: Lookalike, row: bytes) -> None:
    exchange.submit(order.terms)
    exchange.submit(like)
    exchange.submit(row)
    exchange.submit(None)
    exchange.submit({"qty_e8": 1})
    exchange.cancel(order.client_order_id)
    order.row = row
class Forged(ApprovedOrder):
    pass
"""


def findings(source: str, name: str) -> Iterator[str]:
    """Yield every place that could make an order past the risk engine."""
    tree = ast.parse(source)
    allowed = _annotations(tree)
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        called = _name(node.func) if isinstance(node, ast.Call) else ""
        if name != APPROVAL:
            if isinstance(node, ast.Name | ast.Attribute) and _name(node) == "ApprovedOrder" and id(node) not in allowed:
                yield f"{line}: ApprovedOrder outside an annotation"
            if isinstance(node, ast.ImportFrom) and any(a.name == "ApprovedOrder" and a.asname for a in node.names):
                yield f"{line}: ApprovedOrder under another name"
        makes = called in MAKERS and isinstance(node, ast.Call) and _owner(node.func) in {"orders", ""}
        if makes and name not in {RISK, ORDERS} and not (called == "retry" and name == RETRY_ALLOWED):
            yield f"{line}: orders.{called}"
        imported = isinstance(node, ast.ImportFrom) and (node.module or "") == "runtime.core.orders"
        if imported and isinstance(node, ast.ImportFrom) and any(a.name in MAKERS for a in node.names) and name != RISK:
            yield f"{line}: import from orders"


def _annotations(tree: ast.AST) -> set[int]:
    """Return the nodes that stand in annotations, and the second arguments of isinstance."""
    found: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
        elif isinstance(node, ast.Call) and _name(node.func) == "isinstance" and len(node.args) == 2:
            found.append(node.args[1])
    return {id(inner) for node in found if node is not None for inner in ast.walk(node)}


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _owner(node: ast.AST) -> str:
    return _name(node.value) if isinstance(node, ast.Attribute) else ""


def test_nothing_makes_an_order_past_the_risk_engine() -> None:
    found = {
        name: list(findings(path.read_text("utf-8"), name))
        for path in PRODUCT
        if (name := path.relative_to(REPOSITORY).as_posix())
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "planted",
    ["ApprovedOrder(a, b, c, d)", "approval.ApprovedOrder(a)", "object.__new__(ApprovedOrder)", "make = ApprovedOrder",
     "from runtime.approval import ApprovedOrder as A", "cast(ApprovedOrder, row)", "class X(ApprovedOrder): pass",
     "orders.place(p, s, o, 0, 1, r)", "core.orders.place(p)", "place(p, s)", "from runtime.core.orders import place",
     "orders.retry(p, s, o, 0, 1)"],
)  # fmt: skip
def test_a_planted_bypass_is_found(planted: str) -> None:
    assert len(list(findings(planted, "runtime/engine.py"))) == 1


@pytest.mark.parametrize(
    "harmless", ["def f(o: ApprovedOrder) -> tuple[ApprovedOrder, ...]: ...", "isinstance(o, ApprovedOrder)"]
)
def test_naming_the_type_is_no_bypass(harmless: str) -> None:
    assert list(findings(harmless, "runtime/engine.py")) == []


def _calls(path: str, function: str) -> list[str]:
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    (found,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    calls = [node for node in ast.walk(found) if isinstance(node, ast.Call)]
    return [_name(node.func) for node in sorted(calls, key=lambda node: (node.lineno, node.col_offset))]


def test_the_risk_engine_does_place_orders_and_retries_are_readmitted_first() -> None:
    for function in ("approve_buy", "approve_sell"):
        assert "place" in _calls(RISK, function)
    calls = _calls(RETRY_ALLOWED, "retry_waiting")
    assert calls.index("readmit") < calls.index("retry")


def test_mypy_refuses_everything_but_an_approved_order(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), "--no-error-summary",
         "--hide-error-context", "--follow-imports", "silent", str(snippet)],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    lines = SNIPPET.splitlines()
    first = next(i for i, line in enumerate(lines, 1) if line.startswith("def wrong")) + 1
    last = len(lines)
    wrong = {*range(first, last - 1), last - 1}
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert found == wrong, done.stdout + done.stderr
