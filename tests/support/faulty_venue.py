"""A loopback Kraken that spoils its answers on purpose, by a seed: the other side of tests/simulation/test_sync_faults.py.

It never leaves a row out of an otherwise sound page: nobody could find that out. Everything else a venue or a network does wrong
is here: no answer in time, a cut connection, error statuses and bodies, pages repeated, overlapping, of another time or out of
order, rows twice, JSON cut short, and values of the wrong type.
"""

from __future__ import annotations

import bisect
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

HOUR: Final = 3_600
SECOND_NS: Final = 10**9
PAGE: Final = 1_000
CANDLES_MAX: Final = 720
NAMES: Final = {"XBTUSD": "XXBTZUSD", "ETHUSD": "XETHZUSD", "SOLUSD": "SOLUSD"}
STALL_S: Final = 3.0

PLAIN_FAULTS: Final = (
    "timeout",
    "connection cut",
    "429",
    "5xx",
    "rate limit in a 200",
    "truncated JSON",
    "body cut short",
    "wrong types",
    "not JSON",
)
PAGE_FAULTS: Final = ("duplicate page", "overlapping page", "page out of order", "rows out of order", "rows twice")
FAULTS: Final = (*PLAIN_FAULTS, *PAGE_FAULTS)


class Trade(NamedTuple):
    """One trade as the venue keeps it."""

    trade_id: int
    time_ns: int
    price: Decimal
    volume: Decimal

    @property
    def row(self) -> list[object]:
        """Return it as the venue sends it; the time becomes a JSON number with four digits."""
        return [f"{self.price:.1f}", f"{self.volume:.8f}", f"@{self.time_ns / SECOND_NS:.4f}@", "b", "m", "", self.trade_id]


class Candle(NamedTuple):
    """One hour with trades, in the venue's decimals."""

    open_t: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades_n: int


def seeded_trades(seed: int, *, start_t: int, hours: int, per_hour: int) -> list[Trade]:
    """Return trades of a random walk; one hour in twelve is quiet."""
    rng = random.Random(seed)
    price, found = Decimal(1_000), list[Trade]()
    for h in range(hours):
        if h > 2 and rng.random() < 1 / 12:
            continue
        offsets = sorted(rng.sample(range(36_000_000), rng.randint(1, 2 * per_hour)))  # in 1e-4 seconds
        for offset in offsets:
            price = max(Decimal(1), price + Decimal(rng.randint(-30, 30)) / 10)
            time_ns = (start_t + h * HOUR) * SECOND_NS + offset * 100_000
            found.append(Trade(len(found) + 1, time_ns, price, Decimal(rng.randint(1, 10**9)) / 10**8))
    return found


