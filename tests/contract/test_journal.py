"""What every journal promises, whichever store is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.adapters.journal_memory import MemoryJournal
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.core.codes import MODE_LIVE
from runtime.core.digest import Block, genesis_hash
from runtime.errors import InvariantError
from runtime.ports import Head, Journal
from tests.support.blocks import GENESIS, make_blocks

BLOCKS = make_blocks(12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.sqlite"


@pytest.fixture(params=["sqlite", "memory"])
def journal(request: pytest.FixtureRequest, path: Path) -> Iterator[Journal]:
    made: Journal
    if request.param == "memory":
        made = MemoryJournal(GENESIS, account_id=1, mode_id=1)
    else:
        made = SqliteJournal.create(path, GENESIS, account_id=1, mode_id=1)
    yield made
    made.close()


# ---- the contract -----------------------------------------------------------------------------------------------


def test_an_empty_journal_ends_at_its_genesis(journal: Journal) -> None:
    assert journal.head() == Head(0, genesis_hash(GENESIS))
    assert journal.genesis() == GENESIS
    assert list(journal.read()) == []


def test_it_returns_what_was_appended(journal: Journal) -> None:
    journal.append(BLOCKS[:1])
    journal.append([])
    journal.append(BLOCKS[1:])
    assert list(journal.read()) == BLOCKS
    assert journal.head() == Head(12, BLOCKS[-1].block_hash)
    assert list(journal.read(3, 5)) == BLOCKS[2:5]
    assert list(journal.read(11)) == BLOCKS[10:]
    assert list(journal.read(13)) == []
    assert list(journal.read(5, 3)) == []


def test_closing_twice_is_harmless(journal: Journal) -> None:
    journal.close()
    journal.close()


WRONG: dict[str, Callable[[], list[Block]]] = {
    "gap": lambda: BLOCKS[3:4],
    "repetition": lambda: BLOCKS[1:2],
    "other history": lambda: make_blocks(1, head=Head(2, bytes(32))),
    "text": lambda: [BLOCKS[2]._replace(payload="text")],  # type: ignore[arg-type]  what a damaged cell can yield
    "other account": lambda: make_blocks(1, head=Head(2, BLOCKS[1].block_hash), account_id=2),
    "other mode": lambda: make_blocks(1, head=Head(2, BLOCKS[1].block_hash), mode_id=MODE_LIVE),
    "header": lambda: [BLOCKS[2]._replace(header=BLOCKS[2].header[:-1] + b"\1")],
    "short header": lambda: [BLOCKS[2]._replace(header=b"")],
    "inputs digest": lambda: [BLOCKS[2]._replace(inputs_digest=bytes(32))],
    "records digest": lambda: [BLOCKS[2]._replace(records_digest=bytes(32))],
    "short records digest": lambda: [BLOCKS[2]._replace(records_digest=bytes(31))],
    "block hash": lambda: [BLOCKS[2]._replace(block_hash=bytes(32))],
    "time column": lambda: [BLOCKS[2]._replace(at_t=0)],
    "kind column": lambda: [BLOCKS[2]._replace(kind_id=99)],
    "late in a batch": lambda: [*BLOCKS[2:5], BLOCKS[6]],
}


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_it_refuses_blocks_that_do_not_continue_the_chain(journal: Journal, wrong: str) -> None:
    journal.append(BLOCKS[:2])
    with pytest.raises(InvariantError, match="refused to journal"):
        journal.append(WRONG[wrong]())
    assert journal.head() == Head(2, BLOCKS[1].block_hash)
    assert list(journal.read()) == BLOCKS[:2]
    journal.append(BLOCKS[2:])
    assert list(journal.read()) == BLOCKS
