"""The part of a paper journal that is compared: its events, the state it began and ended with, and when the daemon was down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from runtime.core.codes import (
    EV_BUNDLE,
    EV_SESSION,
    MODE_BACKTEST,
    O_CANCELLING,
    O_NEW,
    O_OPEN,
    O_UNKNOWN,
)
from runtime.core.digest import Block
from runtime.core.ledger import portfolio_value
from runtime.core.records import INSTRUMENTS, ORDER, STATE
from runtime.desk import Desk
from runtime.difference import first_difference
from runtime.errors import InvariantError, UsageError
from runtime.event import BundleNote, Event
from runtime.genesis import Genesis
from runtime.policy import FeeTier
from runtime.progress import Report, silent

Rows = npt.NDArray[np.void]
ForecastsAt = tuple[Rows, bytes]
"""FORECAST [INSTRUMENTS] and the digest of the features they were made from."""
NEVER_T: Final = 2**62


class Record(Protocol):
    """What is on record about the market by now: bars with the venue's corrections, and the forecasts that they give."""

    @property
    def window_n(self) -> int:
        """Bars that a forecast depends on."""

    def bars(self, open_t: int) -> Rows | None:
        """Return BAR [INSTRUMENTS] of the bars opened at a time, `None` when they are not on record."""

    def forecasts(self, open_t: int) -> ForecastsAt | None:
        """Return the forecasts made on the bars opened at a time; `None` off the models' grid, or when they cannot be made."""

    def makes(self, open_t: int) -> bool:
        """Return whether forecasts on these bars can be made: the bundle and all bars of the window are at hand."""


class NoRecord:
    """Nothing is on record but the journal itself."""

    window_n = 0

    def bars(self, open_t: int) -> Rows | None:  # noqa: ARG002  the port's signature
        """Return `None`."""
        return None

    def forecasts(self, open_t: int) -> ForecastsAt | None:  # noqa: ARG002  the port's signature
        """Return `None`."""
        return None

    def makes(self, open_t: int) -> bool:  # noqa: ARG002  the port's signature
        """Return that they cannot be made."""
        return False


class Journaled(NamedTuple):
    """An event of the journal and the number of its block."""

    seq_n: int
    event: Event


class Downtime(NamedTuple):
    """Seconds UTC from the last sign of life to the next start, whose SESSION block is `seq_n`."""

    from_t: int
    to_t: int
    seq_n: int


@dataclass(slots=True)
class Period:
    """What is compared.

    Attributes:
        genesis: of the chain.
        since_t, until_t: its bounds, seconds UTC; the last is not included.
        events: its events, in the journal's order.
        state, policy: STATE [1] and POLICY [1] before the first of them.
        final: STATE [1] after the last.
        end_t: time of the last event.
        down: when the daemon was down.
        started_t: first start of a daemon, 0: none; what closed before is history, not missed.
        bars: BAR [INSTRUMENTS] as seen, by opening time, of the whole journal: the last one of a time counts.
        fees: fee schedule before the first event.
        bundles: what made the forecasts from a block on, of the whole journal.
        parity: empty when every block of the journal is what the core computes, else the first difference.
    """

    genesis: Genesis
    since_t: int
    until_t: int
    state: Rows
    policy: Rows
    events: list[Journaled] = field(default_factory=list)
    final: Rows = field(default_factory=lambda: np.zeros(0, STATE))
    end_t: int = 0
    down: list[Downtime] = field(default_factory=list)
    started_t: int = 0
    bars: dict[int, Rows] = field(default_factory=dict)
    fees: tuple[FeeTier, ...] = ()
    bundles: list[tuple[int, BundleNote]] = field(default_factory=list)
    parity: str = ""

    @property
    def first_t(self) -> int:
        """Time before the first event."""
        return int(self.state[0]["desk"]["now_t"])

    @property
    def value_e8(self) -> int:
        """Portfolio value at the end, in the base currency."""
        return int(portfolio_value(self.final[0]))

    @property
    def bundle(self) -> BundleNote | None:
        """What makes the forecasts when the period begins, or is activated first in it."""
        first_n = self.events[0].seq_n if self.events else 0
        before = [note for seq_n, note in self.bundles if seq_n < first_n]
        return before[-1] if before else next((note for _, note in self.bundles), None)

    @property
    def switched_n(self) -> int:
        """First block of the period from which another bundle makes the forecasts than `bundle`; 0: none does."""
        first_n = self.events[0].seq_n if self.events else 0
        mine = self.bundle
        other = (
            seq_n for seq_n, note in self.bundles if seq_n >= first_n and mine and note.manifest_digest != mine.manifest_digest
        )
        return next(other, 0)

    def restarted(self, close_t: int, seq_n: int) -> bool:
        """Return whether a bar's hour ended while the daemon was down, so that block `seq_n` took it in after the restart."""
        return any(down.from_t <= close_t <= down.to_t and seq_n > down.seq_n for down in self.down)

    def is_down(self, at_t: int) -> Downtime | None:
        """Return the downtime that a time lies in."""
        return next((down for down in self.down if down.from_t <= at_t < down.to_t), None)


