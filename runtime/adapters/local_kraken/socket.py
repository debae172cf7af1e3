"""The WebSocket v2 endpoint of the local Kraken: connections, their subscriptions, limits, heartbeats and faults.

`publish` is the whole of a step: it asks the stream what happened since the last call and puts every message into the queue of
every connection before it returns, without waiting for anybody. `flush` waits until the queues were written. Each connection has a
writer of its own; one that does not keep up is dropped when its queue is full (or at a flush that waits too long), as the venue
drops it. All of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from aiohttp import WSMsgType, web

from runtime.adapters.local_kraken import channels, requests
from runtime.adapters.local_kraken.channels import Answer
from runtime.adapters.local_kraken.faults import Fault, FaultPlan
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.requests import Ping, Refused, Request, Topic
from runtime.adapters.local_kraken.stream import Event, Stream

HEARTBEAT_NS: Final = NS
LONG_STEP_NS: Final = 10 * NS
"""A step longer than this has at most one heartbeat, at its end: heartbeats carry no time, thousands of them tell a client nothing."""
DATA_FAULTS: Final = frozenset(
    {
        Fault.WS_DISCONNECT,
        Fault.WS_GAP,
        Fault.WS_DUPLICATE,
        Fault.WS_LATE,
        Fault.WS_OUT_OF_ORDER,
        Fault.WS_STALL,
        Fault.WS_GARBAGE,
    }
)
BOOK_FAULTS: Final = DATA_FAULTS | {Fault.WS_BAD_CHECKSUM}
REJECTIONS: Final = frozenset({Fault.WS_REJECT})
_CHECKSUM: Final = re.compile(r'"checksum":(\d+)')
_READ_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What the endpoint allows. The venue publishes no numbers; these let through what a sound client does."""

    connections_max_n: int = 200
    """More are refused with HTTP 429."""
    subscriptions_max_n: int = 2_000
    """Per connection."""
    requests_burst_n: int = 500
    """Requests of a connection at one virtual time; beyond, `Exceeded msg rate` and the request is lost."""
    requests_per_s: int = 50
    """How fast that allowance comes back, in virtual time."""
    queue_max_n: int = 200_000
    """Messages that may wait for a slow client before it is dropped."""


