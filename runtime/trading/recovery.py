"""Recovery is a fold: the journal's blocks, computed again and compared, leave the desk and all that the loop must know."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from runtime import event as events
from runtime.adapters.simulator import SimulatedExchange
from runtime.core.codes import EV_DEPOSIT, SWITCH_KILL
from runtime.core.digest import Block
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS
from runtime.desk import Desk
from runtime.event import Event, Note
from runtime.genesis import Genesis
from runtime.ports import Journal
from runtime.progress import Report, silent
from runtime.trading.past import SYSTEM, Past


class Recovered(NamedTuple):
    """Where a chain stands."""

    desk: Desk
    past: Past

    @property
    def next_open_t(self) -> int | None:
        """Opening time of the first bar that the chain has not seen; `None` when it has seen none."""
        return None if self.past.last_open_t < 0 else self.past.last_open_t + self.desk.genesis.interval_t


def recover(journal: Journal, report: Report = silent, on_block: Callable[[Event, Block], None] | None = None) -> Recovered:
    """Return where a journal's chain stands.

    Args:
        journal: of a paper or live account; it is only read.
        report: told as it goes.
        on_block: told every event and block, oldest first.

    Raises:
        VerificationError: a stored block is not what the core computes.
    """
    genesis = Genesis.model_validate_json(journal.genesis())
    past = Past()

    def seen(event: Event, block: Block) -> None:
        past.take(event, block)
        if on_block is not None:
            on_block(event, block)

    desk = Desk.fold(genesis, journal.read(), report, total_n=journal.head().seq_n, seen=seen)
    return Recovered(desk, past)


def warm_up(genesis: Genesis) -> None:
    """Compile, or load from the cache, everything that an event can call, on a desk that nobody sees."""
    desk = Desk(genesis)
    note = Note(actor=SYSTEM)
    at_t = genesis.first_t
    bars = np.zeros(INSTRUMENTS, BAR)
    for event in (
        events.cash(at_t, EV_DEPOSIT, 0, 100_000_000, note),
        events.bars(at_t, at_t - genesis.interval_t, bars, np.zeros(INSTRUMENTS, FORECAST), bytes(32)),
        events.clusters(at_t, 1, np.zeros(INSTRUMENTS, CLUSTER)),
        events.quote(at_t, 0, 1, 1, moved=True),
        events.heartbeat(at_t, 0),
        events.control(at_t, SWITCH_KILL, 0, note),
    ):
        desk.apply(event)
    exchange = SimulatedExchange(desk.policy)
    exchange.warm_up()
