"""The training matrix on disk: one fixed row order, written once, memory-mapped by every worker.

Rows are time-major, then in universe order. The order is part of a model's identity: LightGBM's bagging draws row
numbers, and a permutation of the rows changed probabilities by up to .054.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from runtime.inference.panel import Floats, Ints


@dataclass(frozen=True, slots=True)
class Matrix:
    """Usable rows of a study, M of them.

    Attributes:
        features: float64 [M, F]; NaN where a feature is missing.
        up, returns: float64 [M, H]; NaN where a label is missing.
        complete: bool [M], every label is there; only such rows are trained on.
        row_n: int64 [M], decision-grid row; ascending.
        symbol_n: int64 [M], asset number; ascending within a decision-grid row.
        starts: int64 [N + 1], first matrix row of every decision-grid row.
    """

    features: Floats
    up: Floats
    returns: Floats
    complete: npt.NDArray[np.bool_]
    row_n: Ints
    symbol_n: Ints
    starts: Ints

    def between(self, window: tuple[int, int]) -> slice:
        """Return the matrix rows of a half-open range of decision-grid rows."""
        return slice(int(self.starts[window[0]]), int(self.starts[window[1]]))


def make_matrix(features: Floats, up: Floats, returns: Floats, usable: npt.NDArray[np.bool_]) -> Matrix:
    """Flatten features [N, S, F] and labels [N, S, H] to the rows where `usable` [N, S] holds."""
    row_n, symbol_n = np.nonzero(usable)  # C order: time-major, then universe order
    starts = np.zeros(len(usable) + 1, dtype=np.int64)
    np.cumsum(np.count_nonzero(usable, axis=1), out=starts[1:])
    flat_up = up[row_n, symbol_n]
    return Matrix(
        features=np.ascontiguousarray(features[row_n, symbol_n]),
        up=flat_up,
        returns=returns[row_n, symbol_n],
        complete=np.asarray(~np.isnan(flat_up).any(axis=1)),
        row_n=row_n.astype(np.int64),
        symbol_n=symbol_n.astype(np.int64),
        starts=starts,
    )


@contextmanager
def stored(matrix: Matrix) -> Iterator[Path]:
    """Write the matrix to a temporary folder and yield it; the folder is removed afterwards, Ctrl-C included."""
    with TemporaryDirectory(prefix="ballast-matrix-") as name:
        folder = Path(name)
        for field in Matrix.__dataclass_fields__:
            np.save(folder / f"{field}.npy", getattr(matrix, field))
        yield folder


@functools.lru_cache(maxsize=1)
def mapped(folder: Path) -> Matrix:
    """Return the matrix of a folder, memory-mapped read-only; the last one stays mapped in this process."""
    return Matrix(**{field: np.load(folder / f"{field}.npy", mmap_mode="r") for field in Matrix.__dataclass_fields__})
