"""Every enumeration of the core: small integers in the records, names everywhere a person reads them.

A code is never renumbered; a retired one stays reserved, since old journals carry it.
"""

from __future__ import annotations

from typing import Final

# ---- events (what a block is about) ----------------------------------------------------------------------------
EV_BARS, EV_FILL, EV_DEPOSIT, EV_CONTROL, EV_RATE = 1, 2, 3, 4, 5
EV_WITHDRAWAL, EV_CORRECTION, EV_RECONCILIATION, EV_ORDER, EV_CLUSTERS, EV_QUOTE, EV_HEARTBEAT = 6, 7, 8, 9, 10, 11, 12
EV_POLICY, EV_BUNDLE, EV_SESSION = 13, 14, 15
"""POLICY: another profile governs from this block on. BUNDLE: another bundle makes the forecasts. SESSION: trading starts (value 1) or
stops (0). What they say beyond numbers is the note stored with the block (`runtime/event.py`)."""

# ---- switches of a CONTROL event -------------------------------------------------------------------------------
SWITCH_KILL, SWITCH_HALT, SWITCH_RELEASE_TIER = 1, 2, 3

# ---- who or what threw the kill switch (the value of its CONTROL event; 0 releases it) --------------------------
KILL_OPERATOR, KILL_EXCHANGE, KILL_DATA, KILL_MARKET, KILL_INTERNAL = 1, 2, 3, 4, 5

# ---- outlook classes, ordered: a comparison is a statement about optimism --------------------------------------
STRONG_NEGATIVE, NEGATIVE, NEUTRAL, POSITIVE, STRONG_POSITIVE = -2, -1, 0, 1, 2

# ---- actions of the strategy -----------------------------------------------------------------------------------
NONE, ENTER, HOLD, REALISE, REENTER, DERISK, EXIT, DIP_WAIT = 0, 1, 2, 3, 4, 5, 6, 7

# ---- reasons: why the strategy wanted an action ----------------------------------------------------------------
R_NONE = 0
R_ENTRY_POSITIVE, R_ENTRY_STRONG = 1, 2
R_HOLD_THESIS, R_HOLD_EDGE, R_HOLD_NO_FORECAST, R_HOLD_EXTENDED = 10, 11, 12, 13
R_DERISK_UNCERTAIN, R_DERISK_NEGATIVE = 20, 21
R_EXIT_NEGATIVE, R_EXIT_STRONG_NEGATIVE = 30, 31
R_DIP_WAIT, R_DIP_ENTRY = 40, 41
R_WAIT_PERSISTENCE = 50
R_TACTICAL_TAKE = 60
R_REENTRY_EDGE = 70
R_RECOVERY_HOLD, R_RECOVERY_DERISK, R_RECOVERY_EXIT = 80, 81, 82

# ---- gates of the risk engine, in their order of precedence ----------------------------------------------------
(
    G_PASS,
    G_KILL,
    G_HALT,
    G_DRAWDOWN,
    G_SEVERE_LOSS,
    G_POSITIONS,
    G_TOTAL,
    G_CLUSTER,
    G_QUOTE,
    G_BUDGET,
    G_COST,
    G_LIQUIDITY,
    G_FRESHNESS,
    G_CLOCK,
    G_PAIR,
    G_LOT,
    G_MINIMUM,
    G_CASH,
    G_BUSY,
) = range(19)

# ---- what a risk event records ---------------------------------------------------------------------------------
RISK_REFUSED, RISK_CUT, RISK_TIER, RISK_KILL, RISK_HALT, RISK_RECOVERY, RISK_RETRY = 1, 2, 3, 4, 5, 6, 7

# ---- scales of the two compared numbers of a risk event --------------------------------------------------------
SCALE_N, SCALE_E8, SCALE_PPM, SCALE_T, SCALE_E4, SCALE_MS = 0, 1, 2, 3, 4, 5

# ---- orders, fills, lots, ledger -------------------------------------------------------------------------------
BUY, SELL = 1, -1
O_NONE, O_NEW, O_PARTIAL, O_FILLED, O_CANCELLED, O_EXPIRED, O_DUST = 0, 1, 2, 3, 4, 5, 6
O_OPEN, O_DENIED, O_REJECTED, O_UNKNOWN, O_RETRYING, O_CANCELLING = 7, 8, 9, 10, 11, 12
"""NEW: approved, to be sent. OPEN: the venue has it. DENIED: refused before it left us. REJECTED: the venue said no. UNKNOWN:
sent, outcome not known; resolved by a query, never by sending again. RETRYING: waits for its next attempt. CANCELLING: the venue
is asked to end it and may still fill it. DUST: what was left was below the pair's minimum."""
TAKER, MAKER = 1, 2
LOT_OPEN, LOT_MERGE, LOT_REDUCE, LOT_CLOSE = 1, 2, 3, 4
L_DEPOSIT, L_BUY, L_SELL, L_WITHDRAWAL, L_CORRECTION, L_RECONCILIATION = 1, 2, 3, 4, 5, 6

# ---- drawdown tiers --------------------------------------------------------------------------------------------
TIER_NORMAL, TIER_DD10, TIER_DD15, TIER_HALT20 = 0, 1, 2, 3

# ---- quote currencies and modes --------------------------------------------------------------------------------
USD, CAD, USDC = 0, 1, 2
MODE_BACKTEST, MODE_PAPER, MODE_LIVE = 1, 2, 3

