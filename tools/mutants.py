"""Every small defect that could be written into a module of the core: one mutant per comparison, number, call and statement.

A mutant is one changed top-level function (or constant). Its identity is what it changes, not a line number, so that the list of
explained survivors stays valid while the file around it moves.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
CALLS: Final = {"imin": "imax", "imax": "imin", "min": "max", "max": "min", "mul_floor": "mul_ceil", "mul_ceil": "mul_floor"}
COMMUTATIVE: Final = {"imin", "imax", "min", "max", "add"}
RECORDS: Final = {"policy", "state", "out", "desk", "rules", "position", "o", "x", "cash", "newest"}
"""Names that hold records or buffers: exchanging them for a number fails at once and would only flatter the ratio."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted defect.

    Attributes:
        file: name of the module's file below runtime/core.
        function: the changed top-level function, or the changed constant.
        operator: what kind of change it is.
        before: the statement as it is.
        after: the statement as it becomes.
        occurrence_n: 1 for the first change of this text in the function, 2 for the next.
        source: the whole changed function or assignment.
    """

    file: str
    function: str
    operator: str
    before: str
    after: str
    occurrence_n: int
    source: str

    @property
    def identity(self) -> str:
        """Return the text that names this mutant in the list of survivors."""
        again = f" (no. {self.occurrence_n})" if self.occurrence_n > 1 else ""
        return f"{self.file} {self.function}: {self.before} => {self.after}{again}"

    def to_json(self) -> dict[str, str | int]:
        """Return the mutant as plain values."""
        return asdict(self)


def mutants(file: str, source: str) -> list[Mutant]:
    """Return every mutant of a module's source text, in the order of the text."""
    found: list[Mutant] = []
    for top in ast.parse(source).body:
        name = _changeable(top)
        if name is None:
            continue
        original = ast.unparse(top)
        sources, seen = {original}, dict[tuple[str, str], int]()
        for operator, before, after, changed in _changes(top):
            if changed not in sources:
                sources.add(changed)
                n = seen[before, after] = seen.get((before, after), 0) + 1
                found.append(Mutant(file, name, operator, before, after, n, changed))
    return found


def _changeable(top: ast.stmt) -> str | None:
    """Return the name of a function or of an integer constant; None for imports, texts and type aliases."""
    if isinstance(top, ast.FunctionDef):
        return top.name
    if isinstance(top, ast.Assign | ast.AnnAssign):
        target = top.targets[0] if isinstance(top, ast.Assign) else top.target
        if isinstance(target, ast.Name) and top.value is not None:
            numbers = [n for n in ast.walk(top.value) if isinstance(n, ast.Constant) and isinstance(n.value, int)]
            return target.id if numbers else None
    return None


def _changes(top: ast.stmt) -> Iterator[tuple[str, str, str, str]]:
    """Yield (operator, statement before, statement after, whole source) for every change, leaving `top` as it was."""
    bound = _bound_before(top)
    for holder, key, node, statement in _slots(top, top):
        before = _head(statement)
        for operator, new in _replacements(node, statement, bound):
            _put(holder, key, new)
            dropped = new if isinstance(node, ast.stmt) else statement
            after = ("once: " if operator == "loop once" else "") + _head(dropped)
            yield operator, before, after, ast.unparse(ast.fix_missing_locations(top))
            _put(holder, key, node)


def _head(statement: ast.AST) -> str:
    """Return a statement's text; of one with a body its first line (past decorators)."""
    if isinstance(statement, ast.FunctionDef):
        return f"def {statement.name}"
    return ast.unparse(statement).split("\n")[0]


def _put(holder: ast.AST | list[ast.AST], key: str | int, node: ast.AST) -> None:
    if isinstance(holder, list):
        holder[int(key)] = node
    else:
        setattr(holder, str(key), node)


Slot = tuple[ast.AST | list[ast.AST], str | int, ast.AST, ast.stmt]


