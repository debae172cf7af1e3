"""A small market on a grid, for tests of estimates and charts."""

from __future__ import annotations

import numpy as np
import polars as pl

from runtime.inference.panel import Floats
from tests.support.bars import START_T
from workbench.data.datasets.manifests import DatasetManifest
from workbench.data.quality.findings import Finding
from workbench.data.universe.versions import load_universe
from workbench.data.view import coverage
from workbench.data.view.estimates import Market
from workbench.data.view.strands import Name

HOUR_T = 3_600


def some_market(
    *, assets_n: int = 4, days_n: int = 200, interval_t: int = HOUR_T, seed: int = 5, spread: float = 0.0
) -> Market:
    """Return a seeded market of walks with one common factor; one hole of 30 bars in the first asset.

    Args:
        assets_n: assets, the first of the universe.
        days_n: days from 2024-01-01.
        interval_t: seconds per bar.
        seed: of the walks.
        spread: trades happen half of it above or below the walk, as a share of the price.
    """
    symbols = load_universe().assets[:assets_n]
    n = days_n * 86_400 // interval_t
    open_t = START_T + interval_t * np.arange(n, dtype=np.int64)
    high, low, close = walks(np.random.Generator(np.random.PCG64(seed)), n, assets_n, spread)
    for values in (high, low, close):
        values[n // 3 : n // 3 + 30, 0] = np.nan
    opened = []
    for s, symbol in enumerate(symbols):
        t = open_t[~np.isnan(close[:, s])]
        opened.append((Name("simulated", symbol, "USD"), pl.Series(t * 1_000_000).cast(pl.Datetime("us", "UTC"))))
    gates = (("gap", "blocking", 0, 30), ("wick", "blocking", 1, 1), ("rename", "note", assets_n - 1, 5))
    findings = tuple(
        Finding.model_validate({
            "gate": gate, "severity": severity, "symbol": symbols[s], "series": f"simulated/1h/{symbols[s]}USD", "first_t": START_T,
            "last_t": START_T, "rows_n": rows_n, "detail": "made up",
        })
        for gate, severity, s, rows_n in gates
    )  # fmt: skip
    return Market(
        manifest=DatasetManifest.model_construct(simulated=True, venue="simulated"),
        label="SIMULATED",
        symbols=symbols,
        interval_t=interval_t,
        open_t=open_t,
        high=high,
        low=low,
        close=close,
        months=coverage.table(opened, interval_t, "month"),
        gaps=coverage.gap_table(opened, interval_t),
        findings=findings,
        partial_n=0,
    )


def walks(
    random: np.random.Generator, n: int, assets_n: int, spread: float, steps_n: int = 60
) -> tuple[Floats, Floats, Floats]:
    """Return high, low and close [n, assets_n] of trades at either side of a spread around walks of `steps_n` trades per bar."""
    common = random.normal(0.0, 5e-4, (n, steps_n, 1))
    own = random.normal(0.0, 5e-4, (n, steps_n, assets_n))
    path = np.exp(np.cumsum((common + own).reshape(n * steps_n, assets_n), axis=0)).reshape(n, steps_n, assets_n)
    side = np.where(random.random(path.shape) < 0.5, 1.0 - spread / 2.0, 1.0 + spread / 2.0)
    trades = 100.0 * path * side
    return trades.max(axis=1), trades.min(axis=1), trades[:, -1, :].copy()
