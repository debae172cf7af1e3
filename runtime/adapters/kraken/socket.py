"""One WebSocket connection, carried by ccxt: texts come in, requests go out, and its end is seen even when nobody waits for a message.

ccxt parses each frame with floats, stops reading at one that is no JSON, and reports a lost connection only to a pending watch. Its
client is therefore given our own handler of texts, and its hooks for errors and closed connections are listened to. Its pings are
off: the feed asks for signs of life itself, with a deadline of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from ccxt.async_support.base.ws.client import Client
from ccxt.pro.kraken import kraken

from runtime.adapters.kraken.rest import configure
from runtime.adapters.kraken.settings import FeedSettings, socket_url

CLOSE_S: Final = 1.0
"""Patience for the closing handshake of a connection that may be dead."""


class Line:
    """One connection, from `open` to `close`; a new one is a new object."""

    def __init__(self, url: str, settings: FeedSettings) -> None:
        self.texts: deque[str] = deque()
        """Frames that came and were not yet read."""
        self.lost = ""
        """Why the connection has ended; empty while it lives."""
        self._url, self._settings = socket_url(url), settings
        self._exchange = _Listening(self)
        configure(self._exchange, url, settings)
        self._client: Client | None = None
        self._wake = asyncio.Event()

    async def open(self) -> bool:
        """Connect and return whether that succeeded; `lost` says why not."""
        client = self._client = self._exchange.connect_to(self._url)
        client.handle_text_or_binary_message = self._take
        connected = asyncio.ensure_future(client.connect(self._exchange.session))
        try:
            async with asyncio.timeout(self._settings.connect_s):
                while not connected.done() and not self.lost:
                    waiting = asyncio.ensure_future(self._wake.wait())
                    await asyncio.wait({connected, waiting}, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                    self._wake.clear()
        except TimeoutError:
            self.end(f"no connection within {self._settings.connect_s:g} s")
        if self.lost:
            connected.cancel()
        return not self.lost

    def end(self, why: str) -> None:
        """Count the connection as lost; the first reason stays."""
        self.lost = self.lost or why or "the connection ended"
        self._wake.set()

    def wake(self) -> None:
        """Let `wait` return."""
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to read, the connection has ended, somebody calls `wake`, or time is up."""
        if not self.texts and not self.lost:
            timer = asyncio.get_running_loop().call_later(max(timeout_s, 0.0), self._wake.set)
            await self._wake.wait()
            timer.cancel()
        self._wake.clear()

    async def send(self, request: Mapping[str, object]) -> None:
        """Send one request; a connection that takes none has ended."""
        if self._client is None or self.lost:
            return
        try:
            await self._client.send(json.dumps(request, separators=(",", ":")))
        except ConnectionError as e:
            self.end(str(e))

    async def close(self) -> None:
        """Release the connection, whatever state it is in."""
        self.end("closed")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._exchange.close()

    def _take(self, data: str | bytes) -> None:
        self.texts.append(data if isinstance(data, str) else data.decode(errors="replace"))
        self._wake.set()


class _Listening(kraken):
    """The ccxt client of one connection, which tells the line about its end."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def connect_to(self, url: str) -> Client:
        """Return the client of an address, not yet connected."""
        return self.client(url)

    def on_error(self, client: Client, error: BaseException) -> None:
        """Tell the line why."""
        super().on_error(client, error)
        self._line.end(str(error)[:200] or type(error).__name__)

    def on_close(self, client: Client, error: object) -> None:
        """Tell the line."""
        super().on_close(client, error)
        self._line.end(f"the venue closed the connection ({error})")
