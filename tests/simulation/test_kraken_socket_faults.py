"""Hours of the local Kraken with hundreds of faults of the WebSocket: a careful client ends with every bar and every hour's books.

What the client does is what the reference page tells: checksums, a watchdog, deadlines, snapshots to fill holes. BALLAST_KRAKEN_HOURS
is the size of the slow proof (default 720: thirty days).
"""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from runtime.adapters.local_kraken.channels import rfc3339
from runtime.adapters.local_kraken.faults import Fault, FaultPlan, Switch
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from tests.support import tally
from tests.support.kraken_socket import HOUR_NS, START_NS, Client, Venue, venue, write_bars

HOURS_VARIABLE: Final = "BALLAST_KRAKEN_HOURS"
SILENCE_S: Final = 0.3
"""Without an answer to a ping for so long, on loopback, the connection is dead."""
FAULTS: Final = {
    Fault.WS_GAP: 2_500,
    Fault.WS_BAD_CHECKSUM: 2_500,
    Fault.WS_DUPLICATE: 2_500,
    Fault.WS_LATE: 2_500,
    Fault.WS_OUT_OF_ORDER: 2_500,
    Fault.WS_GARBAGE: 1_000,
    Fault.WS_DISCONNECT: 1_000,
    Fault.WS_STALL: 300,
    Fault.WS_REJECT: 5_000,
}
"""Parts per million of the messages; of the subscriptions for the last."""


class Follower:
    """What a careful client does: checksums, watchdog, deadlines, backfill by snapshot; nothing is taken for granted."""

    def __init__(self, place: Venue, session: aiohttp.ClientSession) -> None:
        self.symbols = [pair.symbol for pair in place.market.pairs]
        self.bars: dict[tuple[str, str], dict[str, Any]] = {}
        self.connected_n = self.mended_n = 0
        self._place, self._session = place, session
        self._client: Client | None = None

    async def connect(self) -> Client:
        """Open a connection and subscribe until everything is accepted."""
        socket = await self._session.ws_connect(self._place.url, max_msg_size=0)
        self._client = client = Client(socket)
        self.connected_n += 1
        await self.subscribe(client, "book", self.symbols)
        await self.subscribe(client, "ohlc", self.symbols)
        return client

    async def subscribe(self, client: Client, channel: str, symbols: list[str]) -> None:
        """Subscribe, again where it was refused, and take the snapshots."""
        wanted = symbols
        while wanted:
            params = {"interval": 60} if channel == "ohlc" else {}
            await client.subscribe(channel, *wanted, **params)
            answers = await self.take(client)
            wanted = [body["symbol"] for body in answers if body.get("success") is False]

    async def take(self, client: Client) -> list[dict[str, Any]]:
        """Read what is there, within the deadline, and keep the candles."""
        async with asyncio.timeout(SILENCE_S):
            bodies = await client.settle()
        for row in (row for body in bodies if body.get("channel") == "ohlc" for row in body["data"]):
            known = self.bars.setdefault((row["symbol"], row["interval_begin"]), row)
            if row["trades"] > known["trades"]:  # an older state of a candle never replaces a newer one
                self.bars[row["symbol"], row["interval_begin"]] = row
        return bodies

    async def catch_up(self, begin: str, traded: set[str]) -> Client:
        """Return the connection with every book right and the hour's bar of every symbol that traded known."""
        client = self._client
        while True:
            try:
                if client is None or client.closed:
                    client = await self.connect()
                await self.take(client)
                for channel, symbols in self._wrong(client, begin, traded):
                    self.mended_n += len(symbols)
                    params = {"interval": 60} if channel == "ohlc" else {}
                    await client.subscribe(channel, *symbols, method="unsubscribe", **params)
                    await self.subscribe(client, channel, symbols)
            except (TimeoutError, ConnectionError):
                client = None
                continue
            if not client.closed and not self._wrong(client, begin, traded):
                return client

    def _wrong(self, client: Client, begin: str, traded: set[str]) -> list[tuple[str, list[str]]]:
        """Return what is known to be wrong: books with a wrong sum or without this hour's message, bars that did not come."""
        now = rfc3339(self._place.market.now_ns)
        books = [symbol for symbol in self.symbols if symbol in client.desynced or client.book_at.get(symbol) != now]
        bars = [symbol for symbol in self.symbols if symbol in traded and (symbol, begin) not in self.bars]
        return [(channel, symbols) for channel, symbols in (("book", books), ("ohlc", bars)) if symbols]


def books_of(market: LocalMarket) -> dict[str, list[tuple[int, int]]]:
    """Return the levels of every pair at the virtual time, bids before asks."""
    found = {}
    for pair in market.pairs:
        shown = market.book(pair, market.now_ns)
        found[pair.symbol] = [
            (int(level.price.scaleb(pair.pair_decimals)), int(level.qty.scaleb(pair.lot_decimals)))
            for level in (*shown.bids, *shown.asks)
        ]
    return found


async def play(market: LocalMarket, hours_n: int, seed: int, *, times: int = 1) -> FaultPlan:
    plan = FaultPlan(seed)
    for fault, ppm in FAULTS.items():
        plan.add(Switch(fault, probability_ppm=times * ppm))
    async with venue(market, faults=plan, batch_ns=HOUR_NS) as place, aiohttp.ClientSession() as session:
        follower = Follower(place, session)
        expected: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        await follower.catch_up("", set())
        for _ in range(hours_n):
            begin_t = market.now_ns // NS
            begin = rfc3339(begin_t * NS, 9)
            await place.step(HOUR_NS)
            traded = set()
            for pair in market.pairs:
                candle = next((c for c in market.candles(pair, 3600, market.now_ns - 1, 1) if c.open_t == begin_t), None)
                if candle is not None and candle.trades_n:
                    traded.add(pair.symbol)
                    expected[pair.symbol, begin] = (candle.close, candle.volume)
            client = await follower.catch_up(begin, traded)
            ours = {symbol: [tuple(level) for level in (*book.bids(), *book.asks())] for symbol, book in client.books.items()}
            assert ours == books_of(market)
        told = {key: (row["close"], row["volume"]) for key, row in follower.bars.items() if key in expected}
        assert told == expected
        injected_n = sum(plan.injected.values())
        assert set(plan.injected) == set(FAULTS), f"seed {seed}: a kind never happened"
        tally.LINES.append(
            f"local Kraken: {hours_n} hours of {len(market.pairs)} pairs, {injected_n} faults of {len(plan.injected)} kinds, "
            f"{follower.connected_n} connections, {follower.mended_n} subscriptions mended, {len(told)} bars"
        )
        return plan


def test_every_bar_and_book_through_faults(tmp_path: Path) -> None:
    names = {f"{base}USD": 100.0 * (n + 1) for n, base in enumerate(["XBT", "ETH", "SOL", "XRP", "ADA", "LTC", "DOT", "XDG"])}
    market = LocalMarket.open([write_bars(tmp_path, names)], seed=2, start_ns=START_NS)
    plan = asyncio.run(play(market, 40, seed=2, times=10))
    assert sum(plan.injected.values()) > 60


@pytest.mark.slow
def test_thirty_days_of_thirty_pairs(real_data: Path) -> None:
    hours_n = int(os.environ.get(HOURS_VARIABLE, "720"))
    market = LocalMarket.open([real_data / "binance-spot" / "1h"], seed=9, start_ns=1_700_006_400 * NS)
    plan = asyncio.run(play(market, hours_n, seed=9))
    assert sum(plan.injected.values()) > 500 * hours_n // 720
