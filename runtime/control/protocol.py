"""HTTP connections that end: a request must arrive, and an answer be taken in, within a time; there are only so many at once."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime.control.settings import ControlSettings


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 connection with deadlines: it bounds only the time between requests by itself."""

    settings: ClassVar[ControlSettings]

    @classmethod
    def bound(cls, settings: ControlSettings) -> type[GuardedProtocol]:
        """Return the protocol class for some settings; uvicorn makes the instances."""
        return type("BoundProtocol", (cls,), {"settings": settings})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in, unless there are too many."""
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections_max_n:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=32_768)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        if self.conn.their_state is h11.IDLE:
            self._expect_request()
        super().data_received(data)
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            _stop(self._reading)
            self._reading = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that ended."""
        _stop(self._reading)
        _stop(self._writing)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not take in what is sent to it, but not for ever."""
        super().pause_writing()
        self._writing = self._writing or self.loop.call_later(self.settings.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        _stop(self._writing)
        self._writing = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an unused connection; what it has not taken in by then is dropped."""
        super().timeout_keep_alive_handler()
        self._writing = self._writing or self.loop.call_later(self.settings.write_s, self.transport.abort)

    def _expect_request(self) -> None:
        self._reading = self._reading or self.loop.call_later(self.settings.read_s, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
