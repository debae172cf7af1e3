"""The Kraken provider against the local Kraken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from runtime.adapters.local_kraken.faults import REST, Fault, Switch
from runtime.adapters.local_kraken.rest import Mode
from runtime.adapters.local_kraken.server import LocalKraken
from runtime.errors import DataError, EnvironmentFailure
from tests.support.bars import HOUR_T, START_T, write_series
from tests.support.venue_bars import Body, Lie, rows, serve_bars, serve_folder, venue_bars
from workbench.data.bars import Bars, interval_seconds, joined, read_parquet
from workbench.data.providers import SeriesRef, read_series
from workbench.data.providers.calls import ATTEMPTS, MemoryLedger
from workbench.data.providers.kraken import URL_VARIABLE, KrakenProvider
from workbench.data.providers.kraken_rest import TradePage
from workbench.data.providers.kraken_trades import TradeFeed
from workbench.data.providers.trades import SECOND_NS, BarMaker, Trade

T = TypeVar("T")

N = 60
NOW_T = START_T + (N - 1) * HOUR_T + 1_800
DEEP_N = 730
"""Hours of which 720 are candles, the newest of them still forming."""
DEEP_NOW_T = START_T + (DEEP_N - 1) * HOUR_T + 1_800
BTC = SeriesRef("kraken-spot", "1h", "XBTUSD", "OHLC", "XBTUSD")


def make(
    venue: LocalKraken, since_t: int | None = None, *, trades_per_call: int = 9, attempts: int = ATTEMPTS
) -> KrakenProvider:
    return KrakenProvider(
        assets=["BTC"],
        since_t=since_t,
        url=venue.url,
        call_interval_ms=0,
        calls_per_page=1,
        trades_per_call=trades_per_call,
        attempts=attempts,
        timeout_s=0.25,
        ledger=MemoryLedger(),
        sleep=lambda _: None,
    )


def fetch(provider: KrakenProvider) -> Bars:
    (ref,) = provider.series()
    return read_series(provider, ref)


def counts(provider: KrakenProvider) -> dict[tuple[str, str], int]:
    assert isinstance(provider.ledger, MemoryLedger)
    return {(endpoint, outcome): n for (_, endpoint, outcome), n in provider.ledger.counts.items()}


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with more hours than there are candles."""
    folder = tmp_path_factory.mktemp("deep")
    write_series(folder, "kraken-spot/1h/XBTUSD", venue_bars(DEEP_N, 4, 5, 400))
    return folder


DEEP = venue_bars(DEEP_N, 4, 5, 400).take(slice(0, DEEP_N - 4))
"""What has closed of it."""


def test_the_closed_candles_to_the_bit_and_the_forming_one_never(tmp_path: Path) -> None:
    bars = venue_bars(N, 5, 6, 20)
    with serve_bars(tmp_path, {"XBTUSD": bars}, now_t=NOW_T) as venue:
        got = fetch(make(venue))
    assert got.digest == bars.take(slice(0, N - 4)).digest, "three quiet hours have no bar"


def test_the_last_row_is_never_taken_even_when_the_cursor_names_it(tmp_path: Path) -> None:
    def lie(body: dict[str, object]) -> object:
        result = body["result"]
        assert isinstance(result, dict)
        return {"error": [], "result": result | {"last": result["XXBTZUSD"][-1][0]}}

    with serve_bars(tmp_path, {"XBTUSD": venue_bars(N)}, now_t=NOW_T) as venue:
        Lie("OHLC", lie).tell(venue)
        (page,) = make(venue).pages(BTC)
    assert page.until_t == START_T + 59 * HOUR_T
    assert int(page.bars.t[-1]) == START_T + 58 * HOUR_T


