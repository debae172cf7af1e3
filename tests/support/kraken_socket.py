"""A local Kraken's WebSocket in the event loop of the test, and a raw client that keeps books and checks every sum."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import WSMsgType, web

from runtime.adapters.local_kraken.faults import FaultPlan, Switch
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.socket import Hub, Limits
from runtime.adapters.local_kraken.stream import Stream
from runtime.adapters.order_book import Level, OrderBook, scaled

START_T: Final = 1_700_006_400
"""A full hour, in the middle of the bars that `write_bars` writes."""
START_NS: Final = START_T * NS
HOUR_NS: Final = 3_600 * NS
NAMES: Final = {"XBTUSD": 37_000.0, "ETHUSD": 2_000.1}
BOTH: Final = ("BTC/USD", "ETH/USD")
CHANNELS: Final[dict[str, dict[str, Any]]] = {"book": {"depth": 10}, "trade": {}, "ohlc": {"interval": 60}, "ticker": {}}


def write_bars(folder: Path, names: dict[str, float], *, hours_n: int = 96, seed: int = 5, trades: bool = False) -> Path:
    """Write hourly bars of pairs (altname: first price) around START_T and return the folder."""
    target = folder / "1h"
    target.mkdir(parents=True, exist_ok=True)
    for name, first_price in names.items():
        random_ = random.Random(f"{seed} {name}")
        rows = []
        first_t = START_T - hours_n // 2 * 3600
        last = first_price
        for n in range(hours_n):
            close = round(last * (1 + random_.uniform(-0.01, 0.01)), 1)
            high, low = max(last, close) + round(random_.uniform(0, 5), 1), min(last, close) - round(random_.uniform(0, 5), 1)
            volume, trades_n = round(random_.uniform(1, 90), 8), random_.randrange(6, 30)
            rows.append(((first_t + 3600 * n) * 10**6, last, round(high, 1), round(low, 1), close, volume, trades_n))
            last = close
        columns = list(zip(*rows, strict=True))
        data = {"ts_utc": pa.array(columns[0], pa.timestamp("us", "UTC"))}
        data |= dict(zip(("open", "high", "low", "close", "volume"), columns[1:6], strict=True))
        if trades:
            data["trades"] = columns[6]
        pq.write_table(pa.table(data), target / f"{name}.parquet")
    return folder


class Venue:
    """A market, its hub, and where they listen."""

    def __init__(self, market: LocalMarket, hub: Hub, faults: FaultPlan, url: str) -> None:
        self.market, self.hub, self.faults, self.url = market, hub, faults, url

    async def step(self, ns: int) -> int:
        """Move the virtual time on, publish and flush; return how many messages were queued."""
        self.market.advance(self.market.now_ns + ns)
        queued_n = self.hub.publish(self.market.now_ns)
        await self.hub.flush()
        return queued_n


@asynccontextmanager
async def venue(
    market: LocalMarket, *, batch_ns: int = 0, faults: FaultPlan | None = None, limits: Limits | None = None
) -> AsyncIterator[Venue]:
    """Serve `/v2` of a market on a free loopback port."""
    plan = faults or FaultPlan(market.seed)
    stream = Stream(market, start_ns=market.now_ns, batch_ns=batch_ns)
    hub = Hub(stream, plan, seed=market.seed, start_ns=market.now_ns, limits=limits)
    app = web.Application()
    app.router.add_get("/v2", hub.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Venue(market, hub, plan, f"ws://127.0.0.1:{runner.addresses[0][1]}/v2")
    finally:
        await hub.close()
        await runner.cleanup()


class Client:
    """A raw client. It keeps the text of every message, and the books of its subscriptions with their checksums compared."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.texts: list[str] = []
        self.books: dict[str, OrderBook] = {}
        self.book_at: dict[str, str] = {}
        """Timestamp of the last message of each book whose checksum was right."""
        self.verified_n = self.mismatched_n = self.garbage_n = 0
        self.desynced: set[str] = set()
        self.closed = False
        self._socket = socket
        self._pings_n = 1_000_000

    async def send(self, **body: Any) -> None:
        """Send one request."""
        await self._socket.send_str(json.dumps(body))

    async def subscribe(self, channel: str, *symbols: str, method: str = "subscribe", **params: Any) -> None:
        """Subscribe (or unsubscribe)."""
        await self.send(method=method, params={"channel": channel, "symbol": list(symbols), **params})

    async def read(self) -> dict[str, Any] | None:
        """Take the next message; None when it was no JSON or the connection has ended (then `closed`)."""
        message = await self._socket.receive(timeout=10)
        if message.type is not WSMsgType.TEXT:
            self.closed = True
            return None
        self.texts.append(message.data)
        try:
            body: dict[str, Any] = json.loads(message.data, parse_float=Decimal)
        except ValueError:
            self.garbage_n += 1
            return None
        if body.get("channel") == "book":
            self._book(body)
        return body

    async def settle(self) -> list[dict[str, Any]]:
        """Read everything the venue has queued: until the answer to a ping, or the end of the connection."""
        self._pings_n += 1
        found: list[dict[str, Any]] = []
        with suppress(ConnectionError):  # what was sent before the end is still to be read
            await self.send(method="ping", req_id=self._pings_n)
        while not self.closed:
            body = await self.read()
            if body is None:
                continue
            if body.get("req_id") == self._pings_n:
                break
            found.append(body)
        return found

    @staticmethod
    def _levels(rows: list[dict[str, Decimal]]) -> list[Level]:
        """Return levels at the decimals that the wire shows: it keeps trailing zeros."""
        return [Level(*(scaled(row[name], -int(row[name].as_tuple().exponent)) for name in ("price", "qty"))) for row in rows]

    def _book(self, body: dict[str, Any]) -> None:
        data = body["data"][0]
        symbol = data["symbol"]
        if body["type"] == "snapshot":
            book = self.books[symbol] = OrderBook(10)
            book.load(self._levels(data["bids"]), self._levels(data["asks"]))
            self.desynced.discard(symbol)
        elif symbol in self.desynced:
            return
        else:
            book = self.books[symbol]
            book.apply(self._levels(data["bids"]), self._levels(data["asks"]))
        if book.checksum() == data["checksum"]:
            self.verified_n += 1
            self.book_at[symbol] = data["timestamp"]
        else:
            self.mismatched_n += 1
            self.desynced.add(symbol)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    """Connect a raw client."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
        yield Client(socket)


def run(
    folder: Path,
    scene: Callable[[Venue, Client], Awaitable[None]],
    *switches: Switch,
    seed: int = 3,
    batch_ns: int = 0,
    limits: Limits | None = None,
) -> Venue:
    """Play a scene with one client against a fresh venue, and return the venue."""

    async def play() -> Venue:
        plan = FaultPlan(seed)
        for switch in switches:
            plan.add(switch)
        market = LocalMarket.open([folder], seed=seed, start_ns=START_NS)
        async with venue(market, faults=plan, batch_ns=batch_ns, limits=limits) as place:
            async with client(place.url) as one:
                await scene(place, one)
            return place

    return asyncio.run(play())


async def follow_all(one: Client) -> None:
    """Subscribe to every channel of both pairs and read the snapshots."""
    for channel, params in CHANNELS.items():
        await one.subscribe(channel, *BOTH, **params)
    await one.subscribe("instrument")
    await one.settle()
