"""Compiled window sums of one asset.

Bars are visited from the newest to the oldest, so a row's order of operations does not depend on how much history
lies before its window. Only + - * / sqrt and comparisons: see `runtime.inference.feature_spec`. A missing number is NaN.
"""

from __future__ import annotations

import math
from typing import Final

from runtime.inference.feature_spec import COVERAGE_PPM, FULL_BELOW_N
from runtime.inference.panel import Floats, Ints
from runtime.jit import core

NAN: Final = math.nan
PPM: Final = 1_000_000

(
    B_MOM_12, B_MOM_24, B_MOM_72, B_MOM_168, B_MOM_720, B_VOL_24, B_VOL_168, B_VOL_720, B_EFFICIENCY_72, B_AUTOCORR_168,
    B_MAX_RET_168, B_MIN_RET_168, B_DIST_LOW_168, B_DIST_HIGH_168, B_DIST_LOW_720, B_DIST_HIGH_720, B_VOLUME_24_168,
    B_VOLUME_168_720, B_AMIHUD_168, B_BETA_720, B_CORR_720, B_ABOVE_720,
) = range(22)  # fmt: skip
BASE_N: Final = 22
"""Figures of one asset alone (and of the reference's returns), from which the forty features are put together."""

P_CLOSE, P_HIGH, P_LOW, P_RET, P_SQUARE, P_CHANGE, P_TURNOVER, P_ILLIQUIDITY, P_LAGGED = range(9)
PATHS_N: Final = 9
"""Per-bar series of one asset that the kernels read; see `runtime.inference.features.paths_of`."""


@core
def enough(count: int, window: int) -> bool:
    """Tell whether a window has the bars the gap rule asks for."""
    if window < FULL_BELOW_N:
        return count == window
    return count * PPM >= window * COVERAGE_PPM


@core
def ratio(numerator: float, denominator: float) -> float:
    """Return the quotient; NaN unless the denominator is above zero."""
    if denominator > 0.0:
        return numerator / denominator
    return NAN


@core
def window_mean(series: Floats, i: int, window: int) -> float:
    """Return the mean of the present values of series[i - window + 1 .. i]; NaN when too many are missing."""
    total = 0.0
    count = 0
    for j in range(i, max(i - window, -1), -1):
        value = series[j]
        if not math.isnan(value):
            total += value
            count += 1
    if enough(count, window):
        return total / count
    return NAN


@core
def window_range(upper: Floats, lower: Floats, i: int, window: int) -> tuple[float, float]:
    """Return the highest `upper` and the lowest `lower` of the window; NaN when too many are missing."""
    highest = -math.inf
    lowest = math.inf
    count = 0
    for j in range(i, max(i - window, -1), -1):
        up = upper[j]
        down = lower[j]
        if not (math.isnan(up) or math.isnan(down)):
            count += 1
            highest = max(highest, up)
            lowest = min(lowest, down)
    if enough(count, window):
        return highest, lowest
    return NAN, NAN


@core
def window_moments(xs: Floats, ys: Floats, i: int, window: int) -> tuple[float, float, float]:
    """Return covariance, variance of x and variance of y over the pairs present; NaN when too many are missing."""
    x_sum = 0.0
    y_sum = 0.0
    xx_sum = 0.0
    xy_sum = 0.0
    yy_sum = 0.0
    count = 0
    for j in range(i, max(i - window, -1), -1):
        x = xs[j]
        y = ys[j]
        if not (math.isnan(x) or math.isnan(y)):
            x_sum += x
            y_sum += y
            xx_sum += x * x
            xy_sum += x * y
            yy_sum += y * y
            count += 1
    if not enough(count, window):
        return NAN, NAN, NAN
    x_mean = x_sum / count
    y_mean = y_sum / count
    return xy_sum / count - x_mean * y_mean, xx_sum / count - x_mean * x_mean, yy_sum / count - y_mean * y_mean


