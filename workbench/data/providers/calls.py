"""Every network call of a provider: rate budget, counting, retry with backoff, and one clear message when it is over.

A provider hands over a function that makes one request and raises `CallFailure` with a `Cause`. What may pass (timeouts, 429,
5xx, an answer cut short) is tried again a bounded number of times; what will not (credentials, address, request) ends at once.
The waits are a function of seed, account, endpoint and attempt, so that two runs wait alike.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import tenacity

from runtime.errors import EnvironmentFailure

T = TypeVar("T")

ATTEMPTS: Final = 5
"""Calls per request before giving up."""
WAIT_S_FIRST: Final = 1.0
WAIT_S_MAX: Final = 60.0
RETRY_AFTER_S_MAX: Final = 300.0
"""A venue that asks for a longer pause has closed for the day: waiting in a command helps nobody."""


def pause(seconds: float) -> None:
    """Wait; the default of every provider, looked up when it waits so that a test need not."""
    time.sleep(seconds)


class Cause(StrEnum):
    """Why a call failed."""

    TIMEOUT = "timeout"
    LIMIT = "rate limit"
    SERVER = "server error"
    FORM = "answer in an unknown form"
    MAINTENANCE = "maintenance"
    NETWORK = "connection lost"
    CREDENTIALS = "credentials refused"
    ADDRESS = "not found"
    DNS = "unknown host name"
    REFUSED = "connection refused"
    TLS = "certificate not trusted"
    REQUEST = "request refused"


TRANSIENT: Final = frozenset({Cause.TIMEOUT, Cause.LIMIT, Cause.SERVER, Cause.FORM, Cause.MAINTENANCE, Cause.NETWORK})

ADVICE: Final[dict[Cause, tuple[str, str]]] = {
    Cause.TIMEOUT: ("an answer in time", "check the network, or try again later"),
    Cause.LIMIT: ("room in the provider's rate budget", "wait until the quota is renewed, then run the command again"),
    Cause.SERVER: ("a working service", "try again later"),
    Cause.FORM: ("the documented form", "check the address; if it is right, try again later and report what came"),
    Cause.MAINTENANCE: ("a service that is online", "wait for the end of the maintenance, then run the command again"),
    Cause.NETWORK: ("a connection that holds", "check the network, or try again later"),
    Cause.CREDENTIALS: ("valid credentials", "store the right key (see `ballast data providers`)"),
    Cause.ADDRESS: ("the address of the API", "check the URL in the provider's option or environment variable"),
    Cause.DNS: ("a host name that resolves", "check the network and the URL in the provider's option or environment variable"),
    Cause.REFUSED: ("a listening service", "check that the URL and port are right and the service runs"),
    Cause.TLS: ("a certificate this machine trusts", "check the clock, the URL and the trusted certificates of this machine"),
    Cause.REQUEST: ("a request the provider accepts", "leave the symbol out, or change the options"),
}
"""What would have been right, and what to do, by cause."""


WITHOUT_SYMBOL: Final = frozenset({"SystemStatus", "Time", "AssetPairs", "symbols", "load_markets", "fetch_time"})
"""Calls about no symbol: to leave one out changes nothing."""


class CallFailure(Exception):
    """One failed call.

    Args:
        cause: decides whether the call is made again.
        detail: the venue's words or ours, without addresses and keys.
        retry_after_s: the pause the venue asked for; None where it asked for none.
    """

    def __init__(self, cause: Cause, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause, self.detail, self.retry_after_s = cause, detail, retry_after_s

    @property
    def transient(self) -> bool:
        """Return whether another attempt makes sense."""
        return self.cause in TRANSIENT and (self.retry_after_s or 0.0) <= RETRY_AFTER_S_MAX


@dataclass(frozen=True, slots=True)
class Budget:
    """What calls of one account cost.

    Attributes:
        account: whose limit it is, such as `kraken-public`; all calls on one account share it.
        rate_per_s: calls a second; 0 = no limit (local servers).
        burst_n: how many may come at once.
    """

    account: str
    rate_per_s: float
    burst_n: float = 1.0


class CallLedger(Protocol):
    """Rate budgets and call counts; `workbench.data.sync` keeps them in SQLite, `MemoryLedger` for one process."""

    def allow(self, account: str, rate_per_s: float, burst_n: float) -> None:
        """Set the budget of an account; what is left of a budget on record stays left."""
        ...

    def acquire(self, account: str, cost_n: int) -> float:
        """Take calls from an account's budget; return the seconds to wait before making them (0.0 = now).

        What is taken is taken, so callers that wait are served one after the other. An account without a budget never waits.
        """
        ...

    def count(self, account: str, endpoint: str, outcome: str) -> None:
        """Count one call: outcome `ok`, `retried` (failed, another attempt follows) or `failed` (given up)."""
        ...


class MemoryLedger:
    """Budgets and counts of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budgets: dict[str, tuple[float, float]] = {}
        self._left: dict[str, tuple[float, float]] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def allow(self, account: str, rate_per_s: float, burst_n: float) -> None:
        """Set the budget of an account."""
        self._budgets[account] = (rate_per_s, burst_n)
        left_n, at_s = self._left.get(account, (burst_n, self._clock()))
        self._left[account] = (min(left_n, burst_n), at_s)

    def acquire(self, account: str, cost_n: int) -> float:
        """Take calls from an account's budget; return the seconds to wait."""
        if account not in self._budgets:
            return 0.0
        (rate_per_s, burst_n), (left_n, at_s), now_s = self._budgets[account], self._left[account], self._clock()
        left_n = min(burst_n, left_n + (now_s - at_s) * rate_per_s) - cost_n
        self._left[account] = (left_n, now_s)
        return max(0.0, -left_n / rate_per_s)

    def count(self, account: str, endpoint: str, outcome: str) -> None:
        """Count one call."""
        self.counts[account, endpoint, outcome] += 1

    @property
    def calls_n(self) -> int:
        """Return the number of calls made, whatever came of them."""
        return self.counts.total()


