"""A desk for tests of the core's parts: policy, state and buffers of one account, and short ways to move them."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.core import codes as c
from runtime.core import step
from runtime.core.records import BAR, BY_NAME, CLUSTER, EVENT, FORECAST, INSTRUMENTS
from runtime.engine import new_out, new_state
from runtime.policy import PairRules, RiskProfile

E8 = 10**8
START_T = 1_577_836_800


class Desk:
    """One account over three instruments priced 100 with plenty of volume."""

    def __init__(self, profile: RiskProfile | None = None, cash_e8: int = 100_000 * E8, pair: PairRules | None = None) -> None:
        self.profile = profile or RiskProfile()
        self.policy = self.profile.to_record([pair or PairRules()] * 3)
        self.states = new_state(1, 1)
        self.out = new_out()
        self.now_t = START_T
        self.event(c.EV_DEPOSIT, quote_id=c.USD, amount_e8=cash_e8)

    @property
    def state(self) -> Any:
        return self.states[0]

    def clusters(self, membership: np.ndarray, version: int) -> None:
        """Take in a cluster membership, CLUSTER [INSTRUMENTS]."""
        event = np.zeros(1, EVENT)
        event["kind_id"], event["at_t"], event["value_n"] = c.EV_CLUSTERS, self.now_t, version
        no_bars, no_forecasts = np.zeros(INSTRUMENTS, BAR), np.zeros(INSTRUMENTS, FORECAST)
        step.step(self.policy, self.states, self.out, event, no_bars, no_forecasts, membership)

    def event(self, kind: int, bars: np.ndarray | None = None, forecasts: np.ndarray | None = None, **fields: int) -> None:
        """Apply one event now."""
        event = np.zeros(1, EVENT)
        event["kind_id"], event["at_t"], event["bar_n"], event["forecast_n"] = kind, self.now_t, -1, -1
        for name, value in fields.items():
            event[name] = value
        if forecasts is not None:
            event["forecast_n"] = 0
        bars = np.zeros(INSTRUMENTS, BAR) if bars is None else bars
        forecasts = np.zeros(INSTRUMENTS, FORECAST) if forecasts is None else forecasts
        step.step(self.policy, self.states, self.out, event, bars, forecasts, np.zeros(INSTRUMENTS, CLUSTER))

    def bars(self, price: int = 100, *, present: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
        """Return bars at one price (whole units) with a small range."""
        bars = np.zeros(INSTRUMENTS, BAR)
        for s in present:
            bars[s] = (price * E8, price * E8 * 1_001 // 1_000, price * E8 * 999 // 1_000, price * E8, 10**6 * 10**4, 1)
        return bars

    def hour(
        self, forecast: tuple[int, int] | None = None, *, price: int = 100, near: int = 0, uncertainty: int = 0,
        present: tuple[int, ...] = (0, 1, 2), only: tuple[int, ...] = (0,),
    ) -> None:  # fmt: skip
        """Close the next hourly bar; `forecast` is (probability, return) in ppm for the instruments in `only`."""
        self.now_t += 3_600
        forecasts = None
        if forecast is not None:
            prob, ret = forecast
            forecasts = np.zeros(INSTRUMENTS, FORECAST)
            for s in only:
                forecasts[s] = (prob, prob, prob, near, ret, ret, uncertainty, 1)
        self.event(c.EV_BARS, self.bars(price, present=present), forecasts, bar_n=0, value_n=self.now_t - 3_600)

    def fill(self, s: int = 0, qty_e8: int | None = None, price_e8: int = 100 * E8) -> None:
        """Fill an open order, entirely by default, one second from now."""
        self.now_t += 1
        left = int(self.state["orders"][s]["left_e8"])
        self.event(
            c.EV_FILL,
            instrument_id=s,
            order_id=int(self.state["orders"][s]["order_id"]),
            liquidity_id=c.TAKER,
            qty_e8=left if qty_e8 is None else qty_e8,
            price_e8=price_e8,
            reference_e8=100 * E8,
        )
        self.now_t += 3_599 - 3_600  # back on the hour's grid

    def rows(self, table: str) -> list[dict[str, int]]:
        """Return all rows of a table so far."""
        written = getattr(self.out, table)[: self.out.n[0][table]]
        names = BY_NAME[table].dtype.names or ()
        return [dict(zip(names, row.tolist(), strict=True)) for row in written]

    def enter(self, s: int = 0) -> None:
        """Confirm a strongly positive outlook and fill the entry it makes."""
        for _ in range(self.profile.entry_persist_n):
            self.hour((600_000, 20_000), only=(s,))
        self.fill(s)


def held(desk: Desk, s: int = 0) -> int:
    """Return the quantity held of an instrument."""
    return int(desk.state["positions"][s]["qty_e8"])


def last_refusal(desk: Desk) -> str:
    """Return the name of the gate that refused last."""
    return [c.GATE_NAMES[e["gate_id"]] for e in desk.rows("risk_event") if e["kind_id"] == c.RISK_REFUSED][-1]


def resting(**fields: int) -> Desk:
    """Return a desk whose first instrument has a fresh buy at the venue, under a cluster cap that does not bind."""
    desk = Desk(RiskProfile(cluster_cap_ppm=1_000_000, **fields))
    for _ in range(2):
        desk.hour((600_000, 20_000))
    return desk
