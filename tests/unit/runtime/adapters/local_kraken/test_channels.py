"""Golden messages: each expected text was recorded from the venue (2023 to 2026) or is its documented example."""

from __future__ import annotations

import calendar
import json
from decimal import Decimal

import pytest

from runtime.adapters.local_kraken import channels
from runtime.adapters.local_kraken.channels import Answer, Ticker
from runtime.adapters.local_kraken.pairs import PairInfo
from runtime.adapters.local_kraken.records import NS, Candle, Trade
from runtime.adapters.order_book import Change, Level

BTC = PairInfo("XBT", "USD", 1, 8)


def at_ns(text: str) -> int:
    """Return the nanoseconds of a recorded time."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    date, _, time = whole.partition("T")
    fields = [int(field) for field in (*date.split("-"), *time.split(":"))]
    return calendar.timegm((*fields, 0, 0, 0)) * NS + int(fraction.ljust(9, "0"))


def test_status() -> None:
    assert channels.status(18125794168470749634) == (
        '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2",'
        '"connection_id":18125794168470749634,"upcoming_maintenance":[],"emergency":[]}]}'
    )


def test_trade() -> None:
    time_ns = at_ns("2026-09-25T17:48:26.844359Z")
    trade = Trade(109116693, time_ns, "buy", "limit", Decimal("83744.3"), Decimal("0.0004478"))
    assert channels.trade("update", BTC, [trade]) == (
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":83744.3,"qty":0.00044780,'
        '"ord_type":"limit","trade_id":109116693,"timestamp":"2026-09-25T17:48:26.844359Z"}]}'
    )


def test_ohlc() -> None:
    numbers = [Decimal(n) for n in ("83729.5", "83745.2", "83729.4", "83744.3", "83736.4", "0.21155628")]
    candle = Candle(at_ns("2026-09-25T17:48:00Z") // NS, *numbers, 33)
    assert channels.ohlc("update", BTC, 1, [candle], at_ns("2026-09-25T17:48:26.844359566Z")) == (
        '{"channel":"ohlc","type":"update","timestamp":"2026-09-25T17:48:26.844359566Z","data":[{"symbol":"BTC/USD",'
        '"open":83729.5,"high":83745.2,"low":83729.4,"close":83744.3,"trades":33,"volume":0.21155628,"vwap":83736.4,'
        '"interval_begin":"2026-09-25T17:48:00.000000000Z","interval":1,"timestamp":"2026-09-25T17:49:00.000000Z"}]}'
    )


def test_ticker() -> None:
    numbers = "83744.2 0.56251979 83744.3 0.0004478 83744.3 3156.8478211 84174.6 83163.6 85247.4 -429.3 -0.51"
    now = Ticker(*[Decimal(n) for n in numbers.split()], trades_n=135262)
    assert channels.ticker("update", BTC, now, at_ns("2026-09-25T17:48:26.844359Z")) == (
        '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":83744.2,"bid_qty":0.56251979,"ask":83744.3,'
        '"ask_qty":0.00044780,"last":83744.3,"volume":3156.84782110,"vwap":84174.6,"low":83163.6,"high":85247.4,'
        '"change":-429.3,"change_pct":-0.51,"trades":135262,"timestamp":"2026-09-25T17:48:26.844359Z"}]}'
    )


def test_book() -> None:
    change = Change([], [Level(628070, 0), Level(628188, 65540712)])
    assert channels.book("update", BTC, change, 4249465476, at_ns("2026-08-16T23:37:03.745044Z")) == (
        '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":62807.0,"qty":0.00000000},'
        '{"price":62818.8,"qty":0.65540712}],"checksum":4249465476,"timestamp":"2026-08-16T23:37:03.745044Z"}]}'
    )


def test_instrument_rows_have_the_recorded_form() -> None:
    pair = PairInfo("ETH", "XBT", 5, 8)
    message = channels.instrument("snapshot", [pair, BTC])
    assert message.startswith(
        '{"channel":"instrument","type":"snapshot","data":{"assets":[{"id":"ETH","status":"enabled","precision":10,'
    )
    assert (
        '{"symbol":"ETH/BTC","base":"ETH","quote":"BTC","status":"online","qty_precision":8,"qty_increment":0.00000001,'
        '"price_precision":5,"cost_precision":10,"marginable":false,"has_index":true,"cost_min":0.00002,"tick_size":0.00001,'
        '"price_increment":0.00001,"qty_min":0.00200000}'
    ) in message
    body = json.loads(message)
    assert [asset["id"] for asset in body["data"]["assets"]] == ["ETH", "BTC", "USD"]
    assert [pair["symbol"] for pair in body["data"]["pairs"]] == ["ETH/BTC", "BTC/USD"]


@pytest.mark.parametrize(
    ("reply", "req_id", "time_in", "expected"),
    [
        (
            Answer("subscribe", channel="ticker", symbol="BTC/USD", event_trigger="trades", snapshot=True),
            42,
            "2024-05-15T11:20:43.013486Z",
            (
                '{"method":"subscribe","req_id":42,"result":{"channel":"ticker","event_trigger":"trades","snapshot":true,'
                '"symbol":"BTC/USD"},"success":true,"time_in":"2024-05-15T11:20:43.013486Z","time_out":"2024-05-15T11:20:43.013517Z"}'
            ),
        ),
        (
            Answer("subscribe", channel="trade", symbol="BTC/USD", snapshot=False),
            None,
            "2026-09-25T17:48:24.745996Z",
            (
                '{"method":"subscribe","result":{"channel":"trade","snapshot":false,"symbol":"BTC/USD"},"success":true,'
                '"time_in":"2026-09-25T17:48:24.745996Z","time_out":"2026-09-25T17:48:24.746027Z"}'
            ),
        ),
        (
            Answer("subscribe", channel="ohlc", symbol="ETH/USD", interval_min=60, snapshot=True),
            121,
            "2024-05-19T19:06:57.002983Z",
            (
                '{"method":"subscribe","req_id":121,"result":{"channel":"ohlc","interval":60,"snapshot":true,"symbol":"ETH/USD",'
                '"warnings":["timestamp is deprecated, use interval_begin"]},"success":true,'
                '"time_in":"2024-05-19T19:06:57.002983Z","time_out":"2024-05-19T19:06:57.003014Z"}'
            ),
        ),
        (
            Answer("subscribe", channel="instrument", snapshot=True),
            0,
            "2024-05-19T19:44:43.264430Z",
            (
                '{"method":"subscribe","req_id":0,"result":{"channel":"instrument","snapshot":true,'
                '"warnings":["tick_size is deprecated, use price_increment"]},"success":true,'
                '"time_in":"2024-05-19T19:44:43.264430Z","time_out":"2024-05-19T19:44:43.264461Z"}'
            ),
        ),
        (
            Answer("unsubscribe", channel="book", symbol="BTC/USD", depth=25),
            7,
            "2024-05-19T19:44:43.264430Z",
            (
                '{"method":"unsubscribe","req_id":7,"result":{"channel":"book","depth":25,"symbol":"BTC/USD"},"success":true,'
                '"time_in":"2024-05-19T19:44:43.264430Z","time_out":"2024-05-19T19:44:43.264461Z"}'
            ),
        ),
        (
            Answer("subscribe", error="Currency pair not supported XBT/USD", symbol="XBT/USD"),
            None,
            "2026-09-25T17:48:54.701041Z",
            (
                '{"error":"Currency pair not supported XBT/USD","method":"subscribe","success":false,"symbol":"XBT/USD",'
                '"time_in":"2026-09-25T17:48:54.701041Z","time_out":"2026-09-25T17:48:54.701072Z"}'
            ),
        ),
        (
            Answer("subscribe", error="Already subscribed", symbol="BTC/USD"),
            2,
            "2025-12-20T07:39:28.809188Z",
            (
                '{"error":"Already subscribed","method":"subscribe","req_id":2,"success":false,"symbol":"BTC/USD",'
                '"time_in":"2025-12-20T07:39:28.809188Z","time_out":"2025-12-20T07:39:28.809219Z"}'
            ),
        ),
        (
            Answer("subscribe", error="Subscription depth not supported"),
            None,
            "2026-08-16T23:54:19.629313Z",
            (
                '{"error":"Subscription depth not supported","method":"subscribe","success":false,'
                '"time_in":"2026-08-16T23:54:19.629313Z","time_out":"2026-08-16T23:54:19.629344Z"}'
            ),
        ),
    ],
)
def test_answers(reply: Answer, req_id: int | None, time_in: str, expected: str) -> None:
    assert channels.answer(reply, at_ns(time_in), req_id) == expected


def test_pong_heartbeat_and_rate_limit() -> None:
    assert channels.pong(at_ns("2024-05-20T11:08:49.272922Z"), 1) == (
        '{"method":"pong","req_id":1,"time_in":"2024-05-20T11:08:49.272922Z","time_out":"2024-05-20T11:08:49.272953Z"}'
    )
    assert '"req_id"' not in channels.pong(0, None)
    assert json.loads(channels.HEARTBEAT) == {"channel": "heartbeat"}
    assert json.loads(channels.rate_exceeded()) == {"Error": "Exceeded msg rate"}
    with pytest.raises(ValueError, match="JSON|control|Unterminated"):
        json.loads(channels.GARBAGE)


def test_text_of_a_client_is_quoted() -> None:
    symbol = 'A"\\\n/USD'
    message = channels.answer(Answer("subscribe", error=f"Currency pair not supported {symbol}", symbol=symbol), 0, None)
    assert json.loads(message)["symbol"] == symbol


def test_numbers_never_have_an_exponent() -> None:
    assert channels.number(Decimal("1E-8"), 8) == "0.00000001"
    assert channels.number(Decimal("1E+3"), 1) == "1000.0"
