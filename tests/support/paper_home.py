"""A home with an active bundle, and the files of a local Kraken that goes on where the bundle's bars end."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from runtime.inference.panel import BarPanel
from runtime.ops.bundles.store import activate
from tests.support.bundles import make_bundle
from tests.support.local_kraken import Bar, write_bars
from tests.support.panels import HOUR_T, START_T, make_panel

SEED_HOURS = 1_000
VENUE_NAMES = {"BTC": "XBTUSD", "ETH": "ETHUSD", "SOL": "SOLUSD", "XRP": "XRPUSD"}


class PaperHome(NamedTuple):
    """A home folder, the market's files, and the time at which the venue begins, seconds UTC."""

    home: Path
    market: Path
    begin_t: int


def make_paper_home(folder: Path, hours_n: int = 72, assets_n: int = 4, grid_h: int = 1) -> PaperHome:
    """Make a home with an active trend bundle of a random market, and the market's files up to `hours_n` after the bundle's bars."""
    whole = rounded(make_panel(SEED_HOURS + hours_n, assets_n, holes=False))
    home, market = folder / "home", folder / "market"
    home.mkdir()
    past = BarPanel(
        whole.symbols, HOUR_T, whole.open_t[:SEED_HOURS],
        *(values[:SEED_HOURS] for values in (whole.open, whole.high, whole.low, whole.close, whole.volume)),
    )  # fmt: skip
    activate(home, make_bundle(home, past, grid_h=grid_h))
    for s, symbol in enumerate(whole.symbols):
        columns = (whole.open, whole.high, whole.low, whole.close, whole.volume)
        bars: list[Bar] = [
            (int(t), *(float(values[n, s]) for values in columns), None)  # type: ignore[misc]
            for n, t in enumerate(whole.open_t.tolist())
        ]
        write_bars(market / "1h" / f"{VENUE_NAMES[symbol]}.parquet", bars)
    return PaperHome(home, market, START_T + SEED_HOURS * HOUR_T)


def rounded(panel: BarPanel) -> BarPanel:
    """Return the panel with prices of two decimals and volumes of four, which every pair of the venue can carry."""
    prices = [np.rint(values * 1e2) / 1e2 for values in (panel.open, panel.high, panel.low, panel.close)]
    opened, high, low, close = prices
    high, low = np.maximum(np.maximum(opened, close), high), np.minimum(np.minimum(opened, close), low)
    volume = np.maximum(np.rint(panel.volume * 1e2) / 1e2, 1.0)
    return BarPanel(panel.symbols, panel.interval_t, panel.open_t, opened, high, low, close, volume)
