"""The public REST endpoints through ccxt, every answer checked before anything of it is used.

ccxt returns a cut, empty or foreign answer as text and some of Kraken's errors as a bare ExchangeError; here each of these is a
failed call, asked again a bounded number of times. What cannot get better by asking again is not.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeVar, cast

import ccxt
from ccxt.pro.kraken import kraken

from runtime.adapters.kraken.settings import FeedSettings, socket_url
from runtime.adapters.kraken.wire import number
from runtime.errors import DataError, EnvironmentFailure
from runtime.market import ClosedBar

T = TypeVar("T")


class Candles(NamedTuple):
    """Closed candles of one pair, oldest first."""

    bars: list[ClosedBar]
    first_t: int | None
    """Opening time of the first row of the answer; None: the pair has never traded."""
    full: bool
    """Whether the answer was as long as it can be: what lies before its first row is then not known."""


MODES: Final = ("online", "maintenance", "cancel_only", "post_only", "limit_only")
FINAL_ERRORS: Final = ("EQuery:", "EGeneral:Invalid", "EGeneral:Unknown", "EGeneral:Permission", "EGeneral:Temporary lockout")
"""Beginnings of errors that asking again does not mend; a temporary lockout gets longer by it."""
ROW_N: Final = 8
ROWS_MAX: Final = 720


def configure(exchange: kraken, url: str, settings: FeedSettings) -> kraken:
    """Point a ccxt client at the public addresses of a venue and switch its own limiter, retries and pings off."""
    exchange.enableRateLimit = False
    exchange.timeout = int(settings.rest_timeout_s * 1_000)
    exchange.timeout_on_exit = 0  # ccxt would sleep a quarter of a second at each close
    exchange.options["maxRetriesOnFailure"] = 0
    exchange.options["ws"] = {"keepAlive": 0}
    exchange.urls["api"] = {"public": url, "private": url, "ws": {"publicV2": socket_url(url)}}
    return exchange


class Rest:
    """AssetPairs, OHLC, SystemStatus and Time of one venue."""

    def __init__(self, url: str, settings: FeedSettings) -> None:
        """Take the address; nothing is sent yet.

        Raises:
            UsageError: the address is neither Kraken's nor one of this machine.
        """
        self.failed_n = 0
        """Calls that brought nothing usable."""
        self._url, self._settings = url, settings
        self._exchange = configure(kraken(), url, settings)
        self._random = random.Random(settings.seed)  # noqa: S311  pauses, not secrets
        self._pace = asyncio.Lock()
        self._free_s = 0.0

    async def close(self) -> None:
        """Release the connections."""
        await self._exchange.close()

    async def asset_pairs(self) -> Mapping[str, object]:
        """Return every listed pair by its key.

        Raises:
            EnvironmentFailure: the venue did not give them.
        """
        return await self._ask("AssetPairs", {}, lambda result: result)

    async def mode(self) -> str:
        """Return the state of the venue: online, maintenance, cancel_only, post_only.

        Raises:
            EnvironmentFailure: it did not say.
        """
        return await self._ask("SystemStatus", {}, lambda result: _one_of(result.get("status"), MODES))

    async def time_t(self) -> int:
        """Return the venue's clock, whole seconds UTC.

        Raises:
            EnvironmentFailure: it did not say.
        """
        return await self._ask("Time", {}, lambda result: _whole(result.get("unixtime"), "unixtime"))

    async def candles(self, instrument_id: int, altname: str, names: Collection[str], interval_t: int, since_t: int) -> Candles:
        """Return the closed candles of a pair that opened at or after a time, oldest first; a quiet one is all NaN.

        The newest row is always of the interval in progress, whatever `last` says: it is never taken.

        Raises:
            EnvironmentFailure: the venue did not give them.
        """
        query = {"pair": altname, "interval": str(interval_t // 60), "since": str(max(since_t - 1, 0))}

        def read(result: Mapping[str, object]) -> Candles:
            found = _candles(instrument_id, result, names, interval_t)
            return found._replace(bars=[bar for bar in found.bars if bar.open_t >= since_t])

        return await self._ask("OHLC", query, read)

    async def _ask(self, endpoint: str, query: Mapping[str, str], read: Callable[[Mapping[str, object]], T]) -> T:
        said = ""
        for attempt in range(self._settings.rest_attempts_n):
            if attempt:
                await asyncio.sleep(pause_s(self._settings, attempt, self._random))
            await self._paced()
            try:
                return read(_result(await self._exchange.fetch2(endpoint, ["public"], "GET", dict(query))))
            except ccxt.BaseError as e:
                said = str(e)[:200]
                if any(beginning in said for beginning in FINAL_ERRORS):
                    self.failed_n += 1
                    break
            except DataError as e:
                said = e.got
            except (TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
                said = f"an answer that ccxt cannot read ({e!r})"
            self.failed_n += 1
        raise EnvironmentFailure(
            f"{endpoint} {query.get('pair', '')} at {self._url}: {said or 'no answer'}".replace("  ", " "),
            expected="an answer of the venue",
            action="look at the venue's status and at the network; the feed goes on asking",
        )

    async def _paced(self) -> None:
        """Wait until the next call may leave."""
        if self._settings.rest_pace_s <= 0:
            return
        async with self._pace:
            loop = asyncio.get_running_loop()
            if self._free_s > loop.time():
                await asyncio.sleep(self._free_s - loop.time())
            self._free_s = loop.time() + self._settings.rest_pace_s


def pause_s(settings: FeedSettings, attempt: int, random_: random.Random) -> float:
    """Return the pause before an attempt (1, 2, ...): doubled each time up to a bound, the last third of it drawn."""
    whole = min(settings.backoff_s * 2.0 ** min(attempt - 1, 30), settings.backoff_max_s)
    return whole * (2 + random_.random()) / 3


def _result(answer: object) -> Mapping[str, object]:
    if not isinstance(answer, dict):
        raise _wrong(f"{type(answer).__name__} {str(answer)[:60]!r} instead of an object")
    result = answer.get("result")
    if answer.get("error") or not isinstance(result, dict):
        raise _wrong(f"error {answer.get('error')}, result {str(result)[:60]!r}")
    return cast("Mapping[str, object]", result)


def _candles(instrument_id: int, result: Mapping[str, object], names: Collection[str], interval_t: int) -> Candles:
    found = [(key, value) for key, value in result.items() if key != "last"]
    if len(found) != 1 or found[0][0] not in names or not isinstance(found[0][1], list):
        raise _wrong(f"rows of {[key for key, _ in found]}")
    rows = cast("list[object]", found[0][1])
    bars = [_candle(instrument_id, row, interval_t) for row in rows]
    if any(after.open_t - before.open_t != interval_t for before, after in itertools.pairwise(bars)):
        raise _wrong("candles out of order, repeated or not complete")
    last_t = _whole(result.get("last"), "last")
    if bars and last_t >= bars[-1].open_t + interval_t:
        raise _wrong(f"last {last_t} after the candles")
    return Candles([bar for bar in bars[:-1] if bar.open_t <= last_t], bars[0].open_t if bars else None, len(bars) >= ROWS_MAX)


def _candle(instrument_id: int, row: object, interval_t: int) -> ClosedBar:
    if not isinstance(row, list) or len(row) < ROW_N:
        raise _wrong(f"candle {str(row)[:60]}")
    open_t, trades_n = _whole(row[0], "candle time"), _whole(row[7], "trade count")
    opened, high, low, close, volume = (number(text, "candle") for text in (*row[1:5], row[6]))
    if open_t % interval_t or min(opened, high, low, close) <= 0 or trades_n < 0:
        raise _wrong(f"candle {str(row)[:60]}")
    if volume == 0:
        return quiet_bar(instrument_id, open_t, "rest")
    return ClosedBar(instrument_id, open_t, opened, high, low, close, volume, "rest")


def quiet_bar(instrument_id: int, open_t: int, origin: str) -> ClosedBar:
    """Return the bar of an interval in which nobody traded: all NaN, as a dataset has it."""
    return ClosedBar(instrument_id, open_t, math.nan, math.nan, math.nan, math.nan, math.nan, origin)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(f"{name} {str(value)[:40]!r}")
    return value


def _one_of(value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise _wrong(f"status {str(value)[:40]!r}")
    return value


def _wrong(got: str) -> DataError:
    return DataError(got, expected="the venue's form", action="ask again")
