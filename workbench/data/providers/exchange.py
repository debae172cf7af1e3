"""Any exchange that ccxt knows, as the provider of deep history.

Candles come through ccxt's `fetch_ohlcv`, oldest first, each page after the last one. ccxt's own limiter is off: calls wait in our
budget, at the rate ccxt states for the exchange. A candle that had not closed by the exchange's clock is never taken.

ccxt hides what it cannot read (a body that is no JSON becomes an empty list, a wrong type becomes None), so the raw answer and every
value are checked here, and an empty page counts only when it comes twice.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np

from runtime.errors import DataError, UsageError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.address import base_address
from workbench.data.providers.bounded import BoundedAdapter
from workbench.data.providers.calls import ATTEMPTS, Budget, CallFailure, CallLedger, Calls, Cause, pause
from workbench.data.providers.history import EARLIEST_T, checked, gapless, wanted_symbols
from workbench.data.providers.web import TIMEOUT_S, failure_of, is_transport, no_credentials, response_of, status_failure
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

T = TypeVar("T")

URL_VARIABLE: Final = "BALLAST_CCXT_URL"
PAGE_MAX: Final = 500
"""Candles asked for at once where ccxt does not state the exchange's limit."""
REPEATS_CLOSES: Final = frozenset({"kraken"})
"""Exchanges that repeat the last close where nobody traded: a fill-forward, so such a candle is no bar."""