def candles_of(trades: list[Trade]) -> list[Candle]:
    """Return the hours with trades."""
    by_hour: dict[int, list[Trade]] = {}
    for trade in trades:
        by_hour.setdefault(trade.time_ns // SECOND_NS // HOUR * HOUR, []).append(trade)
    return [
        Candle(
            t,
            inside[0].price,
            max(x.price for x in inside),
            min(x.price for x in inside),
            inside[-1].price,
            sum((x.volume for x in inside), Decimal(0)),
            len(inside),
        )
        for t, inside in sorted(by_hour.items())
    ]


class _Market:
    """One pair, with its answers ready to be sliced."""

    def __init__(self, pair: str, trades: list[Trade], start_t: int) -> None:
        self.pair, self.trades, self.start_t = pair, trades, start_t
        self.times_ns = [t.time_ns for t in trades]
        self.rows = [json.dumps(t.row).replace('"@', "").replace('@"', "") for t in trades]
        self.candles = {c.open_t: c for c in candles_of(trades)}
        first = min(self.candles)
        last = max(self.candles) + 100 * HOUR
        self.candle_rows, self.candle_times = list[str](), list(range(first, last, HOUR))
        close = Decimal(0)
        for t in self.candle_times:
            c = self.candles.get(t) or Candle(t, close, close, close, close, Decimal(0), 0)
            close = c.close
            prices = [f"{p:.1f}" for p in (c.open, c.high, c.low, c.close, c.open)]
            self.candle_rows.append(json.dumps([t, *prices, f"{c.volume:.8f}", c.trades_n]))

    def trade_page(self, since_ns: int, now_t: int) -> tuple[list[str], int]:
        """Return the rows after a time and the cursor."""
        begin = bisect.bisect_right(self.times_ns, since_ns)
        end = min(begin + PAGE, bisect.bisect_left(self.times_ns, now_t * SECOND_NS))
        return self.rows[begin:end], self.times_ns[end - 1] if end > begin else since_ns

    def ohlc(self, now_t: int) -> tuple[list[str], int]:
        """Return the last candles, the newest still forming, and the time of the newest closed one."""
        end = bisect.bisect_right(self.candle_times, now_t)
        return self.candle_rows[max(0, end - CANDLES_MAX) : end], self.candle_times[end - 2]


@dataclass
class FaultyVenue:
    """The venue; `now_t` is its clock, `fault_share` how many of its answers are spoiled."""

    markets: dict[str, _Market]
    now_t: int
    rng: random.Random
    fault_share: float = 0.0
    kinds: tuple[str, ...] = FAULTS
    faults: Counter[str] = field(default_factory=Counter)
    calls_n: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> tuple[str, bytes, int]:
        """Return how to send an answer (`whole`, `cut`, `short`, `stall`), its body and its status."""
        with self.lock:
            self.calls_n += 1
            kind = self.rng.choice(self.kinds) if self.rng.random() < self.fault_share else ""
            parts = urlsplit(path)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            endpoint = parts.path.rsplit("/", 1)[1]
            kind = self._possible(kind, endpoint, query)
            body = self._body(endpoint, query, kind)
            how = {"timeout": "stall", "connection cut": "cut", "body cut short": "short"}.get(kind, "whole")
            status = {"429": 429, "5xx": self.rng.choice((500, 502, 503, 520))}.get(kind, 200)
            if kind:
                self.faults[kind] += 1
        return how, body, status

    def _possible(self, kind: str, endpoint: str, query: dict[str, str]) -> str:
        """Return a fault that this answer can have: pages go wrong where there are pages."""
        if kind not in PAGE_FAULTS:
            return kind
        if endpoint == "OHLC":
            return kind if kind.startswith("rows") else "rows twice"
        first = endpoint == "Trades" and (int(query["since"]) + 1) % SECOND_NS == 0  # a reading begins: there is no page before
        if endpoint != "Trades" or (first and not kind.startswith("rows")):
            return self.rng.choice(PLAIN_FAULTS)
        return kind

    def _body(self, endpoint: str, query: dict[str, str], kind: str) -> bytes:
        if kind in {"429", "5xx"}:
            return b'{"error": ["EService:Busy"]}'
        if kind == "rate limit in a 200":
            return b'{"error": ["EAPI:Rate limit exceeded"]}'
        if kind == "not JSON":
            return b"<html><body>Just a moment...</body></html>"
        if endpoint == "SystemStatus":
            result = '{"status": "online", "timestamp": "2024-01-01T00:00:00Z"}'
        elif endpoint == "AssetPairs":
            result = json.dumps({NAMES[pair]: {"altname": pair} for pair in self.markets})
        elif endpoint == "Time":
            result = json.dumps({"unixtime": self.now_t})
        else:
            result = self._page(self.markets[query["pair"]], endpoint, query, kind)
        if kind == "wrong types":
            result = self._wrong(result)
        body = f'{{"error": [], "result": {result}}}'.encode()
        return body[: self.rng.randrange(1, len(body))] if kind == "truncated JSON" else body

    def _page(self, market: _Market, endpoint: str, query: dict[str, str], kind: str) -> str:
        name = NAMES[market.pair]
        if endpoint == "OHLC":
            rows, last_t = market.ohlc(self.now_t)
            return f'{{"{name}": [{", ".join(self._rows(rows, kind))}], "last": {last_t}}}'
        since_ns = int(query["since"])
        if kind in {"duplicate page", "overlapping page"}:
            back_n = PAGE if kind == "duplicate page" else self.rng.randrange(1, PAGE)
            begin = max(0, bisect.bisect_right(market.times_ns, since_ns) - back_n)
            since_ns = market.times_ns[begin] - 1
        if kind == "page out of order":
            begin = min(len(market.rows) - 1, bisect.bisect_right(market.times_ns, since_ns) + PAGE)
            since_ns = market.times_ns[begin]
        rows, last_ns = market.trade_page(since_ns, self.now_t)
        return f'{{"{name}": [{", ".join(self._rows(rows, kind))}], "last": "{last_ns}"}}'

    def _rows(self, rows: list[str], kind: str) -> list[str]:
        rows = list(rows)
        if kind == "rows out of order" and len(rows) > 1:
            self.rng.shuffle(rows)
        if kind == "rows twice" and rows:
            for _ in range(self.rng.randint(1, 5)):
                at = self.rng.randrange(len(rows))
                rows.insert(self.rng.randint(at, len(rows)), rows[at])
        return rows

    def _wrong(self, result: str) -> str:
        """Return a result in which something has another type."""
        value = json.loads(result)
        choice = self.rng.randrange(4)
        if choice == 0 or not any(isinstance(v, list) and v for v in value.values()):
            return self.rng.choice(("[]", "null", "7", '"maintenance"', "true"))
        rows = next(v for v in value.values() if isinstance(v, list))
        row = rows[self.rng.randrange(len(rows))]
        at = self.rng.choice((0, 1, 2, 6))
        row[at] = self.rng.choice((None, "NaN", True, [], {}, "", "1e999", "-5"))
        if choice == 1:
            value["last"] = self.rng.choice((None, 1.5, [], True))
        return json.dumps(value)


def make_venue(seed: int, *, start_t: int, hours: int, per_hour: int) -> FaultyVenue:
    """Return a venue of three pairs whose clock stands at the end of its hours."""
    markets = {
        pair: _Market(pair, seeded_trades(seed + i, start_t=start_t, hours=hours, per_hour=per_hour), start_t)
        for i, pair in enumerate(NAMES)
    }
    return FaultyVenue(markets, start_t + hours * HOUR, random.Random(seed))


@contextmanager
def serve(venue: FaultyVenue, stall_s: Callable[[], float] = lambda: STALL_S) -> Iterator[FaultyVenue]:
    """Serve it on a free loopback port; `venue.url` is its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            how, body, status = venue.answer(self.path)
            if how == "stall":
                time.sleep(stall_s())
            self.close_connection = how != "whole"
            if how in {"cut", "stall"}:
                return
            sent = body[: max(1, len(body) // 2)] if how == "short" else body
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + sent)

        def handle(self) -> None:
            with suppress(ConnectionError, TimeoutError):  # the other side was killed
                super().handle()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    venue.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield venue
    finally:
        server.shutdown()
        server.server_close()
