"""A market of up to thirty pairs for paper runs: bars as the local Kraken replays them, and the same bars as a bundle's seed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.adapters.local_kraken.pairs import COMMON_NAMES, KRAKEN_NAMES, ORDER_MINIMUM, PRICE_DECIMALS
from runtime.inference.feature_spec import DEFAULT_SPEC
from runtime.inference.forecaster import Forecaster
from runtime.inference.panel import BarPanel
from tests.support.bundles import GRID_H
from tests.support.panels import HOUR_T, first_bars, real_panel
from tests.support.training import HORIZONS_H, Small
from workbench.data.bars import Bars
from workbench.data.providers.simulate import ASSETS, FIRST_T, simulate
from workbench.study import StudySpec, stages

if TYPE_CHECKING:
    from workbench.data.datasets.manifests import DatasetManifest

START_N: Final = 1_140
"""Hours before a paper run begins: a bundle's seed and more. The simulated outage of five hours is 26 hours later."""
UNSEEN_N: Final = 70
"""Hours before the start that a bundle has not seen: a new account reads them from the venue."""
MONTH_N: Final = 720
MINIMUM_USD: Final = 4.0
"""About what the smallest order of a pair costs."""
DIGITS_N: Final = 6
SYMBOLS: Final = tuple(COMMON_NAMES.get(base, base) for base in PRICE_DECIMALS if base != "SHIB")
"""Thirty assets whose prices fit eight decimals."""
OF_REAL_DATA: Final = tuple(symbol for symbol in SYMBOLS if symbol not in {"KAS", "DOGE"})
REAL_FIRST_T: Final = 1_742_342_400
"""2025-03-19 00:00 UTC: every pair has bars by then, and a run that begins 1,140 hours later begins in a rising May."""


class PaperMarket(NamedTuple):
    """Bars on disk and in memory.

    Attributes:
        folders: what the local Kraken is given.
        panel: all bars.
        start_n: row at whose opening a paper run begins; a bundle has seen what is `UNSEEN_N` rows older.
    """

    folders: list[Path]
    panel: BarPanel
    start_n: int = START_N

    @property
    def start_t(self) -> int:
        """When a paper run begins."""
        return int(self.panel.open_t[self.start_n])

    @property
    def seed(self) -> BarPanel:
        """What a bundle has seen."""
        return first_bars(self.panel, self.start_n - UNSEEN_N)


def simulated_market(folder: Path, hours_n: int, symbols_n: int = len(SYMBOLS), seed: int = 71) -> PaperMarket:
    """Write the bars of the demo's simulated provider under thirty names, for so many hours of trading after `START_N`.

    One simulated market has six assets from its first hour on; further ones come from further seeds. Prices are scaled so that the
    venue's smallest order costs a few dollars, and rounded to six digits.
    """
    listed = [asset.name for asset in ASSETS if asset.listed_h == 0]
    rows_n = START_N + max(hours_n, MONTH_N) + 8  # the same market, however much of it is traded
    markets = [simulate(seed + n, rows_n) for n in range(-(-symbols_n // len(listed)))]
    symbols = SYMBOLS[:symbols_n]
    columns = np.full((5, rows_n, symbols_n), np.nan)
    target = folder / "1h"
    target.mkdir(parents=True)
    for s, symbol in enumerate(symbols):
        base = KRAKEN_NAMES.get(symbol, symbol)
        bars = _scaled(markets[s // len(listed)].bars[listed[s % len(listed)]], MINIMUM_USD / float(ORDER_MINIMUM[base]))
        columns[:, (bars.t - FIRST_T) // HOUR_T, s] = bars.open, bars.high, bars.low, bars.close, bars.volume
        _write(target / f"{base}USD.parquet", bars)
    open_t = FIRST_T + HOUR_T * np.arange(rows_n, dtype=np.int64)
    return PaperMarket([folder], BarPanel(symbols, HOUR_T, open_t, *columns))


def market_of(folder: Path, panel: BarPanel, hours_n: int) -> PaperMarket:
    """Write the last bars of a panel, those that are there, to be traded for so many hours at its end."""
    (folder / "1h").mkdir(parents=True)
    rows = slice(len(panel.open_t) - START_N - hours_n, None)
    for s, symbol in enumerate(panel.symbols):
        fields = [values[rows, s] for values in (panel.open, panel.high, panel.low, panel.close, panel.volume)]
        there = np.isfinite(fields[0])
        bars = Bars(panel.open_t[rows][there], *(values[there] for values in fields))
        _write(folder / "1h" / f"{KRAKEN_NAMES.get(symbol, symbol)}USD.parquet", bars)
    return PaperMarket([folder], panel, len(panel.open_t) - hours_n - 8)


def real_market(data: Path, hours_n: int, symbols_n: int = len(OF_REAL_DATA)) -> PaperMarket:
    """Return hours of the real data: dollars stand for the stable coin 1:1, as the local Kraken says."""
    symbols = OF_REAL_DATA[:symbols_n]
    last_t = REAL_FIRST_T + (START_N + hours_n + 7) * HOUR_T
    return PaperMarket([data / "binance-spot"], real_panel(data, symbols, REAL_FIRST_T, last_t))


def _scaled(bars: Bars, first_price: float) -> Bars:
    factor = first_price / float(bars.open[0])
    unit = 10.0 ** min(max(DIGITS_N - 1 - math.floor(math.log10(first_price)), 0), 8)
    prices = [np.rint(values * factor * unit) / unit for values in (bars.open, bars.high, bars.low, bars.close)]
    volume = np.rint(bars.volume / factor * 1e4) / 1e4
    return Bars(bars.t, prices[0], prices[1], prices[2], prices[3], volume)


def _write(path: Path, bars: Bars) -> None:
    table = {"ts_utc": pa.array(bars.t * 10**6, pa.timestamp("us", "UTC"))}
    table |= {name: pa.array(getattr(bars, name)) for name in ("open", "high", "low", "close", "volume")}
    pq.write_table(pa.table(table), path)


def model_forecaster(made: Small) -> Forecaster:
    """Return the forecaster of models trained on a small market, as a study would describe it."""
    trained = made.train()
    spec = StudySpec(dataset="0" * 64, horizons_h=HORIZONS_H, grid_h=GRID_H, folds_n=2)
    data = stages.StudyData(cast("DatasetManifest", None), made.panel)
    rows = np.flatnonzero((made.panel.open_t + HOUR_T) % (GRID_H * HOUR_T) == 0)
    features = stages.StudyFeatures(DEFAULT_SPEC, rows, made.labels.at_t, made.features, stages.usable(made.features))
    return Forecaster(
        stages.describe_ml(data, features, trained, spec), made.panel.symbols, GRID_H, DEFAULT_SPEC,
        {m.model_hash: m.text for m in trained.models}, {c.digest: c for row in trained.calibrations for c in row},
    )  # fmt: skip
