"""What the dashboards read about decisions: the timeline, one decision, its gates, its contributions, candles with marks."""

from __future__ import annotations

from reports.dashboards.shapes import BundleRef, Shape


class Signal(Shape):
    """One decision about one instrument, in a line."""

    signal_id: int
    seq_n: int
    at_t: int
    symbol: str
    quote: str
    action: str
    reason: str
    words: str
    gate_id: int
    gate: str
    refused: bool
    outlook: str
    raw_outlook: str
    persist_n: int
    tier: str
    prob_ppm: int
    edge_ppm: int
    cost_ppm: int
    vol_ppm: int
    uncertainty_ppm: int
    rebound_ppm: int
    downside_ppm: int
    gain_ppm: int
    wanted_e8: int
    sized_e8: int


class Timeline(Shape):
    """Decisions, newest first; `seq_n` is the last block that the answer knows."""

    seq_n: int
    signals: tuple[Signal, ...]
    cursor: str | None


class RiskEvent(Shape):
    """What a gate did to a decision."""

    gate: str
    scale: str
    limit: int
    value: int
    words: str
    kind: str


class OrderState(Shape):
    """One state of an order."""

    at_t: int
    order_id: int
    side: str
    status: str
    attempt_n: int
    qty_e8: int
    left_e8: int
    decision_price_e8: int
    limit_price_e8: int


class Fill(Shape):
    """One fill; money in the quote currency."""

    at_t: int
    side: str
    liquidity: str
    qty_e8: int
    price_e8: int
    reference_e8: int
    fee_e8: int
    slippage_e8: int


class Trade(Shape):
    """A lot, or a part of it, bought and sold; money in the quote currency."""

    at_t: int
    opened_t: int
    qty_e8: int
    cost_e8: int
    proceeds_e8: int
    pnl_e8: int


class Forecast(Shape):
    """The forecast that a decision acted on."""

    at_t: int
    feature_digest: str
    prob_near_ppm: int
    prob_main_ppm: int
    prob_far_ppm: int
    ret_near_ppm: int
    ret_main_ppm: int
    ret_far_ppm: int


class Lineage(Shape):
    """What a decision can be traced to."""

    run_id: str
    seq_n: int
    block_hash: str
    genesis_hash: str
    policy_digest: str
    bundle: BundleRef
    feature_digest: str
    dataset_hash: str
    core_digest: str
    replay: str


class Decision(Shape):
    """One decision with what it came from and all that came of it."""

    signal: Signal
    verdict: str
    forecast: Forecast | None
    risk_events: tuple[RiskEvent, ...]
    orders: tuple[OrderState, ...]
    fills: tuple[Fill, ...]
    trades: tuple[Trade, ...]
    lineage: Lineage


class Gate(Shape):
    """One gate as it stood when the decision was made."""

    gate: str
    scale: str
    limit: int
    value: int
    words: str
    verdict: str
    deciding: bool
    detail: str


class Gates(Shape):
    """Every gate of one decision, recomputed from the journal by the core."""

    same_records: bool
    applies: bool
    outcome: str
    gates: tuple[Gate, ...]


class Contribution(Shape):
    """What one feature added to the model's raw score."""

    feature: str
    value: float | None
    amount: float


class Horizon(Shape):
    """One horizon's raw score and what it is made of."""

    horizon: str
    horizon_h: int
    unit: str
    base: float
    score: float
    prob_ppm: int
    contributions: tuple[Contribution, ...]


class Contributions(Shape):
    """Exact contributions of one decision's forecast."""

    verified: bool
    horizons: tuple[Horizon, ...]


class Candle(Shape):
    """A closed bar; prices in the quote currency."""

    open_t: int
    open_e8: int
    high_e8: int
    low_e8: int
    close_e8: int


class Mark(Shape):
    """A fill on a chart."""

    at_t: int
    signal_id: int
    action: str
    reason: str
    side: str
    price_e8: int


class Refusal(Shape):
    """A refused decision on a chart."""

    at_t: int
    signal_id: int
    action: str
    gate: str


class Candles(Shape):
    """Candles of one asset with its fills and refusals."""

    symbol: str
    quote: str
    interval_t: int
    candles: tuple[Candle, ...]
    marks: tuple[Mark, ...]
    refusals: tuple[Refusal, ...]
