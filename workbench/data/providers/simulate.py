"""A seeded, SIMULATED market: what the demo uses where there is neither data nor a network.

Bit-identical on every machine. Randomness is PCG64's raw 64-bit stream (its values are fixed by NumPy's compatibility
policy; no ziggurat, no distribution method). Every float operation is + - * /, a comparison, `rint`, `maximum` or
`minimum`: each correctly rounded by IEEE 754 on any processor and vector level, elementwise, in a fixed order. There is no
exp, log, power, reduction or BLAS call. Prices are rounded to the tick, by one correctly rounded division.

What it contains: four regimes (bull, bear, range, stress), volatility that clusters, market-wide and single-asset jumps,
betas to one market factor, hour-of-day volume, later listings, exchange outages, single holes, wicks and hours without
trades, so that every quality gate has something to find. The predictability is stated in `PREDICTABILITY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from runtime.inference.panel import Floats, Ints
from runtime.progress import Report, silent
from workbench.data.bars import Bars

HOUR_T: Final = 3_600
FIRST_T: Final = 1_577_836_800
"""2020-01-01T00:00Z."""
HOURS: Final = 43_848
"""To 2024-12-31T23:00Z inclusive."""
DEFAULT_SEED: Final = 17
"""Of seeds 1 to 80 the one of the nearest to real price levels at the end of 2024; chosen by that alone."""

PREDICTABILITY: Final = (
    "SIMULATED predictability: every factor goes on with 24 percent of its exponentially weighted mean hourly move of the last "
    "day, which makes a day's return follow about a tenth of the day before (1 to 2 percent of its variance); a slow hidden drift common to "
    "all assets and one per asset, each with a half-life of 10 days; regimes with drifts of their own; and a reversal of 4 "
    "percent of the last hour's own return. The rest is noise."
)
"""The share follows from `CARRY`, `CARRY_WEIGHT`, the drifts and the noise below."""


class Asset(NamedTuple):
    """One simulated asset.

    `price` is the first price in USD, `decimals` its tick, `beta` its share in the market factor, `noise_bp` the hourly
    own volatility in basis points, `turnover_usd` the mean hourly turnover, `listed_h` hours after FIRST_T.
    """

    name: str
    price: float
    decimals: int
    beta: float
    noise_bp: float
    turnover_usd: float
    listed_h: int


ASSETS: Final = (
    Asset("BTC", 7_200.0, 1, 1.00, 22.0, 60e6, 0),
    Asset("ETH", 130.0, 2, 1.15, 34.0, 32e6, 0),
    Asset("XRP", 0.193, 5, 1.05, 46.0, 9e6, 0),
    Asset("SOL", 3.10, 3, 1.35, 58.0, 8e6, 5_358),
    Asset("ADA", 0.0330, 6, 1.15, 48.0, 6e6, 0),
    Asset("LINK", 1.78, 4, 1.20, 52.0, 4e6, 0),
    Asset("LTC", 41.3, 2, 1.05, 38.0, 5e6, 0),
    Asset("AVAX", 4.40, 3, 1.35, 60.0, 3e6, 6_366),
)
SYMBOLS: Final = tuple(a.name for a in ASSETS)

MARKET_BP: Final = 42.0
"""Hourly volatility of the market factor in a quiet regime, basis points."""
DRIFT_DECAY: Final = 1.0 / 346.0
"""Share of a hidden drift lost per hour: a half-life of 240 hours."""
MARKET_DRIFT_BP: Final = 0.13
"""Innovation of the market's hidden drift, basis points per hour: a standing deviation of about 1.7 bp per hour."""
ASSET_DRIFT_BP: Final = 0.07
REVERSAL: Final = 0.04
CARRY: Final = 0.24
"""Share of its own recent mean hourly move (the last day, exponentially weighted) with which a factor goes on."""
CARRY_WEIGHT: Final = 1.0 / 24.0
COMPOUNDING: Final = 1.5
"""Mean square of the volatility multiple, measured; used for the drag of compounding only."""
RATE_CAP: Final = 0.25
"""Largest move of one hour, before wicks."""


class Regime(NamedTuple):
    """Drift in basis points per hour, volatility multiple, mean length in hours."""

    drift_bp: float
    volatility: float
    hours: int


REGIMES: Final = (Regime(1.05, 1.0, 1_500), Regime(-0.95, 1.15, 1_100), Regime(0.0, 0.72, 1_300), Regime(-2.5, 2.1, 200))
NEXT_REGIME: Final = ((2, 1, 2, 3), (0, 2, 3, 2), (0, 1, 0, 1), (0, 2, 1, 0))
"""Four equally likely successors of each regime."""

