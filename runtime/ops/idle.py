"""What the journals tell about paper accounts while no daemon runs."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.codes import EV_SESSION
from runtime.errors import BallastError
from runtime.event import Event
from runtime.ops.accounts import Account, accounts
from runtime.ops.paper_days import PaperDayCounter


class IdleAccount(BaseModel):
    """A paper account as its journal ends.

    Attributes:
        run_id: its folder.
        account_id: whose chain.
        simulated: whether its venue is not the real one.
        seq_n: blocks.
        block_hash: of the last one, hex.
        last_t: time of the last block, seconds UTC; 0 when there is none.
        ended: how the last session ended: `stopped`, `not stopped` (a crash, or a kill -9), or `never begun`.
        completed_days_n: paper days that count.
        problem: why the journal cannot be read; empty when it can.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    account_id: int
    simulated: bool
    symbols_n: int
    seq_n: int = 0
    block_hash: str = ""
    last_t: int = 0
    ended: str = "never begun"
    completed_days_n: int = 0
    problem: str = ""


def idle_accounts(home: Path) -> list[IdleAccount]:
    """Return every paper account of a home folder; one that cannot be read says why."""
    return [_idle(account) for account in accounts(home)]


def _idle(account: Account) -> IdleAccount:
    genesis = account.genesis
    found = IdleAccount(
        run_id=account.run_id, account_id=genesis.account_id, simulated=genesis.simulated, symbols_n=len(genesis.symbols)
    )
    try:
        journal = SqliteJournal.open(account.folder / JOURNAL_NAME)
        try:
            return found.model_copy(update=_read(journal, genesis.interval_t, simulated=genesis.simulated))
        finally:
            journal.close()
    except (BallastError, ValueError) as e:
        return found.model_copy(update={"problem": e.got if isinstance(e, BallastError) else str(e)})


def _read(journal: SqliteJournal, interval_t: int, *, simulated: bool) -> dict[str, object]:
    counter = PaperDayCounter(interval_t, simulated=simulated)
    ended, last_t = "never begun", 0
    for block in journal.read():
        event = Event.decode(block.inputs) if block.kind_id in counter.KINDS else None
        if event is not None:
            counter.take(event)
        if event is not None and block.kind_id == EV_SESSION:
            ended = "not stopped" if event.record[0]["value_n"] else "stopped"
        last_t = block.at_t
    head = journal.head()
    return {
        "seq_n": head.seq_n, "block_hash": head.block_hash.hex(), "last_t": last_t, "ended": ended,
        "completed_days_n": counter.days.completed_n,
    }  # fmt: skip
