"""A venue that answers: random streams of every kind of event, fed to the core one at a time."""

from __future__ import annotations

import dataclasses

import numpy as np

from runtime.core import codes as c
from runtime.core import step
from runtime.core.digest import Block
from runtime.core.records import CLUSTER, E8, EVENT, INSTRUMENTS
from runtime.engine import BlockChain, RunInputs, StageSeconds, new_out, new_state
from runtime.policy import PairRules
from tests.support.exports import random_run


def venue_run(seed: int, hours: int = 200, symbols: int = 4) -> tuple[RunInputs, list[Block], np.ndarray]:
    """Return a run of mode paper over a random stream of every kind of event: inputs, blocks, EVENT [blocks]."""
    rng = np.random.default_rng(seed)
    scarce = seed % 2 == 1
    pairs = tuple(
        PairRules(
            quote_id=s % 3, lot_e8=(10**4, 1, 10**7)[seed % 3], tick_e8=100, qty_min_e8=(1, 10**6)[s % 2],
            cost_min_e8=(50_000_000, 400 * E8)[s % 2],
        )
        for s in range(symbols)
    )  # fmt: skip
    inputs = random_run(seed, hours, symbols)
    genesis = inputs.genesis.model_copy(update={"mode_id": c.MODE_PAPER, "pairs": pairs})
    inputs = dataclasses.replace(inputs, genesis=genesis)
    venue = _Venue(inputs, rng, cash_e8=(3_000 if scarce else 50_000) * E8)
    for n, close_t in enumerate(inputs.close_t.tolist()):
        venue.hour(n, close_t)
    blocks = venue.chain.extend(venue.out)
    return inputs, blocks, venue.out.event[: len(blocks)].copy()


