"""The real ccxt clients against loopback servers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.local_kraken.faults import Fault as VenueFault
from runtime.adapters.local_kraken.faults import Switch
from runtime.errors import DataError, EnvironmentFailure, UsageError
from tests.support.bars import HOUR_T, START_T, some_bars, without
from tests.support.binance import LoopbackBinance, serve_binance
from tests.support.loopback import Fault
from tests.support.venue_bars import serve_bars, venue_bars
from workbench.data.bars import Bars
from workbench.data.providers import read_series
from workbench.data.providers.calls import ATTEMPTS, MemoryLedger
from workbench.data.providers.exchange import ExchangeProvider
from workbench.data.providers.kraken import KrakenProvider

N = 60
NOW_T = START_T + 58 * HOUR_T + 1_800


def binance(**bars: Bars) -> LoopbackBinance:
    return LoopbackBinance(bars or {"BTCUSDT": some_bars(N)}, now_t=NOW_T)


def make(server: LoopbackBinance, **more: int) -> ExchangeProvider:
    return ExchangeProvider(
        "binance",
        since_t=more.get("since_t", START_T),
        url=server.url,
        call_interval_ms=0,
        page_max=more.get("page_max", 7),
        timeout_s=0.5,
        ledger=MemoryLedger(),
        sleep=lambda _: None,
    )


def fetch(provider: ExchangeProvider) -> Bars:
    (ref,) = provider.series()
    return read_series(provider, ref)


def test_the_exchange_s_candles_come_page_by_page_and_the_open_one_never() -> None:
    with serve_binance(binance()) as server:
        provider = make(server)
        got = fetch(provider)
    want = some_bars(N).take(slice(0, 58))
    assert got.digest == want.digest
    assert sum("klines" in p for p in server.paths) == -(-58 // 7)
    assert not any("fapi" in p or "dapi" in p for p in server.paths), "spot markets alone are loaded"


def test_without_a_start_the_history_begins_with_the_first_candle() -> None:
    with serve_binance(binance()) as server:
        provider = ExchangeProvider("binance", url=server.url, call_interval_ms=0, sleep=lambda _: None)
        assert int(fetch(provider).t[0]) == START_T


def test_holes_of_the_exchange_stay_holes_and_are_asked_for_twice() -> None:
    whole = some_bars(N)
    holed = without(whole, *range(5), 20, *range(30, 50))
    with serve_binance(binance(BTCUSDT=holed)) as server:
        got = fetch(make(server))
    assert got.t.tolist() == holed.t[holed.t < START_T + 58 * HOUR_T].tolist()


def test_former_tickers_come_too() -> None:
    bars = some_bars(N)
    with serve_binance(binance(POLUSDT=bars, MATICUSDT=bars, DOGEUSDT=bars)) as server:
        assert [r.key for r in make(server).series()] == ["binance-spot/1h/MATICUSDT", "binance-spot/1h/POLUSDT"]
        other = ExchangeProvider("binance", assets=["ADA"], url=server.url, call_interval_ms=0)
        with pytest.raises(DataError, match="Binance lists none of ADAUSDT"):
            other.series()


FAULTS = {
    "timeout": Fault(hang=True),
    "429": Fault(status=429, headers={"Retry-After": "3"}),
    "418": Fault(status=503),
    "cut JSON": Fault(cut=True),
    "connection lost": Fault(broken=True),
    "wrong type": Fault(change=lambda body: [[r[0], "abc", *r[2:]] for r in body] if isinstance(body, list) else 7),
    "no list": Fault(change=lambda _: {"strange": True}),
    "backwards": Fault(change=lambda body: body[::-1] if isinstance(body, list) else []),
    "doubled": Fault(change=lambda body: body + body if isinstance(body, list) else ""),
    "head lost": Fault(change=lambda body: body[3:] if isinstance(body, list) else []),
    "middle lost": Fault(change=lambda body: body[:2] + body[4:] if isinstance(body, list) else []),
    "tail lost": Fault(change=lambda body: body[:4] if isinstance(body, list) else []),
    "nothing": Fault(change=lambda body: [] if isinstance(body, list) else {}),
    "older page": Fault(change=lambda body: [[r[0] - 7 * 3_600_000, *r[1:]] for r in body] if isinstance(body, list) else []),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("at", [0, 2, 5])
def test_bars_are_the_same_whatever_one_answer_was(name: str, at: int) -> None:
    with serve_binance(binance()) as server:
        server.faults = [*[Fault()] * at, FAULTS[name]]
        got = fetch(make(server))
    assert got.digest == some_bars(N).take(slice(0, 58)).digest


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=401), "credentials refused"),
        (Fault(status=403), "credentials refused"),
        (Fault(status=404), "not found"),
        (Fault(status=400), "request refused"),
        (Fault(status=429, headers={"Retry-After": "86400"}), "it asks for 86400 s of pause"),
    ],
)
def test_what_will_not_pass_ends_at_once(fault: Fault, words: str) -> None:
    with serve_binance(binance()) as server:
        server.faults = [fault] * ATTEMPTS
        with pytest.raises(EnvironmentFailure, match=words):
            make(server).series()
        assert len(server.paths) == 1


def test_a_wrong_address_is_named() -> None:
    server = binance()
    server.url = "http://127.0.0.1:9"
    with pytest.raises(EnvironmentFailure, match="Binance's load_markets: connection refused"):
        make(server).series()


def test_calls_wait_in_our_budget_at_the_rate_ccxt_states() -> None:
    waits: list[float] = []
    with serve_binance(binance()) as server:
        provider = ExchangeProvider(
            "binance", since_t=START_T, url=server.url, page_max=7, sleep=waits.append, ledger=MemoryLedger(clock=lambda: 0.0)
        )
        fetch(provider)
    assert waits[:3] == pytest.approx([0.05, 0.10, 0.15])  # the clock of this test stands still


def test_other_exchanges_are_refused_clearly() -> None:
    with pytest.raises(UsageError, match="ccxt:coinbase: universe v1 has no venue 'coinbase-spot'"):
        ExchangeProvider("coinbase")
    with pytest.raises(UsageError, match="ccxt knows no exchange 'nowhere'"):
        ExchangeProvider("nowhere", venue="binance-spot")
    with pytest.raises(UsageError, match="gives no 2h candles"):
        ExchangeProvider("kraken", interval="2h")
    assert ExchangeProvider("binanceus", venue="binance-spot-b").name == "ccxt-binanceus"


def test_kraken_through_ccxt_equals_kraken(tmp_path: Path) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(N, 5, 6, 20)}, now_t=NOW_T) as venue:
        mine = KrakenProvider(assets=["BTC"], url=venue.url, call_interval_ms=0)
        through = ExchangeProvider("kraken", since_t=START_T, url=venue.url, call_interval_ms=0, sleep=lambda _: None)
        (a,), (b,) = mine.series(), through.series()
        assert a.key == b.key
        left, right = read_series(mine, a), read_series(through, b)
    assert np.array_equal(left.t, right.t), "repeated closes are no bars in either"
    assert len(left) == 58 - 3
    assert all(np.array_equal(values, dict(left.columns())[name]) for name, values in right.columns())


def test_an_answer_ccxt_cannot_read_is_never_taken_for_no_candles(tmp_path: Path) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(N)}, now_t=NOW_T) as venue:
        provider = ExchangeProvider("kraken", since_t=START_T, url=venue.url, call_interval_ms=0, sleep=lambda _: None)
        (ref,) = provider.series()
        venue.venue.faults.add(Switch(VenueFault.TRUNCATED_JSON, "OHLC", every_n=1))
        with pytest.raises(EnvironmentFailure, match=r"failed 5 times: answer in an unknown form \(no complete JSON\)"):
            list(provider.pages(ref))
