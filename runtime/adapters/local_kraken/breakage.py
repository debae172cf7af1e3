"""What each REST fault does to an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from runtime.adapters.local_kraken.faults import Fault
from runtime.adapters.local_kraken.limits import RateLimit

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html"
HTML: Final = (
    b"<!DOCTYPE html><html><head><title>api | Error</title></head><body>Web server is returning an unknown error</body></html>"
)
OVERLAP_N: Final = 10
"""Rows of the page before that an overlapping page begins with."""

PAGES_KEPT_N: Final = 256
SKEW_T: Final = 90
"""Seconds that a skewed Time is ahead."""
_UNIXTIME: Final = re.compile(rb'"unixtime":(\d+)')

STATUS: Final = {
    Fault.HTTP_429: 429,
    Fault.HTTP_500: 500,
    Fault.HTTP_502: 502,
    Fault.HTTP_503: 503,
    Fault.HTTP_520: 520,
}
ERRORS: Final = {
    Fault.RATE_LIMIT: "EGeneral:Too many requests",
    Fault.UNAVAILABLE: "EService:Unavailable",
    Fault.BUSY: "EService:Busy",
    Fault.INTERNAL: "EGeneral:Internal error",
    Fault.TIMEOUT: "EService:Timeout",
}


class Delivery(StrEnum):
    """How an answer leaves the server."""

    WHOLE = "whole"
    STALL = "stall"
    DROP_BEFORE_HEADERS = "drop-before-headers"
    DROP_AFTER_HEADERS = "drop-after-headers"


DELIVERIES: Final = {
    Fault.STALL: Delivery.STALL,
    Fault.DROP_BEFORE_HEADERS: Delivery.DROP_BEFORE_HEADERS,
    Fault.DROP_AFTER_HEADERS: Delivery.DROP_AFTER_HEADERS,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `body` is what a whole delivery would carry."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    delivery: Delivery = Delivery.WHOLE


def error_answer(error: str) -> Answer:
    """Return the venue's own error: HTTP 200, `{"error":[...]}`."""
    return Answer(200, json.dumps({"error": [error]}, separators=(",", ":")).encode())


class Breakage:
    """Breaks answers. It remembers the last page of each series, which a duplicate or overlapping page repeats."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, str], bytes] = {}

    @staticmethod
    def refused(limit: RateLimit) -> Answer:
        """Return the answer to a call over the rate limit."""
        if limit.rule is not None and limit.rule.answer == "http":
            return Answer(429, HTML, HTML_TYPE)
        return error_answer(ERRORS[Fault.RATE_LIMIT])

    def broken(self, fault: Fault | None, endpoint: str, query: Mapping[str, str], answer: Answer) -> Answer:
        """Return the answer as a fault leaves it; whole without one."""
        place = (endpoint, query.get("pair", ""))
        before = self._pages.get(place)
        if len(self._pages) >= PAGES_KEPT_N:
            self._pages.clear()
        self._pages[place] = answer.body
        if fault is None:
            return answer
        if fault in DELIVERIES:
            return replace(answer, delivery=DELIVERIES[fault])
        if fault in STATUS:
            return Answer(STATUS[fault], HTML, HTML_TYPE)
        if fault in ERRORS:
            return error_answer(ERRORS[fault])
        return self._spoilt(fault, before, answer)

    @staticmethod
    def _spoilt(fault: Fault, before: bytes | None, answer: Answer) -> Answer:
        """Return an answer whose content is wrong."""
        if fault is Fault.EMPTY_BODY:
            return replace(answer, body=b"")
        if fault is Fault.HTML_BODY:
            return Answer(200, HTML, HTML_TYPE)
        if fault is Fault.TRUNCATED_JSON:
            return replace(answer, body=answer.body[: len(answer.body) * 2 // 3])
        if fault is Fault.DUPLICATE_PAGE:
            return replace(answer, body=before or answer.body)
        if fault is Fault.TIME_SKEW:
            ahead = _UNIXTIME.sub(lambda found: b'"unixtime":%d' % (int(found[1]) + SKEW_T), answer.body)
            return replace(answer, body=ahead)
        return replace(
            answer, body=json.dumps(_rearranged(fault, before, json.loads(answer.body)), separators=(",", ":")).encode()
        )


def _rearranged(fault: Fault, before: bytes | None, content: dict[str, object]) -> dict[str, object]:
    """Return an answer with rows overlapping, out of order or of wrong types; one without rows only gets wrong types."""
    result = content.get("result")
    key = next((k for k, v in result.items() if isinstance(v, list)), None) if isinstance(result, dict) else None
    if not isinstance(result, dict) or key is None:
        return content | {"result": "not what it should be"} if fault is Fault.WRONG_TYPES else content
    rows = result[key]
    if fault is Fault.WRONG_TYPES:
        rows = [[None, *row[1:-1], {"value": row[-1]}] for row in rows] or "no rows"
    elif fault is Fault.OUT_OF_ORDER:
        rows = [*rows[len(rows) // 2 :], *rows[: len(rows) // 2]]
    elif before:
        earlier = json.loads(before).get("result", {}).get(key, [])
        rows = [*[row for row in earlier[-OVERLAP_N:] if row not in rows], *rows]
    return content | {"result": result | {key: rows}}
