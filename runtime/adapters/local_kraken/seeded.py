"""Trades for bars that have none on file: seeded, and exact. Put together again they are the bar, to the last lot."""

from __future__ import annotations

from operator import mul
from typing import Final

import numpy as np

from runtime.adapters.local_kraken.columns import BarColumns, Ints, TradeColumns
from runtime.adapters.local_kraken.draws import GOLDEN, MASK, Words, below, mix_all
from runtime.adapters.local_kraken.records import NS

MICROSECONDS: Final = 1_000_000
EXTRA_TRADES: Final = 13
"""Where the file does not tell how many traded, a bar gets as many trades as it needs and up to 12 more."""
NOISE: Final = 8
"""A price wanders by an eighth of the bar's range at most around the straight line between its marks."""
SUM_MAX: Final = 2.0**62
A_PLACE, B_PLACE, PRICE, WEIGHT, TIME, SIDE, KIND = range(7)
STREAMS: Final = 8


def trades_needed(open_: Ints, high: Ints, low: Ints, close: Ints) -> Ints:
    """Return how few trades can make each bar [N]: its open first, its close last, its high and its low somewhere."""
    flat = (high == low).astype(np.int64)
    inner = ((high != open_) & (high != close)).astype(np.int64) + ((low != open_) & (low != close)).astype(np.int64)
    return 2 + inner - flat


def drawn_counts(key: int, open_t: Ints, needed: Ints) -> Ints:
    """Return a number of trades for each bar [N] whose file does not tell it."""
    return needed + below(_bar_keys(key, open_t), EXTRA_TRADES)


def trades_of_bars(key: int, bars: BarColumns, interval_s: int) -> TradeColumns:
    """Return the trades of bars [N] in order.

    First price, highest, lowest, last price, sum of lots, count and interval are the bar's. Between the marks prices run in
    straight lines with noise inside the bar's range; lots are shared by drawn weights, one at least; each trade has a slot
    of time of its own. The first microsecond of a bar is free, so at a bar's very beginning nothing of it is known.
    """
    counts = bars.trades_n
    bar = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    k = np.arange(len(bar)) - starts[bar]
    n = counts[bar]
    bar_keys = _bar_keys(key, bars.open_t)
    draws = (bar_keys[bar] + k.astype(np.uint64) * np.uint64(STREAMS) * np.uint64(GOLDEN)).astype(np.uint64)
    price = _prices(bars, bar_keys, draws, bar, k, n)
    span_us = np.int64(interval_s * MICROSECONDS)
    step_us = span_us // n
    jitter = 1 + below(_stream(draws, TIME), np.maximum(step_us - 1, 1))
    time_us = bars.open_t[bar] * MICROSECONDS + k * span_us // n + jitter
    change = np.diff(price, prepend=price[:1])
    change[k == 0] = 0
    coin = below(_stream(draws, SIDE), 2) == 0
    return TradeColumns(
        time_us * (NS // MICROSECONDS),
        bars.first_id[bar] + k,
        price,
        _lots(bars, draws, bar, k, n),
        np.where(change == 0, coin, change > 0),
        below(_stream(draws, KIND), 3) != 0,
    )


def notionals_of(bars: BarColumns, made: TradeColumns) -> list[int]:
    """Return the exact sum of price times lots of each bar [N] over its trades.

    Above a bar's low the products fit 64 bits for nearly every bar; the others are summed in Python's integers.
    """
    starts = np.cumsum(bars.trades_n) - bars.trades_n
    above = (made.price - np.repeat(bars.low, bars.trades_n)) * made.lots  # may wrap where it is not used
    sums: list[int] = np.add.reduceat(above, starts).tolist()
    fits = (bars.high - bars.low).astype(np.float64) * bars.lots.astype(np.float64) < SUM_MAX
    found = [low * lots + total for low, lots, total in zip(bars.low.tolist(), bars.lots.tolist(), sums, strict=True)]
    for n in np.flatnonzero(~fits).tolist():
        inside = slice(int(starts[n]), int(starts[n] + bars.trades_n[n]))
        found[n] = sum(map(mul, made.price[inside].tolist(), made.lots[inside].tolist()))
    return found


def _bar_keys(key: int, open_t: Ints) -> Words:
    return mix_all(open_t.astype(np.uint64) ^ np.uint64(key))


def _stream(words: Words, stream: int) -> Words:
    """Return draws of their own for one purpose."""
    return mix_all(words + np.uint64((stream + 1) * GOLDEN & MASK))


def _prices(bars: BarColumns, bar_keys: Words, draws: Words, bar: Ints, k: Ints, n: Ints) -> Ints:
    """Return the price of each trade: lines between open, the two extremes in drawn order, and close; noise between them."""
    last = bars.trades_n - 1
    inner = np.maximum(last - 1, 1)  # places 1 .. last - 1
    a = 1 + below(_stream(bar_keys, A_PLACE), inner)
    b = (
        1 + (a + below(_stream(bar_keys, B_PLACE), np.maximum(inner - 1, 1))) % inner
    )  # another place than a, where there are two
    high_at = np.where(bars.high == bars.open, 0, np.where(bars.high == bars.close, last, a))
    low_at = np.where(bars.low == bars.open, 0, np.where(bars.low == bars.close, last, b))
    high_first = high_at <= low_at
    x, y = np.minimum(high_at, low_at), np.maximum(high_at, low_at)
    at_x, at_y = np.where(high_first, bars.high, bars.low), np.where(high_first, bars.low, bars.high)
    on_first, on_last = k <= x[bar], k > y[bar]
    from_k = np.where(on_first, 0, np.where(on_last, y[bar], x[bar]))
    to_k = np.where(on_first, x[bar], np.where(on_last, n - 1, y[bar]))
    from_p = np.where(on_first, bars.open[bar], np.where(on_last, at_y[bar], at_x[bar]))
    to_p = np.where(on_first, at_x[bar], np.where(on_last, bars.close[bar], at_y[bar]))
    line = from_p + (to_p - from_p) * (k - from_k) // np.maximum(to_k - from_k, 1)
    reach = (bars.high - bars.low)[bar] // NOISE
    noise = below(_stream(draws, PRICE), 2 * reach + 1) - reach
    mark = (k == 0) | (k == x[bar]) | (k == y[bar]) | (k == n - 1)
    return np.where(mark, line, np.clip(line + noise, bars.low[bar], bars.high[bar]))


def _lots(bars: BarColumns, draws: Words, bar: Ints, k: Ints, n: Ints) -> Ints:
    """Return lots by drawn weights: one each, the rest shared by the running sum of the weights, which ends at the bar's."""
    weight = 1 + below(_stream(draws, WEIGHT), 1000)
    running = np.cumsum(weight)
    firsts = np.flatnonzero(k == 0)
    running -= (running[firsts] - weight[firsts])[bar]
    total = np.add.reduceat(weight, firsts)[bar]
    rest = bars.lots[bar] - n
    shared = rest // total * running + rest % total * running // total  # rest * running // total, without overflow
    before = np.concatenate((shared[:1] * 0, shared[:-1]))
    before[firsts] = 0
    return 1 + shared - before
