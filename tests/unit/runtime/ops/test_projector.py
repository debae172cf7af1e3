"""The projector: behind the journal by moments, never in its way, and never ended by its own failures."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.adapters.live_reader import LiveReader
from runtime.desk import Desk
from runtime.errors import EnvironmentFailure
from runtime.ops import projector as module
from runtime.ops.accounts import create_account, open_journal
from runtime.ops.projector import Projector
from tests.unit.runtime.ops.test_accounts import genesis
from tests.unit.runtime.ops.test_paper_days import bar, session


def until(what: Callable[[], bool], seconds_max: float = 20.0) -> bool:
    """Return whether something became true in time; a thread is at work."""
    deadline_s = time.monotonic() + seconds_max
    while not what() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return what()


def test_it_follows_the_journal_and_ends(home: Path) -> None:
    account = create_account(home, genesis())
    desk, journal = Desk(account.genesis), open_journal(account)
    journal.append([desk.apply(session())])
    before = set(threading.enumerate())
    followed = Projector(account.folder, lambda event, fields: None)
    followed.start()
    reader = LiveReader(followed.path)
    assert reader.watermark().seq_n == 1, "readers find tables at once"
    for hour in range(3):
        journal.append([desk.apply(bar(hour))])
        followed.wake()
        assert until(lambda: reader.watermark() == journal.head())
    followed.stop()
    followed.stop()
    assert not set(threading.enumerate()) - before
    journal.close()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EnvironmentFailure("a full disk", expected="room", action="make some"), "a full disk"),
        (sqlite3.OperationalError("database is locked"), "OperationalError: database is locked"),
        (KeyError("a defect"), "KeyError: 'a defect'"),
    ],
)
def test_a_failure_is_told_and_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    monkeypatch.setattr(module, "LAG_S", -1.0)
    account = create_account(home, genesis())
    desk, journal = Desk(account.genesis), open_journal(account)
    said: list[str] = []
    problems: list[str] = []
    followed = Projector(account.folder, lambda event, fields: said.append(f"{event}: {fields['got']}"))
    followed.start()
    real = module.LiveTables.follow
    failures = iter(range(3))

    def fails(tables: module.LiveTables, source: object) -> int:
        if next(failures, None) is not None:
            problems.append(followed.problem)
            raise error
        return real(tables, source)  # type: ignore[arg-type]

    monkeypatch.setattr(module.LiveTables, "follow", fails)
    journal.append([desk.apply(session())])
    followed.wake()
    assert until(lambda: LiveReader(followed.path).watermark() == journal.head())
    assert said == [f"the live tables fell behind: {words}"] * 3
    assert problems == ["", *[f"the live tables stand still: {words}"] * 2]
    assert until(lambda: not followed.problem)
    followed.stop()
    journal.close()


def test_one_that_never_began_ends(home: Path) -> None:
    Projector(create_account(home, genesis()).folder, lambda event, fields: None).stop()
