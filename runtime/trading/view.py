"""What others may know of a running desk: one immutable value, replaced after every block, read from any thread without a lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.genesis import Genesis
from runtime.policy import RiskProfile
from runtime.ports import Head

if TYPE_CHECKING:
    from runtime.event import BundleNote

Rows = npt.NDArray[np.void]
RunState = Literal["starting", "running", "stopped", "halted"]

PAPER_DAYS_REQUIRED: Final = 30
"""Completed paper days that the live account will ask for."""


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """How the market data are doing.

    Attributes:
        connected: whether the feed is up.
        last_message_ms: clock time of the last message, milliseconds UTC; 0: none yet.
        last_bar_t: closing time of the last bar of any instrument, seconds UTC; 0: none yet.
        gaps_n, checksum_n, late_n, duplicate_n, reconnects_n: counted since the process started.
        stale_instruments: instruments without a usable book.
        skew_ms: venue time minus clock time, last measured.
        venue_mode: what the venue says of itself (`online`, `maintenance`, `cancel_only`, ...).
    """

    connected: bool = False
    last_message_ms: int = 0
    last_bar_t: int = 0
    gaps_n: int = 0
    checksum_n: int = 0
    late_n: int = 0
    duplicate_n: int = 0
    reconnects_n: int = 0
    stale_instruments: tuple[int, ...] = ()
    skew_ms: int = 0
    venue_mode: str = "online"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the receipt of an event to its durable block, over the last `blocks_n` blocks (at most 10,000)."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    blocks_n: int = 0


@dataclass(frozen=True, slots=True)
class PaperDays:
    """Progress towards the live account: days that count, of those required; simulated days never count."""

    completed_n: int = 0
    required_n: int = PAPER_DAYS_REQUIRED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeView:
    """A running desk as it stood after its last block.

    Attributes:
        state: `running` takes market events in; `stopped` commands only; `halted` nothing any more.
        mode_id: paper or live.
        run_id: name of the run's folder.
        genesis: what the chain starts from.
        head: last durable block.
        now_t: time of the last event, seconds UTC.
        state_row: STATE [1], read-only copy.
        policy_row: POLICY [1], read-only.
        profile, profile_version_n: the profile in force.
        bundle: what makes the forecasts.
        symbols: instrument i is symbols[i].
        forecasts: FORECAST [INSTRUMENTS] of the last grid time, read-only, or `None` before the first.
        forecast_t: its time, 0 before the first.
        feature_digest: digest of the features it was made from.
        feed, latency: health.
        started_t: when this process began, seconds UTC.
        reasons: why it halted, or does not trade or enter now; empty when all is well.
        simulated: whether venue or time is not the real one.
        clock: `system` or `venue`.
        paper_days: progress towards the live account.
    """

    state: RunState
    mode_id: int
    run_id: str
    genesis: Genesis
    head: Head
    now_t: int
    state_row: Rows
    policy_row: Rows
    profile: RiskProfile
    profile_version_n: int
    bundle: BundleNote
    symbols: tuple[str, ...]
    forecasts: Rows | None
    forecast_t: int
    feature_digest: bytes
    feed: FeedHealth
    latency: Latency
    started_t: int
    reasons: tuple[str, ...]
    simulated: bool
    clock: str
    paper_days: PaperDays
