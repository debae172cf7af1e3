"""What happens to orders and lots: wishes, the venue's answers, fills, retries, expiry."""

from __future__ import annotations

from runtime.core import codes as c
from tests.support.model import admission
from tests.support.model.account import E8, PPM, RING, Account, Broken, Lot, Order, ceil_div, hour_of

BASE_DELAYS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)


# ---- wishes -----------------------------------------------------------------------------------------------------
def wish_buy(acc: Account, s: int, action: int, reason: int) -> admission.Verdict:
    """Carry a wish to buy: an order, or a refusal with its numbers."""
    book = acc.books[s]
    cost = admission.round_trip(acc) + acc.profile.margin_ppm
    verdict = admission.judge(acc, s, action)
    wish = (action, reason)
    if verdict.gate != c.G_PASS:
        signal = admission.signal_row(acc, s, wish, verdict.gate, verdict.wanted, verdict.sized, cost)
        acc.risk_row(s, signal, c.RISK_REFUSED, verdict.gate, action, verdict.numbers)
        return verdict
    if not book.lots:
        acc.campaigns += 1
        book.campaign = acc.campaigns
        book.horizon_t = acc.now_t + acc.profile.horizon_t
    signal = admission.signal_row(acc, s, wish, c.G_PASS, verdict.wanted, verdict.sized, cost)
    for gate, numbers in verdict.cuts:
        acc.risk_row(s, signal, c.RISK_CUT, gate, action, numbers)
    reserve = acc.worst_cost(verdict.qty, verdict.limit)
    place(acc, s, c.BUY, verdict.qty, verdict.limit, reserve, (signal, action, reason))
    return verdict


def wish_sell(acc: Account, s: int, action: int, reason: int) -> None:
    """Carry a wish to sell all of a position, or the profile's share of it; never refused for risk."""
    book = acc.books[s]
    held, qty = acc.value(s), book.qty
    if action != c.EXIT:
        share = acc.profile.derisk_ppm if action == c.DERISK else acc.profile.take_ppm
        qty = qty * share // PPM // book.pair.lot_e8 * book.pair.lot_e8
        if qty == 0:
            return
    sized = held * qty // book.qty
    o = book.order
    asked = False
    if o and o.side == c.BUY and ours(o):
        stop(acc, s, c.O_CANCELLED)
        asked = True
    if book.order:
        assert o is not None
        if asked or (book.action, book.gate) != (action, c.G_BUSY):
            signal = admission.signal_row(acc, s, (action, reason), c.G_BUSY, held, 0, 0)
            acc.risk_row(s, signal, c.RISK_REFUSED, c.G_BUSY, action, (c.SCALE_N, 0, o.number))
        return
    signal = admission.signal_row(acc, s, (action, reason), c.G_PASS, held, sized, 0)
    place(acc, s, c.SELL, qty, 0, 0, (signal, action, reason))


def place(acc: Account, s: int, side: int, qty: int, limit: int, reserve: int, why: tuple[int, int, int]) -> None:
    """Open an order; `why` is (signal, action, reason)."""
    book = acc.books[s]
    acc.orders_made += 1
    book.order = Order(
        acc.orders_made, side, qty, qty, limit, reserve, book.mark, why[0], why[1], why[2], book.campaign, acc.now_t,
        acc.now_t + acc.profile.order_ttl_t,
    )  # fmt: skip
    acc.order_row(s, c.O_NEW)


def stop(acc: Account, s: int, status: int) -> None:
    """End an order that the venue never acknowledged; ask the venue to end one that it has, which may still fill."""
    o = acc.books[s].order
    assert o is not None
    if o.acked:
        acc.order_row(s, c.O_CANCELLING)
    else:
        end(acc, s, status)


def ours(o: Order | None) -> bool:
    """Return whether an order is ours to stop: its outcome is known, and we have not asked for its end."""
    return o is not None and o.status not in {c.O_UNKNOWN, c.O_CANCELLING}


def obey_kill(acc: Account, s: int) -> None:
    """Stop a buy that turns out to rest while the kill switch is on."""
    o = acc.books[s].order
    if acc.kill and o and o.side == c.BUY and ours(o):
        stop(acc, s, c.O_CANCELLED)


def end(acc: Account, s: int, status: int) -> None:
    """End an order for good; what it reserved is free."""
    o = acc.books[s].order
    assert o is not None
    o.reserve = o.retry_t = 0
    acc.order_row(s, status)
    acc.books[s].order = None


