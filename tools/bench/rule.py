"""The rule that every framework trades: long while SMA(24) is above SMA(168) at the close, else flat, filled at the next open.

In ours the rule arrives as forecasts that classify as strongly positive or strongly negative every hour, under a profile whose
gates are all asked and all admit it: one confirmation, open caps, no slippage, one fee. The rule itself is computed once, in
integers, and handed to every framework as the same array, so that what is timed is each framework's engine.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.records import CLUSTER, E8, FORECAST, INSTRUMENTS, PPM
from runtime.engine import RunInputs
from runtime.inference.clusters import Clusters
from runtime.policy import DrawdownTier, FeeTier, QuoteCap, RiskProfile
from tools.bench.market import SYMBOLS_N, Ints, Rows, close_times, make_bars, run_inputs

FAST_N: Final = 24
SLOW_N: Final = 168
FEE_PPM: Final = 1_000
CASH_N: Final = 90_000_000
"""So large against what one entry spends that 10 ppm of the portfolio's value stay nearly the same amount of cash."""
ENTRY_PPM: Final = 10
Flags = npt.NDArray[np.bool_]


def wants_long(close_e8: Ints) -> Flags:
    """Return bool [T, S]: whether the rule wants a position after each close; false until SLOW_N closes are known.

    SMA(24) > SMA(168) without a division: seven times the short sum against the long one, exact in integers.
    """
    total = np.vstack([np.zeros((1, close_e8.shape[1]), np.int64), np.cumsum(close_e8, axis=0)])
    found = np.zeros(close_e8.shape, np.bool_)
    fast = total[SLOW_N:] - total[SLOW_N - FAST_N : -FAST_N]
    slow = total[SLOW_N:] - total[:-SLOW_N]
    found[SLOW_N - 1 :] = fast * (SLOW_N // FAST_N) > slow
    return found


def rule_profile() -> RiskProfile:
    """Return the profile under which the engine trades the rule and nothing else."""
    tiers = (
        DrawdownTier(drawdown_ppm=0, size_ppm=PPM, allow_entry=True),
        *(DrawdownTier(drawdown_ppm=PPM - 3 + k, size_ppm=PPM, allow_entry=True) for k in (1, 2, 3)),
    )
    return RiskProfile(
        name="rule", entry_persist_n=1, exit_persist_n=1, derisk_max_n=0, take_max_n=0, rebound_exit_ppm=PPM,
        horizon_t=90 * 86_400, severe_loss_ppm=PPM, severe_max=INSTRUMENTS, base_ppm=ENTRY_PPM, size_low_ppm=PPM, size_high_ppm=PPM,
        positions_max=INSTRUMENTS, total_cap_ppm=PPM, cluster_cap_ppm=PPM, budget_cap_ppm=PPM,
        quote_caps=(QuoteCap(cap_ppm=PPM), QuoteCap(cap_ppm=PPM), QuoteCap(cap_ppm=PPM)), tiers=(tiers[0], tiers[1], tiers[2], tiers[3]),
        fees=(FeeTier(volume_e8=0, maker_ppm=FEE_PPM, taker_ppm=FEE_PPM),), half_spread_ppm=0, slippage_ppm=0, impact_ppm=0,
        margin_ppm=0, limit_ppm=0, participation_ppm=100_000, liquidity_ppm=PPM, latency_t=0,
    )  # fmt: skip


def rule_forecasts(long: Flags) -> Rows:
    """Return FORECAST [T, INSTRUMENTS]: strongly positive where the rule is long, else strongly negative."""
    rows = np.zeros((len(long), INSTRUMENTS), FORECAST)
    used = rows[:, : long.shape[1]]
    for field in ("prob_near_ppm", "prob_main_ppm", "prob_far_ppm"):
        used[field] = np.where(long, 900_000, 100_000)
    for field in ("ret_near_ppm", "ret_main_ppm", "ret_far_ppm"):
        used[field] = np.where(long, 100_000, -100_000)
    used["valid_n"][SLOW_N - 1 :] = 1
    return rows


def rule_inputs(bars_n: int, symbols_n: int = SYMBOLS_N, *, clusters: bool = False) -> RunInputs:
    """Return the inputs of a run of the rule over the seeded market.

    A plain rule knows no correlations: without `clusters` every instrument stays in the first one, whose cap is asked all the
    same. With them the memberships of the standard market come in weekly, and each busy cluster has a row every hour.
    """
    bars = make_bars(bars_n, symbols_n)
    rows = rule_forecasts(wants_long(bars[:, :symbols_n]["close_e8"]))
    inputs = run_inputs(bars, close_times(bars_n), rows, rule_profile(), symbols_n, CASH_N)
    if clusters:
        return inputs
    return dataclasses.replace(inputs, clusters=Clusters(np.zeros(0, np.int64), np.zeros((0, INSTRUMENTS), CLUSTER)))


def entry_quantities(close_e8: Ints) -> npt.NDArray[np.float64]:
    """Return float64 [T, S]: what an entry decided at each close buys, the fee taken out of its cash; eight decimals."""
    cash = CASH_N * ENTRY_PPM / PPM
    quantity: npt.NDArray[np.float64] = np.floor(cash / (1 + FEE_PPM / PPM) / close_e8 * E8 * E8) / E8
    return quantity
