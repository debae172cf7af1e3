"""A sealed SQLite journal with a few blocks."""

from __future__ import annotations

from pathlib import Path

from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.core.digest import Block
from tests.support.blocks import GENESIS, make_blocks

BLOCKS = make_blocks(12)


def written(path: Path, blocks: list[Block] = BLOCKS) -> Path:
    """Write a journal, close it, and return its path."""
    journal = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    journal.append(blocks)
    journal.close()
    return path
