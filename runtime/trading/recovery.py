"""Recovery is a fold: the journal's blocks, computed again and compared, leave the desk and all that the loop must know."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from runtime import event as events
from runtime.adapters.simulator import SimulatedExchange
from runtime.core.codes import EV_DEPOSIT, EV_HEARTBEAT, SWITCH_KILL
from runtime.core.digest import Block
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS
from runtime.desk import Desk, Frozen
from runtime.errors import EnvironmentFailure
from runtime.event import Event, Note
from runtime.files import write_bytes
from runtime.genesis import Genesis
from runtime.ports import Journal
from runtime.progress import Report, silent
from runtime.trading.past import SYSTEM, Past

SNAPSHOTS_KEPT_N: Final = 3


class Recovered(NamedTuple):
    """Where a chain stands."""

    desk: Desk
    past: Past

    @property
    def next_open_t(self) -> int | None:
        """Opening time of the first bar that the chain has not seen; `None` when it has seen none."""
        return None if self.past.last_open_t < 0 else self.past.last_open_t + self.desk.genesis.interval_t


def recover(
    journal: Journal,
    report: Report = silent,
    on_block: Callable[[Event, Block], None] | None = None,
    snapshots: Path | None = None,
) -> Recovered:
    """Return where a journal's chain stands.

    The events before a snapshot are read, since the loop and `on_block` must know of them, but not computed again.

    Args:
        journal: of a paper or live account; it is only read.
        report: told as it goes.
        on_block: told every event and block, oldest first; not heartbeats before a snapshot.
        snapshots: folder of the desks that `store_snapshot` wrote; without it the chain is computed from its genesis.

    Raises:
        VerificationError: a stored block is not what the core computes.
    """
    genesis = Genesis.model_validate_json(journal.genesis())
    past = Past()

    def seen(event: Event, block: Block) -> None:
        past.take(event, block)
        if on_block is not None:
            on_block(event, block)

    start = None if snapshots is None else _newest(snapshots, genesis, journal)
    if start is not None:
        for block in journal.read(1, start.head.seq_n):
            if block.kind_id != EV_HEARTBEAT:
                seen(Event.decode(block.inputs), block)
    first_n = 1 if start is None else start.head.seq_n + 1
    desk = Desk.fold(genesis, journal.read(first_n), report, total_n=journal.head().seq_n, seen=seen, start=start)
    return Recovered(desk, past)


def store_snapshot(folder: Path, desk: Desk) -> Path | None:
    """Store where a desk stands, for a quicker start; keep the newest few. A cache: `None` when it could not be written."""
    content = desk.freeze().model_dump_json().encode()
    path = folder / f"desk-{desk.head.seq_n:012d}-{hashlib.sha256(content).hexdigest()}.json"
    try:
        folder.mkdir(exist_ok=True)
        write_bytes(path, content)
        for old in sorted(folder.glob("desk-*.json"))[:-SNAPSHOTS_KEPT_N]:
            old.unlink()
    except (OSError, EnvironmentFailure):
        return None
    return path


def _newest(folder: Path, genesis: Genesis, journal: Journal) -> Desk | None:
    """Return the newest stored desk that stands on a block of this journal; whatever does not fit is passed over."""
    for path in sorted(folder.glob("desk-*.json"), reverse=True):
        try:
            content = path.read_bytes()
            if not path.stem.endswith(hashlib.sha256(content).hexdigest()):
                continue
            desk = Desk.thaw(genesis, Frozen.model_validate_json(content))
        except (OSError, ValueError):
            continue
        blocks = list(journal.read(desk.head.seq_n, desk.head.seq_n))
        if blocks and blocks[0].block_hash == desk.head.block_hash:
            return desk
    return None


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
