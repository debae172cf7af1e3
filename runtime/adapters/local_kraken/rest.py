"""The public REST interface as a function: endpoint and query in, status and bytes out. No socket, no wall clock.

Forms, types and order of fields are the venue's own: prices and quantities as strings, times as numbers, errors in a 200 answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from runtime.adapters.local_kraken.breakage import Answer, Breakage, error_answer
from runtime.adapters.local_kraken.faults import REST, Fault, FaultPlan
from runtime.adapters.local_kraken.limits import RateLimit
from runtime.adapters.local_kraken.market import LocalMarket, iso_ns, midnight_ns
from runtime.adapters.local_kraken.pairs import MAKER_FEES, TAKER_FEES, PairInfo, asset_decimals, asset_key
from runtime.adapters.local_kraken.records import NS, BookSnapshot, Candle, Trade

INTERVALS_MIN: Final = (1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600)
TRADES_MAX: Final = 1_000
DEPTH_DEFAULT: Final = 100
DEPTH_MAX: Final = 500
SPREADS_MAX: Final = 200
SECONDS_MAX: Final = 10**14
"""`since` of Trades is in seconds below, in nanoseconds above."""
DIGITS_MAX: Final = 19
NUMBER_MAX: Final = 2**62
"""Larger numbers in a query stand for this one: as nanoseconds it is the year 2116."""
DAY_NS: Final = 86_400 * NS
MARKET_DATA: Final = frozenset({"Ticker", "OHLC", "Trades", "Depth", "Spread"})
UNKNOWN_METHOD: Final = "EGeneral:Unknown method"
INVALID: Final = "EGeneral:Invalid arguments"

Query = Mapping[str, str]


class Mode(StrEnum):
    """What SystemStatus says. In maintenance the market data is unavailable; the others concern orders."""

    ONLINE = "online"
    MAINTENANCE = "maintenance"
    CANCEL_ONLY = "cancel_only"
    POST_ONLY = "post_only"


class Refused(Exception):
    """The venue's own error, which a client gets in a 200 answer."""


