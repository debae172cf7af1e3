"""Whether a paper run and its backtest are equal record by record, and the first difference when they are not.

Compared are all fields of all record types, but for what a venue's acknowledgements alone make different:

- rows of `order_request` that only repeat an order because the venue acknowledged it or was asked to end it (OPEN, CANCELLING);
- ids of `order_request` rows (`order_row_id`), which count these rows, there and where other rows name them;
- `mode_id`, which says which of the two it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from runtime.core.codes import O_CANCELLING, O_OPEN
from runtime.core.records import RECORD_TYPES, RecordType
from runtime.divergence.course import Course

Rows = npt.NDArray[np.void]

EXCEPTED: Final = ("order_row_id", "mode_id")
ACKNOWLEDGED: Final = (O_OPEN, O_CANCELLING)


class TableDifference(BaseModel):
    """How one table of a paper run differs from the backtest's; `first` is empty when it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    paper_n: int
    backtest_n: int
    first: str = ""


def compare(paper: Course, backtest: Course) -> list[TableDifference]:
    """Return one entry per table that either run has rows of, in the order of `RECORD_TYPES`."""
    found = []
    for record in RECORD_TYPES:
        theirs, ours = _rows(paper, record), _rows(backtest, record)
        if len(theirs) or len(ours):
            found.append(
                TableDifference(
                    table=record.name, paper_n=len(theirs), backtest_n=len(ours), first=_first(record, theirs, ours)
                )
            )
    return found


def _rows(course: Course, record: RecordType) -> Rows:
    rows = np.frombuffer(b"".join(course.tables[record.name]), record.dtype)
    return rows[~np.isin(rows["status_id"], ACKNOWLEDGED)] if record.name == "order_request" else rows


def _first(record: RecordType, paper: Rows, backtest: Rows) -> str:
    names = [name for name in record.dtype.names or () if name not in EXCEPTED]
    shared = min(len(paper), len(backtest))
    differing = {name: np.flatnonzero(paper[name][:shared] != backtest[name][:shared]) for name in names}
    firsts = [(int(rows[0]), n, name) for n, (name, rows) in enumerate(differing.items()) if len(rows)]
    if firsts:
        row, _, name = min(firsts)
        return f"row {row + 1}: {name} {int(paper[name][row])} in paper, {int(backtest[name][row])} in the backtest"
    if len(paper) != len(backtest):
        return f"row {shared + 1} is in {'paper' if len(paper) > shared else 'the backtest'} only"
    return ""
