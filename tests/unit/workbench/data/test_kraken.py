from __future__ import annotations

import numpy as np
import pytest

from runtime.errors import DataError, EnvironmentFailure
from tests.support.bars import START_T
from tests.support.kraken import LoopbackKraken, serve, some_trades
from workbench.data.bars import Bars
from workbench.data.providers import read_series
from workbench.data.providers.kraken import ATTEMPTS, URL_VARIABLE, KrakenProvider

NOW_T = START_T + 59 * 3_600 + 1_800


def fetch(kraken: LoopbackKraken, since_t: int | None = None) -> tuple[Bars, KrakenProvider]:
    provider = KrakenProvider(assets=["BTC"], since_t=since_t, url=kraken.url, call_interval_ms=0, sleep=lambda _: None)
    (ref,) = provider.series()
    return read_series(provider, ref), provider


def test_the_forming_candle_is_never_taken() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T)) as kraken:
        bars, _ = fetch(kraken)
    assert len(bars) == 59
    assert int(bars.t[-1]) + 3_600 <= NOW_T


def test_bars_made_of_trades_equal_the_candles_of_the_same_trades() -> None:
    trades = some_trades(60, start_t=START_T, quiet=frozenset({5, 6, 20}))
    with serve(LoopbackKraken({"XBTUSD": trades}, now_t=NOW_T, page=7)) as kraken:
        candles, _ = fetch(kraken)
        kraken.candles_max = 10
        short, _ = fetch(kraken)
        deep, provider = fetch(kraken, since_t=START_T)
    assert (len(candles), len(short)) == (56, 9), "three quiet hours have no bar"
    assert deep.t.tolist() == candles.t.tolist()
    for name, values in candles.columns():
        got = dict(deep.columns())[name]
        assert np.allclose(got, values, rtol=0, atol=1e-9 if name == "volume" else 0), name
    assert provider.calls_n == 2 + -(-(len(trades) - 30) // 7), "pages were followed up to the first candle, no further"


def test_a_start_inside_an_hour_gives_no_cut_bar() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T, candles_max=10)) as kraken:
        deep, _ = fetch(kraken, since_t=START_T + 8)
    assert int(deep.t[0]) == START_T + 3_600


def test_transient_failures_are_retried_and_counted() -> None:
    waits: list[float] = []
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T)) as kraken:
        kraken.fail_next = [503, 0]
        provider = KrakenProvider(assets=["BTC"], url=kraken.url, call_interval_ms=0, sleep=waits.append)
        assert len(provider.series()) == 1
    assert waits == [1.0, 2.0]
    assert provider.calls_n == 3


def test_a_venue_that_stays_down_is_an_environment_failure() -> None:
    with serve(LoopbackKraken({"XBTUSD": []}, now_t=NOW_T)) as kraken:
        kraken.fail_next = [503] * ATTEMPTS
        provider = KrakenProvider(url=kraken.url, call_interval_ms=0, sleep=lambda _: None)
        with pytest.raises(EnvironmentFailure, match="failed 4 times"):
            provider.series()


def test_only_listed_pairs_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    trades = some_trades(3, start_t=START_T)
    with serve(LoopbackKraken({"XBTUSD": trades, "POLUSD": trades}, now_t=NOW_T)) as kraken:
        monkeypatch.setenv(URL_VARIABLE, kraken.url)
        assert [r.symbol for r in KrakenProvider(call_interval_ms=0).series()] == ["POLUSD", "XBTUSD"]
        with pytest.raises(DataError, match="lists none"):
            KrakenProvider(assets=["ADA"], call_interval_ms=0).series()


def test_a_pair_without_a_closed_candle_is_refused() -> None:
    kraken = LoopbackKraken({"XBTUSD": some_trades(1, start_t=START_T)}, now_t=START_T + 60)
    with serve(kraken), pytest.raises(DataError, match="no closed 1h candle"):
        fetch(kraken)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": ["EQuery:Unknown asset pair"]}, "refused AssetPairs"),
        ({"error": [], "result": ["not", "an", "object"]}, "Kraken answered"),
        ({"error": []}, "Kraken answered"),
    ],
)
def test_an_answer_of_another_form_is_an_environment_failure(
    answer: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kraken = LoopbackKraken({"XBTUSD": []}, now_t=NOW_T)
    monkeypatch.setattr(kraken, "answer", lambda _: (200, answer))
    with serve(kraken), pytest.raises(EnvironmentFailure, match=words):
        KrakenProvider(url=kraken.url, call_interval_ms=0, sleep=lambda _: None).series()
