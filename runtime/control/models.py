"""What the control API answers about a running desk: its state, its portfolio, its forecasts, and what became of a command.

Everything that may exceed 2**53 (`_e8`: money, prices, quantities) is a decimal integer as text; `_t` is seconds and `_ms`
milliseconds since 1970-01-01 UTC; `_ppm` is 1e-6; `_n` a count; beside each `_id` stands its name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Integer = Annotated[str, Field(pattern=r"^(0|-?[1-9][0-9]{0,18})$")]
"""A decimal integer as text: JSON numbers end at 2**53."""


class Answer(BaseModel):
    """Base of all answers: nothing in them that the schema does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Answer):
    """Why a request was not carried out: what was got, what was expected, and what to do next."""

    kind: str = Field(
        description="family of the problem: auth, usage, data, gate, busy, environment, unknown-outcome, not-found"
    )
    got: str = Field(description="what was found")
    expected: str = Field(description="what would have been right")
    action: str = Field(description="the next step")
    receipt: Receipt | None = Field(default=None, description="of a command that the desk refused")


class Governing(Answer):
    """A profile version that governs, as it is in the store."""

    name: str = Field(description="its name")
    version: int = Field(description="its own version")
    policy_digest: str = Field(description="SHA-256 of its canonical JSON, hex")


class Receipt(Answer):
    """What became of a command; the same Idempotency-Key is carried out once and answers the same receipt."""

    accepted: bool = Field(description="whether a block carries it")
    seq_n: int = Field(description="that block; the head when it was refused")
    at_t: int = Field(description="the block's time, seconds UTC")
    reason: str = Field(description="why it was refused, or what it changed")
    command_id: str = Field(description="the Idempotency-Key")
    profile: Governing | None = Field(
        default=None, description="of an update that was carried out: what governs from its block on"
    )


class Health(Answer):
    """Whether the process answers; says nothing about trading."""

    status: Literal["ok"] = Field(description="always ok: otherwise nobody would answer")


class SessionOpened(Answer):
    """A session of a browser; the cookie itself is HttpOnly."""

    csrf: str = Field(description="send it as X-CSRF-Token with every write of this session")
    expires_t: int = Field(description="when the session ends at the latest, seconds UTC")
    idle_t: int = Field(description="seconds without a request after which it ends")


class Head(Answer):
    """The last durable block."""

    seq_n: int = Field(description="number of blocks")
    block_hash: str = Field(description="SHA-256 of the last one, hex")


class ProfileRef(Answer):
    """The profile in force."""

    name: str = Field(description="its name")
    version: int = Field(description="its own version")
    version_n: int = Field(description="the same, as the chain counts")
    policy_digest: str = Field(description="SHA-256 of its canonical JSON, hex: base_digest of an update")


class BundleRef(Answer):
    """What makes the forecasts."""

    name: str = Field(description="name of the model")
    bundle_hash: str = Field(description="SHA-256, hex")
    feature_set_hash: str = Field(description="SHA-256 of the feature specification, hex")
    manifest_digest: str = Field(description="SHA-256 of the signed manifest, hex")
    signer: str = Field(description="Ed25519 public key that signed it, hex")


class Feed(Answer):
    """How the market data are doing; counts since the process started."""

    connected: bool = Field(description="whether the feed is up")
    last_message_ms: int = Field(description="time of the last message; 0: none yet")
    last_bar_t: int = Field(description="closing time of the last bar; 0: none yet")
    gaps_n: int = Field(description="gaps in the sequence")
    checksum_n: int = Field(description="books whose checksum was wrong")
    late_n: int = Field(description="bars that came after their decision")
    duplicate_n: int = Field(description="bars that came twice")
    reconnects_n: int = Field(description="connections made again")
    stale: tuple[str, ...] = Field(description="symbols without a usable book")
    skew_ms: int = Field(description="venue time minus clock time")
    venue_mode: str = Field(description="what the venue says of itself")


