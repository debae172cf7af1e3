"""Compiled second half of the features: market figures, ranks, and the forty columns of each asset.

Sums across assets run over sorted values and tied ranks are shared, so the order of assets changes no bit.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from runtime.inference import kernels as k
from runtime.inference.feature_spec import ASSETS_MIN_N
from runtime.inference.kernels import NAN, ratio
from runtime.inference.panel import Floats, Ints
from runtime.jit import core

(
    F_MOM_12, F_MOM_24, F_MOM_720, F_VOL_24, F_VOL_168, F_VOL_720, F_VOL_RATIO_24_168, F_VOL_RATIO_168_720, F_EFFICIENCY_72,
    F_AUTOCORR_168, F_MAX_RET_168, F_MIN_RET_168, F_DIST_LOW_168, F_DIST_HIGH_168, F_DIST_LOW_720, F_DIST_HIGH_720,
    F_VOLUME_RATIO_24_168, F_VOLUME_RATIO_168_720, F_AMIHUD_168, F_BETA_720, F_CORR_720, F_RESID_MOM_24, F_RESID_MOM_168,
    F_BTC_MOM_24, F_BTC_MOM_720, F_BTC_VOL_168, F_BTC_DIST_HIGH_720, F_BREADTH_24, F_BREADTH_168, F_ABOVE_MEAN_720,
    F_DISPERSION_24, F_MARKET_MOM_24, F_RANK_MOM_24, F_RANK_MOM_72, F_RANK_MOM_720, F_RANK_VOL_168, F_RANK_RESID_168,
    F_RANK_AMIHUD_168, F_RANK_DIST_HIGH_168, F_WEEKDAY,
) = range(40)  # fmt: skip
FEATURES_N: Final = 40

ROOT_12: Final = math.sqrt(12.0)
ROOT_24: Final = math.sqrt(24.0)
ROOT_168: Final = math.sqrt(168.0)
ROOT_720: Final = math.sqrt(720.0)


RANKED_BASE: Final = (k.B_MOM_24, k.B_MOM_72, k.B_MOM_720, k.B_VOL_168, k.B_AMIHUD_168, k.B_DIST_HIGH_168)
RANKED_FEATURE: Final = (
    F_RANK_MOM_24, F_RANK_MOM_72, F_RANK_MOM_720, F_RANK_VOL_168, F_RANK_AMIHUD_168, F_RANK_DIST_HIGH_168,
)  # fmt: skip
"""Base figures that are ranked as they are, and the columns that get the ranks."""


@core
def take_sorted(base: Floats, n: int, column: int, kept: Floats) -> int:
    """Copy the present values of one figure across assets into `kept`, ascending; return how many there are."""
    count = 0
    for s in range(base.shape[0]):
        value = base[s, n, column]
        if not math.isnan(value):
            at = count
            while at > 0 and kept[at - 1] > value:
                kept[at] = kept[at - 1]
                at -= 1
            kept[at] = value
            count += 1
    return count


@core
def share_above_zero(base: Floats, n: int, column: int) -> float:
    """Return the share of assets whose figure is above zero; NaN below the least number of assets."""
    above = 0
    count = 0
    for s in range(base.shape[0]):
        value = base[s, n, column]
        if not math.isnan(value):
            count += 1
            if value > 0.0:
                above += 1
    if count < ASSETS_MIN_N:
        return NAN
    return above / count


@core
def mean_and_deviation(kept: Floats, count: int) -> tuple[float, float]:
    """Return mean and standard deviation of the first `count` values; NaN below the least number of assets."""
    if count < ASSETS_MIN_N:
        return NAN, NAN
    total = 0.0
    for j in range(count):
        total += kept[j]
    mean = total / count
    squares = 0.0
    for j in range(count):
        squares += (kept[j] - mean) * (kept[j] - mean)
    return mean, math.sqrt(squares / count)


@core
def write_ranks(values: Floats, out: Floats, n: int, column: int) -> None:
    """Write each asset's rank 0 .. 1 among the present values of `values` [S] into out[n, :, column]; ties share theirs."""
    count = 0
    for s in range(values.shape[0]):
        if not math.isnan(values[s]):
            count += 1
    for s in range(values.shape[0]):
        value = values[s]
        if math.isnan(value) or count < ASSETS_MIN_N:
            out[n, s, column] = NAN
            continue
        halves = -1  # the asset ties with itself
        for other in range(values.shape[0]):
            if values[other] < value:
                halves += 2
            elif values[other] == value:
                halves += 1
        out[n, s, column] = halves / (2 * (count - 1))


