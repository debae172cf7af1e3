"""Aligned bars of several assets: the one float-side form in which market data reaches features and backtests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BarPanel:
    """Bars of S assets on one regular grid of T opening times.

    Attributes:
        symbols: asset names of the universe (`BTC`, `ETH`, ...), S of them, in universe order.
        interval_t: seconds between rows (3600 for hourly bars).
        open_t: int64 [T], bar opening times, seconds UTC, strictly increasing by `interval_t` without holes.
        open, high, low, close: float64 [T, S], prices in the quote currency; NaN where the venue has no bar.
        volume: float64 [T, S], traded volume in units of the asset; NaN where the venue has no bar.
    """

    symbols: tuple[str, ...]
    interval_t: int
    open_t: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
