"""The commit protocol: apply, make durable, only then act. What the venue answers is taken in before anything else.

A failure anywhere between leaves either no block or a durable one; the process stops, and the next one folds the journal.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from runtime.core.digest import Block
from runtime.desk import Desk
from runtime.errors import BallastError
from runtime.event import Event, venue
from runtime.ports import Clock, Journal, VenueEvent
from runtime.trading.needs import Hooks
from runtime.trading.past import Past
from runtime.trading.venue import Venue
from runtime.trading.view import Latency

RING_N = 10_000
PERCENTILES_EVERY_N = 64


class Chain:
    """The desk and its journal as one: what was committed is durable, and the venue knows of it."""

    def __init__(self, desk: Desk, past: Past, journal: Journal, market: Venue, clock: Clock, hooks: Hooks) -> None:
        self.desk, self.past = desk, past
        self._journal, self._venue, self._clock, self._hooks = journal, market, clock, hooks
        self._ring = np.zeros(RING_N)
        self._ring_n = 0
        self._latency = Latency()

    def now_t(self) -> int:
        """Return the time of an event that happens now: never before the last one's."""
        return max(self._clock.now_t(), self.desk.now_t)

    def take(self, event: Event, received_ns: int, before: Sequence[Event] = ()) -> Block:
        """Commit an event, act on what it decided, and commit the venue's answers before returning.

        Args:
            event: what happens.
            received_ns: when the loop heard of it.
            before: events that decide nothing and go into the same transaction before it.

        Raises:
            InvariantError: the core refuses the event; nothing was written.
            EnvironmentFailure: the block could not be made durable; nothing was sent.
        """
        *_, block = self.take_all([*before, event], received_ns)
        answers = deque(self._venue.act(self.desk, block))
        while answers:
            answer = answers.popleft()
            at_t = max(answer.at_t, self.desk.now_t)
            (said,) = self.take_all([venue(answer._replace(at_t=at_t))], received_ns)
            answers.extend(self._venue.act(self.desk, said))
        return block

    def take_answers(self, answers: Sequence[VenueEvent], received_ns: int) -> int:
        """Commit what the venue did or said, each as an event, in its order; return how many."""
        for answer in answers:
            self.take(venue(answer._replace(at_t=max(answer.at_t, self.desk.now_t))), received_ns)
        return len(answers)

    def take_all(self, events: Sequence[Event], received_ns: int) -> list[Block]:
        """Commit events in one transaction, of which only the last may decide anything.

        Raises: as `take`.
        """
        blocks: list[Block] = []
        event = None
        try:
            for event in events:
                blocks.append(self.desk.apply(event))
            self._journal.append(blocks)
        except BallastError:
            if event is not None:
                self._keep(f"event-{self.desk.head.seq_n}-{event.kind_id}", event.content())
            raise
        self._measure(received_ns, len(blocks))
        for event, block in zip(events, blocks, strict=True):
            self.past.take(event, block)
            self._hooks.on_block(event, block)
        return blocks

    def _keep(self, name: str, content: bytes) -> None:
        """Keep what a failure was about; where that fails too, the first failure is the one to report."""
        try:
            self._hooks.keep_evidence(name, content)
        except BallastError as e:
            self._hooks.warn("the evidence is not kept", {"name": name, "got": e.got})

    def latency(self) -> Latency:
        """Return how long events took to become durable."""
        return self._latency

    def _measure(self, received_ns: int, blocks_n: int) -> None:
        took_ms = (time.perf_counter_ns() - received_ns) / 1e6
        before = self._ring_n
        for _ in range(blocks_n):
            self._ring[self._ring_n % RING_N] = took_ms
            self._ring_n += 1
        if before == 0 or self._ring_n // PERCENTILES_EVERY_N != before // PERCENTILES_EVERY_N:
            known = self._ring[: min(self._ring_n, RING_N)]
            p50, p99 = np.percentile(known, [50, 99])
            self._latency = Latency(float(p50), float(p99), len(known))