def expire(acc: Account) -> None:
    """End every order whose time is up, except those whose outcome nobody knows."""
    for s, book in enumerate(acc.books):
        if book.order and ours(book.order) and acc.now_t >= book.order.expires_t:
            stop(acc, s, c.O_EXPIRED)


def retry_due(acc: Account) -> None:
    """Send again what waited long enough and still passes every gate."""
    for s, book in enumerate(acc.books):
        o = book.order
        if o is None or o.status != c.O_RETRYING or acc.now_t < o.retry_t:
            continue
        gate, numbers, reserve = admission.readmission(acc, s)
        if gate != c.G_PASS:
            acc.risk_row(s, o.signal, c.RISK_REFUSED, gate, o.action, numbers)
            end(acc, s, c.O_CANCELLED)
            continue
        o.attempt += 1
        o.reserve, o.retry_t, o.placed_t = reserve, 0, acc.now_t
        acc.order_row(s, c.O_NEW)
        acc.risk_row(s, o.signal, c.RISK_RETRY, c.G_PASS, o.action, (c.SCALE_N, 0, o.attempt))


# ---- the venue --------------------------------------------------------------------------------------------------
def answer(acc: Account, s: int, number: int, status: int, again: int) -> None:
    """Take what the venue said about an order."""
    o = acc.books[s].order
    if o is None or o.number != number:
        raise Broken("an answer about an order that is not open")
    if status in {c.O_OPEN, c.O_UNKNOWN, c.O_REJECTED} and o.status == c.O_RETRYING:
        raise Broken("does not follow")
    if (status == c.O_REJECTED and o.status in {c.O_OPEN, c.O_PARTIAL}) or (status == c.O_DENIED and o.status != c.O_NEW):
        raise Broken("a no to an order that the venue has")
    if status == c.O_OPEN:
        o.acked = True
        acc.order_row(s, o.status if o.status in {c.O_PARTIAL, c.O_CANCELLING} else c.O_OPEN)
        obey_kill(acc, s)
    elif status == c.O_UNKNOWN:
        acc.order_row(s, status)
    elif status == c.O_REJECTED:
        acc.order_row(s, status)
        wait_or_end(acc, s, again=again != 0)
    elif status == c.O_CANCELLED and o.status == c.O_UNKNOWN and again:
        wait_or_end(acc, s, again=True)
    elif status in {c.O_DENIED, c.O_CANCELLED, c.O_EXPIRED}:
        end(acc, s, status)
    else:
        raise Broken("unknown answer")


def wait_or_end(acc: Account, s: int, *, again: bool) -> None:
    """Wait for the next attempt, reserving nothing, or give the order up."""
    o = acc.books[s].order
    assert o is not None
    if not again or o.acked or o.attempt > acc.profile.retries_max_n:
        end(acc, s, c.O_CANCELLED)
        return
    o.reserve = 0
    o.retry_t = acc.now_t + acc.profile.retry_t * BASE_DELAYS[o.attempt - 1]
    acc.order_row(s, c.O_RETRYING)


