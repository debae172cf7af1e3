"""The public rate limit of the local Kraken: a bucket of calls for each client, driven by the clock it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from runtime.adapters.local_kraken.records import NS

CLIENTS_KEPT_N: Final = 1_000


@dataclass(frozen=True, slots=True)
class RateRule:
    """How many calls a client may make: `burst_n` at once, then one each `call_ns`."""

    burst_n: int = 15
    call_ns: int = NS
    answer: Literal["error", "http"] = "error"
    """What a refused call gets: Kraken's own error in a 200 answer, or HTTP 429."""


class RateLimit:
    """Buckets by client. Without a rule nobody is refused."""

    def __init__(self, rule: RateRule | None, now_ns: Callable[[], int]) -> None:
        self.rule, self._now_ns = rule, now_ns
        self.refused_n = 0
        self._free_ns: dict[str, int] = {}
        """When a client's bucket is full again."""

    def allows(self, client: str) -> bool:
        """Count one call of a client and return whether it may be answered; a refused call costs nothing."""
        if self.rule is None:
            return True
        now_ns = self._now_ns()
        full_ns = max(self._free_ns.get(client, now_ns), now_ns)
        if full_ns - now_ns > (self.rule.burst_n - 1) * self.rule.call_ns:
            self.refused_n += 1
            return False
        if len(self._free_ns) >= CLIENTS_KEPT_N:
            self._free_ns = {name: at_ns for name, at_ns in self._free_ns.items() if at_ns > now_ns}
        self._free_ns[client] = full_ns + self.rule.call_ns
        return True
