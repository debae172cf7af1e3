"""The border between floats and the integer core: bars and returns become scaled int64 here, once, and never go back."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.records import BAR, E4, E8, INSTRUMENTS, PPM
from runtime.errors import DataError
from runtime.inference.panel import BarPanel, Bools, Floats, Ints

PRICE_MAX: Final = 9e10
"""Highest price that fits int64 with eight decimals."""
VOLUME_MAX_E4: Final = 9_000_000_000_000_000_000
"""Volumes saturate here; they only bound participation, so a cap is on the safe side."""
RATIO_MAX_PPM: Final = 1_000_000_000
"""Returns and ratios saturate at a thousandfold."""


def to_ppm(ratio: Floats) -> Ints:
    """Return ratios in parts per million, half-even, saturated; the caller has removed NaN."""
    scaled = np.rint(ratio * float(PPM))
    return np.asarray(np.clip(scaled, -RATIO_MAX_PPM, RATIO_MAX_PPM).astype(np.int64))


def bars_to_core(panel: BarPanel, symbols: tuple[str, ...]) -> tuple[npt.NDArray[np.void], Ints]:
    """Return the core's bars of a panel.

    Prices round half-even to 1e-8, volumes floor to 1e-4. Products with powers of ten and `rint` are exact IEEE operations,
    so the integers are the same on any machine, and a price published with at most eight decimals is met exactly.

    Args:
        panel: bars of any assets.
        symbols: instrument i is symbols[i]; at most INSTRUMENTS. A symbol the panel lacks is absent throughout.

    Returns:
        BAR [T, INSTRUMENTS] and int64 [T] closing times (UTC seconds). A bar that is not there, or lacks a field, has
        present_n 0 and zeros.

    Raises:
        DataError: too many or repeated symbols; a price that is negative, rounds to zero or exceeds the scale; high below low.
    """
    if len(symbols) > INSTRUMENTS or len(set(symbols)) != len(symbols):
        raise DataError(
            f"{len(symbols)} symbols: {', '.join(symbols)}",
            expected=f"at most {INSTRUMENTS} different ones",
            action="choose fewer symbols",
        )
    bars = np.zeros((len(panel.open_t), INSTRUMENTS), BAR)
    position = {symbol: s for s, symbol in enumerate(panel.symbols)}
    for i, symbol in enumerate(symbols):
        s = position.get(symbol)
        if s is None:
            continue
        fields = {"open_e8": panel.open, "high_e8": panel.high, "low_e8": panel.low, "close_e8": panel.close}
        present = np.isfinite(panel.volume[:, s])
        for values in fields.values():
            present &= np.isfinite(values[:, s])
        column = bars[:, i]
        for name, values in fields.items():
            column[name][present] = _prices(values[present, s], symbol)
        column["volume_e4"][present] = _volumes(panel.volume[present, s], symbol)
        column["present_n"] = present
        _check_range(column, present, symbol)
    return bars, panel.open_t + panel.interval_t


def _prices(values: Floats, symbol: str) -> Ints:
    scaled = np.rint(values * float(E8))
    bad = (scaled < 1.0) | (values > PRICE_MAX)
    if bad.any():
        raise DataError(
            f"a price of {symbol} of {values[bad][0]!r}",
            expected=f"prices between 0.00000001 and {PRICE_MAX:.0f}",
            action="correct the dataset or leave the symbol out",
        )
    return scaled.astype(np.int64)


def _volumes(values: Floats, symbol: str) -> Ints:
    if (values < 0.0).any():
        raise DataError(f"a negative volume of {symbol}", expected="volumes of zero or more", action="correct the dataset")
    scaled = np.floor(values * float(E4))
    saturated: Bools = scaled >= float(VOLUME_MAX_E4)
    return np.where(saturated, VOLUME_MAX_E4, np.where(saturated, 0.0, scaled).astype(np.int64))


def _check_range(column: npt.NDArray[np.void], present: Bools, symbol: str) -> None:
    low, high = column["low_e8"], column["high_e8"]
    inside = (
        (low <= column["open_e8"]) & (low <= column["close_e8"]) & (high >= column["open_e8"]) & (high >= column["close_e8"])
    )
    if not inside[present].all():
        raise DataError(
            f"a bar of {symbol} whose open or close lies outside its low and high",
            expected="low <= open, close <= high: a simulated fill must lie inside its bar",
            action="correct the dataset (`ballast data check` names the bars)",
        )