OUTAGES: Final = ((1_166, 5), (6_015, 3), (12_408, 4), (19_772, 2), (28_302, 1), (36_540, 9))
"""(hour, bars) in which the simulated venue has no bars of any asset."""
HOLES: Final = (("LTC", 9_105, 30), ("LINK", 22_700, 216), ("ADA", 31_010, 1_008))
WICKS: Final = (("LINK", 1_714, 0.02), ("ETH", 10_046, 0.41), ("ADA", 33_333, 0.35), ("AVAX", 6_366, 4.0))
"""(asset, hour, factor): a print at that multiple of the body, once; the last is a listing-hour print."""
QUIET: Final = (("LTC", 28_301), ("XRP", 28_301), ("LINK", 15_700), ("LINK", 15_701))
"""(asset, hour) without a trade: zero volume and one price."""


class _Random:
    """Numbers from PCG64's raw stream: integers are exact, so every machine draws the same."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def words(self, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
        """Return n raw 64-bit words."""
        return np.asarray(self._bits.random_raw(n), dtype=np.uint64)

    def uniform(self, *shape: int) -> Floats:
        """Return multiples of 2**-53 in [0, 1): exact, since both steps are exact in binary."""
        n = 1
        for k in shape:
            n *= k
        return ((self.words(n) >> np.uint64(11)).astype(np.float64) / 9_007_199_254_740_992.0).reshape(shape)

    def normal(self, *shape: int) -> Floats:
        """Return nearly normal numbers: the centred sum of eight 16-bit uniforms (Irwin-Hall), an exact integer, scaled once.

        The eight-fold sum has variance 8 (2**32 - 1) / 12; its tails end at 4.9 deviations, jumps supply the rest.
        """
        n = 1
        for k in shape:
            n *= k
        mask, total = np.uint64(0xFFFF), np.zeros(n, dtype=np.int64)
        words = self.words(2 * n).reshape(2, n)
        for word in words:
            for shift in (0, 16, 32, 48):
                total += ((word >> np.uint64(shift)) & mask).astype(np.int64)
        return ((total - 8 * 65_535 // 2).astype(np.float64) / 53_509.27).reshape(shape)


@dataclass(frozen=True, slots=True)
class Market:
    """One simulated history: bars per asset, and the seed they came from."""

    seed: int
    bars: dict[str, Bars]


def simulate(seed: int = DEFAULT_SEED, hours: int = HOURS, report: Report = silent) -> Market:
    """Simulate the market of `ASSETS` for a number of hours from 2020-01-01 UTC.

    Args:
        seed: of PCG64.
        hours: length, at most `HOURS`; a shorter market is the beginning of a longer one only in its regimes.
        report: told every 4,096 hours.

    Returns:
        Bars per asset, without the bars of outages and holes and before an asset's listing.
    """
    random = _Random(seed)
    regime = _regimes(random, hours)
    volatility = _volatility(random, regime, hours)
    rates, wiggle = _rates(random, regime, volatility, hours, report)
    market: dict[str, Bars] = {}
    for i, asset in enumerate(ASSETS):
        bars = _candles(random, asset, rates[:, i], wiggle[:, i], volatility)
        market[asset.name] = bars.take(_open_hours(asset, hours))
    return Market(seed, market)


def _regimes(random: _Random, hours: int) -> Ints:
    path = np.empty(hours, dtype=np.int64)
    now, at = 0, 0
    while at < hours:
        length_draw, next_draw = (int(w >> np.uint64(40)) for w in random.words(2))
        length = REGIMES[now].hours // 2 + length_draw % REGIMES[now].hours
        path[at : at + length] = now
        at += length
        now = NEXT_REGIME[now][next_draw % 4]
    return path


def _volatility(random: _Random, regime: Ints, hours: int) -> Floats:
    """Return the volatility multiple per hour: pulled to the regime's level, pushed by shocks that decay over days."""
    level = np.array([r.volatility for r in REGIMES])[regime]
    shocks = random.uniform(hours)
    path = np.empty(hours)
    now = 1.0
    for h in range(hours):
        u = float(shocks[h])
        push = 0.55 * (u - 0.985) / 0.015 if u > 0.985 else (u - 0.4925) * 0.03
        now = now + 0.012 * (float(level[h]) - now) + push * now
        now = min(max(now, 0.35), 5.0)
        path[h] = now
    return path


