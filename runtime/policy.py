"""Governed risk and strategy profiles: validated, versioned, content-hashed; every number of the core comes from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.canonical import canonical_json, sha256_hex
from runtime.core.codes import USD
from runtime.core.records import INSTRUMENTS, POLICY
from runtime.errors import UsageError

Ppm = Annotated[int, Field(ge=0, le=1_000_000)]
Cap = Annotated[int, Field(ge=0, le=10**17)]


class PairRules(BaseModel):
    """A pair's trading rules at the venue, in core scales."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lot_e8: int = Field(default=1, ge=1, description="smallest quantity step")
    tick_e8: int = Field(default=1, ge=1, description="smallest price step")
    qty_min_e8: int = Field(default=1, ge=1, description="smallest order quantity")
    cost_min_e8: int = Field(default=50_000_000, ge=0, description="smallest order cost; Kraken asks 0.5 USD")


class QuoteCap(BaseModel):
    """Exposure cap of one quote currency."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cap_ppm: Ppm = Field(description="share of portfolio value")
    cap_e8: Cap = Field(default=0, description="absolute amount in base currency, 0 for none; the tighter one holds")


class DrawdownTier(BaseModel):
    """What a drawdown from the peak does to new risk. Tiers never force a sale."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    drawdown_ppm: Ppm = Field(description="drawdown at which the tier begins")
    size_ppm: Ppm = Field(description="share of the normal size that an entry gets")
    allow_entry: bool = Field(description="whether new positions may be opened")


