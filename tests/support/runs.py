"""Small but real runs: a made-up market through the real core into a journal on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from runtime.core.records import E8, FORECAST, HOUR_T, INSTRUMENTS
from runtime.genesis import Bundle
from runtime.inference.bundle import Forecasts
from runtime.inference.panel import BarPanel
from runtime.policy import RiskProfile
from workbench.backtest import Origin, RunSummary, run_backtest

FIRST_T = 1_577_836_800


def make_panel(hours_n: int = 600, symbols: tuple[str, ...] = ("BTC", "ETH", "SOL"), seed: int = 5) -> BarPanel:
    """Return a wandering market with a hole in its last symbol."""
    rng = np.random.Generator(np.random.PCG64(seed))
    steps = rng.integers(-80, 83, (hours_n, len(symbols)))
    close = np.round(100.0 + np.cumsum(steps, axis=0) / 100.0, 2)
    close = np.maximum(close, 20.0)
    open_ = np.vstack([close[:1], close[:-1]])
    spread = rng.integers(1, 60, close.shape) / 100.0
    high, low = np.maximum(open_, close) + spread, np.minimum(open_, close) - spread
    volume = rng.integers(1_000, 90_000, close.shape).astype(np.float64)
    values = [open_, high, low, close, volume]
    for value in values:
        value[hours_n // 2 : hours_n // 2 + 7, -1] = np.nan
    open_t = FIRST_T + HOUR_T * np.arange(hours_n, dtype=np.int64)
    return BarPanel(symbols, HOUR_T, open_t, *values)


def make_forecasts(panel: BarPanel, first_row: int = 200, every: int = 4, seed: int = 6) -> Forecasts:
    """Return forecasts that turn from strongly positive to strongly negative every few days, so that positions come and go."""
    rng = np.random.Generator(np.random.PCG64(seed))
    taken = np.arange(first_row, len(panel.open_t), every)
    rows = np.zeros((len(taken), INSTRUMENTS), FORECAST)
    for i in range(len(panel.symbols)):
        mood = np.where((taken // (48 + 12 * i)) % 2 == 0, 1, -1)
        for name in ("near", "main", "far"):
            rows[f"prob_{name}_ppm"][:, i] = 500_000 + mood * rng.integers(30_000, 120_000, len(taken))
            rows[f"ret_{name}_ppm"][:, i] = mood * rng.integers(2_000, 60_000, len(taken))
        rows["uncertainty_ppm"][:, i] = rng.integers(50_000, 300_000, len(taken))
        rows["valid_n"][:, i] = np.isfinite(panel.close[taken, i])
    digests = [hashlib.sha256(b"features %d" % t).digest() for t in taken]
    return Forecasts(panel.symbols, panel.open_t[taken] + panel.interval_t, rows, digests)


def make_run(home: Path, name: str = "ml", hours_n: int = 600, seed: int = 5) -> RunSummary:
    """Run a backtest with fills into `home/runs` and return its summary."""
    panel = make_panel(hours_n, seed=seed)
    return run_backtest(
        home,
        panel,
        make_forecasts(panel),
        Origin(dataset_hash="d" * 64, source="made up", simulated=True, universe_version="v1"),
        Bundle(name=name, bundle_hash="b" * 64, feature_set_hash="f" * 64, model_hashes=()),
        RiskProfile(),
        initial_cash_e8=100_000 * E8,
    )
