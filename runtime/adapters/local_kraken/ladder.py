"""The seeded book of a pair that has none on file: a ladder around the last price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.adapters.local_kraken.draws import GOLDEN, MASK, mix
from runtime.adapters.local_kraken.pairs import PairInfo
from runtime.adapters.local_kraken.records import NS, BookSnapshot, Level, decimal_of

STEPS: Final = (5, 2, 1)
SHARE_N: Final = 1_000
DRAW_S: Final = 60


@dataclass(frozen=True, slots=True)
class BookShape:
    """How deep and how dense a seeded book is."""

    step_ppm: int = 200
    """Distance of levels in parts per million of the price, rounded down to 1, 2 or 5 times a power of ten ticks, one at least."""
    level_value_max: int = 50_000
    """Largest value of one level in the quote currency; a book that never constrains has a very large one."""


def seeded_book(key: int, pair: PairInfo, price: int, at_ns: int, depth_n: int, shape: BookShape) -> BookSnapshot:
    """Return a ladder on both sides of a price in ticks.

    Levels lie on a grid that depends on the price's size only, each with a quantity drawn again once a minute, at a second of its
    own: from one second to the next about one level in sixty changes, and a moving price slides along the grid.
    """
    step = _step(price * shape.step_ppm // 1_000_000)
    lots_of_value = shape.level_value_max * 10 ** (pair.pair_decimals + pair.lot_decimals)
    at_s = at_ns // NS

    def level(ticks: int, side: int) -> Level:
        own = mix(key ^ mix(ticks * 2 + side))
        drawn = mix(own + (at_s + own % DRAW_S) // DRAW_S * GOLDEN & MASK)
        lots = 1 + (1 + drawn % SHARE_N) * lots_of_value // (SHARE_N * ticks)
        return Level(decimal_of(ticks, pair.pair_decimals), decimal_of(lots, pair.lot_decimals))

    bid, ask = (price - 1) // step * step, (price // step + 1) * step
    bids = range(bid, max(bid - depth_n * step, 0), -step)
    return BookSnapshot(
        at_ns, tuple(level(ticks, 0) for ticks in bids), tuple(level(ask + n * step, 1) for n in range(depth_n))
    )


def _step(at_most: int) -> int:
    """Return the largest of 1, 2, 5, 10, 20, 50 ... that is not above a number; 1 for numbers below."""
    power: int = 10 ** max(len(str(at_most)) - 1, 0)
    return next((n * power for n in STEPS if n * power <= at_most), 1)
