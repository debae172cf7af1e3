"""Every exception the project raises on purpose, and the exit code each one ends the command with.

A failure says three things: what was got, what was expected, and what to do next. Refusals of the risk
engine are not here: they are values with a reason code (see `runtime.core.risk`), never exceptions.
"""

from __future__ import annotations

from functools import partial
from typing import Final

EXIT_OK: Final = 0
EXIT_BUG: Final = 1
EXIT_USAGE: Final = 2
EXIT_DATA: Final = 3
EXIT_GATE: Final = 4
EXIT_VERIFY: Final = 5
EXIT_ENVIRONMENT: Final = 6
EXIT_INVARIANT: Final = 70
EXIT_INTERRUPTED: Final = 130


class BallastError(Exception):
    """A failure a person can act on.

    Args:
        got: what was found, with the offending value or path.
        expected: what would have been right.
        action: the next step for the person who reads it.
    """

    exit_code: int = EXIT_BUG
    kind: str = "error"

    def __init__(self, got: str, *, expected: str, action: str) -> None:
        super().__init__(f"{got} (expected: {expected}; do: {action})")
        self.got = got
        self.expected = expected
        self.action = action

    def __reduce__(self) -> tuple[partial[BallastError], tuple[str]]:
        """Travel between processes whole: a worker's failure reaches the person in its own words."""
        return partial(type(self), expected=self.expected, action=self.action), (self.got,)


class UsageError(BallastError):
    """The command line or a parameter is wrong."""

    exit_code = EXIT_USAGE
    kind = "usage"


class DataError(BallastError):
    """Input data cannot be read or does not have the promised form."""

    exit_code = EXIT_DATA
    kind = "data"


class GateError(BallastError):
    """A quality or governance gate blocks; nothing was changed."""

    exit_code = EXIT_GATE
    kind = "gate"


class VerificationError(BallastError):
    """A digest, a chain or a replay does not match what is on record."""

    exit_code = EXIT_VERIFY
    kind = "verification"


class EnvironmentFailure(BallastError):
    """Disk, network, exchange, lock or permission."""

    exit_code = EXIT_ENVIRONMENT
    kind = "environment"


class InvariantError(BallastError):
    """An internal invariant is broken: halt and keep the evidence."""

    exit_code = EXIT_INVARIANT
    kind = "invariant"
