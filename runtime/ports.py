"""What the engine needs from the world: Protocols of at most five methods, one contract suite for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from runtime.core.digest import Block


class Head(NamedTuple):
    """Where a chain ends: `seq_n` blocks, the last of which has `block_hash` (the genesis hash when there is none)."""

    seq_n: int
    block_hash: bytes


class Journal(Protocol):
    """The append-only chain of blocks of one account and mode. It is the truth; everything else is a projection."""

    def append(self, blocks: Sequence[Block]) -> None:
        """Write blocks that continue the chain, all or none; durable on return.

        Raises:
            InvariantError: a block does not continue the chain, or belongs to another account or mode.
            EnvironmentFailure: the store could not be written; `head()` tells what is durable.
        """

    def head(self) -> Head:
        """Return the last durable block."""

    def read(self, first_n: int = 1, last_n: int | None = None) -> Iterator[Block]:
        """Yield the blocks `first_n .. last_n` (both included; `None`: to the head) as stored, unverified."""

    def genesis(self) -> bytes:
        """Return the canonical JSON that the chain starts from."""

    def close(self) -> None:
        """Release the store; nothing is lost without it. Closing twice is harmless."""


class Clock(Protocol):
    """The only source of the current time outside tests."""

    def now_t(self) -> int:
        """Return seconds since 1970-01-01 UTC."""
