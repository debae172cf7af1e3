"""Messages of WebSocket v2 as values. Numbers keep their decimal text until the place that knows their scale reads them."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Final, NamedTuple, cast

from runtime.adapters.order_book import Level, scaled
from runtime.errors import DataError

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TEXT_MAX: Final = 40
"""A number of the venue is no longer; a longer one would be a way to keep the parser busy."""
_FRACTION: Final = re.compile(r"\.(\d+)")

Row = dict[str, object]


class Frame(NamedTuple):
    """One message. Of a data message `channel`, `kind` and `rows`; of an answer `method`, and what it says."""

    channel: str = ""
    kind: str = ""
    rows: tuple[Row, ...] = ()
    at_ms: int = 0
    """The venue's time in the message's head; 0 where there is none."""
    method: str = ""
    success: bool = True
    error: str = ""
    symbol: str = ""
    answered: str = ""
    """Channel of a subscription that was accepted."""
    req_id: int = -1


def read(text: str) -> Frame:
    """Return the message of one text frame.

    Raises:
        DataError: it is no JSON object of this interface.
    """
    try:
        body = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as e:
        raise _wrong(f"a frame that is no JSON: {text[:60]!r}") from e
    if not isinstance(body, dict):
        raise _wrong(f"a frame that is no object: {text[:60]!r}")
    channel = body.get("channel")
    if isinstance(channel, str):
        data = body.get("data", [])
        rows = tuple(row for row in data if isinstance(row, dict)) if isinstance(data, list) else ()
        head = body.get("timestamp")
        return Frame(channel, str(body.get("type", "")), rows, moment_ms(head) if head is not None else 0)
    return _answer(body)


def _answer(body: dict[str, object]) -> Frame:
    method = body.get("method")
    if not isinstance(method, str):
        error = body.get("Error") or body.get("error") or f"a message without channel and method: {str(body)[:60]}"
        return Frame(method="error", success=False, error=str(error))
    result = body.get("result")
    said = cast("Row", result) if isinstance(result, dict) else {}
    req_id = body.get("req_id")
    time_out = body.get("time_out")
    return Frame(
        method=method,
        success=body.get("success") is not False,
        error=str(body.get("error", "")),
        symbol=str(said.get("symbol", body.get("symbol", ""))),
        answered=str(said.get("channel", "")),
        req_id=int(req_id) if isinstance(req_id, str) and req_id.isdecimal() else -1,
        at_ms=moment_ms(time_out) if method == "pong" and time_out is not None else 0,
    )


def text_of(row: Row, name: str) -> str:
    """Return a text field.

    Raises:
        DataError: it is missing or no text.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise _wrong(f"{name} {str(value)[:40]!r}")
    return value


def number_of(row: Row, name: str) -> float:
    """Return a number as the nearest double of its decimal text, as a dataset's floats are read from a file's text.

    Raises:
        DataError: it is missing, negative or no finite number.
    """
    return number(row.get(name), name)


def number(value: object, name: str) -> float:
    """Return the nearest double of a decimal text.

    Raises:
        DataError: it is no text of a finite number that is not negative.
    """
    if isinstance(value, str) and len(value) <= _TEXT_MAX and _NUMBER.fullmatch(value):
        result = float(value)
        if math.isfinite(result):
            return result
    raise _wrong(f"{name} {str(value)[:40]!r}")


def units(value: object, decimals: int) -> int:
    """Return the decimal text of a price or quantity as an integer at the pair's decimals.

    Raises:
        DataError: it is no such number, or has more decimals than the pair.
    """
    if not isinstance(value, str) or len(value) > _TEXT_MAX or not _NUMBER.fullmatch(value):
        raise _wrong(f"the number {str(value)[:40]!r}")
    whole, _, part = value.partition(".")
    if len(part) == decimals and part.isdecimal():  # the usual form: every decimal of the pair is written
        return int(whole + part)
    return scaled(value, decimals)


def levels(row: Row, side: str, price_decimals: int, lot_decimals: int) -> list[Level]:
    """Return one side of a book message.

    Raises:
        DataError: it is missing, or a level has another form.
    """
    rows = row.get(side)
    if not isinstance(rows, list):
        raise _wrong(f"{side} {str(rows)[:40]!r}")
    try:
        return [Level(units(level["price"], price_decimals), units(level["qty"], lot_decimals)) for level in rows]
    except (TypeError, KeyError) as e:
        raise _wrong(f"a level of {str(rows)[:60]!r}") from e


def moment_ms(value: object) -> int:
    """Return a time such as `2026-11-23T00:00:00.123456789Z` in whole milliseconds.

    Raises:
        DataError: it is no such time.
    """
    if isinstance(value, str) and len(value) <= _TEXT_MAX and value.endswith("Z"):
        try:
            seconds = datetime.fromisoformat(_FRACTION.sub("", value))
        except ValueError:
            pass
        else:
            found = _FRACTION.search(value)
            return int(seconds.timestamp()) * 1_000 + (int(found[1][:3].ljust(3, "0")) if found else 0)
    raise _wrong(f"the time {str(value)[:40]!r}")


def _wrong(got: str) -> DataError:
    return DataError(got, expected="a message of WebSocket v2", action="subscribe again; report it if it stays")