@core
def write_own(b: Floats, reference: Floats, f: Floats) -> None:
    """Write the columns that need only the asset's own base figures `b` and the reference's.

    Args:
        b: [BASE_N] figures of the asset.
        reference: [BASE_N] figures of the reference asset.
        f: [FEATURES_N] receives the columns.
    """
    f[F_MOM_12] = ratio(b[k.B_MOM_12], b[k.B_VOL_168] * ROOT_12)
    f[F_MOM_24] = ratio(b[k.B_MOM_24], b[k.B_VOL_168] * ROOT_24)
    f[F_MOM_720] = ratio(b[k.B_MOM_720], b[k.B_VOL_720] * ROOT_720)
    f[F_VOL_24] = b[k.B_VOL_24]
    f[F_VOL_168] = b[k.B_VOL_168]
    f[F_VOL_720] = b[k.B_VOL_720]
    f[F_VOL_RATIO_24_168] = ratio(b[k.B_VOL_24], b[k.B_VOL_168])
    f[F_VOL_RATIO_168_720] = ratio(b[k.B_VOL_168], b[k.B_VOL_720])
    f[F_EFFICIENCY_72] = b[k.B_EFFICIENCY_72]
    f[F_AUTOCORR_168] = b[k.B_AUTOCORR_168]
    f[F_MAX_RET_168] = b[k.B_MAX_RET_168]
    f[F_MIN_RET_168] = b[k.B_MIN_RET_168]
    f[F_DIST_LOW_168] = b[k.B_DIST_LOW_168]
    f[F_DIST_HIGH_168] = b[k.B_DIST_HIGH_168]
    f[F_DIST_LOW_720] = b[k.B_DIST_LOW_720]
    f[F_DIST_HIGH_720] = b[k.B_DIST_HIGH_720]
    f[F_VOLUME_RATIO_24_168] = b[k.B_VOLUME_24_168]
    f[F_VOLUME_RATIO_168_720] = b[k.B_VOLUME_168_720]
    f[F_AMIHUD_168] = b[k.B_AMIHUD_168]
    f[F_BETA_720] = b[k.B_BETA_720]
    f[F_CORR_720] = b[k.B_CORR_720]
    f[F_RESID_MOM_24] = ratio(b[k.B_MOM_24] - b[k.B_BETA_720] * reference[k.B_MOM_24], b[k.B_VOL_168] * ROOT_24)
    f[F_RESID_MOM_168] = ratio(b[k.B_MOM_168] - b[k.B_BETA_720] * reference[k.B_MOM_168], b[k.B_VOL_720] * ROOT_168)
    f[F_BTC_MOM_24] = ratio(reference[k.B_MOM_24], reference[k.B_VOL_168] * ROOT_24)
    f[F_BTC_MOM_720] = ratio(reference[k.B_MOM_720], reference[k.B_VOL_720] * ROOT_720)
    f[F_BTC_VOL_168] = reference[k.B_VOL_168]
    f[F_BTC_DIST_HIGH_720] = reference[k.B_DIST_HIGH_720]


@core
def cross_rows(base: Floats, present: Floats, reference: int, weekday: Ints, out: Floats) -> None:
    """Write the forty features of every asset at many rows.

    Args:
        base: [S, N, BASE_N] figures of each asset.
        present: [S, N] close of the row's bar; NaN where the asset has none.
        reference: index of the reference asset.
        weekday: [N] day of the week at the bar's close, Monday 0.
        out: [N, S, FEATURES_N] receives the features; all NaN for an asset without a bar.
    """
    assets = base.shape[0]
    values = np.empty(assets)
    for n in range(base.shape[1]):
        breadth_24 = share_above_zero(base, n, k.B_MOM_24)
        breadth_168 = share_above_zero(base, n, k.B_MOM_168)
        above_mean = share_above_zero(base, n, k.B_ABOVE_720)
        mean, deviation = mean_and_deviation(values, take_sorted(base, n, k.B_MOM_24, values))
        for s in range(assets):
            f = out[n, s]
            if not present[s, n] > 0.0:
                f[:] = NAN
                continue
            write_own(base[s, n], base[reference, n], f)
            f[F_BREADTH_24] = breadth_24
            f[F_BREADTH_168] = breadth_168
            f[F_ABOVE_MEAN_720] = above_mean
            f[F_DISPERSION_24] = deviation
            f[F_MARKET_MOM_24] = mean
            f[F_WEEKDAY] = float(weekday[n])
        for r in range(len(RANKED_BASE)):
            for s in range(assets):
                values[s] = base[s, n, RANKED_BASE[r]]
            write_ranks(values, out, n, RANKED_FEATURE[r])
        for s in range(assets):
            values[s] = out[n, s, F_RESID_MOM_168]
        write_ranks(values, out, n, F_RANK_RESID_168)