EVENT_NAMES: Final = {
    EV_BARS: "BARS", EV_FILL: "FILL", EV_DEPOSIT: "DEPOSIT", EV_CONTROL: "CONTROL", EV_RATE: "RATE",
    EV_WITHDRAWAL: "WITHDRAWAL", EV_CORRECTION: "CORRECTION", EV_RECONCILIATION: "RECONCILIATION", EV_ORDER: "ORDER",
    EV_CLUSTERS: "CLUSTERS", EV_QUOTE: "QUOTE", EV_HEARTBEAT: "HEARTBEAT", EV_POLICY: "POLICY", EV_BUNDLE: "BUNDLE",
    EV_SESSION: "SESSION",
}  # fmt: skip
OUTLOOK_NAMES: Final = {
    STRONG_NEGATIVE: "STRONG_NEGATIVE", NEGATIVE: "NEGATIVE", NEUTRAL: "NEUTRAL",
    POSITIVE: "POSITIVE", STRONG_POSITIVE: "STRONG_POSITIVE",
}  # fmt: skip
ACTION_NAMES: Final = {
    NONE: "NONE", ENTER: "ENTER", HOLD: "HOLD", REALISE: "REALISE", REENTER: "REENTER",
    DERISK: "DERISK", EXIT: "EXIT", DIP_WAIT: "DIP_WAIT",
}  # fmt: skip
REASON_NAMES: Final = {
    R_NONE: "NONE", R_ENTRY_POSITIVE: "ENTRY_POSITIVE", R_ENTRY_STRONG: "ENTRY_STRONG",
    R_HOLD_THESIS: "HOLD_THESIS", R_HOLD_EDGE: "HOLD_EDGE", R_HOLD_NO_FORECAST: "HOLD_NO_FORECAST",
    R_DERISK_UNCERTAIN: "DERISK_UNCERTAIN", R_EXIT_NEGATIVE: "EXIT_NEGATIVE",
    R_EXIT_STRONG_NEGATIVE: "EXIT_STRONG_NEGATIVE", R_DIP_WAIT: "DIP_WAIT", R_DIP_ENTRY: "DIP_ENTRY",
    R_WAIT_PERSISTENCE: "WAIT_PERSISTENCE", R_HOLD_EXTENDED: "HOLD_EXTENDED", R_DERISK_NEGATIVE: "DERISK_NEGATIVE",
    R_TACTICAL_TAKE: "TACTICAL_TAKE", R_REENTRY_EDGE: "REENTRY_EDGE", R_RECOVERY_HOLD: "RECOVERY_HOLD",
    R_RECOVERY_DERISK: "RECOVERY_DERISK", R_RECOVERY_EXIT: "RECOVERY_EXIT",
}  # fmt: skip
GATE_NAMES: Final = {
    G_PASS: "PASS", G_KILL: "KILL_SWITCH", G_HALT: "ENTRY_HALT", G_DRAWDOWN: "DRAWDOWN_TIER",
    G_SEVERE_LOSS: "SEVERE_LOSS", G_POSITIONS: "MAX_POSITIONS", G_TOTAL: "TOTAL_EXPOSURE", G_CLUSTER: "CLUSTER_EXPOSURE",
    G_QUOTE: "QUOTE_CAP", G_BUDGET: "GLOBAL_BUDGET", G_COST: "COST", G_LIQUIDITY: "LIQUIDITY", G_FRESHNESS: "FRESHNESS",
    G_CLOCK: "CLOCK_SKEW", G_PAIR: "PAIR_RULES", G_LOT: "LOT_SIZE", G_MINIMUM: "MINIMUM_COST", G_CASH: "AVAILABLE_CASH",
    G_BUSY: "ORDER_IN_FLIGHT",
}  # fmt: skip
RISK_KIND_NAMES: Final = {
    RISK_REFUSED: "REFUSED", RISK_CUT: "CUT", RISK_TIER: "TIER", RISK_KILL: "KILL_SWITCH", RISK_HALT: "ENTRY_HALT",
    RISK_RECOVERY: "RECOVERY", RISK_RETRY: "RETRY",
}  # fmt: skip
SCALE_NAMES: Final = {SCALE_N: "n", SCALE_E8: "e8", SCALE_PPM: "ppm", SCALE_T: "t", SCALE_E4: "e4", SCALE_MS: "ms"}
SIDE_NAMES: Final = {BUY: "BUY", SELL: "SELL"}
ORDER_STATUS_NAMES: Final = {
    O_NEW: "NEW", O_PARTIAL: "PARTIAL", O_FILLED: "FILLED", O_CANCELLED: "CANCELLED", O_EXPIRED: "EXPIRED", O_DUST: "DUST",
    O_OPEN: "OPEN", O_DENIED: "DENIED", O_REJECTED: "REJECTED", O_UNKNOWN: "UNKNOWN", O_RETRYING: "RETRYING",
    O_CANCELLING: "CANCELLING",
}  # fmt: skip
LIQUIDITY_NAMES: Final = {TAKER: "TAKER", MAKER: "MAKER"}
LOT_EVENT_NAMES: Final = {LOT_OPEN: "OPEN", LOT_MERGE: "MERGE", LOT_REDUCE: "REDUCE", LOT_CLOSE: "CLOSE"}
LEDGER_KIND_NAMES: Final = {
    L_DEPOSIT: "DEPOSIT", L_BUY: "BUY", L_SELL: "SELL", L_WITHDRAWAL: "WITHDRAWAL", L_CORRECTION: "CORRECTION",
    L_RECONCILIATION: "RECONCILIATION",
}  # fmt: skip
TIER_NAMES: Final = {TIER_NORMAL: "NORMAL", TIER_DD10: "DD10", TIER_DD15: "DD15", TIER_HALT20: "HALT20"}
QUOTE_NAMES: Final = {USD: "USD", CAD: "CAD", USDC: "USDC"}
MODE_NAMES: Final = {MODE_BACKTEST: "backtest", MODE_PAPER: "paper", MODE_LIVE: "live"}
