"""One GET request for JSON, its failure named by cause.

Numbers keep the digits the server sent: fractions arrive as `Decimal`. The session keeps connections open, follows the proxy
settings of the environment, and never sends credentials it finds in files of this machine.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlencode

import requests

from workbench.data.providers.bounded import BoundedAdapter
from workbench.data.providers.calls import CallFailure, Cause

TIMEOUT_S: Final = 30.0
STATUS_CAUSES: Final = {
    401: Cause.CREDENTIALS,
    403: Cause.CREDENTIALS,
    404: Cause.ADDRESS,
    408: Cause.TIMEOUT,
    429: Cause.LIMIT,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent.

    Attributes:
        value: parsed JSON; fractions as `Decimal`.
        headers: by lower-case name.
    """

    value: object
    headers: Mapping[str, str]

    @property
    def date_t(self) -> int | None:
        """Return the server's clock, seconds UTC; None where it does not tell."""
        return _http_date_t(self.headers.get("date", ""))


class Web:
    """Requests to one server."""

    def __init__(self, base: str, timeout_s: float = TIMEOUT_S) -> None:
        """Take the address; nothing is sent yet."""
        self._base, self._timeout_s = base.rstrip("/"), timeout_s
        self._session: requests.Session | None = None

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to one GET.

        Args:
            path: below the base address, beginning with `/`.
            query: parameters.
            headers: such as a key; they appear in no message.

        Raises:
            CallFailure: no answer, an error status, or no JSON.
        """
        if self._session is None:
            self._session = requests.Session()
            self._session.auth = no_credentials
            for scheme in ("http://", "https://"):
                self._session.mount(scheme, BoundedAdapter(self._timeout_s))
        url = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._session.get(url, headers=dict(headers or {}), timeout=self._timeout_s, allow_redirects=False)
        except requests.RequestException as e:
            raise failure_of(e) from e
        if response.status_code != 200:
            raise status_failure(response)
        try:
            value: object = json.loads(response.content, parse_float=Decimal)
        except (ValueError, RecursionError) as e:  # not JSON, cut short, not text, or nested without end
            raise CallFailure(Cause.FORM, f"{len(response.content)} bytes that are no complete JSON") from e
        return Answer(value, {k.lower(): v for k, v in response.headers.items()})


def no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep `requests` from adding what it finds in a netrc file."""
    return request


def status_failure(response: requests.Response) -> CallFailure:
    """Return the failure an error status stands for."""
    status = response.status_code
    fallback = Cause.SERVER if status >= 500 else Cause.ADDRESS if 300 <= status < 400 else Cause.REQUEST
    words = " ".join(response.content[:200].decode("utf-8", errors="replace").split())
    return CallFailure(
        STATUS_CAUSES.get(status, fallback), f"HTTP {status}: {words or response.reason}", retry_after_s(response)
    )


def retry_after_s(response: requests.Response) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date (read by the server's own clock)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    until_t, now_t = _http_date_t(text), _http_date_t(response.headers.get("Date", ""))
    return None if until_t is None or now_t is None else float(max(0, until_t - now_t))


def failure_of(error: BaseException) -> CallFailure:
    """Return the failure behind an exception of a network library, found in its chain of causes."""
    chain = list(_chain(error))
    kinds: tuple[tuple[tuple[type[BaseException], ...], Cause, str], ...] = (
        ((socket.gaierror,), Cause.DNS, "the host name cannot be resolved"),
        ((ConnectionRefusedError,), Cause.REFUSED, "nothing listens there"),
        ((ssl.SSLError,), Cause.TLS, "the secure connection cannot be made"),
        ((TimeoutError, requests.Timeout), Cause.TIMEOUT, "no answer in time"),
        (
            (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema),
            Cause.ADDRESS,
            "not a web address",
        ),
    )
    for types, cause, words in kinds:
        if any(isinstance(e, types) for e in chain):
            return CallFailure(cause, words)
    return CallFailure(Cause.NETWORK, f"{type(chain[-1]).__name__} while the answer was read")


def is_transport(error: BaseException) -> bool:
    """Return whether a request that found no answer is behind an exception."""
    return any(isinstance(e, requests.RequestException) and e.response is None for e in _chain(error))


def response_of(error: BaseException) -> requests.Response | None:
    """Return the HTTP answer behind an exception, or None."""
    found = (e.response for e in _chain(error) if isinstance(e, requests.RequestException) and e.response is not None)
    return next(found, None)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and all behind it; `requests` and urllib3 wrap them as causes, contexts, reasons and arguments."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        e = waiting.pop(0)
        if isinstance(e, BaseException) and not any(e is f for f in found):
            found.append(e)
            waiting += [e.__cause__, e.__context__, getattr(e, "reason", None), *e.args]
    return found


def _http_date_t(text: str) -> int | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
