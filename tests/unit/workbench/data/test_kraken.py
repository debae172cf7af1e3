from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.errors import DataError, EnvironmentFailure
from tests.support.bars import START_T
from tests.support.kraken import LoopbackKraken, Trade, serve, some_trades
from tests.support.loopback import Fault
from workbench.data.bars import Bars, interval_seconds, read_parquet
from workbench.data.providers import Page, read_series
from workbench.data.providers.calls import ATTEMPTS, MemoryLedger
from workbench.data.providers.kraken import URL_VARIABLE, KrakenProvider

NOW_T = START_T + 59 * 3_600 + 1_800
HOUR_T = 3_600


def make(
    kraken: LoopbackKraken, since_t: int | None = None, *, assets: tuple[str, ...] = ("BTC",), **more: int
) -> KrakenProvider:
    return KrakenProvider(
        assets=assets,
        since_t=since_t,
        url=kraken.url,
        call_interval_ms=0,
        timeout_s=0.2,
        ledger=MemoryLedger(),
        sleep=lambda _: None,
        calls_per_page=more.get("calls_per_page", 2),
    )


def fetch(kraken: LoopbackKraken, since_t: int | None = None) -> tuple[Bars, MemoryLedger]:
    provider = make(kraken, since_t)
    (ref,) = provider.series()
    bars = read_series(provider, ref)
    assert isinstance(provider.ledger, MemoryLedger)
    return bars, provider.ledger


def same(a: Bars, b: Bars) -> bool:
    return a.digest == b.digest


def test_the_forming_candle_is_never_taken() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T)) as kraken:
        bars, _ = fetch(kraken)
    assert len(bars) == 59
    assert int(bars.t[-1]) + 3_600 <= NOW_T


def test_the_last_row_is_never_taken_even_when_the_cursor_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kraken = LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T)

    def lie(body: object) -> object:
        rows = body["result"]["XXBTZUSD"]  # type: ignore[index]  # our own server's form
        body["result"]["last"] = rows[-1][0]  # type: ignore[index]  # see above
        return body

    with serve(kraken):
        provider = make(kraken)
        (ref,) = provider.series()
        kraken.faults = [Fault(change=lie)]
        (page,) = provider.pages(ref)
    assert page.until_t == START_T + 59 * HOUR_T
    assert int(page.bars.t[-1]) == START_T + 58 * HOUR_T


def test_bars_made_of_trades_equal_the_candles_of_the_same_trades() -> None:
    trades = some_trades(60, start_t=START_T, quiet=frozenset({5, 6, 20}))
    with serve(LoopbackKraken({"XBTUSD": trades}, now_t=NOW_T, page=7)) as kraken:
        candles, _ = fetch(kraken)
        kraken.candles_max = 10
        short, _ = fetch(kraken)
        deep, ledger = fetch(kraken, since_t=START_T)
    assert (len(candles), len(short)) == (56, 9), "three quiet hours have no bar"
    assert same(deep, candles), "to the last bit"
    pages = -(-(len(trades) - 3 * 8) // 6)  # each page but the first repeats the last trade of the one before
    assert ledger.counts["kraken-public", "Trades", "ok"] in (pages + 1, pages + 2), "followed to the overlap, no further"
    assert ledger.counts["kraken-public", "OHLC", "ok"] == 2, "asked again after the trades: time has passed"


@pytest.mark.parametrize("page", [1, 2, 3, 7, 1_000])
def test_any_page_size_gives_the_same_bars(page: int) -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(40, start_t=START_T)}, now_t=START_T + 39 * HOUR_T, page=1_000)) as kraken:
        candles, _ = fetch(kraken)
        kraken.candles_max, kraken.page = 5, max(page, 2)
        deep, _ = fetch(kraken, since_t=START_T)
    assert same(deep, candles)


def test_trades_of_one_nanosecond_do_not_fall_between_two_pages() -> None:
    burst: list[Trade] = [("100.0", "0.10000000", START_T + 60.5, n + 1) for n in range(5)]
    later: list[Trade] = [(f"{101 + n}.0", "0.10000000", START_T + HOUR_T * (n + 1) + 5.0, 6 + n) for n in range(12)]
    kraken = LoopbackKraken({"XBTUSD": burst + later}, now_t=START_T + 12 * HOUR_T, page=3, candles_max=4)
    with serve(kraken), pytest.raises(DataError, match="3 trades of XBTUSD in one nanosecond fill a page"):
        fetch(kraken, since_t=START_T)
    kraken.page = 6
    with serve(kraken):
        deep, _ = fetch(kraken, since_t=START_T)
    assert (int(deep.t[0]), float(deep.trades[0])) == (START_T, 5.0)  # type: ignore[index]  # Kraken has counts


