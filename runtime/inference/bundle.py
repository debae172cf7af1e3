"""What a model hands to the core (`Forecasts`) and what it was made of (`BundleDescription`), each with one digest."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from runtime.canonical import canonical_json, digest
from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.errors import InvariantError
from runtime.inference.panel import Ints

FORECASTS_TAG: Final = b"ballast.forecasts.1\0"
DIGEST_BYTES: Final = 32


class RowTable(Protocol):
    """Records by row number, [N, INSTRUMENTS]: an array, or a file of which only a few rows are in memory at a time."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> Any: ...
    @overload
    def __getitem__(self, key: slice, /) -> npt.NDArray[np.void]: ...


class ForecastTable(Protocol):
    """What a run reads of `Forecasts`, in memory or stored."""

    @property
    def at_t(self) -> Ints:
        """Int64 [N], decision times, strictly increasing."""

    @property
    def rows(self) -> RowTable:
        """FORECAST [N, INSTRUMENTS]."""

    @property
    def feature_digests(self) -> Sequence[bytes]:
        """32 bytes per time."""


@dataclass(frozen=True)
class Forecasts:
    """Quantised model output at N decision times: the only thing of a model that the core ever sees.

    Attributes:
        symbols: instrument i is symbols[i]; at most INSTRUMENTS.
        at_t: int64 [N], decision times (closing time of the bar a forecast was made on), strictly increasing.
        rows: FORECAST [N, INSTRUMENTS]; valid_n 0 where there is none.
        feature_digests: one SHA-256 (32 bytes) per time over the features the forecasts were made from.
    """

    symbols: tuple[str, ...]
    at_t: Ints
    rows: npt.NDArray[np.void]
    feature_digests: list[bytes]

    def __post_init__(self) -> None:
        """Refuse shapes, dtypes and orders that the core could misread."""
        times = len(self.at_t)
        problem = ""
        if self.rows.dtype != FORECAST or self.rows.shape != (times, INSTRUMENTS):
            problem = f"rows of {self.rows.dtype} {self.rows.shape}"
        elif self.at_t.dtype != np.int64 or (times > 1 and not (np.diff(self.at_t) > 0).all()):
            problem = f"times of {self.at_t.dtype} that do not increase strictly"
        elif len(self.feature_digests) != times or any(len(d) != DIGEST_BYTES for d in self.feature_digests):
            problem = f"{len(self.feature_digests)} feature digests for {times} times"
        elif len(self.symbols) > INSTRUMENTS or len(set(self.symbols)) != len(self.symbols):
            problem = f"{len(self.symbols)} symbols, {len(set(self.symbols))} of them different"
        elif self.rows["valid_n"][:, len(self.symbols) :].any():
            problem = "a forecast for an instrument without a symbol"
        if problem:
            raise InvariantError(
                f"forecasts with {problem}",
                expected=f"int64 times in order, FORECAST [{times}, {INSTRUMENTS}], one 32-byte digest per time, different symbols",
                action="correct the code that made them",
            )

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 over tag, symbols, times, rows and feature digests."""
        h = forecasts_hasher(self.symbols, len(self.at_t))
        h.update(np.ascontiguousarray(self.at_t, "<i8").tobytes())
        h.update(np.ascontiguousarray(self.rows).tobytes())
        h.update(b"".join(self.feature_digests))
        return h.hexdigest()


def forecasts_hasher(symbols: Sequence[str], times: int) -> hashlib._Hash:
    """Return the hash of tag, sizes and symbols, to which times, rows and feature digests are added in this order."""
    names = canonical_json(list(symbols))
    return hashlib.sha256(FORECASTS_TAG + struct.pack("<3q", len(names), times, INSTRUMENTS) + names)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class CoinModel(_Frozen):
    """A model of one asset."""

    symbol: str
    model_hash: str = Sha256


class HorizonModels(_Frozen):
    """What forecasts one horizon: the global model, the per-coin ones, and the calibration of their blend."""

    horizon_h: int = Field(ge=1)
    global_hash: str = Sha256
    coins: tuple[CoinModel, ...] = ()
    calibration_hash: str = Sha256


class BundlePart(_Frozen):
    """The models in force for decision times from_t <= at_t < to_t (one walk-forward fold, or a promoted bundle)."""

    fold_n: int = Field(ge=0)
    from_t: int
    to_t: int
    horizons: tuple[HorizonModels, ...]


class BundleDescription(_Frozen):
    """What a bundle is made of, as data: its digest stands in the genesis of every run that uses it.

    Attributes:
        kind: `ml` (models) or `trend` (a rule with constants).
        name: short name, part of the run id.
        feature_set_hash: digest of the feature spec; of the trend spec for a rule.
        horizons_h: near, main and far horizon in hours.
        parts: models by time; empty for a rule.
        blend: how scores of the global and the per-coin model become one.
        assumptions: in plain words.
    """

    kind: Literal["ml", "trend"]
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    feature_set_hash: str = Sha256
    horizons_h: tuple[int, int, int]
    parts: tuple[BundlePart, ...] = ()
    blend: Literal["equal_logit", "none"] = "none"
    assumptions: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON: the bundle hash."""
        return digest(self.model_dump(mode="json"))

    @property
    def model_hashes(self) -> list[str]:
        """Return every model hash, sorted, once."""
        found = {h.global_hash for part in self.parts for h in part.horizons}
        found |= {coin.model_hash for part in self.parts for h in part.horizons for coin in h.coins}
        return sorted(found)
