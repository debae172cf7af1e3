"""A journal in memory of given events, for what only reads kinds, times and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from runtime.adapters.journal_memory import MemoryJournal
from runtime.chain import compute_block_hash
from runtime.core.codes import MODE_PAPER
from runtime.core.digest import HEADER, Block
from runtime.event import Event

NOTHING = sha256(b"").digest()


@contextmanager
def chain(events: Sequence[Event]) -> Iterator[MemoryJournal]:
    """Yield a journal whose blocks carry the events and record nothing."""
    journal = MemoryJournal(b"{}", account_id=1, mode_id=MODE_PAPER)
    for event in events:
        seq_n, previous = journal.head().seq_n + 1, journal.head().block_hash
        header = HEADER.pack(seq_n, event.at_t, event.kind_id, 1, MODE_PAPER, 0)
        digest = sha256(event.content()).digest()
        block_hash = compute_block_hash(previous, header, digest, NOTHING)
        journal.append([Block(seq_n, event.at_t, event.kind_id, header, digest, b"", NOTHING, block_hash, event.content())])
    yield journal
    journal.close()
