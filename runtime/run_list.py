"""What a list of runs shows: genesis, anchor, summary, and whether the journal still ends where its anchor says.

A paper or live run has no summary: how far its journal goes is read from the journal itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.adapters.anchor import ANCHOR_NAME, read_anchor
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.codes import MODE_LIVE, MODE_PAPER
from runtime.errors import BallastError
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, RUN_SUMMARY, list_runs


class RunRow(BaseModel):
    """One run; a damaged one says in `problem` what is wrong, and what could not be read is empty.

    Not damaged means: its files are there and fit at their ends. Only a replay looks at every block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    source: str = ""
    simulated: bool = False
    mode_id: int = 0
    symbols: tuple[str, ...] = ()
    first_t: int = 0
    last_t: int = 0
    blocks: int = 0
    journal_head: str = ""
    fills: int | None = None
    net_return_ppm: int | None = None
    damaged: bool = False
    problem: str = ""


class _Summary(BaseModel):
    """The part of a run's summary that a list shows; the rest belongs to whoever wrote it."""

    model_config = ConfigDict(extra="ignore")

    fills: int | None = None
    net_return_ppm: int | None = None


def describe_runs(home: Path) -> list[RunRow]:
    """Return the runs of a home folder, newest first; a damaged run is listed with its first problem."""
    return [_describe(run_dir) for run_dir in list_runs(home)]


def _describe(run_dir: Path) -> RunRow:
    row = RunRow(run_id=run_dir.name)
    problems: list[str] = []
    for read in (_genesis, _anchor, _summary, _journal):
        if read is _summary and row.mode_id in _LIVE:
            continue  # it is under way: its blocks are its summary
        try:
            row = row.model_copy(update=read(run_dir))
        except _Damaged as e:
            problems.append(str(e))
        except BallastError as e:
            problems.append(e.got)
    return row.model_copy(update={"damaged": bool(problems), "problem": problems[0] if problems else ""})


_LIVE: Final = (MODE_PAPER, MODE_LIVE)


class _Damaged(Exception):
    """A file of the run is not there, or is not what its name says."""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as e:
        raise _Damaged(f"{path.name} is missing") from e
    except OSError as e:
        raise _Damaged(f"{path.name} cannot be read: {e.strerror or e}") from e


def _genesis(run_dir: Path) -> dict[str, object]:
    try:
        genesis = Genesis.model_validate_json(_content(run_dir / RUN_MARK))
    except ValidationError as e:
        raise _Damaged(f"{RUN_MARK} is not a genesis that this version reads") from e
    names = ("source", "simulated", "mode_id", "symbols", "first_t", "last_t")
    return {name: getattr(genesis, name) for name in names}


def _anchor(run_dir: Path) -> dict[str, object]:
    anchor = read_anchor(run_dir / ANCHOR_NAME)
    if anchor is None:
        raise _Damaged("no anchor: the journal was never sealed")
    return {"blocks": anchor.head.seq_n, "journal_head": anchor.head.block_hash.hex()}


def _summary(run_dir: Path) -> dict[str, object]:
    try:
        return _Summary.model_validate_json(_content(run_dir / RUN_SUMMARY)).model_dump()
    except ValidationError as e:
        raise _Damaged(f"{RUN_SUMMARY} is damaged: it is not the summary of a run") from e


def _journal(run_dir: Path) -> dict[str, object]:
    """Open the journal, which compares its end with the anchor, and its genesis with the copy beside it."""
    path = run_dir / JOURNAL_NAME
    if not path.is_file():
        raise _Damaged(f"{JOURNAL_NAME} is missing")
    if path.stat().st_size == 0:
        raise _Damaged(f"{JOURNAL_NAME} is empty")
    journal = SqliteJournal.open(path)
    try:
        if journal.genesis() != _content(run_dir / RUN_MARK):
            raise _Damaged(f"{RUN_MARK} is not the genesis of the journal")
        if journal.owner[1] in _LIVE:
            return _journaled(journal)
    finally:
        journal.close()
    return {}


def _journaled(journal: SqliteJournal) -> dict[str, object]:
    """Return how far a chain under way has come; its anchor may lag behind it."""
    head = journal.head()
    found: dict[str, object] = {"blocks": head.seq_n, "journal_head": head.block_hash.hex()}
    if head.seq_n:
        first, last = next(journal.read(1, 1)), next(journal.read(head.seq_n, head.seq_n))
        found |= {"first_t": first.at_t, "last_t": last.at_t}
    return found
