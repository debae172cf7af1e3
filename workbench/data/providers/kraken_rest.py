"""Kraken's public REST interface: its endpoints as checked values, every call through `Calls`.

Numbers are read from the decimal text Kraken sends. An answer of another form (a wrong type, a row out of order, JSON cut short)
counts as a failed call and is asked for again; nothing of it is used.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import Final, NamedTuple, TypeVar, cast

import numpy as np

from workbench.data.providers.calls import CallFailure, Calls, Cause
from workbench.data.providers.trades import LOT_E, SECOND_NS, Trade, TradeOrderError
from workbench.data.providers.web import TIMEOUT_S, Web

T = TypeVar("T")

BASE_URL: Final = "https://api.kraken.com"
TRADES_MAX: Final = 1_000
"""Rows of one page of trades."""
CURSOR_NS_MAX: Final = 1_000_000
"""A page's cursor is the time of its last trade; the row's own time has fewer digits."""

NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
"""What counts as a number; Python alone would also take `1_000`, blanks and the digits of other scripts."""
WHOLE_MAX: Final = 2**63
"""Times in nanoseconds and quantities in lots are below it; what is not would fit in no bar."""

ERROR_CAUSES: Final[tuple[tuple[str, Cause], ...]] = (
    ("EAPI:Rate limit", Cause.LIMIT),
    ("EGeneral:Too many requests", Cause.LIMIT),
    ("EService:Throttled", Cause.LIMIT),
    ("EGeneral:Temporary lockout", Cause.CREDENTIALS),
    ("EAPI:Invalid key", Cause.CREDENTIALS),
    ("EGeneral:Permission denied", Cause.CREDENTIALS),
    ("EService:Unavailable", Cause.MAINTENANCE),
    ("EService", Cause.SERVER),
    ("EGeneral:Internal error", Cause.SERVER),
)
"""What Kraken's errors mean, by their beginning; any other refuses the request."""


class Candles(NamedTuple):
    """The last candles of a pair.

    Attributes:
        rows: float64 [N, 7]: opening time, open, high, low, close, volume, number of trades; quiet candles included.
        first_t: first opening time the answer reaches back to.
        end_t: every candle that opened before it has closed; later ones are left out of `rows`.
    """

    rows: np.ndarray
    first_t: int
    end_t: int


class TradePage(NamedTuple):
    """Trades of one page, and the cursor Kraken gives for the next one, nanoseconds."""

    trades: tuple[Trade, ...]
    last_ns: int