@pytest.mark.parametrize("trades_per_call", [2, 3, 7, 1_000])
def test_bars_made_of_trades_equal_the_venue_s_bars_at_any_page_size(trades_per_call: int, deep: Path) -> None:
    with serve_folder(deep, now_t=DEEP_NOW_T) as venue:
        provider = make(venue, START_T, trades_per_call=trades_per_call)
        assert fetch(provider).digest == DEEP.digest, "to the bit, quiet hours missing"
    assert counts(provider)["OHLC", "ok"] == 2, "asked again after the trades: time has passed"
    if trades_per_call == 7:
        held_n = int(np.sum(DEEP.trades[: 10 + 2 - 2]))  # type: ignore[index]  # hours before the candles, and the two compared
        assert counts(provider)["Trades", "ok"] <= -(-held_n // 6) + 3, "followed to the overlap, no further"


class Pages:
    """Trades in pages of a size, as Kraken's interface cuts them: wherever the page is full."""

    def __init__(self, trades: list[Trade], size: int) -> None:
        self.all, self.size = trades, size

    def trades(self, pair: str, since_ns: int, accept: Callable[[TradePage], T]) -> T:
        found = tuple(t for t in self.all if t.time_ns > since_ns)[: self.size]
        return accept(TradePage(found, found[-1].time_ns if found else since_ns))


def test_trades_of_one_nanosecond_do_not_fall_between_two_pages() -> None:
    burst = [Trade(n + 1, 60 * SECOND_NS, 100.0, 10) for n in range(5)]
    later = [Trade(6 + n, (61 + n) * SECOND_NS, 101.0, 10) for n in range(40)]
    for size in range(6, 50):
        maker = BarMaker(60, 0)
        feed = TradeFeed(Pages([*burst, *later], size), "XBTUSD", maker, 0)  # type: ignore[arg-type]  # the one method it uses
        while feed.advance():
            pass
        assert maker.take(180).trades.tolist() == [45.0], size  # type: ignore[union-attr]  # bars of trades have counts
    maker = BarMaker(60, 0)
    feed = TradeFeed(Pages([*burst, *later], 3), "XBTUSD", maker, 0)  # type: ignore[arg-type]  # see above
    assert feed.advance()
    with pytest.raises(DataError, match="3 trades of XBTUSD in one nanosecond fill a page"):
        feed.advance()


def test_candles_that_move_on_while_trades_are_paged_leave_no_hole(deep: Path) -> None:
    with serve_folder(deep, now_t=START_T + 722 * HOUR_T + 9) as venue:
        parts = []
        for n, page in enumerate(make(venue, START_T, trades_per_call=6).pages(BTC)):
            if n == 1:
                venue.advance(DEEP_NOW_T * 10**9)  # the oldest candles of the first answer are gone
            parts.append(page.bars)
    assert joined(parts).digest == DEEP.digest


def test_a_start_inside_an_hour_gives_no_cut_bar(deep: Path) -> None:
    with serve_folder(deep, now_t=DEEP_NOW_T) as venue:
        assert int(fetch(make(venue, START_T + 8)).t[0]) == START_T + HOUR_T


def test_candles_and_trades_that_disagree_are_refused(deep: Path) -> None:
    def wrong(found: list[list[object]]) -> object:
        found[1][6] = "99.00000001"
        return found

    with serve_folder(deep, now_t=DEEP_NOW_T) as venue:
        Lie("OHLC", rows(wrong)).tell(venue)
        with pytest.raises(DataError, match=r"2024-01-01T11:00Z disagree: .* from trades, .*volume 99.00000001") as caught:
            list(make(venue, START_T).pages(BTC))
    assert "nothing was stored" in caught.value.action


@pytest.mark.parametrize("fault", sorted(REST - {Fault.TIME_SKEW}))  # that one is about Time, which no provider of bars asks
@pytest.mark.parametrize("seed", [1, 2])
def test_bars_are_the_same_in_a_storm_of_any_fault(fault: Fault, seed: int, deep: Path) -> None:
    with serve_folder(deep, now_t=DEEP_NOW_T, stall_s=0.4) as venue:
        venue.venue.faults.seed = seed
        venue.venue.faults.add(Switch(fault, probability_ppm=100_000 if fault is Fault.STALL else 300_000))
        got = fetch(make(venue, START_T, attempts=12))
        assert venue.venue.faults.injected[fault] > 0
    assert got.digest == DEEP.digest, f"seed {seed}"


def of_another_pair(body: Body) -> object:
    """Return the same rows under the key of ETHUSD."""
    result = body["result"]
    assert isinstance(result, dict)
    return {"error": [], "result": {"XETHZUSD" if key == "XXBTZUSD" else key: rows for key, rows in result.items()}}


LIES: dict[str, tuple[str, Callable[[dict[str, object]], object]]] = {
    "trades with numbers for text": ("Trades", rows(lambda found: [[1.5, 1.5, *row[2:]] for row in found])),
    "trades without rows": ("Trades", rows(lambda _: None)),
    "trades whose beginning is lost": ("Trades", rows(lambda found: found[len(found) // 2 :])),
    "trades with half a lot": ("Trades", rows(lambda found: [[row[0], "0.000000005", *row[2:]] for row in found])),
    "trades with a cursor of another time": (
        "Trades",
        lambda body: {"error": [], "result": {**body["result"], "last": "1704067200000000000"}},  # type: ignore[dict-item]  # a dict
    ),
    "trades of the wrong price": ("Trades", rows(lambda found: [["-1.0", *row[1:]] for row in found])),
    "trades of another pair": ("Trades", of_another_pair),
    "candles of another pair": ("OHLC", of_another_pair),
    "candles with a lost row": ("OHLC", rows(lambda found: [*found[:100], *found[101:]])),
    "candles twice": ("OHLC", rows(lambda found: [*found, *found])),
    "candles of no price": ("OHLC", rows(lambda found: [[row[0], "NaN", *row[2:]] for row in found])),
    "pairs of another form": ("AssetPairs", lambda _: {"error": [], "result": {"XXBTZUSD": {"altname": 7}}}),
    "a status of another form": ("SystemStatus", lambda _: {"error": [], "result": {}}),
}


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("name", LIES)
def test_a_wrong_answer_is_asked_for_again_and_never_used(name: str, first: int, deep: Path) -> None:
    with serve_folder(deep, now_t=DEEP_NOW_T) as venue:
        lie = Lie(*LIES[name], first=first)
        lie.tell(venue)
        provider = make(venue, START_T)
        assert fetch(provider).digest == DEEP.digest
    retried_n = sum(n for (_, outcome), n in counts(provider).items() if outcome == "retried")
    assert retried_n >= (1 if lie.asked_n > first else 0)


@pytest.mark.parametrize("endpoint", ["OHLC", "Trades"])
@pytest.mark.parametrize("listed", [True, False], ids=["after series()", "from pages() alone"])
def test_an_answer_for_another_pair_is_never_stored_as_this_one(endpoint: str, listed: bool, deep: Path) -> None:
    with serve_folder(deep, now_t=DEEP_NOW_T) as venue:
        Lie(endpoint, of_another_pair, times=99).tell(venue)
        provider = make(venue, START_T)
        if listed:
            provider.series()
        with pytest.raises(
            EnvironmentFailure,
            match=rf"{endpoint} failed 5 times: answer in an unknown form \(rows of XETHZUSD instead of XBT/USD or XBTUSD or XXBTZUSD",
        ):
            list(provider.pages(BTC))


def test_every_name_kraken_itself_has_for_the_pair_is_right(tmp_path: Path) -> None:
    bars = venue_bars(N)
    for n, name in enumerate(("XBTUSD", "XBT/USD")):
        (folder := tmp_path / str(n)).mkdir()
        with serve_bars(folder, {"XBTUSD": bars}, now_t=NOW_T) as venue:

            def renamed(body: Body, name: str = name) -> object:
                return {"error": [], "result": {name if k == "XXBTZUSD" else k: v for k, v in body["result"].items()}}  # type: ignore[attr-defined]  # a dict

            Lie("OHLC", renamed).tell(venue)
            provider = make(venue)
            assert len(fetch(provider)) == 58 + 1
            assert counts(provider)["OHLC", "ok"] == 1


def test_a_venue_that_stays_down_is_an_environment_failure(tmp_path: Path) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(4)}, now_t=NOW_T) as venue:
        venue.venue.faults.add(Switch(Fault.HTTP_503, every_n=1))
        with pytest.raises(EnvironmentFailure, match="SystemStatus failed 5 times: server error"):
            make(venue).series()
        assert venue.venue.rest.calls.total() == ATTEMPTS


def test_maintenance_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(N)}, now_t=NOW_T) as venue:
        venue.venue.rest.mode = Mode.MAINTENANCE
        provider = make(venue)
        with pytest.raises(EnvironmentFailure, match="its system status is maintenance") as caught:
            provider.series()
        assert "end of the maintenance" in caught.value.action
        venue.venue.rest.mode = Mode.POST_ONLY
        assert len(provider.series()) == 1
        assert provider.server_time_t() == NOW_T
        venue.venue.rest.mode = Mode.MAINTENANCE
        with pytest.raises(EnvironmentFailure, match="OHLC failed 5 times: maintenance"):
            list(provider.pages(BTC))


