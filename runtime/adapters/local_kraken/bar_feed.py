"""The feed of a pair that has only bars on file: the bars as they stand, and seeded trades that make them exactly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from runtime.adapters.local_kraken.columns import (
    NO_TRADES,
    BarColumns,
    Pieces,
    TradeColumns,
    join_pieces,
    join_trades,
    pieces_of_trades,
    take_bars,
    take_trades,
    units_of,
)
from runtime.adapters.local_kraken.feeds import lot_decimals_of, price_decimals_of
from runtime.adapters.local_kraken.files import BAR_COLUMNS, BLOCK_N, RowFile
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.seeded import MICROSECONDS, drawn_counts, notionals_of, trades_needed, trades_of_bars
from runtime.errors import DataError

BLOCKS_KEPT_N: Final = 2
MADE_BARS_N: Final = 64
"""Bars whose trades are made at once where a caller wants only some."""
BATCH_N: Final = 100_000
"""About as many trades are made at once where only their sums are wanted."""
NOTIONALS_KEPT_N: Final = 8_192
MADE_KEPT_N: Final = 4
"""Single bars whose trades are kept: around a full hour both the bar that closed and the one that opens are asked for."""


class BarFeed:
    """A feed made of a file of bars.

    Every price has the least number of decimals that writes all prices of the file exactly. Volumes are in lots of at most 8
    decimals, rounded to the nearest. A bar of no lot is an interval without trades.
    """

    def __init__(self, path: Path, interval_s: int, key: int, least_decimals: int = 0) -> None:
        """Read the file once, block by block.

        Args:
            path: a bar file, see `files`.
            interval_s: length of its bars.
            key: of the seeded trades; the same key and file give the same trades.
            least_decimals: of prices, at least so many.

        Raises:
            DataError: the file cannot be read, or a row is not a bar (time, prices, volume or count): the row is named.
        """
        self._file, self._interval_s, self._key = RowFile(path), interval_s, key
        self._kept: OrderedDict[int, BarColumns] = OrderedDict()
        self._notional: OrderedDict[int, int] = OrderedDict()
        self._made: dict[int, TradeColumns] = {}
        self.price_decimals, volume_max, volume_sum = least_decimals, 0.0, 0.0
        raw: dict[str, np.ndarray[tuple[int], np.dtype[np.generic]]] = {}
        for n in range(self._file.blocks_n):
            raw = self._file.block(n, BAR_COLUMNS)
            prices = np.concatenate([raw[name].astype(np.float64) for name in ("open", "high", "low", "close")])
            self.price_decimals = max(self.price_decimals, price_decimals_of(prices, path))
            volume = raw["volume"].astype(np.float64)
            self._require(np.isfinite(volume) & (volume >= 0), n, "a volume below zero or none at all")
            volume_max, volume_sum = max(volume_max, float(volume.max())), volume_sum + float(volume.sum())
        self.lot_decimals = lot_decimals_of(volume_max, volume_sum)
        self._first_t: list[int] = []
        self._first_ids = [1]
        first_t, last_t = -1, -1
        for n in range(self._file.blocks_n):
            bars = self._decode(raw if self._file.blocks_n == 1 else self._file.block(n, BAR_COLUMNS), n, last_t)
            self._kept = OrderedDict({n: bars})
            self._first_ids.append(self._first_ids[n] + int(bars.trades_n.sum()))
            self._first_t.append(int(bars.open_t[0]) if len(bars.open_t) else last_t + 1)
            if len(bars.open_t):
                first_t, last_t = int(bars.open_t[0]) if first_t < 0 else first_t, int(bars.open_t[-1])
        if first_t < 0:
            raise DataError(f"no bar of {path} has a volume", expected="at least one", action="leave the file out")
        self.first_ns, self.last_ns = first_t * NS, (last_t + interval_s) * NS - 1

    def trades(self, after_ns: int, until_ns: int, limit_n: int | None = None) -> TradeColumns:
        """See `Feed`."""
        found, have_n = [NO_TRADES], 0
        if until_ns <= after_ns:
            return NO_TRADES
        begin_t = after_ns // (self._interval_s * NS) * self._interval_s
        for bars in self._between(begin_t, until_ns // NS + 1, MADE_BARS_N):
            made = self._trades_of(bars)
            low, high = map(int, np.searchsorted(made.time_ns, [after_ns, until_ns], side="right"))
            found.append(take_trades(made, low, high))
            have_n += high - low
            if limit_n is not None and have_n >= limit_n:
                break
        joined = join_trades(found)
        return joined if limit_n is None else take_trades(joined, 0, limit_n)

    def recent(self, until_ns: int, n: int) -> TradeColumns:
        """See `Feed`."""
        found: list[TradeColumns] = []
        have_n, end_t = 0, until_ns // NS + 1
        while have_n < n and (bars := self._bar_before(end_t)) is not None:
            made = self._trades_of(bars)
            seen = take_trades(made, 0, int(np.searchsorted(made.time_ns, until_ns, side="right")))
            found.append(seen)
            have_n += len(seen.price)
            end_t = int(bars.open_t[0])
        joined = join_trades([NO_TRADES, *reversed(found)])
        return take_trades(joined, max(have_n - n, 0), have_n)

    def pieces(self, first_ns: int, until_ns: int, step_ns: int) -> Pieces:
        """See `Feed`."""
        bar_ns = self._interval_s * NS
        head_ns, tail_ns = -(-first_ns // bar_ns) * bar_ns, until_ns // bar_ns * bar_ns
        if step_ns % bar_ns or tail_ns < head_ns:
            return pieces_of_trades(self.trades(first_ns - 1, until_ns - 1))
        parts = [pieces_of_trades(self.trades(first_ns - 1, head_ns - 1))] if first_ns < head_ns else []
        parts += [self._whole(bars) for bars in self._between(head_ns // NS, tail_ns // NS, BLOCK_N)]
        if tail_ns < until_ns:
            parts.append(pieces_of_trades(self.trades(tail_ns - 1, until_ns - 1)))
        return join_pieces(parts) if parts else pieces_of_trades(NO_TRADES)

    def _between(self, first_t: int, until_t: int, bars_n: int) -> Iterator[BarColumns]:
        """Yield the bars that open in [first, until), oldest first, in runs of at most `bars_n`."""
        block_n = max(int(np.searchsorted(self._first_t, first_t, side="right")) - 1, 0)
        while block_n < self._file.blocks_n and self._first_t[block_n] < until_t:
            bars = self._block(block_n)
            low, high = map(int, np.searchsorted(bars.open_t, [first_t, until_t]))
            for begin in range(low, high, bars_n):
                yield take_bars(bars, begin, min(begin + bars_n, high))
            block_n += 1

    def _bar_before(self, until_t: int) -> BarColumns | None:
        """Return the last bar that opens before a time; None when there is none."""
        for block_n in range(int(np.searchsorted(self._first_t, until_t)) - 1, -1, -1):
            bars = self._block(block_n)
            end = int(np.searchsorted(bars.open_t, until_t))
            if end:
                return take_bars(bars, end - 1, end)
        return None

    def _trades_of(self, bars: BarColumns) -> TradeColumns:
        """Return the trades of bars; those of the last single bars are kept, since a moving clock asks for them again."""
        if len(bars.open_t) != 1:
            return trades_of_bars(self._key, bars, self._interval_s)
        open_t = int(bars.open_t[0])
        if open_t not in self._made:
            self._made[open_t] = trades_of_bars(self._key, bars, self._interval_s)
            if len(self._made) > MADE_KEPT_N:
                del self._made[next(iter(self._made))]
        return self._made[open_t]

    def _whole(self, bars: BarColumns) -> Pieces:
        """Return whole bars as pieces; their notionals are summed from their trades, and kept."""
        times = bars.open_t.tolist()
        unknown = [n for n, t in enumerate(times) if t not in self._notional]
        known = {t: self._notional[t] for t in times if t in self._notional}
        begin = 0
        while begin < len(unknown):
            end, made_n = begin, 0
            while end < len(unknown) and (end == begin or made_n < BATCH_N) and unknown[end] - unknown[begin] == end - begin:
                made_n += int(bars.trades_n[unknown[end]])
                end += 1
            batch = take_bars(bars, unknown[begin], unknown[begin] + end - begin)
            made = self._trades_of(batch)
            known |= zip(batch.open_t.tolist(), notionals_of(batch, made), strict=True)
            begin = end
        self._notional |= known
        while len(self._notional) > NOTIONALS_KEPT_N:
            self._notional.popitem(last=False)
        notional = np.array([known[t] for t in times], object)
        return Pieces(bars.open_t * NS, bars.open, bars.high, bars.low, bars.close, bars.lots, notional, bars.trades_n)

    def _block(self, block_n: int) -> BarColumns:
        kept = self._kept.get(block_n)
        if kept is None:
            kept = self._kept[block_n] = self._decode(self._file.block(block_n, BAR_COLUMNS), block_n, -1)
            if len(self._kept) > BLOCKS_KEPT_N:
                self._kept.popitem(last=False)
        self._kept.move_to_end(block_n)
        return kept

    def _decode(self, raw: dict[str, np.ndarray[tuple[int], np.dtype[np.generic]]], block_n: int, before_t: int) -> BarColumns:
        """Return the bars of one block that have a lot, checked."""
        times = raw["ts_ns"].astype(np.int64)
        open_t = times // NS
        self._require((times % (self._interval_s * NS)) == 0, block_n, f"a time that opens no bar of {self._interval_s} s")
        self._require(np.diff(open_t, prepend=before_t) > 0, block_n, "a time that does not follow the one before")
        o, h, low, c = (
            units_of(raw[name].astype(np.float64), self.price_decimals) for name in ("open", "high", "low", "close")
        )
        self._require((low <= np.minimum(o, c)) & (h >= np.maximum(o, c)), block_n, "an open or close outside low and high")
        lots = units_of(raw["volume"].astype(np.float64), self.lot_decimals)
        needed = trades_needed(o, h, low, c)
        traded = lots > 0
        if "trades" in raw:
            count = raw["trades"].astype(np.float64)
            counts = np.where(np.isfinite(count), count, 0).astype(np.int64)
        else:
            counts = np.minimum(drawn_counts(self._key, open_t, needed), lots)
        slots = self._interval_s * MICROSECONDS // 2
        fits = (counts >= needed) & (counts <= lots) & (counts <= slots)
        self._require(~traded | fits, block_n, "prices that its number of trades, or its volume, cannot make")
        n = counts[traded]
        first_id = self._first_ids[block_n] + np.cumsum(n) - n
        return BarColumns(open_t[traded], o[traded], h[traded], low[traded], c[traded], lots[traded], n, first_id)

    def _require(self, right: np.ndarray[tuple[int], np.dtype[np.bool_]], block_n: int, wrong: str) -> None:
        if not bool(np.all(right)):
            row_n = block_n * BLOCK_N + int(np.argmin(right)) + 1
            raise DataError(
                f"row {row_n} of {self._file.path} has {wrong}",
                expected=f"bars of {self._interval_s} s in rising order that trades can have made",
                action="check the file with ballast data check, or leave it out",
            )