class KrakenRest:
    """The public endpoints."""

    def __init__(self, url: str, calls: Calls, timeout_s: float = TIMEOUT_S, trades_max: int = TRADES_MAX) -> None:
        """Take the base address; nothing is sent yet."""
        self._web, self._calls = Web(url, timeout_s), calls
        self._trades_max = max(2, trades_max)  # each page repeats a trade: one of a single row would show nothing new
        self._names: Mapping[str, frozenset[str]] | None = None

    def check_status(self) -> None:
        """Refuse to work while Kraken is in maintenance.

        Raises:
            EnvironmentFailure: it still is after the last attempt, or cannot be reached.
        """

        def online(result: Mapping[str, object]) -> None:
            status = result.get("status")
            if not isinstance(status, str):
                raise _form(f"status {status!r}")
            if status == "maintenance":
                raise CallFailure(Cause.MAINTENANCE, "its system status is maintenance")

        self._call("SystemStatus", {}, online)

    def server_time_t(self) -> int:
        """Return Kraken's clock, seconds UTC."""
        return self._call("Time", {}, lambda result: _integer(result.get("unixtime"), "unixtime"))

    def pairs(self) -> frozenset[str]:
        """Return the names (`XBTUSD`) of the pairs listed today."""
        self._names = self._call("AssetPairs", {}, _pair_names)
        return frozenset(self._names)

    def candles(self, pair: str, step_t: int) -> Candles:
        """Return the closed candles among the last 720."""
        query, names = {"pair": pair, "interval": str(step_t // 60)}, self._names_of(pair)
        return self._call("OHLC", query, lambda result: _candles(result, step_t, names))

    def trades(self, pair: str, since_ns: int, accept: Callable[[TradePage], T]) -> T:
        """Fetch a page of trades and return what `accept` makes of it; one it refuses is asked for again.

        Args:
            pair: such as `XBTUSD`.
            since_ns: only later trades.
            accept: raises `TradeOrderError` when the page does not continue the last one.
        """
        names = self._names_of(pair)

        def checked(result: Mapping[str, object]) -> T:
            try:
                return accept(_trades(result, names))
            except TradeOrderError as e:
                raise _form(str(e)) from e

        return self._call("Trades", {"pair": pair, "since": str(since_ns), "count": str(self._trades_max)}, checked)

    def _names_of(self, pair: str) -> frozenset[str]:
        """Return the names under which rows of the pair come; asks for them once."""
        if self._names is None:
            self.pairs()
        return (self._names or {}).get(pair, frozenset({pair}))

    def _call(self, endpoint: str, query: Mapping[str, str], read: Callable[[Mapping[str, object]], T]) -> T:
        def once() -> T:
            return read(_result(self._web.get(f"/0/public/{endpoint}", query).value))

        return self._calls.call(endpoint, once)


def _result(value: object) -> Mapping[str, object]:
    """Return the `result` of an answer, or raise the error it holds."""
    if not isinstance(value, dict) or not isinstance(value.get("error"), list):
        raise _form(f"{str(value)[:60]!r} without a list of errors")
    errors = [str(e) for e in value["error"]]
    if errors:
        cause = next((c for beginning, c in ERROR_CAUSES if errors[0].startswith(beginning)), Cause.REQUEST)
        raise CallFailure(cause, ", ".join(errors)[:200])
    result = value.get("result")
    if not isinstance(result, dict):
        raise _form(f"result {str(result)[:60]!r}")
    return cast("dict[str, object]", result)


def _form(got: str) -> CallFailure:
    return CallFailure(Cause.FORM, got)


def _pair_names(result: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """Return every name of each pair (key `XXBTZUSD`, altname `XBTUSD`, wsname `XBT/USD`) by its altname."""
    found: dict[str, frozenset[str]] = {}
    for key, pair in result.items():
        name, wsname = (pair.get("altname"), pair.get("wsname")) if isinstance(pair, dict) else (None, None)
        if not isinstance(name, str):
            raise _form(f"pair {str(pair)[:60]}")
        found[name] = frozenset({key, name, wsname} if isinstance(wsname, str) else {key, name})
    return found


def _rows(result: Mapping[str, object], names: Collection[str]) -> Sequence[object]:
    """Return the rows of the one pair in an answer, which must come under one of the pair's names."""
    found = [(key, value) for key, value in result.items() if key != "last"]
    if len(found) != 1:
        raise _form(f"{len(found)} pairs instead of rows of one")
    key, value = found[0]
    if key not in names:
        raise _form(f"rows of {key[:40]} instead of {' or '.join(sorted(names))}")
    if not isinstance(value, list):
        raise _form(f"rows {str(value)[:60]}")
    return value


def _candles(result: Mapping[str, object], step_t: int, names: Collection[str]) -> Candles:
    last_t = _integer(result.get("last"), "last")
    rows = [_candle(row) for row in _rows(result, names)]
    opened = [int(row[0]) for row in rows]
    # Kraken sends a candle for every interval, traded or not: a hole is a lost row.
    if any(t % step_t for t in opened) or any(b - a != step_t for a, b in itertools.pairwise(opened)):
        raise _form("candles off their grid, out of order or not complete")
    if last_t % step_t or (opened and last_t > opened[-1]):
        raise _form(f"last {last_t} after the candles")
    first_t = opened[0] if opened else last_t + step_t
    # The newest row is always of the interval in progress, whatever `last` says: it is never taken.
    end_t = min(last_t + step_t, opened[-1]) if opened else first_t
    closed = [row for row in rows if row[0] < end_t]
    return Candles(np.array(closed, dtype=np.float64).reshape(-1, 7), first_t, end_t)


def _candle(row: object) -> tuple[float, ...]:
    if not isinstance(row, list) or len(row) < 8:
        raise _form(f"candle {str(row)[:60]}")
    t, count = _integer(row[0], "candle time"), _integer(row[7], "trade count")
    values = [_number(text, "candle") for text in (*row[1:5], row[6])]
    if min(values[:4]) <= 0 or values[4] < 0 or count < 0:
        raise _form(f"candle of {t} with a price, volume or count below zero")
    return (float(t), *values, float(count))


def _trades(result: Mapping[str, object], names: Collection[str]) -> TradePage:
    cursor = result.get("last")
    if not isinstance(cursor, str) or not cursor.isdigit():
        raise _form(f"last {cursor!r}")
    trades = tuple(_trade(row) for row in _rows(result, names))
    if trades and abs(int(cursor) - trades[-1].time_ns) > CURSOR_NS_MAX:
        raise _form(f"last {cursor} is not the time of the last trade")
    return TradePage(trades, int(cursor))


def _trade(row: object) -> Trade:
    """Return price, volume, time and id of `[price, volume, time, side, type, misc, id]`."""
    if not isinstance(row, list) or len(row) < 7:
        raise _form(f"trade {str(row)[:60]}")
    price = _number(row[0], "price")
    quantity_e8, time_ns = _whole(row[1], LOT_E, "volume", text=True), _whole(row[2], SECOND_NS, "trade time")
    if price <= 0 or quantity_e8 < 0 or time_ns <= 0:
        raise _form(f"trade {str(row)[:60]}")
    return Trade(_integer(row[6], "trade id"), time_ns, price, quantity_e8)


def _integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _form(f"{name} {str(value)[:40]!r}")
    return value


def _number(text: object, name: str) -> float:
    """Return a decimal text as the nearest float."""
    try:
        value = float(text) if isinstance(text, str) and NUMBER.fullmatch(text) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _form(f"{name} {str(text)[:40]!r}")
    return value


def _whole(value: object, scale: int, name: str, *, text: bool = False) -> int:
    """Return a decimal number times `scale`, which must be whole.

    Args:
        value: text where `text`, else a JSON number.
        scale: power of ten.
        name: for messages.
        text: Kraken sends it as text.
    """
    if isinstance(value, bool) or not isinstance(value, str if text else int | Decimal) or not NUMBER.fullmatch(str(value)):
        raise _form(f"{name} {str(value)[:40]!r}")
    try:
        scaled = Decimal(cast("str | int | Decimal", value)) * scale
    except DecimalException as e:  # not a number, or one beyond all bounds
        raise _form(f"{name} {str(value)[:40]!r}") from e
    if not scaled.is_finite() or abs(scaled) >= WHOLE_MAX or scaled != scaled.to_integral_value():
        raise _form(f"{name} {str(value)[:40]!r}")
    return int(scaled)
