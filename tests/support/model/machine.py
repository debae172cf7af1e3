"""What the state machines share: a rig with its market, rules that move it, and how many cases ran."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any, ClassVar

import numpy as np
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from runtime.core import codes as c
from runtime.core.records import BAR, CLUSTER, INSTRUMENTS
from runtime.policy import FeeTier, PairRules, QuoteCap, RiskProfile
from tests.support import tally
from tests.support.model import events, trading
from tests.support.model.account import E8, PPM, View
from tests.support.model.rig import Rig

PRICES = (10**6, 12_345_678, 100 * E8, 43_210 * E8 + 7)
MOVES_PPM = (1_000_000, 999_999, 1_000_001, 970_000, 1_030_000, 880_000, 1_120_000, 500_000, 2_000_000, 20_000, 49_000_000)
WAITS_T = (0, 1, 59, 60, 61, 120, 240, 1_799, 1_800, 1_801, 3_600, 7_200, 86_400)
TURNOVERS_E8 = (0, 1, 10**10, 10**13, 10**15)
LAX = {
    "base_ppm": 60_000, "entry_min_ppm": 0, "total_cap_ppm": PPM, "cluster_cap_ppm": PPM, "liquidity_ppm": PPM,
    "quote_caps": (QuoteCap(cap_ppm=PPM),) * 3, "margin_ppm": 0, "positions_max": 32, "severe_max": 32,
}  # fmt: skip
"""Gates that do not bind, for machines of something else."""

WAITS = st.sampled_from(WAITS_T)
PARTS = st.sampled_from((PPM, PPM, PPM // 2, PPM // 3, 1, 999_999))
PAIRS = st.builds(
    PairRules,
    quote_id=st.integers(0, 2),
    lot_e8=st.sampled_from((1, 1, 10**4)),
    tick_e8=st.sampled_from((1, 1, 100)),
    qty_min_e8=st.sampled_from((1, 10**6)),
    cost_min_e8=st.sampled_from((0, 5 * 10**7, 10**10)),
)


@st.composite
def fee_schedules(draw: st.DrawFn) -> tuple[FeeTier, ...]:
    """Draw a schedule of one to four tiers that a few trades climb, with rates that do not divide evenly."""
    takers = sorted(draw(st.lists(st.integers(0, 12_345), min_size=1, max_size=4)), reverse=True)
    return tuple(
        FeeTier(volume_e8=0 if k == 0 else 10**11 * 7**k, maker_ppm=taker * 2 // 3, taker_ppm=taker)
        for k, taker in enumerate(takers)
    )


class DeskMachine(RuleBasedStateMachine):
    """A machine over a rig: one account, a few instruments in three quote currencies."""

    totals: ClassVar[Counter[str]] = Counter()
    rig: Rig

    def open(self, profile: RiskProfile, pairs: list[PairRules], cash_e8: int, disabled: int = -1) -> None:
        """Open an account with cash in every currency and one bar of every instrument."""
        self.rig = Rig(profile, pairs, disabled)
        for quote in range(3):
            self.cash(c.EV_DEPOSIT, quote, cash_e8)
        self.start_prices = [PRICES[s % len(PRICES)] for s in range(len(pairs))]
        self.close(dict.fromkeys(range(len(pairs)), PPM), TURNOVERS_E8[-1], 0)
        for s in range(len(pairs)):
            self.rig.view(s, View(600_000, 550_000, 100, 300_000, 200_000, 1_000))

    def teardown(self) -> None:
        """Add what this example did to the totals."""
        if hasattr(self, "rig"):
            type(self).totals["examples"] += 1
            type(self).totals.update(self.rig.counts)

    # ---- moves --------------------------------------------------------------------------------------------------
    def close(self, moves: dict[int, int], turnover: int, wait_t: int) -> None:
        """Close a bar of some instruments, each moved by a share (ppm) of its last price."""
        bars = np.zeros(INSTRUMENTS, BAR)
        closed: dict[int, events.Bar] = {}
        for s, move in moves.items():
            start = self.start_prices[s]
            last = self.rig.model.books[s].mark or start
            price = min(max(last * move // PPM, start // 50), start * 50)
            closed[s] = (last, max(last, price) + price // 500, min(last, price), price, turnover * 10_000 // price)
            bars[s] = (*closed[s], 1)
        self.rig.event(c.EV_BARS, lambda acc: events.bars(acc, closed), wait_t=wait_t, bars=bars, bar_n=0)

    def cash(self, kind: int, quote: int, amount: int) -> bool:
        """Move cash without a fill."""
        return self.rig.event(kind, lambda acc: events.cash_event(acc, kind, quote, amount), quote_id=quote, amount_e8=amount)

    def fill(self, s: int, number: int, qty: int, price: int, reference: int, liquidity: int, wait_t: int = 0) -> bool:
        """Let the venue execute (part of) an order."""
        return self.rig.event(
            c.EV_FILL, lambda acc: trading.fill(acc, s, number, qty, price, reference, liquidity), wait_t=wait_t,
            instrument_id=s, order_id=number, qty_e8=qty, price_e8=price, reference_e8=reference, liquidity_id=liquidity,
            quote_id=self.rig.model.books[s].pair.quote_id,
        )  # fmt: skip

    def fill_part(self, s: int, part_ppm: int, away_ppm: int = 0, liquidity: int = c.TAKER, wait_t: int = 0) -> bool:
        """Execute a share of what is left of an order, some way from the price best for the venue; return whether it was taken."""
        book = self.rig.model.books[s]
        o = book.order
        if o is None:
            return False
        qty = max(o.left * part_ppm // PPM, 1)
        best = o.limit if o.side == c.BUY else max(book.mark, 1)
        return self.fill(s, o.number, qty, max(best * (PPM - away_ppm) // PPM, 1), book.mark, liquidity, wait_t)

    def answer(self, s: int, number: int, status: int, again: int, wait_t: int = 0) -> bool:
        """Let the venue say something about an order."""
        return self.rig.event(
            c.EV_ORDER, lambda acc: trading.answer(acc, s, number, status, again), wait_t=wait_t,
            instrument_id=s, order_id=number, status_id=status, value_n=again,
        )  # fmt: skip

    def beat(self, wait_t: int, skew_ms: int = 0) -> None:
        """Let time pass."""
        self.rig.event(c.EV_HEARTBEAT, lambda acc: events.heartbeat(acc, skew_ms), wait_t=wait_t, value_n=skew_ms)

    def control(self, switch: int, value: int) -> None:
        """Throw a switch."""
        self.rig.event(c.EV_CONTROL, lambda acc: events.control(acc, switch, value), instrument_id=switch, value_n=value)

    def rate(self, quote: int, price: int) -> None:
        """Bring a rate of a quote currency."""
        self.rig.event(c.EV_RATE, lambda acc: events.rate(acc, quote, price), quote_id=quote, price_e8=price)

    def quote(self, s: int, bid: int, ask: int) -> None:
        """Bring the best bid and ask."""
        self.rig.event(c.EV_QUOTE, lambda acc: events.quote(acc, s, bid, ask), instrument_id=s, price_e8=bid, reference_e8=ask)

    def membership(self, ids: list[int], version: int) -> None:
        """Bring a cluster membership."""
        rows = np.zeros(INSTRUMENTS, CLUSTER)
        rows["cluster_id"][: len(ids)] = ids
        self.rig.event(
            c.EV_CLUSTERS, lambda acc: events.clusters(acc, ids, version), clusters=rows, cluster_n=0, value_n=version
        )

    # ---- what holds for any account, read from the core's state alone --------------------------------------------
    def sound(self) -> None:
        """Check that cash covers every open buy, nothing is short, and nothing ended keeps a reservation."""
        state = self.rig.states[0]
        used = self.rig.used
        orders: list[dict[str, int]] = [dict(zip(o.dtype.names, o.item(), strict=True)) for o in state["orders"][:used]]
        positions = state["positions"]["qty_e8"][:used].tolist()
        assert min(positions) >= 0, "no short position"
        assert min(state["cash"]["cash_e8"].tolist()) >= 0, "cash is never negative"
        for o, held in zip(orders, positions, strict=True):
            quiet = o["order_id"] == 0 or o["side_id"] == c.SELL or o["status_id"] == c.O_RETRYING
            assert o["reserve_e8"] == 0 if quiet else o["reserve_e8"] >= 0
            if o["order_id"] and o["side_id"] == c.SELL:
                assert o["left_e8"] <= held, "a sale never exceeds what is held"


def at_length(share_n: int) -> int:
    """Return how many examples the slow proof of a machine gets: its share (of 100) of BALLAST_MACHINE_EXAMPLES."""
    return int(os.environ.get("BALLAST_MACHINE_EXAMPLES", "22000")) * share_n // 100


def prove(machine: type[DeskMachine], examples: int, steps: int) -> Counter[str]:
    """Run a machine, report how many cases it took, and return the counts.

    The seed comes from BALLAST_SEED, else from pytest's own (printed in its header); it is part of the report line.
    """
    number = int(os.environ.get("BALLAST_SEED") or (0 if "CI" in os.environ else random.getrandbits(32)))
    machine.totals = Counter()
    started, started_cpu = time.perf_counter(), time.process_time()
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(number)(machine), settings=chosen)
    finally:
        seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
        totals: Any = machine.totals
        tally.report(
            f"{machine.__name__}: {totals['examples']:,} examples, {totals['steps']:,} steps taken, "
            f"{totals['broken events refused']:,} broken events refused, {totals['admitted']:,} buys admitted, "
            f"{totals['refused']:,} refused, {seconds:.0f} s ({cpu:.0f} s of one core), BALLAST_SEED={number}"
        )
    return machine.totals
