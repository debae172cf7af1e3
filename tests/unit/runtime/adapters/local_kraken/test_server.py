"""The server on its port, driven by the real ccxt client: what it reads, what each fault is to it, stepped time, a clean end."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest

from runtime.adapters.local_kraken import control, server
from runtime.adapters.local_kraken.faults import Fault, Switch
from runtime.adapters.local_kraken.limits import RateRule
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import LocalKraken, Settings, serve
from runtime.errors import EnvironmentFailure, UsageError
from tests.support.local_kraken import HOUR_S, START_T, hourly, write_bars

HOURS = 60
NOW_T = START_T + HOURS * HOUR_S
HEADERS = {"Content-Type": "application/json"}


def market_of(folder: Path) -> LocalMarket:
    write_bars(folder / "1h/XBTUSD.parquet", hourly(HOURS + 200))
    write_bars(folder / "binance-spot/1h/SOLUSDT.parquet", hourly(HOURS + 200, quiet=frozenset({3, 4})))
    return LocalMarket.open([folder], seed=2, start_ns=NOW_T * NS, stand_in_for=("USD", "CAD"))


def client_of(local: LocalKraken, *, timeout_ms: int = 5_000) -> Any:
    client = ccxt.kraken({"enableRateLimit": False, "timeout": timeout_ms})
    client.urls["api"] = {"public": local.url, "private": local.url}
    return client


def ask(url: str, body: object = None, method: str | None = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, HEADERS | headers, method=method or ("POST" if data is not None else "GET"))  # noqa: S310  loopback
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  loopback
        return json.load(answer)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalKraken]:
    with serve(market_of(tmp_path)) as running:
        yield running


def test_ccxt_reads_everything(local: LocalKraken) -> None:
    client = client_of(local)
    markets = client.load_markets()
    assert sorted(markets) == ["BTC/USD", "SOL/CAD", "SOL/USD"]
    assert (markets["BTC/USD"]["id"], markets["BTC/USD"]["precision"]["price"]) == ("XXBTZUSD", 0.01)
    assert markets["BTC/USD"]["limits"]["amount"]["min"] == 0.00005
    bars = hourly(HOURS)
    candles = client.fetch_ohlcv("BTC/USD", "1h")
    assert [(c[0] // 1_000, *c[1:]) for c in candles[:-1]] == [bar[:6] for bar in bars]
    assert candles[-1][0] == NOW_T * 1_000
    since_ms = (NOW_T - 10 * HOUR_S) * 1_000
    assert [c[0] for c in client.fetch_ohlcv("SOL/CAD", "1h", since_ms)] == [since_ms + n * 3_600_000 for n in range(11)]
    book = client.fetch_order_book("BTC/USD", 5)
    assert (len(book["bids"]), book["bids"][0][0] < book["asks"][0][0]) == (5, True)
    ticker = client.fetch_ticker("BTC/USD")
    assert ticker["bid"] < ticker["last"] < ticker["ask"]
    assert ticker["last"] == candles[-1][4]
    assert client.fetch_status()["status"] == "ok"
    assert client.fetch_time() == NOW_T * 1_000
    ask(local.url + "/control/status", {"mode": "maintenance"})
    assert client.fetch_status()["status"] == "maintenance"
    with pytest.raises(ccxt.ExchangeNotAvailable):
        client.fetch_ticker("BTC/USD")
    ask(local.url + "/control/status", {"mode": "online"})
    with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
        client.publicGetOHLC({"pair": "NOPE"})


def test_ccxt_pages_through_all_trades_and_they_make_the_bars(local: LocalKraken) -> None:
    client = client_of(local)
    client.load_markets()
    first = client.fetch_trades("BTC/USD", since=START_T * 1_000, limit=100)
    assert [trade["id"] for trade in first[:-1]] == [str(n) for n in range(1, 100)]  # ccxt puts `last` behind the newest trade
    cursor, rows = "0", []
    while page := (result := client.publicGetTrades({"pair": "XBTUSD", "since": cursor})["result"])["XXBTZUSD"]:
        rows += page
        cursor = result["last"]
    hours = [[r for r in rows if START_T + h * HOUR_S <= float(r[2]) < START_T + (h + 1) * HOUR_S] for h in range(HOURS)]
    for bar, inside in zip(hourly(HOURS), hours, strict=True):
        prices = [float(r[0]) for r in inside]
        assert (prices[0], max(prices), min(prices), prices[-1]) == bar[1:5]
        assert round(sum(float(r[1]) for r in inside), 8) == bar[5]
    assert len(rows) == sum(map(len, hours))


FAILURES = {
    Fault.STALL: ccxt.RequestTimeout,
    Fault.DROP_BEFORE_HEADERS: ccxt.NetworkError,
    Fault.DROP_AFTER_HEADERS: ccxt.NetworkError,
    Fault.HTTP_429: ccxt.RateLimitExceeded,
    Fault.HTTP_500: ccxt.ExchangeNotAvailable,
    Fault.HTTP_502: ccxt.ExchangeNotAvailable,
    Fault.HTTP_503: ccxt.ExchangeNotAvailable,
    Fault.HTTP_520: ccxt.ExchangeNotAvailable,
    Fault.RATE_LIMIT: ccxt.DDoSProtection,
    Fault.UNAVAILABLE: ccxt.ExchangeNotAvailable,
    Fault.BUSY: ccxt.ExchangeNotAvailable,
    Fault.INTERNAL: ccxt.ExchangeNotAvailable,
    Fault.TIMEOUT: ccxt.ExchangeError,
}


@pytest.mark.parametrize("fault", FAILURES)
def test_a_fault_is_the_exception_that_ccxt_has_for_it(local: LocalKraken, fault: Fault) -> None:
    client = client_of(local, timeout_ms=150 if fault is Fault.STALL else 5_000)
    local.venue.faults.add(Switch(fault, "OHLC", next_n=1))
    with pytest.raises(ccxt.BaseError) as raised:
        client.publicGetOHLC({"pair": "XBTUSD"})
    assert type(raised.value) is FAILURES[fault] or (fault.startswith("drop") and isinstance(raised.value, ccxt.NetworkError))
    assert client.publicGetOHLC({"pair": "XBTUSD"})["error"] == []
    assert ask(local.url + "/control/faults")["injected"] == {fault.value: 1}


def test_content_that_ccxt_lets_pass(local: LocalKraken) -> None:
    """A broken body in a 200 answer is no exception in ccxt: the raw text comes back, and its unified calls see no row."""
    client = client_of(local)
    client.load_markets()
    for fault in (Fault.TRUNCATED_JSON, Fault.EMPTY_BODY, Fault.HTML_BODY):
        local.venue.faults.add(Switch(fault, "OHLC", next_n=2))
        assert not isinstance(client.publicGetOHLC({"pair": "XBTUSD"}), dict)
        assert client.fetch_ohlcv("BTC/USD", "1h") == []
    local.venue.faults.add(Switch(Fault.WRONG_TYPES, "OHLC", next_n=1))
    assert isinstance(client.publicGetOHLC({"pair": "XBTUSD"})["result"]["XXBTZUSD"][0][-1], dict)


def test_time_is_stepped_from_outside_and_from_a_thread(local: LocalKraken) -> None:
    base = local.url + "/control/"
    assert ask(base + "now") == {"now_ns": NOW_T * NS, "now": "2023-11-17T12:00:00Z", "speed": 0.0}
    assert ask(base + "advance", {"by_s": 0.5})["now_ns"] == NOW_T * NS + NS // 2
    assert ask(base + "advance", {"to": "2023-11-17T13:00:00.000001Z"})["now_ns"] == (NOW_T + HOUR_S) * NS + 1_000
    assert ask(base + "advance", {"to_ns": (NOW_T + 2 * HOUR_S) * NS})["now"] == "2023-11-17T14:00:00Z"
    assert local.advance((NOW_T + 3 * HOUR_S) * NS) == local.now_ns == (NOW_T + 3 * HOUR_S) * NS
    assert ask(local.url + "/0/public/Time")["result"]["unixtime"] == NOW_T + 3 * HOUR_S
    assert local.websocket_url == local.url.replace("http", "ws") + "/v2"


def test_whoever_asks_for_a_later_time_is_answered_when_it_comes(local: LocalKraken, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = local.now_ns
    assert ask(f"{local.url}/control/now?after_ns={now_ns - 1}")["now_ns"] == now_ns
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(ask(f"{local.url}/control/now?after_ns={now_ns}")["now_ns"]))
    waiting.start()
    time.sleep(0.1)
    assert not found
    local.advance(now_ns + 7)
    waiting.join(5)
    assert found == [now_ns + 7]
    monkeypatch.setattr(control, "NOW_WAIT_S", 0.05)
    assert ask(f"{local.url}/control/now?after_ns={now_ns + 7}")["now_ns"] == now_ns + 7, "time stands: answered all the same"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask(f"{local.url}/control/now?after_ns=soon")


def test_a_skewed_time_is_ahead_and_touches_nothing_else(local: LocalKraken) -> None:
    local.venue.faults.add(Switch(Fault.TIME_SKEW, next_n=1))
    assert ask(local.url + "/0/public/SystemStatus")["result"]["status"] == "online"
    assert ask(local.url + "/0/public/Time")["result"]["unixtime"] == NOW_T + 90
    assert ask(local.url + "/0/public/Time")["result"]["unixtime"] == NOW_T


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("advance", {"by_s": -1}, "time never goes back"),
        ("advance", {"to_ns": 5}, "time never goes back"),
        ("advance", {"by_s": 1e300}, "time never goes back"),
        ("advance", {}, "no single time"),
        ("advance", {"by_s": 1, "to_ns": 2}, "no single time"),
        ("advance", {"to": "2030-01-01T00:00:00"}, "no single time"),
        ("advance", {"by_hours": 1}, "Extra inputs"),
        ("speed", {"speed": -1}, "a speed of"),
        ("speed", [], "valid"),
        ("faults", {"add": ["stall:every=1", "nope"]}, "the fault 'nope'"),
        ("status", {"mode": "asleep"}, "maintenance"),
    ],
)
def test_a_wrong_command_changes_nothing_and_says_why(local: LocalKraken, path: str, body: object, said: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        ask(f"{local.url}/control/{path}", body)
    assert raised.value.code == 400
    assert said in json.load(raised.value)["error"]
    assert ask(local.url + "/control/now")["now_ns"] == NOW_T * NS
    assert ask(local.url + "/control/faults")["switches"] == []


def test_faults_limits_and_status_are_switched_from_outside(local: LocalKraken) -> None:
    base = local.url + "/control/"
    assert ask(base + "faults", {"add": ["http-503@OHLC:every=2", "stall:p=1"]})["switches"] == [
        {"fault": "http-503", "place": "OHLC", "every_n": 2, "probability_ppm": 0, "next_n": 0},
        {"fault": "stall", "place": "*", "every_n": 0, "probability_ppm": 1, "next_n": 0},
    ]
    assert ask(base + "faults", method="DELETE") == {"seed": 2, "switches": [], "injected": {}}
    assert ask(base + "status", {"burst_n": 1})["refused_n"] == 0
    assert [ask(local.url + "/0/public/Time")["error"] for _ in range(2)] == [[], ["EGeneral:Too many requests"]]
    local.advance(local.now_ns + NS)
    assert ask(local.url + "/0/public/Time")["error"] == []
    status = ask(base + "status", {"burst_n": 0})
    assert (status["refused_n"], status["calls"], status["pairs"]) == (1, {"Time": 3}, ["SOLCAD", "SOLUSD", "XBTUSD"])
    assert (status["connections_n"], status["mode"], status["seed"]) == (0, "online", 2)
    assert ask(base + "drop", {}) == {"dropped_n": 0}


def test_the_websocket_says_what_a_step_brought(local: LocalKraken) -> None:
    async def follow() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with aiohttp.ClientSession() as session, session.ws_connect(local.websocket_url) as line:
            await line.send_json(
                {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": False}}
            )
            while not any(message.get("success") for message in found):
                found.append(await line.receive_json(timeout=10))
            await asyncio.to_thread(local.advance, (NOW_T + HOUR_S) * NS)
            ask_drop = asyncio.to_thread(ask, local.url + "/control/drop", {})
            assert await ask_drop == {"dropped_n": 1}
            while (message := await line.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                found.append(json.loads(message.data))
        return [row for message in found if message.get("channel") == "trade" for row in message["data"]]

    rows = asyncio.run(follow())
    (pair,) = [pair for pair in local.venue.market.pairs if pair.altname == "XBTUSD"]
    trades = local.venue.market.trades(pair, NOW_T * NS, (NOW_T + HOUR_S) * NS)
    assert [row["trade_id"] for row in rows] == [trade.trade_id for trade in trades]
    assert len(rows) >= 3


def test_a_page_under_a_foreign_name_is_refused(local: LocalKraken) -> None:
    port = local.url.rpartition(":")[2]
    assert ask(local.url + "/0/public/Time", Host=f"localhost:{port}")["error"] == []
    assert ask(local.url + "/0/public/Time", Host="[::1]")["error"] == []
    for name in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):
        with pytest.raises(urllib.error.HTTPError) as raised:
            ask(local.url + "/control/now", Host=name)
        assert raised.value.code == 403


def test_time_that_runs_is_seen_by_rest_and_may_be_stopped(tmp_path: Path) -> None:
    with serve(market_of(tmp_path), settings=Settings(speed=100_000.0)) as local:
        times = [ask(local.url + "/0/public/Time")["result"]["unixtime"] for _ in range(20)]
        assert times == sorted(times)
        assert times[-1] > NOW_T
        began_s = time.monotonic()
        while local.now_ns < (NOW_T + 10 * HOUR_S) * NS:  # the clock's own task moves it, nobody asks
            assert time.monotonic() - began_s < 20
            time.sleep(0.005)
        ask(local.url + "/control/speed", {"speed": 0})
        assert ask(local.url + "/control/now")["now_ns"] == ask(local.url + "/control/now")["now_ns"]
        ask(local.url + "/control/speed", {"speed": 1_000})
        assert ask(local.url + "/control/now")["speed"] == 1_000


def test_the_rate_limit_may_count_in_real_time(tmp_path: Path) -> None:
    settings = Settings(rate=RateRule(burst_n=2, call_ns=3_600 * NS), rate_on_wall_clock=True)
    with serve(market_of(tmp_path), settings=settings) as local:
        assert [ask(local.url + "/0/public/Time")["error"] for _ in range(3)] == [[], [], ["EGeneral:Too many requests"]]
        local.advance(local.now_ns + 10 * HOUR_S * NS)
        assert ask(local.url + "/0/public/Time")["error"] == ["EGeneral:Too many requests"]


def test_nothing_is_left_after_the_end_even_with_a_stalled_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_S", 60.0)
    gc.collect()
    before = set(
        threading.enumerate()
    )  # themselves, not their number: a thread that another test left may end while this one runs
    with warnings.catch_warnings(), socket.socket() as held:
        warnings.simplefilter("error")
        with serve(market_of(tmp_path)) as local:
            address = ("127.0.0.1", int(local.url.rpartition(":")[2]))
            local.venue.faults.add(Switch(Fault.STALL, next_n=1))
            held.connect(address)
            held.sendall(b"GET /0/public/Time HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not local.venue.faults.injected:
                time.sleep(0.001)
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 20
    assert not set(threading.enumerate()) - before
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass


def test_a_stall_ends_by_itself(tmp_path: Path) -> None:
    with serve(market_of(tmp_path), settings=Settings(stall_s=0.05)) as local:
        local.venue.faults.add(Switch(Fault.STALL, next_n=1))
        with pytest.raises(ccxt.NetworkError):
            client_of(local).publicGetTime()


def test_what_is_not_public_is_an_unknown_method(local: LocalKraken) -> None:
    assert ask(local.url + "/0/private/Balance", {})["error"] == ["EGeneral:Unknown method"]
    assert ask(local.url + "/0/public/Balance")["error"] == ["EGeneral:Unknown method"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(local.url + "/elsewhere")


def test_a_wrong_speed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a speed of -1"), serve(market_of(tmp_path), settings=Settings(speed=-1)):
        pass


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    market = market_of(tmp_path)
    with serve(market) as local:
        port = int(local.url.rpartition(":")[2])
        with pytest.raises(EnvironmentFailure, match=f"port {port} of 127.0.0.1 cannot be served"), serve(market, port=port):
            pass


def test_it_listens_on_loopback_only(local: LocalKraken) -> None:
    assert local.url.startswith("http://127.0.0.1:")
    other = ("127.0.0.2", int(local.url.rpartition(":")[2]))  # what listens on every address answers here as well
    with pytest.raises(OSError), socket.create_connection(other, timeout=1):  # noqa: PT011  refused, or no such address
        pass
