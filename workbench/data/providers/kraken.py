"""Kraken's public REST interface, through ccxt's raw endpoints.

`OHLC` gives the last 720 candles of an interval; the newest, still forming, is never taken. Older bars are aggregated from
`Trades`, paged by `since` (nanoseconds) at one call a second: right for weeks, not for years. For years, import Kraken's
downloadable OHLCVT files. As in those files, an hour without trades has no bar (the interface repeats the last close there).

The raw endpoints are used because they give Kraken's numbers as the strings it sends; the unified ones drop the trade count.
The base URL can be injected (`BALLAST_KRAKEN_URL` or the argument): tests run a small loopback server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import numpy as np

from runtime.errors import DataError, EnvironmentFailure
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds, within
from workbench.data.providers import Page, SeriesRef
from workbench.data.universe import Universe, iso, load_universe

VENUE: Final = "kraken-spot"
URL_VARIABLE: Final = "BALLAST_KRAKEN_URL"
ATTEMPTS: Final = 4
"""Calls per request before giving up; waits of 1, 2 and 4 seconds between them."""
NANOSECONDS: Final = 1_000_000_000

Answer = dict[str, object]
Row = list[object]


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
        sleep: Callable[[float], None] = time.sleep,
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
            call_interval_ms: least time between two calls, kept by ccxt.
            sleep: waits before a retry; injected by tests.
            universe: default version v1.
            report: told per page of trades.
        """
        import ccxt

        self._universe = universe or load_universe()
        self._assets = tuple(assets) if assets is not None else self._universe.assets
        self._quote, self._interval, self._since_t = quote, interval, since_t
        self._interval_t = interval_seconds(interval)
        self._sleep, self._report = sleep, report
        self._client = ccxt.kraken({"enableRateLimit": call_interval_ms > 0, "rateLimit": call_interval_ms})
        base = url or os.environ.get(URL_VARIABLE)
        if base:
            self._client.urls["api"] = {"public": base, "private": base}
        self._transient = (ccxt.NetworkError, ccxt.RateLimitExceeded)
        self._refused = ccxt.ExchangeError
        self.calls_n = 0

    def series(self) -> Sequence[SeriesRef]:
        """Return one series per asset that Kraken lists today; an asset it does not list is left out.

        Raises:
            EnvironmentFailure: Kraken cannot be reached.
            DataError: it lists none of the assets.
        """
        listed = {str(_mapping(pair).get("altname", "")) for pair in self._call("AssetPairs", {}).values()}
        wanted = [self._universe.symbol(VENUE, a, self._quote) for a in self._assets]
        refs = [SeriesRef(VENUE, self._interval, s, "OHLC", s) for s in sorted(wanted) if s in listed]
        if not refs:
            raise DataError(
                f"Kraken lists none of {', '.join(wanted[:5])}", expected="at least one pair", action="choose other symbols"
            )
        return refs

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the closed candles of a pair, and before them, when asked for, bars made of trades.

        Raises:
            EnvironmentFailure: Kraken cannot be reached or answers in an unknown form.
            DataError: it has no closed candle of the pair.
        """
        answer = self._call("OHLC", {"pair": ref.locator, "interval": str(self._interval_t // 60)})
        rows = _rows(answer)
        closed_t = int(str(answer.get("last", 0)))
        candles = np.array([[float(str(r[i])) for i in (0, 1, 2, 3, 4, 6, 7)] for r in rows], dtype=np.float64).reshape(-1, 7)
        # Kraken repeats the last close where nobody traded; that is a fill-forward, so such a candle is no bar.
        candles = candles[(candles[:, 0] <= closed_t) & (candles[:, 6] > 0)]
        since_t = self._since_t if since_t is None else since_t
        if len(candles) == 0:
            raise DataError(
                f"Kraken has no closed {self._interval} candle of {ref.locator}",
                expected="some history",
                action="leave the symbol out",
            )
        first_t = int(candles[0, 0])
        if since_t is not None and since_t < first_t:
            candles = np.concatenate((self._from_trades(ref, since_t, first_t), candles))
        yield Page(within(_bars(candles), since_t, until_t), closed_t + self._interval_t)

    def _from_trades(self, ref: SeriesRef, since_t: int, until_t: int) -> np.ndarray:
        """Return bars of the trades in [since_t, until_t), as rows t, open, high, low, close, volume, trades."""
        step = self._interval_t
        begin_t = -(-since_t // step) * step  # a bar cut by the start of the download would be a false bar
        cursor = begin_t * NANOSECONDS - 1
        seen, price, volume, when = set[int](), list[float](), list[float](), list[float]()
        while True:
            answer = self._call("Trades", {"pair": ref.locator, "since": str(cursor), "count": "1000"})
            rows = [r for r in _rows(answer) if int(str(r[6])) not in seen]
            seen = {int(str(r[6])) for r in rows}  # `since` is inclusive on equal times: a page may repeat the last trades
            for r in rows:
                price.append(float(str(r[0])))
                volume.append(float(str(r[1])))
                when.append(float(str(r[2])))
            following = int(str(answer.get("last", cursor)))
            at_t = int(following // NANOSECONDS)
            self._report(f"trades of {ref.locator}", min(at_t, until_t) - begin_t, until_t - begin_t)
            if not rows or at_t >= until_t or following == cursor:
                break
            cursor = following
        return _aggregate(np.array(when), np.array(price), np.array(volume), step, begin_t, until_t)

    def _call(self, endpoint: str, parameters: dict[str, str]) -> Answer:
        """Call a public endpoint, with retries, and return its `result`."""
        method = {"OHLC": "public_get_ohlc", "Trades": "public_get_trades", "AssetPairs": "public_get_assetpairs"}[endpoint]
        failure = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(float(2 ** (attempt - 1)))
            self.calls_n += 1
            try:
                answer = getattr(self._client, method)(parameters)
            except self._transient as e:
                failure = str(e).splitlines()[0][:200]
            except self._refused as e:
                raise EnvironmentFailure(
                    f"Kraken refused {endpoint} {parameters}: {str(e).splitlines()[0][:200]}",
                    expected="an answer",
                    action="leave the symbol out, or try again later",
                ) from e
            else:
                return _mapping(_mapping(answer).get("result"))
        raise EnvironmentFailure(
            f"Kraken's {endpoint} failed {ATTEMPTS} times: {failure}",
            expected="a reachable venue",
            action="check the network, or use --data DIR or --source simulated",
        )


def _mapping(value: object) -> Answer:
    if not isinstance(value, dict):
        raise EnvironmentFailure(
            f"Kraken answered {str(value)[:80]!r}", expected="an object with `result`", action="try again later"
        )
    return cast("Answer", value)


def _rows(answer: Answer) -> list[Row]:
    """Return the rows of the one pair in an answer; its key is Kraken's long name (`XXBTZUSD`), which we do not need."""
    for key, value in answer.items():
        if key != "last" and isinstance(value, list):
            return cast("list[Row]", value)
    raise EnvironmentFailure(f"Kraken answered {str(answer)[:80]!r}", expected="rows of one pair", action="try again later")


