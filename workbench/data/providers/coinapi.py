"""CoinAPI's OHLCV history (REST, `v1`), for any venue it carries.

One call gives up to `page_max` bars and costs one request of the daily quota per hundred. The key goes into one header and
nowhere else. A bar that had not closed by the server's clock is never taken; empty periods are not asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeVar, cast

import numpy as np

from runtime.errors import DataError, UsageError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.address import base_address
from workbench.data.providers.calls import ATTEMPTS, Budget, CallFailure, CallLedger, Calls, Cause, pause
from workbench.data.providers.history import EARLIEST_T, checked, gapless, wanted_symbols
from workbench.data.providers.keys import COINAPI, Key, need_key
from workbench.data.providers.web import TIMEOUT_S, Answer, Web
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

T = TypeVar("T")

BASE_URL: Final = "https://rest.coinapi.io"
URL_VARIABLE: Final = "BALLAST_COINAPI_URL"
PAGE_MAX: Final = 10_000
"""Bars per call: a hundred requests of the quota; the interface allows 100,000."""
PERIODS: Final = {"1m": "1MIN", "5m": "5MIN", "15m": "15MIN", "1h": "1HRS", "4h": "4HRS", "1d": "1DAY"}
NO_DATA: Final = 550


@dataclass(frozen=True, slots=True)
class Quota:
    """What the last answer said about the quota: requests allowed, left, and the last call's cost; None = not said."""

    limit_n: int | None
    remaining_n: int | None
    cost_n: int | None