class LatencyOut(Answer):
    """From the receipt of an event to its durable block."""

    p50_ms: float = Field(description="median, milliseconds")
    p99_ms: float = Field(description="99th percentile, milliseconds")
    blocks_n: int = Field(description="blocks measured")


class Switches(Answer):
    """What stops new risk."""

    kill_on: bool = Field(description="whether the kill switch is thrown")
    kill_id: int = Field(description="who threw it; 0: nobody")
    kill: str = Field(description="off, operator, exchange, data, market or internal")
    halt_on: bool = Field(description="whether entries are halted")


class PaperDaysOut(Answer):
    """Progress towards the live account; simulated days never count."""

    completed_n: int = Field(description="days that count")
    required_n: int = Field(description="days that the live account will ask for")
    reason: str = Field(description="why the present day does not count; empty when it does")


class Status(Answer):
    """The process and the desk at a glance."""

    state: Literal["starting", "running", "stopped", "halted"] = Field(
        description="running takes market events in; stopped takes commands only; halted takes nothing any more"
    )
    reasons: tuple[str, ...] = Field(description="why it halted, or does not trade or enter now; empty when all is well")
    mode_id: int = Field(description="2 paper, 3 live")
    mode: str = Field(description="paper or live")
    simulated: bool = Field(description="whether venue or time is not the real one")
    clock: str = Field(description="system or venue")
    account_id: int = Field(description="whose chain")
    run_id: str = Field(description="folder under runs/")
    version: str = Field(description="version of Ballast")
    started_t: int = Field(description="when the process began")
    now_t: int = Field(description="time of the last event")
    head: Head = Field(description="last durable block")
    symbols: tuple[str, ...] = Field(description="instrument i is symbols[i]")
    interval_t: int = Field(description="seconds of a bar")
    profile: ProfileRef = Field(description="the profile in force")
    bundle: BundleRef = Field(description="what makes the forecasts")
    switches: Switches = Field(description="kill switch and entry halt")
    tier_id: int = Field(description="drawdown tier")
    tier: str = Field(description="NORMAL, DD10, DD15 or HALT20")
    feed: Feed = Field(description="market data")
    latency: LatencyOut = Field(description="event to durable block")
    paper_days: PaperDaysOut = Field(description="progress towards the live account")


class CapUse(Answer):
    """Exposure against its cap, as the risk engine compares them; base currency."""

    name: str = Field(description="symbol, cluster, currency, or total and budget")
    marked_e8: Integer = Field(description="positions at their marks")
    in_flight_e8: Integer = Field(description="open buys at their worst price")
    used_e8: Integer = Field(description="both together: what counts against the cap")
    cap_e8: Integer = Field(description="the cap now: the tighter of share and amount")
    room_e8: Integer = Field(description="what is left, at least 0")
    used_ppm: int = Field(description="used, as a share of portfolio value")
    cap_ppm: int = Field(description="the cap, as a share of portfolio value")
    filled_ppm: int = Field(description="used, as a share of the cap; 1,000,000 and more: full")


class AssetExposure(CapUse):
    """Exposure of one asset; it has no cap of its own, the total cap is the scale."""

    instrument_id: int = Field(description="number of the instrument")


class ClusterExposure(CapUse):
    """Exposure of one correlation cluster."""

    cluster_id: int = Field(description="number of the cluster")
    symbols: tuple[str, ...] = Field(description="its members")


class QuoteExposure(CapUse):
    """Exposure in one quote currency."""

    quote_id: int = Field(description="number of the currency")


class Cash(Answer):
    """Cash of one currency."""

    quote_id: int = Field(description="number of the currency")
    quote: str = Field(description="USD, CAD or USDC")
    cash_e8: Integer = Field(description="balance, in the currency")
    reserved_e8: Integer = Field(description="held by open buys at their worst price, in the currency")
    free_e8: Integer = Field(description="balance less reserved, in the currency")
    rate_e8: Integer = Field(description="one unit in the base currency")
    value_e8: Integer = Field(description="balance in the base currency")