class Connection:
    """One client: its subscriptions, and the messages that wait for it."""

    def __init__(self, hub: Hub, number_n: int, response: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.number_n = number_n
        self.topics: dict[tuple[str, str], Topic] = {}
        self.dropped = ""
        """Why the venue ends this connection; empty while it lives."""
        self._hub, self._response, self._transport = hub, response, transport
        self._queue: deque[str] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._said_ns = 0
        self._silent = False
        self._late: list[str] = []
        self._swapped: dict[Topic, str] = {}
        self._allowance_n = hub.limits.requests_burst_n
        self._asked_ns = 0

    # ---- what the venue says

    def say(self, text: str) -> None:
        """Queue one message; a full queue ends the connection."""
        if self._silent or self.dropped:
            return
        if len(self._queue) >= self._hub.limits.queue_max_n:
            self._queue.clear()
            self.drop("slow", at_once=True)
            return
        self._queue.append(text)
        self._hub.queued_n += 1
        self._idle.clear()
        self._wake.set()

    def tell(self, event: Event) -> None:
        """Queue a message of a subscription, with the fault that the plan has for it."""
        self._said_ns = event.time_ns
        fault = self._hub.fault(event.topic.channel, BOOK_FAULTS if event.topic.channel == "book" else DATA_FAULTS)
        waiting = self._swapped.pop(event.topic, None)
        if fault is None:
            self.say(event.text)
        else:
            self._tell_wrongly(event, fault)
        if waiting is not None:
            self.say(waiting)

    def _tell_wrongly(self, event: Event, fault: Fault) -> None:
        text = event.text
        if fault is Fault.WS_DISCONNECT:
            self.drop("fault")
        elif fault is Fault.WS_STALL:
            self._silent = True
        elif fault is Fault.WS_DUPLICATE:
            self.say(text)
            self.say(text)
        elif fault is Fault.WS_LATE:
            self._late.append(text)
        elif fault is Fault.WS_OUT_OF_ORDER:
            self._swapped[event.topic] = text
        elif fault is Fault.WS_BAD_CHECKSUM:
            self.say(_CHECKSUM.sub(lambda found: f'"checksum":{int(found[1]) ^ 1}', text))
        elif fault is Fault.WS_GARBAGE:
            self.say(channels.GARBAGE)
            self.say(text)
        # WS_GAP: the message is lost

    def tell_late(self) -> None:
        """Queue what a fault held back in the last step."""
        late, self._late = self._late, []
        for text in late:
            self.say(text)

    def beat(self, until_ns: int) -> None:
        """Queue the heartbeats of the seconds without a message before `until_ns`."""
        while self.topics and self._said_ns + HEARTBEAT_NS <= until_ns:
            self._said_ns += HEARTBEAT_NS
            self.say(channels.HEARTBEAT)

    def beat_once(self, until_ns: int) -> None:
        """Queue one heartbeat for a long silence."""
        if self.topics and self._said_ns + HEARTBEAT_NS <= until_ns:
            self._said_ns = until_ns
            self.say(channels.HEARTBEAT)

    def drop(self, why: str, *, at_once: bool = False) -> None:
        """End the connection: after what is queued was written, or at once. No close frame: the line is dead for the client."""
        if self.dropped:
            return
        self.dropped = why
        self._wake.set()
        if at_once:
            self._transport.abort()

    # ---- what the client says

    def hear(self, text: str) -> None:
        """Answer one request."""
        now_ns = self._hub.now_ns
        back_n = (now_ns - self._asked_ns) * self._hub.limits.requests_per_s // NS
        if back_n:
            self._asked_ns = now_ns
            self._allowance_n = min(self._allowance_n + back_n, self._hub.limits.requests_burst_n)
        if self._allowance_n == 0:
            self.say(channels.rate_exceeded())
            return
        self._allowance_n -= 1
        asked = requests.parse(text)
        if isinstance(asked, Ping):
            self.say(channels.pong(now_ns, asked.req_id))
        elif isinstance(asked, Refused):
            self.say(channels.answer(Answer(asked.method, asked.error), now_ns, asked.req_id))
        else:
            for topic in asked.topics:
                act = self._subscribe if asked.method == "subscribe" else self._unsubscribe
                act(asked, topic, now_ns)

    def _subscribe(self, asked: Request, topic: Topic, now_ns: int) -> None:
        error = self._refusal(topic)
        if error:
            self.say(channels.answer(Answer("subscribe", error, symbol=topic.symbol), now_ns, asked.req_id))
            return
        if not self.topics:
            self._said_ns = now_ns
        self.topics[topic.channel, topic.symbol] = topic
        self._hub.stream.open(topic)
        self.say(channels.answer(_accepted("subscribe", topic, asked.snapshot), now_ns, asked.req_id))
        snapshot = self._hub.stream.snapshot(topic) if asked.snapshot else None
        if snapshot is not None:
            self.say(snapshot)

    def _refusal(self, topic: Topic) -> str:
        if topic.symbol and not self._hub.stream.knows(topic.symbol):
            return f"{requests.PAIR_UNSUPPORTED} {topic.symbol}"
        held = self.topics.get((topic.channel, topic.symbol))
        if held is not None:
            return requests.ALREADY_INTERVAL if held.interval_min != topic.interval_min else requests.ALREADY
        if len(self.topics) >= self._hub.limits.subscriptions_max_n:
            return requests.TOO_MANY
        return requests.UNAVAILABLE if self._hub.fault(topic.channel, REJECTIONS) else ""

    def _unsubscribe(self, asked: Request, topic: Topic, now_ns: int) -> None:
        held = self.topics.get((topic.channel, topic.symbol))
        same = held is not None and (held.depth, held.interval_min) == (topic.depth, topic.interval_min)
        if held is None or not same:
            self.say(channels.answer(Answer("unsubscribe", requests.NOT_FOUND, symbol=topic.symbol), now_ns, asked.req_id))
            return
        self._forget(held)
        self.say(channels.answer(_accepted("unsubscribe", held, None), now_ns, asked.req_id))

    def _forget(self, topic: Topic) -> None:
        del self.topics[topic.channel, topic.symbol]
        self._swapped.pop(topic, None)
        self._hub.stream.close(topic)

    # ---- the line

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        try:
            while not (self.dropped and not self._queue):
                while self._queue:
                    await self._response.send_str(self._queue.popleft())
                self._idle.set()
                if not self.dropped:
                    await self._wake.wait()
                    self._wake.clear()
        except ConnectionError:
            self.dropped = self.dropped or "gone"
        finally:
            self._queue.clear()
            self._idle.set()
            self._transport.close()

    async def flushed(self) -> None:
        """Return when everything queued was written, or the connection has ended."""
        await self._idle.wait()

    def end(self) -> None:
        """Take the connection's subscriptions away."""
        self.dropped = self.dropped or "gone"
        self._wake.set()
        for topic in list(self.topics.values()):
            self._forget(topic)


def _accepted(method: str, topic: Topic, snapshot: bool | None) -> Answer:
    return Answer(
        method,
        channel=topic.channel,
        symbol=topic.symbol,
        depth=topic.depth,
        interval_min=topic.interval_min,
        event_trigger=topic.event_trigger if method == "subscribe" else "",
        snapshot=snapshot,
    )


class Hub:
    """All connections of the endpoint. `now_ns` is the virtual time that the last `publish` reached."""

    def __init__(self, stream: Stream, faults: FaultPlan, *, seed: int, start_ns: int, limits: Limits | None = None) -> None:
        self.stream = stream
        self.limits = limits or Limits()
        self.now_ns = start_ns
        self.queued_n = 0
        """Messages queued since the start, for all connections."""
        self._faults, self._seed = faults, seed
        self._connections: dict[int, Connection] = {}
        self._system = "online"
        self._empty = asyncio.Event()
        self._empty.set()
        self._opened_n = 0

    @property
    def connections(self) -> list[Connection]:
        """The living connections, oldest first: the order in which they are served."""
        return list(self._connections.values())

    def fault(self, channel: str, among: frozenset[Fault]) -> Fault | None:
        """Return the fault that happens to the next message (or subscription) of a channel."""
        return self._faults.next_fault(channel, among) if self._faults.switches else None

    def publish(self, to_ns: int) -> int:
        """Queue everything that happened until a virtual time, for every connection; return how many messages that were."""
        before_n, step_ns = self.queued_n, to_ns - self.now_ns
        connections = self.connections
        for connection in connections:
            connection.tell_late()
        followers: dict[Topic, list[Connection]] = {}
        for connection in connections:
            for topic in connection.topics.values():
                followers.setdefault(topic, []).append(connection)
        long = step_ns > LONG_STEP_NS
        for event in self.stream.advance(to_ns):
            for connection in followers.get(event.topic, ()):
                if not long:
                    connection.beat(event.time_ns - 1)
                connection.tell(event)
        self.now_ns = max(self.now_ns, to_ns)
        for connection in connections:
            (connection.beat_once if long else connection.beat)(self.now_ns)
        return self.queued_n - before_n

    async def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every queue was written; drop the clients that do not read within `timeout_s` of real time."""
        slow = []
        until_s = asyncio.get_running_loop().time() + timeout_s
        for connection in self.connections:
            try:
                async with asyncio.timeout_at(until_s):
                    await connection.flushed()
            except TimeoutError:
                slow.append(connection)
        for connection in slow:
            connection.drop("slow", at_once=True)

    def announce(self, system: str) -> None:
        """Tell every connection (and every later one) another state of the venue: online, maintenance, cancel_only, post_only."""
        if system != self._system:
            self._system = system
            for connection in self.connections:
                connection.say(self._status(connection.number_n))

    def drop_all(self) -> int:
        """End every connection after what is queued for it; return how many."""
        connections = self.connections
        for connection in connections:
            connection.drop("control")
        return len(connections)

    async def close(self) -> None:
        """End every connection at once and wait until their handlers have returned."""
        for connection in self.connections:
            connection.drop("closing", at_once=True)
        await self._empty.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client from the upgrade to its end."""
        transport = request.transport
        if transport is None or len(self._connections) >= self.limits.connections_max_n:
            return web.Response(status=429, text="too many connections")
        response = web.WebSocketResponse(compress=False, max_msg_size=_READ_BYTES_MAX)
        await response.prepare(request)
        self._opened_n += 1
        connection = Connection(self, self._opened_n, response, transport)
        self._connections[connection.number_n] = connection
        self._empty.clear()
        connection.say(self._status(connection.number_n))
        writer = asyncio.create_task(connection.write())
        try:
            async for message in response:
                connection.hear(message.data if message.type is WSMsgType.TEXT else "")
        finally:
            connection.end()
            await writer
            del self._connections[connection.number_n]
            if not self._connections:
                self._empty.set()
        return response

    def _status(self, number_n: int) -> str:
        drawn = hashlib.blake2b(f"{self._seed}|connection|{number_n}".encode(), digest_size=8).digest()
        return channels.status(int.from_bytes(drawn, "big"), self._system)
