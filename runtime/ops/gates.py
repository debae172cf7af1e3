"""The SQL validation gates: what must hold in the tables of any run, each as one query that returns the rows against it.

Integers only: sums and products are HUGEINT, `//` is integer division, nothing is DOUBLE. Beside the projections the
queries read what `runtime/ops/check.py` adds from the genesis and the inputs: `run` (account, mode, first and last hour,
interval), `rule` and `quote_cap` (the profile's rules and caps from block `first_n` to `last_n`), `membership` (cluster of each instrument per version).

Codes are written as `{c.NAME}` of `runtime/core/codes.py` and filled in once, below.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from runtime.core import codes as c
from runtime.core.records import HOUR_T, RECORD_TYPES


class Gate(NamedTuple):
    """One invariant.

    Attributes:
        name: what a violation is called.
        proves: what holds when there is none, in one sentence.
        sql: SELECT that returns one row per violation.
        study: it reads a study's predictions and is skipped without them.
    """

    name: str
    proves: str
    sql: str
    study: bool = False


def _each(template: str) -> str:
    """Return a query made of one part per record type; `{t}` is the table, `{id}` its id column."""
    parts = [template.format(t=record.name, id=(record.dtype.names or ("",))[0]) for record in RECORD_TYPES]
    return "\nUNION ALL ".join(parts)


_SIDE: Final = f"CASE f.side_id WHEN {c.BUY} THEN 1 ELSE -1 END"
_FINAL: Final = f"({c.O_FILLED}, {c.O_CANCELLED}, {c.O_EXPIRED}, {c.O_DUST}, {c.O_DENIED})"
# rates other than 1 arrive as events and are in no table: sums over currencies are checked only while there are none
_NO_RATES: Final = f"NOT EXISTS (SELECT 1 FROM block WHERE kind_id = {c.EV_RATE})"
# an hour in which a buy was admitted: nothing moves prices or cash after an admission, so its caps still hold at the hour's end
_ADMITTED: Final = f"""SELECT DISTINCT o.block_seq_n, o.instrument_id, o.quote_id FROM order_request o
JOIN block b ON b.seq_n = o.block_seq_n WHERE o.side_id = {c.BUY} AND o.status_id = {c.O_NEW} AND b.kind_id = {c.EV_BARS}"""
_RESERVED: Final = """SELECT block_seq_n, order_row_id, quote_id, reserve_e8::HUGEINT
- coalesce(lag(reserve_e8) OVER (PARTITION BY order_id ORDER BY order_row_id), 0) AS change_e8 FROM order_request"""

STRUCTURE: Final = (
    Gate("row_ids_dense", "Row ids of every table run from 1 without a hole or a repetition, in block order.",
        _each("""SELECT '{t}' AS table_name, {id} AS id, n AS expected, block_seq_n FROM
(SELECT {id}, block_seq_n, row_number() OVER (ORDER BY block_seq_n, {id}) AS n FROM {t}) WHERE {id} <> n""")),
    Gate("one_account", "Every block and record belongs to the account and mode of the genesis.",
        _each("""SELECT '{t}' AS table_name, {id} AS id, t.account_id, t.mode_id, block_seq_n FROM {t} t, run r
WHERE t.account_id <> r.account_id OR t.mode_id <> r.mode_id""")
        + """\nUNION ALL SELECT 'block', seq_n, b.account_id, b.mode_id, seq_n FROM block b, run r
WHERE b.account_id <> r.account_id OR b.mode_id <> r.mode_id"""),
    Gate("blocks_dense", "Block numbers run from 1 without a hole, and each block has as many records as its header says.",
        f"""WITH held AS (SELECT block_seq_n, count(*) AS rows_n FROM ({_each('SELECT block_seq_n FROM {t}')}) GROUP BY ALL),
numbered AS (SELECT seq_n, records_n, row_number() OVER (ORDER BY seq_n) AS n FROM block)
SELECT coalesce(b.seq_n, h.block_seq_n) AS seq_n, b.n AS expected, b.records_n, coalesce(h.rows_n, 0) AS rows_n
FROM numbered b FULL JOIN held h ON h.block_seq_n = b.seq_n
WHERE b.seq_n IS NULL OR b.seq_n <> b.n OR b.records_n <> coalesce(h.rows_n, 0)"""),
    Gate("times_forward", "Time never runs backwards: not from block to block, not from the deciding hour to the effect.",
        "SELECT 'block' AS table_name, seq_n AS id, at_t, before_t AS other_t, seq_n AS block_seq_n FROM "
        "(SELECT seq_n, at_t, lag(at_t) OVER (ORDER BY seq_n) AS before_t FROM block) WHERE at_t < before_t\nUNION ALL "
        + _each(f"""SELECT '{{t}}', t.{{id}}, t.at_t, b.at_t, t.block_seq_n FROM {{t}} t LEFT JOIN block b ON b.seq_n = t.block_seq_n