def test_a_delivery_goes_on_from_any_page() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T, page=9, candles_max=12)) as kraken:
        provider = make(kraken, START_T, calls_per_page=1)
        (ref,) = provider.series()
        pages = list(provider.pages(ref))
        assert len(pages) > 5
        whole = joined_digest(pages)
        for n, page in enumerate(pages[:-1]):
            rest = list(make(kraken, START_T).pages(ref, since_t=page.until_t))
            assert joined_digest([*pages[: n + 1], *rest]) == whole


def joined_digest(pages: list[Page]) -> list[tuple[int, float, float]]:
    return [(int(t), float(c), float(v)) for p in pages for t, c, v in zip(p.bars.t, p.bars.close, p.bars.volume, strict=True)]


def test_candles_that_move_on_while_trades_are_paged_leave_no_hole() -> None:
    trades = some_trades(80, start_t=START_T)
    kraken = LoopbackKraken({"XBTUSD": trades}, now_t=NOW_T, page=9, candles_max=12)
    with serve(kraken):
        provider = make(kraken, START_T, calls_per_page=1)
        (ref,) = provider.series()
        times: list[int] = []
        for n, page in enumerate(provider.pages(ref)):
            if n == 3:
                kraken.now_t += 18 * HOUR_T  # the twelve candles of the first answer are gone
            times += page.bars.t.tolist()
    assert times == [START_T + HOUR_T * h for h in range(77)]


def test_a_start_inside_an_hour_gives_no_cut_bar() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T, candles_max=10)) as kraken:
        deep, _ = fetch(kraken, since_t=START_T + 8)
    assert int(deep.t[0]) == START_T + 3_600


def test_candles_and_trades_that_disagree_are_refused() -> None:
    trades = some_trades(60, start_t=START_T)
    kraken = LoopbackKraken({"XBTUSD": trades}, now_t=NOW_T, candles_max=10)

    def wrong(body: object) -> object:
        body["result"]["XXBTZUSD"][1][6] = "0.60000001"  # type: ignore[index]  # one lot of the eighth decimal more
        return body

    with serve(kraken):
        provider = make(kraken, START_T)
        (ref,) = provider.series()
        kraken.faults = [Fault(change=wrong)]
        with pytest.raises(DataError, match=r"2024-01-03T03:00Z disagree: .*volume 0.6, .*volume 0.60000001") as caught:
            list(provider.pages(ref))
    assert "nothing was stored" in caught.value.action


def spoil_rows(change: Callable[[list[object]], list[object]]) -> Callable[[object], object]:
    def spoiled(body: object) -> object:
        result = body["result"]  # type: ignore[index]  # our own server's form
        return {"error": [], "result": {k: change(v) if isinstance(v, list) else v for k, v in result.items()}}

    return spoiled


FAULTS = {
    "timeout": Fault(hang=True),
    "429": Fault(status=429, headers={"Retry-After": "7"}),
    "500": Fault(status=500),
    "520": Fault(status=520),
    "cut JSON": Fault(cut=True),
    "connection lost": Fault(broken=True),
    "wrong type": Fault(change=spoil_rows(lambda rows: [["x"] * 8 for _ in rows])),
    "number instead of text": Fault(change=spoil_rows(lambda rows: [[1.5, 1.5, *row[2:]] for row in rows])),  # type: ignore[misc]  # rows
    "backwards": Fault(change=spoil_rows(lambda rows: rows[::-1])),
    "no rows in a page": Fault(change=lambda _: {"error": [], "result": {"XXBTZUSD": None, "last": "0"}}),
    "service busy": Fault(change=lambda _: {"error": ["EService:Busy"]}),
    "rate limit": Fault(change=lambda _: {"error": ["EAPI:Rate limit exceeded"]}),
    "no object": Fault(change=lambda _: ["not", "an", "object"]),
}
HARMLESS = {
    "doubled rows": Fault(change=spoil_rows(lambda rows: [*rows, *rows])),
    "lost rows": Fault(change=spoil_rows(lambda rows: rows[len(rows) // 2 :])),
}


@pytest.mark.parametrize("name", [*FAULTS, *HARMLESS])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_bars_are_the_same_whatever_one_answer_was(name: str, at: int) -> None:
    kraken = LoopbackKraken({"XBTUSD": some_trades(30, start_t=START_T)}, now_t=START_T + 29 * HOUR_T, page=9, candles_max=5)
    with serve(kraken):
        clean, _ = fetch(kraken, START_T)
        provider = make(kraken, START_T)
        (ref,) = provider.series()
        kraken.faults = [*[Fault()] * at, {**FAULTS, **HARMLESS}[name]]
        spoiled = read_series(provider, ref)
    assert same(spoiled, clean)
    ledger = provider.ledger
    assert isinstance(ledger, MemoryLedger)
    if name in FAULTS:
        assert sum(n for (_, _, outcome), n in ledger.counts.items() if outcome == "retried") == 1


def test_waits_grow_are_repeatable_and_respect_retry_after() -> None:
    def waits_of() -> list[float]:
        waits: list[float] = []
        kraken = LoopbackKraken({"XBTUSD": some_trades(3, start_t=START_T)}, now_t=NOW_T)
        kraken.faults = [Fault(status=503), Fault(status=503), Fault(status=429, headers={"Retry-After": "45"})]
        with serve(kraken):
            KrakenProvider(assets=["BTC"], url=kraken.url, call_interval_ms=0, sleep=waits.append).series()
        return waits

    first = waits_of()
    assert 0.5 <= first[0] <= 1.0 <= first[1] <= 2.0
    assert first[2] == 45.0
    assert waits_of() == first


def test_a_venue_that_stays_down_is_an_environment_failure() -> None:
    with serve(LoopbackKraken({"XBTUSD": []}, now_t=NOW_T)) as kraken:
        kraken.faults = [Fault(status=503)] * ATTEMPTS
        with pytest.raises(EnvironmentFailure, match="SystemStatus failed 5 times: server error"):
            make(kraken).series()
        assert len(kraken.paths) == ATTEMPTS


def test_maintenance_is_waited_for_and_then_named() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(3, start_t=START_T)}, now_t=NOW_T, status="maintenance")) as kraken:
        provider = make(kraken)
        with pytest.raises(EnvironmentFailure, match="its system status is maintenance") as caught:
            provider.series()
        assert "end of the maintenance" in caught.value.action
        kraken.status = "post_only"
        assert len(provider.series()) == 1
        assert provider.server_time_t() == NOW_T


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


