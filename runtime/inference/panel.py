"""Aligned bars of several assets: the one float-side form in which market data reaches features and backtests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.errors import DataError

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

    def require(self, rows: Ints, interval_t: int, reference: str) -> None:
        """Refuse to compute at rows of this panel what is made for other bars.

        Args:
            rows: int64 [N], row numbers.
            interval_t: seconds between rows that the windows of the features or rule count.
            reference: the asset that others are measured against.

        Raises:
            DataError: the panel has another interval, lacks the reference, or a row is outside.
        """
        if self.interval_t != interval_t:
            raise DataError(
                f"a panel of {self.interval_t} s bars",
                expected=f"{interval_t} s bars: the windows count them",
                action="build the dataset with hourly bars",
            )
        if reference not in self.symbols:
            raise DataError(
                f"a panel without {reference} (it has {', '.join(self.symbols)})",
                expected=f"{reference} among the assets: the others are measured against it",
                action=f"add {reference} to the dataset",
            )
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.open_t)):
            raise DataError(
                f"rows {int(rows.min())} .. {int(rows.max())}",
                expected=f"rows of the panel, 0 .. {len(self.open_t) - 1}",
                action="compute the rows from this panel's open_t",
            )
