"""The ledger as a state machine: cash of three currencies in and out, trades, fees by volume, rates, value, drawdown, tiers."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from runtime.core import codes as c
from runtime.policy import DrawdownTier, FeeTier, PairRules, RiskProfile
from tests.support.model import rig
from tests.support.model.account import DAY_T, E8, PPM
from tests.support.model.machine import LAX, PARTS, DeskMachine, at_length, fee_schedules, prove

INSTRUMENTS = st.integers(0, 2)
QUOTES = st.integers(0, 2)
TIERS = tuple(DrawdownTier(drawdown_ppm=d, size_ppm=PPM, allow_entry=True) for d in (0, 100_000, 150_000, 200_000))
PROFILES = st.builds(
    RiskProfile,
    fees=fee_schedules(),
    maker_entry=st.booleans(),
    tiers=st.just(TIERS),
    derisk_ppm=st.sampled_from((333_333, 500_000)),
    order_ttl_t=st.just(86_400 * 7),
    bar_age_max_t=st.just(86_400),
    forecast_age_max_t=st.just(86_400 * 30),
    **{name: st.just(value) for name, value in (LAX | {"base_ppm": 400_000}).items()},
)


class LedgerMachine(DeskMachine):
    """Three instruments, one per currency; the chain of entries is followed on its own, apart from the model."""

    @initialize(profile=PROFILES, cash_e8=st.sampled_from((1, 10**10, 10**13)))
    def begin(self, profile: RiskProfile, cash_e8: int) -> None:
        self.balances = [0, 0, 0]
        self.entries = [0, 0, 0]
        self.last = [0, 0, 0]
        self.open(profile, [PairRules(quote_id=quote, cost_min_e8=0) for quote in range(3)], cash_e8)
        self.balances = list(self.rig.model.cash)
        self.entries, self.last = [1, 1, 1], [1, 2, 3]

    def follow(self) -> None:
        """Follow the entries that the last event wrote: before is the previous after, and nothing is left out."""
        for row in rig.OUT.cash_ledger[: rig.OUT.n[0]["cash_ledger"]]:
            quote = int(row["quote_id"])
            before, delta, after = int(row["before_e8"]), int(row["delta_e8"]), int(row["after_e8"])
            assert before == self.balances[quote]
            assert before + delta == after >= 0
            self.entries[quote] += 1
            assert (int(row["entry_n"]), int(row["previous_entry_id"])) == (self.entries[quote], self.last[quote])
            self.balances[quote], self.last[quote] = after, int(row["entry_id"])
            self.rig.counts["entries"] += 1

    @rule(quote=st.integers(-1, 3), kind=st.sampled_from((c.EV_DEPOSIT, c.EV_WITHDRAWAL, c.EV_CORRECTION, c.EV_RECONCILIATION)),
          amount=st.one_of(st.integers(-(10**13), 10**13), st.sampled_from((-1, 0, 1, 10**10))))  # fmt: skip
    def moved(self, quote: int, kind: int, amount: int) -> None:
        if self.cash(kind, quote, amount):
            self.follow()

    @rule(
        quote=QUOTES,
        kind=st.sampled_from((c.EV_WITHDRAWAL, c.EV_WITHDRAWAL, c.EV_WITHDRAWAL, c.EV_CORRECTION)),
        more=st.sampled_from((-1, 0, 1)),
    )
    def emptied(self, quote: int, kind: int, more: int) -> None:
        """Take everything, one unit less, one more than there is."""
        amount = self.rig.model.cash[quote] + more
        if self.cash(kind, quote, amount if kind == c.EV_WITHDRAWAL else -amount):
            self.follow()

    @rule(s=INSTRUMENTS, part=PARTS, away=st.sampled_from((0, 1, 9_999)), liquidity=st.sampled_from((c.TAKER, c.MAKER)))
    def buy(self, s: int, part: int, away: int, liquidity: int) -> None:
        self.rig.buy(s)
        if self.fill_part(s, part, away, liquidity):
            self.follow()

    @rule(s=INSTRUMENTS, offset=st.sampled_from((-1, 0, 1)), taker=st.integers(1, 9_999))
    def fee_tier_on_edge(self, s: int, offset: int, taker: int) -> None:
        """Let the next fee tier begin exactly at the account's volume, one unit below, one above; then trade."""
        volume = max(self.rig.model.volume_30d() + offset, 1)
        first = FeeTier(volume_e8=0, maker_ppm=taker, taker_ppm=10_000)
        self.rig.govern(fees=(first, FeeTier(volume_e8=volume, maker_ppm=taker // 2, taker_ppm=taker)))
        self.buy(s, PPM // 3, 0, c.TAKER)

    @rule(s=INSTRUMENTS, part=PARTS, away=st.sampled_from((0, 1, 400_000, PPM)), action=st.sampled_from((c.EXIT, c.DERISK)))
    def sell(self, s: int, part: int, away: int, action: int) -> None:
        if self.rig.model.books[s].lots:
            self.rig.sell(s, action)
            if self.fill_part(s, part, away):
                self.follow()

    @rule(quote=QUOTES, price=st.sampled_from((0, E8 // 4, 73_456_789, E8, E8 + 1, 4 * E8)))
    def rated(self, quote: int, price: int) -> None:
        self.rate(quote, price)

    @rule(moves=st.lists(st.sampled_from((PPM, 999_999, 1_020_000, 930_000, 700_000, 1_500_000)), min_size=3, max_size=3),
          wait_t=st.sampled_from((1, 3_600)))  # fmt: skip
    def market(self, moves: list[int], wait_t: int) -> None:
        self.close(dict(enumerate(moves)), 10**15, wait_t)

    @rule(days=st.sampled_from((0, 1, 2, 28, 29, 30, 31, 400)), rest=st.sampled_from((0, -1, 1)))
    def days_pass(self, days: int, rest: int) -> None:
        """Days leave the volume window; the second before and after midnight included."""
        now_t = self.rig.model.now_t
        self.beat(max(days * DAY_T + rest - now_t % DAY_T, 0))
        self.market([PPM] * 3, 1)

    @rule(amount=st.sampled_from((10**11, 10**13)))
    def released(self, amount: int) -> None:
        """The operator releases the tier; somebody pays in, so that there is something to trade with."""
        self.control(c.SWITCH_RELEASE_TIER, 0)
        self.tier = c.TIER_NORMAL
        for quote in range(3):
            if self.rig.model.cash[quote] < 10**10 and self.cash(c.EV_DEPOSIT, quote, amount):
                self.follow()

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def value_is_what_there_is(self) -> None:
        self.sound()
        state = self.rig.states[0]
        assert state["cash"]["cash_e8"].tolist() == self.balances
        gross = sum(int(p["value_e8"]) for p in state["positions"][:3])
        assert int(state["desk"]["gross_e8"]) == gross == sum(state["cash"]["exposure_e8"].tolist())
        tier, before = int(state["desk"]["tier_id"]), getattr(self, "tier", 0)
        assert tier == before or before != c.TIER_HALT20, "HALT20 ends only by release"
        self.tier = tier
        self.rig.counts[f"tier {c.TIER_NAMES[tier]}"] += 1


def test_ledger() -> None:
    totals = prove(LedgerMachine, 60, 30)
    assert totals["entries"] > 100


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_ledger_at_length() -> None:
    totals = prove(LedgerMachine, at_length(25), 50)
    assert all(totals[f"tier {name}"] > 100 for name in c.TIER_NAMES.values())
