"""What the loop must know of its chain beyond the desk's state: filled by the fold after a start, and by every block from then on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.codes import EV_BARS, EV_CLUSTERS, EV_FILL, EV_QUOTE, EV_SESSION
from runtime.core.digest import Block
from runtime.event import Event, Note
from runtime.trading.commands import Receipt

SYSTEM: Final = "system"
"""Who acts where no person did."""


@dataclass(slots=True)
class Past:
    """What a chain says of itself.

    Attributes:
        receipts: of every command that a block carries, by its id.
        started: whether the last SESSION event was a start.
        ended_by: who wrote the last SESSION event; empty before the first.
        first_open_t, last_open_t: opening times of the first and last BARS event; -1 before the first.
        clusters_n: version of the last membership.
        quoted: time, bid and ask of the last QUOTE event, by instrument.
        filled_t: time of the last fill, by instrument.
        forecasts: FORECAST [INSTRUMENTS] that came last, their time and the digest of their features.
    """

    receipts: dict[str, Receipt] = field(default_factory=dict)
    started: bool = False
    ended_by: str = ""
    first_open_t: int = -1
    last_open_t: int = -1
    clusters_n: int = 0
    quoted: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    filled_t: dict[int, int] = field(default_factory=dict)
    forecasts: npt.NDArray[np.void] | None = None
    forecast_t: int = 0
    feature_digest: bytes = b""

    def take(self, event: Event, block: Block) -> None:
        """Take in the next event and its block."""
        record = event.record[0]
        if block.kind_id == EV_BARS:
            self.last_open_t = int(record["value_n"])
            if self.first_open_t < 0:
                self.first_open_t = self.last_open_t
            if event.forecasts is not None:
                self.forecasts, self.forecast_t, self.feature_digest = event.forecasts, block.at_t, event.feature_digest
        elif block.kind_id == EV_QUOTE:
            self.quoted[int(record["instrument_id"])] = (block.at_t, int(record["price_e8"]), int(record["reference_e8"]))
        elif block.kind_id == EV_FILL:
            self.filled_t[int(record["instrument_id"])] = block.at_t
        elif block.kind_id == EV_CLUSTERS:
            self.clusters_n = int(record["value_n"])
        if event.note:
            self._note(event, block)

    def _note(self, event: Event, block: Block) -> None:
        note = event.note_of() or Note(actor=SYSTEM)
        if note.command_id:
            self.receipts[note.command_id] = Receipt(True, block.seq_n, block.at_t, note.reason)
        if block.kind_id == EV_SESSION:
            self.started, self.ended_by = bool(event.record[0]["value_n"]), note.actor