def test_only_listed_pairs_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(4), "POLUSD": venue_bars(4)}, now_t=NOW_T) as venue:
        monkeypatch.setenv(URL_VARIABLE, venue.url)
        assert [r.symbol for r in KrakenProvider(call_interval_ms=0).series()] == ["POLUSD", "XBTUSD"]
        with pytest.raises(DataError, match="lists none"):
            KrakenProvider(assets=["ADA"], call_interval_ms=0).series()


def test_a_pair_without_a_closed_candle_is_refused(tmp_path: Path) -> None:
    with (
        serve_bars(tmp_path, {"XBTUSD": venue_bars(4)}, now_t=START_T + 1_800) as venue,
        pytest.raises(DataError, match="no closed 1h candle") as caught,
    ):
        fetch(make(venue))
    assert "--since" in caught.value.action, "older trades may exist"


def test_nothing_new_is_no_error_when_a_sync_asks(tmp_path: Path) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(N)}, now_t=NOW_T) as venue:
        assert list(make(venue).pages(BTC, since_t=START_T + 59 * HOUR_T)) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": ["EQuery:Unknown asset pair"]}, "request refused"),
        ({"error": ["EGeneral:Temporary lockout"]}, "credentials refused"),
        ({"error": ["EGeneral:Internal error"]}, "failed 5 times: server error"),
        ({"error": [], "result": ["not", "an", "object"]}, "unknown form"),
        ({"error": []}, "unknown form"),
        ("<html>", "unknown form"),
    ],
)
def test_an_answer_of_another_form_is_an_environment_failure(answer: object, words: str, tmp_path: Path) -> None:
    with serve_bars(tmp_path, {"XBTUSD": venue_bars(4)}, now_t=NOW_T) as venue:
        Lie("SystemStatus", lambda _: answer, times=99).tell(venue)
        with pytest.raises(EnvironmentFailure, match=words):
            make(venue).series()


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_the_shared_trades_give_every_bar_of_the_venue_through_the_interface(
    interval: str, real_data: Path, tmp_path: Path
) -> None:
    """26,921 real trades, served page by page: open, high, low, close and time to the bit, volume to the last lot decimal."""
    name = "kraken_XBTUSDT_2023-11-17_22.parquet"
    (tmp_path / name).symlink_to(real_data / "kraken-trades" / name)
    real = read_parquet(real_data / "kraken-spot" / interval / "XBTUSDT.parquet", "XBTUSDT")
    step_t = interval_seconds(interval)
    ref = SeriesRef("kraken-spot", interval, "XBTUSDT", "OHLC", "XBTUSDT")
    with serve_folder(tmp_path, now_t=int(real.t[-1]) + step_t) as venue:
        provider = make(venue, int(real.t[0]), trades_per_call=1_000)
        bars = read_series(provider, ref)
    assert len(bars) == len(real) == (5_388 if interval == "1m" else 129)
    for column, values in real.columns():
        got = dict(bars.columns())[column]
        if column == "volume":  # the shared file holds sums of floats; the exact sum differs by less than one lot
            assert np.array_equal(np.round(got * 1e8), np.round(values * 1e8))
            assert np.abs(got - values).max() < 1e-12
        else:
            assert np.array_equal(got, values), column
    assert np.array_equal(bars.t, real.t)
    if interval == "1m":
        assert counts(provider)["Trades", "ok"] > 20, "most of them made from trades"
