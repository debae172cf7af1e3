"""A journal in memory for simulations and tests: the same contract, no durability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.chain import check_links
from runtime.core.digest import Block, genesis_hash
from runtime.ports import Head


class MemoryJournal:
    """Keeps the chain of one account and mode in a list."""

    def __init__(self, genesis: bytes, *, account_id: int, mode_id: int) -> None:
        self._genesis = genesis
        self._owner = (account_id, mode_id)
        self._blocks: list[Block] = []
        self._head = Head(0, genesis_hash(genesis))

    def append(self, blocks: Sequence[Block]) -> None:
        """Add blocks that continue the chain, all or none."""
        head = check_links(self._head, blocks, self._owner)
        self._blocks.extend(blocks)
        self._head = head

    def head(self) -> Head:
        """Return the last block."""
        return self._head

    def read(self, first_n: int = 1, last_n: int | None = None) -> Iterator[Block]:
        """Yield the blocks `first_n .. last_n`."""
        yield from self._blocks[max(first_n, 1) - 1 : last_n]

    def genesis(self) -> bytes:
        """Return the canonical JSON that the chain starts from."""
        return self._genesis

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
