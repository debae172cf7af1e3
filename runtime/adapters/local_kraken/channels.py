"""The messages of WebSocket v2 as the venue writes them: field order, decimals and timestamps included.

JSON numbers are written by hand. The venue sends prices and quantities as numbers with every decimal of the pair (`"qty":0.10000000`),
and its book checksum is taken over those digits; `json.dumps` has no way to keep a trailing zero. So numbers go out as
`format(value, ".8f")` of a Decimal (or the digits of a scaled integer), and strings through `json.dumps`.

Every data message speaks of one symbol: clients (ccxt among them) read the symbol of the first row and apply it to all.
Shapes, field order and error texts follow recordings of the venue of 2024 to 2026; what no recording shows is said where it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from runtime.adapters.local_kraken.pairs import PairInfo, asset_decimals
from runtime.adapters.local_kraken.records import NS, Candle, Trade
from runtime.adapters.order_book import Change, Level, plain

CHANNELS: Final = ("instrument", "book", "trade", "ohlc", "ticker")
"""Every public channel, in the order in which messages of one pair and one time go out."""
PRIVATE_CHANNELS: Final = frozenset({"executions", "balances", "level3"})
INTERVALS_MIN: Final = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
VERSION: Final = "2.0.10"
HEARTBEAT: Final = '{"channel":"heartbeat"}'
GARBAGE: Final = '{"channel":"book","type":"upd\ufffd\ufffd'
"""A frame that is text and no JSON."""

OHLC_WARNING: Final = "timestamp is deprecated, use interval_begin"
INSTRUMENT_WARNING: Final = "tick_size is deprecated, use price_increment"
ANSWER_NS: Final = 31_000
"""Virtual time between `time_in` and `time_out` of an answer."""

Kind = Literal["snapshot", "update"]


class Ticker(NamedTuple):
    """The last 24 hours of a pair beside the best levels of its book."""

    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    last: Decimal
    volume: Decimal
    vwap: Decimal
    low: Decimal
    high: Decimal
    change: Decimal
    change_pct: Decimal
    trades_n: int


class Answer(NamedTuple):
    """What a subscribe or unsubscribe is answered with, for one symbol (or none: the instrument channel, a whole request)."""

    method: str
    error: str = ""
    channel: str = ""
    symbol: str = ""
    depth: int = 0
    interval_min: int = 0
    event_trigger: str = ""
    snapshot: bool | None = None


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def rfc3339(time_ns: int, digits: Literal[6, 9] = 6) -> str:
    """Return a UTC time as the venue writes it: six digits of a second almost everywhere, nine in the head of `ohlc`."""
    seconds, rest_ns = divmod(time_ns, NS)
    fraction = f"{rest_ns:09d}"[:digits]
    return f"{_second(seconds)}.{fraction}Z"


def _text(value: str) -> str:
    return json.dumps(value)


def number(value: Decimal, decimals: int) -> str:
    """Return a JSON number with exactly these decimals, zeros kept, never an exponent."""
    return f"{value:.{decimals}f}"


def status(connection_id: int, system: str = "online") -> str:
    """Return the message that opens every connection."""
    return (
        f'{{"channel":"status","type":"update","data":[{{"version":"{VERSION}","system":{_text(system)},"api_version":"v2",'
        f'"connection_id":{connection_id},"upcoming_maintenance":[],"emergency":[]}}]}}'
    )


def _times(at_ns: int) -> str:
    return f'"time_in":"{rfc3339(at_ns)}","time_out":"{rfc3339(at_ns + ANSWER_NS)}"'


def _req(req_id: int | None) -> str:
    return "" if req_id is None else f'"req_id":{req_id},'


def pong(at_ns: int, req_id: int | None) -> str:
    """Return the answer to a ping."""
    return f'{{"method":"pong",{_req(req_id)}{_times(at_ns)}}}'


def rate_exceeded() -> str:
    """Return what a client that sends too fast is told; the text and its capital E are of the venue's FAQ."""
    return '{"Error":"Exceeded msg rate"}'


def answer(reply: Answer, at_ns: int, req_id: int | None) -> str:
    """Return an acknowledgement or a refusal: keys in alphabetical order, as the venue sends them."""
    if reply.error:
        symbol = f'"symbol":{_text(reply.symbol)},' if reply.symbol else ""
        return f'{{"error":{_text(reply.error)},"method":{_text(reply.method)},{_req(req_id)}"success":false,{symbol}{_times(at_ns)}}}'
    result = [f'"channel":"{reply.channel}"']
    if reply.depth:
        result.append(f'"depth":{reply.depth}')
    if reply.event_trigger:
        result.append(f'"event_trigger":"{reply.event_trigger}"')
    if reply.interval_min:
        result.append(f'"interval":{reply.interval_min}')
    if reply.snapshot is not None:
        result.append(f'"snapshot":{"true" if reply.snapshot else "false"}')
    if reply.symbol:
        result.append(f'"symbol":{_text(reply.symbol)}')
    warning = (
        {"ohlc": OHLC_WARNING, "instrument": INSTRUMENT_WARNING}.get(reply.channel) if reply.method == "subscribe" else None
    )
    if warning:
        result.append(f'"warnings":["{warning}"]')
    body = ",".join(result)
    return f'{{"method":{_text(reply.method)},{_req(req_id)}"result":{{{body}}},"success":true,{_times(at_ns)}}}'