class Calls:
    """Makes the calls of one provider."""

    def __init__(
        self,
        who: str,
        budget: Budget,
        ledger: CallLedger | None = None,
        *,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = pause,
        seed: int = 0,
    ) -> None:
        """Take budget and patience.

        Args:
            who: names the provider in messages, such as `Kraken`.
            budget: account and cost of a call.
            ledger: keeps budgets and counts; default one of this process.
            attempts: calls per request before giving up, at least 1.
            sleep: waits; injected by tests.
            seed: of the jitter.
        """
        self._who, self._budget, self._attempts, self._sleep, self._seed = who, budget, attempts, sleep, seed
        self.ledger: CallLedger = ledger if ledger is not None else MemoryLedger()
        self._allowed = False

    def call(self, endpoint: str, fn: Callable[[], T], cost_n: int = 1) -> T:
        """Make one call until it answers; return its value.

        Args:
            endpoint: names the call in counts and messages.
            fn: makes one request; raises `CallFailure`.
            cost_n: what the call takes from the budget.

        Raises:
            EnvironmentFailure: it was refused, or failed every attempt.
        """
        if not self._allowed and self._budget.rate_per_s > 0:
            self.ledger.allow(self._budget.account, self._budget.rate_per_s, self._budget.burst_n)
        self._allowed = True

        def attempt() -> T:
            wait_s = self.ledger.acquire(self._budget.account, cost_n)
            if wait_s > 0:
                self._sleep(wait_s)
            try:
                return fn()
            except RecursionError as e:  # whoever reads it: a parser, a checker, or the message about it
                raise CallFailure(Cause.FORM, "an answer nested too deeply") from e

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, CallFailure) and e.transient),
            wait=lambda state: self._wait_s(endpoint, state),
            sleep=self._sleep,
            before_sleep=lambda _: self._count(endpoint, "retried"),
            reraise=True,
        )
        try:
            value = retrying(attempt)
        except CallFailure as e:
            self._count(endpoint, "failed")
            raise self._final(endpoint, e) from e
        self._count(endpoint, "ok")
        return value

    def _count(self, endpoint: str, outcome: str) -> None:
        self.ledger.count(self._budget.account, endpoint, outcome)

    def _wait_s(self, endpoint: str, state: tenacity.RetryCallState) -> float:
        """Return the pause before the next attempt: doubled each time, between half and all of it, never below Retry-After."""
        n = state.attempt_number
        seed = f"{self._seed}/{self._budget.account}/{endpoint}/{n}"
        share = 0.5 + 0.5 * random.Random(seed).random()  # noqa: S311 - spreads calls, protects nothing
        wait_s = min(WAIT_S_MAX, WAIT_S_FIRST * 2.0 ** (n - 1)) * share
        failure = state.outcome.exception() if state.outcome else None
        asked_s = failure.retry_after_s if isinstance(failure, CallFailure) else None
        return max(wait_s, asked_s or 0.0)

    def _final(self, endpoint: str, failure: CallFailure) -> EnvironmentFailure:
        expected, action = ADVICE[failure.cause]
        if failure.cause is Cause.REQUEST and endpoint in WITHOUT_SYMBOL:
            action = "check the URL in the provider's option or environment variable; if it is right, try again later"
        if failure.cause not in TRANSIENT:
            got = f"{self._who}'s {endpoint}: {failure.cause} ({failure.detail})"
        elif failure.transient:
            got = f"{self._who}'s {endpoint} failed {self._attempts} times: {failure.cause} ({failure.detail})"
        else:
            got = f"{self._who}'s {endpoint}: {failure.cause} ({failure.detail}); it asks for {failure.retry_after_s:.0f} s of pause"
        return EnvironmentFailure(got, expected=expected, action=action)
