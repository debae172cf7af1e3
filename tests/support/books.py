"""The bare records of one account, every number chosen by the test: for calling one function of the core at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.core.codes import CAD, USDC
from runtime.core.records import BY_NAME, POLICY
from runtime.engine import new_out, new_state

E8 = 10**8
NOW_T = 1_600_000_205
HOUR_T = 1_599_998_400
"""The hour that contains NOW_T."""
CAD_RATE_E8 = 73_000_000
USDC_RATE_E8 = 99_990_000


class Books:
    """Policy, state and output buffers; instrument 0 is quoted in USD, 1 in CAD, 31 in USDC, the rest in USD."""

    def __init__(self) -> None:
        self.policies = np.zeros(1, POLICY)
        self.states = new_state(7, 2)
        self.out = new_out(64)
        self.instruments["enabled_n"] = 1
        self.instruments["lot_e8"] = 1
        self.instruments["tick_e8"] = 1
        self.instruments["quote_id"][[1, 31]] = (CAD, USDC)
        self.policy["fees"][0] = (0, 2_500, 4_000)
        self.desk["now_t"] = NOW_T
        self.cash["rate_e8"] = (E8, CAD_RATE_E8, USDC_RATE_E8)

    @property
    def policy(self) -> Any:
        """The POLICY record."""
        return self.policies[0]

    @property
    def rules(self) -> Any:
        """The RULES record."""
        return self.policies[0]["rules"]

    @property
    def instruments(self) -> Any:
        """INSTRUMENT [INSTRUMENTS]."""
        return self.policies[0]["instruments"]

    @property
    def state(self) -> Any:
        """The STATE record."""
        return self.states[0]

    @property
    def desk(self) -> Any:
        """The DESK record."""
        return self.states[0]["desk"]

    @property
    def cash(self) -> Any:
        """CASH [QUOTES]."""
        return self.states[0]["cash"]

    @property
    def positions(self) -> Any:
        """POSITION [INSTRUMENTS]."""
        return self.states[0]["positions"]

    @property
    def orders(self) -> Any:
        """ORDER [INSTRUMENTS]."""
        return self.states[0]["orders"]

    def rows(self, table: str) -> list[dict[str, int]]:
        """Return all rows of a table so far."""
        written = getattr(self.out, table)[: self.out.n[0][table]]
        names = BY_NAME[table].dtype.names or ()
        return [dict(zip(names, row.tolist(), strict=True)) for row in written]


def numbers(result: object) -> tuple[int, ...]:
    """Return a function's tuple of NumPy or Python integers as plain integers."""
    assert isinstance(result, tuple)
    return tuple(int(value) for value in result)
