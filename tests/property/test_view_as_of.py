"""No view shows a bar before it closed, and longer bars are what plain Python makes of the shorter ones."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bars import HOUR_T, START_T, write_series
from workbench import data
from workbench.data.bars import INTERVALS, Bars
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.view.lake_view import LakeView

MINUTES_N = 3 * 24 * 60
SEED = 20_240_101


@pytest.fixture(scope="module")
def minutes() -> dict[str, Bars]:
    """Return seeded one-minute bars of two assets with many holes."""
    return {"BTC": _random_bars(SEED, 0.7), "ETH": _random_bars(SEED + 1, 0.02)}


@pytest.fixture(scope="module")
def home(minutes: dict[str, Bars]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for asset, bars in minutes.items():
            write_series(Path(folder) / "bars", f"binance-spot/1m/{asset}USDT", bars)
        import_bars(Path(folder) / "home", FileProvider(Path(folder) / "bars"))
        yield Path(folder) / "home"


def _random_bars(seed: int, share: float) -> Bars:
    random = np.random.Generator(np.random.PCG64(seed))
    kept = np.flatnonzero(random.random(MINUTES_N) < share)
    kept[-1] = MINUTES_N - 1  # the files end with a UTC day, so every bar had closed
    n = len(kept)
    prices = random.uniform(90.0, 110.0, (n, 4))
    volume = np.round(random.lognormal(2.0, 3.0, n), 8)
    return Bars(
        START_T + 60 * kept.astype(np.int64), prices[:, 0].copy(), prices.max(axis=1), prices.min(axis=1), prices[:, 3].copy(), volume,
        np.floor(volume),
    )  # fmt: skip


def _at(micros: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _closed(bars: Bars, moment: datetime, interval_t: int) -> list[int]:
    """Return, by a loop, the rows of the bars that had closed by a moment."""
    known = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return [i for i, t in enumerate(bars.t.tolist()) if (t + interval_t) * 1_000_000 <= known]


day_us = 86_400 * 1_000_000
moments = st.one_of(
    st.integers(-day_us, 4 * day_us),
    st.integers(0, 3 * 24 * 60).map(lambda m: m * 60_000_000),  # on the grid, where one second decides
    st.integers(0, 3 * 24 * 60).map(lambda m: m * 60_000_000 - 1),
)


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(moments, min_size=1, max_size=8))
def test_a_moment_never_sees_a_bar_that_had_not_closed(home: Path, minutes: dict[str, Bars], asked: list[int]) -> None:
    with data.open(home, interval="1m") as view:
        found = view.asof([_at(m) for m in asked])
    rows = iter(found.iter_rows(named=True))
    for moment in (_at(m) for m in asked):
        for asset in ("BTC", "ETH"):
            row, known = next(rows), _closed(minutes[asset], moment, 60)
            assert (row["at_utc"], row["symbol"]) == (moment, asset)
            if not known:
                assert (row["ts_utc"], row["close"], row["age"]) == (None, None, None)
                continue
            last = known[-1]
            assert int(row["ts_utc"].timestamp()) == minutes[asset].t[last]
            assert row["close"] == minutes[asset].close[last]
            assert row["age"] == moment - row["closed_utc"] >= timedelta()


@settings(max_examples=40, deadline=None)
@given(moment=moments)
def test_what_happens_later_changes_nothing_seen_before(home: Path, minutes: dict[str, Bars], moment: int) -> None:
    at = _at(moment)
    known = {asset: _closed(bars, at, 60) for asset, bars in minutes.items()}
    if not any(known.values()):
        return
    with data.open(home, interval="1m", as_of=at) as view:
        frame = view.frame().collect()
        assert frame.height == sum(map(len, known.values()))
        for asset, rows in known.items():
            assert frame.filter(symbol=asset)["ts_utc"].dt.epoch("s").to_list() == minutes[asset].t[rows].tolist()
        longer = view.aggregate("15m").frame().collect()
    assert all(r + timedelta(minutes=15) <= at for r in longer["ts_utc"].to_list())


def _buckets(bars: Bars, interval_t: int) -> Iterator[tuple[int, list[int]]]:
    groups: dict[int, list[int]] = {}
    for i, t in enumerate(bars.t.tolist()):
        groups.setdefault(t // interval_t * interval_t, []).append(i)
    yield from sorted(groups.items())


@pytest.mark.parametrize("interval", ["5m", "15m", "1h", "4h", "1d"])
def test_longer_bars_are_what_plain_python_makes(home: Path, minutes: dict[str, Bars], interval: str) -> None:
    with data.open(home, interval="1m") as view:
        frame = view.aggregate(interval).frame().collect()
    _compare(frame, minutes, INTERVALS[interval])


def _compare(frame: pl.DataFrame, minutes: dict[str, Bars], interval_t: int) -> None:
    rows = iter(frame.iter_rows(named=True))
    for asset, bars in minutes.items():
        for start_t, inside in _buckets(bars, interval_t):
            row = next(rows)
            volumes = [float(bars.volume[i]) for i in inside]
            assert (row["symbol"], int(row["ts_utc"].timestamp())) == (asset, start_t)
            assert row["open"] == bars.open[inside[0]]
            assert row["close"] == bars.close[inside[-1]]
            assert row["high"] == max(float(bars.high[i]) for i in inside)
            assert row["low"] == min(float(bars.low[i]) for i in inside)
            assert row["volume"] == sum(round(v * 1e8) for v in volumes) / 1e8
            assert row["volume"] == pytest.approx(math.fsum(volumes), rel=1e-12)
            assert row["trades"] == sum(float(bars.trades[i]) for i in inside)  # type: ignore[index]  # they have them
            assert (row["bars_n"], row["whole"]) == (len(inside), len(inside) == interval_t // 60)
    assert next(rows, None) is None


def test_an_hour_early_would_be_caught(home: Path, minutes: dict[str, Bars], monkeypatch: pytest.MonkeyPatch) -> None:
    """A join on the opening time, the usual mistake, is what these properties are there to find."""
    import workbench.data.view.lake_view as module

    real = module.known_bars
    monkeypatch.setattr(module, "known_bars", lambda bars, names, interval_t, asked: real(bars, names, 0, asked))
    moment = datetime.fromtimestamp(int(minutes["BTC"].t[5]), UTC)
    with data.open(home, interval="1m") as view, pytest.raises(AssertionError):
        _never_early(view, minutes, moment)


def _never_early(view: LakeView, minutes: dict[str, Bars], moment: datetime) -> None:
    row = view.asof([moment]).filter(symbol="BTC").row(0, named=True)
    assert int(row["ts_utc"].timestamp()) == minutes["BTC"].t[_closed(minutes["BTC"], moment, 60)[-1]]


def test_hours_of_the_seed(minutes: dict[str, Bars]) -> None:
    assert len(minutes["BTC"]) > 20 * len(minutes["ETH"]) > 20 * 50, f"seed {SEED}"
    assert minutes["BTC"].t[-1] == START_T + 72 * HOUR_T - 60
