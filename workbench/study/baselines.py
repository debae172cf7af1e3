"""What spending the same period without any skill gives: cash, BTC held, and all assets in equal parts.

Each baseline may expose the same share of its value as the risk profile allows a run, and pays the same taker fee,
spread and slippage, so that its curve can stand beside a run's. An asset trades only where it has a bar; a gap leaves
its holding untouched and valued at the last close.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from runtime.core.records import E8, PPM
from runtime.inference.panel import BarPanel, Floats, Ints
from runtime.policy import RiskProfile

Bools = npt.NDArray[np.bool_]
REFERENCE: Final = "BTC"
DAY_T: Final = 86_400
REBALANCE_DAYS: Final = 30


class Baseline(BaseModel):
    """The figures of one baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_pv_e8: int
    final_pv_e8: int
    net_return_ppm: int
    max_drawdown_ppm: int
    fees_e8: int


@dataclass(frozen=True, slots=True)
class BaselineRun:
    """One baseline and its curve.

    Attributes:
        figures: the summary.
        at_t: int64 [T], closing times of the bars it lived through.
        pv_e8: int64 [T], portfolio value at these times.
    """

    figures: Baseline
    at_t: Ints
    pv_e8: Ints


def run_baselines(panel: BarPanel, first_row: int, cash_e8: int, profile: RiskProfile) -> dict[str, BaselineRun]:
    """Return `flat`, `btc_hold` and `equal_weight` over the bars from `first_row` on.

    Args:
        panel: bars; a missing bar is NaN.
        first_row: row of the first decision; trades fill at the next bar's open.
        cash_e8: cash at the start, 1e-8 of the base currency.
        profile: its exposure cap and costs apply.
    """
    everyone = np.ones(len(panel.symbols), dtype=bool)
    btc = np.array([symbol == REFERENCE for symbol in panel.symbols])
    return {
        "flat": _hold(panel, first_row, cash_e8, profile, ~everyone, rebalance=False),
        "btc_hold": _hold(panel, first_row, cash_e8, profile, btc, rebalance=False),
        "equal_weight": _hold(panel, first_row, cash_e8, profile, everyone, rebalance=True),
    }


def _hold(
    panel: BarPanel, first_row: int, cash_e8: int, profile: RiskProfile, wanted: Bools, *, rebalance: bool
) -> BaselineRun:
    """Buy at the first possible open, and again every 30 days when `rebalance`; without it buy once and hold."""
    opens, closes = panel.open[first_row:], _carried(panel.close[first_row:])
    at_t = panel.open_t[first_row:] + panel.interval_t
    side = (profile.fees[0].taker_ppm + profile.half_spread_ppm + profile.slippage_ppm) / PPM
    cap = profile.total_cap_ppm / PPM
    units, cash, paid = np.zeros(len(panel.symbols)), cash_e8 / E8, 0.0
    pv = np.empty(len(at_t))
    done = 0
    for row in _trading_rows(opens, wanted, at_t, rebalance=rebalance):
        pv[done:row] = _value(units, closes[done:row], cash)
        done = row
        tradable = wanted & ~np.isnan(opens[row])
        price = np.where(tradable, opens[row], 0.0)
        stuck = float((units * np.where(tradable, 0.0, np.nan_to_num(closes[row - 1]))).sum())
        worth = cash + float((units * price).sum()) + stuck
        budget = max(worth * cap - stuck, 0.0)
        target = np.where(tradable, budget / tradable.sum() / np.where(tradable, price, 1.0), units)
        traded = float((np.abs(target - units) * price).sum())
        cash -= float(((target - units) * price).sum()) + traded * side
        paid += traded * side
        units = target
    pv[done:] = _value(units, closes[done:], cash)
    pv_e8 = np.rint(pv * E8).astype(np.int64)
    peak = np.maximum.accumulate(np.concatenate([[cash_e8], pv_e8]))[1:]
    final = int(pv_e8[-1])
    figures = Baseline(
        initial_pv_e8=cash_e8,
        final_pv_e8=final,
        net_return_ppm=(final - cash_e8) * PPM // cash_e8,
        max_drawdown_ppm=int(((peak - pv_e8) / peak * PPM).max()),
        fees_e8=round(paid * E8),
    )
    return BaselineRun(figures, at_t, pv_e8)


def _trading_rows(opens: Floats, wanted: Bools, at_t: Ints, *, rebalance: bool) -> list[int]:
    """Return the bars at whose open is traded: the first possible one, then one a month apart from it when `rebalance`."""
    possible = np.flatnonzero((~np.isnan(opens) & wanted).any(axis=1))
    possible = possible[possible > 0]  # the first bar is the one on whose close is decided
    rows: list[int] = []
    while len(possible):
        rows.append(int(possible[0]))
        due_t = int(at_t[possible[0]]) + REBALANCE_DAYS * DAY_T
        possible = possible[at_t[possible] >= due_t] if rebalance else possible[:0]
    return rows


def _carried(close: Floats) -> Floats:
    """Return closes with a gap showing the last close before it: for valuing a holding only, never for trading."""
    seen = np.where(np.isnan(close), 0, np.arange(len(close))[:, None])
    np.maximum.accumulate(seen, axis=0, out=seen)
    return np.asarray(np.take_along_axis(close, seen, axis=0))


def _value(units: Floats, closes: Floats, cash: float) -> Floats:
    return np.asarray(cash + (np.nan_to_num(closes) * units).sum(axis=1))
