"""The core beside its model: every step is taken by both, and everything that can be seen is compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from runtime.core import campaign, step
from runtime.core import codes as c
from runtime.core.records import BAR, BY_NAME, CASH, CLUSTER, DESK, EVENT, FORECAST, HOUR_T, INSTRUMENTS, MAX_LOTS, POSITION
from runtime.engine import new_out, new_state
from runtime.jit import core
from runtime.policy import PairRules, RiskProfile
from tests.support.model import admission, events, trading
from tests.support.model.account import Account, Broken, View

START_T: Final = 1_577_836_800
FIELDS: Final = {name: i for i, name in enumerate(EVENT.names or ())}
ORDER: Final = {name: i for i, name in enumerate(BY_NAME["order_request"].dtype.names or ())}
OUT: Final = new_out(512)
BEFORE: Final = new_state(1, 1)
NO_BARS, NO_FORECASTS = np.zeros(INSTRUMENTS, BAR), np.zeros(INSTRUMENTS, FORECAST)
NO_CLUSTERS = np.zeros(INSTRUMENTS, CLUSTER)


@core
def buy(policies: Any, states: Any, out: Any, s: int, action: int, reason: int) -> None:
    """Carry a wish to buy through the core's own gates, as a decision on a forecast would."""
    campaign.try_buy(policies[0], states[0], out, s, action, reason)


@core
def sell(policies: Any, states: Any, out: Any, s: int, action: int, reason: int) -> None:
    """Carry a wish to sell, as a decision would."""
    campaign.try_sell(policies[0], states[0], out, s, action, reason)


