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
UNCONSTRAINED_VALUE: Final = 10_000_000
"""Of a level in the quote currency at most; at least half of it."""
UNITS_E8_MAX: Final = 2**59
"""Quantity of an endless level at most: ten of them still add up within 64 bits."""


@dataclass(frozen=True, slots=True)
class BookShape:
    """How deep and how dense a seeded book is."""

    step_ppm: int = 200
    """Distance of levels in parts per million of the price, rounded down to 1, 2 or 5 times a power of ten ticks, one at least."""
    level_value_max: int = 50_000
    """Largest value of one level in the quote currency; a book that never constrains has a very large one."""
    open_of_s: int = 0
    """With the length of a bar in seconds: both best prices are the open of the bar in progress, so that at the beginning of a bar
    one can trade at its open without a spread. It looks ahead to the bar's first trade; 0: around the last price."""

    @classmethod
    def unconstraining(cls, bar_s: int = 3_600) -> BookShape:
        """Return the shape that costs and constrains nothing: zero spread at the open of the bar in progress, endless levels.

        With zero latency a decision at a bar's close then trades as a backtest does, at the open of the next bar.
        """
        return cls(level_value_max=UNCONSTRAINED_VALUE, open_of_s=bar_s)


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
        if shape.open_of_s:
            endless = min(lots_of_value // ticks, UNITS_E8_MAX * 10**pair.lot_decimals // 10**8)
            lots = 1 + (SHARE_N + drawn % SHARE_N) * endless // (2 * SHARE_N)
        else:
            lots = 1 + (1 + drawn % SHARE_N) * lots_of_value // (SHARE_N * ticks)
        return Level(decimal_of(ticks, pair.pair_decimals), decimal_of(lots, pair.lot_decimals))

    bid, ask = ((price - 1) // step * step, (price // step + 1) * step) if not shape.open_of_s else (price, price)
    bids = range(bid, max(bid - depth_n * step, 0), -step)
    return BookSnapshot(
        at_ns, tuple(level(ticks, 0) for ticks in bids), tuple(level(ask + n * step, 1) for n in range(depth_n))
    )


def _step(at_most: int) -> int:
    """Return the largest of 1, 2, 5, 10, 20, 50 ... that is not above a number; 1 for numbers below."""
    power: int = 10 ** max(len(str(at_most)) - 1, 0)
    return next((n * power for n in STEPS if n * power <= at_most), 1)
