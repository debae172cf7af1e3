"""Why a bundle is refused: one reason of a closed list, so that callers and tests tell them apart."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Final

from runtime.errors import VerificationError


class Reason(StrEnum):
    """What is wrong with a bundle, in the order in which it is looked for."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    UNEXPECTED = "unexpected"
    TOO_LARGE = "too large"
    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown key"
    ALTERED = "altered"
    INCOMPATIBLE = "incompatible"
    UNCOMPUTABLE = "uncomputable"
    PAPER_ONLY = "paper only"


ACTIONS: Final = {
    Reason.MISSING: "copy the bundle again, whole, or promote the run again",
    Reason.TRUNCATED: "copy the bundle again, whole, or promote the run again",
    Reason.UNEXPECTED: "copy the bundle again into an empty folder: it holds plain files alone, and those of its manifest only",
    Reason.TOO_LARGE: "do not use it: no bundle of this version is as large",
    Reason.MALFORMED: "copy the bundle again, or promote the run again",
    Reason.UNSIGNED: "promote the run with `ballast promote`: it signs",
    Reason.UNKNOWN_KEY: "if you know whose key it is, and only then: `ballast bundle trust KEY`",
    Reason.ALTERED: "do not use it; copy the bundle again from where it was made",
    Reason.INCOMPATIBLE: "promote the run again with this version",
    Reason.UNCOMPUTABLE: "run it with the version that made it, or promote the run again with this version",
    Reason.PAPER_ONLY: "promote the run again on a machine with a keyring",
}


class BundleRefused(VerificationError):
    """A bundle that must not be used; nothing was changed."""

    def __init__(self, reason: Reason, got: str, *, expected: str, action: str = "") -> None:
        super().__init__(f"{reason}: {got}", expected=expected, action=action or ACTIONS[reason])
        self.reason = reason
        self._said = got

    def __reduce__(self) -> tuple[partial[BundleRefused], tuple[Reason, str]]:  # type: ignore[override]  # one argument more
        """Travel between processes whole."""
        return partial(BundleRefused, expected=self.expected, action=self.action), (self.reason, self._said)
