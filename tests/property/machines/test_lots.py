"""Lots as a state machine: purchases in many parts, a full ring, reductions over several lots, and nothing lost or made."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from runtime.core import codes as c
from runtime.policy import PairRules, RiskProfile
from tests.support.model import rig
from tests.support.model.account import PPM, RING
from tests.support.model.machine import LAX, PARTS, DeskMachine, at_length, fee_schedules, prove

INSTRUMENTS = st.integers(0, 1)
PROFILES = st.builds(
    RiskProfile,
    fees=fee_schedules(),
    derisk_ppm=st.sampled_from((1, 333_333, 500_000, 999_999)),
    take_ppm=st.sampled_from((1, 70_001, 330_000)),
    order_ttl_t=st.just(86_400 * 7),
    bar_age_max_t=st.just(86_400),
    forecast_age_max_t=st.just(86_400 * 30),
    **{name: st.just(value) for name, value in LAX.items()},
)
PAIR = st.builds(PairRules, quote_id=st.integers(0, 2), cost_min_e8=st.just(0), lot_e8=st.sampled_from((1, 1, 1_000)))


class LotMachine(DeskMachine):
    """Two instruments; what the core wrote is added up on its own, apart from the model."""

    @initialize(
        profile=PROFILES, pairs=st.lists(PAIR, min_size=2, max_size=2), cash_e8=st.sampled_from((10**7, 10**11, 10**13))
    )
    def begin(self, profile: RiskProfile, pairs: list[PairRules], cash_e8: int) -> None:
        self.bought: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.sold: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self.got: dict[int, int] = defaultdict(int)
        self.open(profile, pairs, cash_e8)

    def add_up(self) -> None:
        """Add up what the last event wrote: fills on one side, lots and trades on the other."""
        counts = rig.OUT.n[0]
        kinds = rig.OUT.position_lot["kind_id"][: counts["position_lot"]].tolist()
        self.rig.counts["merges"] += kinds.count(c.LOT_MERGE)
        for row in rig.OUT.order_fill[: counts["order_fill"]]:
            s, qty, money, fee = (int(row[n]) for n in ("instrument_id", "qty_e8", "notional_e8", "fee_e8"))
            if row["side_id"] == c.BUY:
                self.bought[s][0] += qty
                self.bought[s][1] += money + fee
            else:
                self.got[s] += money - fee
        previous = -1
        for row in rig.OUT.executed_trade[: counts["executed_trade"]]:
            s = int(row["instrument_id"])
            for k, name in enumerate(("qty_e8", "cost_e8", "proceeds_e8", "pnl_e8")):
                self.sold[s][k] += int(row[name])
            assert row["lot_id"] > previous, "oldest lot first"
            previous = int(row["lot_id"])

    @rule(s=INSTRUMENTS, part=PARTS, away=st.sampled_from((0, 1, 7_777)))
    def buy(self, s: int, part: int, away: int) -> None:
        self.rig.buy(s)
        self.part(s, part, away)

    @rule(s=INSTRUMENTS, n=st.sampled_from((1, 3, 20, RING, RING + 3)), away=st.sampled_from((0, 13)))
    def buy_in_parts(self, s: int, n: int, away: int) -> None:
        """Fill an order in equal parts: each part is a lot, until the ring is full."""
        self.rig.buy(s)
        for k in range(n):
            self.part(s, PPM // (n + 1 - k), away)

    @precondition(lambda self: any(book.lots for book in self.rig.model.books))
    @rule(s=INSTRUMENTS, action=st.sampled_from((c.EXIT, c.DERISK, c.REALISE)), parts=st.sampled_from((1, 1, 2, 7)),
          away=st.sampled_from((0, 3, 300_000)))  # fmt: skip
    def sell(self, s: int, action: int, parts: int, away: int) -> None:
        if self.rig.model.books[s].lots:
            self.rig.sell(s, action)
            for k in range(parts):
                self.part(s, PPM // (parts - k), away)

    @rule(s=INSTRUMENTS)
    def cancelled(self, s: int) -> None:
        o = self.rig.model.books[s].order
        if o:
            self.answer(s, o.number, c.O_CANCELLED, 0)

    @rule(move=st.sampled_from((PPM, 999_999, 1_070_003, 600_001)), wait_t=st.sampled_from((1, 3_600)))
    def market(self, move: int, wait_t: int) -> None:
        self.close({0: move, 1: move}, 10**15, wait_t)

    def part(self, s: int, part_ppm: int, away_ppm: int) -> None:
        """Execute a part of the order and check that nothing was lost or made."""
        if self.fill_part(s, part_ppm, away_ppm):
            self.add_up()
        state = self.rig.states[0]["positions"][s]
        held, cost, realised = int(state["qty_e8"]), int(state["cost_e8"]), int(state["realised_e8"])
        bought, spent = self.bought[s]
        sold, cost_out, proceeds, pnl = self.sold[s]
        assert bought - sold == held, "every unit bought is held or sold"
        assert spent - cost_out == cost, "every cost is in a lot or in a trade"
        assert proceeds == self.got[s], "the trades share out exactly what the sales brought"
        assert pnl == proceeds - cost_out == realised
        assert (held == 0) == (int(state["lot_n"]) == 0), "an empty position has no lots"
        assert held or cost == 0, "an empty position costs nothing"
        assert int(state["lot_n"]) <= RING

    @precondition(lambda self: hasattr(self, "rig"))
    @rule()
    def look(self) -> None:
        self.sound()


def test_lots() -> None:
    totals = prove(LotMachine, 40, 15)
    assert totals["steps"] > 200


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_lots_at_length() -> None:
    totals = prove(LotMachine, at_length(20), 20)
    assert totals["merges"] > 100
