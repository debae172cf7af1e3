"""The REST interface as a function: forms, types and field orders of the venue; paging, limits, modes, errors, faults."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.adapters.local_kraken.breakage import SKEW_T, Answer, Delivery
from runtime.adapters.local_kraken.clock import VirtualClock
from runtime.adapters.local_kraken.faults import REST, WEBSOCKET, Fault, FaultPlan, Switch, parse_switch
from runtime.adapters.local_kraken.limits import CLIENTS_KEPT_N, RateLimit, RateRule
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.rest import Mode, RestInterface
from runtime.errors import UsageError
from tests.support.local_kraken import HOUR_S, START_T, hourly, write_bars

HOURS = 800
END_T = START_T + HOURS * HOUR_S


@pytest.fixture
def rest(tmp_path: Path) -> RestInterface:
    write_bars(tmp_path / "1h/XBTUSD.parquet", hourly(HOURS, quiet=frozenset({790, 791})))
    write_bars(tmp_path / "1h/SOLUSD.parquet", hourly(10))
    market = LocalMarket.open([tmp_path], seed=2, start_ns=(END_T - 1_800) * NS)
    return RestInterface(market, FaultPlan(5), RateLimit(None, lambda: market.now_ns))


def result(rest: RestInterface, endpoint: str, **query: str) -> Any:
    answer = rest.answer(endpoint, query)
    assert (answer.status, answer.content_type, answer.delivery) == (200, "application/json", Delivery.WHOLE)
    content = json.loads(answer.body)
    assert list(content) == ["error", "result"]
    assert content["error"] == []
    return content["result"]


def error(rest: RestInterface, endpoint: str, **query: str) -> str:
    content = json.loads(rest.answer(endpoint, query).body)
    assert list(content) == ["error"]
    (text,) = content["error"]
    return str(text)


def test_time_and_status(rest: RestInterface) -> None:
    assert result(rest, "Time") == {"unixtime": END_T - 1_800, "rfc1123": "Mon, 18 Dec 23 07:30:00 +0000"}
    assert result(rest, "SystemStatus") == {"status": "online", "timestamp": "2023-12-18T07:30:00Z"}
    for mode in Mode:
        rest.mode = mode
        assert result(rest, "SystemStatus")["status"] == mode.value
        assert result(rest, "AssetPairs")["SOLUSD"]["status"] == mode.value
        if mode is Mode.MAINTENANCE:
            assert error(rest, "OHLC", pair="XBTUSD") == "EService:Unavailable"
        else:
            assert result(rest, "Depth", pair="XBTUSD")


def test_assets_and_pairs(rest: RestInterface) -> None:
    assert list(result(rest, "Assets")) == ["SOL", "ZUSD", "XXBT"]
    assert result(rest, "Assets", asset="XBT,ZUSD")["XXBT"] == {
        "aclass": "currency", "altname": "XBT", "decimals": 10, "display_decimals": 5, "status": "enabled",
    }  # fmt: skip
    assert error(rest, "Assets", asset="XBT,NOPE") == "EQuery:Unknown asset"
    pairs = result(rest, "AssetPairs")
    assert list(pairs) == ["SOLUSD", "XXBTZUSD"]
    bitcoin = pairs["XXBTZUSD"]
    assert (bitcoin["altname"], bitcoin["wsname"], bitcoin["base"], bitcoin["quote"]) == ("XBTUSD", "XBT/USD", "XXBT", "ZUSD")
    assert (bitcoin["pair_decimals"], bitcoin["lot_decimals"], bitcoin["cost_decimals"]) == (2, 8, 5)
    assert (bitcoin["ordermin"], bitcoin["costmin"], bitcoin["tick_size"]) == ("0.00005", "0.5", "0.01")
    assert bitcoin["fees"][0] == [0, 0.4]
    assert list(result(rest, "AssetPairs", pair="XBTUSD,SOL/USD")) == ["XXBTZUSD", "SOLUSD"]


def test_ohlc_gives_720_candles_of_which_the_last_is_forming(rest: RestInterface) -> None:
    found = result(rest, "OHLC", pair="XBTUSD", interval="60")
    rows = found["XXBTZUSD"]
    assert list(found) == ["XXBTZUSD", "last"]
    assert [row[0] for row in rows] == list(range(END_T - 720 * HOUR_S, END_T, HOUR_S))
    assert found["last"] == END_T - 2 * HOUR_S
    t, o, h, low, c, vwap, volume, count = rows[-3]
    assert all(isinstance(x, str) for x in (o, h, low, c, vwap, volume))
    assert (o.partition(".")[2], volume.partition(".")[2]) == (o[-2:], volume[-8:])
    assert isinstance(count, int)
    quiet = next(row for row in rows if row[0] == START_T + 790 * HOUR_S)
    before = next(row for row in rows if row[0] == START_T + 789 * HOUR_S)
    assert quiet[1:] == [before[4]] * 4 + ["0.00", "0.00000000", 0]
    after = result(rest, "OHLC", pair="XBT/USD", interval="60", since=str(t))["XXBTZUSD"]
    assert after == rows[-2:]
    assert result(rest, "OHLC", pair="XXBTZUSD", interval="60", since=str(END_T * 2))["XXBTZUSD"] == rows[-1:]
    assert result(rest, "OHLC", pair="XXBTZUSD", interval="60", since="5")["XXBTZUSD"] == rows
    assert len(result(rest, "OHLC", pair="XBTUSD")["XXBTZUSD"]) == 720
    whole = result(rest, "OHLC", pair="XBTUSD", interval="21600")["XXBTZUSD"]
    assert sum(row[7] for row in whole) == len(rest.market.trades(rest.market.pairs[1], 0, rest.market.now_ns))


def test_ohlc_of_a_pair_that_stopped_and_of_one_not_yet_listed(rest: RestInterface, tmp_path: Path) -> None:
    rows = result(rest, "OHLC", pair="SOLUSD", interval="60")["SOLUSD"]
    assert {row[7] for row in rows} == {0}
    write_bars(tmp_path / "new/1h/SOLUSD.parquet", hourly(10))
    market = LocalMarket.open([tmp_path / "new"], seed=2, start_ns=(START_T - 1) * NS)
    early = RestInterface(market, FaultPlan(), RateLimit(None, lambda: 0))
    assert result(early, "OHLC", pair="SOLUSD", interval="60") == {"SOLUSD": [], "last": 0}
    assert result(early, "Trades", pair="SOLUSD") == {"SOLUSD": [], "last": str(market.now_ns)}
    assert result(early, "Depth", pair="SOLUSD") == {"SOLUSD": {"asks": [], "bids": []}}
    assert result(early, "Spread", pair="SOLUSD") == {"SOLUSD": [], "last": 0}
    ticker = result(early, "Ticker", pair="SOLUSD")["SOLUSD"]
    assert (ticker["c"], ticker["t"]) == (["0.00000", "0.00000000"], [0, 0])
    (trade,) = market.trades(market.pairs[0], 0, 2**62, 1)
    market.advance(trade.time_ns)
    first = result(early, "OHLC", pair="SOLUSD", interval="60")
    assert (first["last"], [(row[0], row[7]) for row in first["SOLUSD"]]) == (START_T - HOUR_S, [(START_T, 1)])


def test_trades_page_by_the_nanosecond_to_the_end(rest: RestInterface) -> None:
    pair = rest.market.pairs[1]
    everything = rest.market.trades(pair, 0, rest.market.now_ns)
    since, ids, pages = "0", [], 0
    while rows := (page := result(rest, "Trades", pair="XBTUSD", since=since))["XXBTZUSD"]:
        assert len(rows) <= 1_000
        ids += [row[6] for row in rows]
        since, pages = page["last"], pages + 1
        assert since == str(everything[len(ids) - 1].time_ns)
    assert page["last"] == since
    assert ids == [trade.trade_id for trade in everything]
    assert pages == -(-len(everything) // 1_000)
    price, volume, time, side, kind, misc, _ = result(rest, "Trades", pair="XBTUSD", count="1")["XXBTZUSD"][0]
    last = everything[-1]
    assert (price, volume) == (f"{last.price:.5f}", str(last.qty))
    assert abs(time - last.time_ns / NS) < 1e-6
    assert (side, kind, misc) == (last.side[0], last.order_type[0], "")
    in_seconds = result(rest, "Trades", pair="XBTUSD", since=str(last.time_ns // NS), count="5")["XXBTZUSD"]
    assert [row[6] for row in in_seconds] == [last.trade_id]


def test_ticker(rest: RestInterface) -> None:
    found = result(rest, "Ticker")
    assert list(found) == ["SOLUSD", "XXBTZUSD"]
    ticker = found["XXBTZUSD"]
    assert list(ticker) == ["a", "b", "c", "v", "p", "t", "l", "h", "o"]
    pair, now_ns = rest.market.pairs[1], rest.market.now_ns
    day = list(rest.market.trades(pair, now_ns - 86_400 * NS, now_ns))
    today = [t for t in day if t.time_ns >= now_ns // (86_400 * NS) * 86_400 * NS]
    assert ticker["t"] == [len(today), len(day)]
    assert ticker["v"] == [str(sum(t.qty for t in part)) for part in (today, day)]
    assert ticker["h"] == [f"{max(t.price for t in part):.5f}" for part in (today, day)]
    assert ticker["l"] == [f"{min(t.price for t in part):.5f}" for part in (today, day)]
    assert (ticker["o"], ticker["c"]) == (f"{today[0].price:.5f}", [f"{day[-1].price:.5f}", str(day[-1].qty)])
    assert float(ticker["b"][0]) < float(ticker["c"][0]) < float(ticker["a"][0])
    quiet = found["SOLUSD"]
    assert (quiet["t"], quiet["v"], quiet["h"]) == ([0, 0], ["0.00000000"] * 2, [quiet["c"][0]] * 2)


def test_depth_and_spread(rest: RestInterface) -> None:
    depth = result(rest, "Depth", pair="XBTUSD", count="25")["XXBTZUSD"]
    assert list(depth) == ["asks", "bids"]
    assert len(depth["asks"]) == len(depth["bids"]) == 25
    price, volume, at_t = depth["asks"][0]
    assert (len(price.partition(".")[2]), len(volume.partition(".")[2]), at_t) == (5, 8, END_T - 1_800)
    assert len(result(rest, "Depth", pair="XBTUSD")["XXBTZUSD"]["bids"]) == 100
    found = result(rest, "Spread", pair="XBTUSD")
    assert len(found["XXBTZUSD"]) == 200
    assert found["last"] == found["XXBTZUSD"][-1][0]
    assert all(float(bid) < float(ask) for _, bid, ask in found["XXBTZUSD"])
    assert len(result(rest, "Spread", pair="XBTUSD", since=str(found["last"]))["XXBTZUSD"]) == 1


@pytest.mark.parametrize(
    ("endpoint", "query", "said"),
    [
        ("OHLC", {"pair": "NOPE"}, "EQuery:Unknown asset pair"),
        ("Ticker", {"pair": "XBTUSD,NOPE"}, "EQuery:Unknown asset pair"),
        ("OHLC", {}, "EGeneral:Invalid arguments"),
        ("OHLC", {"pair": "XBTUSD", "interval": "7"}, "EGeneral:Invalid arguments:interval"),
        ("OHLC", {"pair": "XBTUSD", "since": "-5"}, "EGeneral:Invalid arguments:since"),
        ("Trades", {"pair": "XBTUSD", "since": "x"}, "EGeneral:Invalid arguments:since"),
        ("Trades", {"pair": "XBTUSD", "count": "0"}, "EGeneral:Invalid arguments:count"),
        ("Depth", {"pair": "XBTUSD", "count": "501"}, "EGeneral:Invalid arguments:count"),
        ("Balance", {}, "EGeneral:Unknown method"),
    ],
)
def test_errors_are_the_venue_s(rest: RestInterface, endpoint: str, query: dict[str, str], said: str) -> None:
    assert error(rest, endpoint, **query) == said


words = st.one_of(
    st.text(max_size=30), st.integers(-5, 10**25).map(str), st.sampled_from(["XBTUSD", "SOLUSD,XBTUSD", ",", "٣٤", "1e9"])
)


@given(
    st.sampled_from(["Time", "Assets", "AssetPairs", "Ticker", "OHLC", "Trades", "Depth", "Spread", "nothing"]),
    st.dictionaries(st.sampled_from(["pair", "asset", "interval", "since", "count", "what"]), words),
    st.sampled_from([*REST, None]),
)
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_question_has_an_answer(rest: RestInterface, endpoint: str, query: dict[str, str], fault: Fault | None) -> None:
    if fault is not None:
        rest.faults.add(Switch(fault, next_n=1))
    answer = rest.answer(endpoint, {"pair": "XBTUSD"} | query)
    if fault is None:
        content = json.loads(answer.body)
        assert ("result" in content) == (content["error"] == [])


def test_a_time_beyond_64_bits_is_a_time_to_come(rest: RestInterface) -> None:
    for since in ("99999999999999", "9223372036854775807", "9999999999999999999"):
        assert result(rest, "Trades", pair="XBTUSD", since=since)["XXBTZUSD"] == []
    assert error(rest, "Trades", pair="XBTUSD", since="9" * 5_000) == "EGeneral:Invalid arguments:since"


def test_a_day_of_steps_gives_the_bytes_of_one_step(tmp_path: Path) -> None:
    write_bars(tmp_path / "1h/XBTUSD.parquet", hourly(60))

    def told(steps: int) -> list[bytes]:
        market = LocalMarket.open([tmp_path], seed=2, start_ns=START_T * NS)
        rest = RestInterface(market, FaultPlan(5), RateLimit(None, lambda: 0))
        for n in range(1, steps + 1):
            market.advance((START_T + 50 * HOUR_S * n // steps) * NS)
            rest.answer("OHLC", {"pair": "XBTUSD", "interval": "60"})
        places = [("OHLC", {"interval": str(m)}) for m in (1, 60, 240)] + [
            (e, {}) for e in ("Trades", "Depth", "Ticker", "Spread")
        ]
        return [rest.answer(endpoint, {"pair": "XBTUSD"} | more).body for endpoint, more in places]

    assert told(1) == told(50) == told(77)


# ---- rate limit ----------------------------------------------------------------------------------------------------


def test_the_rate_limit_is_a_bucket_for_each_client(rest: RestInterface) -> None:
    now = [0]
    rest.limit = RateLimit(RateRule(burst_n=3, call_ns=NS), lambda: now[0])
    good = [b"unixtime" in rest.answer("Time", {}, client).body for client in ("a", "a", "a", "a", "b")]
    assert good == [True, True, True, False, True]
    assert rest.answer("Time", {}, "a").body == b'{"error":["EGeneral:Too many requests"]}'
    now[0] = NS
    assert [b"unixtime" in rest.answer("Time", {}, "a").body for _ in range(2)] == [True, False]
    assert rest.limit.refused_n == 3
    rest.limit.rule = RateRule(burst_n=1, call_ns=NS, answer="http")
    assert rest.answer("Time", {}, "a").status == 429


def test_buckets_of_old_clients_are_forgotten() -> None:
    now = [0]
    limit = RateLimit(RateRule(burst_n=1), lambda: now[0])
    for n in range(CLIENTS_KEPT_N):
        assert limit.allows(f"client {n}")
    now[0] = 2 * NS
    assert limit.allows("one more")
    assert len(limit._free_ns) == 1


def test_the_clock_stands_runs_and_never_goes_back() -> None:
    wall = [0]
    clock = VirtualClock(100, wall_ns=lambda: wall[0])
    wall[0] = 50
    assert clock.now_ns() == 100
    clock.set_speed(2)
    wall[0] = 60
    assert clock.now_ns() == 120
    clock.advance(110)
    assert clock.now_ns() == 120
    clock.advance(500)
    wall[0] = 65
    assert (clock.now_ns(), clock.speed) == (510, 2)
    for speed in (-1.0, float("nan"), 1e9):
        with pytest.raises(UsageError, match="a speed of"):
            clock.set_speed(speed)


# ---- faults --------------------------------------------------------------------------------------------------------


def broken(rest: RestInterface, fault: Fault, endpoint: str = "Trades", **query: str) -> Answer:
    rest.faults.add(Switch(fault, next_n=1))
    return rest.answer(endpoint, {"pair": "XBTUSD"} | query)


def test_every_rest_fault_is_done(rest: RestInterface) -> None:
    page = rest.answer("Trades", {"pair": "XBTUSD", "since": "0", "count": "20"})
    rows = json.loads(page.body)["result"]["XXBTZUSD"]
    cursor = json.loads(page.body)["result"]["last"]
    following = rest.answer("Trades", {"pair": "XBTUSD", "since": cursor, "count": "20"}).body
    next_rows = json.loads(following)["result"]["XXBTZUSD"]

    def second(fault: Fault) -> Answer:
        rest.answer("Trades", {"pair": "XBTUSD", "since": "0", "count": "20"})
        return broken(rest, fault, since=cursor, count="20")

    def rows_of(answer: Answer) -> Any:
        return json.loads(answer.body)["result"]["XXBTZUSD"]

    assert second(Fault.DUPLICATE_PAGE).body == page.body
    assert rows_of(second(Fault.OVERLAPPING_PAGE)) == rows[-10:] + next_rows
    assert rows_of(second(Fault.OUT_OF_ORDER)) == next_rows[10:] + next_rows[:10]
    assert rows_of(second(Fault.WRONG_TYPES)) == [[None, *row[1:-1], {"value": row[-1]}] for row in next_rows]
    assert following.startswith(second(Fault.TRUNCATED_JSON).body)
    assert second(Fault.EMPTY_BODY).body == b""
    assert second(Fault.HTML_BODY).content_type == "text/html"
    for fault, status in (
        (Fault.HTTP_429, 429),
        (Fault.HTTP_500, 500),
        (Fault.HTTP_502, 502),
        (Fault.HTTP_503, 503),
        (Fault.HTTP_520, 520),
    ):
        assert second(fault).status == status
    for fault in (Fault.RATE_LIMIT, Fault.UNAVAILABLE, Fault.BUSY, Fault.INTERNAL, Fault.TIMEOUT):
        assert list(json.loads(second(fault).body)) == ["error"]
    for fault in (Fault.STALL, Fault.DROP_BEFORE_HEADERS, Fault.DROP_AFTER_HEADERS):
        assert (second(fault).delivery.value, second(fault).body) == (fault.value, following)
    rest.faults.add(Switch(Fault.TIME_SKEW, next_n=1))
    assert json.loads(rest.answer("Time", {}).body)["result"]["unixtime"] == rest.market.now_ns // NS + SKEW_T
    assert set(rest.faults.injected) == REST
    assert rest.faults.switches == []


def test_faults_of_pages_on_answers_without_rows(rest: RestInterface) -> None:
    assert json.loads(broken(rest, Fault.WRONG_TYPES, "Time").body) == {"error": [], "result": "not what it should be"}
    assert json.loads(broken(rest, Fault.OUT_OF_ORDER, "Time").body)["result"]["unixtime"] == END_T - 1_800
    assert b"unixtime" in broken(rest, Fault.DUPLICATE_PAGE, "Time").body
    assert broken(rest, Fault.OVERLAPPING_PAGE, "Nothing").body == b'{"error":["EGeneral:Unknown method"]}'
    assert json.loads(broken(rest, Fault.WRONG_TYPES, since=str(2**62)).body)["result"]["XXBTZUSD"] == "no rows"
    first = broken(rest, Fault.OVERLAPPING_PAGE, "Spread").body
    assert first == rest.answer("Spread", {"pair": "XBTUSD"}).body == broken(rest, Fault.OVERLAPPING_PAGE, "Spread").body
    assert broken(rest, Fault.OVERLAPPING_PAGE, "Depth").body == rest.answer("Depth", {"pair": "XBTUSD"}).body


def test_remembered_pages_are_bounded(rest: RestInterface) -> None:
    for n in range(600):
        rest.answer("OHLC", {"pair": f"NOPE{n}"})
    assert len(rest._breakage._pages) <= 256
    assert rest.calls["OHLC"] == 600


def test_switches_act_by_their_rule() -> None:
    def acted(switch: Switch, calls: int = 12) -> list[int]:
        plan = FaultPlan(7)
        plan.add(switch)
        return [n for n in range(1, calls + 1) if plan.next_fault("OHLC")]

    assert acted(Switch(Fault.HTTP_500, every_n=5)) == [5, 10]
    assert acted(Switch(Fault.HTTP_500, next_n=2)) == [1, 2]
    assert acted(Switch(Fault.HTTP_500, "Trades", next_n=2)) == []
    often = acted(Switch(Fault.HTTP_500, probability_ppm=300_000), 2_000)
    assert 500 < len(often) < 700
    assert often == acted(Switch(Fault.HTTP_500, probability_ppm=300_000), 2_000)


def test_the_first_switch_that_acts_decides_and_counts_stay_after_clearing() -> None:
    plan = FaultPlan()
    plan.add(Switch(Fault.BUSY, every_n=2))
    plan.add(Switch(Fault.HTTP_503, next_n=3))
    assert [plan.next_fault("Time") for _ in range(4)] == [Fault.HTTP_503, Fault.BUSY, Fault.HTTP_503, Fault.BUSY]
    assert [plan.next_fault("Time") for _ in range(2)] == [None, Fault.BUSY]  # the second call counted for both
    plan.clear()
    assert plan.next_fault("Time") is None
    assert plan.counts() == {"http-503": 2, "error-busy": 3}
    plan.add(Switch(Fault.WS_GAP, next_n=1))
    assert plan.next_fault("Time", REST) is None
    assert plan.next_fault("book", WEBSOCKET) is Fault.WS_GAP


def test_switches_in_words() -> None:
    assert parse_switch("http-503@OHLC:every=10") == Switch(Fault.HTTP_503, "OHLC", every_n=10)
    assert parse_switch("stall:p=500") == Switch(Fault.STALL, probability_ppm=500)
    assert parse_switch("ws-gap@book:next=1") == Switch(Fault.WS_GAP, "book", next_n=1)
    for text in ("nope:every=1", "stall", "stall:every", "stall:every=x", "stall:often=1"):
        with pytest.raises(UsageError, match="the fault"):
            parse_switch(text)
    for numbers in ({}, {"every_n": 1, "next_n": 1}, {"every_n": -1}, {"probability_ppm": 1_000_001}):
        with pytest.raises(UsageError, match="a switch of stall"):
            Switch(Fault.STALL, **numbers)


def test_what_a_seed_tells_is_pinned(tmp_path: Path) -> None:
    """A change of any draw, format or order changes recorded drills: it must be meant. The same on every platform and hash seed."""
    write_bars(tmp_path / "1h/XBTUSD.parquet", hourly(60))
    market = LocalMarket.open([tmp_path], seed=2, start_ns=(START_T + 50 * HOUR_S + 77) * NS)
    rest = RestInterface(market, FaultPlan(5), RateLimit(None, lambda: 0))
    rest.faults.add(Switch(Fault.BUSY, probability_ppm=250_000))
    told = hashlib.sha256()
    for endpoint in ("Time", "Assets", "AssetPairs", "Ticker", "OHLC", "Trades", "Depth", "Spread") * 3:
        told.update(rest.answer(endpoint, {"pair": "XBTUSD"}).body)
    assert told.hexdigest() == "8d6b33e074cd062d87a81798cecf366887c867f41ab7fd21a94defd45ba3df2d"
