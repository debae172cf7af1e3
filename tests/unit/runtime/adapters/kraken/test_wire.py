from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.adapters.kraken import wire
from runtime.adapters.order_book import Level, plain
from runtime.errors import DataError


def test_a_message_of_a_channel() -> None:
    frame = wire.read(
        '{"channel":"ohlc","type":"update","timestamp":"2023-11-15T01:00:00.000000123Z","data":[{"symbol":"BTC/USD","open":1.10},5]}'
    )
    assert (frame.channel, frame.kind, frame.at_ms) == ("ohlc", "update", 1_700_010_000_000)
    assert frame.rows == ({"symbol": "BTC/USD", "open": "1.10"},)


def test_answers_of_the_venue() -> None:
    pong = wire.read('{"method":"pong","req_id":7,"time_in":"2023-11-15T00:00:00.5Z","time_out":"2023-11-15T00:00:00.512345Z"}')
    assert (pong.method, pong.req_id, pong.at_ms) == ("pong", 7, 1_700_006_400_512)
    no = wire.read('{"error":"EService:Unavailable","method":"subscribe","success":false,"symbol":"BTC/USD"}')
    assert (no.success, no.error, no.symbol) == (False, "EService:Unavailable", "BTC/USD")
    yes = wire.read('{"method":"subscribe","result":{"channel":"ohlc","symbol":"BTC/USD"},"success":true}')
    assert (yes.success, yes.answered, yes.symbol, yes.req_id) == (True, "ohlc", "BTC/USD", -1)
    fast = wire.read('{"Error":"Exceeded msg rate"}')
    assert (fast.method, fast.success, fast.error) == ("error", False, "Exceeded msg rate")


@pytest.mark.parametrize(
    "text", ["", "{", '{"channel":"book","type":"upd\ufffd', "[1]", "7", '{"channel":"ohlc","timestamp":5}', "[" * 5_000]
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        wire.read(text)


def test_a_message_without_rows_or_method_says_nothing() -> None:
    assert wire.read('{"channel":"heartbeat"}').rows == ()
    assert wire.read('{"channel":"book","data":5}').rows == ()
    assert wire.read("{}").success is False


@given(st.decimals(min_value=0, max_value=10**10, places=8, allow_nan=False, allow_infinity=False))
def test_a_number_is_the_nearest_double_of_its_text(value: object) -> None:
    text = f"{value:.8f}"
    assert wire.number_of({"close": text}, "close").hex() == float(text).hex()


@given(st.floats(min_value=1e-12, max_value=1e15, allow_nan=False))
def test_the_shortest_text_of_a_double_comes_back_as_that_double(value: float) -> None:
    assert wire.number(repr(value), "price").hex() == value.hex()


@given(st.integers(min_value=0, max_value=10**18), st.integers(min_value=0, max_value=8))
def test_units_are_the_digits_of_the_text(value: int, decimals: int) -> None:
    assert wire.units(plain(value, decimals), decimals) == value


def test_units_of_other_spellings() -> None:
    assert wire.units("1", 2) == 100
    assert wire.units("1.5", 2) == 150
    assert wire.units("1E-7", 8) == 10


@pytest.mark.parametrize("value", [None, "", "-1", "1_000", "NaN", "Infinity", "0x1", "1" * 50, 1.5, "1.2.3", "\u0661"])
def test_no_number_is_taken_for_one(value: object) -> None:
    with pytest.raises(DataError):
        wire.units(value, 2)
    with pytest.raises(DataError):
        wire.number(value, "close")


def test_a_price_finer_than_the_pair_is_refused() -> None:
    with pytest.raises(DataError, match="2 decimals"):
        wire.units("1.234", 2)


def test_a_number_beyond_all_doubles_is_refused() -> None:
    with pytest.raises(DataError):
        wire.number("1e999", "close")


def test_levels_and_their_damage() -> None:
    row: wire.Row = {"bids": [{"price": "1.50", "qty": "2.000"}]}
    assert wire.levels(row, "bids", 2, 3) == [Level(150, 2_000)]
    for wrong in ({}, {"bids": 5}, {"bids": [5]}, {"bids": [{"price": "1.50"}]}):
        with pytest.raises(DataError):
            wire.levels(wrong, "bids", 2, 3)


@pytest.mark.parametrize("value", [None, "2023-11-15T00:00:00", "2023-13-15T00:00:00Z", "x" * 60 + "Z"])
def test_no_time_is_taken_for_one(value: object) -> None:
    with pytest.raises(DataError):
        wire.moment_ms(value)


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001  hypothesis wants it naive
def test_times_are_whole_milliseconds(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    wanted = int(at.replace(microsecond=0).timestamp()) * 1_000 + at.microsecond // 1_000
    assert wire.moment_ms(at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == wanted
    assert wire.moment_ms(at.strftime("%Y-%m-%dT%H:%M:%SZ")) == wanted - wanted % 1_000


def test_a_text_field_that_is_missing() -> None:
    with pytest.raises(DataError, match="checksum"):
        wire.text_of({}, "checksum")


def test_every_message_of_the_recording_is_read(real_data: Path) -> None:
    capture = json.loads((real_data / "kraken-book" / "kraken_BTCUSD_book10_ws_v2.json").read_text())
    for message in [capture["init"], *capture["updates"]][:200]:
        frame = wire.read(json.dumps(message))
        assert frame.channel == "book" or frame.rows == ()
