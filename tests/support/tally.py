"""Lines that proofs leave for the end of the test session: how many cases they ran."""

from __future__ import annotations

from typing import Final

LINES: Final[list[str]] = []


def report(line: str) -> None:
    """Add a line to the summary of this session."""
    LINES.append(line)
