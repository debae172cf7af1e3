"""The seeded market that every measurement runs on, and what turns it into the inputs of a run.

A random walk in core integers: the decision core neither knows nor cares. Each bar opens where the one before it closed, so
that "the close of this bar" and "the open of the next" are one price for every framework.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core import codes
from runtime.core.records import BAR, CLUSTER, E8, FORECAST, INSTRUMENTS
from runtime.engine import RunInputs
from runtime.genesis import Bundle, Deposit, Genesis
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import Clusters
from runtime.policy import PairRules, RiskProfile

SYMBOLS_N: Final = 30
BARS_N: Final = 43_800
HOUR_T: Final = 3_600
SEED: Final = 7
FIRST_T: Final = 1_577_836_800
FORECAST_EVERY_N: Final = 4
VIEW_LASTS_N: Final = 18
"""Forecasts for which a view stands: three days. Fewer means more turnover."""
CLUSTER_MEMBERS_N: Final = 3
CLUSTERS_EVERY_N: Final = 168
ZERO: Final = "0" * 64
FILES: Final = ("bars", "forecast_t", "forecasts")
Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]


def close_times(bars_n: int) -> Ints:
    """Return int64 [bars_n], the second at which each bar is known."""
    return FIRST_T + HOUR_T * np.arange(1, bars_n + 1, dtype=np.int64)


def make_bars(bars_n: int, symbols_n: int = SYMBOLS_N) -> Rows:
    """Return BAR [bars_n, INSTRUMENTS]: a geometric random walk of `symbols_n` instruments."""
    random = np.random.Generator(np.random.PCG64(SEED))
    steps = random.integers(-9_000, 9_001, (bars_n, symbols_n)) / 1e6
    close = np.rint(100 * np.cumprod(1 + steps, axis=0) * E8).astype(np.int64)
    opening = np.vstack([np.full((1, symbols_n), 100 * E8), close[:-1]])
    wick = random.integers(0, 3_000, (2, bars_n, symbols_n))
    bars = np.zeros((bars_n, INSTRUMENTS), BAR)
    used = bars[:, :symbols_n]
    used["open_e8"], used["close_e8"] = opening, close
    used["high_e8"] = np.maximum(opening, close) + close // 1_000_000 * wick[0]
    used["low_e8"] = np.minimum(opening, close) - close // 1_000_000 * wick[1]
    used["volume_e4"] = 10_000_000_000
    used["present_n"] = 1
    return bars


def make_forecast_rows(forecasts_n: int, symbols_n: int = SYMBOLS_N, view_lasts_n: int = VIEW_LASTS_N) -> Rows:
    """Return FORECAST [forecasts_n, INSTRUMENTS]: views that last some days, so that campaigns open and close."""
    random = np.random.Generator(np.random.PCG64(SEED + 1))
    views = random.integers(-2, 3, (forecasts_n // view_lasts_n + 1, symbols_n))
    view = np.repeat(views, view_lasts_n, axis=0)[:forecasts_n]
    rows = np.zeros((forecasts_n, INSTRUMENTS), FORECAST)
    used = rows[:, :symbols_n]
    for field in ("prob_near_ppm", "prob_main_ppm", "prob_far_ppm"):
        used[field] = 500_000 + 35_000 * view
    for field, scale in (("ret_near_ppm", 1_000), ("ret_main_ppm", 8_000), ("ret_far_ppm", 16_000)):
        used[field] = scale * view
    used["uncertainty_ppm"] = 300_000
    used["valid_n"] = 1
    return rows


def write_market(folder: Path, bars_n: int, symbols_n: int = SYMBOLS_N, view_lasts_n: int = VIEW_LASTS_N) -> None:
    """Write bars and forecasts as `.npy` files, which a measuring process maps instead of holding them."""
    every = slice(FORECAST_EVERY_N - 1, None, FORECAST_EVERY_N)
    times = close_times(bars_n)[every]
    for name, array in zip(
        FILES, (make_bars(bars_n, symbols_n), times, make_forecast_rows(len(times), symbols_n, view_lasts_n)), strict=True
    ):
        np.save(folder / f"{name}.npy", array.view(np.int64) if array.dtype.names else array)


def read_market(folder: Path, profile: RiskProfile, symbols_n: int = SYMBOLS_N, cash_n: int = 100_000) -> RunInputs:
    """Return the inputs of a run over the market in a folder; its arrays are mapped from the files, not copied."""
    # copy on write: a read-only array is another type to the compiler, and would be compiled for
    loaded = [np.load(folder / f"{name}.npy", mmap_mode="c") for name in FILES]
    bars, rows = loaded[0].view(BAR), loaded[2].view(FORECAST)
    return run_inputs(bars, np.asarray(loaded[1], np.int64), rows, profile, symbols_n, cash_n)


def standard_inputs(bars_n: int, profile: RiskProfile) -> RunInputs:
    """Return the inputs of a run of SYMBOLS_N instruments with a forecast every fourth hour, in memory."""
    times = close_times(bars_n)[FORECAST_EVERY_N - 1 :: FORECAST_EVERY_N]
    return run_inputs(make_bars(bars_n), times, make_forecast_rows(len(times)), profile)


def run_inputs(
    bars: Rows, forecast_t: Ints, forecasts: Rows, profile: RiskProfile, symbols_n: int = SYMBOLS_N, cash_n: int = 100_000
) -> RunInputs:
    """Return the inputs of a backtest: `cash_n` US dollars, weekly cluster memberships of three instruments each."""
    close_t = close_times(len(bars))
    symbols = tuple(f"S{i:02d}" for i in range(symbols_n))
    genesis = Genesis(
        account_id=1, mode_id=codes.MODE_BACKTEST, source="bench", simulated=True, symbols=symbols, interval_t=HOUR_T,
        first_t=int(close_t[0]), last_t=int(close_t[-1]), universe_version="bench", dataset_hash=ZERO, bars_digest=ZERO,
        forecasts_digest=ZERO, clusters_digest=ZERO, policy_digest=profile.digest, profile=profile,
        pairs=tuple(PairRules() for _ in symbols), core_digest=ZERO,
        bundle=Bundle(name="bench", bundle_hash=ZERO, feature_set_hash=ZERO, model_hashes=()),
        deposits=(Deposit(quote_id=codes.USD, amount_e8=str(cash_n * E8)),),
    )  # fmt: skip
    weekly = close_t[::CLUSTERS_EVERY_N]
    members = np.zeros((len(weekly), INSTRUMENTS), CLUSTER)
    members["cluster_id"] = np.arange(INSTRUMENTS) // CLUSTER_MEMBERS_N
    made = Forecasts(symbols, forecast_t, forecasts, [bytes(32)] * len(forecasts))
    return RunInputs(genesis, bars, close_t, made, Clusters(weekly, members))
