"""Answers with an end: at most so many bytes and so long, whatever the server sends.

`requests` knows a patience per read alone, which a server that sends a byte a second never tires, and takes a body of any size. The
adapter here reads the whole answer itself, unpacked, and gives up at either limit. It serves our own requests and ccxt's.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Mapping
from typing import Final, Self

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from workbench.data.providers.calls import CallFailure, Cause

BYTES_MAX: Final = 64 * 1024**2
"""Of one answer, unpacked. The largest right ones, 100,000 bars of CoinAPI, have about a third of it."""
PATIENCES: Final = 4
"""A whole answer may take this many times the patience per read."""
CHUNK_BYTES: Final = 64 * 1024
ENCODINGS: Final = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
"""One of them: encodings upon each other grow without bounds."""

_here = threading.local()
"""The watch over the call that this thread makes."""


class _Watch:
    """Ends a call at its deadline from outside: a shut socket ends every read, be it of a header or of a body."""

    def __init__(self, deadline_s: float) -> None:
        self.is_over = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(deadline_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _here.watch = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _here.watch = None

    def over(self, connection: socket.socket | None) -> None:
        """Take the socket to shut."""
        self._socket = connection
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has gone already
                return


def _watched(connection: HTTPConnection) -> None:
    watch: _Watch | None = getattr(_here, "watch", None)
    if watch is not None:
        watch.over(connection.sock)


class _Plain(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 narrows the standard library's type
        _watched(self)
        return super().getresponse()


class _Secure(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # see above
        _watched(self)
        return super().getresponse()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class BoundedAdapter(HTTPAdapter):
    """Hands over answers that are complete and within both limits."""

    def __init__(self, timeout_s: float, bytes_max: int = BYTES_MAX) -> None:
        """Take the patience per read, of which an answer may take `PATIENCES` in all, and the largest answer."""
        self._deadline_s, self._bytes_max = PATIENCES * timeout_s, bytes_max
        super().__init__()

    def init_poolmanager(self, *args: object, **options: object) -> None:
        """Make connections that can be ended."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002 - the signature of `requests`; the body is always read here
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Return the answer, its body read.

        Raises:
            CallFailure: it is larger, later or packed otherwise than allowed.
            RequestException: no answer.
        """
        request.headers["Accept-Encoding"] = "gzip, deflate"
        with _Watch(self._deadline_s) as watch:
            try:
                response = super().send(request, True, timeout, verify, cert, proxies)
                body = self._body(response)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as e:
                if watch.is_over:
                    raise self._late() from e
                if isinstance(e, urllib3.exceptions.HTTPError):
                    raise requests.exceptions.ChunkedEncodingError(e, request=request) from e
                raise
            if watch.is_over:  # a body that ends with its connection looks complete
                raise self._late()
        response.raw = io.BytesIO(body)
        return response

    def _body(self, response: requests.Response) -> bytes:
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            response.close()
            raise CallFailure(Cause.FORM, f"a body packed as {encoding[:40]!r}")
        body = bytearray()
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > self._bytes_max:
                response.close()
                raise CallFailure(Cause.FORM, f"more than {self._bytes_max / 1024**2:g} MiB")
        return bytes(body)

    def _late(self) -> CallFailure:
        return CallFailure(Cause.TIMEOUT, f"no complete answer in {self._deadline_s:g} s")