WHERE t.at_t IS DISTINCT FROM b.at_t OR t.hour_t <> t.at_t - t.at_t % {HOUR_T} OR t.origin_hour_t > t.hour_t
OR t.origin_hour_t % {HOUR_T} <> 0""")),
    Gate("every_hour_has_states",
        "Every BARS block has one portfolio and one risk state; in a backtest every hour from the first to the last has one block.",
        f"""WITH hours AS (SELECT unnest(range(first_t, last_t + 1, interval_t)) AS at_t FROM run WHERE mode_id = {c.MODE_BACKTEST}),
bars AS (SELECT at_t, seq_n FROM block WHERE kind_id = {c.EV_BARS}),
p AS (SELECT block_seq_n, count(*) AS n FROM portfolio_hourly_state GROUP BY ALL),
r AS (SELECT block_seq_n, count(*) AS n FROM risk_hourly_state GROUP BY ALL)
SELECT coalesce(h.at_t, b.at_t) AS at_t, b.seq_n AS block_seq_n, coalesce(p.n, 0) AS portfolio_n, coalesce(r.n, 0) AS risk_n
FROM hours h FULL JOIN bars b ON b.at_t = h.at_t LEFT JOIN p ON p.block_seq_n = b.seq_n LEFT JOIN r ON r.block_seq_n = b.seq_n
WHERE (h.at_t IS NULL AND EXISTS (SELECT 1 FROM hours)) OR b.seq_n IS NULL OR coalesce(p.n, 0) <> 1 OR coalesce(r.n, 0) <> 1
UNION ALL SELECT s.at_t, s.block_seq_n, 1, 0 FROM portfolio_hourly_state s LEFT JOIN risk_hourly_state k
ON k.portfolio_state_id = s.state_id WHERE k.block_seq_n IS DISTINCT FROM s.block_seq_n"""),
)  # fmt: skip

CASH: Final = (
    Gate("one_entry_per_fill", "Every fill has exactly one cash entry, with its own amounts, and no entry names a fill that is not.",
        f"""WITH entry AS (SELECT fill_id, count(*) AS n, min(entry_id) AS entry_id FROM cash_ledger WHERE fill_id <> 0 GROUP BY ALL)
SELECT coalesce(f.fill_id, e.fill_id) AS fill_id, coalesce(e.n, 0) AS entries_n, l.entry_id, f.block_seq_n
FROM order_fill f FULL JOIN entry e ON e.fill_id = f.fill_id LEFT JOIN cash_ledger l ON l.entry_id = e.entry_id
WHERE f.fill_id IS NULL OR coalesce(e.n, 0) <> 1 OR l.notional_e8 <> f.notional_e8 OR l.fee_e8 <> f.fee_e8
OR l.slippage_e8 <> f.slippage_e8 OR l.quote_id <> f.quote_id OR l.instrument_id <> f.instrument_id
OR l.block_seq_n <> f.block_seq_n OR l.kind_id <> CASE f.side_id WHEN {c.BUY} THEN {c.L_BUY} ELSE {c.L_SELL} END"""),
    Gate("ledger_chain", "Per currency the cash entries are numbered without a hole, name their predecessor, and begin where it ended.",
        """SELECT entry_id, quote_id, entry_n, n AS expected, previous_entry_id, last_id, before_e8, last_e8, block_seq_n FROM
(SELECT *, row_number() OVER w AS n, coalesce(lag(entry_id) OVER w, 0) AS last_id, coalesce(lag(after_e8) OVER w, 0) AS last_e8
FROM cash_ledger WINDOW w AS (PARTITION BY quote_id ORDER BY entry_id))
WHERE entry_n <> n OR previous_entry_id <> last_id OR before_e8 <> last_e8"""),
    Gate("cash_delta", "before + delta = after, never negative; a buy takes notional and fee, a sale brings notional less fee.",
        f"""SELECT entry_id, kind_id, before_e8, delta_e8, after_e8, notional_e8, fee_e8, block_seq_n FROM cash_ledger