class TierOut(Answer):
    """A drawdown tier of the profile."""

    tier_id: int = Field(description="number of the tier")
    tier: str = Field(description="its name")
    drawdown_ppm: int = Field(description="drawdown at which it begins")
    size_ppm: int = Field(description="share of the normal size that an entry gets")
    allow_entry: bool = Field(description="whether new positions may be opened")
    allow_reentry: bool = Field(description="whether a campaign may buy back")
    active: bool = Field(description="whether it holds now")


class Summary(Answer):
    """The portfolio against everything that limits it; base currency where not said otherwise."""

    seq_n: int = Field(description="block that it stands after")
    now_t: int = Field(description="time of that block")
    state: str = Field(description="as in the status")
    mode: str = Field(description="paper or live")
    simulated: bool = Field(description="whether venue or time is not the real one")
    pv_e8: Integer = Field(description="equity: cash and positions at their marks")
    peak_e8: Integer = Field(description="highest equity so far")
    drawdown_ppm: int = Field(description="fall from the peak")
    gross_e8: Integer = Field(description="positions at their marks")
    realised_e8: Integer = Field(description="realised profit so far")
    unrealised_e8: Integer = Field(description="positions at their marks less the cost of their lots")
    fees_e8: Integer = Field(description="fees paid so far")
    slippage_e8: Integer = Field(description="slippage paid so far")
    volume_30d_e8: Integer = Field(description="traded volume that decides the fee tier")
    open_n: int = Field(description="open positions")
    taken_n: int = Field(description="open positions and first buys in flight: what counts against the maximum")
    positions_max_n: int = Field(description="maximum of the profile")
    orders_n: int = Field(description="orders whose end is open")
    recovering_n: int = Field(description="positions in recovery mode")
    switches: Switches = Field(description="kill switch and entry halt")
    tier_id: int = Field(description="drawdown tier")
    tier: str = Field(description="its name")
    tiers: tuple[TierOut, ...] = Field(description="all tiers of the profile, from the shallowest")
    total: CapUse = Field(description="total exposure")
    budget: CapUse = Field(description="global budget")
    quotes: tuple[QuoteExposure, ...] = Field(description="by quote currency")
    clusters: tuple[ClusterExposure, ...] = Field(description="by cluster, those with members")
    assets: tuple[AssetExposure, ...] = Field(description="by asset, those with exposure, largest first")
    cash: tuple[Cash, ...] = Field(description="by currency")


class OpenOrder(Answer):
    """An order whose end is open."""

    order_id: int = Field(description="number of the order")
    signal_id: int = Field(description="decision that it came from")
    side_id: int = Field(description="1 buy, -1 sell")
    side: str = Field(description="BUY or SELL")
    status_id: int = Field(description="state of the order")
    status: str = Field(description="its name")
    attempt_n: int = Field(description="which attempt")
    qty_e8: Integer = Field(description="ordered, in the asset")
    left_e8: Integer = Field(description="not yet filled, in the asset")
    limit_price_e8: Integer = Field(description="worst price, in the quote currency; 0: at the market")
    expires_t: int = Field(description="when it ends by itself")


