"""Settings of the trading loop: how it listens, not how it decides. What decides is the governed profile alone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TradingSettings(BaseModel):
    """Bounds of the loop. They are part of the runtime's settings file, whose digest every SESSION event carries."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bar_grace_ms: int = Field(
        default=20_000, ge=0, le=600_000, description="wait after the hour for bars that have not come; REST is asked before"
    )
    heartbeat_t: int = Field(default=60, ge=1, le=3_600, description="time between heartbeats, seconds")
    quote_move_ppm: int = Field(
        default=5_000,
        ge=100,
        le=1_000_000,
        description="move of best bid or ask since the last journaled quote that is an event",
    )
    quote_refresh_t: int = Field(
        default=30,
        ge=0,
        le=3_600,
        description="age of the last journaled quote that is renewed before a decision on bars, seconds",
    )
    book_age_max_ms: int = Field(
        default=30_000, ge=1_000, le=3_600_000, description="age at which the last book is no longer used for quotes or fills"
    )
    refill_t: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="time before a partly filled order takes from the simulated book again, seconds",
    )
    warm_up_n: int = Field(default=168, ge=0, le=720, description="bars before the start that a new account's core is shown")
    skew_probe_t: int = Field(
        default=300, ge=1, le=86_400, description="time between measurements of the clock's skew, seconds"
    )
    catch_up_n: int = Field(default=720, ge=1, le=720, description="missed bars that are read again after a downtime, at most")
    gaps_max_n: int = Field(
        default=300, ge=1, le=100_000, description="gaps and wrong checksums in an hour that throw the kill switch"
    )
    spread_wide_ppm: int = Field(
        default=50_000,
        ge=100,
        le=1_000_000,
        description="spread that is no market; half of all books so wide throw the kill switch",
    )
    lost_max_t: int = Field(
        default=900, ge=1, le=86_400, description="time without market data that throws the kill switch, seconds"
    )
    unknown_max_t: int = Field(
        default=300, ge=1, le=86_400, description="time with an order of unknown outcome that throws the kill switch, seconds"
    )
    corrected_max_n: int = Field(
        default=30,
        ge=1,
        le=100_000,
        description="bars of the last day that the venue changed afterwards that throw the kill switch",
    )
    housekeeping_t: int = Field(
        default=0, ge=0, le=86_399, description="time of day of the housekeeping, seconds after midnight UTC"
    )
    tail_extra_n: int = Field(default=240, ge=0, le=100_000, description="bars kept beyond what forecasts and memberships need")