WHERE before_e8::HUGEINT + delta_e8 <> after_e8 OR after_e8 < 0 OR before_e8 < 0 OR fee_e8 < 0 OR notional_e8 < 0
OR kind_id NOT BETWEEN {c.L_DEPOSIT} AND {c.L_RECONCILIATION}
OR (kind_id = {c.L_BUY} AND delta_e8 <> -notional_e8::HUGEINT - fee_e8)
OR (kind_id = {c.L_SELL} AND delta_e8 <> notional_e8::HUGEINT - fee_e8)
OR (kind_id = {c.L_DEPOSIT} AND delta_e8 <= 0) OR (kind_id = {c.L_WITHDRAWAL} AND delta_e8 >= 0)
OR (kind_id NOT IN ({c.L_BUY}, {c.L_SELL}) AND (fill_id <> 0 OR notional_e8 <> 0 OR fee_e8 <> 0))
OR (kind_id IN ({c.L_BUY}, {c.L_SELL}) AND fill_id = 0)"""),
    Gate("portfolio_cash", "Every portfolio state shows the cash of the last entry of each currency, and names the last entry.",
        """WITH entry AS (SELECT *, max(entry_id) OVER (PARTITION BY block_seq_n, quote_id) AS last_id FROM cash_ledger),
closing AS (SELECT block_seq_n, quote_id, after_e8 FROM entry WHERE entry_id = last_id),
newest AS (SELECT block_seq_n, max(entry_id) AS entry_id FROM cash_ledger GROUP BY ALL),
q AS (SELECT s.state_id, s.block_seq_n, s.ledger_entry_id, k.quote_id,
CASE k.quote_id WHEN 0 THEN s.cash_usd_e8 WHEN 1 THEN s.cash_cad_e8 ELSE s.cash_usdc_e8 END AS shown_e8
FROM portfolio_hourly_state s JOIN quote_cap k ON s.block_seq_n BETWEEN k.first_n AND k.last_n)
SELECT q.state_id, q.quote_id, q.shown_e8, coalesce(l.after_e8, 0) AS ledger_e8, q.ledger_entry_id, n.entry_id, q.block_seq_n
FROM q ASOF LEFT JOIN closing l ON l.quote_id = q.quote_id AND l.block_seq_n <= q.block_seq_n
ASOF LEFT JOIN newest n ON n.block_seq_n <= q.block_seq_n
WHERE q.shown_e8 <> coalesce(l.after_e8, 0) OR q.ledger_entry_id <> coalesce(n.entry_id, 0)"""),
    Gate("portfolio_value", "Value is cash plus marked positions (at rate 1: skipped once a rate event came), drawdown follows from the peak.",
        f"""SELECT state_id, pv_e8, gross_e8, peak_e8, drawdown_ppm, block_seq_n FROM portfolio_hourly_state
WHERE peak_e8 < pv_e8 OR gross_e8 < 0
OR drawdown_ppm <> CASE WHEN peak_e8 > 0 THEN (peak_e8::HUGEINT - pv_e8) * 1000000 // peak_e8 ELSE 0 END
OR ({_NO_RATES} AND pv_e8 <> gross_e8::HUGEINT + cash_usd_e8 + cash_cad_e8 + cash_usdc_e8)"""),
    Gate("portfolio_sums", "Realised profit, fees, slippage and open cost are the sums of the rows before (skipped once a rate event came).",
        f"""WITH f AS (SELECT block_seq_n, sum(fee_e8::HUGEINT) OVER (ORDER BY block_seq_n, fill_id) AS fees_e8,
sum(slippage_e8::HUGEINT) OVER (ORDER BY block_seq_n, fill_id) AS slippage_e8, fill_id FROM order_fill),
fs AS (SELECT block_seq_n, arg_max(fees_e8, fill_id) AS fees_e8, arg_max(slippage_e8, fill_id) AS slippage_e8 FROM f GROUP BY ALL),
t AS (SELECT block_seq_n, sum(pnl_e8::HUGEINT) AS change_e8 FROM executed_trade GROUP BY ALL),
ts AS (SELECT block_seq_n, sum(change_e8) OVER (ORDER BY block_seq_n) AS pnl_e8 FROM t),
l AS (SELECT block_seq_n, sum(cost_e8::HUGEINT) AS change_e8 FROM position_lot GROUP BY ALL),
ls AS (SELECT block_seq_n, sum(change_e8) OVER (ORDER BY block_seq_n) AS cost_e8 FROM l)
SELECT s.state_id, s.realised_e8, s.fees_e8, s.slippage_e8, s.unrealised_e8, s.block_seq_n FROM portfolio_hourly_state s
ASOF LEFT JOIN fs ON fs.block_seq_n <= s.block_seq_n ASOF LEFT JOIN ts ON ts.block_seq_n <= s.block_seq_n
ASOF LEFT JOIN ls ON ls.block_seq_n <= s.block_seq_n
WHERE {_NO_RATES} AND (s.fees_e8 <> coalesce(fs.fees_e8, 0) OR s.slippage_e8 <> coalesce(fs.slippage_e8, 0)
OR s.realised_e8 <> coalesce(ts.pnl_e8, 0) OR s.unrealised_e8 <> s.gross_e8 - coalesce(ls.cost_e8, 0))"""),
)  # fmt: skip

LOTS: Final = (
    Gate("lots_conserved", "Each lot opens once, each change leaves what was there plus the change, never below zero, nothing after its close.",
        f"""SELECT lot_row_id, lot_id, kind_id, qty_e8, left_e8, had_e8, cost_e8, left_cost_e8, had_cost_e8, block_seq_n FROM