def _slots(node: ast.AST, statement: ast.stmt) -> Iterator[Slot]:
    """Yield (holder, key, node, enclosing statement) for every place whose content may be exchanged."""
    for field, value in ast.iter_fields(node):
        if field in {"decorator_list", "annotation", "returns", "args"} and isinstance(
            node, ast.FunctionDef | ast.AnnAssign | ast.arg
        ):
            continue
        children: list[tuple[ast.AST | list[ast.AST], str | int, object]]
        children = [(value, i, c) for i, c in enumerate(value)] if isinstance(value, list) else [(node, field, value)]
        for holder, key, child in children:
            if not isinstance(child, ast.expr | ast.stmt) or _is_text(child):
                continue
            inner = child if isinstance(child, ast.stmt) else statement
            yield holder, key, child, inner
            if not isinstance(child, ast.Raise):  # what it says is for people; that it raises is what a test must see
                yield from _slots(child, inner)


def _is_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _bound_before(top: ast.stmt) -> dict[str, int]:
    """Return the first line that binds each local name: dropping a later assignment is a defect, dropping the first a crash."""
    first: dict[str, int] = {}
    if isinstance(top, ast.FunctionDef):
        first = {argument.arg: top.lineno for argument in top.args.args}
    for node in ast.walk(top):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            first[node.id] = min(first.get(node.id, node.lineno), node.lineno)
    return first


def _replacements(node: ast.AST, statement: ast.stmt, bound: dict[str, int]) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.stmt):
        yield from _statement(node, bound)
        return
    yield from _expression(node)
    if isinstance(statement, ast.Return) and isinstance(node, ast.expr) and _is_result(node, statement):
        yield "return value", _plus_one(node)


def _expression(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for comparison in COMPARISONS.get(type(node.ops[0]), ()):
            yield "comparison", ast.Compare(node.left, [comparison()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield "and/or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for i in range(len(node.values)):
            rest = [value for k, value in enumerate(node.values) if k != i]
            yield "drop condition", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.BinOp):
        yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield "drop sign", node.operand
    elif isinstance(node, ast.IfExp):
        yield "negate condition", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id.isupper():
        yield "constant", _plus_one(node)
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _is_result(node: ast.expr, statement: ast.Return) -> bool:
    """Return whether an expression is what the function returns, or one number of the tuple it returns."""
    results = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
    return any(node is result for result in results) and not isinstance(node, ast.Constant)


def _plus_one(node: ast.expr) -> ast.expr:
    return ast.BinOp(copy.deepcopy(node), ast.Add(), ast.Constant(1))


def _constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield "constant", ast.Constant(node.value + 1)
        yield "constant", ast.Constant(node.value - 1)


def _call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in CALLS:
        yield "call", ast.Call(ast.Name(CALLS[name], ast.Load()), node.args, [])
    if name == "add":
        yield "arithmetic", ast.Call(node.func, [node.args[0], ast.UnaryOp(ast.USub(), node.args[1])], [])
    if name == "range":
        yield "boundary", ast.Call(node.func, [*node.args[:-1], ast.BinOp(node.args[-1], ast.Sub(), ast.Constant(1))], [])
    for i in range(len(node.args) - 1):
        pair = node.args[i : i + 2]
        same = name in COMMUTATIVE or (name.startswith("mul_") and i == 0)
        if same or name == "range" or any(_is_record(argument) for argument in pair):
            continue
        yield "swap arguments", ast.Call(node.func, [*node.args[:i], pair[1], pair[0], *node.args[i + 2 :]], [])


def _is_record(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in RECORDS) or isinstance(node, ast.Tuple) or _is_text(node)


def _statement(node: ast.stmt, bound: dict[str, int]) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.If | ast.While) and not isinstance(
        node.test, ast.Compare
    ):  # a comparison's opposite is its own mutant
        negated: ast.If | ast.While = copy.copy(node)
        negated.test = ast.UnaryOp(ast.Not(), node.test)
        yield "negate condition", negated
    if isinstance(node, ast.While):
        yield "loop once", ast.While(node.test, [*node.body, ast.Break()], node.orelse)
    if isinstance(node, ast.AugAssign):
        changed = copy.copy(node)
        changed.op = ARITHMETIC[type(node.op)]()
        yield "arithmetic", changed
    if isinstance(node, ast.Break):
        yield "break/continue", ast.Continue()
    droppable = isinstance(node, ast.Expr | ast.AugAssign | ast.Raise)
    if isinstance(node, ast.Assign):
        names = [
            n for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        ]
        droppable = all(bound[n.id] < node.lineno for n in names)
    if droppable:
        yield "drop statement", ast.Pass()