class Asset(Answer):
    """One instrument: position, market and outlook."""

    instrument_id: int = Field(description="number of the instrument")
    symbol: str = Field(description="asset")
    quote_id: int = Field(description="quote currency")
    quote: str = Field(description="its name")
    enabled: bool = Field(description="whether entries are allowed")
    cluster_id: int = Field(description="correlation cluster")
    qty_e8: Integer = Field(description="held, in the asset")
    cost_e8: Integer = Field(description="what its lots cost, fees included, in the quote currency")
    value_e8: Integer = Field(description="at the mark, in the base currency")
    unrealised_e8: Integer = Field(description="value less cost, in the base currency")
    gain_ppm: int = Field(description="unrealised gain against cost")
    realised_e8: Integer = Field(description="realised in this campaign, in the quote currency")
    opened_t: int = Field(description="when its oldest lot was bought; 0: none")
    mark_e8: Integer = Field(description="last price, in the quote currency; 0: none")
    mark_t: int = Field(description="its time")
    bid_e8: Integer = Field(description="best bid of the last quote; 0: none")
    ask_e8: Integer = Field(description="best ask of the last quote; 0: none")
    quote_t: int = Field(description="time of that quote")
    vol_ppb: int = Field(description="mean hourly range, 1e-9")
    outlook_id: int = Field(description="persistent outlook class, -2 to 2")
    outlook: str = Field(description="its name")
    raw_outlook_id: int = Field(description="class of the last forecast alone")
    raw_outlook: str = Field(description="its name")
    persist_n: int = Field(description="forecasts in a row that ask for a change")
    action_id: int = Field(description="last action")
    action: str = Field(description="its name")
    gate_id: int = Field(description="what refused it; 0: nothing")
    gate: str = Field(description="its name")
    recovering: bool = Field(description="whether the position is in recovery mode")
    forecast_t: int = Field(description="time of the last forecast; 0: none")
    order: OpenOrder | None = Field(description="the order in flight")


class Assets(Answer):
    """Every instrument of the account."""

    seq_n: int = Field(description="block that it stands after")
    now_t: int = Field(description="time of that block")
    assets: tuple[Asset, ...] = Field(description="in the order of instruments")


class EquityOut(Answer):
    """The portfolio at the end of one hour; base currency."""

    close_t: int = Field(description="when the hour closed: what a chart puts on its axis")
    at_t: int = Field(
        description="when the hour was taken in; after an outage later than its close, and the same for many hours"
    )
    pv_e8: Integer = Field(description="equity")
    peak_e8: Integer = Field(description="highest equity so far")
    drawdown_ppm: int = Field(description="fall from the peak")
    gross_e8: Integer = Field(description="positions at their marks")
    realised_e8: Integer = Field(description="realised profit so far")
    unrealised_e8: Integer = Field(description="unrealised profit")
    fees_e8: Integer = Field(description="fees so far")
    open_n: int = Field(description="open positions")


class Equity(Answer):
    """Equity over time; long stretches are thinned to their first, lowest, highest and last points."""

    seq_n: int = Field(description="last block that the tables hold")
    points: tuple[EquityOut, ...] = Field(description="one per hour, oldest first: `close_t` grows strictly")


class Prediction(Answer):
    """One asset's calibrated model output for the bundle's three horizons."""

    instrument_id: int = Field(description="number of the instrument")
    symbol: str = Field(description="asset")
    valid: bool = Field(description="whether there is a forecast at this time")
    prob_near_ppm: int = Field(description="probability that the return is positive, near horizon")
    prob_main_ppm: int = Field(description="same, main horizon")
    prob_far_ppm: int = Field(description="same, far horizon")
    ret_near_ppm: int = Field(description="expected gross return, near horizon")
    ret_main_ppm: int = Field(description="same, main horizon")
    ret_far_ppm: int = Field(description="same, far horizon")
    uncertainty_ppm: int = Field(description="uncertainty of the main probability")
    edge_ppm: int = Field(description="the better return of the two longer horizons: what a campaign plays for")
    raw_outlook_id: int = Field(description="class of this forecast alone")
    raw_outlook: str = Field(description="its name")
    outlook_id: int = Field(description="persistent class")
    outlook: str = Field(description="its name")


class Predictions(Answer):
    """The last forecasts."""

    seq_n: int = Field(description="block that it stands after")
    forecast_t: int = Field(description="their time; 0: none yet")
    feature_digest: str = Field(description="SHA-256 of the features they were made from, hex; empty: none yet")
    bundle: BundleRef = Field(description="what made them")
    predictions: tuple[Prediction, ...] = Field(description="in the order of instruments")


Problem.model_rebuild()
