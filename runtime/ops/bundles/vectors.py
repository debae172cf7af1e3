"""Check vectors: what the forecaster said at promotion, about bars that are in the bundle, so that whoever loads it can ask again.

Equal digests at every vector show that features, trees, calibration and clusters come out here, on this code and this processor,
as they did where the evidence was produced. One that differs makes the bundle uncomputable.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.canonical import canonical_json, sha256_hex
from runtime.inference.forecaster import HOUR_T, Forecaster, bars_between
from runtime.inference.panel import BarPanel
from runtime.ops.bundles.refusal import BundleRefused, Reason
from runtime.policy import HEX

VECTORS_N: Final = 8
VECTOR_BARS: Final = 168
"""Bars of the seed beyond one window, so that vectors lie at different hours and days."""


class Vector(BaseModel):
    """What the bundle says at the close of one bar of its seed; empty `rows_sha256` and `feature_digest`: no models there.

    Attributes:
        valid_n: assets with a forecast.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    at_t: int
    valid_n: int = Field(ge=0)
    rows_sha256: str = Field(pattern=r"^(?:[0-9a-f]{64})?$")
    feature_digest: str = Field(pattern=r"^(?:[0-9a-f]{64})?$")
    clusters_sha256: str = Field(pattern=HEX)


def make_vectors(forecaster: Forecaster, tail: BarPanel) -> tuple[Vector, ...]:
    """Return the vectors of a bundle: at most `VECTORS_N` decision times of its seed, the last one included."""
    at_t = tail.open_t + tail.interval_t
    on_grid = (at_t % (forecaster.grid_h * HOUR_T) == 0) & (np.arange(len(at_t)) + 1 >= forecaster.window_n)
    rows = np.flatnonzero(on_grid)
    if len(rows) > VECTORS_N:
        rows = rows[np.linspace(0, len(rows) - 1, VECTORS_N).round().astype(np.int64)]
    return tuple(_vector(forecaster, tail, int(row)) for row in rows)


def _vector(forecaster: Forecaster, tail: BarPanel, row: int) -> Vector:
    panel = bars_between(tail, 0, row + 1)
    made = forecaster.forecast(panel)
    return Vector(
        at_t=int(tail.open_t[row]) + tail.interval_t,
        valid_n=int(made[0]["valid_n"].sum()) if made else 0,
        rows_sha256=sha256_hex(made[0].tobytes()) if made else "",
        feature_digest=made[1].hex() if made else "",
        clusters_sha256=sha256_hex(forecaster.memberships(panel).tobytes()),
    )


def encode_vectors(vectors: tuple[Vector, ...]) -> bytes:
    """Return the canonical JSON of the vectors."""
    return canonical_json([vector.model_dump(mode="json") for vector in vectors])


def check_vectors(forecaster: Forecaster, tail: BarPanel, content: bytes) -> int:
    """Ask the forecaster again at every recorded vector; return how many forecasts of an asset came out the same.

    Raises:
        BundleRefused: the file is malformed or holds no forecast, or an answer is another one.
    """
    try:
        stored = tuple(Vector.model_validate(item) for item in json.loads(content))
    except (ValueError, TypeError, ValidationError, RecursionError) as e:
        raise BundleRefused(Reason.MALFORMED, "the check vectors", expected="vectors as this version writes them") from e
    made = make_vectors(forecaster, tail)
    if [vector.at_t for vector in stored] != [vector.at_t for vector in made] or not any(v.valid_n for v in stored):
        raise BundleRefused(
            Reason.UNCOMPUTABLE,
            f"check vectors at {[v.at_t for v in stored]}",
            expected=f"some forecast, at the decision times of the seed, {[v.at_t for v in made]}",
        )
    for was, now in zip(stored, made, strict=True):
        parts = [
            name
            for name in ("feature_digest", "rows_sha256", "clusters_sha256", "valid_n")
            if getattr(was, name) != getattr(now, name)
        ]
        if parts:
            raise BundleRefused(
                Reason.UNCOMPUTABLE,
                f"the check vector at {was.at_t} comes out with another {parts[0]} here: {str(getattr(now, parts[0]))[:12] or 'none'}",
                expected=str(getattr(was, parts[0]))[:12] or "none",
            )
    return sum(vector.valid_n for vector in made)
