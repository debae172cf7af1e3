"""What a client may say on WebSocket v2: requests parsed into values, and the venue's own words for the wrong ones.

Texts marked "recorded" in the reference page were taken from the venue; the others stand in for texts nobody has recorded.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from runtime.adapters.local_kraken.channels import CHANNELS, INTERVALS_MIN, PRIVATE_CHANNELS
from runtime.adapters.order_book import DEPTHS

MALFORMED: Final = "Malformed request"
PRIVATE_ELSEWHERE: Final = "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"
DEPTH_UNSUPPORTED: Final = "Subscription depth not supported"
INTERVAL_UNSUPPORTED: Final = "Subscription ohlc interval not supported"
TRIGGER_UNSUPPORTED: Final = "Subscription event_trigger not supported"
CHANNEL_UNSUPPORTED: Final = "Subscription name invalid"
SYMBOL_MISSING: Final = "Pair field must be an array"
PAIR_UNSUPPORTED: Final = "Currency pair not supported"
ALREADY: Final = "Already subscribed"
ALREADY_INTERVAL: Final = "Already subscribed to one ohlc interval on this symbol"
NOT_FOUND: Final = "Subscription Not Found"
TOO_MANY: Final = "EGeneral:Too many subscriptions"
UNAVAILABLE: Final = "EService:Unavailable"

TRIGGERS: Final = ("trades", "bbo")
_FIELDS: Final = {"ping": {"method", "req_id"}}
_ALL_FIELDS: Final = {"method", "params", "req_id"}
REQUEST_CHARACTERS_MAX: Final = 64_000


class Topic(NamedTuple):
    """What a subscription is of: the channel, the symbol ("" for instrument) and its depth, interval in minutes or trigger."""

    channel: str
    symbol: str
    depth: int = 0
    interval_min: int = 0
    event_trigger: str = ""


class Ping(NamedTuple):
    """A ping."""

    req_id: int | None


class Refused(NamedTuple):
    """A request that is wrong as a whole."""

    method: str
    error: str
    req_id: int | None


class Request(NamedTuple):
    """A subscribe or unsubscribe: one topic per symbol, in the order of the client."""

    method: str
    topics: tuple[Topic, ...]
    snapshot: bool
    req_id: int | None


def parse(text: str) -> Ping | Request | Refused:
    """Return what a client asked, or the refusal it gets."""
    if len(text) > REQUEST_CHARACTERS_MAX:
        return Refused("", MALFORMED, None)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return Refused("", MALFORMED, None)
    if not isinstance(body, dict):
        return Refused("", MALFORMED, None)
    method, req_id = body.get("method"), body.get("req_id")
    if not isinstance(method, str) or not (req_id is None or type(req_id) is int):
        return Refused(method if isinstance(method, str) else "", MALFORMED, None)
    unknown = sorted(set(body) - _FIELDS.get(method, _ALL_FIELDS))
    if unknown:
        return Refused(method, f"Unsupported field: '{unknown[0]}' for the given msg type: {method}", req_id)
    if method == "ping":
        return Ping(req_id)
    params = body.get("params")
    if method not in {"subscribe", "unsubscribe"} or not isinstance(params, dict):
        return Refused(method, MALFORMED, req_id)
    return _subscription(method, params, req_id)


def _subscription(method: str, params: dict[str, object], req_id: int | None) -> Request | Refused:
    channel = params.get("channel")
    if not isinstance(channel, str) or channel not in {*CHANNELS, *PRIVATE_CHANNELS}:
        return Refused(method, CHANNEL_UNSUPPORTED, req_id)
    if channel in PRIVATE_CHANNELS:
        return Refused(method, PRIVATE_ELSEWHERE, req_id)
    snapshot = params.get("snapshot", channel != "trade")
    if not isinstance(snapshot, bool):
        return Refused(method, MALFORMED, req_id)
    if channel == "instrument":
        return Request(method, (Topic(channel, ""),), snapshot, req_id)
    symbols = params.get("symbol")
    if not isinstance(symbols, list) or not symbols or not all(isinstance(symbol, str) for symbol in symbols):
        return Refused(method, SYMBOL_MISSING, req_id)
    topic = _topic(channel, params)
    if isinstance(topic, str):
        return Refused(method, topic, req_id)
    return Request(method, tuple(topic._replace(symbol=symbol) for symbol in symbols), snapshot, req_id)


def _topic(channel: str, params: dict[str, object]) -> Topic | str:
    if channel == "book":
        depth = params.get("depth", DEPTHS[0])
        return Topic(channel, "", depth=depth) if type(depth) is int and depth in DEPTHS else DEPTH_UNSUPPORTED
    if channel == "ohlc":
        interval = params.get("interval", INTERVALS_MIN[0])
        return (
            Topic(channel, "", interval_min=interval)
            if type(interval) is int and interval in INTERVALS_MIN
            else INTERVAL_UNSUPPORTED
        )
    if channel == "ticker":
        trigger = params.get("event_trigger", "trades")
        return Topic(channel, "", event_trigger=str(trigger)) if trigger in TRIGGERS else TRIGGER_UNSUPPORTED
    return Topic(channel, "")
