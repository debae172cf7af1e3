"""How long operations tell how far they are, without knowing who listens.

Library code takes `report: Report = silent` and calls `report(stage, done, total)`. A command passes a rich
progress bar; a notebook kernel, whose parent process draws the bar, passes a `FileReport`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

Report = Callable[[str, int, int], None]
"""`(stage, done, total)`; `total` 0 means unknown."""

PROGRESS_FILE_VARIABLE: Final = "BALLAST_PROGRESS_FILE"


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


class FileReport:
    """Appends one JSON line per report to a file that another process tails."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Append one report."""
        line = json.dumps([stage, done, total]) + "\n"
        with self.path.open("a", encoding="utf-8") as f:
            f.write(line)


def from_environment() -> Report:
    """Return a `FileReport` when the parent process asked for one, else `silent`."""
    path = os.environ.get(PROGRESS_FILE_VARIABLE)
    return FileReport(Path(path)) if path else silent
