"""Clusters of assets that move together: from rolling correlations to an integer membership that the core takes in.

Two assets are linked when the correlation of their returns over the window reaches the threshold; a cluster is a
connected set of links (single linkage). Only + - * / sqrt in a fixed order, so the membership is the same on any machine.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.canonical import digest
from runtime.core.records import CLUSTER, INSTRUMENTS
from runtime.errors import InvariantError
from runtime.inference.panel import BarPanel, Floats, Ints
from runtime.jit import core

CLUSTERS_TAG: Final = b"ballast.clusters.1\0"


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """How memberships are made.

    Attributes:
        version: raised when the same constants give other memberships.
        window_n: bars of the correlation (720 hours).
        step_n: bars between memberships (168 hours).
        coverage_ppm: share of the window's returns that both assets must have to be linked.
        threshold_ppm: correlation from which two assets are linked.
    """

    version: int = 1
    window_n: int = 720
    step_n: int = 168
    coverage_ppm: int = 800_000
    threshold_ppm: int = 700_000

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of the constants."""
        return digest({"kind": "clusters", **asdict(self)})


DEFAULT_CLUSTERS: Final = ClusterSpec()


@dataclass(frozen=True)
class Clusters:
    """Memberships at M times.

    Attributes:
        at_t: int64 [M], closing times of the bars they were made on, strictly increasing.
        rows: CLUSTER [M, INSTRUMENTS]; instruments with equal ids form a cluster; the id is its lowest instrument.
    """

    at_t: Ints
    rows: npt.NDArray[np.void]

    def __post_init__(self) -> None:
        """Refuse shapes the core could misread."""
        if self.rows.dtype != CLUSTER or self.rows.shape != (len(self.at_t), INSTRUMENTS):
            raise InvariantError(
                f"memberships of shape {self.rows.shape}",
                expected=f"CLUSTER [{len(self.at_t)}, {INSTRUMENTS}]",
                action="correct the code that made them",
            )

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 over tag, times and rows."""
        h = hashlib.sha256(CLUSTERS_TAG + struct.pack("<2q", len(self.at_t), INSTRUMENTS))
        h.update(np.ascontiguousarray(self.at_t, "<i8").tobytes())
        h.update(np.ascontiguousarray(self.rows).tobytes())
        return h.hexdigest()


def memberships(panel: BarPanel, rows: Ints, spec: ClusterSpec = DEFAULT_CLUSTERS) -> Clusters:
    """Return the membership at every `step_n`-th bar of a range.

    Args:
        panel: hourly bars of S assets; instrument i is asset i.
        rows: int64, first and last row of the panel between which memberships are wanted.
        spec: the constants.
    """
    first, last = int(rows[0]), int(rows[-1])
    at = np.arange(first, last + 1, spec.step_n, dtype=np.int64)
    close = np.ascontiguousarray(panel.close)
    members = np.zeros((len(at), INSTRUMENTS), CLUSTER)
    members["cluster_id"] = np.arange(INSTRUMENTS)
    enough = -(-spec.window_n * spec.coverage_ppm // 1_000_000)
    threshold = spec.threshold_ppm / 1_000_000
    for k, row in enumerate(at.tolist()):
        start = max(row - spec.window_n, 0)
        linked = _links(close[start : row + 1], enough, threshold)
        members["cluster_id"][k, : close.shape[1]] = _components(linked)
    return Clusters(panel.open_t[at] + panel.interval_t, members)


@core
def _correlation(x: Floats, y: Floats, enough: int) -> float:
    """Return the correlation of the one-bar returns of two price paths; 0 when too few returns are known to both."""
    n = 0
    mean_x = 0.0
    mean_y = 0.0
    for i in range(1, x.shape[0]):
        a, b = x[i] / x[i - 1] - 1.0, y[i] / y[i - 1] - 1.0
        if a == a and b == b:
            n += 1
            mean_x += a
            mean_y += b
    if n < enough:
        return 0.0
    mean_x /= n
    mean_y /= n
    xx = 0.0
    yy = 0.0
    xy = 0.0
    for i in range(1, x.shape[0]):
        a, b = x[i] / x[i - 1] - 1.0, y[i] / y[i - 1] - 1.0
        if a == a and b == b:
            xx += (a - mean_x) * (a - mean_x)
            yy += (b - mean_y) * (b - mean_y)
            xy += (a - mean_x) * (b - mean_y)
    if xx <= 0.0 or yy <= 0.0:
        return 0.0
    return xy / (math.sqrt(xx) * math.sqrt(yy))


@core
def _links(close: Floats, enough: int, threshold: float) -> npt.NDArray[np.int64]:
    """Return an int64 [S, S] matrix with 1 where two assets are linked."""
    size = close.shape[1]
    linked = np.zeros((size, size), np.int64)
    for i in range(size):
        for j in range(i + 1, size):
            if _correlation(close[:, i], close[:, j], enough) >= threshold:
                linked[i, j] = 1
                linked[j, i] = 1
    return linked


def _components(linked: npt.NDArray[np.int64]) -> Ints:
    """Return for each asset the lowest asset it is connected with."""
    size = len(linked)
    label = np.arange(size, dtype=np.int64)
    for i in range(size):
        for j in range(i + 1, size):
            if linked[i, j] and label[i] != label[j]:
                low, high = min(label[i], label[j]), max(label[i], label[j])
                label[label == high] = low
    return label
