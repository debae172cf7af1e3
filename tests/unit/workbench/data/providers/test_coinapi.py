from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import keyring
import keyring.backend
import keyring.errors
import pytest

from runtime.errors import BallastError, DataError, EnvironmentFailure, UsageError
from tests.support.bars import HOUR_T, START_T, some_bars, without
from tests.support.coinapi import LoopbackCoinApi, serve_coinapi
from tests.support.loopback import Fault
from workbench.data.bars import Bars
from workbench.data.providers import read_series
from workbench.data.providers.calls import ATTEMPTS, MemoryLedger
from workbench.data.providers.coinapi import CoinApiProvider, Quota
from workbench.data.providers.keys import COINAPI

N = 60
CLOSED_N = 58
NOW_T = START_T + CLOSED_N * HOUR_T + 1_800


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COINAPI.variable, "a-key-for-tests")


def coinapi(**bars: Bars) -> LoopbackCoinApi:
    return LoopbackCoinApi(bars or {"BINANCE_SPOT_BTC_USDT": some_bars(N, trades=True)}, now_t=NOW_T)


def make(server: LoopbackCoinApi, *, since_t: int | None = START_T, page_max: int = 7) -> CoinApiProvider:
    return CoinApiProvider(
        since_t=since_t,
        url=server.url,
        call_interval_ms=0,
        page_max=page_max,
        timeout_s=0.5,
        ledger=MemoryLedger(),
        sleep=lambda _: None,
    )


def fetch(provider: CoinApiProvider) -> Bars:
    (ref,) = provider.series()
    return read_series(provider, ref)


def test_bars_come_page_by_page_and_the_open_one_never() -> None:
    with serve_coinapi(coinapi()) as server:
        provider = make(server)
        got = fetch(provider)
    assert got.digest == some_bars(N, trades=True).take(slice(0, CLOSED_N)).digest
    assert sum("history" in p for p in server.paths) == -(-CLOSED_N // 7)
    assert provider.quota == Quota(10_000, 10_000 - 1 - 9, 1), "what is left of the quota is known after every call"


def test_without_a_start_the_history_begins_with_the_first_bar() -> None:
    with serve_coinapi(coinapi()) as server:
        assert int(fetch(make(server, since_t=None, page_max=10_000)).t[0]) == START_T


def test_holes_stay_holes() -> None:
    holed = without(some_bars(N, trades=True), *range(5), 20, *range(30, 50))
    with serve_coinapi(coinapi(BINANCE_SPOT_BTC_USDT=holed)) as server:
        got = fetch(make(server))
    assert got.t.tolist() == holed.t[holed.t < START_T + CLOSED_N * HOUR_T].tolist()


def test_former_tickers_come_too() -> None:
    bars = some_bars(N)
    with serve_coinapi(coinapi(BINANCE_SPOT_POL_USDT=bars, BINANCE_SPOT_MATIC_USDT=bars, KRAKEN_SPOT_BTC_USD=bars)) as server:
        assert [r.symbol for r in make(server).series()] == ["MATICUSDT", "POLUSDT"]
        with pytest.raises(DataError, match="CoinAPI carries none of BINANCE_SPOT_ADA_USDT"):
            CoinApiProvider(assets=["ADA"], url=server.url, call_interval_ms=0).series()
        (kraken,) = CoinApiProvider(venue="kraken-spot", assets=["BTC"], url=server.url, call_interval_ms=0).series()
        assert (kraken.key, kraken.locator) == ("kraken-spot/1h/XBTUSD", "KRAKEN_SPOT_BTC_USD")
        second = CoinApiProvider(venue="kraken-spot-b", assets=["BTC"], url=server.url, call_interval_ms=0).series()[0]
        assert (second.key, second.locator) == ("kraken-spot-b/1h/XBTUSD", "KRAKEN_SPOT_BTC_USD"), "as a second source"


def spoil(name: str, value: object) -> Fault:
    return Fault(change=lambda body: [{**row, name: value} for row in body] if isinstance(body, list) else body)


FAULTS = {
    "timeout": Fault(hang=True),
    "429": Fault(status=429, headers={"Retry-After": "3"}),
    "429 with a date": Fault(status=429, headers={"Retry-After": "Mon, 01 Jan 2024 00:00:05 GMT"}),
    "500": Fault(status=500),
    "cut JSON": Fault(cut=True),
    "connection lost": Fault(broken=True),
    "a price as text": spoil("price_open", "100"),
    "a price of nothing": spoil("price_open", None),
    "a time of another form": spoil("time_period_start", "yesterday"),
    "a time off the grid": spoil("time_period_start", "2024-01-01T00:00:01.0000000Z"),
    "a fraction of a second": spoil("time_period_start", "2024-01-01T00:00:00.5000000Z"),
    "no list": Fault(change=lambda _: {"strange": True}),
    "no objects": Fault(change=lambda _: [1, 2, 3]),
    "backwards": Fault(change=lambda body: body[::-1] if isinstance(body, list) else body),
    "doubled": Fault(change=lambda body: body + body if isinstance(body, list) else body),
    "head lost": Fault(change=lambda body: body[3:] if isinstance(body, list) else body),
    "middle lost": Fault(change=lambda body: body[:2] + body[4:] if isinstance(body, list) else body),
    "tail lost": Fault(change=lambda body: body[:4] if isinstance(body, list) else body),
    "nothing": Fault(change=lambda _: []),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("at", [0, 1, 4])
def test_bars_are_the_same_whatever_one_answer_was(name: str, at: int) -> None:
    with serve_coinapi(coinapi()) as server:
        provider = make(server)
        (ref,) = provider.series()
        server.faults = [*[Fault()] * at, FAULTS[name]]
        got = read_series(provider, ref)
    assert got.digest == some_bars(N, trades=True).take(slice(0, CLOSED_N)).digest


def test_a_pause_is_told_in_seconds_or_as_a_date_by_the_server_s_clock() -> None:
    waits: list[float] = []
    with serve_coinapi(coinapi()) as server:
        at = format_datetime(datetime.fromtimestamp(NOW_T + 77, UTC), usegmt=True)
        server.faults = [Fault(status=429, headers={"Retry-After": after}) for after in ("45", at, "soon")]
        CoinApiProvider(url=server.url, call_interval_ms=0, sleep=waits.append).series()
    assert waits[:2] == [45.0, 77.0]
    assert 2.0 <= waits[2] <= 4.0, "what cannot be read is no pause"


def test_a_refused_key_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(COINAPI.variable, "planted-secret-4711")
    caplog.set_level("DEBUG")
    with serve_coinapi(coinapi()) as server:
        provider = make(server)
        with pytest.raises(EnvironmentFailure, match="CoinAPI's symbols: credentials refused") as caught:
            provider.series()
        assert len(server.paths) == 1, "a refused key is not tried again"
    told: BaseException | None = caught.value
    while told is not None:
        assert "planted-secret-4711" not in str(told), "although the server echoes it"
        told = told.__cause__
    assert "planted-secret-4711" not in caplog.text + repr(vars(provider))
    assert "(the key)" in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=403), "credentials refused"),
        (Fault(status=404), "not found"),
        (Fault(status=400), "request refused"),
        (Fault(status=550), "request refused"),
        (Fault(status=302), "not found"),
        (Fault(status=429, headers={"Retry-After": "3600"}), "it asks for 3600 s of pause"),
    ],
)
def test_what_will_not_pass_ends_at_once(fault: Fault, words: str) -> None:
    with serve_coinapi(coinapi()) as server:
        server.faults = [fault] * ATTEMPTS
        with pytest.raises(EnvironmentFailure, match=words):
            make(server).series()
        assert len(server.paths) == 1