def _rates(random: _Random, regime: Ints, volatility: Floats, hours: int, report: Report) -> tuple[Floats, Floats]:
    """Return hourly simple returns [hours, S] and the intrabar range in the same unit [hours, S]."""
    s = len(ASSETS)
    beta, noise = (np.array([getattr(a, k) for a in ASSETS]) for k in ("beta", "noise_bp"))
    drift_bp = np.array([r.drift_bp for r in REGIMES])[regime]
    market_noise, market_drift_noise = random.normal(hours), random.normal(hours)
    own_noise, own_drift_noise = random.normal(hours, s), random.normal(hours, s)
    jump_u, jump_size = random.uniform(hours, s + 1), random.normal(hours, s + 1)
    jumps = np.where(jump_u < 0.0004, jump_size * 380.0, 0.0)
    common = np.empty(hours)
    hidden = 0.0
    for h in range(hours):
        hidden = hidden - DRIFT_DECAY * hidden + MARKET_DRIFT_BP * float(market_drift_noise[h])
        common[h] = hidden
    shocks = drift_bp + common + MARKET_BP * volatility * market_noise + jumps[:, s]
    market = np.empty(hours)
    trail = 0.0
    for h in range(hours):
        market[h] = float(shocks[h]) + CARRY * trail
        trail = trail + CARRY_WEIGHT * (float(market[h]) - trail)
    rates = np.empty((hours, s))
    own_drift, last_own, own_trail = np.zeros(s), np.zeros(s), np.zeros(s)
    for h in range(hours):
        own_drift = own_drift - DRIFT_DECAY * own_drift + ASSET_DRIFT_BP * own_drift_noise[h]
        own = own_drift + noise * volatility[h] * own_noise[h] + jumps[h, :s] - REVERSAL * last_own + CARRY * own_trail
        own_trail = own_trail + CARRY_WEIGHT * (own - own_trail)
        rates[h] = beta * market[h] + own
        last_own = own
        if h % 4_096 == 0:
            report("simulate market", h, hours)
    report("simulate market", hours, hours)
    scale = 10_000.0
    # Half the typical variance per hour is given back, or compounding alone would wear every volatile asset down to nothing.
    rates = rates + 0.5 * COMPOUNDING * (MARKET_BP * MARKET_BP * beta * beta + noise * noise) / scale
    rates = np.maximum(np.minimum(rates / scale, RATE_CAP), -RATE_CAP / (1.0 + RATE_CAP))
    wiggle = volatility[:, None] * (MARKET_BP * beta + noise) / scale
    return rates, wiggle


def _candles(random: _Random, asset: Asset, rate: Floats, wiggle: Floats, volatility: Floats) -> Bars:
    hours, unit = len(rate), float(10**asset.decimals)
    rise, fall, jitter = random.uniform(hours), random.uniform(hours), random.uniform(hours)
    close = np.empty(hours)
    now = asset.price
    for h in range(hours):
        now = now * (1.0 + float(rate[h]))
        now = max(now, 60.0 / unit)  # at least 60 ticks: a price never rounds to nothing
        close[h] = now
    opened = np.empty(hours)
    opened[0], opened[1:] = asset.price, close[:-1]
    high = np.maximum(opened, close) * (1.0 + 0.55 * rise * rise * wiggle)
    low = np.minimum(opened, close) * (1.0 - 0.55 * fall * fall * wiggle)
    body = np.maximum(rate, -rate) / wiggle
    day = np.array([0.82 + 0.045 * (h if h < 15 else 30 - h) / 1.0 for h in range(24)])
    season = day[np.arange(hours) % 24]
    usd = asset.turnover_usd * season * (0.35 + jitter) * (0.6 + 0.5 * body) * volatility
    volume = np.rint(usd / close * 1_000.0) / 1_000.0
    for name, hour, factor in WICKS:
        if name == asset.name and hour < hours:
            if factor < 1.0:
                low[hour] = low[hour] * factor
            else:
                high[hour] = high[hour] * factor
    for name, hour in QUIET:
        if name == asset.name and hour < hours:
            high[hour] = low[hour] = close[hour] = opened[hour]
            volume[hour] = 0.0
    rounded = [np.rint(x * unit) / unit for x in (opened, high, low, close)]
    t = FIRST_T + HOUR_T * np.arange(hours, dtype=np.int64)
    return Bars(t, rounded[0], rounded[1], rounded[2], rounded[3], volume)


def _open_hours(asset: Asset, hours: int) -> Ints:
    kept = np.ones(hours, dtype=np.bool_)
    kept[: min(asset.listed_h, hours)] = False
    for start, n in OUTAGES:
        kept[start : start + n] = False
    for name, start, n in HOLES:
        if name == asset.name:
            kept[start : start + n] = False
    return np.flatnonzero(kept).astype(np.int64)