def named(names: tuple[str, ...] | None, got: tuple[int, ...], expected: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Return the fields that differ, as (core, model)."""
    return {n: (g, e) for n, g, e in zip(names or (), got, expected, strict=True) if g != e}


class Rig:
    """A core and a model of the same account.

    Args:
        disabled: an instrument whose pair is switched off, or -1.
    """

    def __init__(self, profile: RiskProfile, pairs: list[PairRules], disabled: int = -1) -> None:
        self.model = Account(profile, pairs, disabled)
        self.policies = profile.to_record(pairs)
        if disabled >= 0:
            self.policies[0]["instruments"][disabled]["enabled_n"] = 0
        self.states = new_state(1, 1)
        self.used = len(pairs)
        self.counts: Counter[str] = Counter()
        self.model.now_t = START_T
        self.event(c.EV_HEARTBEAT, lambda acc: events.heartbeat(acc, 0))

    # ---- steps --------------------------------------------------------------------------------------------------
    def event(self, kind: int, model: Callable[[Account], Any], *, wait_t: int = 0, bars: Any = NO_BARS,
              clusters: Any = NO_CLUSTERS, **fields: int) -> bool:  # fmt: skip
        """Apply one event to both; return whether both accepted it."""
        acc = self.model
        at_t = acc.now_t + wait_t
        values = [0] * len(FIELDS)
        values[0], values[1], values[2], values[3], values[4] = kind, at_t, -1, -1, -1
        if kind == c.EV_BARS:
            values[FIELDS["value_n"]] = at_t - HOUR_T
        for name, value in fields.items():
            values[FIELDS[name]] = value
        event = np.zeros(1, EVENT)
        event[0] = tuple(values)

        def real() -> None:
            step.step(self.policies, self.states, OUT, event, bars, NO_FORECASTS, clusters)

        before_t, acc.now_t = acc.now_t, at_t
        return self._both(real, lambda: model(acc), before_t)

    def buy(self, s: int, action: int = c.ENTER, reason: int = c.R_ENTRY_POSITIVE) -> Any:
        """Carry a wish to buy on both sides; return the model's verdict."""
        verdicts: list[Any] = []
        real = lambda: buy(self.policies, self.states, OUT, s, action, reason)  # noqa: E731  one expression, used once
        self._both(real, lambda: verdicts.append(trading.wish_buy(self.model, s, action, reason)))
        self.counts["admitted" if verdicts[0].gate == c.G_PASS else "refused"] += 1
        self.counts[f"gate {c.GATE_NAMES[verdicts[0].gate]}"] += 1
        return verdicts[0]

    def sell(self, s: int, action: int = c.EXIT, reason: int = c.R_EXIT_NEGATIVE) -> None:
        """Carry a wish to sell on both sides."""
        real = lambda: sell(self.policies, self.states, OUT, s, action, reason)  # noqa: E731  one expression, used once
        self._both(real, lambda: trading.wish_sell(self.model, s, action, reason))

    def view(self, s: int, view: View, *, outlook: int = c.POSITIVE, age_t: int = 0) -> None:
        """Put a forecast beside an instrument that the strategy does not act on by itself (`valid_n` 0)."""
        acc = self.model
        book = acc.books[s]
        book.view, book.outlook, book.forecast_t = view, outlook, max(acc.now_t - age_t, 0)
        state = self.states[0]
        state["forecasts"][s] = (view.prob, view.prob, view.prob_far, view.near, view.main, view.far, view.uncertainty, 0)
        state["positions"][s]["outlook_id"] = outlook
        state["positions"][s]["forecast_t"] = book.forecast_t

    # ---- comparison ---------------------------------------------------------------------------------------------
    def _both(self, real: Callable[[], None], model: Callable[[], None], before_t: int = 0) -> bool:
        OUT.n[:] = 0
        self.model.rows.clear()
        np.copyto(BEFORE, self.states)
        refused = None
        try:
            model()
        except Broken as e:
            refused = e
        try:
            real()
        except ValueError as e:
            np.copyto(self.states, BEFORE)
            if refused is None:
                raise AssertionError("the core refused what the model takes") from e
            self.model.rows.clear()
            self.model.now_t = before_t
            self.counts["broken events refused"] += 1
            self._states()
            return False
        assert refused is None, f"the core took what the model refuses: {refused}"
        self._rows()
        self._states()
        self._caps()
        self.counts["steps"] += 1
        return True

    def _caps(self) -> None:
        """Check that nothing sent in this step exceeds a cap, the number of positions, or the cash; count what was checked."""
        acc = self.model
        for row in acc.rows.get("order_request", ()):
            s = row[ORDER["instrument_id"]]
            book = acc.books[s]
            if row[ORDER["status_id"]] != c.O_NEW or row[ORDER["side_id"]] != c.BUY or book.order is None:
                continue
            self.counts["admissions checked"] += 1
            for gate, cap, used in admission.caps(acc, s):
                assert used <= cap, f"{c.GATE_NAMES[gate]}: {used} in use under a cap of {cap}"
            quote = book.pair.quote_id
            assert acc.reserved(quote) <= acc.cash[quote] - admission.MARGIN, "cash covers open buys"
            assert book.lots or sum(1 for b in acc.books if b.lots or b.order) <= acc.profile.positions_max

    def govern(self, **changes: Any) -> None:
        """Change settings of the profile on both sides, to put a limit where a test wants it."""
        self.model.profile = self.model.profile.model_copy(update=changes)
        self.policies[0] = self.model.profile.to_record([book.pair for book in self.model.books])[0]
        for s, book in enumerate(self.model.books):
            self.policies[0]["instruments"][s]["enabled_n"] = int(book.enabled)

    def poke(self, s: int, *, turnover: int) -> None:
        """Set an instrument's mean turnover on both sides."""
        self.model.books[s].turnover = turnover
        self.states[0]["positions"][s]["turnover_e8"] = turnover

    def _rows(self) -> None:
        counts = OUT.n[0]
        for name, record in BY_NAME.items():
            expected = self.model.rows.get(name, ())
            n = int(counts[name])
            if not n and not expected:
                continue
            got = getattr(OUT, name)[:n].tolist()
            assert len(got) == len(expected), (name, got, expected)
            for g, e in zip(got, expected, strict=True):
                assert g == e, (name, named(record.dtype.names, g, e))

    def _states(self) -> None:
        acc, state, used = self.model, self.states[0], self.used
        desk = state["desk"].item()
        expected = acc.desk_fields()
        assert desk == expected, ("desk", named(DESK.names, desk, expected))
        for quote, cash in enumerate(state["cash"].tolist()):
            assert cash == acc.cash_fields(quote), (quote, named(CASH.names, cash, acc.cash_fields(quote)))
        assert state["days"]["volume_e8"].tolist() == acc.day_volumes()
        positions = state["positions"][:used].tolist()
        heads = state["positions"]["lot_head_n"][:used].tolist()
        orders = state["orders"][:used]
        for s, position in enumerate(positions):
            expected = acc.position_fields(s, heads[s])
            assert position == expected, (s, named(POSITION.names, position, expected))
            self._order(s, orders[s])
            self._lots(s, heads[s], state["lots"][s])
        assert not state["orders"]["order_id"][used:].any()
        assert not state["positions"]["qty_e8"][used:].any()

    def _order(self, s: int, row: Any) -> None:
        o = self.model.books[s].order
        if o is None:
            ended = ("order_id", "left_e8", "reserve_e8", "status_id", "retry_t")
            assert not any(row[name] for name in ended), {name: int(row[name]) for name in ended}
            return
        got = dict(zip(row.dtype.names, row.item(), strict=True))
        expected = {
            "order_id": o.number, "order_row_id": o.row, "signal_id": o.signal, "side_id": o.side, "status_id": o.status,
            "action_id": o.action, "reason_id": o.reason, "attempt_n": o.attempt, "qty_e8": o.qty, "left_e8": o.left,
            "reserve_e8": o.reserve, "decision_price_e8": o.decision_price, "limit_price_e8": o.limit,
            "placed_t": o.placed_t, "expires_t": o.expires_t, "retry_t": o.retry_t, "campaign_id": o.campaign,
            "acked_n": int(o.acked),
        }  # fmt: skip
        assert got == expected, (s, {n: (got[n], expected.get(n)) for n in got if got[n] != expected.get(n)})

    def _lots(self, s: int, head: int, ring: Any) -> None:
        lots = self.model.books[s].lots
        if lots:
            rows = ring.tolist()
            got = [rows[(head + k) % MAX_LOTS] for k in range(len(lots))]
            assert got == [(lot.number, lot.qty, lot.cost, lot.opened_t) for lot in lots], (s, got, lots)
