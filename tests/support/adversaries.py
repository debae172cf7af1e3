"""Markets and predictions made to break a desk: gaps, crashes, spikes, no volume; extreme, flickering and saturated forecasts."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from runtime.core.records import BAR, FORECAST
from runtime.engine import RunInputs
from runtime.genesis import Deposit
from runtime.inference.bundle import Forecasts
from runtime.policy import PairRules

PRICES: Final = ("open_e8", "high_e8", "low_e8", "close_e8")
MARKETS: Final = ("as drawn", "gaps", "crash", "spikes", "no volume", "stairs", "everything")
PREDICTIONS: Final = ("as drawn", "all strong", "flip-flop", "saturated", "random extremes", "every hour")
EXTREME: Final = 2**62
VOLUME_MAX_E4: Final = 9 * 10**18


def against(inputs: RunInputs, market: str, predictions: str, quotes: tuple[int, ...] = (0,), depth: int = 1) -> RunInputs:
    """Return the run with its market and predictions turned against it.

    Args:
        market, predictions: one of `MARKETS`, one of `PREDICTIONS`.
        quotes: quote currency of each instrument in turn; every currency among them gets the run's deposit.
        depth: factor of the drawn volume, which is thin: deep markets pass the liquidity gate and reach the caps.
    """
    seed = int(inputs.bars["close_e8"].sum() % 2**32)
    rng = np.random.default_rng(seed)
    bars = turned(inputs.bars, market, rng)
    bars["volume_e4"] = np.minimum(bars["volume_e4"], VOLUME_MAX_E4 // depth) * depth
    forecasts = twisted(inputs.forecasts, inputs.close_t, predictions, rng)
    genesis = inputs.genesis
    amount = genesis.deposits[0].amount_e8
    pairs = tuple(
        PairRules(**(pair.model_dump() | {"quote_id": quotes[s % len(quotes)]})) for s, pair in enumerate(genesis.pairs)
    )
    deposits = tuple(Deposit(quote_id=quote, amount_e8=amount) for quote in sorted({0, *quotes}))
    changed = genesis.model_copy(update={"pairs": pairs, "deposits": deposits, "forecasts_digest": forecasts.digest})
    return dataclasses.replace(inputs, bars=bars, forecasts=forecasts, genesis=changed)


def crash(bars: np.ndarray, first: int) -> None:
    """Let an instrument's bars [T] lose nine tenths an hour from one hour on, down to the smallest price there is."""
    for k, bar in enumerate(bars[first:]):
        if bar["present_n"]:
            for name in PRICES:
                bar[name] = max(int(bar[name]) // 10 ** min(k + 1, 18), 1)


def turned(bars: np.ndarray, market: str, rng: np.random.Generator) -> np.ndarray:
    """Return bars [T, INSTRUMENTS] of a hostile market; each keeps low <= open, close <= high."""
    bars = bars.copy()
    hours, slots = bars.shape
    used = [s for s in range(slots) if bars["present_n"][:, s].any()]
    if market in {"crash", "everything"}:
        for s in used[:: 2 if market == "everything" else 1]:
            crash(bars[:, s], int(rng.integers(1, hours)))
    if market in {"spikes", "everything"}:
        for s in used:
            for hour in rng.integers(0, hours, 3):
                bars["high_e8"][hour, s] *= 100
                bars[("close_e8", "open_e8")[int(rng.integers(0, 2))]][hour, s] = bars["high_e8"][hour, s]
    if market == "stairs":
        for s in used:
            level = 3 ** rng.integers(0, 5, hours)
            for name in PRICES:
                bars[name][:, s] *= level
    if market in {"gaps", "everything"}:
        missing = rng.random(bars.shape) < 0.4
        bars[missing] = np.zeros((), BAR)
    if market in {"no volume", "everything"}:
        bars["volume_e4"][rng.random(bars.shape) < 0.5] = 0
    return bars


def twisted(forecasts: Forecasts, close_t: np.ndarray, kind: str, rng: np.random.Generator) -> Forecasts:
    """Return hostile forecasts on the same grid, or one for every bar."""
    rows, at_t = forecasts.rows.copy(), forecasts.at_t
    used = rows["valid_n"].any(axis=0)
    names = [name for name in FORECAST.names or () if name != "valid_n"]
    if kind == "every hour" and len(rows):
        rows, at_t = rows[np.arange(len(close_t)) % len(rows)], close_t
    elif kind == "all strong":
        for name in names:
            rows[name][:, used] = 10**6
    elif kind == "flip-flop":
        sign = np.where(np.arange(len(rows)) // int(rng.integers(1, 5)) % 2 == 0, 1, -1)[:, None]
        for name in names:
            rows[name][:, used] = np.where(sign > 0, 10**6, 0 if name.startswith(("prob", "uncertainty")) else -(10**6))
    elif kind in {"saturated", "random extremes"}:
        values = np.array([-EXTREME, EXTREME] if kind == "saturated" else [-EXTREME, -1, 0, 1, 500_000, 10**6, EXTREME])
        for name in names:
            rows[name][:, used] = rng.choice(values, (len(rows), int(used.sum())))
    if kind not in {"as drawn", "every hour"}:
        rows["valid_n"][:, used] = 1
    return Forecasts(forecasts.symbols, at_t, rows, [rng.bytes(32) for _ in at_t])
