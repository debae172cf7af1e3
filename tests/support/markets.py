"""Seeded random markets, forecasts and profiles in core integers, for tests of the decision core."""

from __future__ import annotations

import numpy as np

from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS
from runtime.engine import RunInputs
from runtime.genesis import Bundle, Deposit, Genesis
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import Clusters
from runtime.policy import PairRules, RiskProfile

HOUR_T = 3_600
START_T = 1_577_836_800
NO_HASH = "0" * 64


def random_inputs(
    seed: int,
    hours: int = 300,
    symbols: int = 5,
    profile: RiskProfile | None = None,
    cash_e8: int = 100_000 * 10**8,
    wildness: float = 1.0,
    pairs: tuple[PairRules, ...] | None = None,
) -> RunInputs:
    """Return a run over a random market with gaps, thin bars, wicks and forecasts of every class.

    Args:
        wildness: scales returns; beyond about 3 prices halve and double within hours.
    """
    rng = np.random.default_rng(seed)
    profile = profile or RiskProfile()
    bars = _bars(rng, hours, symbols, wildness)
    close_t = START_T + HOUR_T * np.arange(1, hours + 1, dtype=np.int64)
    at = np.arange(int(rng.integers(0, 5)), hours, int(rng.integers(1, 5)))
    rows = np.zeros((len(at), INSTRUMENTS), FORECAST)
    phase = np.add.accumulate(0.35 * _bell(rng, (len(at), symbols)), axis=0)
    level = (np.abs(phase % 4 - 2) - 1) * (0.2 + 1.4 * rng.random(symbols))  # a triangle wave that wanders
    for horizon, scale in (("near", 6_000), ("main", 12_000), ("far", 30_000)):
        noise = 0.15 * _bell(rng, level.shape)
        rows[f"prob_{horizon}_ppm"][:, :symbols] = np.clip(500_000 + 90_000 * (level + noise), 0, 10**6).astype(np.int64)
        rows[f"ret_{horizon}_ppm"][:, :symbols] = (scale * (level + noise)).astype(np.int64)
    rows["uncertainty_ppm"][:, :symbols] = rng.integers(0, 600_000, level.shape)
    rows["valid_n"][:, :symbols] = rng.random(level.shape) < 0.95
    for name in FORECAST.names or ():
        rows[name][rows["valid_n"] == 0] = 0
    names = tuple(f"S{i:02d}" for i in range(symbols))
    forecasts = Forecasts(names, close_t[at], rows, [rng.bytes(32) for _ in at])
    when = np.flatnonzero(rng.random(hours) < 0.02)
    if seed % 3 == 0:
        when = when[:0]
    members = np.zeros((len(when), INSTRUMENTS), CLUSTER)
    members["cluster_id"] = rng.integers(0, 4, members.shape)
    clusters = Clusters(close_t[when], members)
    genesis = Genesis(
        account_id=1,
        mode_id=1,
        source="test",
        simulated=True,
        symbols=names,
        interval_t=HOUR_T,
        first_t=int(close_t[0]),
        last_t=int(close_t[-1]),
        universe_version="test",
        dataset_hash=NO_HASH,
        bars_digest=NO_HASH,
        forecasts_digest=forecasts.digest,
        clusters_digest=clusters.digest,
        bundle=Bundle(name="test", bundle_hash=NO_HASH, feature_set_hash=NO_HASH, model_hashes=()),
        profile=profile,
        policy_digest=profile.digest,
        pairs=pairs or tuple(PairRules() for _ in names),
        deposits=(Deposit(quote_id=0, amount_e8=str(cash_e8)),),
        core_digest=NO_HASH,
    )
    return RunInputs(genesis, bars, close_t, forecasts, clusters)


def _bell(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return bell-shaped noise of unit variance from sums and products only: the same bits on any processor."""
    return (rng.random(shape) + rng.random(shape) + rng.random(shape) + rng.random(shape) - 2.0) * 1.7320508


def _bars(rng: np.random.Generator, hours: int, symbols: int, wildness: float) -> np.ndarray:
    shape = (hours, symbols)
    jumps = np.where(rng.random(shape) < 0.02, 5.0, 1.0)
    steps = np.maximum(_bell(rng, shape) * jumps * 0.006 * wildness, -0.5)
    close = (0.01 + 40_000 * rng.random(symbols)) * np.multiply.accumulate(1.0 + steps, axis=0)
    opened = np.vstack([close[:1], close[:-1]]) * (1 + 0.001 * _bell(rng, shape))
    high = np.maximum(opened, close) * (1 + np.abs(0.002 * _bell(rng, shape)))
    low = np.minimum(opened, close) * (1 - np.abs(0.002 * _bell(rng, shape)))
    volume = 2_000 / (rng.random(shape) + 0.001) / close
    volume[rng.random(shape) < 0.02] = 0
    bars = np.zeros((hours, INSTRUMENTS), BAR)
    for name, values in (("open_e8", opened), ("high_e8", high), ("low_e8", low), ("close_e8", close)):
        bars[name][:, :symbols] = np.maximum(np.rint(values * 1e8), 1).astype(np.int64)
    bars["volume_e4"][:, :symbols] = np.floor(np.minimum(volume * 1e4, 9e18)).astype(np.int64)
    bars["present_n"][:, :symbols] = 1
    for s in range(symbols):
        first = int(rng.integers(0, hours))
        bars[first : first + int(rng.integers(0, 30)), s] = np.zeros((), BAR)
    return bars
