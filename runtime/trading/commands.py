"""What an operator may ask of a running desk: values that the loop turns into journaled events, one each.

A command is known by its `command_id`: the same id is carried out once, and answers the same receipt however often it is sent,
also after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runtime.core.codes import KILL_OPERATOR
from runtime.policy import ProfileVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class _Act:
    """Who asks, why, and under which id."""

    actor: str
    command_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTrading(_Act):
    """Let market events in again: a SESSION event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTrading(_Act):
    """Let no market event in until the next start: a SESSION event. The process and its API stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(_Act):
    """Throw or release the kill switch; `cause` is a KILL code of `runtime.core.codes`, read when it is thrown."""

    on: bool
    cause: int = KILL_OPERATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt(_Act):
    """Stop or allow new entries."""

    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTier(_Act):
    """Leave the HALT20 drawdown tier, from a new peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateProfile(_Act):
    """Govern by another profile version from the next block on.

    `base_digest` is the policy digest that the change was made from: it must be the one in force. The version governs as it was
    sealed, with its number and digests; an older one may govern again.
    """

    version: ProfileVersion
    base_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivateBundle(_Act):
    """Forecast with another bundle from the next block on; the path is a verified bundle's."""

    path: Path


Command = StartTrading | StopTrading | Kill | Halt | ReleaseTier | UpdateProfile | ActivateBundle


class Receipt(NamedTuple):
    """What became of a command.

    Attributes:
        accepted: whether a block carries it.
        seq_n: that block; the head when it was refused.
        at_t: the block's time, seconds UTC.
        reason: why it was refused, or what it changed.
    """

    accepted: bool
    seq_n: int
    at_t: int
    reason: str
