"""One contract suite over every bar provider: what ingest and sync may rely on, whoever delivers the bars."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.local_kraken.faults import Fault as VenueFault
from runtime.adapters.local_kraken.faults import Switch
from runtime.adapters.local_kraken.server import LocalKraken
from runtime.errors import BallastError, EnvironmentFailure
from tests.support.bars import HOUR_T, START_T, some_bars, without, write_ohlcvt, write_series
from tests.support.binance import LoopbackBinance, serve_binance
from tests.support.coinapi import LoopbackCoinApi, serve_coinapi
from tests.support.loopback import Fault
from tests.support.venue_bars import serve_folder, venue_bars
from workbench.data.bars import Bars, interval_seconds, joined
from workbench.data.providers import BarProvider, Page, SeriesRef, read_series
from workbench.data.providers.archive import ArchiveProvider
from workbench.data.providers.coinapi import CoinApiProvider
from workbench.data.providers.exchange import ExchangeProvider
from workbench.data.providers.files import FileProvider
from workbench.data.providers.keys import COINAPI
from workbench.data.providers.kraken import KrakenProvider
from workbench.data.providers.simulated import SimulatedProvider
from workbench.data.quality.gates import Series, form_findings
from workbench.data.store.ingest import import_bars

TIMEOUT_S = 0.3
BARS_N = 60
NOW_T = START_T + 58 * HOUR_T + 1_800
HELD = without(some_bars(BARS_N, trades=True), 9, *range(30, 36))
DEEP_N = 760
"""Hours of the local Kraken: 720 are candles, the others are made from trades."""
DEEP_NOW_T = START_T + (DEEP_N - 1) * HOUR_T + 1_800
DEEP_QUIET = (7, 8, 300, 741)


@dataclass(frozen=True)
class Stand:
    """One provider and what it stands on.

    Attributes:
        make: gives a fresh provider, as another process would make it.
        now_t: the source's clock; None where it has none.
        calls: the requests that reached the server so far; None where there is no network.
        plant: makes every few answers wrong in a named way; None where there is no network.
    """

    make: Callable[[], BarProvider]
    now_t: int | None = None
    calls: Callable[[], int] | None = None
    plant: Callable[[str], None] | None = None


def _spoil_rows(change: Callable[[list[object]], list[object]]) -> Fault:
    return Fault(change=lambda body: change(body) if isinstance(body, list) else body)


LOOPBACK_FAULTS = {
    "timeout": Fault(hang=True),
    "429": Fault(status=429, headers={"Retry-After": "2"}),
    "500": Fault(status=500),
    "connection lost": Fault(broken=True),
    "truncated JSON": Fault(cut=True),
    "wrong types": _spoil_rows(lambda rows: [None for _ in rows]),
    "out of order": _spoil_rows(lambda rows: rows[::-1]),
    "duplicate page": _spoil_rows(lambda rows: rows + rows),
    "overlapping page": _spoil_rows(lambda rows: rows[:2] + rows),
}
VENUE_FAULTS = {
    "timeout": VenueFault.STALL,
    "429": VenueFault.HTTP_429,
    "500": VenueFault.HTTP_500,
    "connection lost": VenueFault.DROP_AFTER_HEADERS,
    "truncated JSON": VenueFault.TRUNCATED_JSON,
    "wrong types": VenueFault.WRONG_TYPES,
    "out of order": VenueFault.OUT_OF_ORDER,
    "duplicate page": VenueFault.DUPLICATE_PAGE,
    "overlapping page": VenueFault.OVERLAPPING_PAGE,
}
assert LOOPBACK_FAULTS.keys() == VENUE_FAULTS.keys()
EVERY_N = 4


def _files(folder: Path) -> Iterator[Stand]:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write_series(folder, f"binance-spot/1h/{symbol}", HELD)
    yield Stand(lambda: FileProvider(folder))


def _ohlcvt(folder: Path) -> Iterator[Stand]:
    write_ohlcvt(folder / "deep" / "XBTUSD_60.csv", HELD)
    write_ohlcvt(folder / "ETHUSD_1440.csv", some_bars(step_t=86_400), header=True)
    yield Stand(lambda: FileProvider(folder))


def _archive(folder: Path) -> Iterator[Stand]:
    for name, rows in (("full", slice(0, 40)), ("update", slice(38, None))):
        write_ohlcvt(folder / "x.csv", HELD.take(rows))
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as z:
            z.write(folder / "x.csv", "XBTUSD_60.csv")
            z.write(folder / "x.csv", "ETHUSD_60.csv")
    (folder / "x.csv").unlink()
    yield Stand(lambda: ArchiveProvider(folder))


def _simulated(_: Path) -> Iterator[Stand]:
    yield Stand(lambda: SimulatedProvider(hours=400), now_t=None)


@pytest.fixture(scope="session")
def deep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep")
    for symbol in ("XBTUSD", "ETHUSD"):
        write_series(folder, f"kraken-spot/1h/{symbol}", venue_bars(DEEP_N, *DEEP_QUIET))
    return folder


def _kraken(deep_folder: Path, make: Callable[[LocalKraken], BarProvider]) -> Iterator[Stand]:
    with serve_folder(deep_folder, now_t=DEEP_NOW_T, stall_s=1.5 * TIMEOUT_S) as venue:

        def plant(name: str) -> None:
            venue.venue.faults.clear()
            venue.venue.faults.add(Switch(VENUE_FAULTS[name], every_n=EVERY_N))

        yield Stand(lambda: make(venue), DEEP_NOW_T, venue.venue.rest.calls.total, plant)


def _kraken_rest(venue: LocalKraken, since_t: int | None) -> KrakenProvider:
    return KrakenProvider(
        since_t=since_t,
        url=venue.url,
        call_interval_ms=0,
        calls_per_page=3,
        trades_per_call=20,
        timeout_s=TIMEOUT_S,
        sleep=lambda _: None,
    )


def _kraken_ccxt(venue: LocalKraken) -> ExchangeProvider:
    since_t = DEEP_NOW_T // HOUR_T * HOUR_T - 719 * HOUR_T
    return ExchangeProvider(
        "kraken", since_t=since_t, url=venue.url, call_interval_ms=0, timeout_s=TIMEOUT_S, sleep=lambda _: None
    )


def _loopback(server: LoopbackBinance | LoopbackCoinApi, make: Callable[[], BarProvider]) -> Stand:
    def plant(name: str) -> None:
        server.faults = [*[Fault()] * (EVERY_N - 1), LOOPBACK_FAULTS[name]] * 50

    return Stand(make, NOW_T, lambda: len(server.paths), plant)


def _binance(_: Path) -> Iterator[Stand]:
    with serve_binance(LoopbackBinance({"BTCUSDT": HELD, "ETHUSDT": HELD}, now_t=NOW_T)) as server:
        yield _loopback(
            server,
            lambda: ExchangeProvider(
                "binance",
                since_t=START_T,
                url=server.url,
                call_interval_ms=0,
                page_max=7,
                timeout_s=TIMEOUT_S,
                sleep=lambda _: None,
            ),
        )


def _coinapi(_: Path) -> Iterator[Stand]:
    bars = {f"BINANCE_SPOT_{asset}_USDT": HELD for asset in ("BTC", "ETH")}
    with serve_coinapi(LoopbackCoinApi(bars, now_t=NOW_T)) as server:
        yield _loopback(
            server,
            lambda: CoinApiProvider(
                since_t=START_T, url=server.url, call_interval_ms=0, page_max=7, timeout_s=TIMEOUT_S, sleep=lambda _: None
            ),
        )


STANDS: dict[str, Callable[[Path], Iterator[Stand]]] = {
    "files": _files,
    "ohlcvt": _ohlcvt,
    "kraken-archive": _archive,
    "simulated": _simulated,
    "ccxt-binance": _binance,
    "coinapi": _coinapi,
}
VENUE_STANDS: dict[str, Callable[[LocalKraken], BarProvider]] = {
    "kraken candles": lambda venue: _kraken_rest(venue, None),
    "kraken trades": lambda venue: _kraken_rest(venue, START_T),
    "ccxt-kraken": _kraken_ccxt,
}
NETWORK = [*VENUE_STANDS, "ccxt-binance", "coinapi"]


def _stand(name: str, tmp_path: Path, deep_folder: Path) -> Iterator[Stand]:
    return _kraken(deep_folder, VENUE_STANDS[name]) if name in VENUE_STANDS else STANDS[name](tmp_path)


@pytest.fixture(params=[*STANDS, *VENUE_STANDS])
def stand(
    request: pytest.FixtureRequest, tmp_path: Path, deep_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stand]:
    monkeypatch.setenv(COINAPI.variable, "a-key-for-tests")
    yield from _stand(request.param, tmp_path, deep_folder)


@pytest.fixture(params=NETWORK)
def network(
    request: pytest.FixtureRequest, tmp_path: Path, deep_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stand]:
    monkeypatch.setenv(COINAPI.variable, "a-key-for-tests")
    yield from _stand(request.param, tmp_path, deep_folder)


def together(pages: list[Page]) -> Bars:
    return joined([p.bars for p in pages])


def first(provider: BarProvider) -> SeriesRef:
    return provider.series()[0]


def test_series_are_ordered_named_and_stable(stand: Stand) -> None:
    refs = list(stand.make().series())
    assert refs
    assert refs == list(stand.make().series())
    assert [r.key for r in refs] == sorted({r.key for r in refs})
    for ref in refs:
        assert interval_seconds(ref.interval) > 0
        assert "/" not in ref.origin, "evidence names a file or an endpoint, never a folder"


def test_bars_are_well_formed_and_the_same_for_everyone_who_asks(stand: Stand) -> None:
    provider = stand.make()
    for ref in provider.series():
        bars = read_series(provider, ref)
        assert len(bars) > 0
        assert bars.t.dtype == np.int64
        assert all(values.dtype == np.float64 and len(values) == len(bars) for _, values in bars.columns())
        assert form_findings(bars, Series(ref.symbol, ref.key, interval_seconds(ref.interval))) == []
        assert read_series(provider, ref).digest == bars.digest
        assert read_series(stand.make(), ref).digest == bars.digest


def test_pages_are_the_same_every_time_and_tell_how_far_they_are(stand: Stand) -> None:
    provider = stand.make()
    ref = first(provider)
    pages = list(provider.pages(ref))
    ends = [p.until_t for p in pages]
    assert all(a < b for a, b in itertools.pairwise(ends))
    assert [(p.until_t, p.bars.digest) for p in stand.make().pages(ref)] == [(p.until_t, p.bars.digest) for p in pages]
    began_t = -1
    for page in pages:
        assert bool((page.bars.t >= began_t).all()), "a page begins where the one before said it ended"
        assert bool((page.bars.t < page.until_t).all())
        began_t = page.until_t


def test_a_delivery_goes_on_from_the_end_of_any_page(stand: Stand) -> None:
    provider = stand.make()
    ref = first(provider)
    pages = list(provider.pages(ref))
    whole = together(pages)
    step = max(1, len(pages) // 5)
    for n in range(0, len(pages), step):
        rest = list(stand.make().pages(ref, since_t=pages[n].until_t))
        assert together([*pages[: n + 1], *rest]).digest == whole.digest, f"after page {n} of {len(pages)}"
        assert not rest or rest[-1].until_t == pages[-1].until_t


def test_the_window_asked_for_is_kept(stand: Stand) -> None:
    provider = stand.make()
    ref = first(provider)
    whole = read_series(provider, ref)
    t = whole.t
    for since_t, until_t in ((int(t[3]), None), (None, int(t[-5])), (int(t[2]) + 1, int(t[-3]) + 1), (int(t[8]), int(t[8]))):
        pages = list(stand.make().pages(ref, since_t, until_t))
        keep = (t >= (since_t or 0)) & (t < (until_t or 2**62))
        got = together(pages) if pages else whole.take(slice(0, 0))
        assert got.digest == whole.take(keep).digest, (since_t, until_t)
        step_t = interval_seconds(ref.interval)
        assert not pages or until_t is None or pages[-1].until_t <= -(-until_t // step_t) * step_t, (
            "no promise beyond the window"
        )


def test_no_bar_comes_before_it_has_closed(stand: Stand) -> None:
    provider = stand.make()
    if stand.now_t is None:
        assert provider.name in {"files", "kraken-archive", "simulated"}
        return
    assert provider.closed
    for ref in provider.series():
        pages = list(provider.pages(ref))
        step_t = interval_seconds(ref.interval)
        assert int(together(pages).t[-1]) + step_t <= stand.now_t
        assert pages[-1].until_t == stand.now_t // step_t * step_t, "and all that have closed are there"


def test_importing_twice_changes_nothing(stand: Stand, tmp_path: Path) -> None:
    home = tmp_path / "home"
    once = import_bars(home, stand.make())
    again = import_bars(home, stand.make())
    assert once.changed_n == len(once.series) > 0
    assert again.changed_n == 0
    assert [s.sha256 for s in again.series] == [s.sha256 for s in once.series]


def test_an_unknown_series_is_refused_by_a_typed_error(stand: Stand) -> None:
    provider = stand.make()
    if isinstance(provider, SimulatedProvider):
        return  # takes no names from outside
    ref = replace(first(provider), symbol="NOPE", locator="NOPE")
    with pytest.raises(BallastError) as caught:
        list(provider.pages(ref))
    assert caught.value.expected
    assert caught.value.action


def test_nothing_is_sent_before_something_is_asked_for(network: Stand) -> None:
    assert network.calls is not None
    provider = network.make()
    assert network.calls() == 0
    provider.series()
    assert network.calls() > 0


@pytest.mark.parametrize("name", LOOPBACK_FAULTS)
def test_bars_are_the_same_when_every_fourth_answer_is_wrong(network: Stand, name: str) -> None:
    assert network.plant is not None
    assert network.calls is not None
    provider = network.make()
    ref = first(provider)
    clean = read_series(provider, ref)
    clean_n = network.calls()
    network.plant(name)
    provider = network.make()
    spoilt = joined([p.bars for r in provider.series() if r == ref for _ in range(2) for p in provider.pages(r)])
    assert spoilt.digest == joined([clean, clean]).digest
    assert network.calls() - clean_n >= EVERY_N, "at least one answer was wrong"


def test_a_server_that_is_gone_is_an_environment_failure(
    tmp_path: Path, deep_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COINAPI.variable, "a-key-for-tests")
    for name in NETWORK:
        stands = _stand(name, tmp_path, deep_folder)
        provider = next(stands).make()
        assert next(stands, None) is None, "the server has stopped"
        with pytest.raises(EnvironmentFailure, match="connection refused"):
            provider.series()
