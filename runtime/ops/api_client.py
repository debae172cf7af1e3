"""A small client of the control API for the terminal: one request, one answer, every failure in words.

It speaks to the address in the endpoint file alone, never through a proxy, and sends the launch token nowhere else.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from runtime.errors import EnvironmentFailure, GateError, UsageError
from runtime.ops.endpoint import Endpoint

TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 4_000_000
JsonObject = dict[str, object]


class ControlClient:
    """One daemon's control API."""

    def __init__(self, endpoint: Endpoint, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def healthy(self) -> bool:
        """Return whether it answers."""
        try:
            return self._send("GET", "/healthz", None, {})[0] == http.client.OK
        except EnvironmentFailure:
            return False

    def get(self, path: str) -> JsonObject:
        """Return what a read says.

        Raises:
            EnvironmentFailure: no answer, or not the answer of a control API.
        """
        return _whole(path, *self._send("GET", path, None, self._authority()))

    def post(self, path: str, body: Mapping[str, object], command_id: str) -> JsonObject:
        """Send a command and return its receipt. The same id is carried out once, so a lost answer may be asked for again.

        Raises:
            UsageError: the command is malformed.
            GateError: it was refused.
            EnvironmentFailure: no answer, or not the answer of a control API.
        """
        headers = {**self._authority(), "Content-Type": "application/json", "Idempotency-Key": command_id}
        return _whole(path, *self._send("POST", path, json.dumps(body).encode(), headers))

    def _authority(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._endpoint.launch_token}"}

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        parts = urlsplit(self._endpoint.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self._timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as e:
            raise EnvironmentFailure(
                f"the control API at {self._endpoint.url} does not answer: {str(e) or type(e).__name__}",
                expected="a running daemon",
                action="see `ballast runtime status` and the log; `ballast runtime stop` ends a daemon that hangs",
            ) from e
        finally:
            connection.close()


def _whole(path: str, status: int, content: bytes) -> JsonObject:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if status == http.client.OK and isinstance(answer, dict):
        return answer
    said = _words(answer) or f"status {status}"
    if status in (http.client.UNPROCESSABLE_ENTITY, http.client.BAD_REQUEST):
        raise UsageError(f"{path}: {said}", expected="a command within its bounds", action="correct it and send it again")
    if status == http.client.CONFLICT:
        raise GateError(
            f"{path} was refused: {said}",
            expected="a command that fits the present state",
            action="see `ballast runtime status`",
        )
    raise EnvironmentFailure(
        f"{path}: {said}",
        expected="an answer of this version's control API",
        action="restart the daemon with `ballast runtime stop` and `ballast runtime start`",
    )


def _words(answer: object) -> str:
    """Return the reason in an error answer, whatever its form."""
    if isinstance(answer, dict):
        for key in ("reason", "detail", "error", "msg", "got", "message"):
            if key in answer:
                return _words(answer[key])
    if isinstance(answer, list) and answer:
        return _words(answer[0])
    return answer[:300] if isinstance(answer, str) else ""