def _message(channel: str, kind: Kind, rows: Iterable[str], head: str = "") -> str:
    return f'{{"channel":"{channel}","type":"{kind}",{head}"data":[{",".join(rows)}]}}'


def trade(kind: Kind, pair: PairInfo, trades: Sequence[Trade]) -> str:
    """Return trades of one pair, oldest first."""
    symbol, price, lot = pair.symbol, pair.pair_decimals, pair.lot_decimals
    return _message(
        "trade",
        kind,
        (
            f'{{"symbol":"{symbol}","side":"{one.side}","price":{one.price:.{price}f},"qty":{one.qty:.{lot}f},'
            f'"ord_type":"{one.order_type}","trade_id":{one.trade_id},"timestamp":"{rfc3339(one.time_ns)}"}}'
            for one in trades
        ),
    )


def ohlc(kind: Kind, pair: PairInfo, interval_min: int, candles: Sequence[Candle], at_ns: int) -> str:
    """Return candles of one pair, oldest first; `timestamp` of a row is the end of its interval (deprecated by the venue)."""
    price, lot = pair.pair_decimals, pair.lot_decimals
    rows = (
        f'{{"symbol":"{pair.symbol}","open":{one.open:.{price}f},"high":{one.high:.{price}f},"low":{one.low:.{price}f},'
        f'"close":{one.close:.{price}f},"trades":{one.trades_n},"volume":{one.volume:.{lot}f},"vwap":{one.vwap:.{price}f},'
        f'"interval_begin":"{rfc3339(one.open_t * NS, 9)}","interval":{interval_min},'
        f'"timestamp":"{rfc3339((one.open_t + 60 * interval_min) * NS)}"}}'
        for one in candles
    )
    return _message("ohlc", kind, rows, f'"timestamp":"{rfc3339(at_ns, 9)}",')


def ticker(kind: Kind, pair: PairInfo, now: Ticker, at_ns: int) -> str:
    """Return the ticker of one pair."""
    price, lot = pair.pair_decimals, pair.lot_decimals
    return _message(
        "ticker",
        kind,
        [
            (
                f'{{"symbol":"{pair.symbol}","bid":{now.bid:.{price}f},"bid_qty":{now.bid_qty:.{lot}f},"ask":{now.ask:.{price}f},'
                f'"ask_qty":{now.ask_qty:.{lot}f},"last":{now.last:.{price}f},"volume":{now.volume:.{lot}f},"vwap":{now.vwap:.{price}f},'
                f'"low":{now.low:.{price}f},"high":{now.high:.{price}f},"change":{now.change:.{price}f},'
                f'"change_pct":{now.change_pct:.2f},"trades":{now.trades_n},"timestamp":"{rfc3339(at_ns)}"}}'
            )
        ],
    )


def _levels(levels: Sequence[Level], pair: PairInfo) -> str:
    price, lot = pair.pair_decimals, pair.lot_decimals
    return ",".join(f'{{"price":{plain(level.price, price)},"qty":{plain(level.qty, lot)}}}' for level in levels)


def book(kind: Kind, pair: PairInfo, change: Change, checksum: int, at_ns: int) -> str:
    """Return a book snapshot or update of one pair, levels as integers at the pair's decimals.

    The snapshot carries a timestamp since 2026; in the capture of 2023 it does not.
    """
    return _message(
        "book",
        kind,
        [
            (
                f'{{"symbol":"{pair.symbol}","bids":[{_levels(change.bids, pair)}],"asks":[{_levels(change.asks, pair)}],'
                f'"checksum":{checksum},"timestamp":"{rfc3339(at_ns)}"}}'
            )
        ],
    )


def _asset_row(name: str, own: str) -> str:
    decimals = asset_decimals(own)
    return (
        f'{{"id":"{name}","status":"enabled","precision":{decimals},"precision_display":{2 if decimals <= 4 else 5},'
        '"borrowable":false,"collateral_value":1.00}'
    )


def _pair_row(pair: PairInfo) -> str:
    base, _, quote = pair.symbol.partition("/")
    tick, lot = number(pair.tick_size, pair.pair_decimals), pair.lot_decimals
    return (
        f'{{"symbol":"{pair.symbol}","base":"{base}","quote":"{quote}","status":"online","qty_precision":{lot},'
        f'"qty_increment":{plain(1, lot)},"price_precision":{pair.pair_decimals},"cost_precision":{pair.cost_decimals},'
        f'"marginable":false,"has_index":true,"cost_min":{pair.costmin:f},"tick_size":{tick},"price_increment":{tick},'
        f'"qty_min":{number(pair.ordermin, lot)}}}'
    )


def instrument(kind: Kind, pairs: Sequence[PairInfo]) -> str:
    """Return the assets and pairs of the venue, each asset once, in the order of the pairs."""
    assets: dict[str, str] = {}
    for pair in pairs:
        base, _, quote = pair.symbol.partition("/")
        assets.setdefault(base, _asset_row(base, pair.base))
        assets.setdefault(quote, _asset_row(quote, pair.quote))
    rows = ",".join(_pair_row(pair) for pair in pairs)
    return f'{{"channel":"instrument","type":"{kind}","data":{{"assets":[{",".join(assets.values())}],"pairs":[{rows}]}}}}'
