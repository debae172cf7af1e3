"""Seeded draws without state: a number is a function of the seed and of what it is for, so any part of a replay can be made again.

The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), in integers: the same on every platform and version.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

MASK: Final = (1 << 64) - 1
GOLDEN: Final = 0x9E3779B97F4A7C15
FIRST: Final = 0xBF58476D1CE4E5B9
SECOND: Final = 0x94D049BB133111EB


def key_of(seed: int, name: str) -> int:
    """Return the 64-bit key of a name under a seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=8).digest(), "big")


def mix(word: int) -> int:
    """Return one well mixed 64-bit number."""
    z = (word + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * FIRST) & MASK
    z = ((z ^ (z >> 27)) * SECOND) & MASK
    return z ^ (z >> 31)


def mix_all(words: Words) -> Words:
    """Return `mix` of every word [N]."""
    z = words + np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND)
    return z ^ (z >> np.uint64(31))


def below(words: Words, limit: npt.NDArray[np.int64] | int) -> npt.NDArray[np.int64]:
    """Return words reduced to 0 .. limit - 1; limits [N] or one, each at least 1."""
    return (words % np.asarray(limit, np.uint64)).astype(np.int64)
