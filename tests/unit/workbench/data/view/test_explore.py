"""What the exploring notebook reads and reports: whole bars, windows, a second venue, and whole numbers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from runtime.errors import DataError, UsageError
from tests.support.bars import HOUR_T, START_T, changed, without, write_series
from tests.support.explored import walks
from workbench.data.bars import Bars
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import DatasetManifest
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.view import estimates, explore
from workbench.data.view.explore import ExploreSpec

N = 24 * 70
HIGH, LOW, CLOSE = walks(np.random.Generator(np.random.PCG64(11)), N, 2, 0.003)
ALL = ("gap", "stale_tail", "partial_tail", "jump", "wick")


def walk(asset_n: int, *, factor: float = 1.0) -> Bars:
    close = CLOSE[:, asset_n] * factor
    opened = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(HIGH[:, asset_n] * factor, opened), np.minimum(LOW[:, asset_n] * factor, opened)
    return Bars(START_T + HOUR_T * np.arange(N, dtype=np.int64), opened, high, low, close, np.full(N, 3.25))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetManifest, DatasetManifest]:
    """Return a home with a dataset of each of two venues; one venue's prices are 10 bp above the other's."""
    folder = tmp_path_factory.mktemp("explore")
    write_series(folder / "bars", "binance-spot/1h/BTCUSDT", without(walk(0, factor=1.001), 100, 101, 900))
    write_series(folder / "bars", "binance-spot/1h/ETHUSDT", walk(1))
    write_series(folder / "bars", "kraken-spot/1h/XBTUSD", walk(0))
    import_bars(folder / "home", FileProvider(folder / "bars"))
    both = (build_dataset(folder / "home", v, accept_names=ALL) for v in ("binance-spot", "kraken-spot"))
    return folder / "home", *both


def test_hours_are_the_dataset_on_one_grid(made: tuple[Path, DatasetManifest, DatasetManifest]) -> None:
    home, manifest, _ = made
    market = explore.load(ExploreSpec(dataset=manifest.dataset_hash), home)
    assert (market.symbols, market.label, market.partial_n) == (("BTC", "ETH"), "binance-spot", 0)
    assert market.open_t.tolist() == (START_T + HOUR_T * np.arange(N)).tolist()
    assert np.isnan(market.close[:, 0]).nonzero()[0].tolist() == [100, 101, 900]
    assert market.close[:, 1].tobytes() == walk(1).close.tobytes()
    assert market.months["missing_n"].sum() == market.gaps["bars_n"].sum() == 3
    assert explore.longest_gaps(market).row(0) == ("BTC", "2024-01-05 04:00", "2024-01-05 05:00", 2)
    assert explore.assets_of(ExploreSpec(dataset=manifest.dataset_hash), home) == ("BTC", "ETH")


def test_longer_bars_take_part_when_they_are_whole(made: tuple[Path, DatasetManifest, DatasetManifest]) -> None:
    home, manifest, _ = made
    market = explore.load(ExploreSpec(dataset=manifest.dataset_hash, bars="1d"), home)
    assert market.partial_n == 2
    assert np.isnan(market.close[:, 0]).nonzero()[0].tolist() == [100 // 24, 900 // 24]
    assert market.close[1, 1] == walk(1).close[47]
    assert market.months["due_n"].sum() == 2 * N, "coverage is that of the dataset's own bars"


def test_a_window_looks_at_its_days_alone(made: tuple[Path, DatasetManifest, DatasetManifest]) -> None:
    home, manifest, _ = made
    spec = ExploreSpec(dataset=manifest.dataset_hash, first_day="2024-02-03", last_day="2024-02-10", symbols=("ETH",))
    market = explore.load(spec, home)
    assert market.symbols == ("ETH",)
    assert (int(market.open_t[0]), int(market.open_t[-1])) == (START_T + 33 * 86_400, START_T + 41 * 86_400 - HOUR_T)
    assert market.months["month"].to_list() == [date(2024, 2, 1)]
    assert market.findings == ()
    whole = ExploreSpec(dataset=manifest.dataset_hash, last_day="2024-01-20")
    assert {(f.symbol, f.gate) for f in explore.load(whole, home).findings} == {("BTC", "gap")}
    with pytest.raises(DataError, match="no whole 1h bar between 2030-01-01"):
        explore.load(ExploreSpec(dataset=manifest.dataset_hash, first_day="2030-01-01"), home)


def test_bars_shorter_than_the_dataset_are_refused(made: tuple[Path, DatasetManifest, DatasetManifest]) -> None:
    home, manifest, _ = made
    with pytest.raises(UsageError, match="one of 4h, 1d"):
        explore.load(ExploreSpec(dataset=manifest.dataset_hash, bars="15m"), home)


def test_two_venues_are_compared_on_what_both_have(made: tuple[Path, DatasetManifest, DatasetManifest]) -> None:
    home, manifest, other = made
    spec = ExploreSpec(dataset=manifest.dataset_hash, second=other.dataset_hash)
    market = explore.load(spec, home)
    second = explore.load_second(spec, home, market)
    assert second is not None
    assert second.symbols == ("BTC",)
    found = explore.summarise(spec, market, second, estimates.correlations(market), estimates.spreads(market))
    (apart,) = found.venue_spread
    assert (apart.symbol, apart.bars_n) == ("BTC", N - 3)
    assert apart.low == apart.median == apart.high == 1_000, "ten basis points, in hundredths"
    assert explore.load_second(ExploreSpec(dataset=manifest.dataset_hash), home, market) is None
    with pytest.raises(DataError, match="has none of ETH"):
        explore.load_second(spec, home, explore.load(spec.model_copy(update={"symbols": ("ETH",)}), home))


def test_the_result_is_whole_numbers_of_what_the_tables_show(made: tuple[Path, DatasetManifest, DatasetManifest]) -> None:
    home, manifest, _ = made
    spec = ExploreSpec(dataset=manifest.dataset_hash)
    market = explore.load(spec, home)
    found = explore.summarise(spec, market, None, estimates.correlations(market), estimates.spreads(market))
    assert (found.bars_n, found.missing_n, found.gaps_n, found.findings["gap"]) == (2 * N - 3, 3, 2, 2)
    assert found.coverage_ppm == {"BTC": 1_000_000 * (N - 3) // N, "ETH": 1_000_000}
    assert found.correlation_e4["BTC"] == found.correlation_e4["ETH"]
    returns = np.diff(np.log(walk(1).close))
    assert found.volatility_bp["ETH"] == pytest.approx(1e4 * np.sqrt(np.mean(returns**2) * 365 * 24), abs=1)
    assert found.corwin_schultz_e2bp["ETH"] == pytest.approx(3_000, rel=0.4)
    assert found.abdi_ranaldo_e2bp["ETH"] == pytest.approx(3_000, rel=0.4)
    table = explore.figures(found)
    assert table["asset"].to_list() == ["BTC", "ETH"]
    assert table["volatility %"].to_list() == [round(v / 100, 1) for v in found.volatility_bp.values()]
    flat = [v for v in found.model_dump().values() if isinstance(v, float)]
    assert flat == []


def test_another_price_is_another_result(made: tuple[Path, DatasetManifest, DatasetManifest], tmp_path: Path) -> None:
    home, manifest, _ = made
    write_series(tmp_path / "bars", "binance-spot/1h/BTCUSDT", without(walk(0, factor=1.001), 100, 101, 900))
    write_series(
        tmp_path / "bars",
        "binance-spot/1h/ETHUSDT",
        changed(walk(1), 300, close=CLOSE[300, 1] * 1.02, high=CLOSE[300, 1] * 1.03),
    )
    import_bars(tmp_path / "home", FileProvider(tmp_path / "bars"))
    other = build_dataset(tmp_path / "home", "binance-spot", accept_names=ALL)
    results = []
    for place, name in ((home, manifest.dataset_hash), (tmp_path / "home", other.dataset_hash)):
        spec = ExploreSpec(dataset=name)
        market = explore.load(spec, place)
        results.append(explore.summarise(spec, market, None, estimates.correlations(market), estimates.spreads(market)))
    assert results[0].volatility_bp["BTC"] == results[1].volatility_bp["BTC"]
    assert results[0].volatility_bp["ETH"] < results[1].volatility_bp["ETH"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": "latest"}, {"window_days": 181}, {"bars": "1m"}, {"first_day": "2024-1-1"}, {"first_day": "2024-02-30"},
        {"symbols": ("BTC", "BTC")}, {"first_day": "2024-02-02", "last_day": "2024-02-01"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_spec_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExploreSpec.model_validate({"dataset": "a" * 64, **wrong})


def test_one_day_is_a_window() -> None:
    spec = ExploreSpec(dataset="a" * 64, first_day="2024-01-01", last_day="2024-01-01")
    assert spec.window_t() == (START_T, START_T + 86_400)
