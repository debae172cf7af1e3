"""What happens around the orders: cash in and out, switches, market data, and the states written each hour."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.core import codes as c
from tests.support.model import admission, trading
from tests.support.model.account import PPB, PPM, SATURATED, Account, Broken, hour_of

Bar = tuple[int, int, int, int, int]
"""Open, high, low, close in 1e-8, volume in 1e-4."""


def cash_event(acc: Account, kind: int, quote: int, amount: int) -> None:
    """Deposit, withdrawal, correction, reconciliation. Deposits and withdrawals leave the drawdown as trading made it."""
    moves = kind in {c.EV_DEPOSIT, c.EV_WITHDRAWAL}
    if amount == 0 or not 0 <= quote < 3 or (moves and amount < 0):
        raise Broken("no such cash event")
    delta = -amount if kind == c.EV_WITHDRAWAL else amount
    reserved = acc.reserved(quote)
    kept = reserved + admission.MARGIN if reserved else 0
    if acc.cash[quote] + delta < (kept if kind == c.EV_WITHDRAWAL else 0):
        raise Broken("more than there is")
    if moves:
        acc.mark()
    before = acc.pv
    entry = {c.EV_DEPOSIT: c.L_DEPOSIT, c.EV_WITHDRAWAL: c.L_WITHDRAWAL, c.EV_CORRECTION: c.L_CORRECTION}
    acc.post(quote, entry.get(kind, c.L_RECONCILIATION), delta)
    if moves:
        acc.peak = min(acc.peak * acc.total() // before, SATURATED) if before > 0 else acc.total()
    acc.mark()


def control(acc: Account, switch: int, value: int) -> None:
    """Throw a switch."""
    if switch == c.SWITCH_KILL:
        acc.risk_row(-1, 0, c.RISK_KILL, c.G_KILL, c.NONE, (c.SCALE_N, acc.kill, value))
        acc.kill = value
        for s, book in enumerate(acc.books):
            if value and book.order and book.order.side == c.BUY and trading.ours(book.order):
                trading.stop(acc, s, c.O_CANCELLED)
    elif switch == c.SWITCH_HALT:
        acc.risk_row(-1, 0, c.RISK_HALT, c.G_HALT, c.NONE, (c.SCALE_N, acc.halt, value))
        acc.halt = value
    elif switch == c.SWITCH_RELEASE_TIER:
        if acc.tier == c.TIER_HALT20:
            acc.peak, acc.drawdown = acc.pv, 0
            acc.move_tier(c.TIER_NORMAL)
    else:
        raise Broken("unknown switch")


def observe(acc: Account, s: int, bar: Bar) -> None:
    """Take a closed bar: mark, and the means of range and turnover."""
    book = acc.books[s]
    _, high, low, close, volume = bar
    decay = acc.profile.vol_decay_ppm
    if book.mark:
        share = (max(high, book.mark) - min(low, book.mark)) * PPB // book.mark
        book.vol = book.vol + (share - book.vol) * decay // PPM if book.vol else share
    turnover = close * volume // 10_000
    book.turnover = book.turnover + (turnover - book.turnover) * decay // PPM if book.mark_t else turnover
    book.mark, book.mark_t = close, acc.now_t


def bars(acc: Account, closed: dict[int, Bar]) -> None:
    """Take the closed bars of an hour, without forecasts: mark, expire, retry, hold what is held, write the hour."""
    for s, bar in closed.items():
        observe(acc, s, bar)
    acc.mark()
    trading.expire(acc)
    trading.retry_due(acc)
    for s, book in enumerate(acc.books):
        if not book.lots:
            continue
        gain, p = book.gain(), acc.profile
        crossed = gain >= -p.severe_release_ppm if book.recovering else gain <= -p.severe_loss_ppm
        if crossed:
            book.recovering = 1 - book.recovering
            acc.risk_row(s, 0, c.RISK_RECOVERY, c.G_PASS, book.recovering, (c.SCALE_PPM, -p.severe_loss_ppm, gain))
        if book.action != c.HOLD:
            admission.signal_row(acc, s, (c.HOLD, c.R_HOLD_NO_FORECAST), c.G_PASS, 0, 0, 0)
    hourly(acc)


def hourly(acc: Account) -> None:
    """Write the hour's states."""
    p, hour = acc.profile, hour_of(acc.now_t)
    held = [s for s, book in enumerate(acc.books) if book.lots]
    busy = [s for s, book in enumerate(acc.books) if book.order]
    cost = sum(acc.base(acc.books[s].pair.quote_id, acc.books[s].cost) for s in held)
    portfolio = acc.write(
        "portfolio_hourly_state", hour, ledger_entry_id=acc.written["cash_ledger"], pv_e8=acc.pv, gross_e8=acc.marked(),
        peak_e8=acc.peak, drawdown_ppm=acc.drawdown, realised_e8=acc.realised, unrealised_e8=acc.marked() - cost,
        fees_e8=acc.fees, slippage_e8=acc.slippage, open_n=len(held), orders_n=len(busy), cash_usd_e8=acc.cash[0],
        cash_cad_e8=acc.cash[1], cash_usdc_e8=acc.cash[2],
    )  # fmt: skip
    acc.write(
        "risk_hourly_state", hour, portfolio_state_id=portfolio, tier_id=acc.tier, kill_n=acc.kill, halt_n=acc.halt,
        drawdown_ppm=acc.drawdown, total_cap_e8=admission.cap_of(acc.pv, p.total_cap_ppm, p.total_cap_e8),
        total_used_e8=acc.marked() + acc.flying(), open_n=len(held), positions_max_n=p.positions_max,
        used_usd_e8=acc.marked(quote=0), used_cad_e8=acc.marked(quote=1), used_usdc_e8=acc.marked(quote=2),
    )  # fmt: skip
    for cluster in sorted({acc.books[s].cluster for s in {*held, *busy} if acc.books[s].enabled}):
        members = sum(1 for s in acc.inside(None, cluster) if acc.books[s].enabled)
        acc.write(
            "cluster_exposure_hourly_state", hour, portfolio_state_id=portfolio, cluster_id=cluster,
            membership_n=acc.membership, members_n=members, exposure_e8=acc.marked(cluster=cluster),
            in_flight_e8=acc.flying(cluster=cluster), cap_e8=admission.cap_of(acc.pv, p.cluster_cap_ppm, p.cluster_cap_e8),
        )  # fmt: skip


def rate(acc: Account, quote: int, price: int) -> None:
    """Take a quote currency's rate to the base currency."""
    if price <= 0 or quote not in {c.CAD, c.USDC}:
        raise Broken("a rate must be positive, and the base currency has none")
    acc.rates[quote] = price
    acc.mark()


def quote(acc: Account, s: int, bid: int, ask: int) -> None:
    """Take the venue's best bid and ask."""
    if bid <= 0 or ask < bid:
        raise Broken("a quote needs 0 < bid <= ask")
    book = acc.books[s]
    book.bid, book.ask, book.quote_t = bid, ask, acc.now_t


def clusters(acc: Account, ids: Sequence[int], version: int) -> None:
    """Take a new membership of every instrument."""
    for book, cluster in zip(acc.books, ids, strict=True):
        book.cluster = cluster
    acc.membership = version


def heartbeat(acc: Account, skew: int) -> None:
    """Take the clock's skew; time alone can expire and retry."""
    acc.skew = abs(skew)
    acc.pv = acc.total()
    trading.expire(acc)
    trading.retry_due(acc)
