"""The event stream: what the desk looks like now, told whenever it changes, to any number of clients at their own pace.

An event is a state, not a change: a client that is slow, or was away, gets the newest one and has missed nothing that matters. So no
client needs a queue, and none is waited for. What changed in between it reads from the numbers: `signal_n` grew, ask for decisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from pydantic import Field

from runtime.control.models import Answer, Integer
from runtime.trading.view import RuntimeView

HEARTBEAT = b": heartbeat\n\n"


class HeadEvent(Answer):
    """The desk after its last block, in the numbers that say what else to ask for."""

    seq_n: int = Field(description="last durable block; the id of the event")
    at_t: int = Field(description="time of the last event, seconds UTC")
    state: str = Field(description="as in the status")
    kill_id: int = Field(description="who threw the kill switch; 0: nobody")
    halt_on: bool = Field(description="whether entries are halted")
    tier_id: int = Field(description="drawdown tier")
    pv_e8: Integer = Field(description="equity, base currency")
    drawdown_ppm: int = Field(description="fall from the peak")
    signal_n: int = Field(description="decisions so far")
    order_row_n: int = Field(description="states of orders so far")
    fill_n: int = Field(description="fills so far")
    forecast_t: int = Field(description="time of the last forecasts")
    policy_digest: str = Field(description="profile in force")
    connected: bool = Field(description="whether the feed is up")
    stale_n: int = Field(description="instruments without a usable book")
    reasons: tuple[str, ...] = Field(description="why it does not trade or enter now")


class StreamEvent(HeadEvent):
    """What a client of the stream gets."""

    after_n: int = Field(description="block that the client knew of before: its Last-Event-ID, or the event before; -1: none")


def head_event(view: RuntimeView) -> HeadEvent:
    """Return the desk in one event."""
    desk = view.state_row[0]["desk"]
    return HeadEvent(
        seq_n=view.head.seq_n, at_t=view.now_t, state=view.state, kill_id=int(desk["kill_n"]), halt_on=bool(desk["halt_n"] != 0),
        tier_id=int(desk["tier_id"]), pv_e8=str(int(desk["pv_e8"])), drawdown_ppm=int(desk["drawdown_ppm"]),
        signal_n=int(desk["signal_n"]), order_row_n=int(desk["order_row_n"]), fill_n=int(desk["fill_n"]),
        forecast_t=view.forecast_t, policy_digest=view.profile.digest, connected=view.feed.connected,
        stale_n=len(view.feed.stale_instruments), reasons=view.reasons,
    )  # fmt: skip


@dataclass(slots=True)
class Hub:
    """Looks at the view now and then, and wakes the streams when it says something new. Used by one event loop alone.

    Attributes:
        view: the desk, or `None` while there is none.
        poll_s: time between two looks.
        heartbeat_s: silence after which a stream says that it lives.
        most_n: streams at once.
        looked: called with each look, from the loop.
    """

    view: Callable[[], RuntimeView | None]
    poll_s: float
    heartbeat_s: float
    most_n: int
    open_n: int = 0
    _seen: RuntimeView | None = None
    _latest: HeadEvent | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(self.poll_s)

    def look(self) -> None:
        """Look once."""
        view = self.view()
        if view is None or view is self._seen:
            return
        self._seen = view
        event = head_event(view)
        if event != self._latest:
            self._latest = event
            self._wake()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._wake()

    @property
    def full(self) -> bool:
        """Whether there are as many streams as there may be."""
        return self.open_n >= self.most_n

    async def stream(self, after_n: int, lives: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield events for one client, and heartbeats while nothing changes.

        Args:
            after_n: block that the client knows of; -1: none.
            lives: whether the client may still listen; asked before each event and heartbeat.
        """
        self.open_n += 1
        try:
            told: HeadEvent | None = None
            yield b": stream of the desk, newest state first\nretry: 1000\n\n"
            while not self._closed and lives():
                changed, latest = self._changed, self._latest
                if latest is not None and latest is not told:
                    told = latest
                    event = StreamEvent.model_validate({**latest.model_dump(), "after_n": after_n})
                    after_n = latest.seq_n
                    yield f"id: {latest.seq_n}\nevent: head\ndata: {event.model_dump_json()}\n\n".encode()
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), self.heartbeat_s)
                except TimeoutError:
                    yield HEARTBEAT
        finally:
            self.open_n -= 1

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
