"""From candles as they form to closed bars: each one once per instrument and interval, in order, never guessed."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from runtime.adapters.kraken import rest, wire
from runtime.errors import DataError
from runtime.market import ClosedBar, NoticeKind

GIVEN_KEPT_N: Final = 24
"""Delivered bars that are kept for each instrument: what the venue says of them later is compared."""


class Held(NamedTuple):
    """A candle as the venue last told it, and from how many trades."""

    bar: ClosedBar
    trades_n: int


class Remark(NamedTuple):
    """Something about a bar that is no bar."""

    kind: NoticeKind
    instrument_id: int
    text: str


class Closing(NamedTuple):
    """Bars that are closed and were not delivered yet, and the instruments whose next bar only REST can tell."""

    bars: list[ClosedBar]
    missing: list[int]


class Candles:
    """What is held of candles that form, and which bar of each instrument is the next to be delivered."""

    def __init__(self, instruments_n: int, interval_t: int, first_t: int) -> None:
        """Begin with the bars that open at `first_t`."""
        self._interval_t = interval_t
        self.next_t = [first_t] * instruments_n
        """Opening time of the next bar of each instrument."""
        self._held: list[dict[int, Held]] = [{} for _ in range(instruments_n)]
        self._given: list[deque[ClosedBar]] = [deque(maxlen=GIVEN_KEPT_N) for _ in range(instruments_n)]

    def forget(self) -> None:
        """Drop what is held: the connection has ended, and what a candle became meanwhile is not known."""
        for held in self._held:
            held.clear()

    def take(self, instrument_id: int, kind: str, row: wire.Row) -> Remark | None:
        """Take one row of an `ohlc` message and return what is odd about it.

        Raises:
            DataError: the row has another form, or is of another interval.
        """
        if row.get("trades") == "0":  # an interval without trades is asked for over REST
            return None
        bar, trades_n = self._read(instrument_id, row)
        if bar.open_t < self.next_t[instrument_id]:
            return self._compare(bar, repeated=kind == "update")
        held = self._held[instrument_id]
        known = held.get(bar.open_t)
        if known is not None and kind == "update":
            if trades_n < known.trades_n:  # an older state never replaces a newer one
                return Remark(
                    NoticeKind.LATE_BAR, instrument_id, f"the bar of {bar.open_t} with {trades_n} trades after {known.trades_n}"
                )
            if Held(bar, trades_n) == known:
                return Remark(NoticeKind.DUPLICATE_BAR, instrument_id, f"the bar of {bar.open_t} twice")
        held[bar.open_t] = Held(bar, trades_n)
        return None

    def close(self, until_t: int, *, held: bool = True) -> Closing:
        """Deliver what is held of the intervals that ended by `until_t` (unless not `held`: then all are missing).

        In each instrument the first hole stops it.
        """
        bars: list[ClosedBar] = []
        missing: list[int] = []
        for n in range(len(self.next_t)):
            bars += self.deliver(n, until_t) if held else []
            if self.next_t[n] + self._interval_t <= until_t:
                missing.append(n)
        return Closing(bars, missing)

    def fill(self, instrument_id: int, told: rest.Candles, until_t: int, *, held: bool = True) -> tuple[list[ClosedBar], str]:
        """Take what REST told of an instrument; return the bars this closes and a word about a hole that nobody can fill.

        Args:
            instrument_id: whose.
            told: the answer to a question for the next bar and all later ones.
            until_t: end of the intervals that have closed.
            held: whether what is held may follow it.
        """
        next_t, hole = self.next_t[instrument_id], ""
        closed: list[ClosedBar] = []
        begin_t = until_t if told.first_t is None else min(told.first_t, until_t)
        if told.full and begin_t > next_t:
            hole = f"bars from {next_t} to {begin_t}: the venue tells of none so old"
            self.next_t[instrument_id] = begin_t
        else:  # before its first trade a pair has no candles: nobody traded
            closed += self._quiet(instrument_id, begin_t)
        for bar in told.bars:
            if bar.open_t == self.next_t[instrument_id] and bar.open_t + self._interval_t <= until_t:
                closed += [self._give(bar)]
        closed += self.deliver(instrument_id, until_t) if held else []
        return closed, hole

    def _quiet(self, instrument_id: int, until_t: int) -> list[ClosedBar]:
        found: list[ClosedBar] = []
        while (open_t := self.next_t[instrument_id]) + self._interval_t <= until_t and open_t not in self._held[instrument_id]:
            found += [self._give(rest.quiet_bar(instrument_id, open_t, "rest"))]
        return found

    def deliver(self, instrument_id: int, until_t: int) -> list[ClosedBar]:
        """Deliver what is held of one instrument until the first hole."""
        held, found = self._held[instrument_id], []
        while (open_t := self.next_t[instrument_id]) in held and open_t + self._interval_t <= until_t:
            found.append(self._give(held[open_t].bar))
        return found

    def _give(self, bar: ClosedBar) -> ClosedBar:
        held = self._held[bar.instrument_id]
        self.next_t[bar.instrument_id] = bar.open_t + self._interval_t
        self._given[bar.instrument_id].append(bar)
        for open_t in [t for t in held if t <= bar.open_t]:
            del held[open_t]
        return bar

    def _compare(self, bar: ClosedBar, *, repeated: bool) -> Remark | None:
        """Return what is odd about a bar that was delivered before; None where it is the same again in a snapshot."""
        given = next((one for one in self._given[bar.instrument_id] if one.open_t == bar.open_t), None)
        if given is None:  # from before this feed began, or long ago
            return None
        if bar[2:7] != given[2:7]:
            text = f"the bar of {bar.open_t} became {bar[2:7]} after it was closed as {given[2:7]}"
            return Remark(NoticeKind.LATE_BAR, bar.instrument_id, text)
        return Remark(NoticeKind.DUPLICATE_BAR, bar.instrument_id, f"the bar of {bar.open_t} again") if repeated else None

    def _read(self, instrument_id: int, row: wire.Row) -> tuple[ClosedBar, int]:
        open_t, rest_ms = divmod(wire.moment_ms(row.get("interval_begin")), 1_000)
        minutes, trades_n = int(wire.number_of(row, "interval")), int(wire.number_of(row, "trades"))
        opened, high, low, close, volume = (wire.number_of(row, name) for name in ("open", "high", "low", "close", "volume"))
        if (
            rest_ms
            or open_t % self._interval_t
            or minutes * 60 != self._interval_t
            or min(opened, high, low, close) <= 0
            or trades_n < 1
        ):
            raise DataError(
                f"the candle {str(row)[:120]}",
                expected=f"one of {self._interval_t} s with trades",
                action="subscribe again; report it if it stays",
            )
        return ClosedBar(instrument_id, open_t, opened, high, low, close, volume, "ws"), trades_n
