"""The parameters a governed notebook declares: annotated literals, checked before anything runs or is written."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.errors import DataError, UsageError

Scalar = str | int | float | bool
Value = Scalar | list[str] | list[int] | list[float]

SCALARS: Final[dict[str, type]] = {"str": str, "int": int, "float": float, "bool": bool}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: its variable name.
        kind: `str`, `int`, `float` or `bool`; the kind of the items when `many`.
        many: True for `list[kind]`.
        default: the literal of the source.
        help: the comment behind the literal.
    """

    name: str
    kind: str
    many: bool
    default: Value
    help: str

    @property
    def type_text(self) -> str:
        """Return the annotation as written."""
        return f"list[{self.kind}]" if self.many else self.kind


def declared(cell_source: str) -> list[Parameter]:
    """Return the parameters of the source of a parameters cell, in its order.

    Raises:
        DataError: anything but `name: type = literal` lines, or a literal that is not of its type.
    """
    lines = cell_source.splitlines()
    found = []
    for node in ast.parse(cell_source).body:
        if isinstance(node, ast.Return):
            continue
        kind, many = _annotation(node)
        if not (kind and isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            raise _malformed(ast.unparse(node))
        try:
            default = ast.literal_eval(node.value)
        except ValueError as e:
            raise _malformed(ast.unparse(node)) from e
        line = lines[(node.end_lineno or node.lineno) - 1]
        comment = line[node.end_col_offset :].strip().removeprefix("#").strip()
        parameter = Parameter(node.target.id, kind, many, default, comment)
        if _fitted(parameter, default) is None:
            raise _malformed(ast.unparse(node))
        found.append(parameter)
    return found


def effective(parameters: list[Parameter], given: Mapping[str, object]) -> dict[str, Value]:
    """Return the value of every declared parameter, in declared order, after checking what was given.

    Raises:
        UsageError: an unknown name or a value of another type; an int is accepted for a float.
    """
    names = [p.name for p in parameters]
    if unknown := sorted(set(given) - set(names)):
        raise UsageError(
            f"unknown parameter {', '.join(unknown)}",
            expected=f"one of {', '.join(names)}",
            action="correct the name; nothing was run",
        )
    values: dict[str, Value] = {}
    for p in parameters:
        value = _fitted(p, given.get(p.name, p.default))
        if value is None:
            raise _wrong_type(p, given[p.name])
        values[p.name] = value
    return values


def from_text(parameters: list[Parameter], given: Mapping[str, str]) -> dict[str, Value]:
    """Return values for the texts of a command line, read as the declared types say; lists are JSON or comma-separated."""
    by_name = {p.name: p for p in parameters}
    read: dict[str, object] = {}
    for name, text in given.items():
        p = by_name.get(name)
        read[name] = text if p is None else _read(p, text)
    values = effective(parameters, read)
    return {name: values[name] for name in given}


def _annotation(node: ast.stmt) -> tuple[str, bool]:
    text = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    many = text.startswith("list[") and text.endswith("]")
    kind = text[5:-1] if many else text
    return (kind, many) if kind in SCALARS and not (many and kind == "bool") else ("", False)


def _fitted(p: Parameter, value: object) -> Value | None:
    """Return the value as the declared type, or None when it is of another."""
    if not p.many:
        return _fitted_scalar(p.kind, value)
    if not isinstance(value, list):
        return None
    items = [_fitted_scalar(p.kind, item) for item in value]
    return None if any(item is None for item in items) else items  # type: ignore[return-value]  # checked item by item


def _fitted_scalar(kind: str, value: object) -> Scalar | None:
    if kind == "float" and type(value) is int:
        return float(value)
    # bool is an int to isinstance, and a seed of True is a mistake
    return value if type(value) is SCALARS[kind] else None  # type: ignore[return-value]  # the type was just compared


def _read(p: Parameter, text: str) -> object:
    if p.kind == "str" and not p.many:
        return text
    try:
        if p.many and not text.startswith("["):
            return [part.strip() if p.kind == "str" else json.loads(part) for part in text.split(",")]
        return json.loads(text.lower() if p.kind == "bool" else text)
    except ValueError as e:
        raise _wrong_type(p, text) from e


def _wrong_type(p: Parameter, value: object) -> UsageError:
    return UsageError(
        f"parameter {p.name} = {value!r} ({type(value).__name__})",
        expected=f"{p.type_text}" + (f" ({p.help})" if p.help else ""),
        action="correct the value; nothing was run",
    )


def _malformed(code: str) -> DataError:
    return DataError(
        f"the parameters cell contains `{code}`",
        expected="only lines `name: type = literal`, with str, int, float, bool or a list of them",
        action="move anything else to another cell",
    )
