"""What the risk engine must say to a wish: the first gate that refuses, in the design's precedence, or an order's terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.core import codes as c
from runtime.policy import QuoteCap
from tests.support.model.account import E8, PPM, SATURATED, Account, hour_of

MARGIN = 1_000
"""Cash that admission never spends: what rounding of partial fills may take."""

Numbers = tuple[int, int, int]
"""Scale, limit, value: what a gate compared."""
NOTHING: Numbers = (c.SCALE_N, 0, 0)


@dataclass(slots=True)
class Verdict:
    """What a wish to buy comes to."""

    gate: int
    numbers: Numbers
    wanted: int = 0
    sized: int = 0
    qty: int = 0
    limit: int = 0
    cuts: tuple[tuple[int, Numbers], ...] = ()


def cap_of(value: int, share_ppm: int, absolute: int) -> int:
    """Return a cap: a share of portfolio value, and an absolute amount where there is one; the tighter holds."""
    caps = [value * share_ppm // PPM] + ([absolute] if absolute else [])
    return min(caps)


def caps(acc: Account, s: int) -> list[tuple[int, int, int]]:
    """Return (gate, cap, used) of every exposure cap on an instrument, in precedence; open buys count at worst price."""
    p = acc.profile
    book = acc.books[s]
    quote = book.pair.quote_id
    quote_cap: QuoteCap = p.quote_caps[quote]
    everything = acc.marked() + acc.flying()
    cluster = acc.marked(cluster=book.cluster) + acc.flying(cluster=book.cluster)
    currency = acc.marked(quote=quote) + acc.flying(quote=quote)
    return [
        (c.G_TOTAL, cap_of(acc.pv, p.total_cap_ppm, p.total_cap_e8), everything),
        (c.G_CLUSTER, cap_of(acc.pv, p.cluster_cap_ppm, p.cluster_cap_e8), cluster),
        (c.G_QUOTE, cap_of(acc.pv, quote_cap.cap_ppm, quote_cap.cap_e8), currency),
        (c.G_BUDGET, cap_of(acc.pv, p.budget_cap_ppm, p.budget_cap_e8), everything),
    ]


def clipped(acc: Account, s: int, wanted: int) -> tuple[int, list[tuple[int, Numbers]]]:
    """Return what the caps leave of a wish, and every cap that cut it further than those before."""
    size = wanted
    cuts: list[tuple[int, Numbers]] = []
    for gate, cap, used in caps(acc, s):
        room = max(cap - used, 0)
        if room < size:
            size = room
            cuts.append((gate, (c.SCALE_E8, cap, used)))
    return size, cuts


def round_trip(acc: Account) -> int:
    """Return what buying and selling costs now, ppm."""
    p = acc.profile
    taker = acc.fee_ppm(c.TAKER)
    out = taker + p.half_spread_ppm + p.slippage_ppm
    return acc.fee_ppm(c.MAKER) + out if p.maker_entry else 2 * out


def before_size(acc: Account, s: int, *, reentry: bool) -> Iterator[tuple[bool, int, Numbers]]:
    """Yield (refuses, gate, numbers) of the gates that need no size."""
    p = acc.profile
    tier = p.tiers[acc.tier]
    yield acc.kill != 0, c.G_KILL, (c.SCALE_N, 0, acc.kill)
    yield acc.halt != 0, c.G_HALT, (c.SCALE_N, 0, acc.halt)
    barred = not tier.allow_entry or (reentry and not tier.allow_reentry)
    yield barred, c.G_DRAWDOWN, (c.SCALE_PPM, tier.drawdown_ppm, acc.drawdown)
    recovering = sum(book.recovering for book in acc.books)
    yield recovering >= p.severe_max, c.G_SEVERE_LOSS, (c.SCALE_N, p.severe_max, recovering)
    others = sum(1 for k, book in enumerate(acc.books) if k != s and (book.lots or book.order))
    if not acc.books[s].lots:
        yield others >= p.positions_max, c.G_POSITIONS, (c.SCALE_N, p.positions_max, others)


def after_size(acc: Account, s: int, size: int, edge: int) -> Iterator[tuple[bool, int, Numbers]]:
    """Yield (refuses, gate, numbers) of the gates between the caps and the cash."""
    p = acc.profile
    book = acc.books[s]
    needed = round_trip(acc) + p.margin_ppm
    yield edge <= needed, c.G_COST, (c.SCALE_PPM, needed, edge)
    most = acc.base(book.pair.quote_id, book.turnover * p.liquidity_ppm // PPM)
    yield size > most, c.G_LIQUIDITY, (c.SCALE_E8, most, size)
    if book.quote_t > 0 and acc.now_t - book.quote_t <= p.quote_age_max_t:
        spread = (book.ask - book.bid) * PPM // book.bid
        yield spread > p.spread_max_ppm, c.G_LIQUIDITY, (c.SCALE_PPM, p.spread_max_ppm, spread)
    for since, most_t in ((book.mark_t, p.bar_age_max_t), (book.forecast_t, p.forecast_age_max_t)):
        yield acc.now_t - since > most_t, c.G_FRESHNESS, (c.SCALE_T, most_t, acc.now_t - since)
    yield acc.skew > p.skew_max_ms, c.G_CLOCK, (c.SCALE_MS, p.skew_max_ms, acc.skew)
    yield not book.enabled, c.G_PAIR, (c.SCALE_N, 1, 0)


def refusal(gates: Iterator[tuple[bool, int, Numbers]]) -> tuple[int, Numbers] | None:
    """Return the first gate that refuses."""
    return next(((gate, numbers) for refuses, gate, numbers in gates if refuses), None)


def wished(acc: Account, s: int, action: int) -> int:
    """Return the size a buy wants before any cap."""
    p = acc.profile
    scale = p.vol_target_ppb * PPM // max(acc.books[s].vol, 1)
    scale = min(max(scale, p.size_low_ppm), p.size_high_ppm)
    size = (acc.pv * p.base_ppm // PPM) * scale // PPM * p.tiers[acc.tier].size_ppm // PPM
    return min(size, acc.books[s].taken_e8) if action == c.REENTER else size


def judge(acc: Account, s: int, action: int) -> Verdict:
    """Return what the risk engine must make of a wish to buy."""
    found = refusal(before_size(acc, s, reentry=action == c.REENTER))
    if found:
        return Verdict(*found)
    wanted = wished(acc, s, action)
    size, cuts = clipped(acc, s, wanted)
    if size == 0 or size < wanted * acc.profile.entry_min_ppm // PPM:
        gate, numbers = cuts[-1] if cuts else (c.G_LOT, (c.SCALE_E8, 0, 0))
        return Verdict(gate, numbers, wanted, size)
    found = refusal(after_size(acc, s, size, acc.books[s].view.edge()))
    if not found and acc.books[s].order:
        order = acc.books[s].order
        found = c.G_BUSY, (c.SCALE_N, 0, order.number if order else 0)
    if found:
        return Verdict(*found, wanted, size)
    return terms(acc, s, wanted, size, cuts)


def terms(acc: Account, s: int, wanted: int, size: int, cuts: list[tuple[int, Numbers]]) -> Verdict:
    """Return quantity and limit price that free cash can pay, or the refusal of the pair's rules or the cash."""
    book = acc.books[s]
    pair = book.pair
    away = 0 if acc.profile.maker_entry else acc.profile.limit_ppm
    limit = book.mark * (PPM + away) // PPM // pair.tick_e8 * pair.tick_e8
    if limit <= 0:
        gate, numbers = c.G_PAIR, (c.SCALE_E8, pair.tick_e8, book.mark)
        return Verdict(*(cuts[-1] if cuts else (gate, numbers)), wanted, size)
    free = max(acc.cash[pair.quote_id] - acc.reserved(pair.quote_id) - MARGIN, 0)
    money = size * E8 // acc.rates[pair.quote_id]
    short = free < money
    net = min(money, free) * PPM // (PPM + acc.profile.fees[0].taker_ppm)
    qty = min(net * E8 // limit, SATURATED) // pair.lot_e8 * pair.lot_e8
    notional = qty * book.mark // E8
    no = None
    if qty <= 0:
        no = (c.G_CASH, (c.SCALE_E8, money, free)) if short else (c.G_LOT, (c.SCALE_E8, pair.lot_e8, net))
    elif qty < pair.qty_min_e8:
        no = (c.G_CASH if short else c.G_MINIMUM, (c.SCALE_E8, pair.qty_min_e8, qty))
    elif notional < pair.cost_min_e8:
        no = (c.G_CASH if short else c.G_MINIMUM, (c.SCALE_E8, pair.cost_min_e8, notional))
    if no:  # a cap that left less than an order needs is the reason, unless the cash was shorter still
        return Verdict(*(cuts[-1] if cuts and no[0] != c.G_CASH else no), wanted, size)
    made = cuts[-1:] + ([(c.G_CASH, (c.SCALE_E8, money, free))] if short else [])
    return Verdict(c.G_PASS, NOTHING, wanted, size, qty, limit, tuple(made))


def signal_row(acc: Account, s: int, wish: tuple[int, int], gate: int, wanted: int, sized: int, cost: int) -> int:
    """Write the decision's signal and remember it; return its id."""
    book = acc.books[s]
    view = book.view
    book.action, book.gate = wish[0], gate
    return acc.write(
        "trade_signal", hour_of(acc.now_t), instrument_id=s, forecast_t=book.forecast_t, outlook_id=book.outlook,
        raw_outlook_id=0, persist_n=0, action_id=wish[0], reason_id=wish[1], gate_id=gate, wanted_e8=wanted, sized_e8=sized,
        prob_ppm=view.prob, edge_ppm=view.edge(), near_ppm=view.near, cost_ppm=cost, vol_ppm=book.vol // 1000,
        uncertainty_ppm=view.uncertainty, rebound_ppm=view.prob_far, downside_ppm=PPM - min(view.prob, view.prob_far),
        gain_ppm=book.gain(), horizon_t=book.horizon_t, tier_id=acc.tier,
    )  # fmt: skip


def readmission(acc: Account, s: int) -> tuple[int, Numbers, int]:
    """Return (gate, numbers, reserve) of an order that is due to be sent again: everything is checked as if it were new."""
    book = acc.books[s]
    o = book.order
    assert o is not None
    if o.side == c.SELL:
        held = book.qty
        return (c.G_PASS if o.left <= held else c.G_LOT), (c.SCALE_E8, held, o.left), 0
    reserve = acc.worst_cost(o.left, o.limit)
    size = acc.base(book.pair.quote_id, reserve)
    edge = book.view.edge() if book.outlook >= c.POSITIVE else 0
    found = refusal(before_size(acc, s, reentry=o.action == c.REENTER))
    cuts = [] if found else clipped(acc, s, size)[1]
    found = found or (cuts[-1] if cuts else None) or refusal(after_size(acc, s, size, edge))
    free = acc.cash[book.pair.quote_id] - acc.reserved(book.pair.quote_id) - MARGIN
    if not found and reserve > free:
        found = c.G_CASH, (c.SCALE_E8, free, reserve)
    return (*found, reserve) if found else (c.G_PASS, NOTHING, reserve)
