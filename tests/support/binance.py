"""A small loopback Binance: the spot endpoints that ccxt asks for candles, in the venue's own form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Fault, serve_json
from workbench.data.bars import Bars, interval_seconds

Answer = tuple[int, dict[str, str], object]


@dataclass
class LoopbackBinance:
    """What the server knows; a candle that has not closed at `now_t` is served all the same, as the venue does."""

    bars: dict[str, Bars]
    now_t: int
    page_max: int = 1_000
    faults: list[Fault] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        """Return status, headers and body."""
        parts = urlsplit(path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        endpoint = parts.path.removeprefix("/api/v3/")
        if endpoint == "time":
            return 200, {}, {"serverTime": self.now_t * 1_000}
        if endpoint == "exchangeInfo":
            return 200, {}, {"timezone": "UTC", "symbols": [_market(name) for name in self.bars]}
        if endpoint != "klines" or query["symbol"] not in self.bars:
            return 400, {}, {"code": -1121, "msg": "Invalid symbol."}
        step_t = interval_seconds(query["interval"])
        bars, since_ms = self.bars[query["symbol"]], int(query.get("startTime", "0"))
        rows = bars.take((bars.t * 1_000 >= since_ms) & (bars.t <= self.now_t))
        limit = min(int(query.get("limit", "500")), self.page_max)
        return 200, {}, [_kline(rows, i, step_t) for i in range(min(limit, len(rows)))]


def _market(name: str) -> dict[str, object]:
    base = name.removesuffix("USDT")
    return {
        "symbol": name,
        "status": "BREAK" if base == "MATIC" else "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [{"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"}],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
    }


def _kline(bars: Bars, i: int, step_t: int) -> list[object]:
    opened_ms = int(bars.t[i]) * 1_000
    values = [repr(float(getattr(bars, name)[i])) for name in ("open", "high", "low", "close", "volume")]
    return [opened_ms, *values, opened_ms + step_t * 1_000 - 1, "0.0", 5, "0.0", "0.0", "0"]


@contextmanager
def serve_binance(binance: LoopbackBinance) -> Iterator[LoopbackBinance]:
    """Serve it on a free loopback port; `binance.url` is its base URL."""
    with serve_json(binance):
        yield binance
