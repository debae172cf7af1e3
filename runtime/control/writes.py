"""From a request to a command of the desk, and from its receipt to an answer. A command is known by its Idempotency-Key."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from runtime.control.guard import Refused
from runtime.control.models import Governing, Problem
from runtime.control.models import Receipt as ReceiptOut
from runtime.errors import DataError, GateError, UsageError
from runtime.trading.commands import Command, Receipt, UpdateProfile

KEYS_KEPT_N: Final = 10_000
Submit = Callable[[Command], Future[Receipt]]


class Keys:
    """Which request each Idempotency-Key was used for: the same key with another request is a mistake of the client."""

    def __init__(self, kept_n: int = KEYS_KEPT_N) -> None:
        self._kept_n = kept_n
        self._used: OrderedDict[str, bytes] = OrderedDict()

    def claim(self, key: str, path: str, body: bytes) -> None:
        """Note what a key is used for.

        Raises:
            Refused: it was used for something else.
        """
        digest = hashlib.sha256(path.encode() + b"\0" + body).digest()
        if self._used.setdefault(key, digest) != digest:
            raise Refused(
                409,
                Problem(
                    kind="usage", got=f"Idempotency-Key {key} for another request than before",
                    expected="the same request, or a new key", action="make a new key for every new command",
                ),
            )  # fmt: skip
        self._used.move_to_end(key)
        while len(self._used) > self._kept_n:
            self._used.popitem(last=False)


async def carry_out(command: Command, submit: Submit, wait_s: float) -> ReceiptOut:
    """Hand a command to the desk and return its receipt once its block is durable.

    Raises:
        Refused: 409 the desk refused it; 503 the desk takes no commands; 504 the outcome is not known in time.
    """
    try:
        future = submit(command)
    except RuntimeError as e:  # its loop has ended
        raise Refused(503, _problem("environment", f"the desk takes no commands: {e}", "a running desk", _RESTART)) from e
    try:
        # shielded: giving up here must not take the command from the desk's queue half-way
        receipt = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), wait_s)
    except (TimeoutError, asyncio.CancelledError) as e:
        if isinstance(e, asyncio.CancelledError) and not future.cancelled():
            raise  # the client left, or the server ends
        raise Refused(504, _unknown(f"no receipt within {wait_s:g} s")) from e
    except (UsageError, DataError, GateError) as e:
        raise Refused(409, Problem(kind=e.kind, got=e.got, expected=e.expected, action=e.action)) from e
    answer = ReceiptOut(
        accepted=receipt.accepted, seq_n=receipt.seq_n, at_t=receipt.at_t, reason=receipt.reason, command_id=command.command_id
    )
    if not receipt.accepted:
        problem = _problem(
            "gate", receipt.reason, "a command that the desk accepts now", "look at the status, then decide anew"
        )
        raise Refused(409, problem.model_copy(update={"receipt": answer}))
    if isinstance(command, UpdateProfile):  # what the desk took, which the same key always is
        taken = command.version
        named = Governing(name=taken.profile.name, version=taken.profile.version, policy_digest=taken.policy_digest)
        return answer.model_copy(update={"profile": named})
    return answer


_RESTART: Final = "look into the log, and restart with `ballast runtime start`"


def _problem(kind: str, got: str, expected: str, action: str) -> Problem:
    return Problem(kind=kind, got=got, expected=expected, action=action)


def _unknown(got: str) -> Problem:
    action = "repeat the request with the same Idempotency-Key: it is carried out once at most, and answers what became of it"
    return _problem("unknown-outcome", got, "a durable block", action)
