"""The virtual time of the local Kraken: stepped by hand, or running at a multiple of real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from runtime.errors import UsageError

SPEED_MAX: Final = 1_000_000.0


class VirtualClock:
    """A time that stands still (speed 0) until it is set, or runs `speed` times as fast as real time. It never goes back."""

    def __init__(self, start_ns: int, *, speed: float = 0.0, wall_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Begin at a time; `wall_ns` is any steadily rising count of nanoseconds."""
        self._wall_ns = wall_ns
        self._base_ns, self._wall_base_ns, self._speed = start_ns, wall_ns(), 0.0
        self.set_speed(speed)

    @property
    def speed(self) -> float:
        """Return how many virtual seconds pass in a real one; 0 when stepped."""
        return self._speed

    def now_ns(self) -> int:
        """Return the virtual time."""
        return self._base_ns + int((self._wall_ns() - self._wall_base_ns) * self._speed)

    def set_speed(self, speed: float) -> None:
        """Run at another speed from now on.

        Raises:
            UsageError: the speed is negative, not a number or above a million.
        """
        if not 0 <= speed <= SPEED_MAX:
            raise UsageError(
                f"a speed of {speed}", expected="0 (stepped) to 1000000 virtual seconds a second", action="choose another speed"
            )
        self._base_ns, self._wall_base_ns = self.now_ns(), self._wall_ns()
        self._speed = speed

    def advance(self, to_ns: int) -> None:
        """Jump to a time; one that has passed changes nothing."""
        now_ns, self._wall_base_ns = self.now_ns(), self._wall_ns()
        self._base_ns = max(now_ns, to_ns)