def test_nothing_new_is_no_error_when_a_sync_asks() -> None:
    with serve(LoopbackKraken({"XBTUSD": some_trades(60, start_t=START_T)}, now_t=NOW_T)) as kraken:
        provider = make(kraken)
        (ref,) = provider.series()
        assert list(provider.pages(ref, since_t=START_T + 59 * HOUR_T)) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": ["EQuery:Unknown asset pair"]}, "request refused"),
        ({"error": ["EGeneral:Temporary lockout"]}, "credentials refused"),
        ({"error": [], "result": ["not", "an", "object"]}, "unknown form"),
        ({"error": []}, "unknown form"),
        ("<html>", "unknown form"),
    ],
)
def test_an_answer_of_another_form_is_an_environment_failure(answer: object, words: str) -> None:
    kraken = LoopbackKraken({"XBTUSD": []}, now_t=NOW_T)
    kraken.faults = [Fault(change=lambda _: answer)] * ATTEMPTS
    with serve(kraken), pytest.raises(EnvironmentFailure, match=words):
        make(kraken).series()


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_the_shared_trades_give_every_bar_of_the_venue_through_the_interface(interval: str, real_data: Path) -> None:
    """26,921 real trades, served page by page: open, high, low, close and time to the bit, volume to the last lot decimal."""
    frame = pl.read_parquet(real_data / "kraken-trades" / "kraken_XBTUSDT_2023-11-17_22.parquet")
    trades: list[Trade] = [
        (repr(price), f"{amount:.8f}", stamp / 1e6, trade_id)
        for stamp, trade_id, price, amount in zip(
            frame["ts_utc"].dt.timestamp("us"), frame["trade_id"], frame["price"], frame["amount"], strict=True
        )
    ]
    step_t = interval_seconds(interval)
    end_t = int(trades[-1][2]) // step_t * step_t + step_t
    kraken = LoopbackKraken({"XBTUSD": trades}, now_t=end_t + 1, candles_max=720 if interval == "1m" else 24)
    begin_t = int(trades[0][2]) // step_t * step_t
    with serve(kraken):
        provider = KrakenProvider(
            assets=["BTC"], interval=interval, since_t=begin_t, url=kraken.url, call_interval_ms=0, sleep=lambda _: None
        )
        (ref,) = provider.series()
        bars = read_series(provider, ref)
    real = read_parquet(real_data / "kraken-spot" / interval / "XBTUSDT.parquet", "XBTUSDT")
    assert len(bars) == len(real) == (5_388 if interval == "1m" else 129)
    for name, values in real.columns():
        got = dict(bars.columns())[name]
        if name == "volume":  # the shared file holds sums of floats; the exact sum differs by less than one lot
            assert np.array_equal(np.round(got * 1e8), np.round(values * 1e8))
            assert np.abs(got - values).max() < 1e-12
        else:
            assert np.array_equal(got, values), name
    assert np.array_equal(bars.t, real.t)
