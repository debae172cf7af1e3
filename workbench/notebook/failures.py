"""Turn what papermill raises into one message that a person can act on."""

from __future__ import annotations

import re
from typing import Final

from runtime import errors
from runtime.errors import BallastError, EnvironmentFailure, UsageError

MESSAGE: Final = re.compile(r"^(?P<got>.*) \(expected: (?P<expected>.*); do: (?P<action>.*)\)$", re.DOTALL)
ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
TRACE_LINES_N: Final = 30
COMPLAINT: Final = re.compile(
    r"^(?:\d+ validation errors? for .*|(?P<field>[\w.]*))\n  (?P<words>.*) \[type=\w+, input_value=(?P<value>.*), input_type=\w+\]$",
    re.MULTILINE,
)
"""One complaint of a pydantic `ValidationError`; a complaint about the whole has no field."""
KINDS: Final[dict[str, type[BallastError]]] = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, BallastError) and found is not BallastError
}


class CellError(BallastError):
    """A cell failed in a way that no stage foresaw: a bug in the notebook or in the workbench."""

    kind = "bug"


def refusal(text: str) -> BallastError:
    """Return the error for a refusal that the engine raised before it ran anything."""
    return rebuilt(UsageError, text) or UsageError(text, expected="valid parameters", action="correct them; nothing was run")


def cell_failure(cell: str, name: str, text: str, traceback: list[str]) -> BallastError:
    """Return the error for a failed cell.

    Args:
        cell: name of the cell.
        name: class name of the exception raised in the kernel.
        text: its message.
        traceback: its traceback as the kernel sent it, with terminal colours.
    """
    known = KINDS.get(name)
    if known is not None and (error := rebuilt(known, text)):
        return error
    if name == "ValidationError":
        return out_of_bounds(text)
    if name == "KeyboardInterrupt":
        raise KeyboardInterrupt
    trace = ANSI.sub("", "\n".join(traceback)).splitlines()[-TRACE_LINES_N:]
    return CellError(
        f"cell {cell!r} failed: {name}: {text}\n" + "\n".join(trace),
        expected="every cell to run",
        action="open the notebook with `marimo edit` and the same parameters; no result was written",
    )


def out_of_bounds(text: str) -> UsageError:
    """Return the error for a pydantic `ValidationError`, from its text: field, value and bound of every complaint."""
    found = list(COMPLAINT.finditer(text))
    if not found:
        return UsageError(
            " ".join(text.split()), expected="parameters within the bounds of the spec", action="correct the parameter"
        )
    got = [f"{c['field']} = {c['value']}" for c in found if c["field"]]
    wanted = [": ".join(part for part in (c["field"], _bound(c["words"])) if part) for c in found]
    return UsageError(
        ", ".join(got) or "parameters that do not fit together",
        expected="; ".join(wanted),
        action="correct the parameter; no result was written",
    )


def _bound(words: str) -> str:
    """Return pydantic's words without their standing beginning."""
    return re.sub(r"^(?:Value error, |Input should be |Input should |(?:String|Tuple|List) should )", "", words)


def dead_kernel(detail: str) -> EnvironmentFailure:
    """Return the error for a kernel process that ended on its own."""
    return EnvironmentFailure(
        f"the kernel process ended before the notebook did: {detail}",
        expected="a kernel that lives until the last cell",
        action="look for lack of memory (dmesg), or use fewer workers (--workers 1)",
    )


def rebuilt(kind: type[BallastError], text: str) -> BallastError | None:
    """Return the error whose `str` the text is, or None when it has not that form."""
    found = MESSAGE.match(text)
    return kind(found["got"], expected=found["expected"], action=found["action"]) if found else None
