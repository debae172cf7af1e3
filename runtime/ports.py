"""What the engine needs from the world: Protocols of at most five methods, one contract suite for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from runtime.core.digest import Block
from runtime.core.records import EVENT

if TYPE_CHECKING:
    from runtime.approval import ApprovedOrder


class Head(NamedTuple):
    """Where a chain ends: `seq_n` blocks, the last of which has `block_hash` (the genesis hash when there is none)."""

    seq_n: int
    block_hash: bytes


class Journal(Protocol):
    """The append-only chain of blocks of one account and mode. It is the truth; everything else is a projection."""

    def append(self, blocks: Sequence[Block]) -> None:
        """Write blocks that continue the chain, all or none; durable on return.

        Raises:
            InvariantError: a block does not continue the chain, or belongs to another account or mode.
            EnvironmentFailure: the store could not be written; `head()` tells what is durable.
        """

    def head(self) -> Head:
        """Return the last durable block."""

    def read(self, first_n: int = 1, last_n: int | None = None) -> Iterator[Block]:
        """Yield the blocks `first_n .. last_n` (both included; `None`: to the head) as stored, unverified."""

    def genesis(self) -> bytes:
        """Return the canonical JSON that the chain starts from."""

    def close(self) -> None:
        """Release the store; nothing is lost without it. Closing twice is harmless."""


class Clock(Protocol):
    """The only source of the current time outside tests, and the only way to wait for a time. It never goes back."""

    def now_t(self) -> int:
        """Return seconds since 1970-01-01 UTC."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""

    async def wait_until(self, at_ms: int) -> None:
        """Return when the time has come; at once when it has passed."""


def no_inputs() -> npt.NDArray[np.void]:
    """Return an EVENT record [1] of zeros that names no bars, forecasts or memberships."""
    record = np.zeros(1, EVENT)
    for name in ("bar_n", "forecast_n", "cluster_n"):
        record[name] = -1
    return record


class VenueEvent(NamedTuple):
    """What a venue did or said, as a value: a FILL or an ORDER event, field by field as in `runtime.core.records.EVENT`."""

    kind_id: int
    at_t: int
    instrument_id: int
    quote_id: int
    order_id: int
    status_id: int = 0
    liquidity_id: int = 0
    qty_e8: int = 0
    price_e8: int = 0
    reference_e8: int = 0
    value_n: int = 0

    def to_record(self) -> npt.NDArray[np.void]:
        """Return the EVENT record [1] that `step` takes."""
        record = no_inputs()
        for name, value in zip(self._fields, self, strict=True):
            record[name] = value
        return record


class Exchange(Protocol):
    """Where approved orders go. What a venue refuses is a value, never an exception.

    An order is known by its client order id, so every method may be called again after a crash with the order that the journal
    holds. No method takes anything but what the risk engine approved.
    """

    def submit(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Send an order and return the venue's answer: OPEN, DENIED, REJECTED (value 1: may be tried again) or UNKNOWN.

        A venue that fills without acknowledging returns nothing. An id that was sent before is not sent again: the answer is
        what `query` would say.

        Raises:
            EnvironmentFailure: nothing left this process. Once something may have left it, the answer is UNKNOWN instead.
        """

    def cancel(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Take an order off the venue and return its end, CANCELLED; nothing when it rests there no longer."""

    def query(self, order: ApprovedOrder) -> tuple[VenueEvent, ...]:
        """Return what the venue knows of an order: the fills not yet received, then OPEN while it rests.

        REJECTED repeats the venue's no. CANCELLED with value 1 says that the venue never had it, so that it may be tried again;
        with value 0 that it ended there unfilled or in part. An order that fills ended has nothing but its fills.
        """

    def receive(self) -> tuple[VenueEvent, ...]:
        """Return what happened since the last call, oldest first, each event once."""

    def close(self) -> None:
        """Release connections; orders keep resting at the venue. Closing twice is harmless."""
