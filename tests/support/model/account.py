"""An account as the design describes it, in plain integers: what it owns, what it owes, and what it has written down.

Nothing here imports the core's arithmetic. Everything that the core keeps as a running sum (exposures, counts, 30-day
volume, reservations) is computed here from what it stands for, each time it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.core import codes as c
from runtime.core.records import BY_NAME, CASH, DESK, POSITION
from runtime.policy import PairRules, RiskProfile

E8 = 10**8
PPM = 10**6
PPB = 10**9
DAY_T = 86_400
HOUR_T = 3_600
RING = 64
SATURATED = (2**63 - 1) // 4
PREFIX = ("account_id", "mode_id", "origin_hour_t", "hour_t", "at_t")


class Broken(Exception):
    """The event breaks an invariant: the core must refuse it."""


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up, for b > 0."""
    return -(-a // b)


def hour_of(at_t: int) -> int:
    """Return the start of the hour that contains a time."""
    return at_t - at_t % HOUR_T


@dataclass(slots=True)
class View:
    """What the model last said about an instrument."""

    prob: int = 0
    prob_far: int = 0
    near: int = 0
    main: int = 0
    far: int = 0
    uncertainty: int = 0

    def edge(self) -> int:
        """Expected gross return of the better longer horizon."""
        return max(self.main, self.far)


@dataclass(slots=True)
class Lot:
    """A purchase, or what is left of it."""

    number: int
    qty: int
    cost: int
    opened_t: int


@dataclass(slots=True)
class Order:
    """The open order of an instrument."""

    number: int
    side: int
    qty: int
    left: int
    limit: int
    reserve: int
    decision_price: int
    signal: int
    action: int
    reason: int
    campaign: int
    placed_t: int
    expires_t: int
    status: int = c.O_NEW
    attempt: int = 1
    acked: bool = False
    retry_t: int = 0
    row: int = 0


@dataclass(slots=True)
class Book:
    """One instrument: pair rules, market, lots, order, and what the strategy remembers about it."""

    pair: PairRules
    enabled: bool = True
    lots: list[Lot] = field(default_factory=list)
    order: Order | None = None
    view: View = field(default_factory=View)
    mark: int = 0
    mark_t: int = 0
    vol: int = 0
    turnover: int = 0
    bid: int = 0
    ask: int = 0
    quote_t: int = 0
    cluster: int = 0
    outlook: int = 0
    forecast_t: int = 0
    action: int = 0
    gate: int = 0
    derisked: int = 0
    taken: int = 0
    reentered: int = 0
    taken_e8: int = 0
    recovering: int = 0
    horizon_t: int = 0
    campaign: int = 0
    realised: int = 0

    @property
    def qty(self) -> int:
        """Quantity held."""
        return sum(lot.qty for lot in self.lots)

    @property
    def cost(self) -> int:
        """Cost of what is held, in the quote currency."""
        return sum(lot.cost for lot in self.lots)

    def worth(self) -> int:
        """Marked value in the quote currency."""
        return self.qty * self.mark // E8

    def gain(self) -> int:
        """Unrealised gain against the cost of the lots, ppm."""
        cost = self.cost
        return (self.worth() - cost) * PPM // cost if cost > 0 else 0

    def reserve(self) -> int:
        """Cash of the quote currency that an open buy may still take."""
        return self.order.reserve if self.order else 0


class Account:
    """The whole account; `rows` collects what the last step wrote, table by table."""

    def __init__(self, profile: RiskProfile, pairs: list[PairRules], disabled: int = -1) -> None:
        self.profile = profile
        self.books = [Book(pair, enabled=s != disabled) for s, pair in enumerate(pairs)]
        self.now_t = 0
        self.cash = [0, 0, 0]
        self.rates = [E8, E8, E8]
        self.entries: list[list[int]] = [[], [], []]
        self.written: dict[str, int] = dict.fromkeys(BY_NAME, 0)
        self.rows: dict[str, list[tuple[int, ...]]] = {}
        self.traded: dict[int, int] = {}
        self.pv = self.peak = self.drawdown = self.tier = 0
        self.kill = self.halt = self.skew = self.membership = 0
        self.fees = self.slippage = self.realised = 0
        self.orders_made = self.lots_made = self.campaigns = 0

    # ---- records ------------------------------------------------------------------------------------------------
    def write(self, table: str, origin_t: int, **values: int) -> int:
        """Write a row with its common columns; return its own id."""
        names = BY_NAME[table].dtype.names or ()
        self.written[table] += 1
        number = self.written[table]
        head = (number, 1, 1, origin_t, hour_of(self.now_t), self.now_t)
        assert len(values) == len(names) - len(head), sorted(set(names) ^ set(values))
        self.rows.setdefault(table, []).append(head + tuple(values[name] for name in names[len(head) :]))
        return number

    def risk_row(self, s: int, signal: int, kind: int, gate: int, action: int, compared: tuple[int, int, int]) -> None:
        """Write a risk event; `compared` is (scale, limit, value)."""
        self.write(
            "risk_event", hour_of(self.now_t), signal_id=signal, instrument_id=s, kind_id=kind, gate_id=gate,
            action_id=action, scale_id=compared[0], limit_v=compared[1], value_v=compared[2], tier_id=self.tier,
        )  # fmt: skip

    def order_row(self, s: int, status: int) -> None:
        """Write the state of an instrument's order after a transition."""
        o = self.books[s].order
        assert o is not None
        o.status = status
        o_row = self.write(
            "order_request", hour_of(o.placed_t), order_id=o.number, signal_id=o.signal, instrument_id=s,
            quote_id=self.books[s].pair.quote_id, side_id=o.side, status_id=status, reason_id=o.reason, attempt_n=o.attempt,
            qty_e8=o.qty, left_e8=o.left, reserve_e8=o.reserve, decision_price_e8=o.decision_price, limit_price_e8=o.limit,
            expires_t=o.expires_t, retry_t=o.retry_t, campaign_id=o.campaign,
        )  # fmt: skip
        o.row = o_row

    # ---- value --------------------------------------------------------------------------------------------------
    def base(self, quote: int, amount: int) -> int:
        """Return an amount of a quote currency in the base currency, rounded down."""
        return amount * self.rates[quote] // E8

    def value(self, s: int) -> int:
        """Return a position's marked value in the base currency."""
        book = self.books[s]
        return self.base(book.pair.quote_id, book.worth())

    def marked(self, *, quote: int | None = None, cluster: int | None = None) -> int:
        """Return the marked value of positions, of all, of a quote currency, or of a cluster."""
        return sum(self.value(s) for s in self.inside(quote, cluster))

    def flying(self, *, quote: int | None = None, cluster: int | None = None) -> int:
        """Return the base value of open buys at their worst price."""
        return sum(self.base(self.books[s].pair.quote_id, self.books[s].reserve()) for s in self.inside(quote, cluster))

    def inside(self, quote: int | None, cluster: int | None) -> list[int]:
        """Return the instruments of a quote currency or a cluster."""
        return [
            s for s, book in enumerate(self.books)
            if (quote is None or book.pair.quote_id == quote) and (cluster is None or book.cluster == cluster)
        ]  # fmt: skip

    def reserved(self, quote: int) -> int:
        """Return the cash of a quote currency that open buys may still take."""
        return sum(self.books[s].reserve() for s in self.inside(quote, None))

    def total(self) -> int:
        """Return cash of every currency plus marked positions in the base currency."""
        return self.marked() + sum(self.base(quote, self.cash[quote]) for quote in range(3))

    def mark(self) -> None:
        """Take the value now: peak, drawdown, tier; HALT20 stays until it is released."""
        self.pv = self.total()
        self.peak = max(self.peak, self.pv)
        self.drawdown = (self.peak - self.pv) * PPM // self.peak if self.peak > 0 else 0
        if self.tier != c.TIER_HALT20:
            reached = max(k for k in range(4) if self.drawdown >= self.profile.tiers[k].drawdown_ppm)
            self.move_tier(reached)

    def move_tier(self, tier: int) -> None:
        """Change the tier and record it."""
        if tier != self.tier:
            self.tier = tier
            threshold = self.profile.tiers[tier].drawdown_ppm
            self.risk_row(-1, 0, c.RISK_TIER, c.G_DRAWDOWN, c.NONE, (c.SCALE_PPM, threshold, self.drawdown))

    # ---- fees and cash ------------------------------------------------------------------------------------------
    def volume_30d(self) -> int:
        """Return the traded value of today and the 29 days before."""
        today = self.now_t // DAY_T
        return sum(value for day, value in self.traded.items() if today - 30 < day <= today)

    def fee_ppm(self, liquidity: int) -> int:
        """Return the fee rate of the account's tier."""
        volume = self.volume_30d()
        tier = next(f for f in reversed(self.profile.fees) if f.volume_e8 <= volume)
        return tier.maker_ppm if liquidity == c.MAKER else tier.taker_ppm

    def worst_cost(self, qty: int, limit: int) -> int:
        """Return the most that a buy can cost: at its limit, at the dearest fee, each rounded up."""
        notional = ceil_div(qty * limit, E8)
        return notional + ceil_div(notional * self.profile.fees[0].taker_ppm, PPM)

    def post(self, quote: int, kind: int, delta: int, *, fill: int = 0, s: int = -1, origin_t: int = -1,
             money: tuple[int, int, int] = (0, 0, 0)) -> None:  # fmt: skip
        """Move cash and write the entry."""
        before = self.cash[quote]
        if before + delta < 0:
            raise Broken("cash would become negative")
        self.cash[quote] = before + delta
        entry = self.write(
            "cash_ledger", hour_of(self.now_t) if origin_t < 0 else origin_t, quote_id=quote, entry_n=len(self.entries[quote]) + 1,
            previous_entry_id=self.entries[quote][-1] if self.entries[quote] else 0, kind_id=kind, fill_id=fill, instrument_id=s,
            before_e8=before, delta_e8=delta, after_e8=before + delta, notional_e8=money[0], fee_e8=money[1],
            slippage_e8=money[2],
        )  # fmt: skip
        self.entries[quote].append(entry)

    # ---- the observable state, in the order of the records' fields ---------------------------------------------
    def desk_fields(self) -> tuple[int, ...]:
        """Return what the DESK record must hold."""
        w = self.written
        values = {
            "account_id": 1, "mode_id": 1, "now_t": self.now_t, "pv_e8": self.pv, "peak_e8": self.peak,
            "drawdown_ppm": self.drawdown, "tier_id": self.tier, "kill_n": self.kill, "halt_n": self.halt,
            "open_n": sum(1 for book in self.books if book.lots), "gross_e8": self.marked(), "realised_e8": self.realised,
            "fees_e8": self.fees, "slippage_e8": self.slippage, "signal_n": w["trade_signal"],
            "risk_event_n": w["risk_event"], "order_n": self.orders_made, "order_row_n": w["order_request"],
            "fill_n": w["order_fill"], "lot_n": self.lots_made, "lot_row_n": w["position_lot"],
            "trade_n": w["executed_trade"], "entry_n": w["cash_ledger"], "portfolio_n": w["portfolio_hourly_state"],
            "risk_state_n": w["risk_hourly_state"], "cluster_state_n": w["cluster_exposure_hourly_state"],
            "campaign_n": self.campaigns, "skew_ms": self.skew, "day_n": self.now_t // DAY_T,
            "volume_30d_e8": self.volume_30d(), "membership_n": self.membership,
            "recovering_n": sum(book.recovering for book in self.books),
            "retries_n": sum(1 for book in self.books if book.order and book.order.status == c.O_RETRYING),
        }  # fmt: skip
        return tuple(values[name] for name in DESK.names or ())

    def cash_fields(self, quote: int) -> tuple[int, ...]:
        """Return what a CASH record must hold."""
        entries = self.entries[quote]
        values = {
            "cash_e8": self.cash[quote], "exposure_e8": self.marked(quote=quote), "rate_e8": self.rates[quote],
            "entry_n": len(entries), "last_entry_id": entries[-1] if entries else 0,
        }  # fmt: skip
        return tuple(values[name] for name in CASH.names or ())

    def position_fields(self, s: int, head: int) -> tuple[int, ...]:
        """Return what a POSITION record must hold; `head` is where its ring begins, which is its own affair."""
        b = self.books[s]
        values = {
            "qty_e8": b.qty, "cost_e8": b.cost, "value_e8": self.value(s), "mark_e8": b.mark, "mark_t": b.mark_t,
            "vol_ppb": b.vol, "outlook_id": b.outlook, "raw_outlook_id": 0, "pending_id": 0, "persist_n": 0, "adverse_n": 0,
            "action_id": b.action, "gate_id": b.gate, "derisked_n": b.derisked, "taken_n": b.taken,
            "reentered_n": b.reentered, "taken_e8": b.taken_e8, "recovery_n": b.recovering, "recovery_wait_n": 0,
            "horizon_t": b.horizon_t, "campaign_id": b.campaign, "realised_e8": b.realised, "lot_head_n": head,
            "lot_n": len(b.lots), "forecast_t": b.forecast_t, "turnover_e8": b.turnover, "bid_e8": b.bid, "ask_e8": b.ask,
            "quote_t": b.quote_t, "cluster_id": b.cluster,
        }  # fmt: skip
        return tuple(values[name] for name in POSITION.names or ())

    def day_volumes(self) -> list[int]:
        """Return the traded value of each day of the window, at the day's number modulo 30."""
        today = self.now_t // DAY_T
        slots = [0] * 30
        for day, value in self.traded.items():
            if today - 30 < day <= today:
                slots[day % 30] += value
        return slots
