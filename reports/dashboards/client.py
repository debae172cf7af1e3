"""The dashboards' one way to the daemon: its control API on loopback, opened with the launch token of the endpoint file.

The token never leaves this process. The file is read again before the first request and after every failure: a daemon that was
restarted has another address and another token.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reports.dashboards.shapes import Problem, Receipt, Shape

READ_S: Final = 5.0
WRITE_S: Final = 10.0
SILENCE_S: Final = 10.0
"""The event stream says something at least every two seconds."""
KEY: Final = re.compile(r"[0-9a-f-]{36}")

ShapeT = TypeVar("ShapeT", bound=Shape)


class RuntimeUnreachable(Exception):
    """The daemon does not answer; the text says why, in words for an operator."""


class RequestRefused(Exception):
    """The daemon answered, and not with what was asked for; the text says why."""


class Endpoint(BaseModel):
    """Where the control API is, and what opens it. Its text shows no token."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str = Field(pattern=r"^http://127\.0\.0\.1:[0-9]{1,5}$")
    launch_token: str = Field(min_length=32, max_length=200, pattern=r"^[!-~]+$", repr=False)


def read_endpoint(path: Path) -> Endpoint:
    """Return the endpoint that a running daemon wrote.

    Raises:
        RuntimeUnreachable: there is no file (no daemon runs), it is damaged, or others may read it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as f:
            about = os.fstat(f.fileno())
            if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
                raise RuntimeUnreachable(f"The endpoint file {path} is not yours alone.")
            return Endpoint.model_validate_json(f.read(10_000))
    except FileNotFoundError as e:
        raise RuntimeUnreachable("The runtime is not running.") from e
    except OSError as e:
        raise RuntimeUnreachable(f"The endpoint file {path} cannot be read: {e.strerror or e}.") from e
    except ValidationError as e:
        raise RuntimeUnreachable(f"The endpoint file {path} is damaged.") from e


class Opened(Shape):
    """A session of the control API; its cookie is in the pool of connections."""

    csrf: str


class Session(NamedTuple):
    """Where the daemon is, and the proof that a write comes from us."""

    url: str
    csrf: str


class Pulse(Shape):
    """What the event stream says whenever something changed: enough to know what to read again."""

    seq_n: int
    signal_n: int


class ControlClient:
    """Reads and commands over one pool of connections; an async context manager, used on one event loop.

    The launch token is exchanged for a session, so that the journal names an operator as the actor of what is sent.

    Args:
        endpoint: path of the endpoint file.
    """

    def __init__(self, endpoint: Path) -> None:
        self._path = endpoint
        self._session: Session | None = None
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=4)
        # trust_env: a proxy of the shell must never see the token
        self._http = httpx.AsyncClient(timeout=READ_S, limits=limits, trust_env=False, follow_redirects=False)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def read(self, shape: type[ShapeT], path: str, **query: str | int) -> ShapeT:
        """Return one answer.

        Args:
            shape: its form.
            path: such as `/runtime/status`.
            query: of the address; empty text is left out.

        Raises:
            RuntimeUnreachable: no daemon, or no answer in time.
            RequestRefused: the API says no, or its answer has another form.
        """
        asked = {name: value for name, value in query.items() if value != ""}
        answer = await self._send("GET", path, params=asked)
        return _parsed(shape, answer)

    async def command(self, path: str, body: dict[str, str | bool], key: str) -> Receipt:
        """Send a command and return what became of it; the same key is carried out once.

        Raises:
            RuntimeUnreachable: the outcome is unknown.
            RequestRefused: it was not carried out.
        """
        if not KEY.fullmatch(key):
            raise RequestRefused("the form carries no key: load the page again")
        return _parsed(Receipt, await self._send("POST", path, body=body, key=key))

    async def events(self) -> AsyncIterator[Pulse]:
        """Yield what the daemon's event stream says; ends with the stream.

        Raises:
            RuntimeUnreachable: the stream cannot be opened, or breaks.
        """
        session = self._session or await self._open()
        timeout = httpx.Timeout(READ_S, read=SILENCE_S)
        try:
            async with self._http.stream("GET", session.url + "/events", timeout=timeout) as answer:
                if answer.status_code != httpx.codes.OK:
                    self._session = None
                    raise RuntimeUnreachable(f"The event stream answers {answer.status_code}.")
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        yield Pulse.model_validate(json.loads(line[5:]))
        except (httpx.HTTPError, ValueError) as e:
            raise RuntimeUnreachable("The event stream broke.") from e

    async def _open(self) -> Session:
        """Exchange the launch token for a session."""
        found = read_endpoint(self._path)
        self._http.cookies.clear()
        answer = await self._request("POST", found.url + "/session", json={"launch_token": found.launch_token})
        if not answer.is_success:
            raise RuntimeUnreachable(f"The runtime refuses the launch token of {self._path.name}: {_problem(answer)}.")
        self._session = Session(found.url, _parsed(Opened, answer).csrf)
        return self._session

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str | int] | None = None,
        body: dict[str, str | bool] | None = None,
        key: str = "",
    ) -> httpx.Response:
        answer = await self._once(method, path, params, body, key)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the session ended, or the daemon was restarted on the same port
            self._session = None
            answer = await self._once(method, path, params, body, key)
        if not answer.is_success:
            raise RequestRefused(_problem(answer))
        return answer

    async def _once(
        self, method: str, path: str, params: dict[str, str | int] | None, body: dict[str, str | bool] | None, key: str
    ) -> httpx.Response:
        session = self._session or await self._open()
        headers = {"Idempotency-Key": key, "X-CSRF-Token": session.csrf} if method == "POST" else {}
        return await self._request(method, session.url + path, params=params, json=body, headers=headers)

    async def _request(
        self,
        method: str,
        url: str,
        *,
        params: dict[str, str | int] | None = None,
        json: dict[str, str] | dict[str, str | bool] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        timeout_s = READ_S if method == "GET" else WRITE_S
        try:
            return await self._http.request(method, url, params=params, json=json, headers=headers, timeout=timeout_s)
        except httpx.TimeoutException as e:
            self._session = None
            raise RuntimeUnreachable("The runtime does not answer in time.") from e
        except httpx.HTTPError as e:
            self._session = None
            raise RuntimeUnreachable("The runtime does not answer.") from e


def _parsed(shape: type[ShapeT], answer: httpx.Response) -> ShapeT:
    try:
        return shape.model_validate_json(answer.content)
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RequestRefused(f"the runtime's answer has another form ({place}: {first['msg']}): update both together") from e


def _problem(answer: httpx.Response) -> str:
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        return f"the runtime answers {answer.status_code}"
    return f"{problem.got}; expected: {problem.expected}; {problem.action}"
