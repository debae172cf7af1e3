"""Faults of the local Kraken: named kinds, switches that inject them by a fixed rule, counts of what was injected."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from runtime.errors import UsageError


class Fault(StrEnum):
    """Everything that can be made to go wrong. REST first, then the WebSocket."""

    STALL = "stall"
    DROP_BEFORE_HEADERS = "drop-before-headers"
    DROP_AFTER_HEADERS = "drop-after-headers"
    HTTP_429 = "http-429"
    HTTP_500 = "http-500"
    HTTP_502 = "http-502"
    HTTP_503 = "http-503"
    HTTP_520 = "http-520"
    RATE_LIMIT = "error-rate-limit"
    UNAVAILABLE = "error-unavailable"
    BUSY = "error-busy"
    INTERNAL = "error-internal"
    TIMEOUT = "error-timeout"
    DUPLICATE_PAGE = "duplicate-page"
    OVERLAPPING_PAGE = "overlapping-page"
    OUT_OF_ORDER = "out-of-order"
    TRUNCATED_JSON = "truncated-json"
    WRONG_TYPES = "wrong-types"
    EMPTY_BODY = "empty-body"
    HTML_BODY = "html-body"
    TIME_SKEW = "time-skew"
    WS_DISCONNECT = "ws-disconnect"
    WS_GAP = "ws-gap"
    WS_BAD_CHECKSUM = "ws-bad-checksum"
    WS_DUPLICATE = "ws-duplicate"
    WS_LATE = "ws-late"
    WS_OUT_OF_ORDER = "ws-out-of-order"
    WS_GARBAGE = "ws-garbage"
    WS_STALL = "ws-stall"
    WS_REJECT = "ws-reject"


WEBSOCKET: Final = frozenset(fault for fault in Fault if fault.startswith("ws-"))
REST: Final = frozenset(Fault) - WEBSOCKET
ANY_PLACE: Final = "*"


@dataclass(slots=True)
class Switch:
    """One rule that injects a fault. Exactly one of `every_n`, `probability_ppm` and `next_n` says when.

    A place is a REST endpoint (`OHLC`) or a WebSocket channel (`book`); `*` stands for all. The rule counts or draws at each call
    of its place, in the order of the calls: the same seed and the same calls give the same faults.
    """

    fault: Fault
    place: str = ANY_PLACE
    every_n: int = 0
    probability_ppm: int = 0
    next_n: int = 0
    called_n: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        given = [n for n in (self.every_n, self.probability_ppm, self.next_n) if n]
        if len(given) != 1 or given[0] < 0 or self.probability_ppm > 1_000_000:
            raise UsageError(
                f"a switch of {self.fault} with every_n {self.every_n}, probability_ppm {self.probability_ppm}, next_n {self.next_n}",
                expected="exactly one of them above zero, a probability of at most 1000000 parts per million",
                action="say when the fault is to happen",
            )

    def spent(self) -> bool:
        """Return whether it can never act again."""
        return bool(self.next_n) and self.called_n >= self.next_n

    def acts(self, seed: int, position_n: int) -> bool:
        """Count one call of its place and return whether the fault happens in it."""
        self.called_n += 1
        if self.every_n:
            return self.called_n % self.every_n == 0
        if self.next_n:
            return self.called_n <= self.next_n
        drawn = hashlib.blake2b(
            f"{seed}|{position_n}|{self.fault}|{self.place}|{self.called_n}".encode(), digest_size=8
        ).digest()
        return int.from_bytes(drawn, "big") % 1_000_000 < self.probability_ppm


class FaultPlan:
    """The switches that are on, in order; the first that acts on a call decides, the others count it all the same."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.switches: list[Switch] = []
        self.injected: dict[Fault, int] = {}

    def add(self, switch: Switch) -> None:
        """Turn a switch on."""
        self.switches.append(switch)

    def clear(self) -> None:
        """Turn every switch off; the counts stay."""
        self.switches.clear()

    def next_fault(self, place: str, among: frozenset[Fault] = frozenset(Fault)) -> Fault | None:
        """Count one call of a place and return the fault that happens in it, if any.

        Args:
            place: the REST endpoint or WebSocket channel.
            among: kinds the caller can inject here; switches of others do not count this call.
        """
        found: Fault | None = None
        for position_n, switch in enumerate(self.switches):
            if switch.fault not in among or switch.place not in {ANY_PLACE, place}:
                continue
            if switch.acts(self.seed, position_n) and found is None:
                found = switch.fault
        if found is not None:
            self.injected[found] = self.injected.get(found, 0) + 1
        self.switches = [switch for switch in self.switches if not switch.spent()]
        return found

    def counts(self) -> dict[str, int]:
        """Return how often each kind was injected, in the order of the kinds."""
        return {fault.value: self.injected[fault] for fault in Fault if fault in self.injected}


def parse_switch(text: str) -> Switch:
    """Return the switch of `KIND[@PLACE]:every=N|p=PPM|next=N`, as the command line takes it.

    Raises:
        UsageError: the text has another form or names an unknown fault.
    """
    name, _, rule = text.partition(":")
    kind, _, place = name.partition("@")
    word, _, value = rule.partition("=")
    fields = {"every": "every_n", "p": "probability_ppm", "next": "next_n"}
    if kind not in set(Fault) or word not in fields or not value.isdecimal():
        raise UsageError(
            f"the fault {text!r}",
            expected=f"KIND[@PLACE]:every=N, :p=PARTS_PER_MILLION or :next=N, with KIND one of {', '.join(Fault)}",
            action="for example --fault http-503@OHLC:every=10",
        )
    numbers = {fields[word]: int(value)}
    return Switch(
        Fault(kind),
        place or ANY_PLACE,
        every_n=numbers.get("every_n", 0),
        probability_ppm=numbers.get("probability_ppm", 0),
        next_n=numbers.get("next_n", 0),
    )