@core
def momentum(close: Floats, ret: Floats, i: int, window: int) -> float:
    """Return close / close `window` bars ago - 1; NaN when an end is missing or too many returns between are."""
    if i < window or not close[i - window] > 0.0:
        return NAN
    count = 0
    for j in range(i, i - window, -1):
        if not math.isnan(ret[j]):
            count += 1
    if enough(count, window):
        return ratio(close[i], close[i - window]) - 1.0
    return NAN


@core
def correlation(covariance: float, x_variance: float, y_variance: float) -> float:
    """Return the correlation; NaN unless both variances are above zero."""
    if x_variance > 0.0 and y_variance > 0.0:
        return covariance / math.sqrt(x_variance * y_variance)
    return NAN


@core
def asset_row(paths: Floats, reference: Floats, i: int, out: Floats) -> None:
    """Write the base figures of one asset at row i; all NaN when it has no bar there.

    Args:
        paths: [PATHS_N, T] series of the asset.
        reference: [T] hourly returns of the reference asset.
        i: row; bars above it are not read.
        out: [BASE_N] receives the figures.
    """
    out[:] = NAN
    close, ret = paths[P_CLOSE], paths[P_RET]
    now = close[i]
    if not now > 0.0:
        return
    out[B_MOM_12] = momentum(close, ret, i, 12)
    out[B_MOM_24] = momentum(close, ret, i, 24)
    out[B_MOM_72] = momentum(close, ret, i, 72)
    out[B_MOM_168] = momentum(close, ret, i, 168)
    out[B_MOM_720] = momentum(close, ret, i, 720)
    out[B_VOL_24] = math.sqrt(window_mean(paths[P_SQUARE], i, 24))
    out[B_VOL_168] = math.sqrt(window_mean(paths[P_SQUARE], i, 168))
    out[B_VOL_720] = math.sqrt(window_mean(paths[P_SQUARE], i, 720))
    if i >= 72:
        out[B_EFFICIENCY_72] = ratio((now - close[i - 72]) / 72.0, window_mean(paths[P_CHANGE], i, 72))
    covariance, x_variance, y_variance = window_moments(ret, paths[P_LAGGED], i, 168)
    out[B_AUTOCORR_168] = correlation(covariance, x_variance, y_variance)
    highest, lowest = window_range(ret, ret, i, 168)
    out[B_MAX_RET_168] = ratio(highest, out[B_VOL_168])
    out[B_MIN_RET_168] = ratio(lowest, out[B_VOL_168])
    highest, lowest = window_range(paths[P_HIGH], paths[P_LOW], i, 168)
    out[B_DIST_LOW_168] = ratio(now, lowest) - 1.0
    out[B_DIST_HIGH_168] = ratio(now, highest) - 1.0
    highest, lowest = window_range(paths[P_HIGH], paths[P_LOW], i, 720)
    out[B_DIST_LOW_720] = ratio(now, lowest) - 1.0
    out[B_DIST_HIGH_720] = ratio(now, highest) - 1.0
    turnover_168 = window_mean(paths[P_TURNOVER], i, 168)
    out[B_VOLUME_24_168] = ratio(window_mean(paths[P_TURNOVER], i, 24), turnover_168)
    out[B_VOLUME_168_720] = ratio(turnover_168, window_mean(paths[P_TURNOVER], i, 720))
    out[B_AMIHUD_168] = window_mean(paths[P_ILLIQUIDITY], i, 168) * 1e6
    covariance, x_variance, y_variance = window_moments(ret, reference, i, 720)
    out[B_BETA_720] = ratio(covariance, y_variance)
    out[B_CORR_720] = correlation(covariance, x_variance, y_variance)
    mean = window_mean(close, i, 720)
    if not math.isnan(mean):
        out[B_ABOVE_720] = 1.0 if now > mean else 0.0


@core
def asset_rows(paths: Floats, reference: Floats, rows: Ints, out: Floats) -> None:
    """Write the base figures of one asset at many rows: out [N, BASE_N]."""
    for n in range(rows.shape[0]):
        asset_row(paths, reference, rows[n], out[n])
