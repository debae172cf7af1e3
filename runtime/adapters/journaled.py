"""What a paper or live journal carries instead of stored inputs: memberships, the profiles that governed, and its forecasts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.core.codes import EV_CLUSTERS, EV_POLICY
from runtime.core.digest import Block
from runtime.core.records import CLUSTER, INSTRUMENTS
from runtime.errors import VerificationError
from runtime.event import Event
from runtime.genesis import Genesis
from runtime.inference.clusters import Clusters
from runtime.policy import RiskProfile
from runtime.verify import governed_by

Rows = npt.NDArray[np.void]


class Governed(NamedTuple):
    """A profile and the blocks that it governed, both ends included."""

    profile: RiskProfile
    first_n: int
    last_n: int


def governed(genesis: Genesis, blocks: Iterable[Block]) -> list[Governed]:
    """Return the profiles of a chain in order; a POLICY block is governed by the profile that it brings.

    Raises:
        VerificationError: a block carries no event.
    """
    found = [Governed(genesis.profile, 1, 2**62)]
    for block in blocks:
        if block.kind_id == EV_POLICY:
            found[-1] = found[-1]._replace(last_n=block.seq_n - 1)
            try:
                found.append(Governed(governed_by(Event.decode(block.inputs)), block.seq_n, 2**62))
            except ValueError as e:
                raise not_an_event(block, str(e)) from e
    return found


def memberships_of(blocks: Iterable[Block]) -> Clusters:
    """Return the memberships that the blocks of a chain brought.

    Raises:
        VerificationError: a block carries no event.
    """
    times, rows = [], [np.zeros((0, INSTRUMENTS), CLUSTER)]
    for block in blocks:
        if block.kind_id == EV_CLUSTERS:
            brought = event_of(block).clusters
            if brought is not None:
                times.append(block.at_t)
                rows.append(brought.reshape(1, INSTRUMENTS))
    return Clusters(np.array(times, np.int64), np.concatenate(rows))


def event_of(block: Block) -> Event:
    """Return the event of a block.

    Raises:
        VerificationError: the block carries none.
    """
    try:
        return Event.decode(block.inputs)
    except ValueError as e:
        raise not_an_event(block, str(e)) from e


def not_an_event(block: Block, why: str) -> VerificationError:
    """Return what is said about a block whose inputs cannot be read."""
    return VerificationError(
        f"block {block.seq_n} carries no event: {why}",
        expected="the bytes that its inputs digest covers",
        action="keep the evidence and run `ballast replay` on the run",
    )