class OneKey(keyring.backend.KeyringBackend):
    """The keyring's own interface over one entry."""

    priority = 1.0  # type: ignore[assignment]  # keyring declares a class property

    def __init__(self, text: str | None, *, locked: bool = False) -> None:
        self.text, self.locked = text, locked

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.text if (service, username) == ("ballast", "coinapi") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


def test_the_key_comes_from_the_keyring_when_the_environment_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COINAPI.variable)
    before = keyring.get_keyring()
    try:
        with serve_coinapi(coinapi()) as server:
            keyring.set_keyring(OneKey("a-key-for-tests"))
            assert len(make(server).series()) == 1
            for backend in (OneKey(None), OneKey("a", locked=True)):
                keyring.set_keyring(backend)
                with pytest.raises(EnvironmentFailure, match="no key for coinapi") as caught:
                    make(server).series()
                assert "BALLAST_COINAPI_KEY" in caught.value.action
            keyring.set_keyring(OneKey("line\nfeed"))
            with pytest.raises(EnvironmentFailure, match="an unreadable key"):
                make(server).series()
    finally:
        keyring.set_keyring(before)


def test_unknown_venues_and_intervals_are_refused_before_any_call() -> None:
    bad: list[tuple[dict[str, str], type[BallastError]]] = [
        ({"venue": "nowhere-spot"}, DataError),
        ({"venue": "simulated"}, UsageError),
        ({"interval": "2h"}, UsageError),
    ]
    for options, error in bad:
        with pytest.raises(error):
            CoinApiProvider(**options)  # type: ignore[arg-type]  # strings both
