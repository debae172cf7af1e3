"""The record types: one definition from which dtypes, Arrow schemas, DDL and the reference page are made.

Every field is a little-endian int64 and the last part of its name is its scale:

- `_e8`   price, quantity or money in 1e-8 units;  `_e4` traded volume in 1e-4 units (a measure, not money)
- `_ppm`  ratio, probability or return in 1e-6 units
- `_t`    seconds since 1970-01-01 UTC;  `_n` count, flag or sequence number;  `_id` identity or code
- `_ms`   milliseconds;  `_ppb` ratio in 1e-9 units;  `_v` a number whose scale is the row's `scale_id`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.core import codes as c

E4: Final = 10_000
E8: Final = 100_000_000
PPM: Final = 1_000_000
HOUR_T: Final = 3_600

INSTRUMENTS: Final = 32
"""Instrument capacity of the state: a constant, so that compiled code has one shape."""
QUOTES: Final = 3
TIERS: Final = 4
FEE_TIERS: Final = 10
DAYS: Final = 30
"""Days of traded volume that decide the fee tier."""
MAX_LOTS: Final = 64
"""Open FIFO lots per instrument; a further buy merges into the newest lot."""

PREFIX: Final = "account_id mode_id origin_hour_t hour_t at_t"
"""Columns every output record starts with, after its own id: whose record it is, the hour in which it was decided,
the hour in which it took effect, and the event time."""


def layout(names: str) -> np.dtype[np.void]:
    """Return the packed int64 dtype for space-separated field names."""
    return np.dtype([(name, "<i8") for name in names.split()])


@dataclass(frozen=True, slots=True)
class RecordType:
    """One kind of output record.

    Attributes:
        name: table name.
        code: number in the canonical bytes; never reused.
        dtype: packed int64 layout; the first field is the row's own id, dense from 1 within its type.
        parents: pairs (parent table or input, column that holds the parent's id; 0 in that column means no parent).
        names: value names of the coded columns.
    """

    name: str
    code: int
    dtype: np.dtype[np.void]
    parents: tuple[tuple[str, str], ...]
    names: dict[str, dict[int, str]]


TRADE_SIGNAL: Final = RecordType(
    "trade_signal", 1,
    layout(f"""signal_id {PREFIX} instrument_id forecast_t outlook_id raw_outlook_id persist_n action_id reason_id gate_id
    wanted_e8 sized_e8 prob_ppm edge_ppm near_ppm cost_ppm vol_ppm uncertainty_ppm rebound_ppm downside_ppm gain_ppm
    horizon_t tier_id"""),
    (("forecast", "instrument_id"), ("policy", "")),
    {"outlook_id": c.OUTLOOK_NAMES, "raw_outlook_id": c.OUTLOOK_NAMES, "action_id": c.ACTION_NAMES,
     "reason_id": c.REASON_NAMES, "gate_id": c.GATE_NAMES, "tier_id": c.TIER_NAMES},
)  # fmt: skip
RISK_EVENT: Final = RecordType(
    "risk_event", 2,
    layout(f"risk_event_id {PREFIX} signal_id instrument_id kind_id gate_id action_id scale_id limit_v value_v tier_id"),
    (("trade_signal", "signal_id"),),
    {"kind_id": c.RISK_KIND_NAMES, "gate_id": c.GATE_NAMES, "action_id": c.ACTION_NAMES, "scale_id": c.SCALE_NAMES,
     "tier_id": c.TIER_NAMES},
)  # fmt: skip
ORDER_REQUEST: Final = RecordType(
    "order_request", 3,
    layout(f"""order_row_id {PREFIX} order_id signal_id instrument_id quote_id side_id status_id reason_id attempt_n
    qty_e8 left_e8 reserve_e8 decision_price_e8 limit_price_e8 expires_t retry_t campaign_id"""),
    (("trade_signal", "signal_id"),),
    {"quote_id": c.QUOTE_NAMES, "side_id": c.SIDE_NAMES, "status_id": c.ORDER_STATUS_NAMES, "reason_id": c.REASON_NAMES},
)  # fmt: skip
ORDER_FILL: Final = RecordType(
    "order_fill", 4,
    layout(f"""fill_id {PREFIX} order_id order_row_id instrument_id quote_id side_id liquidity_id qty_e8 price_e8 reference_e8
    notional_e8 fee_e8 slippage_e8"""),
    (("order_request", "order_row_id"),),
    {"quote_id": c.QUOTE_NAMES, "side_id": c.SIDE_NAMES, "liquidity_id": c.LIQUIDITY_NAMES},
)  # fmt: skip
POSITION_LOT: Final = RecordType(
    "position_lot",
    5,
    layout(f"lot_row_id {PREFIX} lot_id fill_id instrument_id kind_id qty_e8 cost_e8 left_e8 left_cost_e8"),
    (("order_fill", "fill_id"),),
    {"kind_id": c.LOT_EVENT_NAMES},
)
EXECUTED_TRADE: Final = RecordType(
    "executed_trade", 6,
    layout(f"""trade_id {PREFIX} lot_id lot_row_id fill_id instrument_id quote_id opened_t qty_e8 cost_e8 proceeds_e8 pnl_e8
    campaign_id"""),
    (("position_lot", "lot_row_id"), ("order_fill", "fill_id")),
    {"quote_id": c.QUOTE_NAMES},
)  # fmt: skip
CASH_LEDGER: Final = RecordType(
    "cash_ledger", 7,
    layout(f"""entry_id {PREFIX} quote_id entry_n previous_entry_id kind_id fill_id instrument_id before_e8 delta_e8 after_e8
    notional_e8 fee_e8 slippage_e8"""),
    (("order_fill", "fill_id"), ("cash_ledger", "previous_entry_id")),
    {"quote_id": c.QUOTE_NAMES, "kind_id": c.LEDGER_KIND_NAMES},
)  # fmt: skip
PORTFOLIO_HOURLY: Final = RecordType(
    "portfolio_hourly_state", 8,
    layout(f"""state_id {PREFIX} ledger_entry_id pv_e8 gross_e8 peak_e8 drawdown_ppm realised_e8 unrealised_e8 fees_e8
    slippage_e8 open_n orders_n cash_usd_e8 cash_cad_e8 cash_usdc_e8"""),
    (("cash_ledger", "ledger_entry_id"),),
    {},
)  # fmt: skip
RISK_HOURLY: Final = RecordType(
    "risk_hourly_state", 9,
    layout(f"""state_id {PREFIX} portfolio_state_id tier_id kill_n halt_n drawdown_ppm total_cap_e8 total_used_e8 open_n
    positions_max_n used_usd_e8 used_cad_e8 used_usdc_e8"""),
    (("portfolio_hourly_state", "portfolio_state_id"),),
    {"tier_id": c.TIER_NAMES},
)  # fmt: skip

CLUSTER_HOURLY: Final = RecordType(
    "cluster_exposure_hourly_state", 10,
    layout(f"state_id {PREFIX} portfolio_state_id cluster_id membership_n members_n exposure_e8 in_flight_e8 cap_e8"),
    (("portfolio_hourly_state", "portfolio_state_id"),),
    {},
)  # fmt: skip

RECORD_TYPES: Final = (
    TRADE_SIGNAL, RISK_EVENT, ORDER_REQUEST, ORDER_FILL, POSITION_LOT, EXECUTED_TRADE, CASH_LEDGER, PORTFOLIO_HOURLY,
    RISK_HOURLY, CLUSTER_HOURLY,
)  # fmt: skip
"""In the order in which a block lists its records: parents before children."""
BY_NAME: Final = {record.name: record for record in RECORD_TYPES}

# ---- inputs -----------------------------------------------------------------------------------------------------
EVENT: Final = layout("""kind_id at_t bar_n forecast_n cluster_n instrument_id quote_id order_id status_id liquidity_id qty_e8
    price_e8 reference_e8 amount_e8 value_n""")
"""One event. `bar_n`, `forecast_n`, `cluster_n` are row numbers of the inputs that came with it (-1: none).

- BARS: `value_n` is the bar's opening time.
- FILL: instrument, order, quantity, price, liquidity, and as reference the price before slippage; `value_n` 1 says that the
  rest of the order is at a venue that must be asked to end it (0: the venue of a backtest).
- ORDER: instrument, order, and as status what the venue answered (OPEN, DENIED, REJECTED, UNKNOWN, CANCELLED, EXPIRED);
  `value_n` 1 says that a rejection may be tried again.
- DEPOSIT, WITHDRAWAL, CORRECTION, RECONCILIATION: quote and amount (signed for the last two).
- RATE: quote and price in the base currency.
- QUOTE: instrument, best bid as price and best ask as reference; `value_n` 1 says that it moved far since the last one: a held
  instrument is marked at the middle and decided anew.
- CONTROL: `instrument_id` is the switch, `value_n` its new setting. HEARTBEAT: `value_n` is the clock's skew in milliseconds.
- CLUSTERS: the membership row `cluster_n`; `value_n` is its version.
- POLICY: `value_n` is the profile's version. BUNDLE: `value_n` counts the bundles of the chain. SESSION: `value_n` 1 starts, 0 stops."""
CLUSTER: Final = layout("cluster_id")
BAR: Final = layout("open_e8 high_e8 low_e8 close_e8 volume_e4 present_n")
FORECAST: Final = layout(
    "prob_near_ppm prob_main_ppm prob_far_ppm ret_near_ppm ret_main_ppm ret_far_ppm uncertainty_ppm valid_n"
)
"""One asset's calibrated model output for the bundle's three horizons (near, main, far; 4, 24, 72 h by default):
probability that the return is positive, expected gross return, uncertainty of the main probability. valid_n 0: none."""

# ---- state ------------------------------------------------------------------------------------------------------
DESK: Final = layout("""account_id mode_id now_t pv_e8 peak_e8 drawdown_ppm tier_id kill_n halt_n open_n gross_e8 realised_e8
    fees_e8 slippage_e8 signal_n risk_event_n order_n order_row_n fill_n lot_n lot_row_n trade_n entry_n portfolio_n
    risk_state_n cluster_state_n campaign_n skew_ms day_n volume_30d_e8 membership_n recovering_n retries_n""")
DAY: Final = layout("volume_e8")
CASH: Final = layout("cash_e8 exposure_e8 rate_e8 entry_n last_entry_id")
POSITION: Final = layout("""qty_e8 cost_e8 value_e8 mark_e8 mark_t vol_ppb outlook_id raw_outlook_id pending_id persist_n adverse_n
    action_id gate_id derisked_n taken_n reentered_n taken_e8 recovery_n recovery_wait_n horizon_t campaign_id realised_e8 lot_head_n
    lot_n forecast_t turnover_e8 bid_e8 ask_e8 quote_t cluster_id""")
LOT: Final = layout("lot_id qty_e8 cost_e8 opened_t")
ORDER: Final = layout("""order_id order_row_id signal_id side_id status_id action_id reason_id attempt_n qty_e8 left_e8 reserve_e8
    decision_price_e8 limit_price_e8 placed_t expires_t retry_t campaign_id acked_n""")
STATE: Final = np.dtype([
    ("desk", DESK), ("cash", CASH, (QUOTES,)), ("positions", POSITION, (INSTRUMENTS,)), ("forecasts", FORECAST, (INSTRUMENTS,)),
    ("lots", LOT, (INSTRUMENTS, MAX_LOTS)), ("orders", ORDER, (INSTRUMENTS,)), ("days", DAY, (DAYS,)),
])  # fmt: skip

# ---- policy -----------------------------------------------------------------------------------------------------
RULES: Final = layout("""strong_prob_ppm positive_prob_ppm negative_prob_ppm strong_negative_prob_ppm strong_ret_ppm positive_ret_ppm
    negative_ret_ppm strong_negative_ret_ppm entry_persist_n exit_persist_n uncertain_ppm near_drop_ppm rebound_exit_ppm
    derisk_ppm derisk_max_n take_near_ppm take_profit_ppm take_ppm take_max_n reentry_near_ppm horizon_t
    severe_loss_ppm severe_release_ppm severe_max_n recovery_hold_ppm recovery_exit_ppm recovery_patience_n
    base_ppm entry_min_ppm vol_target_ppb vol_decay_ppm size_low_ppm size_high_ppm
    positions_max_n total_cap_ppm total_cap_e8 cluster_cap_ppm cluster_cap_e8 budget_cap_ppm budget_cap_e8
    maker_entry_n half_spread_ppm slippage_ppm impact_ppm margin_ppm limit_ppm participation_ppm liquidity_ppm spread_max_ppm
    quote_age_max_t bar_age_max_t forecast_age_max_t skew_max_ms order_ttl_t latency_t retry_t retries_max_n""")
TIER: Final = layout("drawdown_ppm size_ppm allow_entry_n allow_reentry_n")
FEE: Final = layout("volume_e8 maker_ppm taker_ppm")
INSTRUMENT: Final = layout("enabled_n quote_id lot_e8 tick_e8 qty_min_e8 cost_min_e8")
QUOTE_CAP: Final = layout("cap_ppm cap_e8")
POLICY: Final = np.dtype([
    ("rules", RULES), ("tiers", TIER, (TIERS,)), ("instruments", INSTRUMENT, (INSTRUMENTS,)), ("quotes", QUOTE_CAP, (QUOTES,)),
    ("fees", FEE, (FEE_TIERS,)),
])  # fmt: skip

COUNTS: Final = layout(" ".join(record.name for record in RECORD_TYPES) + " event")
"""Rows written so far, one column per output buffer; `event` counts finished blocks."""


class Out(NamedTuple):
    """Append-only output buffers of a sweep; `marks[i]` holds the counts after block i."""

    n: npt.NDArray[np.void]
    marks: npt.NDArray[np.void]
    event: npt.NDArray[np.void]
    trade_signal: npt.NDArray[np.void]
    risk_event: npt.NDArray[np.void]
    order_request: npt.NDArray[np.void]
    order_fill: npt.NDArray[np.void]
    position_lot: npt.NDArray[np.void]
    executed_trade: npt.NDArray[np.void]
    cash_ledger: npt.NDArray[np.void]
    portfolio_hourly_state: npt.NDArray[np.void]
    risk_hourly_state: npt.NDArray[np.void]
    cluster_exposure_hourly_state: npt.NDArray[np.void]