def read_period(
    genesis: Genesis,
    blocks: Iterable[Block],
    since_t: int = 0,
    until_t: int = NEVER_T,
    report: Report = silent,
    total_n: int = 0,
) -> Period:
    """Fold a paper journal, each block compared with what the core computes, and return the part in a period.

    Args:
        genesis: of the journal.
        blocks: all of its blocks.
        since_t, until_t: seconds UTC; the blocks from the first to before the second are compared.
        report: told how many blocks are folded.
        total_n: how many there are.

    Raises:
        UsageError: the journal is a backtest's, or has no block in the period.
    """
    if genesis.mode_id == MODE_BACKTEST:
        raise UsageError("a backtest", expected="a paper run", action="name a run of `ballast runs` whose mode is paper")
    desk = Desk(genesis)
    reader = _Reader(Period(genesis, since_t, until_t, desk.state.copy(), desk.policy.copy(), fees=genesis.profile.fees), desk)
    for block in blocks:
        if not reader.take(block):
            break
        if block.seq_n % 1_000 == 0:
            report("fold the journal", block.seq_n, max(total_n, block.seq_n))
    period = reader.period
    if not len(period.final):
        period.final = desk.state.copy()
    if not period.events and not period.parity:
        raise UsageError(
            "a period without a block of this run",
            expected="a day, or times, that the run has",
            action='ballast sql RUN "SELECT min(at_t), max(at_t) FROM block"',
        )
    return period


class _Reader:
    """Takes the blocks in, one after the other."""

    def __init__(self, period: Period, desk: Desk) -> None:
        self.period = period
        self._desk = desk
        self._up = self._started = False
        self._alive_t = 0

    def take(self, block: Block) -> bool:
        """Take the next block; return whether the journal is what the core computes so far."""
        period, desk = self.period, self._desk
        if block.at_t >= period.until_t and not len(period.final):
            period.final = desk.state.copy()
        try:
            event = Event.decode(block.inputs)
            computed = desk.apply(event)
        except (ValueError, InvariantError) as e:
            period.parity = f"block {block.seq_n}: {e}"
            return False
        if computed != block:
            period.parity = first_difference(block, computed).detail
            return False
        if block.at_t < period.since_t:
            period.state, period.policy, period.fees = desk.state.copy(), desk.policy.copy(), desk.profile.fees
        elif block.at_t < period.until_t:
            period.events.append(Journaled(block.seq_n, event))
            period.end_t = block.at_t
        if event.bars is not None:
            period.bars[int(event.record[0]["value_n"])] = event.bars
        if event.kind_id == EV_BUNDLE and desk.bundle is not None:
            period.bundles.append((block.seq_n, desk.bundle))
        self._note_downtime(event, block)
        return True

    def _note_downtime(self, event: Event, block: Block) -> None:
        if event.kind_id == EV_SESSION:
            self._up = bool(event.record[0]["value_n"])
            if self._up and self._started:
                self.period.down.append(Downtime(self._alive_t, block.at_t, block.seq_n))
            if self._up and not self._started:
                self._started, self.period.started_t = True, block.at_t
            self._alive_t = block.at_t
        elif self._up:
            self._alive_t = block.at_t


def unanswered(state: Rows) -> Rows:
    """Return a state whose open orders stand at the venue of a backtest, which acknowledges nothing.

    An order whose end was asked for has ended; one of unknown outcome rests.
    """
    state = state.copy()
    for s in range(INSTRUMENTS):
        o = state[0]["orders"][s]
        if o["status_id"] == O_CANCELLING:
            state[0]["orders"][s] = np.zeros((), ORDER)
        elif o["status_id"] in {O_OPEN, O_UNKNOWN}:
            o["status_id"] = O_NEW
        o["acked_n"] = 0
    return state
