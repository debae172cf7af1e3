from __future__ import annotations

import json

import pytest

from runtime.adapters.local_kraken import requests
from runtime.adapters.local_kraken.requests import Ping, Refused, Request, Topic, parse


def subscribe(params: object, **head: object) -> str:
    return json.dumps({"method": "subscribe", "params": params, **head})


def test_a_subscription_has_one_topic_per_symbol_with_the_defaults_of_the_venue() -> None:
    both = ["BTC/USD", "ETH/USD"]
    assert parse(subscribe({"channel": "book", "symbol": both}, req_id=3)) == Request(
        "subscribe", (Topic("book", "BTC/USD", depth=10), Topic("book", "ETH/USD", depth=10)), True, 3
    )
    assert parse(subscribe({"channel": "trade", "symbol": both[:1]})) == Request(
        "subscribe", (Topic("trade", "BTC/USD"),), False, None
    )
    assert parse(subscribe({"channel": "ohlc", "symbol": both[:1], "interval": 60, "snapshot": False})) == Request(
        "subscribe", (Topic("ohlc", "BTC/USD", interval_min=60),), False, None
    )
    assert parse(subscribe({"channel": "ticker", "symbol": both[:1]})) == Request(
        "subscribe", (Topic("ticker", "BTC/USD", event_trigger="trades"),), True, None
    )
    assert parse('{"method":"unsubscribe","params":{"channel":"instrument"}}') == Request(
        "unsubscribe", (Topic("instrument", ""),), True, None
    )


def test_ping() -> None:
    assert parse('{"method":"ping","req_id":7}') == Ping(7)
    assert parse('{"method":"ping"}') == Ping(None)


@pytest.mark.parametrize(
    ("text", "method", "error", "req_id"),
    [
        ("{", "", requests.MALFORMED, None),
        ("[" * 100_000, "", requests.MALFORMED, None),
        ("[" * 60_000, "", requests.MALFORMED, None),
        ("[]", "", requests.MALFORMED, None),
        ("{}", "", requests.MALFORMED, None),
        ('{"method":"subscribe","req_id":"1"}', "subscribe", requests.MALFORMED, None),
        ('{"method":"subscribe","req_id":true}', "subscribe", requests.MALFORMED, None),
        ('{"method":"subscribe","req_id":1}', "subscribe", requests.MALFORMED, 1),
        ('{"method":"add_order","params":{}}', "add_order", requests.MALFORMED, None),
        ('{"method":"ping","params":{},"req_id":0}', "ping", "Unsupported field: 'params' for the given msg type: ping", 0),
        (
            '{"method":"subscribe","channel":"book"}',
            "subscribe",
            "Unsupported field: 'channel' for the given msg type: subscribe",
            None,
        ),
        (subscribe({"channel": "executions"}), "subscribe", requests.PRIVATE_ELSEWHERE, None),
        (subscribe({"channel": "candles", "symbol": ["BTC/USD"]}), "subscribe", requests.CHANNEL_UNSUPPORTED, None),
        (subscribe({"channel": ["book"], "symbol": ["BTC/USD"]}), "subscribe", requests.CHANNEL_UNSUPPORTED, None),
        (subscribe({"channel": "book", "symbol": "BTC/USD"}), "subscribe", requests.SYMBOL_MISSING, None),
        (subscribe({"channel": "book", "symbol": []}), "subscribe", requests.SYMBOL_MISSING, None),
        (subscribe({"channel": "book", "symbol": [1]}), "subscribe", requests.SYMBOL_MISSING, None),
        (subscribe({"channel": "book", "symbol": ["BTC/USD"], "snapshot": 1}), "subscribe", requests.MALFORMED, None),
        (subscribe({"channel": "book", "symbol": ["BTC/USD"], "depth": 27}), "subscribe", requests.DEPTH_UNSUPPORTED, None),
        (subscribe({"channel": "book", "symbol": ["BTC/USD"], "depth": 10.0}), "subscribe", requests.DEPTH_UNSUPPORTED, None),
        (subscribe({"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 7}), "subscribe", requests.INTERVAL_UNSUPPORTED, None),
        (subscribe({"channel": "ohlc", "symbol": ["BTC/USD"], "interval": True}), "subscribe", requests.INTERVAL_UNSUPPORTED, None),
        (subscribe({"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": ["bbo"]}), "subscribe", requests.TRIGGER_UNSUPPORTED, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_the_words_of_the_venue(text: str, method: str, error: str, req_id: int | None) -> None:
    assert parse(text) == Refused(method, error, req_id)