(SELECT *, lag(left_e8, 1, 0) OVER w AS had_e8, lag(left_cost_e8, 1, 0) OVER w AS had_cost_e8,
lag(kind_id, 1, 0) OVER w AS kind_before, lag(instrument_id, 1, instrument_id) OVER w AS instrument_before
FROM position_lot WINDOW w AS (PARTITION BY lot_id ORDER BY lot_row_id))
WHERE had_e8::HUGEINT + qty_e8 <> left_e8 OR had_cost_e8::HUGEINT + cost_e8 <> left_cost_e8 OR left_e8 < 0 OR left_cost_e8 < 0
OR instrument_before <> instrument_id OR kind_before = {c.LOT_CLOSE} OR (kind_before = 0) <> (kind_id = {c.LOT_OPEN})
OR (kind_id = {c.LOT_CLOSE}) <> (left_e8 = 0) OR (kind_id IN ({c.LOT_OPEN}, {c.LOT_MERGE})) <> (qty_e8 > 0)"""),
    Gate("no_oversold_lot", "No instrument was ever sold beyond what its lots held.",
        """SELECT lot_row_id, instrument_id, qty_e8, held_e8, block_seq_n FROM
(SELECT *, sum(qty_e8::HUGEINT) OVER (PARTITION BY instrument_id ORDER BY lot_row_id) AS held_e8 FROM position_lot)
WHERE held_e8 < 0"""),
    Gate("fifo", "A sale takes from the oldest open lot of its instrument.",
        f"""SELECT lot_row_id, instrument_id, lot_id, rank_n, closed_n, block_seq_n FROM