class ExchangeProvider:
    """Candles of one exchange for every universe asset it lists."""

    closed = True

    def __init__(
        self,
        exchange: str,
        *,
        venue: str | None = None,
        assets: Sequence[str] | None = None,
        quote: str = "USD",
        interval: str = "1h",
        since_t: int | None = None,
        url: str | None = None,
        call_interval_ms: int | None = None,
        page_max: int | None = None,
        attempts: int = ATTEMPTS,
        timeout_s: float = TIMEOUT_S,
        ledger: CallLedger | None = None,
        sleep: Callable[[float], None] = pause,
        clock: Callable[[], float] = time.time,
        universe: Universe | None = None,
        report: Report = silent,
    ) -> None:
        """Take what to fetch; nothing is sent yet.

        Args:
            exchange: its name in ccxt, such as `binance`.
            venue: its name in the universe; default `<exchange>-spot`.
            assets: of the universe; default all it maps.
            quote: quote currency the prices stand for.
            interval: bar length by name.
            since_t: first opening time wanted, seconds UTC; None = the exchange's first candle.
            url: replaces scheme and host of every address; default the environment's `BALLAST_CCXT_URL`.
            call_interval_ms: least time between two calls; default what ccxt states; 0 = no limit.
            page_max: candles per call; default what ccxt states.
            attempts: calls per request before giving up.
            timeout_s: patience per call.
            ledger: keeps the rate budget and counts the calls; default for this process only.
            sleep: waits before a call; injected by tests.
            clock: seconds UTC, where the exchange tells no time.
            universe: default version v1.
            report: told per page.

        Raises:
            UsageError: ccxt has no such exchange, or it gives no candles of this interval, or the universe does not map it.
        """
        self._universe = universe or load_universe()
        self._venue = _venue(exchange, venue, self._universe)
        self._client = _client(exchange, interval, timeout_s, base_address(url, URL_VARIABLE))
        self.name = f"ccxt-{exchange}"
        self._id, self._interval, self._quote, self._since_t = exchange, interval, quote, since_t
        self._assets = tuple(assets) if assets is not None else None
        self._clock, self._report = clock, report
        pause_ms = float(self._client.rateLimit) if call_interval_ms is None else float(call_interval_ms)
        self._calls = Calls(
            str(self._client.name or exchange),
            Budget(self.name, 1_000 / pause_ms if pause_ms else 0.0),
            ledger,
            attempts=attempts,
            sleep=sleep,
        )
        self.ledger = self._calls.ledger
        self._known: dict[str, object] | None = None
        self._one = threading.Lock()  # ccxt remembers its last answer in one field, whichever thread asked
        self._page_max = page_max or _page_max(self._client)

    def series(self) -> Sequence[SeriesRef]:
        """Return one series per asset of the universe, former tickers included, that the exchange lists in the quote.

        Raises:
            EnvironmentFailure: the exchange cannot be reached.
            DataError: it lists none of the assets.
        """
        markets = self._markets()
        wanted = {
            w.symbol: f"{w.base}/{w.quote}" for w in wanted_symbols(self._universe, self._venue, self._assets, self._quote)
        }
        refs = [SeriesRef(self._venue, self._interval, s, "fetch_ohlcv", m) for s, m in wanted.items() if m in markets]
        if not refs:
            raise DataError(
                f"{self._client.name} lists none of {', '.join(list(wanted)[:5])}",
                expected="at least one market",
                action="choose other symbols or another exchange",
            )
        return refs

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the closed candles, a page per call.

        Raises:
            EnvironmentFailure: the exchange cannot be reached or answers in an unknown form.
        """
        self._markets()
        step_t = interval_seconds(ref.interval)
        begin_t = since_t if since_t is not None else self._since_t
        at_t = -(-(EARLIEST_T if begin_t is None else begin_t) // step_t) * step_t
        end_t = self._now_t() // step_t * step_t  # candles that opened before it have closed
        if until_t is not None:
            end_t = min(end_t, -(-until_t // step_t) * step_t)
        began_t = at_t
        while at_t < end_t:
            rows = self._page(ref.locator, ref.interval, at_t, end_t)
            window_t = at_t + self._page_max * step_t
            # An empty window says nothing about later ones: some exchanges do not go on to the next candle there is.
            at_t = min(end_t, int(rows[-1, 0]) + step_t if len(rows) else window_t)
            self._report(f"candles of {ref.symbol}", at_t - began_t, end_t - began_t)
            yield Page(_bars(rows, drop_quiet=self._id in REPEATS_CLOSES), at_t)

    def _page(self, market: str, interval: str, since_t: int, end_t: int) -> np.ndarray:
        """Return up to a page of closed candles from `since_t` on, rows t, open, high, low, close, volume.

        A page with a hole, at its beginning too, may be the exchange's history or an answer that lost rows: it must come twice.
        """
        step_t = interval_seconds(interval)

        def once() -> np.ndarray:
            rows = self._client.fetch_ohlcv(market, interval, since=since_t * 1_000, limit=self._page_max)
            if self._client.last_json_response is None:
                raise CallFailure(Cause.FORM, "no complete JSON")
            if self._id == "kraken":
                _same_pair(self._client.last_json_response, str(self._client.market(market)["id"]))
            found = _checked(rows, since_t, step_t)
            return found[found[:, 0] < end_t]

        rows = self._call("fetch_ohlcv", once)
        if gapless(rows, since_t, step_t):
            return rows

        def confirmed() -> np.ndarray:
            nonlocal rows
            before, rows = rows, once()
            if not gapless(rows, since_t, step_t) and not np.array_equal(before, rows):
                raise CallFailure(Cause.FORM, "two answers to one request differ")
            return rows

        return self._call("fetch_ohlcv", confirmed)

    def _markets(self) -> dict[str, object]:
        def once() -> dict[str, object]:
            found = self._client.load_markets(True)
            if not found:
                raise CallFailure(Cause.FORM, "no markets")
            return cast("dict[str, object]", found)

        if self._known is None:
            self._known = self._call("load_markets", once)
        return self._known

    def _now_t(self) -> int:
        if not self._client.has.get("fetchTime"):
            return int(self._clock())

        def once() -> int:
            now_ms = self._client.fetch_time()
            if not isinstance(now_ms, int):
                raise CallFailure(Cause.FORM, f"time {str(now_ms)[:40]!r}")
            return now_ms // 1_000

        return self._call("fetch_time", once)

    def _call(self, endpoint: str, fn: Callable[[], T]) -> T:
        import ccxt

        def once() -> T:
            try:
                with self._one:
                    return fn()
            except ccxt.BaseError as e:
                raise _failure(e) from e
            except (AttributeError, KeyError, TypeError, ValueError, IndexError) as e:
                # ccxt takes the documented form for granted; in an answer of another form it stumbles in its own ways
                raise CallFailure(Cause.FORM, f"{type(e).__name__} while the answer was read") from e

        return self._calls.call(endpoint, once)


def _venue(exchange: str, venue: str | None, universe: Universe) -> str:
    """Return the exchange's name in the universe."""
    name = venue or f"{exchange}-spot"
    if name.removesuffix(SECOND_SOURCE_SUFFIX) not in universe.venues:
        raise UsageError(
            f"ccxt:{exchange}: universe {universe.version} has no venue {name!r}",
            expected="an exchange it maps: " + ", ".join(sorted(v for v in universe.venues if v != "simulated")),
            action="add the venue's symbols in a new universe version, or name the mapped venue with --venue",
        )
    return name


