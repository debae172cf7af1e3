from __future__ import annotations

import socket
import ssl

import pytest
import requests

from runtime.errors import EnvironmentFailure
from workbench.data.providers.calls import (
    ADVICE,
    TRANSIENT,
    WAIT_S_MAX,
    Budget,
    CallFailure,
    Calls,
    Cause,
    MemoryLedger,
)
from workbench.data.providers.web import Web, failure_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds


class Script:
    """A request that fails as told, then answers."""

    def __init__(self, *failures: CallFailure) -> None:
        self.failures, self.asked_n = list(failures), 0

    def __call__(self) -> str:
        self.asked_n += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def test_calls_keep_to_the_rate_and_bursts_are_allowed() -> None:
    clock = Clock()
    calls = Calls("X", Budget("x", 2.0, 3.0), MemoryLedger(clock), sleep=clock.sleep)
    for _ in range(7):
        calls.call("a", Script())
    assert clock.now_s == pytest.approx(100.0 + (7 - 3) / 2.0)
    clock.now_s += 60
    before = len(clock.waits)
    calls.call("a", Script(), cost_n=3)
    calls.call("a", Script(), cost_n=3)
    assert clock.waits[before:] == [1.5], "what is left never exceeds the burst"


def test_a_budget_on_record_stays_used_when_it_is_declared_again() -> None:
    clock = Clock()
    ledger = MemoryLedger(clock)
    for _ in range(3):
        Calls("X", Budget("x", 1.0), ledger, sleep=clock.sleep).call("a", Script())
    assert clock.waits == [1.0, 1.0], "a new provider object is no new budget"


def test_every_call_is_counted_with_what_came_of_it() -> None:
    clock = Clock()
    ledger = MemoryLedger(clock)
    calls = Calls("X", Budget("x", 0.0), ledger, attempts=3, sleep=clock.sleep)
    calls.call("good", Script(CallFailure(Cause.TIMEOUT, "")))
    with pytest.raises(EnvironmentFailure):
        calls.call("down", Script(*[CallFailure(Cause.SERVER, "")] * 3))
    with pytest.raises(EnvironmentFailure):
        calls.call("no", Script(CallFailure(Cause.CREDENTIALS, "")))
    assert dict(ledger.counts) == {
        ("x", "good", "retried"): 1,
        ("x", "good", "ok"): 1,
        ("x", "down", "retried"): 2,
        ("x", "down", "failed"): 1,
        ("x", "no", "failed"): 1,
    }
    assert ledger.calls_n == 6


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_is_tried_again_or_not_and_ends_in_one_clear_message(cause: Cause) -> None:
    clock = Clock()
    script = Script(*[CallFailure(cause, "its own words")] * 10)
    with pytest.raises(EnvironmentFailure) as caught:
        Calls("The venue", Budget("x", 0.0), attempts=4, sleep=clock.sleep).call("Bars", script)
    assert script.asked_n == (4 if cause in TRANSIENT else 1)
    assert str(cause) in caught.value.got
    assert "The venue's Bars" in caught.value.got
    assert "its own words" in caught.value.got
    assert (caught.value.expected, caught.value.action) == ADVICE[cause]


def test_waits_double_to_a_bound_and_depend_on_the_seed_alone() -> None:
    def waits(seed: int) -> list[float]:
        clock = Clock()
        calls = Calls("X", Budget("x", 0.0), attempts=12, sleep=clock.sleep, seed=seed)
        calls.call("a", Script(*[CallFailure(Cause.TIMEOUT, "")] * 11))
        return clock.waits

    assert waits(1) == waits(1) != waits(2)
    assert all(0.5 * min(2.0**n, WAIT_S_MAX) <= w <= min(2.0**n, WAIT_S_MAX) for n, w in enumerate(waits(1)))


def test_a_pause_that_is_asked_for_is_kept() -> None:
    clock = Clock()
    failures = [CallFailure(Cause.LIMIT, "", 45.0), CallFailure(Cause.SERVER, "", 0.1)]
    Calls("X", Budget("x", 0.0), sleep=clock.sleep).call("a", Script(*failures))
    assert clock.waits[0] == 45.0
    assert 1.0 <= clock.waits[1] <= 2.0, "and never shortens the backoff"


def test_a_long_pause_is_not_waited_for() -> None:
    clock = Clock()
    with pytest.raises(EnvironmentFailure, match="it asks for 301 s of pause"):
        Calls("X", Budget("x", 0.0), sleep=clock.sleep).call("a", Script(CallFailure(Cause.LIMIT, "", 301.0)))
    assert clock.waits == []


def test_defects_and_interrupts_are_not_calls_that_failed() -> None:
    def defect() -> None:
        raise ZeroDivisionError

    def interrupt() -> None:
        raise KeyboardInterrupt

    calls = Calls("X", Budget("x", 0.0), sleep=lambda _: None)
    with pytest.raises(ZeroDivisionError):
        calls.call("a", defect)
    with pytest.raises(KeyboardInterrupt):
        calls.call("a", interrupt)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (requests.ConnectionError(socket.gaierror(-2, "Name or service not known")), Cause.DNS),
        (requests.ConnectionError(ConnectionRefusedError()), Cause.REFUSED),
        (requests.exceptions.SSLError(ssl.SSLError()), Cause.TLS),
        (requests.Timeout(), Cause.TIMEOUT),
        (requests.ConnectionError(ConnectionResetError()), Cause.NETWORK),
        (requests.exceptions.MissingSchema(), Cause.ADDRESS),
    ],
)
def test_the_cause_behind_a_library_s_exception_is_found(error: Exception, cause: Cause) -> None:
    assert failure_of(error).cause is cause


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://127.0.0.1:9", Cause.REFUSED),
        ("http://nowhere.invalid", Cause.DNS),
        ("carrier pigeon", Cause.ADDRESS),
    ],
)
def test_a_wrong_address_fails_with_its_cause(url: str, cause: Cause) -> None:
    with pytest.raises(CallFailure) as caught:
        Web(url, timeout_s=2.0).get("/x", {})
    assert caught.value.cause is cause