(SELECT *, dense_rank() OVER (PARTITION BY instrument_id ORDER BY lot_id) AS rank_n,
coalesce(sum((kind_id = {c.LOT_CLOSE})::INTEGER) OVER (PARTITION BY instrument_id ORDER BY lot_row_id
ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS closed_n FROM position_lot)
WHERE qty_e8 < 0 AND closed_n <> rank_n - 1"""),
    Gate("fills_make_lots", "A fill's lots carry exactly its quantity, and a buy's lots its notional and fee as cost.",
        f"""WITH lot AS (SELECT fill_id, sum(qty_e8::HUGEINT) AS qty_e8, sum(cost_e8::HUGEINT) AS cost_e8,
min(instrument_id) AS first_id, max(instrument_id) AS last_id FROM position_lot GROUP BY ALL)
SELECT coalesce(f.fill_id, l.fill_id) AS fill_id, f.qty_e8 AS filled_e8, l.qty_e8 AS lots_e8, l.cost_e8, f.block_seq_n
FROM order_fill f FULL JOIN lot l ON l.fill_id = f.fill_id
WHERE f.fill_id IS NULL OR l.fill_id IS NULL OR l.first_id <> f.instrument_id OR l.last_id <> f.instrument_id
OR l.qty_e8 <> f.qty_e8::HUGEINT * {_SIDE}
OR (f.side_id = {c.BUY} AND l.cost_e8 <> f.notional_e8::HUGEINT + f.fee_e8)"""),
    Gate("trades_add_up", "Every reduction of a lot is one trade with its quantity and cost; a sale's trades bring its notional less fee.",
        f"""WITH sold AS (SELECT * FROM position_lot WHERE qty_e8 < 0),
opened AS (SELECT lot_id, at_t FROM position_lot WHERE kind_id = {c.LOT_OPEN}),
money AS (SELECT fill_id, sum(proceeds_e8::HUGEINT) AS proceeds_e8 FROM executed_trade GROUP BY ALL)
SELECT t.trade_id, l.lot_row_id, t.qty_e8, t.cost_e8, t.proceeds_e8, t.pnl_e8, coalesce(t.block_seq_n, l.block_seq_n) AS block_seq_n
FROM sold l FULL JOIN executed_trade t ON t.lot_row_id = l.lot_row_id LEFT JOIN opened o ON o.lot_id = t.lot_id
WHERE t.trade_id IS NULL OR l.lot_row_id IS NULL OR t.qty_e8 <> -l.qty_e8 OR t.cost_e8 <> -l.cost_e8 OR t.lot_id <> l.lot_id
OR t.fill_id <> l.fill_id OR t.pnl_e8 <> t.proceeds_e8::HUGEINT - t.cost_e8 OR t.opened_t IS DISTINCT FROM o.at_t
OR t.block_seq_n <> l.block_seq_n
UNION ALL SELECT 0, 0, f.qty_e8, 0, m.proceeds_e8, 0, f.block_seq_n FROM order_fill f LEFT JOIN money m ON m.fill_id = f.fill_id
WHERE f.side_id <> {c.BUY} AND m.proceeds_e8 IS DISTINCT FROM f.notional_e8::HUGEINT - f.fee_e8"""),
)  # fmt: skip

ORDERS: Final = (
    Gate("fills_within_orders", "Every fill belongs to a sendable order state, fits what was left of it, and respects its limit.",
        f"""WITH total AS (SELECT order_id, sum(qty_e8::HUGEINT) AS qty_e8 FROM order_fill GROUP BY ALL)
SELECT f.fill_id, f.order_id, f.qty_e8, f.price_e8, o.left_e8, o.limit_price_e8, o.status_id, f.block_seq_n FROM order_fill f
LEFT JOIN order_request o ON o.order_row_id = f.order_row_id LEFT JOIN total t ON t.order_id = f.order_id
WHERE o.order_row_id IS NULL OR o.order_id <> f.order_id OR o.instrument_id <> f.instrument_id OR o.side_id <> f.side_id
OR o.quote_id <> f.quote_id OR o.block_seq_n >= f.block_seq_n OR f.qty_e8 <= 0 OR f.price_e8 <= 0 OR f.qty_e8 > o.left_e8
OR t.qty_e8 > o.qty_e8 OR o.status_id NOT IN ({c.O_NEW}, {c.O_OPEN}, {c.O_PARTIAL}, {c.O_UNKNOWN}, {c.O_CANCELLING})
OR (f.side_id = {c.BUY} AND f.price_e8 > o.limit_price_e8) OR f.notional_e8 <> f.qty_e8::HUGEINT * f.price_e8 // 100000000"""),
    Gate("orders_approved", "Every order begins as NEW in the block of a signal that passed every gate and asked for that side.",
        f"""WITH numbered AS (SELECT *, row_number() OVER (PARTITION BY order_id ORDER BY order_row_id) AS n FROM order_request),
shared AS (SELECT signal_id, count(DISTINCT order_id) AS orders_n FROM order_request GROUP BY ALL)
SELECT o.order_row_id, o.order_id, o.signal_id, o.side_id, s.action_id, s.gate_id, o.block_seq_n FROM numbered o
LEFT JOIN trade_signal s ON s.signal_id = o.signal_id LEFT JOIN shared h ON h.signal_id = o.signal_id
WHERE s.signal_id IS NULL OR s.gate_id <> {c.G_PASS} OR s.instrument_id <> o.instrument_id OR h.orders_n <> 1
OR (o.side_id = {c.BUY} AND s.action_id NOT IN ({c.ENTER}, {c.REENTER}))
OR (o.side_id <> {c.BUY} AND s.action_id NOT IN ({c.REALISE}, {c.DERISK}, {c.EXIT}))
OR (o.n = 1 AND (o.status_id <> {c.O_NEW} OR o.attempt_n <> 1 OR o.block_seq_n <> s.block_seq_n OR o.left_e8 <> o.qty_e8))"""),
    Gate("orders_end_once", "No order has a state after its last one, and an order's remaining quantity never grows.",
        f"""SELECT order_row_id, order_id, status_id, status_before, left_e8, left_before, block_seq_n FROM
(SELECT *, lag(status_id) OVER w AS status_before, lag(left_e8) OVER w AS left_before FROM order_request
WINDOW w AS (PARTITION BY order_id ORDER BY order_row_id))
WHERE status_before IN {_FINAL} OR left_e8 > left_before OR left_e8 < 0 OR (status_id IN {_FINAL} AND reserve_e8 <> 0)
OR (status_id = {c.O_FILLED} AND left_e8 <> 0)"""),
    Gate("refusals_journaled", "Every refused signal has one risk event with its gate, and no risk event refuses what passed.",
        f"""WITH refused AS (SELECT signal_id, block_seq_n, count(*) AS n, min(gate_id) AS gate_id FROM risk_event
WHERE kind_id = {c.RISK_REFUSED} GROUP BY ALL)
SELECT s.signal_id, s.gate_id, r.gate_id AS refused_gate_id, coalesce(r.n, 0) AS refusals_n, s.block_seq_n FROM trade_signal s
LEFT JOIN refused r ON r.signal_id = s.signal_id AND r.block_seq_n = s.block_seq_n
WHERE (s.gate_id <> {c.G_PASS} AND (coalesce(r.n, 0) <> 1 OR r.gate_id <> s.gate_id))
OR (s.gate_id = {c.G_PASS} AND r.n IS NOT NULL AND NOT EXISTS (SELECT 1 FROM order_request o WHERE o.signal_id = s.signal_id))
UNION ALL SELECT r.signal_id, 0, r.gate_id, r.n, r.block_seq_n FROM refused r LEFT JOIN trade_signal s USING (signal_id)
WHERE s.signal_id IS NULL OR r.gate_id = {c.G_PASS}"""),
)  # fmt: skip

CAPS: Final = (
    Gate("total_cap", "In each hour that admitted a buy, marks plus open buys at worst price are within the total and the global budget cap.",
        f"""SELECT DISTINCT k.state_id, k.total_used_e8, k.total_cap_e8, budget_e8, k.block_seq_n FROM
(SELECT k.*, CASE WHEN rule.budget_cap_e8 > 0 THEN least(p.pv_e8::HUGEINT * rule.budget_cap_ppm // 1000000, rule.budget_cap_e8)
ELSE p.pv_e8::HUGEINT * rule.budget_cap_ppm // 1000000 END AS budget_e8,
CASE WHEN rule.total_cap_e8 > 0 THEN least(p.pv_e8::HUGEINT * rule.total_cap_ppm // 1000000, rule.total_cap_e8)
ELSE p.pv_e8::HUGEINT * rule.total_cap_ppm // 1000000 END AS total_e8
FROM risk_hourly_state k JOIN portfolio_hourly_state p ON p.state_id = k.portfolio_state_id
JOIN rule ON k.block_seq_n BETWEEN rule.first_n AND rule.last_n) k
LEFT JOIN ({_ADMITTED}) a ON a.block_seq_n = k.block_seq_n
WHERE k.total_cap_e8 <> k.total_e8 OR (a.block_seq_n IS NOT NULL AND k.total_used_e8 > least(k.total_cap_e8, k.budget_e8))"""),
    Gate("cluster_cap", "In each hour that admitted a buy, its cluster's marks plus open buys are within the cluster cap.",
        f"""SELECT a.instrument_id, m.cluster_id, e.exposure_e8, e.in_flight_e8, e.cap_e8, a.block_seq_n FROM ({_ADMITTED}) a
JOIN (SELECT seq_n, sum((kind_id = {c.EV_CLUSTERS})::INTEGER) OVER (ORDER BY seq_n) AS version_n FROM block) v ON v.seq_n = a.block_seq_n
JOIN membership m ON m.version_n = v.version_n AND m.instrument_id = a.instrument_id
LEFT JOIN cluster_exposure_hourly_state e ON e.block_seq_n = a.block_seq_n AND e.cluster_id = m.cluster_id
WHERE e.state_id IS NULL OR e.membership_n <> v.version_n OR e.exposure_e8::HUGEINT + e.in_flight_e8 > e.cap_e8"""),
    Gate("clusters_complete", "An hour's cluster states add up to its exposure and its orders in flight, and carry the profile's cap.",
        """WITH sums AS (SELECT portfolio_state_id, sum(exposure_e8::HUGEINT) AS exposure_e8, sum(in_flight_e8::HUGEINT) AS flying_e8,
min(cap_e8) AS low_e8, max(cap_e8) AS high_e8 FROM cluster_exposure_hourly_state GROUP BY ALL)
SELECT p.state_id, p.gross_e8, s.exposure_e8, k.total_used_e8, s.flying_e8, s.high_e8 AS cap_e8, p.block_seq_n
FROM portfolio_hourly_state p JOIN risk_hourly_state k ON k.portfolio_state_id = p.state_id
LEFT JOIN sums s ON s.portfolio_state_id = p.state_id JOIN rule ON p.block_seq_n BETWEEN rule.first_n AND rule.last_n
WHERE coalesce(s.exposure_e8, 0) <> p.gross_e8 OR coalesce(s.flying_e8, 0) <> k.total_used_e8::HUGEINT - p.gross_e8
OR (s.portfolio_state_id IS NOT NULL AND (s.low_e8 <> s.high_e8 OR s.high_e8 <> CASE WHEN rule.cluster_cap_e8 > 0
THEN least(p.pv_e8::HUGEINT * rule.cluster_cap_ppm // 1000000, rule.cluster_cap_e8)
ELSE p.pv_e8::HUGEINT * rule.cluster_cap_ppm // 1000000 END))"""),
    Gate("in_flight", "What an hour counts as in flight is what its open buys reserve (skipped once a rate event came).",
        f"""WITH changed AS ({_RESERVED}), per AS (SELECT block_seq_n, sum(change_e8) AS change_e8 FROM changed GROUP BY ALL),
running AS (SELECT block_seq_n, sum(change_e8) OVER (ORDER BY block_seq_n) AS reserved_e8 FROM per)
SELECT k.state_id, k.total_used_e8, p.gross_e8, coalesce(r.reserved_e8, 0) AS reserved_e8, k.block_seq_n FROM risk_hourly_state k
JOIN portfolio_hourly_state p ON p.state_id = k.portfolio_state_id ASOF LEFT JOIN running r ON r.block_seq_n <= k.block_seq_n
WHERE {_NO_RATES} AND k.total_used_e8::HUGEINT <> p.gross_e8 + coalesce(r.reserved_e8, 0)"""),
    Gate("quote_cap", "In each hour that admitted a buy, its currency's marks plus open buys are within that currency's cap (open buys: at rate 1).",
        f"""WITH changed AS ({_RESERVED}),
per AS (SELECT block_seq_n, quote_id, sum(change_e8) AS change_e8 FROM changed GROUP BY ALL),
running AS (SELECT block_seq_n, quote_id, sum(change_e8) OVER (PARTITION BY quote_id ORDER BY block_seq_n) AS reserved_e8 FROM per),
a AS (SELECT DISTINCT block_seq_n, quote_id FROM ({_ADMITTED})),
used AS (SELECT a.block_seq_n, a.quote_id,
CASE a.quote_id WHEN {c.USD} THEN k.used_usd_e8 WHEN {c.CAD} THEN k.used_cad_e8 ELSE k.used_usdc_e8 END AS marked_e8,
CASE WHEN q.cap_e8 > 0 THEN least(p.pv_e8::HUGEINT * q.cap_ppm // 1000000, q.cap_e8)
ELSE p.pv_e8::HUGEINT * q.cap_ppm // 1000000 END AS cap_e8
FROM a JOIN risk_hourly_state k ON k.block_seq_n = a.block_seq_n JOIN portfolio_hourly_state p ON p.state_id = k.portfolio_state_id
JOIN quote_cap q ON q.quote_id = a.quote_id AND a.block_seq_n BETWEEN q.first_n AND q.last_n)
SELECT u.quote_id, u.marked_e8, r.reserved_e8, u.cap_e8, u.block_seq_n FROM used u
ASOF LEFT JOIN running r ON r.quote_id = u.quote_id AND r.block_seq_n <= u.block_seq_n
WHERE u.marked_e8::HUGEINT + CASE WHEN {_NO_RATES} THEN coalesce(r.reserved_e8, 0) ELSE 0 END > u.cap_e8"""),
    Gate("positions_limit", "Open positions, and with first buys in flight every hour that admitted an entry, are within the profile's maximum.",
        f"""WITH lives AS (SELECT order_id, instrument_id, side_id, status_id, block_seq_n AS from_n,
coalesce(lead(block_seq_n) OVER (PARTITION BY order_id ORDER BY order_row_id), 9223372036854775807) AS to_n FROM order_request),
per AS (SELECT instrument_id, block_seq_n, sum(qty_e8::HUGEINT) AS change_e8 FROM position_lot GROUP BY ALL),
held AS (SELECT instrument_id, block_seq_n, sum(change_e8) OVER (PARTITION BY instrument_id ORDER BY block_seq_n) AS qty_e8 FROM per),
a AS (SELECT DISTINCT o.block_seq_n FROM order_request o JOIN trade_signal s ON s.signal_id = o.signal_id
WHERE o.status_id = {c.O_NEW} AND s.action_id = {c.ENTER}),
waiting AS (SELECT DISTINCT a.block_seq_n, l.instrument_id FROM a JOIN lives l ON l.from_n <= a.block_seq_n AND l.to_n > a.block_seq_n
WHERE l.status_id NOT IN {_FINAL} AND l.side_id = {c.BUY}),
first_buys AS (SELECT w.block_seq_n, count(*) AS n FROM waiting w
ASOF LEFT JOIN held h ON h.instrument_id = w.instrument_id AND h.block_seq_n <= w.block_seq_n
WHERE coalesce(h.qty_e8, 0) = 0 GROUP BY ALL),
open AS (SELECT k.*, p.open_n AS shown_n FROM risk_hourly_state k JOIN portfolio_hourly_state p ON p.state_id = k.portfolio_state_id)
SELECT k.state_id, k.open_n, coalesce(f.n, 0) AS first_buys_n, k.positions_max_n, k.block_seq_n FROM open k
LEFT JOIN first_buys f ON f.block_seq_n = k.block_seq_n JOIN rule ON k.block_seq_n BETWEEN rule.first_n AND rule.last_n
WHERE k.positions_max_n <> rule.positions_max_n OR k.open_n <> k.shown_n OR k.open_n + coalesce(f.n, 0) > k.positions_max_n"""),
)  # fmt: skip

FORECASTS: Final = (
    Gate("prediction_existed", "Every signal acts on the newest prediction that a block had taken in, with exactly its numbers.",
        f"""WITH taken AS (SELECT * FROM model_prediction WHERE block_seq_n > 0)
SELECT s.signal_id, s.instrument_id, s.forecast_t, s.at_t, p.block_seq_n AS taken_by, s.prob_ppm, p.prob_main_ppm, s.block_seq_n
FROM trade_signal s LEFT JOIN taken p ON p.instrument_id = s.instrument_id AND p.at_t = s.forecast_t
ASOF LEFT JOIN taken newest ON newest.instrument_id = s.instrument_id AND newest.block_seq_n <= s.block_seq_n
WHERE s.forecast_t > s.at_t OR p.block_seq_n > s.block_seq_n
OR (s.forecast_t = 0 AND s.action_id <> {c.NONE}) OR (s.forecast_t <> 0 AND p.block_seq_n IS NULL)
OR p.prob_main_ppm <> s.prob_ppm OR p.ret_near_ppm <> s.near_ppm OR p.uncertainty_ppm <> s.uncertainty_ppm
OR greatest(p.ret_main_ppm, p.ret_far_ppm) <> s.edge_ppm OR newest.at_t > s.forecast_t"""),
    Gate("prediction_out_of_sample",
        "No prediction lies before the last label of its own training window is known, and the run's predictions are of that study's time.",
        f"""SELECT at_t, symbol, horizon_h, fold_n, train_first_t, train_last_t FROM study_prediction
WHERE at_t <= train_last_t + horizon_h * {HOUR_T} OR train_last_t < train_first_t
UNION ALL SELECT p.at_t, i.symbol, 0, -1, s.first_t, s.last_t FROM model_prediction p LEFT JOIN instrument i USING (instrument_id),
(SELECT min(at_t) AS first_t, max(at_t) AS last_t FROM study_prediction) s
WHERE s.first_t IS NULL OR p.at_t < s.first_t OR p.at_t > s.last_t""", study=True),
)  # fmt: skip

GATES: Final = (*STRUCTURE, *CASH, *LOTS, *ORDERS, *CAPS, *FORECASTS)
