"""What the loop needs beyond the ports of `runtime.ports`: said here, given by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from runtime.approval import ApprovedOrder
from runtime.core.digest import Block
from runtime.event import BundleNote, Event, SessionNote
from runtime.inference.panel import BarPanel
from runtime.market import ClosedBar
from runtime.ports import Exchange
from runtime.trading.view import PaperDays

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]
LogFields = Mapping[str, str | int | float]


class Forecasting(Protocol):
    """A bundle at work (`runtime.inference.forecaster.Forecaster`)."""

    @property
    def window_n(self) -> int:
        """Bars that a forecast or membership is a function of."""

    @property
    def grid_h(self) -> int:
        """Hours between two forecasts."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instrument i is symbols[i]."""

    def forecast(self, panel: BarPanel) -> tuple[Rows, bytes] | None:
        """Return FORECAST [INSTRUMENTS] and feature digest for the panel's last bar; `None` when there is none."""

    def memberships(self, panel: BarPanel) -> Rows:
        """Return CLUSTER [INSTRUMENTS] at the panel's last bar."""


class Tail(Protocol):
    """The last raw bars, floats as the venue wrote them (`runtime.adapters.bar_tail.BarTail`)."""

    def put(self, bars: Sequence[ClosedBar]) -> list[ClosedBar]:
        """Store bars, and return those whose stored value differs: the first value stays."""

    def panel(self, last_open_t: int, rows_n: int) -> BarPanel:
        """Return the last `rows_n` bars of every instrument up to an opening time."""

    def prune(self, before_t: int) -> None:
        """Forget the bars that opened before a time."""


class PaperExchange(Exchange, Protocol):
    """An exchange that is shown the market, since it fills from it (`runtime.adapters.simulator`)."""

    def on_book(self, instrument_id: int, at_t: int, prices: Ints, quantities: Ints) -> None:
        """Show one side of a book to the instrument's order."""

    def on_bars(self, bars: Rows, open_t: int, close_t: int) -> None:
        """Show a closed bar of every instrument."""

    def govern(self, policies: Rows) -> None:
        """Fill by another policy's rules from now on."""

    def restore(self, states: Rows, orders: Sequence[tuple[ApprovedOrder, int, int]]) -> None:
        """Take up the resting orders of a folded chain: each with what is left of it and when it was last filled (-1: never)."""

    def resting(self) -> dict[int, int]:
        """Return what is left of each resting order, by order id."""


class Start(NamedTuple):
    """What a process starts with.

    Attributes:
        forecaster: of the bundle that the chain ends with, or of the first one.
        bundle: which one it is.
        session: what the process is; its cause is set for each SESSION event.
    """

    forecaster: Forecasting
    bundle: BundleNote
    session: SessionNote


def _nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the loop calls; none may block for long, except `load_bundle`, which runs in a thread of its own.

    Attributes:
        load_bundle: verify and load a bundle; a `BallastError` refuses the activation.
        bundle_activated: its event is durable.
        on_block: a block is durable.
        paper_days: progress towards the live account.
        rotate_logs: once a day.
        snapshots: folder for a stored desk, once a day and at every stop; none without it.
        log: a line of the structured log.
        warn: a line of it that a person should see.
        keep_evidence: store what a halt was about, under a name.
    """

    load_bundle: Callable[[Path], tuple[BundleNote, Forecasting]]
    bundle_activated: Callable[[Path], None] = _nothing
    on_block: Callable[[Event, Block], None] = _nothing
    paper_days: Callable[[], PaperDays] = PaperDays
    rotate_logs: Callable[[], None] = _nothing
    snapshots: Path | None = None
    log: Callable[[str, LogFields], None] = _nothing
    warn: Callable[[str, LogFields], None] = _nothing
    keep_evidence: Callable[[str, bytes], None] = _nothing


__all__ = ["Forecasting", "Hooks", "PaperExchange", "Start", "Tail"]
