"""The risk engine as a state machine: any state, any wish; the first gate that refuses with its two numbers, or the order's terms."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from runtime.core import codes as c
from runtime.policy import DrawdownTier, PairRules, QuoteCap, RiskProfile
from tests.support.model import admission
from tests.support.model.account import E8, PPM, View
from tests.support.model.machine import PAIRS, PARTS, WAITS, DeskMachine, at_length, fee_schedules, prove

N = 5
INSTRUMENTS = st.integers(0, N - 1)
OFFSETS = st.sampled_from((-1, 0, 1))
SHARES = st.sampled_from((PPM, PPM, PPM, PPM, 700_000, 200_000, 60_000, 0))
AMOUNTS = st.sampled_from((0, 0, 0, 0, 0, 10**13, 10**12, 1))
MONEY_GATES = ("total_cap", "cluster_cap", "budget_cap", "quote")
EDGES = ("cost", "turnover", "spread", "bar age", "forecast age", "skew", "cash", "quantity", "notional", "positions", "severe")


@st.composite
def profiles(draw: st.DrawFn) -> RiskProfile:
    """Draw limits that bind often, as shares, as amounts, and mixed."""
    flags = draw(st.lists(st.booleans(), min_size=6, max_size=6))
    downs, sizes = (0, 100_000, 150_000, 200_000), (PPM, draw(st.sampled_from((PPM, 500_000))), 250_000, 0)
    tiers = [
        DrawdownTier(drawdown_ppm=d, size_ppm=z, allow_entry=k == 0 or flags[k - 1], allow_reentry=k == 0 or flags[k + 2])
        for k, (d, z) in enumerate(zip(downs, sizes, strict=True))
    ]
    quotes = [QuoteCap(cap_ppm=draw(SHARES), cap_e8=draw(AMOUNTS)) for _ in range(3)]
    return RiskProfile(
        fees=draw(fee_schedules()),
        base_ppm=draw(st.sampled_from((20_000, 100_000, 300_000, PPM))),
        entry_min_ppm=draw(st.sampled_from((0, 250_000, PPM))),
        size_low_ppm=draw(st.sampled_from((0, 500_000, PPM))),
        positions_max=draw(st.sampled_from((1, 3, 32, 32))),
        total_cap_ppm=draw(SHARES),
        total_cap_e8=draw(AMOUNTS),
        cluster_cap_ppm=draw(SHARES),
        cluster_cap_e8=draw(AMOUNTS),
        budget_cap_ppm=draw(SHARES),
        budget_cap_e8=draw(AMOUNTS),
        quote_caps=(quotes[0], quotes[1], quotes[2]),
        tiers=(tiers[0], tiers[1], tiers[2], tiers[3]),
        severe_max=draw(st.sampled_from((1, 2, 32))),
        maker_entry=draw(st.booleans()),
        limit_ppm=draw(st.sampled_from((0, 10_000, 200_000))),
        liquidity_ppm=draw(st.sampled_from((50_000, PPM))),
        forecast_age_max_t=draw(st.sampled_from((0, 21_600, 2_592_000, 2_592_000))),
        bar_age_max_t=draw(st.sampled_from((0, 1_800, 86_400, 86_400))),
        order_ttl_t=86_400,
    )


class RiskMachine(DeskMachine):
    """Five instruments over three currencies; wishes meet limits that were moved to where they just bind, or just do not."""

    @initialize(profile=profiles(), pairs=st.lists(PAIRS, min_size=N, max_size=N), cash_e8=st.sampled_from((10**9, 10**12, 10**14)),
                disabled=st.sampled_from((-1, -1, -1, 1)))  # fmt: skip
    def begin(self, profile: RiskProfile, pairs: list[PairRules], cash_e8: int, disabled: int) -> None:
        self.open(profile, pairs, cash_e8, disabled)

    # ---- wishes -------------------------------------------------------------------------------------------------
    @rule(s=INSTRUMENTS, action=st.sampled_from((c.ENTER, c.ENTER, c.REENTER)))
    def buy(self, s: int, action: int) -> None:
        self.rig.buy(s, self.sensible(s, action))

    def sensible(self, s: int, action: int) -> int:
        """A re-entry buys back what was realised; without that it would always be refused for its size."""
        return action if self.rig.model.books[s].taken_e8 else c.ENTER

    @rule(s=INSTRUMENTS, part=PARTS)
    def hold_something(self, s: int, part: int) -> None:
        """Buy under limits that leave room, and own it: the next wish finds a position there."""
        if self.rig.buy(s).gate == c.G_PASS:
            self.fill_part(s, part)

    @rule(s=INSTRUMENTS, action=st.sampled_from((c.EXIT, c.DERISK, c.REALISE)), part=PARTS)
    def sell(self, s: int, action: int, part: int) -> None:
        if self.rig.model.books[s].lots:
            self.rig.sell(s, action)
            self.fill_part(s, part)

    @rule(s=INSTRUMENTS, which=st.sampled_from(MONEY_GATES), offset=OFFSETS, share=st.sampled_from((PPM, PPM, PPM // 3, 0)),
          action=st.sampled_from((c.ENTER, c.ENTER, c.REENTER)))  # fmt: skip
    def squeeze(self, s: int, which: str, offset: int, share: int, action: int) -> None:
        """Move one cap to exactly what a wish (or a third of it, or none) would fill, one unit less, one more; then wish."""
        acc, action = self.rig.model, self.sensible(s, action)
        self.move_cap(s, which, admission.wished(acc, s, action) * share // PPM + offset)
        self.rig.buy(s, action)

    @rule(s=INSTRUMENTS, which=st.sampled_from(MONEY_GATES), offset=OFFSETS)
    def squeeze_a_retry(self, s: int, which: str, offset: int) -> None:
        """Let a buy be rejected, move one cap to exactly what it will need, one unit less, one more; then wait for it."""
        acc, book = self.rig.model, self.rig.model.books[s]
        if book.order is None:
            self.rig.buy(s)
        o = book.order
        if o and o.side == c.BUY and self.answer(s, o.number, c.O_REJECTED, 1) and book.order:
            self.move_cap(s, which, acc.base(book.pair.quote_id, acc.worst_cost(o.left, o.limit)) + offset)
            self.beat(o.retry_t - acc.now_t)

    def move_cap(self, s: int, which: str, room: int) -> None:
        """Leave so much room under a cap, as an absolute amount."""
        acc = self.rig.model
        used = {gate: used for gate, _, used in admission.caps(acc, s)}
        gate = {"total_cap": c.G_TOTAL, "cluster_cap": c.G_CLUSTER, "budget_cap": c.G_BUDGET, "quote": c.G_QUOTE}[which]
        cap = max(used[gate] + room, 1)
        if which == "quote":
            caps = list(acc.profile.quote_caps)
            caps[acc.books[s].pair.quote_id] = QuoteCap(cap_ppm=PPM, cap_e8=min(cap, 9 * 10**15))
            self.rig.govern(quote_caps=tuple(caps))
        else:
            self.rig.govern(**{f"{which}_ppm": PPM, f"{which}_e8": cap})

    @rule(ppm=SHARES, amount=AMOUNTS, n=st.sampled_from((1, 3, 32)))
    def widen(self, ppm: int, amount: int, n: int) -> None:
        """Move every cap at once: percent, absolute, or both."""
        caps = {
            f"{name}_cap_{unit}": value for name in ("total", "cluster", "budget") for unit, value in (("ppm", PPM), ("e8", 0))
        }
        one = QuoteCap(cap_ppm=ppm, cap_e8=amount)
        self.rig.govern(**caps, quote_caps=(QuoteCap(cap_ppm=PPM), one, QuoteCap(cap_ppm=PPM)), positions_max=n, severe_max=n)

    @rule(s=INSTRUMENTS, which=st.sampled_from(EDGES), offset=OFFSETS)
    def edge(self, s: int, which: str, offset: int) -> None:
        """Put one of the other gates' numbers exactly on its limit, one below, one above; then wish."""
        self.place_on_edge(s, which, offset)
        self.rig.buy(s)

    def place_on_edge(self, s: int, which: str, offset: int) -> None:
        acc, book = self.rig.model, self.rig.model.books[s]
        p, now_t, quote = acc.profile, acc.now_t, book.pair.quote_id
        verdict = admission.judge(acc, s, c.ENTER)
        money = verdict.sized * E8 // acc.rates[quote]
        if which == "cost":
            self.rig.view(s, View(500_000, 500_000, 0, admission.round_trip(acc) + p.margin_ppm + offset, 0, 0))
        elif which == "turnover":
            self.rig.poke(s, turnover=max(money * PPM // p.liquidity_ppm + offset, 0))
        elif which == "spread":
            self.quote(s, PPM, PPM + p.spread_max_ppm + offset)
        elif which == "bar age":
            self.beat(max(book.mark_t + p.bar_age_max_t + offset - now_t, 0))
        elif which == "forecast age":
            self.rig.view(s, book.view, age_t=max(p.forecast_age_max_t + offset, 0))
        elif which == "skew":
            self.beat(0, -(p.skew_max_ms + offset))
        elif which == "cash":
            self.cash(c.EV_WITHDRAWAL, quote, acc.cash[quote] - acc.reserved(quote) - 1_000 - money - offset)
        elif which in {"quantity", "notional"} and verdict.qty:
            field, value = (
                ("qty_min_e8", verdict.qty) if which == "quantity" else ("cost_min_e8", verdict.qty * book.mark // E8)
            )
            book.pair = book.pair.model_copy(update={field: max(value + offset, 1)})
            self.rig.govern()
        elif which == "positions":
            taken = sum(1 for k, b in enumerate(acc.books) if k != s and (b.lots or b.order))
            self.rig.govern(positions_max=max(taken + offset, 1))
        elif which == "severe":
            self.rig.govern(severe_max=max(sum(b.recovering for b in acc.books) + offset, 1))

    # ---- what else happens to a desk ----------------------------------------------------------------------------
    @rule(s=INSTRUMENTS, part=PARTS, away=st.sampled_from((0, 3_000)))
    def executed(self, s: int, part: int, away: int) -> None:
        self.fill_part(s, part, away)

    @rule(
        s=INSTRUMENTS, status=st.sampled_from((c.O_OPEN, c.O_UNKNOWN, c.O_REJECTED, c.O_REJECTED, c.O_CANCELLED)), wait_t=WAITS
    )
    def answered(self, s: int, status: int, wait_t: int) -> None:
        """The venue answers; a rejected order comes back through every gate after its delay."""
        o = self.rig.model.books[s].order
        if o and self.answer(s, o.number, status, 1) and status == c.O_REJECTED:
            self.beat(wait_t)

    @rule(moves=st.lists(st.sampled_from((0, PPM, PPM, 970_000, 860_000, 600_000, 1_300_000, 20_000)), min_size=N, max_size=N),
          turnover=st.sampled_from((10**15, 10**15, 10**11)))  # fmt: skip
    def market(self, moves: list[int], turnover: int) -> None:
        self.close({s: move for s, move in enumerate(moves) if move}, turnover, 3_600)
        for s in range(N):
            self.rig.view(s, self.rig.model.books[s].view)

    @rule(ids=st.lists(st.integers(0, 2), min_size=N, max_size=N), version=st.integers(1, 9))
    def regrouped(self, ids: list[int], version: int) -> None:
        self.membership(ids, version)

    @rule(quote=st.integers(0, 2), price=st.sampled_from((E8 // 4, 73_456_789, E8, 4 * E8)))
    def rated(self, quote: int, price: int) -> None:
        self.rate(quote, price)

    @rule(
        switch=st.sampled_from((c.SWITCH_KILL, c.SWITCH_HALT, c.SWITCH_RELEASE_TIER)), value=st.sampled_from((0, 0, 0, 0, 0, 1))
    )
    def switched(self, switch: int, value: int) -> None:
        self.control(switch, value)

    @rule()
    def calm(self) -> None:
        """Release every switch, set the clock, and look at everything anew: the next wishes reach the later gates."""
        self.beat(0)
        for switch in (c.SWITCH_KILL, c.SWITCH_HALT, c.SWITCH_RELEASE_TIER):
            self.control(switch, 0)
        self.market([PPM] * N, 10**15)
        for s in range(N):
            self.rig.view(s, View(600_000, 550_000, 0, 300_000, 0, 0))

    @rule(quote=st.integers(0, 2), amount=st.sampled_from((10**9, 10**12, 10**14)))
    def deposited(self, quote: int, amount: int) -> None:
        if self.rig.model.cash[quote] < 10**15:
            self.cash(c.EV_DEPOSIT, quote, amount)

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def never_short_nor_overdrawn(self) -> None:
        self.sound()


GATES = [name for gate, name in c.GATE_NAMES.items() if gate != c.G_PASS]


def test_risk() -> None:
    totals = prove(RiskMachine, 120, 40)
    assert totals["admissions checked"] > 20


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_risk_at_length() -> None:
    totals = prove(RiskMachine, at_length(30), 50)
    assert all(totals[f"gate {name}"] > 0 for name in GATES), "every gate refused something"
