r"""The last bars of a bundle's dataset as bytes: what a runtime that starts on it looks back on before its venue's bars are there.

`ballast.tail.1\\0`, the length of the header (little-endian int64), the header (canonical JSON: symbols, interval_t, first_t, rows_n),
then open, high, low, close and volume, each [rows_n, symbols] little-endian doubles, row by row; a missing number is the
one NaN 0x7ff8000000000000. The doubles are the lake's own: nothing is printed and read again.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.canonical import canonical_json
from runtime.core.records import INSTRUMENTS
from runtime.inference.panel import BarPanel
from runtime.ops.bundles.refusal import BundleRefused, Reason

TAG: Final = b"ballast.tail.1\0"
FIELDS: Final = ("open", "high", "low", "close", "volume")
ROWS_MAX: Final = 100_000


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    symbols: tuple[str, ...] = Field(min_length=1, max_length=INSTRUMENTS)
    interval_t: int = Field(ge=60)
    first_t: int
    rows_n: int = Field(ge=1, le=ROWS_MAX)


def encode_tail(panel: BarPanel) -> bytes:
    """Return the bytes of some bars."""
    header = canonical_json({
        "symbols": list(panel.symbols), "interval_t": panel.interval_t, "first_t": int(panel.open_t[0]),
        "rows_n": len(panel.open_t),
    })  # fmt: skip
    parts = [TAG, struct.pack("<q", len(header)), header]
    for name in FIELDS:
        values = getattr(panel, name)
        parts.append(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
    return b"".join(parts)


def decode_tail(content: bytes) -> BarPanel:
    """Return the bars of some bytes.

    Raises:
        BundleRefused: they are not the bytes of bars in the one form that `encode_tail` writes.
    """
    try:
        if not content.startswith(TAG):
            raise ValueError("another tag")
        (length,) = struct.unpack_from("<q", content, len(TAG))
        at = len(TAG) + 8
        header = _Header.model_validate_json(content[at : at + max(length, 0)])
        values = np.frombuffer(content, "<f8", offset=at + length)
        shape = (len(FIELDS), header.rows_n, len(header.symbols))
        fields = values.reshape(shape).astype(np.float64)
    except (ValueError, ValidationError, struct.error) as e:
        raise BundleRefused(Reason.MALFORMED, "the seed bars", expected="a tail of bars as this version writes it") from e
    open_t = header.first_t + header.interval_t * np.arange(header.rows_n, dtype=np.int64)
    panel = BarPanel(header.symbols, header.interval_t, open_t, *fields)
    if np.isinf(fields).any() or encode_tail(panel) != content:
        raise BundleRefused(Reason.MALFORMED, "the seed bars", expected="finite numbers or the one NaN, in canonical form")
    return panel