class RestInterface:
    """Answers the public endpoints from a market at its virtual time."""

    def __init__(self, market: LocalMarket, faults: FaultPlan, limit: RateLimit) -> None:
        self.market, self.faults, self.limit = market, faults, limit
        self.mode = Mode.ONLINE
        self.calls: Counter[str] = Counter()
        """Calls by endpoint, refused and broken ones included."""
        self._breakage = Breakage()
        self._endpoints: dict[str, Callable[[Query], str]] = {
            "Time": self._time,
            "SystemStatus": self._system_status,
            "Assets": self._assets,
            "AssetPairs": self._asset_pairs,
            "Ticker": self._ticker,
            "OHLC": self._ohlc,
            "Trades": self._trades,
            "Depth": self._depth,
            "Spread": self._spread,
        }

    def answer(self, endpoint: str, query: Query, client: str = "") -> Answer:
        """Return the answer to one call of a client, with the fault that the plan injects into it."""
        self.calls[endpoint] += 1
        if not self.limit.allows(client):
            return self._breakage.refused(self.limit)
        fault = self.faults.next_fault(endpoint, REST if endpoint == "Time" else REST - {Fault.TIME_SKEW})
        try:
            body = self._result(endpoint, query)
        except Refused as e:
            return self._breakage.broken(fault, endpoint, query, error_answer(str(e)))
        return self._breakage.broken(fault, endpoint, query, Answer(200, f'{{"error":[],"result":{body}}}'.encode()))

    def _result(self, endpoint: str, query: Query) -> str:
        method = self._endpoints.get(endpoint)
        if method is None:
            raise Refused(UNKNOWN_METHOD)
        if self.mode is Mode.MAINTENANCE and endpoint in MARKET_DATA:
            raise Refused("EService:Unavailable")
        return method(query)

    def _time(self, _query: Query) -> str:
        moment = datetime.fromtimestamp(self.market.now_ns // NS, UTC)
        rfc1123 = f"{moment:%a}, {moment.day:2d} {moment:%b %y %H:%M:%S} +0000"
        return _json({"unixtime": self.market.now_ns // NS, "rfc1123": rfc1123})

    def _system_status(self, _query: Query) -> str:
        return _json({"status": self.mode.value, "timestamp": iso_ns(self.market.now_ns)})

    def _assets(self, query: Query) -> str:
        names = sorted({name for pair in self.market.pairs for name in (pair.base, pair.quote)})
        known = {spelling: name for name in names for spelling in (name, asset_key(name))}
        if "asset" in query:
            wanted = query["asset"].split(",")
            if any(name not in known for name in wanted):
                raise Refused("EQuery:Unknown asset")
            names = [known[name] for name in wanted]
        return _json(
            {
                asset_key(name): {
                    "aclass": "currency",
                    "altname": name,
                    "decimals": asset_decimals(name),
                    "display_decimals": min(asset_decimals(name), 5),
                    "status": "enabled",
                }
                for name in names
            }
        )

    def _asset_pairs(self, query: Query) -> str:
        return _json({pair.key: self._pair_entry(pair) for pair in self._pairs(query)})

    def _pair_entry(self, pair: PairInfo) -> dict[str, object]:
        return {
            "altname": pair.altname,
            "wsname": pair.wsname,
            "aclass_base": "currency",
            "base": asset_key(pair.base),
            "aclass_quote": "currency",
            "quote": asset_key(pair.quote),
            "lot": "unit",
            "cost_decimals": pair.cost_decimals,
            "pair_decimals": pair.pair_decimals,
            "lot_decimals": pair.lot_decimals,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": TAKER_FEES,
            "fees_maker": MAKER_FEES,
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": str(pair.ordermin),
            "costmin": str(pair.costmin),
            "tick_size": f"{pair.tick_size:f}",
            "status": self.mode.value,
        }

    def _ticker(self, query: Query) -> str:
        return _json({pair.key: self._ticker_entry(pair) for pair in self._pairs(query)})

    def _ticker_entry(self, pair: PairInfo) -> dict[str, object]:
        now_ns = self.market.now_ns
        last = self.market.recent_trades(pair, now_ns, 1)
        book = self.market.book(pair, now_ns, 1)
        today, day = (self.market.summary(pair, first_ns, now_ns) for first_ns in (midnight_ns(now_ns), now_ns - DAY_NS + 1))

        def price(number: object) -> str:
            return f"{number:.{pair.price_text_decimals}f}"

        def both(of: Callable[[Candle], object], without: object) -> list[object]:
            return [of(candle) if candle else without for candle in (today, day)]

        close = last[0].price if last else 0
        best = [[price(side[0].price), f"{max(int(side[0].qty), 1)}", f"{side[0].qty:.3f}"] if side else [price(0), "0", "0.000"]
                for side in (book.asks, book.bids)]  # fmt: skip
        nothing = f"{0:.{pair.lot_decimals}f}"
        return {
            "a": best[0],
            "b": best[1],
            "c": [price(close), str(last[0].qty) if last else nothing],
            "v": both(lambda candle: str(candle.volume), nothing),
            "p": both(lambda candle: price(candle.vwap), price(close)),
            "t": both(lambda candle: candle.trades_n, 0),
            "l": both(lambda candle: price(candle.low), price(close)),
            "h": both(lambda candle: price(candle.high), price(close)),
            "o": price(today.open if today else close),
        }

    def _ohlc(self, query: Query) -> str:
        pair, interval_min = self._pair(query), _whole(query, "interval", 1)
        if interval_min not in INTERVALS_MIN:
            raise Refused(f"{INVALID}:interval")
        series = self.market.series(pair, 60 * interval_min)
        rows, last_t = series.texts(self.market.now_ns, _whole(query, "since", 0)) if series else ([], 0)
        return f'{{"{pair.key}":[{",".join(rows)}],"last":{last_t}}}'

    def _trades(self, query: Query) -> str:
        pair, count = self._pair(query), min(_whole(query, "count", TRADES_MAX), TRADES_MAX)
        if count < 1:
            raise Refused(f"{INVALID}:count")
        now_ns = self.market.now_ns
        if "since" in query:
            since = _whole(query, "since", 0)
            since_ns = min(since * NS, NUMBER_MAX) if since < SECONDS_MAX else since
            trades = self.market.trades(pair, since_ns, now_ns, count)
            last_ns = trades[-1].time_ns if trades else since_ns
        else:
            trades = self.market.recent_trades(pair, now_ns, count)
            last_ns = trades[-1].time_ns if trades else now_ns
        decimals = pair.price_text_decimals
        rows = ",".join(_trade_text(trade, decimals) for trade in trades)
        return f'{{"{pair.key}":[{rows}],"last":"{last_ns}"}}'

    def _depth(self, query: Query) -> str:
        pair, count = self._pair(query), _whole(query, "count", DEPTH_DEFAULT)
        if not 1 <= count <= DEPTH_MAX:
            raise Refused(f"{INVALID}:count")
        book = self.market.book(pair, self.market.now_ns, count)
        at_t, decimals = self.market.now_ns // NS, pair.price_text_decimals
        asks, bids = ([[f"{x.price:.{decimals}f}", str(x.qty), at_t] for x in side] for side in (book.asks, book.bids))
        return _json({pair.key: {"asks": asks, "bids": bids}})

    def _spread(self, query: Query) -> str:
        pair, since = self._pair(query), _whole(query, "since", 0)
        trades = [t for t in self.market.recent_trades(pair, self.market.now_ns, SPREADS_MAX) if t.time_ns // NS >= since]
        books: list[BookSnapshot] = [self.market.book(pair, trade.time_ns, 1) for trade in trades]
        decimals = pair.price_text_decimals
        rows = [
            [book.time_ns // NS, f"{book.bids[0].price:.{decimals}f}", f"{book.asks[0].price:.{decimals}f}"]
            for book in books
            if book.bids and book.asks
        ]
        return _json({pair.key: rows, "last": rows[-1][0] if rows else since})

    def _pair(self, query: Query) -> PairInfo:
        if "pair" not in query:
            raise Refused(INVALID)
        pair = self.market.find(query["pair"])
        if pair is None:
            raise Refused("EQuery:Unknown asset pair")
        return pair

    def _pairs(self, query: Query) -> Sequence[PairInfo]:
        """Return the pairs of a comma list; all without one."""
        if "pair" not in query:
            return self.market.pairs
        return [self._pair({"pair": name}) for name in query["pair"].split(",")]


def _whole(query: Query, name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > DIGITS_MAX:
        raise Refused(f"{INVALID}:{name}")
    return min(int(text), NUMBER_MAX)


def _trade_text(trade: Trade, decimals: int) -> str:
    seconds, part = divmod(trade.time_ns, NS)
    time = f"{seconds}.{part:09d}".rstrip("0").rstrip(".")
    return f'["{trade.price:.{decimals}f}","{trade.qty}",{time},"{trade.side[0]}","{trade.order_type[0]}","",{trade.trade_id}]'


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
