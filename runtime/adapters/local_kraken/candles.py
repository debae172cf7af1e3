"""Candles of one pair and interval: closed ones are kept as they were, so that a moving clock costs one candle a step."""

from __future__ import annotations

from typing import Final, NamedTuple

from runtime.adapters.local_kraken.columns import Pieces, fold
from runtime.adapters.local_kraken.feeds import Feed
from runtime.adapters.local_kraken.records import NS, Candle, decimal_of, text_of

CANDLES_MAX: Final = 720
"""The venue's interface gives no more."""
KEPT_N: Final = 2 * CANDLES_MAX


class Row(NamedTuple):
    """A candle in ticks and lots; without trades every price is the last close and the average is zero, as at the venue."""

    open_t: int
    open: int
    high: int
    low: int
    close: int
    vwap: int
    lots: int
    trades_n: int


def rows_of(pieces: Pieces, step_ns: int) -> list[Row]:
    """Return one row for each interval that has any trade."""
    folded = fold(pieces, step_ns)
    columns = [column.tolist() for column in folded]
    return [
        Row(time_ns // NS, o, h, low, c, (2 * notional + lots) // (2 * lots), lots, n)
        for time_ns, o, h, low, c, lots, notional, n in zip(*columns, strict=True)
    ]


class CandleSeries:
    """The candles of one pair and interval at a time that moves on."""

    def __init__(self, feed: Feed, interval_s: int) -> None:
        self._feed, self._interval_s, self._step_ns = feed, interval_s, interval_s * NS
        self._rows: list[Row] = []
        self._texts: list[str] = []
        self._closed_ns = 0
        """Every interval before is in the rows, if any trade had happened by then and it is not too old."""

    def rows(self, until_ns: int, n: int) -> list[Row]:
        """Return the last `n` candles as they stood at a time, oldest first; the last one is still forming."""
        begin_ns = until_ns // self._step_ns * self._step_ns
        if n > CANDLES_MAX or begin_ns < self._closed_ns:
            closed = self._built(begin_ns - (n - 1) * self._step_ns, begin_ns, None)
        else:
            self._extend(begin_ns)
            closed = self._rows
        forming = self._forming(begin_ns, until_ns, closed[-1] if closed else None)
        return [*closed[len(closed) - min(n - 1, len(closed)) :], *forming]

    def texts(self, until_ns: int, since_t: int) -> tuple[list[str], int]:
        """Return what OHLC answers: the JSON rows that open after `since_t`, the forming one always, and the last closed opening.

        Quick when the times of successive calls do not fall.
        """
        begin_ns = until_ns // self._step_ns * self._step_ns
        if begin_ns < self._closed_ns:
            found = self.rows(until_ns, CANDLES_MAX)
            shown_texts = [self._text(row) for row in found if row.open_t > since_t or row is found[-1]]
            return shown_texts, begin_ns // NS - self._interval_s if found else 0
        self._extend(begin_ns)
        forming = self._forming(begin_ns, until_ns, self._rows[-1] if self._rows else None)
        if not forming:
            return [], 0
        while len(self._texts) < len(self._rows):
            self._texts.append(self._text(self._rows[len(self._texts)]))
        first_t = max(since_t + 1, begin_ns // NS - (CANDLES_MAX - 1) * self._interval_s)
        skipped = -(-(first_t - self._rows[0].open_t) // self._interval_s) if self._rows else 0
        shown = self._texts[max(skipped, 0) :]
        return [*shown, self._text(forming[0])], begin_ns // NS - self._interval_s

    def candle(self, row: Row) -> Candle:
        """Return a row in decimals."""
        p, q = self._feed.price_decimals, self._feed.lot_decimals
        o, h, low, c, vwap = (decimal_of(units, p) for units in row[1:6])
        return Candle(row.open_t, o, h, low, c, vwap, decimal_of(row.lots, q), row.trades_n)

    def _text(self, row: Row) -> str:
        p = self._feed.price_decimals
        o, h, low, c, vwap = (text_of(units, p) for units in row[1:6])
        return (
            f'[{row.open_t},"{o}","{h}","{low}","{c}","{vwap}","{text_of(row.lots, self._feed.lot_decimals)}",{row.trades_n}]'
        )

    def _extend(self, begin_ns: int) -> None:
        """Close the intervals before `begin_ns`; what an answer can never reach again is dropped."""
        if begin_ns <= self._closed_ns:
            return
        oldest_ns = begin_ns - (CANDLES_MAX - 1) * self._step_ns
        if self._closed_ns < oldest_ns:
            self._rows, self._texts = self._built(oldest_ns, begin_ns, None), []
        else:
            self._rows += self._built(self._closed_ns, begin_ns, self._rows[-1] if self._rows else None)
        self._closed_ns = begin_ns
        if len(self._rows) > KEPT_N:
            self._texts = (
                self._texts[len(self._rows) - CANDLES_MAX :] if len(self._texts) > len(self._rows) - CANDLES_MAX else []
            )
            self._rows = self._rows[-CANDLES_MAX:]

    def _built(self, first_ns: int, until_ns: int, before: Row | None) -> list[Row]:
        """Return the candles of [first, until), quiet intervals included once anything traded."""
        first_ns = max(first_ns, self._feed.first_ns // self._step_ns * self._step_ns)
        if until_ns <= first_ns:
            return []
        traded = {row.open_t: row for row in rows_of(self._feed.pieces(first_ns, until_ns, self._step_ns), self._step_ns)}
        close = before.close if before else self._close_before(first_ns)
        found: list[Row] = []
        for open_t in range(first_ns // NS, until_ns // NS, self._interval_s):
            row = traded.get(open_t) or (Row(open_t, close, close, close, close, 0, 0, 0) if close is not None else None)
            if row:
                found.append(row)
                close = row.close
        return found

    def _forming(self, begin_ns: int, until_ns: int, before: Row | None) -> list[Row]:
        rows = rows_of(self._feed.pieces(begin_ns, until_ns + 1, self._step_ns), self._step_ns)
        close = before.close if before else self._close_before(begin_ns)
        return rows or ([Row(begin_ns // NS, close, close, close, close, 0, 0, 0)] if close is not None else [])

    def _close_before(self, at_ns: int) -> int | None:
        last = self._feed.recent(at_ns - 1, 1)
        return int(last.price[0]) if len(last.price) else None
