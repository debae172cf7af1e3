"""A small loopback CoinAPI: symbols and OHLCV history, with a key and quota headers, in the service's own form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Fault, serve_json
from workbench.data.bars import Bars, interval_seconds
from workbench.data.providers.coinapi import PERIODS

INTERVALS = {period: interval for interval, period in PERIODS.items()}


@dataclass
class LoopbackCoinApi:
    """What the server knows; the bar in progress is served too, as the service does."""

    bars: dict[str, Bars]
    now_t: int
    key: str = "a-key-for-tests"
    remaining_n: int = 10_000
    faults: list[Fault] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], object]:
        """Return status, headers and body."""
        dated = {"Date": format_datetime(datetime.fromtimestamp(self.now_t, UTC), usegmt=True)}
        given = headers.get("x-coinapi-key", "")
        if given != self.key:
            return 401, dated, {"error": f"Invalid API key {given}"}
        parts = urlsplit(path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        if words[:2] == ["v1", "symbols"]:
            self.remaining_n -= 1
            body: object = [{"symbol_id": s, "symbol_type": "SPOT"} for s in self.bars if s.startswith(words[2])]
            return 200, dated | self._quota(1), body
        if words[2] not in self.bars:
            return 550, dated, {"error": "No data"}
        step_t = interval_seconds(INTERVALS[query["period_id"]])
        since_t, until_t = _seconds(query["time_start"]), _seconds(query.get("time_end", "2100-01-01T00:00:00"))
        bars = self.bars[words[2]]
        rows = bars.take((bars.t >= since_t) & (bars.t < until_t) & (bars.t <= self.now_t)).take(slice(0, int(query["limit"])))
        cost_n = max(1, -(-len(rows) // 100))
        self.remaining_n -= cost_n
        return 200, dated | self._quota(cost_n), [_row(rows, i, step_t) for i in range(len(rows))]

    def _quota(self, cost_n: int) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": "10000",
            "X-RateLimit-Remaining": str(self.remaining_n),
            "X-RateLimit-Request-Cost": str(cost_n),
        }


def _row(bars: Bars, i: int, step_t: int) -> dict[str, object]:
    opened_t = int(bars.t[i])
    return {
        "time_period_start": _text(opened_t),
        "time_period_end": _text(opened_t + step_t),
        "time_open": _text(opened_t + 1),
        "time_close": _text(opened_t + step_t - 1),
        "price_open": float(bars.open[i]),
        "price_high": float(bars.high[i]),
        "price_low": float(bars.low[i]),
        "price_close": float(bars.close[i]),
        "volume_traded": float(bars.volume[i]),
        "trades_count": 20 if bars.trades is None else int(bars.trades[i]),
    }


def _text(at_t: int) -> str:
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@contextmanager
def serve_coinapi(server: LoopbackCoinApi) -> Iterator[LoopbackCoinApi]:
    """Serve it on a free loopback port; `server.url` is its base URL."""
    with serve_json(server):
        yield server
