"""Kraken's public REST interface as a provider.

`OHLC` gives the last 720 candles of an interval; the newest, still forming, is never taken. Older bars are made from `Trades`,
paged by the nanosecond cursor at one call a second: right for weeks, not for years. For years, import Kraken's downloadable
OHLCVT archives. As in those files, an hour without trades has no bar (the interface repeats the last close there).

Where both exist, two hours of bars made from trades must equal the candles; if they differ, nothing is delivered.
The base URL can be injected (`BALLAST_KRAKEN_URL` or the argument): tests run a local Kraken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from runtime.errors import DataError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.address import base_address
from workbench.data.providers.calls import ATTEMPTS, Budget, CallLedger, Calls, pause
from workbench.data.providers.kraken_rest import BASE_URL, TRADES_MAX, Candles, KrakenRest
from workbench.data.providers.kraken_trades import TradeFeed
from workbench.data.providers.trades import SECOND_NS, BarMaker
from workbench.data.providers.web import TIMEOUT_S
from workbench.data.universe.versions import Universe, iso, load_universe

VENUE: Final = "kraken-spot"
ACCOUNT: Final = "kraken-public"
URL_VARIABLE: Final = "BALLAST_KRAKEN_URL"
CALLS_PER_PAGE: Final = 50
"""Pages of trades that one page of bars is made of at most: what an interruption costs, about a minute. The first page of bars
is made of one, each next one of twice as many: a download that is interrupted early has something to show."""
OVERLAP_T: Final = 7_200
"""Seconds of candles that are also made from trades (at least one candle): what the two agree on."""


class KrakenProvider:
    """Hourly (or other) bars of every universe asset Kraken lists in one quote."""

    name = "kraken-rest"
    closed = True

    def __init__(
        self,
        *,
        assets: Sequence[str] | None = None,
        quote: str = "USD",
        interval: str = "1h",
        since_t: int | None = None,
        url: str | None = None,
        call_interval_ms: int = 1_000,
        calls_per_page: int = CALLS_PER_PAGE,
        trades_per_call: int = TRADES_MAX,
        attempts: int = ATTEMPTS,
        timeout_s: float = TIMEOUT_S,
        ledger: CallLedger | None = None,
        sleep: Callable[[float], None] = pause,
        universe: Universe | None = None,
        report: Report = silent,
    ) -> None:
        """Take what to fetch.

        Args:
            assets: of the universe; default all.
            quote: quote currency.
            interval: bar length by name.
            since_t: first opening time wanted, seconds UTC; bars older than the 720 candles come from trades. None = the candles.
            url: base URL; default the environment's `BALLAST_KRAKEN_URL`, else Kraken's.
            call_interval_ms: least time between two calls; 0 = no limit.
            calls_per_page: pages of trades in one page of bars, at most.
            trades_per_call: trades in one page of them, at most 1,000.
            attempts: calls per request before giving up.
            timeout_s: patience per call.
            ledger: keeps the rate budget and counts the calls; default for this process only.
            sleep: waits before a call; injected by tests.
            universe: default version v1.
            report: told per page of trades.
        """
        self._universe = universe or load_universe()
        self._assets = tuple(assets) if assets is not None else self._universe.assets
        self._quote, self._interval, self._since_t = quote, interval, since_t
        self._interval_t = interval_seconds(interval)
        self._calls_per_page, self._report = calls_per_page, report
        budget = Budget(ACCOUNT, 1_000 / call_interval_ms if call_interval_ms else 0.0)
        calls = Calls("Kraken", budget, ledger, attempts=attempts, sleep=sleep)
        self.ledger = calls.ledger
        self._rest = KrakenRest(base_address(url, URL_VARIABLE) or BASE_URL, calls, timeout_s, trades_per_call)
        self._is_online = False

    def series(self) -> Sequence[SeriesRef]:
        """Return one series per asset that Kraken lists today; an asset it does not list is left out.

        Raises:
            EnvironmentFailure: Kraken cannot be reached or is in maintenance.
            DataError: it lists none of the assets.
        """
        self._online()
        listed = self._rest.pairs()
        wanted = [self._universe.symbol(VENUE, a, self._quote) for a in self._assets]
        refs = [SeriesRef(VENUE, self._interval, s, "OHLC", s) for s in sorted(wanted) if s in listed]
        if not refs:
            raise DataError(
                f"Kraken lists none of {', '.join(wanted[:5])}", expected="at least one pair", action="choose other symbols"
            )
        return refs

    def server_time_t(self) -> int:
        """Return Kraken's clock, seconds UTC.

        Raises:
            EnvironmentFailure: Kraken cannot be reached.
        """
        return self._rest.server_time_t()

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield bars made from trades for what is older than the candles, then the closed candles.

        `since_t` None means the provider's own start; where that is None too, the candles.

        Raises:
            EnvironmentFailure: Kraken cannot be reached or answers in an unknown form.
            DataError: it has no closed candle of the pair, or its trades and candles disagree.
        """
        self._online()
        step_t = interval_seconds(ref.interval)
        wanted_t = since_t if since_t is not None else self._since_t
        at_t = None if wanted_t is None else -(-wanted_t // step_t) * step_t
        while True:
            candles = self._rest.candles(ref.locator, step_t)
            at_t = candles.first_t if at_t is None else at_t
            stop_t = candles.end_t if until_t is None else min(-(-until_t // step_t) * step_t, candles.end_t)
            if at_t >= min(candles.first_t, stop_t):
                break
            # Candles move on while trades are paged for hours; they are asked for again after that.
            overlap_t = candles.first_t + max(1, OVERLAP_T // step_t) * step_t
            for page in self._from_trades(ref, step_t, at_t, min(overlap_t, stop_t)):
                _agree(ref, page, candles, at_t)
                at_t = page.until_t
                yield page
        if wanted_t is None and not (candles.rows[:, 6] > 0).any():
            raise DataError(
                f"Kraken has no closed {ref.interval} candle of {ref.locator}",
                expected="some history",
                action="look for older trades with --since, or leave the symbol out",
            )
        if at_t < stop_t:
            yield Page(_bars(candles, at_t, stop_t), stop_t)

    def _from_trades(self, ref: SeriesRef, step_t: int, begin_t: int, until_t: int) -> Iterator[Page]:
        """Yield bars of the trades in [begin_t, until_t), all of which are closed; both are multiples of the step."""
        maker = BarMaker(step_t, begin_t)  # a bar cut by the start of the download would be a false bar
        feed = TradeFeed(self._rest, ref.locator, maker, begin_t * SECOND_NS - 1)
        calls_n, calls_per_page = 0, 1
        while feed.advance():
            calls_n += 1
            last_t = maker.last.time_ns // SECOND_NS if maker.last else begin_t
            self._report(f"trades of {ref.locator}", max(0, min(last_t, until_t) - begin_t), until_t - begin_t)
            if last_t >= until_t:
                break
            if calls_n >= min(calls_per_page, self._calls_per_page) and maker.ready_n:
                yield Page(maker.take(), maker.open_t)
                calls_n, calls_per_page = 0, 2 * calls_per_page
        yield Page(maker.take(until_t), until_t)

    def _online(self) -> None:
        if not self._is_online:
            self._rest.check_status()
            self._is_online = True


def _agree(ref: SeriesRef, page: Page, candles: Candles, since_t: int) -> None:
    """Refuse bars made from trades of [since_t, page.until_t) that differ from the venue's candles of the same time."""
    made = page.bars.take(page.bars.t >= candles.first_t)
    theirs = _bars(candles, max(since_t, candles.first_t), page.until_t)
    if made.digest == theirs.digest:
        return
    both = sorted(set(made.t.tolist()) | set(theirs.t.tolist()))
    for t in both:
        mine, other = (_at(b, t) for b in (made, theirs))
        if mine != other:
            raise DataError(
                f"Kraken's trades and its candle of {ref.locator} at {iso(t)} disagree: {mine} from trades, {other} as the candle",
                expected="the same open, high, low, close, volume and count",
                action="leave out --since to take candles only, or import Kraken's OHLCVT archive; nothing was stored",
            )


def _at(bars: Bars, t: int) -> str:
    row = np.flatnonzero(bars.t == t)
    return ", ".join(f"{name} {values[row[0]]:.10g}" for name, values in bars.columns()) if len(row) else "no bar"


def _bars(candles: Candles, since_t: int, until_t: int) -> Bars:
    """Return the candles in [since_t, until_t) in which somebody traded.

    Kraken repeats the last close where nobody traded; that is a fill-forward, so such a candle is no bar.
    """
    rows = candles.rows
    rows = rows[(rows[:, 0] >= since_t) & (rows[:, 0] < until_t) & (rows[:, 6] > 0)]
    t, *values = (np.ascontiguousarray(column) for column in rows.T)
    return Bars(t.astype(np.int64), *values)