def fill(acc: Account, s: int, number: int, qty: int, price: int, reference: int, liquidity: int) -> None:
    """Take one execution of an instrument's open order."""
    book = acc.books[s]
    o = book.order
    if o is None or o.number != number or o.status == c.O_RETRYING:
        raise Broken("no such order")
    if qty <= 0 or qty > o.left or price <= 0 or (o.side == c.BUY and price > o.limit):
        raise Broken("does not fit its order")
    quote = book.pair.quote_id
    origin = hour_of(o.placed_t)
    notional = qty * price // E8
    fee = ceil_div(notional * acc.fee_ppm(liquidity), PPM)
    slippage = (notional - qty * reference // E8) * o.side
    cash = -notional - fee if o.side == c.BUY else notional - fee
    if acc.cash[quote] + cash < 0:
        raise Broken("cash would become negative")
    o.acked = o.acked or o.status == c.O_UNKNOWN
    number = acc.write(
        "order_fill", origin, order_id=o.number, order_row_id=o.row, instrument_id=s, quote_id=quote, side_id=o.side,
        liquidity_id=liquidity, qty_e8=qty, price_e8=price, reference_e8=reference, notional_e8=notional, fee_e8=fee,
        slippage_e8=slippage,
    )  # fmt: skip
    acc.fees += acc.base(quote, fee)
    acc.slippage += acc.base(quote, slippage)
    today = acc.now_t // 86_400
    acc.traded[today] = acc.traded.get(today, 0) + acc.base(quote, notional)
    kind = c.L_BUY if o.side == c.BUY else c.L_SELL
    if o.action == c.REALISE:
        book.taken_e8 = (book.taken_e8 if o.left < o.qty else 0) + acc.base(quote, notional)
    if o.left == o.qty:
        book.taken += o.action == c.REALISE
        book.derisked += o.action == c.DERISK
        book.reentered += o.action == c.REENTER
    acc.post(quote, kind, cash, fill=number, s=s, origin_t=origin, money=(notional, fee, slippage))
    if o.side == c.BUY:
        bought(acc, s, origin, number, qty, -cash)
    else:
        acc.realised += acc.base(quote, sold(acc, s, origin, number, qty, cash))
    o.left -= qty
    after_fill(acc, s)


def after_fill(acc: Account, s: int) -> None:
    """Move the order on: done, too small to be worth its rest, or partly filled."""
    book = acc.books[s]
    o = book.order
    assert o is not None
    too_small = o.left < book.pair.qty_min_e8 or o.left * book.mark // E8 < book.pair.cost_min_e8
    if o.left == 0:
        end(acc, s, c.O_FILLED)
        return
    if o.side == c.BUY:
        o.reserve = min(acc.worst_cost(o.left, o.limit), o.reserve)
        if too_small:
            stop(acc, s, c.O_DUST)
            return
    acc.order_row(s, c.O_CANCELLING if o.status == c.O_CANCELLING else c.O_PARTIAL)
    obey_kill(acc, s)


def lot_row(acc: Account, s: int, origin: int, fill_id: int, lot: Lot, change: tuple[int, int, int]) -> int:
    """Write a lot event; `change` is (kind, quantity, cost)."""
    return acc.write(
        "position_lot", origin, lot_id=lot.number, fill_id=fill_id, instrument_id=s, kind_id=change[0], qty_e8=change[1],
        cost_e8=change[2], left_e8=lot.qty, left_cost_e8=lot.cost,
    )  # fmt: skip


def bought(acc: Account, s: int, origin: int, fill_id: int, qty: int, cost: int) -> None:
    """Add a lot, or grow the newest when there is no room for another."""
    lots = acc.books[s].lots
    if len(lots) == RING:
        lots[-1].qty += qty
        lots[-1].cost += cost
        lot_row(acc, s, origin, fill_id, lots[-1], (c.LOT_MERGE, qty, cost))
        return
    acc.lots_made += 1
    lots.append(Lot(acc.lots_made, qty, cost, acc.now_t))
    lot_row(acc, s, origin, fill_id, lots[-1], (c.LOT_OPEN, qty, cost))


def sold(acc: Account, s: int, origin: int, fill_id: int, qty: int, proceeds: int) -> int:
    """Take a sale from the oldest lots; return the realised profit. Shares are rounded down, the last takes what is left."""
    book = acc.books[s]
    if qty > book.qty:
        raise Broken("sale exceeds the lots held")
    o = book.order
    assert o is not None
    money, start, todo = proceeds, book.cost, qty
    while todo:
        lot = book.lots[0]
        taken = min(todo, lot.qty)
        cost = lot.cost * taken // lot.qty
        share = money * taken // todo
        lot.qty -= taken
        lot.cost -= cost
        row = lot_row(acc, s, origin, fill_id, lot, (c.LOT_REDUCE if lot.qty else c.LOT_CLOSE, -taken, -cost))
        acc.write(
            "executed_trade", origin, lot_id=lot.number, lot_row_id=row, fill_id=fill_id, instrument_id=s,
            quote_id=book.pair.quote_id, opened_t=lot.opened_t, qty_e8=taken, cost_e8=cost, proceeds_e8=share,
            pnl_e8=share - cost, campaign_id=o.campaign,
        )  # fmt: skip
        todo -= taken
        money -= share
        if not lot.qty:
            book.lots.pop(0)
    realised = proceeds - (start - book.cost)
    book.realised += realised
    if not book.lots:
        book.derisked = book.taken = book.reentered = book.taken_e8 = book.recovering = book.horizon_t = book.campaign = 0
    return realised
