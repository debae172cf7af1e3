"""Estimates from bars on one grid: returns, correlations, volatility, and spreads told from highs, lows and closes.

Bars are taken as they are: a return needs two bars next to each other, and a hole stays a hole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from runtime.inference.panel import Floats, Ints
from workbench.data.datasets.manifests import DatasetManifest
from workbench.data.quality.findings import Finding

YEAR_T: Final = 365 * 86_400
WINDOW_SHARE_MIN: Final = 0.8
"""A rolling window with fewer of its returns than this says nothing."""
PAIRS_MIN_N: Final = 100
"""Common returns below which a correlation is not shown."""
BP: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class Market:
    """Whole bars of one dataset on one grid, T times by S symbols; NaN where there is none.

    Attributes:
        manifest: the dataset.
        label: `SIMULATED` or the venue.
        symbols: assets, in the universe's order.
        interval_t: seconds per bar.
        open_t: int64 [T], opening times, seconds UTC.
        high, low, close: float64 [T, S].
        months: coverage by month, of the dataset's own bars.
        gaps: its holes.
        findings: those of its findings that lie in the window.
        partial_n: longer bars that are not whole, and take no part.
    """

    manifest: DatasetManifest
    label: str
    symbols: tuple[str, ...]
    interval_t: int
    open_t: Ints
    high: Floats
    low: Floats
    close: Floats
    months: pl.DataFrame
    gaps: pl.DataFrame
    findings: tuple[Finding, ...]
    partial_n: int


@dataclass(frozen=True, slots=True)
class Correlations:
    """Correlations of log returns: `matrix` float64 [S, S] (NaN: too few common returns), `n` int64 [S, S]."""

    symbols: tuple[str, ...]
    matrix: Floats
    n: Ints


def log_returns(market: Market) -> Floats:
    """Return float64 [T, S]: the log return from the bar before, NaN unless both bars are there."""
    logs = np.log(market.close)
    return np.diff(logs, axis=0, prepend=np.full((1, len(market.symbols)), np.nan))


def correlations(market: Market) -> Correlations:
    """Return the correlation of every two assets over the returns both have."""
    returns = log_returns(market)
    s = len(market.symbols)
    matrix, n = np.full((s, s), np.nan), np.zeros((s, s), dtype=np.int64)
    for i in range(s):
        for j in range(i, s):
            both = ~np.isnan(returns[:, i]) & ~np.isnan(returns[:, j])
            n[i, j] = n[j, i] = int(both.sum())
            a, b = returns[both, i], returns[both, j]
            if len(a) < PAIRS_MIN_N or a.std() == 0.0 or b.std() == 0.0:
                continue
            a, b = a - a.mean(), b - b.mean()
            matrix[i, j] = matrix[j, i] = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    return Correlations(market.symbols, matrix, n)


def rolling_volatility(market: Market, window_days: int) -> Floats:
    """Return float64 [T, S]: annualised volatility of the returns of the window that ends with each bar; NaN where too few are known.

    The root of the mean squared return, without subtracting the mean, which over days is noise.
    """
    returns = log_returns(market)
    bars_n = max(2, window_days * 86_400 // market.interval_t)
    known = ~np.isnan(returns)
    squares = np.cumsum(np.where(known, returns * returns, 0.0), axis=0)
    counts = np.cumsum(known, axis=0)
    before = [np.concatenate((np.zeros((bars_n, x.shape[1]), x.dtype), x))[: len(x)] for x in (squares, counts)]
    total, n = squares - before[0], counts - before[1]
    enough = n >= WINDOW_SHARE_MIN * bars_n
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.sqrt(np.maximum(total, 0.0) / n * (YEAR_T / market.interval_t))
    return np.where(enough, found, np.nan)


def hour_of_week(market: Market) -> pl.DataFrame:
    """Return how much prices move by day and hour of the week (UTC), relative to the asset's own average.

    Returns:
        `day` (Mon to Sun), `hour`, one column per asset and `all`, their mean: root mean squared return there over that of all hours.
    """
    returns = log_returns(market)
    slot = (market.open_t - 4 * 86_400) // market.interval_t % (7 * 86_400 // market.interval_t)  # 1970-01-05 was a Monday
    slots_n = 7 * 86_400 // market.interval_t
    table: dict[str, list[object]] = {"day": [], "hour": []}
    for k in range(slots_n):
        seconds = k * market.interval_t
        table["day"].append(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[seconds // 86_400])
        table["hour"].append(f"{seconds % 86_400 // 3_600:02d}:{seconds % 3_600 // 60:02d}")
    columns = {}
    for s, symbol in enumerate(market.symbols):
        known = ~np.isnan(returns[:, s])
        squares = np.bincount(slot[known], returns[known, s] ** 2, slots_n)
        counts = np.bincount(slot[known], minlength=slots_n)
        with np.errstate(invalid="ignore", divide="ignore"):
            columns[symbol] = np.sqrt(squares / counts) / np.sqrt(squares.sum() / counts.sum())
    stacked = np.column_stack(list(columns.values()))
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        everything = np.where(known, stacked, 0.0).sum(axis=1) / known.sum(axis=1)
    return pl.DataFrame({**table, "all": everything, **columns})


def corwin_schultz(market: Market) -> Floats:
    """Return float64 [T, S]: the spread estimate of each two bars next to each other, as a share of the price, at the later one.

    S. A. Corwin, P. Schultz, "A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices", Journal of Finance 67(2), 2012,
    719-760: a high is mostly a buy and a low mostly a sell, variance grows with time and the spread does not. Negative
    estimates count as zero, as there. The market never closes, so there is no overnight gap to correct.
    """
    high, low = np.log(market.high), np.log(market.low)
    range2 = (high - low) ** 2
    beta = range2[1:] + range2[:-1]
    gamma = (np.maximum(high[1:], high[:-1]) - np.minimum(low[1:], low[:-1])) ** 2
    scale = 3.0 - 2.0 * np.sqrt(2.0)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / scale - np.sqrt(gamma / scale)
    spread = 2.0 * (np.exp(alpha) - 1.0) / (1.0 + np.exp(alpha))
    return np.concatenate(
        (np.full((1, len(market.symbols)), np.nan), np.where(np.isnan(spread), np.nan, np.maximum(spread, 0.0)))
    )


def abdi_ranaldo(market: Market) -> Floats:
    """Return float64 [T, S]: four times the product whose mean is the squared spread, at the later of two bars.

    F. Abdi, A. Ranaldo, "A Simple Estimation of Bid-Ask Spreads from Daily Close, High, and Low Prices", Review of Financial Studies 30(12),
    2017, 4437-4480: a close lies half a spread off the mid-range prices around it. `spreads` takes the root of the mean over a
    month, zero when it is negative (their monthly corrected estimate).
    """
    middle = (np.log(market.high) + np.log(market.low)) / 2.0
    close = np.log(market.close)
    product = 4.0 * (close[:-1] - middle[:-1]) * (close[:-1] - middle[1:])
    return np.concatenate((np.full((1, len(market.symbols)), np.nan), product))


def spreads(market: Market) -> pl.DataFrame:
    """Return the spread estimates per month and asset in basis points.

    Returns:
        `month` (its first day), `symbol`, `corwin_schultz`, `abdi_ranaldo` (null without an estimate), `n` pairs of bars.
    """
    pairs, products = corwin_schultz(market), abdi_ranaldo(market)
    month = pl.from_epoch(pl.Series("month", market.open_t)).dt.truncate("1mo").cast(pl.Date)
    frames = [
        pl.DataFrame({"month": month, "cs": pairs[:, s], "ar": products[:, s]})
        .with_columns(pl.lit(symbol).alias("symbol"))
        .filter(pl.col("cs").is_not_nan())
        for s, symbol in enumerate(market.symbols)
    ]
    found = pl.concat(frames).group_by("month", "symbol", maintain_order=True)
    root = (pl.col("ar").mean().clip(lower_bound=0.0)).sqrt() * BP
    return found.agg((pl.col("cs").mean() * BP).alias("corwin_schultz"), root.alias("abdi_ranaldo"), pl.len().alias("n"))


def venue_spreads(market: Market, second: Market | None) -> pl.DataFrame:
    """Return how far the closes of two venues lie apart, per month and asset both have, in basis points of the second's.

    Returns:
        `month`, `symbol`, `median`, `low`, `high` (5th and 95th percentile), `n` common bars; no rows without a second dataset.
    """
    frames = [
        pl.DataFrame({"month": pl.from_epoch(pl.Series(t)).dt.truncate("1mo").cast(pl.Date), "apart": distance}).with_columns(
            pl.lit(symbol).alias("symbol")
        )
        for symbol, t, distance in apart(market, second)
    ]
    schema = {"month": pl.Date, "apart": pl.Float64, "symbol": pl.String}
    found = pl.concat([pl.DataFrame(schema=schema), *frames]).group_by("month", "symbol", maintain_order=True)
    return found.agg(
        pl.col("apart").median().alias("median"),
        pl.col("apart").quantile(0.05, "nearest").alias("low"),
        pl.col("apart").quantile(0.95, "nearest").alias("high"),
        pl.len().alias("n"),
    )


def apart(market: Market, second: Market | None) -> list[tuple[str, Ints, Floats]]:
    """Return per common asset its common times and the log distance of the closes in basis points."""
    if second is None:
        return []
    _, mine, theirs = np.intersect1d(market.open_t, second.open_t, assume_unique=True, return_indices=True)
    found = []
    for s, symbol in enumerate(second.symbols):
        a, b = market.close[mine, market.symbols.index(symbol)], second.close[theirs, s]
        both = ~np.isnan(a) & ~np.isnan(b)
        if both.any():
            found.append((symbol, market.open_t[mine][both], BP * np.log(a[both] / b[both])))
    return found