class CoinApiProvider:
    """Bars of one venue through CoinAPI."""

    name = "coinapi"
    closed = True

    def __init__(
        self,
        *,
        venue: str = "binance-spot",
        assets: Sequence[str] | None = None,
        quote: str = "USD",
        interval: str = "1h",
        since_t: int | None = None,
        url: str | None = None,
        call_interval_ms: int = 100,
        page_max: int = PAGE_MAX,
        attempts: int = ATTEMPTS,
        timeout_s: float = TIMEOUT_S,
        ledger: CallLedger | None = None,
        sleep: Callable[[float], None] = pause,
        clock: Callable[[], float] = time.time,
        universe: Universe | None = None,
        report: Report = silent,
    ) -> None:
        """Take what to fetch; nothing is sent and no key is read yet.

        Args:
            venue: name in the universe; `binance-spot` is CoinAPI's `BINANCE`.
            assets: of the universe; default all it maps.
            quote: quote currency the prices stand for.
            interval: bar length by name.
            since_t: first opening time wanted, seconds UTC; None = the first bar CoinAPI has.
            url: base URL; default the environment's `BALLAST_COINAPI_URL`, else CoinAPI's.
            call_interval_ms: least time between two calls; 0 = no limit.
            page_max: bars per call.
            attempts: calls per request before giving up.
            timeout_s: patience per call.
            ledger: keeps the rate budget and counts the calls; default for this process only.
            sleep: waits before a call; injected by tests.
            clock: seconds UTC, where the server tells no time.
            universe: default version v1.
            report: told per page.

        Raises:
            UsageError: CoinAPI has no such interval, or the universe no such venue.
        """
        self._universe = universe or load_universe()
        self._universe.venue(venue)
        interval_seconds(interval)
        if not venue.removesuffix(SECOND_SOURCE_SUFFIX).endswith("-spot"):
            raise UsageError(
                f"venue {venue} at CoinAPI", expected="a spot venue such as binance-spot", action="choose another venue"
            )
        self._venue, self._interval, self._quote, self._since_t = venue, interval, quote, since_t
        self._assets = tuple(assets) if assets is not None else None
        self._page_max, self._clock, self._report = page_max, clock, report
        self._web = Web(base_address(url, URL_VARIABLE) or BASE_URL, timeout_s)
        budget = Budget("coinapi", 1_000 / call_interval_ms if call_interval_ms else 0.0)
        self._calls = Calls("CoinAPI", budget, ledger, attempts=attempts, sleep=sleep)
        self.ledger = self._calls.ledger
        self._key: Key | None = None
        self.quota = Quota(None, None, None)

    def series(self) -> Sequence[SeriesRef]:
        """Return one series per asset of the universe, former tickers included, that CoinAPI carries for the venue.

        Raises:
            EnvironmentFailure: no key, a refused one, or CoinAPI cannot be reached.
            DataError: it carries none of the assets.
        """
        exchange = self._venue.removesuffix(SECOND_SOURCE_SUFFIX).removesuffix("-spot").upper()
        wanted = wanted_symbols(self._universe, self._venue, self._assets, self._quote)
        ids = {w.symbol: f"{exchange}_SPOT_{w.base}_{w.quote}" for w in wanted}

        def known(answer: Answer) -> frozenset[str]:
            if not isinstance(answer.value, list):
                raise CallFailure(Cause.FORM, f"symbols {str(answer.value)[:60]}")
            return frozenset(str(s.get("symbol_id")) for s in answer.value if isinstance(s, dict))

        listed = self._get("symbols", f"/v1/symbols/{exchange}", {}, known)
        refs = [SeriesRef(self._venue, self._interval, s, "ohlcv", i) for s, i in ids.items() if i in listed]
        if not refs:
            raise DataError(
                f"CoinAPI carries none of {', '.join(list(ids.values())[:5])}",
                expected="at least one symbol",
                action="choose other symbols or another venue",
            )
        return refs

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the closed bars, a page per call.

        Raises:
            EnvironmentFailure: no key, a refused one, CoinAPI cannot be reached or answers in an unknown form.
        """
        step_t = interval_seconds(ref.interval)
        begin_t = since_t if since_t is not None else self._since_t
        at_t = -(-(EARLIEST_T if begin_t is None else begin_t) // step_t) * step_t
        stop_t = None if until_t is None else -(-until_t // step_t) * step_t
        began_t, end_t = at_t, at_t + 1
        while at_t < end_t:
            rows, closed_t = self._page(ref, at_t, stop_t)
            end_t = closed_t if stop_t is None else min(stop_t, closed_t)
            if at_t >= end_t:
                return
            rows = rows[rows[:, 0] < end_t]
            at_t = int(rows[-1, 0]) + step_t if len(rows) else end_t
            self._report(f"bars of {ref.symbol}", at_t - began_t, end_t - began_t)
            yield Page(_bars(rows), at_t)

    def _page(self, ref: SeriesRef, since_t: int, stop_t: int | None) -> tuple[np.ndarray, int]:
        """Return up to a page of bars from `since_t` on, and the time by which all earlier bars have closed.

        A page with a hole, at its beginning too, may be history or an answer that lost rows: it must come twice. So must the empty
        page behind the last bar.
        """
        step_t = interval_seconds(ref.interval)
        query = {"period_id": PERIODS[ref.interval], "time_start": _iso(since_t), "limit": str(self._page_max)}
        if stop_t is not None:
            query["time_end"] = _iso(max(stop_t, since_t + step_t))
        path = f"/v1/ohlcv/{ref.locator}/history"

        def read(answer: Answer) -> tuple[np.ndarray, int]:
            now_t = answer.date_t if answer.date_t is not None else int(self._clock())
            closed_t = now_t // step_t * step_t
            rows = _rows(answer.value, since_t, step_t)
            return rows[rows[:, 0] < closed_t], closed_t

        found = self._get("ohlcv", path, query, read)
        if gapless(found[0], since_t, step_t):
            return found

        def confirmed(answer: Answer) -> tuple[np.ndarray, int]:
            nonlocal found
            before, found = found, read(answer)
            until_t = min(before[1], found[1])  # a bar may have closed between the two answers
            old, new = (rows[rows[:, 0] < until_t] for rows, _ in (before, found))
            if not np.array_equal(old, new) and not gapless(found[0], since_t, step_t):
                raise CallFailure(Cause.FORM, "two answers to one request differ")
            return found

        return self._get("ohlcv", path, query, confirmed)

    def _get(self, endpoint: str, path: str, query: Mapping[str, str], read: Callable[[Answer], T]) -> T:
        if self._key is None:
            self._key = need_key(COINAPI)
        key = self._key.reveal()
        headers = {"X-CoinAPI-Key": key, "Accept": "application/json"}

        def once() -> T:
            try:
                answer = self._web.get(path, query, headers)
            except CallFailure as e:
                # CoinAPI's own status for a symbol without data: no server error, and no use in asking again
                cause = Cause.REQUEST if e.detail.startswith(f"HTTP {NO_DATA}") else e.cause
                raise CallFailure(cause, e.detail.replace(key, "(the key)"), e.retry_after_s) from None
            self.quota = _quota(answer.headers)
            return read(answer)

        return self._calls.call(endpoint, once)


def _quota(headers: Mapping[str, str]) -> Quota:
    def number(name: str) -> int | None:
        text = headers.get(name, "")
        return int(text) if text.isdigit() else None

    return Quota(number("x-ratelimit-limit"), number("x-ratelimit-remaining"), number("x-ratelimit-request-cost"))


def _rows(value: object, since_t: int, step_t: int) -> np.ndarray:
    """Return bars as float64 [N, 7]: t, open, high, low, close, volume, trades; refuse what is not whole, in order, on the grid."""
    if not isinstance(value, list):
        raise CallFailure(Cause.FORM, f"bars {str(value)[:60]}")
    return checked([_row(item) for item in value], 7, since_t, step_t)


def _row(item: object) -> tuple[float, ...]:
    if not isinstance(item, dict):
        raise CallFailure(Cause.FORM, f"bar {str(item)[:60]}")
    names = ("price_open", "price_high", "price_low", "price_close", "volume_traded", "trades_count")
    values = [item.get(name) for name in names]
    if any(isinstance(v, bool) or not isinstance(v, int | float | Decimal) or not math.isfinite(v) for v in values):
        raise CallFailure(Cause.FORM, f"bar {str(item)[:80]}")
    return (float(_time_t(item.get("time_period_start"))), *(float(cast("int", v)) for v in values))


def _time_t(text: object) -> int:
    """Return `2017-08-09T14:00:00.0000000Z` as seconds UTC."""
    whole, _, fraction = text.removesuffix("Z").partition(".") if isinstance(text, str) else ("", "", "")
    try:
        stamp = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError as e:
        raise CallFailure(Cause.FORM, f"time {str(text)[:40]!r}") from e
    if fraction.strip("0"):
        raise CallFailure(Cause.FORM, f"time {str(text)[:40]!r}")
    return int(stamp.timestamp())


def _iso(at_t: int) -> str:
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _bars(rows: np.ndarray) -> Bars:
    t, *values = (np.ascontiguousarray(column) for column in rows.T)
    return Bars(t.astype(np.int64), *values)
