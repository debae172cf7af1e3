"""How far a backfill is, series by series: numbers that a display draws and a log prints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["waiting", "reading", "done", "failed"]
Monotonic = Callable[[], float]


@dataclass(slots=True)
class Row:
    """One series: what was read so far, and the span of time it is reading (seconds UTC)."""

    key: str
    status: Status = "waiting"
    bars_n: int = 0
    since_t: int | None = None
    at_t: int | None = None
    until_t: int = 0
    began_s: float = 0.0
    ended_s: float = 0.0
    told: float = 0.0
    """What the provider itself tells of its progress between two pages, 0 to 1."""

    @property
    def fraction(self) -> float:
        """Return how much of its span of time was read, 0 to 1; 0 as long as nothing is known."""
        if self.status in {"done", "failed"}:
            return 1.0
        if self.since_t is None or self.at_t is None or self.until_t <= self.since_t:
            return min(self.told, 0.99)
        return min(0.99, max(self.told, (self.at_t - self.since_t) / (self.until_t - self.since_t)))


class Pulse(threading.local):
    """Takes what a provider reports to the row of the thread that reports: between two pages minutes may pass."""

    row: Row | None = None

    def report(self, _stage: str, done: int, total: int) -> None:
        """Note how far the provider is."""
        if self.row is not None and total > 0:
            self.row.told = done / total


@dataclass(slots=True)
class Board:
    """All series of a job. Rows are changed by the threads that read, whole fields at a time, and read by the one that draws."""

    title: str
    rows: list[Row]
    calls: Callable[[], int]
    monotonic: Monotonic = time.monotonic
    began_s: float = field(init=False)
    kept_n: int = 0
    """Bars that are safely in the lake."""
    finished: bool = False
    """Everything was read, and what could be kept is in the lake."""

    def __post_init__(self) -> None:
        self.began_s = self.monotonic()

    @property
    def bars_n(self) -> int:
        """Return the bars read so far."""
        return sum(row.bars_n for row in self.rows)

    @property
    def ended_n(self) -> int:
        """Return how many series have ended."""
        return sum(row.status in {"done", "failed"} for row in self.rows)

    @property
    def fraction(self) -> float:
        """Return how much of all series was read, 0 to 1, each series weighing the same."""
        return sum(row.fraction for row in self.rows) / len(self.rows) if self.rows else 1.0

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the job began."""
        return self.monotonic() - self.began_s

    @property
    def rate_per_s(self) -> float:
        """Return the bars read a second, over the whole job."""
        return self.bars_n / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Return the seconds left at the pace so far, or None while nothing is known."""
        return _left(self.elapsed_s, self.fraction)

    def row_rate_per_s(self, row: Row) -> float:
        """Return the bars of one series read a second."""
        seconds = (row.ended_s or self.monotonic()) - row.began_s
        return row.bars_n / seconds if row.began_s and seconds > 0 else 0.0

    def row_eta_s(self, row: Row) -> float | None:
        """Return the seconds left for one series, or None while nothing is known."""
        return _left(self.monotonic() - row.began_s, row.fraction) if row.status == "reading" else None


def _left(elapsed_s: float, fraction: float) -> float | None:
    return elapsed_s * (1.0 - fraction) / fraction if fraction > 0.001 else None


def clock_text(seconds: float | None) -> str:
    """Return seconds as `0:07`, `12:34` or `3:07:00`; `-:--` for None."""
    if seconds is None:
        return "-:--"
    whole = round(seconds)
    hours, minutes, rest = whole // 3_600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