class _Venue:
    """Feeds a core one event at a time and answers its orders at random."""

    def __init__(self, inputs: RunInputs, rng: np.random.Generator, cash_e8: int) -> None:
        self.inputs, self.rng, self.cash_e8 = inputs, rng, cash_e8
        self.states, self.out = new_state(1, c.MODE_PAPER), new_out(60_000)
        self.policy = inputs.genesis.profile.to_record(inputs.genesis.pairs)
        self.forecast_of = {t: n for n, t in enumerate(inputs.forecasts.at_t.tolist())}
        self.cluster_of = {t: n for n, t in enumerate(inputs.clusters.at_t.tolist())}
        self.chain = BlockChain(inputs, inputs.bars, inputs.forecasts.rows, inputs.clusters.rows, StageSeconds())

    def send(self, kind: int, at_t: int, **fields: int) -> None:
        event = np.zeros(1, EVENT)
        event["kind_id"], event["at_t"] = kind, at_t
        for name, value in ({"bar_n": -1, "forecast_n": -1, "cluster_n": -1} | fields).items():
            event[name] = value
        bar_n, forecast_n = int(event["bar_n"][0]), int(event["forecast_n"][0])
        bars, forecasts = self.inputs.bars[max(bar_n, 0)], self.inputs.forecasts.rows[max(forecast_n, 0)]
        no_clusters = np.zeros(INSTRUMENTS, CLUSTER)
        clusters = self.inputs.clusters.rows[event["cluster_n"][0]] if kind == c.EV_CLUSTERS else no_clusters
        step.step(self.policy, self.states, self.out, event, bars, forecasts, clusters)

    def hour(self, n: int, close_t: int) -> None:
        rng, first_t = self.rng, close_t - 3_600
        if n == 0:
            for quote in range(3):
                self.send(c.EV_DEPOSIT, first_t, quote_id=quote, amount_e8=self.cash_e8)
        for k in range(3):
            at_t = first_t + 60 + 60 * k
            if rng.random() < 0.2:
                self._aside(at_t)
            for s in range(len(self.inputs.genesis.pairs)):
                if self.states[0]["orders"][s]["order_id"] != 0 and rng.random() < 0.7:
                    self._answer(s, at_t + 2 + s)
            self.send(c.EV_HEARTBEAT, at_t + 50, value_n=int(rng.integers(-2_500, 900)))
        if (
            n and rng.random() < 0.3
        ):  # just before the bar: a quote that is fresh, or a switch that is still thrown, when it closes
            self._aside(close_t - 20, lasting=True)
        self.send(c.EV_BARS, close_t, bar_n=n, forecast_n=self.forecast_of.get(close_t, -1), value_n=first_t)
        if close_t in self.cluster_of:
            row = self.cluster_of[close_t]
            self.send(c.EV_CLUSTERS, close_t, cluster_n=row, value_n=row + 1)

    def _aside(self, at_t: int, *, lasting: bool = False) -> None:
        rng, s = self.rng, int(self.rng.integers(0, len(self.inputs.genesis.pairs)))
        what = int(rng.integers(0, 8))
        mark = int(self.states[0]["positions"][s]["mark_e8"]) or E8
        if what == 0:
            self.send(c.EV_RATE, at_t, quote_id=1 + s % 2, price_e8=int(rng.integers(70_000_000, 110_000_000)))
        elif what == 1:
            self.send(c.EV_QUOTE, at_t, instrument_id=s, price_e8=mark, reference_e8=mark + mark // int(rng.integers(50, 900)))
        elif what == 2:
            value = int(rng.integers(0, 2))
            self.send(c.EV_CONTROL, at_t, instrument_id=int(rng.integers(1, 4)), value_n=value)
            if lasting:
                return
            self.send(c.EV_CONTROL, at_t + 1, instrument_id=1, value_n=0)
            self.send(c.EV_CONTROL, at_t + 1, instrument_id=2, value_n=int(rng.random() < 0.2))
        elif what == 3:
            self.send(c.EV_WITHDRAWAL, at_t, quote_id=s % 3, amount_e8=int(rng.integers(1, 10 * E8)))
        elif what == 4:
            self.send(c.EV_CORRECTION, at_t, quote_id=s % 3, amount_e8=int(rng.integers(1, 10 * E8)) * (-1) ** s)
        elif what == 5:
            self.send(c.EV_RECONCILIATION, at_t, quote_id=s % 3, amount_e8=-int(rng.integers(1, E8)))
        else:
            self.send(c.EV_DEPOSIT, at_t, quote_id=s % 3, amount_e8=int(rng.integers(1, 100 * E8)))

    def _answer(self, s: int, at_t: int) -> None:
        rng, o = self.rng, self.states[0]["orders"][s]
        status, order_id = int(o["status_id"]), int(o["order_id"])
        if status == c.O_RETRYING:
            return
        what = int(rng.integers(0, 10))
        about = {"instrument_id": s, "order_id": order_id}
        if what < 4:
            left, limit = int(o["left_e8"]), int(o["limit_price_e8"])
            price = int(self.states[0]["positions"][s]["mark_e8"])
            qty = left if what < 2 else max(left // 3, 1)
            fill = {"qty_e8": qty, "price_e8": min(price, limit) if limit else price, "reference_e8": price}
            self.send(c.EV_FILL, at_t, **about, liquidity_id=1 + what % 2, **fill)
        elif what < 6:
            self.send(c.EV_ORDER, at_t, **about, status_id=(c.O_OPEN, c.O_UNKNOWN)[what % 2])
        elif what < 8 and status in {c.O_NEW, c.O_UNKNOWN, c.O_CANCELLING}:
            self.send(c.EV_ORDER, at_t, **about, status_id=c.O_REJECTED, value_n=int(rng.random() < 0.8))
        elif what == 8:
            status_id = (c.O_CANCELLED, c.O_EXPIRED, c.O_DENIED if status == c.O_NEW else c.O_CANCELLED)[
                int(rng.integers(0, 3))
            ]
            self.send(c.EV_ORDER, at_t, **about, status_id=status_id, value_n=int(rng.random() < 0.7))
