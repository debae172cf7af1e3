"""One contract suite over every bar provider: what ingest may rely on, whoever delivers the bars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.bars import START_T, some_bars, write_ohlcvt, write_series
from tests.support.kraken import LoopbackKraken, serve, some_trades
from workbench.data.bars import interval_seconds
from workbench.data.gates import Series, form_findings
from workbench.data.ingest import import_bars
from workbench.data.providers import BarProvider, read_series
from workbench.data.providers.files import FileProvider
from workbench.data.providers.kraken import KrakenProvider
from workbench.data.providers.simulated import SimulatedProvider


@pytest.fixture(params=["layout", "ohlcvt", "simulated", "kraken candles", "kraken trades"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BarProvider]:
    if request.param == "layout":
        for symbol in ("BTCUSDT", "ETHUSDT"):
            write_series(tmp_path, f"binance-spot/1h/{symbol}", some_bars())
        yield FileProvider(tmp_path)
    elif request.param == "ohlcvt":
        write_ohlcvt(tmp_path / "deep" / "XBTUSD_60.csv", some_bars())
        write_ohlcvt(tmp_path / "ETHUSD_1440.csv", some_bars(step_t=86_400), header=True)
        yield FileProvider(tmp_path)
    elif request.param == "simulated":
        yield SimulatedProvider(hours=400)
    else:
        trades = some_trades(60, start_t=START_T)
        with serve(
            LoopbackKraken({"XBTUSD": trades, "ETHUSD": trades}, now_t=START_T + 59 * 3_600 + 1_800, candles_max=20)
        ) as k:
            since_t = START_T if request.param == "kraken trades" else None
            yield KrakenProvider(since_t=since_t, url=k.url, call_interval_ms=0, sleep=lambda _: None)


def test_series_are_ordered_named_and_stable(provider: BarProvider) -> None:
    refs = list(provider.series())
    assert refs
    assert refs == list(provider.series())
    assert [r.key for r in refs] == sorted({r.key for r in refs})
    for ref in refs:
        assert interval_seconds(ref.interval) > 0
        assert "/" not in ref.origin, "evidence names a file or an endpoint, never a folder"


def test_bars_are_well_formed_and_the_same_when_read_again(provider: BarProvider) -> None:
    for ref in provider.series():
        bars = read_series(provider, ref)
        assert len(bars) > 0
        assert bars.t.dtype == np.int64
        assert all(values.dtype == np.float64 and len(values) == len(bars) for _, values in bars.columns())
        assert form_findings(bars, Series(ref.symbol, ref.key, interval_seconds(ref.interval))) == []
        assert read_series(provider, ref).digest == bars.digest


def test_importing_twice_changes_nothing(provider: BarProvider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = import_bars(home, provider)
    again = import_bars(home, provider)
    assert first.changed_n == len(first.series) > 0
    assert again.changed_n == 0
    assert [s.sha256 for s in again.series] == [s.sha256 for s in first.series]
