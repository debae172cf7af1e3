"""A small loopback Kraken: the public REST endpoints the data provider uses, in the venue's own form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Fault, serve_json

Trade = tuple[str, str, float, int]
"""Price and volume as Kraken's strings, time in seconds, trade id."""

NAMES = {"XBTUSD": "XXBTZUSD", "ETHUSD": "XETHZUSD", "POLUSD": "POLUSD"}
PAGE = 1_000


@dataclass
class LoopbackKraken:
    """What the server knows; `now_t` decides which candle is still forming."""

    trades: dict[str, list[Trade]]
    now_t: int
    page: int = PAGE
    candles_max: int = 720
    status: str = "online"
    fail_next: list[int] = field(default_factory=list)
    """HTTP status of the next answers; 0 stands for Kraken's own rate-limit error in a 200 answer."""
    faults: list[Fault] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], object]:
        """Return status, headers and body."""
        status, body = self.reply(path)
        return status, {}, body

    def reply(self, path: str) -> tuple[int, object]:
        """Return status and body."""
        if self.fail_next:
            status = self.fail_next.pop(0)
            return (200, {"error": ["EAPI:Rate limit exceeded"]}) if status == 0 else (status, {"error": ["EService:Busy"]})
        parts = urlsplit(path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        endpoint = parts.path.rsplit("/", 1)[1]
        if endpoint == "SystemStatus":
            return 200, {"error": [], "result": {"status": self.status, "timestamp": "2024-01-01T00:00:00Z"}}
        if endpoint == "Time":
            return 200, {"error": [], "result": {"unixtime": self.now_t, "rfc1123": ""}}
        if endpoint == "AssetPairs":
            return 200, {"error": [], "result": {NAMES[a]: _pair(a) for a in self.trades}}
        query["pair"] = next((name for name, long in NAMES.items() if long == query["pair"]), query["pair"])
        if query["pair"] not in self.trades:
            return 200, {"error": ["EQuery:Unknown asset pair"]}
        rows = self._candles(query) if endpoint == "OHLC" else self._trades(query)
        return 200, {"error": [], "result": rows}

    def _candles(self, query: dict[str, str]) -> dict[str, object]:
        step = 60 * int(query["interval"])
        bars: dict[int, list[Trade]] = {}
        for trade in self.trades[query["pair"]]:
            if trade[2] < self.now_t:
                bars.setdefault(int(trade[2]) // step * step, []).append(trade)
        rows: list[list[object]] = []
        for t in range(min(bars), self.now_t + 1, step):
            inside = bars.get(t, [])
            if not inside:  # as the venue does where nobody traded: the last close, no volume, no trade
                close = rows[-1][4]
                rows.append([t, close, close, close, close, "0.0", "0.00000000", 0])
                continue
            prices = [p for p, *_ in inside]
            volume = f"{sum(float(v) for _, v, *_ in inside):.8f}"
            high, low = max(prices, key=float), min(prices, key=float)
            rows.append([t, prices[0], high, low, prices[-1], prices[0], volume, len(inside)])
        rows = rows[-self.candles_max :]
        committed = [r[0] for r in rows if int(str(r[0])) + step <= self.now_t]
        return {NAMES[query["pair"]]: rows, "last": committed[-1] if committed else 0}

    def _trades(self, query: dict[str, str]) -> dict[str, object]:
        since = int(query["since"])
        after = [t for t in self.trades[query["pair"]] if int(t[2] * 10**9) > since and t[2] < self.now_t][: self.page]
        rows = [[p, v, when, "b", "m", "", i] for p, v, when, i in after]
        return {NAMES[query["pair"]]: rows, "last": str(int(after[-1][2] * 10**9) if after else since)}


def _pair(name: str) -> dict[str, object]:
    base, quote = name[:3], name[3:]
    return {
        "altname": name, "wsname": f"{base}/{quote}", "aclass_base": "currency", "base": base, "aclass_quote": "currency",
        "quote": f"Z{quote}", "lot": "unit", "cost_decimals": 5, "pair_decimals": 5, "lot_decimals": 8, "lot_multiplier": 1,
        "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD",
        "margin_call": 80, "margin_stop": 40, "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.1", "status": "online",
    }  # fmt: skip


@contextmanager
def serve(kraken: LoopbackKraken) -> Iterator[LoopbackKraken]:
    """Serve it on a free loopback port; `kraken.url` is its base URL."""
    with serve_json(kraken):
        yield kraken


def some_trades(hours: int, *, start_t: int, per_hour: int = 3, quiet: frozenset[int] = frozenset()) -> list[Trade]:
    """Return trades in the first minutes of every hour but the quiet ones; ids count from 1."""
    found: list[Trade] = []
    for h in range(hours):
        for k in range(0 if h in quiet else per_hour):
            price = 100 + (h * 3 + k * 5) % 17
            found.append((f"{price}.10000", f"0.{k + 1}0000000", start_t + 3_600 * h + 7.25 * (k + 1), len(found) + 1))
    return found
