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
    """The portfolio at the end of one hour, by when that hour closed."""

    close_t: int
    pv_e8: int
    peak_e8: int
    drawdown_ppm: int


class Equity(Shape):
    """Equity over time, oldest first."""

    seq_n: int
    points: tuple[EquityPoint, ...]


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