def _client(exchange: str, interval: str, timeout_s: float, url: str | None) -> Any:
    """Return ccxt's client of an exchange, its limiter off, its addresses moved to `url`."""
    import ccxt

    if exchange not in ccxt.exchanges:
        raise UsageError(
            f"ccxt knows no exchange {exchange!r}",
            expected="a name such as binance or coinbase",
            action="look it up in ccxt.exchanges",
        )
    client = getattr(ccxt, exchange)(
        {
            "enableRateLimit": False,
            "timeout": int(timeout_s * 1_000),
            "enableLastJsonResponse": True,
            "requests_trust_env": True,
        }
    )
    if not client.has.get("fetchOHLCV") or interval not in (client.timeframes or {}):
        raise UsageError(
            f"{client.name} gives no {interval} candles",
            expected="an interval of " + ", ".join(client.timeframes or {}),
            action="choose another interval or exchange",
        )
    client.session.auth = no_credentials
    for scheme in ("http://", "https://"):
        client.session.mount(scheme, BoundedAdapter(timeout_s))
    client.has["fetchCurrencies"] = False  # not needed for candles; one call less
    if isinstance(client.options.get("fetchMarkets"), dict) and "types" in client.options["fetchMarkets"]:
        client.options["fetchMarkets"]["types"] = ["spot"]
    if url:
        client.urls["api"] = _moved(client.urls["api"], url.rstrip("/"))
    return client


def _moved(value: object, base: str) -> object:
    """Return addresses with their scheme and host replaced."""
    if isinstance(value, dict):
        return {k: _moved(v, base) for k, v in value.items()}
    return base + urlsplit(value).path if isinstance(value, str) else value


def _page_max(client: Any) -> int:
    spot = (client.features or {}).get("spot") or {}
    limit = (spot.get("fetchOHLCV") or {}).get("limit")
    return int(limit) if isinstance(limit, int) and limit > 0 else PAGE_MAX


def _checked(rows: object, since_t: int, step_t: int) -> np.ndarray:
    """Return candles as float64 [N, 6], or refuse what is not whole, in order and on the grid."""
    if not isinstance(rows, list):
        raise CallFailure(Cause.FORM, f"candles {str(rows)[:60]}")
    for row in rows:
        if not isinstance(row, list) or len(row) < 6 or not all(_is_number(v) for v in row[:6]) or not isinstance(row[0], int):
            raise CallFailure(Cause.FORM, f"candle {str(row)[:80]}")
    return checked([(row[0] / 1_000, *row[1:6]) for row in rows], 6, since_t, step_t)


def _same_pair(answer: object, name: str) -> None:
    """Refuse Kraken's rows of another pair, in which ccxt sees no candles."""
    result = answer.get("result") if isinstance(answer, dict) else None
    keys = [key for key in result if key != "last"] if isinstance(result, dict) else []
    if keys != [name]:
        raise CallFailure(Cause.FORM, f"rows of {', '.join(map(str, keys))[:60] or 'nothing'} instead of {name}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bars(rows: np.ndarray, *, drop_quiet: bool) -> Bars:
    kept = rows[rows[:, 5] > 0] if drop_quiet else rows
    t, o, h, low, c, v = (np.ascontiguousarray(column) for column in kept.T)
    return Bars(t.astype(np.int64), o, h, low, c, v)


def _failure(error: BaseException) -> CallFailure:
    """Return what a ccxt exception stands for: the HTTP status or the broken connection behind it, else ccxt's own kind."""
    import ccxt

    response = response_of(error)
    if response is not None and response.status_code >= 400:
        return status_failure(response)
    words = " ".join(str(error).split())[:160]
    kinds: tuple[tuple[type[BaseException], Cause], ...] = (
        (ccxt.AuthenticationError, Cause.CREDENTIALS),
        (ccxt.OnMaintenance, Cause.MAINTENANCE),
        (ccxt.RateLimitExceeded, Cause.LIMIT),
        (ccxt.DDoSProtection, Cause.LIMIT),
        (ccxt.BadResponse, Cause.FORM),
        (ccxt.ExchangeNotAvailable, Cause.SERVER),
    )
    for kind, cause in kinds:
        if isinstance(error, kind):
            return CallFailure(cause, words)
    # ccxt calls a wrong certificate or address an error of the exchange; what `requests` said is behind it
    if isinstance(error, ccxt.NetworkError) or (response is None and is_transport(error)):
        return failure_of(error)
    return CallFailure(Cause.REQUEST, words)
