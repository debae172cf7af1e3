"""The market of the local Kraken: what has happened until a virtual time, as values. No socket and no wall clock.

Everything is a function of the files, the seed and the time asked for; the virtual time only says what the public may know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from runtime.adapters.local_kraken.bar_feed import BarFeed
from runtime.adapters.local_kraken.candles import CandleSeries, Row, rows_of
from runtime.adapters.local_kraken.captures import BookCapture, read_capture
from runtime.adapters.local_kraken.columns import TradeColumns, fold
from runtime.adapters.local_kraken.draws import key_of
from runtime.adapters.local_kraken.feeds import LOT_DECIMALS_MAX, Feed, TradeFeed
from runtime.adapters.local_kraken.files import Source, sources_in
from runtime.adapters.local_kraken.ladder import BookShape, seeded_book
from runtime.adapters.local_kraken.pairs import PRICE_DECIMALS, PairInfo, PairTable
from runtime.adapters.local_kraken.records import NS, BookSnapshot, Candle, Level, Trade, decimal_of
from runtime.errors import DataError, UsageError
from runtime.progress import Report, silent

__all__ = ["BookSnapshot", "Candle", "Level", "LocalMarket", "PairInfo", "Trade"]

COIN_QUOTE_DECIMALS: Final = 5
"""Decimals of a price in a coin, at least."""


class Replayed(NamedTuple):
    """What one pair is replayed from; a pair may have books only."""

    feed: Feed | None
    captures: tuple[BookCapture, ...]


class LocalMarket:
    """Pairs, trades, candles and books of a replay; `now_ns` is the virtual time and never goes back."""

    def __init__(
        self, replayed: Mapping[PairInfo, Replayed], *, seed: int, start_ns: int | None = None, shape: BookShape | None = None
    ) -> None:
        """Take the pairs with what they are replayed from.

        Args:
            replayed: in any order.
            seed: of books; the feeds carry theirs.
            start_ns: virtual time to begin at; default the end of the data.
            shape: of seeded books.
        """
        self._replayed = dict(sorted(replayed.items(), key=lambda item: item[0].altname))
        self._keys = {pair: key_of(seed, f"book {pair.altname}") for pair in self._replayed}
        self._series: dict[tuple[PairInfo, int], CandleSeries] = {}
        self._shape = shape or BookShape()
        self.seed = seed
        self.table = PairTable(tuple(self._replayed))
        feeds = [r.feed for r in self._replayed.values() if r.feed]
        captures = [c for r in self._replayed.values() for c in r.captures]
        self.first_ns = min([*(feed.first_ns for feed in feeds), *(capture.first_ns for capture in captures)])
        self.last_ns = max([*(feed.last_ns for feed in feeds), *(capture.last_ns for capture in captures)])
        self.now_ns = self.last_ns + 1 if start_ns is None else start_ns

    @classmethod
    def open(
        cls,
        folders: Sequence[Path],
        *,
        seed: int,
        start_ns: int | None = None,
        stand_in_for: Sequence[str] = ("USD",),
        pairs: Sequence[str] | None = None,
        shape: BookShape | None = None,
        report: Report = silent,
    ) -> LocalMarket:
        """Replay the files of folders.

        A pair is replayed from the first folder that has it, there from trades before bars and from short bars before long ones;
        book captures are added from every folder.

        Args:
            folders: see `files`.
            seed: of everything that is not on file.
            start_ns: virtual time to begin at; default the end of the data.
            stand_in_for: quotes that USDT bars of a `binance...` folder stand for.
            pairs: altnames to replay; default all.
            shape: of seeded books.
            report: told per pair.

        Raises:
            DataError: nothing can be replayed, a file is wrong, or two files of one folder claim a pair.
            UsageError: a wanted pair is in no folder.
        """
        chosen: dict[str, list[Source]] = {}
        captures: dict[str, list[BookCapture]] = {}
        for folder in folders:
            found = sources_in(folder, stand_in_for)
            for capture in (read_capture(source.path) for source in found if source.kind == "book"):
                captures.setdefault(capture.base + capture.quote, []).append(capture)
            for name, sources in _best(found).items():
                chosen.setdefault(name, sources)
        names = sorted({*chosen, *captures} if pairs is None else pairs)
        missing = [name for name in names if name not in chosen and name not in captures]
        if missing:
            raise UsageError(
                f"no file of {', '.join(missing)}",
                expected=f"some of {', '.join(sorted({*chosen, *captures}))}",
                action="name other pairs, or another folder",
            )
        replayed: dict[PairInfo, Replayed] = {}
        for done, name in enumerate(names):
            report("pairs of the local Kraken", done, len(names))
            pair, entry = _replay(chosen.get(name, []), captures.get(name, []), key_of(seed, name))
            replayed[pair] = entry
        report("pairs of the local Kraken", len(names), len(names))
        return cls(replayed, seed=seed, start_ns=start_ns, shape=shape)

    @property
    def pairs(self) -> tuple[PairInfo, ...]:
        """Return the pairs in the order of their altnames."""
        return self.table.pairs

    def find(self, name: str) -> PairInfo | None:
        """Return the pair of a key, altname, wsname or v2 symbol; None when there is none."""
        return self.table.find(name)

    def advance(self, to_ns: int) -> None:
        """Move the virtual time on; a time that has passed changes nothing."""
        self.now_ns = max(self.now_ns, to_ns)

    def trades(self, pair: PairInfo, after_ns: int, until_ns: int, limit_n: int | None = None) -> Sequence[Trade]:
        """Return the trades with after_ns < time <= until_ns, oldest first; at most the first `limit_n`."""
        feed = self._replayed[pair].feed
        return _trades(pair, feed.trades(after_ns, until_ns, limit_n)) if feed else ()

    def recent_trades(self, pair: PairInfo, until_ns: int, n: int) -> Sequence[Trade]:
        """Return the last `n` trades with time <= until_ns, oldest first."""
        feed = self._replayed[pair].feed
        return _trades(pair, feed.recent(until_ns, n)) if feed else ()

    def candles(self, pair: PairInfo, interval_s: int, until_ns: int, n: int) -> Sequence[Candle]:
        """Return the last `n` candles as they stood at `until_ns`, oldest first; the last one is still forming.

        A candle holds the trades with open_t <= time < open_t + interval_s; the forming one those until `until_ns` included.
        From the first trade on every interval has a candle; where nobody traded it repeats the last close, without volume.
        """
        series = self.series(pair, interval_s)
        return [series.candle(row) for row in series.rows(until_ns, n)] if series else []

    def series(self, pair: PairInfo, interval_s: int) -> CandleSeries | None:
        """Return the candles of a pair and interval, kept from call to call; None for a pair of books only."""
        feed = self._replayed[pair].feed
        if feed is None:
            return None
        return self._series.setdefault((pair, interval_s), CandleSeries(feed, interval_s))

    def summary(self, pair: PairInfo, first_ns: int, until_ns: int) -> Candle | None:
        """Return what traded with first_ns <= time <= until_ns as one candle that opens at first_ns; None when nobody did."""
        series, feed = self.series(pair, 60), self._replayed[pair].feed
        if series is None or feed is None:
            return None
        whole = fold(feed.pieces(first_ns, until_ns + 1, DAY_NS), FOREVER_NS)
        rows: list[Row] = rows_of(whole, FOREVER_NS)
        return series.candle(rows[0]._replace(open_t=first_ns // NS)) if rows else None

    def captures(self, pair: PairInfo) -> tuple[BookCapture, ...]:
        """Return the recorded books of a pair."""
        return self._replayed[pair].captures

    def book(self, pair: PairInfo, at_ns: int, depth_n: int = 10) -> BookSnapshot:
        """Return the book at a time, `depth_n` levels a side at most.

        Where a capture covers the time it is the recorded book, with the levels that were recorded (10); elsewhere a seeded ladder
        around the last price. Before the first trade it is empty.
        """
        replayed = self._replayed[pair]
        for capture in replayed.captures:
            if capture.covers(at_ns):
                return capture.book(pair, at_ns, depth_n)
        price = self._price(replayed.feed, at_ns) if replayed.feed else None
        if price is None:
            return BookSnapshot(at_ns, (), ())
        return seeded_book(self._keys[pair], pair, price, at_ns, depth_n, self._shape)

    def _price(self, feed: Feed, at_ns: int) -> int | None:
        """Return the price that a seeded book stands around: the last one, or the open of the bar in progress."""
        if self._shape.open_of_s:
            bar_ns = self._shape.open_of_s * NS
            begin_ns = at_ns // bar_ns * bar_ns
            first = feed.trades(begin_ns - 1, begin_ns + bar_ns - 1, 1)
            if len(first.price):
                return int(first.price[0])
        last = feed.recent(at_ns, 1)
        return int(last.price[0]) if len(last.price) else None


DAY_NS: Final = 86_400 * NS
FOREVER_NS: Final = 2**62


def midnight_ns(at_ns: int) -> int:
    """Return the beginning of the day, UTC."""
    return at_ns // DAY_NS * DAY_NS


def iso_ns(at_ns: int) -> str:
    """Return a time as the venue writes it: `2023-07-06T18:52:00Z`."""
    return datetime.fromtimestamp(at_ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _best(sources: Sequence[Source]) -> dict[str, list[Source]]:
    """Return what each pair of one folder is replayed from: all its trade files, or its one file of the shortest bars."""
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        if source.kind != "book":
            by_name.setdefault(source.base + source.quote, []).append(source)
    best: dict[str, list[Source]] = {}
    for name, claims in by_name.items():
        first = min(source.rank for source in claims)
        best[name] = [source for source in claims if source.rank == first]
        if best[name][0].kind == "bars" and len(best[name]) > 1:
            raise DataError(
                f"{best[name][0].path} and {best[name][1].path} both hold {name}",
                expected="one file of bars for each pair in a folder",
                action="name the folders one by one with --data: the first that has a pair decides",
            )
    return best


def _replay(sources: Sequence[Source], captures: Sequence[BookCapture], key: int) -> tuple[PairInfo, Replayed]:
    base, quote = (sources[0].base, sources[0].quote) if sources else (captures[0].base, captures[0].quote)
    usual = COIN_QUOTE_DECIMALS if quote in PRICE_DECIMALS else PRICE_DECIMALS.get(base, 0)
    decimals = max([usual, *(capture.price_decimals for capture in captures)])
    if not sources:
        return PairInfo(base, quote, decimals, LOT_DECIMALS_MAX), Replayed(None, tuple(captures))
    feed: Feed
    if sources[0].kind == "trades":
        feed = TradeFeed([source.path for source in sources], decimals)
    else:
        feed = BarFeed(sources[0].path, sources[0].interval_s, key, decimals)
    if any(capture.lot_decimals > feed.lot_decimals for capture in captures):
        raise DataError(
            f"the captured books of {base}/{quote} have finer quantities than {feed.lot_decimals} decimals",
            expected="quantities that fit the pair",
            action="replay the capture without the bars",
        )
    return PairInfo(base, quote, feed.price_decimals, feed.lot_decimals), Replayed(feed, tuple(captures))


def _trades(pair: PairInfo, columns: TradeColumns) -> list[Trade]:
    p, q = pair.pair_decimals, pair.lot_decimals
    return [
        Trade(
            trade_id,
            time_ns,
            "buy" if buy else "sell",
            "limit" if limit else "market",
            decimal_of(price, p),
            decimal_of(lots, q),
        )
        for time_ns, trade_id, price, lots, buy, limit in zip(*(column.tolist() for column in columns), strict=True)
    ]