class RiskProfile(BaseModel):
    """One governed profile. The defaults are the conservative preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(default="conservative", min_length=1, max_length=40)
    version: int = Field(default=1, ge=1)
    author: str = Field(default="founders", min_length=1, max_length=80)
    created_t: int = Field(default=1_793_000_000, ge=0, description="when this version was written, seconds UTC")

    strong_prob_ppm: Ppm = Field(default=560_000, description="probability up that makes an outlook strongly positive")
    positive_prob_ppm: Ppm = Field(default=530_000, description="probability up that makes an outlook positive")
    negative_prob_ppm: Ppm = Field(default=470_000, description="probability up at or below which it is negative")
    strong_negative_prob_ppm: Ppm = Field(default=440_000, description="probability up for strongly negative")
    strong_ret_ppm: int = Field(default=15_000, ge=0, le=1_000_000, description="expected return, strongly positive")
    positive_ret_ppm: int = Field(default=4_000, ge=0, le=1_000_000, description="expected return, positive")
    negative_ret_ppm: int = Field(default=-2_000, ge=-1_000_000, le=0, description="expected return, negative")
    strong_negative_ret_ppm: int = Field(default=-6_000, ge=-1_000_000, le=0, description="expected return, strongly negative")
    entry_persist_n: int = Field(default=2, ge=1, le=48, description="consecutive forecasts that confirm a better class")
    exit_persist_n: int = Field(default=2, ge=1, le=48, description="consecutive forecasts that confirm a worse class")
    uncertain_ppm: Ppm = Field(default=55_000, description="uncertainty at which a neutral open position is reduced")
    near_drop_ppm: int = Field(default=5_000, ge=0, le=1_000_000, description="predicted near-term drop that delays an entry")
    derisk_ppm: Ppm = Field(default=500_000, description="share of a position that a reduction sells")
    derisk_max_n: int = Field(default=2, ge=0, le=20, description="reductions per campaign")

    base_ppm: Ppm = Field(default=20_000, description="entry size as a share of portfolio value")
    entry_min_ppm: Ppm = Field(
        default=250_000, description="share of the wished size that caps must leave for an entry to be made"
    )
    vol_target_ppb: int = Field(
        default=12_000_000, ge=1, le=10**9, description="hourly range at which the size is the base size"
    )
    vol_decay_ppm: int = Field(
        default=20_000, ge=1, le=1_000_000, description="weight of the newest bar in the volatility mean"
    )
    size_low_ppm: int = Field(default=500_000, ge=0, le=1_000_000, description="smallest volatility scaling")
    size_high_ppm: int = Field(default=1_500_000, ge=1_000_000, le=3_000_000, description="largest volatility scaling")

    positions_max: int = Field(default=10, ge=1, le=INSTRUMENTS, description="concurrent positions")
    total_cap_ppm: Ppm = Field(default=200_000, description="total exposure as a share of portfolio value")
    total_cap_e8: Cap = Field(default=0, description="total exposure, absolute in base currency; 0 for none")
    budget_cap_ppm: Ppm = Field(default=1_000_000, description="global budget as a share of portfolio value")
    budget_cap_e8: Cap = Field(default=0, description="global budget, absolute; 0 for none")
    quote_caps: tuple[QuoteCap, QuoteCap, QuoteCap] = Field(
        default=(QuoteCap(cap_ppm=200_000), QuoteCap(cap_ppm=200_000), QuoteCap(cap_ppm=200_000)),
        description="exposure caps of USD, CAD, USDC",
    )
    tiers: tuple[DrawdownTier, DrawdownTier, DrawdownTier, DrawdownTier] = Field(
        default=(
            DrawdownTier(drawdown_ppm=0, size_ppm=1_000_000, allow_entry=True),
            DrawdownTier(drawdown_ppm=100_000, size_ppm=500_000, allow_entry=True),
            DrawdownTier(drawdown_ppm=150_000, size_ppm=250_000, allow_entry=True),
            DrawdownTier(drawdown_ppm=200_000, size_ppm=0, allow_entry=False),
        ),
        description="NORMAL, DD10, DD15, HALT20",
    )

    taker_fee_ppm: int = Field(default=4_000, ge=0, le=100_000, description="taker fee; Kraken's first volume tier is 0.40 %")
    half_spread_ppm: int = Field(default=200, ge=0, le=100_000, description="half the assumed spread")
    slippage_ppm: int = Field(default=300, ge=0, le=100_000, description="fixed slippage per side")
    impact_ppm: int = Field(default=100_000, ge=0, le=1_000_000, description="share of hourly range paid at full participation")
    margin_ppm: int = Field(default=2_000, ge=0, le=1_000_000, description="what an entry must expect beyond its round trip")
    limit_ppm: int = Field(default=10_000, ge=0, le=200_000, description="worst price of a buy above the decision price")
    participation_ppm: int = Field(default=10_000, ge=1, le=100_000, description="share of a bar's volume that may be filled")
    bar_age_max_t: int = Field(default=1_800, ge=0, le=86_400, description="oldest bar an entry may act on, seconds")
    forecast_age_max_t: int = Field(default=6 * 3_600, ge=0, le=30 * 86_400, description="oldest usable forecast, seconds")
    order_ttl_t: int = Field(default=2 * 3_600, ge=60, le=7 * 86_400, description="life of an order, seconds")
    latency_t: int = Field(default=1, ge=0, le=3_599, description="modelled delay from decision to execution, seconds")

    @model_validator(mode="after")
    def _ordered(self) -> RiskProfile:
        probabilities = (
            self.strong_negative_prob_ppm, self.negative_prob_ppm, self.positive_prob_ppm, self.strong_prob_ppm,
        )  # fmt: skip
        if list(probabilities) != sorted(probabilities):
            raise ValueError("probability cut-offs must rise from strong negative to strong positive")
        if self.strong_ret_ppm < self.positive_ret_ppm or self.strong_negative_ret_ppm > self.negative_ret_ppm:
            raise ValueError("a strong class needs at least the return of the plain class")
        drawdowns = [tier.drawdown_ppm for tier in self.tiers]
        if drawdowns[0] != 0 or drawdowns != sorted(set(drawdowns)):
            raise ValueError("drawdown tiers must begin at 0 and rise")
        sizes = [tier.size_ppm for tier in self.tiers]
        if sizes != sorted(sizes, reverse=True):
            raise ValueError("a deeper drawdown tier must not allow a larger size")
        return self

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes that the digest covers."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_hex(self.canonical())

    def to_record(self, pairs: Sequence[PairRules]) -> npt.NDArray[np.void]:
        """Return the POLICY record [1] for instruments 0 .. len(pairs)-1, all quoted in USD.

        Raises:
            UsageError: more instruments than the core's capacity.
        """
        if len(pairs) > INSTRUMENTS:
            raise UsageError(
                f"{len(pairs)} instruments", expected=f"at most {INSTRUMENTS}", action="choose fewer symbols"
            )  # fmt: skip
        record = np.zeros(1, POLICY)
        rules = record[0]["rules"]
        for name in rules.dtype.names or ():
            rules[name] = self.positions_max if name == "positions_max_n" else getattr(self, name)
        for k, tier in enumerate(self.tiers):
            record[0]["tiers"][k] = (tier.drawdown_ppm, tier.size_ppm, int(tier.allow_entry))
        for k, quote in enumerate(self.quote_caps):
            record[0]["quotes"][k] = (quote.cap_ppm, quote.cap_e8)
        for i, pair in enumerate(pairs):
            record[0]["instruments"][i] = (1, USD, pair.lot_e8, pair.tick_e8, pair.qty_min_e8, pair.cost_min_e8)
        for i in range(len(pairs), INSTRUMENTS):
            record[0]["instruments"][i] = (0, USD, 1, 1, 1, 0)
        return record


PROFILES: Final = {"conservative": RiskProfile()}


def load_profile(name: str) -> RiskProfile:
    """Return a governed profile by name.

    Raises:
        UsageError: no such profile.
    """
    if name not in PROFILES:
        raise UsageError(
            f"profile {name!r}", expected=f"one of {', '.join(sorted(PROFILES))}", action="name an existing profile"
        )
    return PROFILES[name]
