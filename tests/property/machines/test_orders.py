"""Orders as a state machine: approvals, the venue's answers in any order, fills, retries, cancels, expiry, late and foreign events."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, precondition, rule

from runtime.core import codes as c
from runtime.policy import PairRules, RiskProfile
from tests.support.model.account import PPM, View
from tests.support.model.machine import LAX, PAIRS, PARTS, WAITS, DeskMachine, at_length, fee_schedules, prove

INSTRUMENTS = st.integers(0, 2)
ANSWERS = st.sampled_from(
    (c.O_OPEN, c.O_UNKNOWN, c.O_REJECTED, c.O_REJECTED, c.O_CANCELLED, c.O_DENIED, c.O_EXPIRED, c.O_FILLED, c.O_PARTIAL)
)
PROFILES = st.builds(
    RiskProfile,
    fees=fee_schedules(),
    limit_ppm=st.sampled_from((0, 10_000)),
    order_ttl_t=st.sampled_from((60, 600, 7_200, 86_400)),
    retries_max_n=st.integers(0, 4),
    retry_t=st.sampled_from((1, 60, 60)),
    bar_age_max_t=st.just(86_400),
    forecast_age_max_t=st.just(86_400 * 30),
    **{name: st.just(value) for name, value in LAX.items()},
)


class OrderMachine(DeskMachine):
    """Three instruments; the bundle remembers every order number that ever was."""

    numbers = Bundle("numbers")

    @initialize(profile=PROFILES, pairs=st.lists(PAIRS, min_size=3, max_size=3), cash_e8=st.sampled_from((10**12, 10**13)))
    def begin(self, profile: RiskProfile, pairs: list[PairRules], cash_e8: int) -> None:
        self.open(profile, pairs, cash_e8)

    @rule(target=numbers, s=INSTRUMENTS)
    def buy(self, s: int) -> int:
        self.rig.buy(s)
        return self.rig.model.orders_made

    @rule(target=numbers, status=st.sampled_from((0, 0, c.O_OPEN, c.O_UNKNOWN, c.O_REJECTED)), part=PARTS)
    def buy_everywhere(self, status: int, part: int) -> int:
        """Buy what there is to buy, and let the venue say the same about each."""
        for s, book in enumerate(self.rig.model.books):
            if book.order is None:
                self.rig.buy(s)
                if book.order and status:
                    self.answer(s, book.order.number, status, 1)
                elif part < PPM:
                    self.fill_part(s, part)
        return self.rig.model.orders_made

    @rule(target=numbers, s=INSTRUMENTS, action=st.sampled_from((c.EXIT, c.EXIT, c.DERISK, c.REALISE)))
    def sell(self, s: int, action: int) -> int:
        if self.rig.model.books[s].lots:
            self.rig.sell(s, action)
        return self.rig.model.orders_made

    @rule(s=INSTRUMENTS, part=PARTS, away=st.sampled_from((0, 0, 1_000, -1)), wait_t=st.sampled_from((0, 1, 60)),
          liquidity=st.sampled_from((c.TAKER, c.MAKER)))  # fmt: skip
    def executed(self, s: int, part: int, away: int, wait_t: int, liquidity: int) -> None:
        self.fill_part(s, part, away, liquidity, wait_t)

    @rule(s=INSTRUMENTS, status=ANSWERS, again=st.integers(0, 1), wait_t=st.sampled_from((0, 1)))
    def answered(self, s: int, status: int, again: int, wait_t: int) -> None:
        o = self.rig.model.books[s].order
        if o:
            self.answer(s, o.number, status, again, wait_t)

    @rule(s=INSTRUMENTS, again=st.integers(0, 1), twice=st.booleans())
    def rejected(self, s: int, again: int, *, twice: bool) -> None:
        """A rejection, and perhaps the same again: the second must change nothing."""
        o = self.rig.model.books[s].order
        if o:
            for _ in range(1 + twice):
                self.answer(s, o.number, c.O_REJECTED, again)

    @rule(s=INSTRUMENTS)
    def rejected_every_time(self, s: int) -> None:
        """The venue says no to every attempt: one, two, four minutes, until there is none left."""
        for _ in range(5):
            self.due(s)
            o = self.rig.model.books[s].order
            if o:
                self.answer(s, o.number, c.O_REJECTED, 1)

    @rule(s=INSTRUMENTS)
    def due(self, s: int) -> None:
        """Wait for the very second of the next attempt, and for the one before it."""
        o = self.rig.model.books[s].order
        if o and o.status == c.O_RETRYING and o.retry_t > self.rig.model.now_t:
            self.beat(o.retry_t - self.rig.model.now_t - 1)
            self.beat(1)

    @rule(number=numbers, s=INSTRUMENTS, status=ANSWERS, again=st.integers(0, 1))
    def late_answer(self, number: int, s: int, status: int, again: int) -> None:
        self.answer(s, number, status, again)

    @rule(number=numbers, s=INSTRUMENTS, qty=st.sampled_from((0, 1, 10**7, 10**14)))
    def late_fill(self, number: int, s: int, qty: int) -> None:
        price = self.rig.model.books[s].mark
        self.fill(s, number, qty, price, price, c.TAKER)

    @rule(s=INSTRUMENTS, number=st.sampled_from((0, -1, 10**6)))
    def foreign(self, s: int, number: int) -> None:
        """Events for orders that never were."""
        self.answer(s, number, c.O_OPEN, 0)
        self.fill(s, number, 1, 1, 1, c.TAKER)

    @rule(wait_t=WAITS, skew=st.sampled_from((0, 0, 0, 0, 0, 0, 2_001)))
    def time_passes(self, wait_t: int, skew: int) -> None:
        self.beat(wait_t, skew)

    @rule(move=st.sampled_from((PPM, 990_000, 1_010_000, 500_000)), wait_t=st.sampled_from((60, 3_600)))
    def market(self, move: int, wait_t: int) -> None:
        self.close(dict.fromkeys(range(3), move), 10**15, wait_t)

    @rule(
        s=INSTRUMENTS, outlook=st.sampled_from((c.POSITIVE, c.POSITIVE, c.NEUTRAL)), edge=st.sampled_from((300_000, 300_000, 0))
    )
    def changed_mind(self, s: int, outlook: int, edge: int) -> None:
        self.rig.view(s, View(500_000, 500_000, 0, edge, 0, 0), outlook=outlook)

    @rule(value=st.sampled_from((0, 0, 0, 0, 0, c.KILL_EXCHANGE)))
    def killed(self, value: int) -> None:
        self.control(c.SWITCH_KILL, value)

    @rule(quote=st.integers(0, 2), short=st.sampled_from((0, 1, -1, 999, 1_000, 1_001)))
    def withdrawn(self, quote: int, short: int) -> None:
        """Take out all that no open buy may need, one unit more, one less."""
        acc = self.rig.model
        self.cash(c.EV_WITHDRAWAL, quote, acc.cash[quote] - acc.reserved(quote) - short)

    @rule(quote=st.integers(0, 2))
    def deposited(self, quote: int) -> None:
        self.cash(c.EV_DEPOSIT, quote, 10**11)

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def nothing_leaks(self) -> None:
        self.sound()
        acc, state = self.rig.model, self.rig.states[0]
        for quote in range(3):
            assert acc.reserved(quote) <= acc.cash[quote], "cash covers every open buy at its worst price"
        waiting = int((state["orders"]["status_id"] == c.O_RETRYING).sum())
        assert int(state["desk"]["retries_n"]) == waiting


def test_orders() -> None:
    totals = prove(OrderMachine, 80, 40)
    assert totals["steps"] > 1_000


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_orders_at_length() -> None:
    prove(OrderMachine, at_length(25), 50)
