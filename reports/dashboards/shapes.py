"""What the dashboards read of the control API's answers: the fields they show, and no others.

The API owns the full answers (docs/reference/control-api.md); a test holds every field here against them. Money and quantities are
scaled integers that travel as text; `_ppm` is 1e-6, `_t` seconds and `_ms` milliseconds UTC.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Base of all answers: a newer daemon may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Head(Shape):
    """The last durable block."""

    seq_n: int
    block_hash: str


class ProfileRef(Shape):
    """The profile in force."""

    name: str
    version: int
    policy_digest: str


class BundleRef(Shape):
    """What makes the forecasts."""

    name: str
    bundle_hash: str
    feature_set_hash: str
    manifest_digest: str


class Feed(Shape):
    """How the market data are doing."""

    connected: bool
    last_message_ms: int
    last_bar_t: int
    gaps_n: int
    checksum_n: int
    late_n: int
    duplicate_n: int
    reconnects_n: int
    stale: tuple[str, ...]
    skew_ms: int
    venue_mode: str


class Latency(Shape):
    """From the receipt of an event to its durable block."""

    p50_ms: float
    p99_ms: float
    blocks_n: int


class Switches(Shape):
    """What stops new risk."""

    kill_on: bool
    kill: str
    halt_on: bool


class PaperDays(Shape):
    """Progress towards the live account."""

    completed_n: int
    required_n: int
    reason: str


class Status(Shape):
    """The process and the desk at a glance."""

    state: str
    reasons: tuple[str, ...]
    mode: str
    simulated: bool
    clock: str
    run_id: str
    version: str
    now_t: int
    head: Head
    symbols: tuple[str, ...]
    interval_t: int
    profile: ProfileRef
    bundle: BundleRef
    switches: Switches
    tier: str
    feed: Feed
    latency: Latency
    paper_days: PaperDays


class CapUse(Shape):
    """Exposure against its cap, base currency."""

    name: str
    marked_e8: int
    in_flight_e8: int
    cap_e8: int
    used_ppm: int
    cap_ppm: int
    filled_ppm: int


class ClusterUse(CapUse):
    """Exposure of one correlation cluster."""

    cluster_id: int
    symbols: tuple[str, ...]


class Cash(Shape):
    """Cash of one currency."""

    quote: str
    cash_e8: int
    reserved_e8: int
    value_e8: int


class Tier(Shape):
    """A drawdown tier of the profile."""

    tier: str
    drawdown_ppm: int
    size_ppm: int
    allow_entry: bool
    allow_reentry: bool


class Summary(Shape):
    """The portfolio against everything that limits it; base currency."""

    seq_n: int
    now_t: int
    pv_e8: int
    peak_e8: int
    drawdown_ppm: int
    gross_e8: int
    realised_e8: int
    unrealised_e8: int
    fees_e8: int
    open_n: int
    positions_max_n: int
    orders_n: int
    tier: str
    tiers: tuple[Tier, ...]
    total: CapUse
    budget: CapUse
    quotes: tuple[CapUse, ...]
    clusters: tuple[ClusterUse, ...]
    assets: tuple[CapUse, ...]
    cash: tuple[Cash, ...]


class OpenOrder(Shape):
    """An order whose end is open."""

    side: str
    status: str


class Asset(Shape):
    """One instrument: position, market and outlook."""

    symbol: str
    quote: str
    qty_e8: int
    cost_e8: int
    value_e8: int
    unrealised_e8: int
    gain_ppm: int
    opened_t: int
    mark_e8: int
    outlook: str
    recovering: bool
    order: OpenOrder | None


class Assets(Shape):
    """Every instrument of the account."""

    assets: tuple[Asset, ...]


class EquityPoint(Shape):
    """The portfolio at the end of one hour."""

    at_t: int
    pv_e8: int
    peak_e8: int
    drawdown_ppm: int


class Equity(Shape):
    """Equity over time, oldest first."""

    seq_n: int
    points: tuple[EquityPoint, ...]


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


class Receipt(Shape):
    """What became of a command."""

    accepted: bool
    seq_n: int
    at_t: int
    reason: str


class Problem(Shape):
    """Why the API did not carry out a request."""

    kind: str
    got: str
    expected: str
    action: str
