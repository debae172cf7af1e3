"""Features of a panel at chosen rows: window-exact, portable to the bit, and splittable by rows.

`compute(panel, rows)[a:b]` equals `compute(panel, rows[a:b])` and `compute(*clip(panel, rows[a:b]))` bit for bit, so
a process pool computes parts in any number of workers and a live tail of `spec.window_n` bars gives what full history gives.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import numpy as np

from runtime.inference import kernels as k
from runtime.inference.cross_section import FEATURES_N, cross_rows
from runtime.inference.feature_spec import CATALOGUE, DEFAULT_SPEC, Feature, FeatureSpec, spec_of
from runtime.inference.panel import BarPanel, Bools, Floats, Ints

__all__ = [
    "CATALOGUE", "DEFAULT_SPEC", "Feature", "FeatureSpec", "clip", "compute", "feature_digests", "paths_of", "spec_of", "split",
    "usable",
]  # fmt: skip

DAY_T: Final = 86_400
EPOCH_WEEKDAY: Final = 3
"""1970-01-01 was a Thursday; Monday is 0."""
CHUNK_ROWS: Final = 2_048
"""Rows per pass: bounds the intermediate figures to a few MB and changes no value."""
DIGEST_TAG: Final = b"ballast.features.1\0"
REQUIRED: Final = ("mom_24", "vol_168")


def compute(panel: BarPanel, rows: Ints, spec: FeatureSpec = DEFAULT_SPEC) -> Floats:
    """Return the features of every asset at the given rows.

    Args:
        panel: hourly bars of S assets, the spec's reference among them.
        rows: int64 [N], row numbers of the panel; the value at row i reads bars <= i only. The decision time of row i
            is `panel.open_t[i] + panel.interval_t`.
        spec: which features, in which order.

    Returns:
        float64 [N, S, F]; NaN where a window is incomplete (see `runtime.inference.feature_spec`).

    Raises:
        DataError: the spec cannot be computed, the panel has another interval or lacks the reference, a row is outside.
    """
    columns = spec.columns()
    rows = np.array(rows, np.int64, ndmin=1)
    panel.require(rows, spec.interval_t, spec.reference)
    reference = panel.symbols.index(spec.reference)
    paths = [paths_of(panel, s) for s in range(len(panel.symbols))]
    whole = columns == list(range(FEATURES_N))
    out = np.empty((len(rows), len(panel.symbols), len(columns)))
    weekday = ((panel.open_t[rows] + panel.interval_t) // DAY_T + EPOCH_WEEKDAY) % 7
    for first in range(0, len(rows), CHUNK_ROWS):
        part = rows[first : first + CHUNK_ROWS]
        base = np.empty((len(paths), len(part), k.BASE_N))
        for s, path in enumerate(paths):
            k.asset_rows(path, paths[reference][k.P_RET], part, base[s])
        present = np.stack([path[k.P_CLOSE][part] for path in paths])
        target = out[first : first + len(part)] if whole else np.empty((len(part), len(paths), FEATURES_N))
        cross_rows(base, present, reference, weekday[first : first + len(part)], target)
        if not whole:
            out[first : first + len(part)] = target[:, :, columns]
    return out


def paths_of(panel: BarPanel, s: int) -> Floats:
    """Return the per-bar series [PATHS_N, T] of one asset that the kernels read; NaN where one is missing.

    A bar counts only whole: with a missing or unusable field it is treated as absent. Returns and changes exist
    between two adjacent bars only.
    """
    close, high, low = panel.close[:, s], panel.high[:, s], panel.low[:, s]
    turnover = close * panel.volume[:, s]
    whole = (close > 0.0) & (high > 0.0) & (low > 0.0) & (turnover >= 0.0) & (high < np.inf) & (turnover < np.inf)
    paths = np.full((k.PATHS_N, len(close)), np.nan)
    for row, series in ((k.P_CLOSE, close), (k.P_HIGH, high), (k.P_LOW, low), (k.P_TURNOVER, turnover)):
        paths[row, whole] = series[whole]
    close = paths[k.P_CLOSE]
    ret = paths[k.P_RET]
    ret[1:] = close[1:] / close[:-1] - 1.0
    paths[k.P_SQUARE] = ret * ret
    paths[k.P_CHANGE, 1:] = np.abs(close[1:] - close[:-1])
    traded = paths[k.P_TURNOVER] > 0.0
    paths[k.P_ILLIQUIDITY, traded] = np.abs(ret[traded]) / paths[k.P_TURNOVER, traded]
    paths[k.P_LAGGED, 1:] = ret[:-1]
    return paths


def clip(panel: BarPanel, rows: Ints, window_n: int = DEFAULT_SPEC.window_n) -> tuple[BarPanel, Ints]:
    """Return the smallest panel that holds the windows of the rows, and the same rows numbered in it.

    It copies, so a worker process receives no more than it needs.
    """
    first = max(int(rows.min()) - window_n + 1, 0)
    last = int(rows.max()) + 1
    part = BarPanel(
        panel.symbols,
        panel.interval_t,
        panel.open_t[first:last].copy(),
        panel.open[first:last].copy(),
        panel.high[first:last].copy(),
        panel.low[first:last].copy(),
        panel.close[first:last].copy(),
        panel.volume[first:last].copy(),
    )
    return part, rows - first


def split(rows: Ints, parts_n: int) -> list[Ints]:
    """Return the rows in at most `parts_n` contiguous, nearly equal, non-empty parts."""
    return [part for part in np.array_split(rows, max(parts_n, 1)) if len(part)]


def usable(features: Floats, spec: FeatureSpec = DEFAULT_SPEC) -> Bools:
    """Return bool [N, S]: the asset has a bar, a full day behind it and a week's volatility, hence may be forecast.

    Other features may be missing (a young asset has no 720 h window); models treat these as missing.
    """
    known = [spec.names.index(name) for name in REQUIRED if name in spec.names]
    if not known:
        return np.asarray(~np.isnan(features).all(axis=2))
    return np.asarray(~np.isnan(features[:, :, known]).any(axis=2))


def feature_digests(features: Floats) -> list[bytes]:
    """Return one SHA-256 (32 bytes) per row time over tag, shape and little-endian doubles of [S, F], every NaN alike."""
    head = DIGEST_TAG + struct.pack("<2q", features.shape[1], features.shape[2])
    digests = []
    for row in features:
        canonical = np.where(np.isnan(row), np.nan, row).astype("<f8")
        digests.append(hashlib.sha256(head + canonical.tobytes()).digest())
    return digests
