"""The clocks: the system's, and a fixed one for tests and simulations."""

from __future__ import annotations

import time
from dataclasses import dataclass


class SystemClock:
    """The clock of this machine. The only reading of wall time outside data providers and diagnostics."""

    def now_t(self) -> int:
        """Return seconds since 1970-01-01 UTC."""
        return int(time.time())

    def now_s(self) -> float:
        """Return seconds since 1970-01-01 UTC with their fraction, for measuring against another clock."""
        return time.time()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is set."""

    at_t: int

    def now_t(self) -> int:
        """Return the set time."""
        return self.at_t