def _bars(rows: np.ndarray) -> Bars:
    t, o, h, low, c, v, n = (np.ascontiguousarray(x) for x in rows.T)
    return Bars(t.astype(np.int64), o, h, low, c, v, n)


def _aggregate(
    when: np.ndarray,
    price: np.ndarray,
    volume: np.ndarray,
    step: int,
    begin_t: int,
    until_t: int,
) -> np.ndarray:
    """Return one row per interval with trades: first, highest, lowest, last price, volume, number of trades."""
    inside = (when >= begin_t) & (when < until_t)
    when, price, volume = when[inside], price[inside], volume[inside]
    if len(when) == 0:
        return np.empty((0, 7))
    opened = (when // step).astype(np.int64) * step
    if bool((np.diff(opened) < 0).any()):
        raise EnvironmentFailure(
            f"Kraken's trades are out of order before {iso(int(opened[-1]))}",
            expected="trades in time order",
            action="try again later",
        )
    starts = np.flatnonzero(np.diff(opened, prepend=opened[0] - step))
    ends = np.append(starts[1:], len(opened))
    return np.column_stack(
        (
            opened[starts].astype(np.float64),
            price[starts],
            np.maximum.reduceat(price, starts),
            np.minimum.reduceat(price, starts),
            price[ends - 1],
            np.add.reduceat(volume, starts),
            (ends - starts).astype(np.float64),
        )
    )
