"""Governed risk and strategy profiles: validated, versioned, content-hashed; every number of the core comes from here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.canonical import canonical_json, sha256_hex
from runtime.core.codes import USD
from runtime.core.records import E8, FEE_TIERS, INSTRUMENTS, POLICY, QUOTES
from runtime.errors import DataError, UsageError, VerificationError
from runtime.fields import DRAWDOWN_TIER, FEE_TIER, PAIR_RULES, QUOTE_CAP, SETTINGS, describe

HEX: Final = r"^[0-9a-f]{64}$"
Ppm = Annotated[int, Field(ge=0, le=1_000_000)]
AMOUNT_MAX_E8: Final = 9 * 10**15
"""90 million: integers in canonical JSON are exact up to 2**53."""
Cap = Annotated[int, Field(ge=0, le=AMOUNT_MAX_E8)]


class PairRules(BaseModel):
    """A pair's trading rules at the venue, in core scales."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=lambda s: describe(s, PAIR_RULES))

    quote_id: int = Field(default=USD, ge=0, lt=QUOTES, description="quote currency: 0 USD, 1 CAD, 2 USDC")
    lot_e8: int = Field(default=1, ge=1, description="smallest quantity step")
    tick_e8: int = Field(default=1, ge=1, description="smallest price step")
    qty_min_e8: int = Field(default=1, ge=1, description="smallest order quantity")
    cost_min_e8: int = Field(default=50_000_000, ge=0, description="smallest order cost; Kraken asks 0.5 USD")


class QuoteCap(BaseModel):
    """Exposure cap of one quote currency."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=lambda s: describe(s, QUOTE_CAP))

    cap_ppm: Ppm = Field(description="exposure as a share of portfolio value")
    cap_e8: Cap = Field(default=0, description="absolute amount in base currency, 0 for none; the tighter one holds")


class DrawdownTier(BaseModel):
    """What a drawdown from the peak does to new risk. Tiers never force a sale."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=lambda s: describe(s, DRAWDOWN_TIER))

    drawdown_ppm: Ppm = Field(description="drawdown at which the tier begins")
    size_ppm: Ppm = Field(description="share of the normal size that an entry gets")
    allow_entry: bool = Field(description="whether new positions may be opened")
    allow_reentry: bool = Field(default=True, description="whether a campaign may buy back what it realised")


class FeeTier(BaseModel):
    """One row of the venue's fee schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=lambda s: describe(s, FEE_TIER))

    volume_e8: int = Field(ge=0, le=AMOUNT_MAX_E8, description="30-day volume in base currency from which the tier holds")
    maker_ppm: int = Field(ge=0, le=100_000, description="what an order that rested pays")
    taker_ppm: int = Field(ge=0, le=100_000, description="what an order that takes liquidity pays")


def _kraken_fees() -> tuple[FeeTier, ...]:
    """Return Kraken's spot schedule (USD volume; maker and taker in basis points)."""
    rows = (
        (0, 25, 40), (10_000, 20, 35), (50_000, 14, 24), (100_000, 12, 22), (250_000, 10, 20),
        (500_000, 8, 18), (1_000_000, 6, 16), (2_500_000, 4, 14), (5_000_000, 2, 12), (10_000_000, 0, 10),
    )  # fmt: skip
    return tuple(FeeTier(volume_e8=v * E8, maker_ppm=m * 100, taker_ppm=t * 100) for v, m, t in rows)


class RiskProfile(BaseModel):
    """One governed profile. The defaults are the conservative preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=lambda s: describe(s, SETTINGS))

    name: str = Field(default="conservative", min_length=1, max_length=40, description="lower-case name of the profile")
    version: int = Field(default=1, ge=1, description="counts from 1, one more with each change")
    author: str = Field(default="founders", min_length=1, max_length=80, description="who is responsible for this version")
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
    rebound_exit_ppm: Ppm = Field(default=480_000, description="rebound odds below which a negative outlook may exit")
    take_near_ppm: int = Field(
        default=-1_000, ge=-1_000_000, le=1_000_000, description="near return at or below which profit is taken"
    )
    take_profit_ppm: int = Field(default=30_000, ge=0, le=10_000_000, description="profit after costs that profit taking needs")
    take_ppm: Ppm = Field(default=330_000, description="share of a position that profit taking sells")
    take_max_n: int = Field(default=2, ge=0, le=20, description="profit takings per campaign")
    reentry_near_ppm: int = Field(default=1_000, ge=-1_000_000, le=1_000_000, description="near return from which to buy back")
    horizon_t: int = Field(
        default=72 * 3_600, ge=3_600, le=90 * 86_400, description="planned campaign, extended while the edge holds"
    )
    severe_loss_ppm: Ppm = Field(default=120_000, description="unrealised loss at which a position enters recovery mode")
    severe_release_ppm: Ppm = Field(default=60_000, description="unrealised loss at which recovery mode ends")
    severe_max: int = Field(default=3, ge=1, le=INSTRUMENTS, description="positions in recovery that block new entries")
    recovery_hold_ppm: Ppm = Field(default=500_000, description="rebound odds from which a losing position is held")
    recovery_exit_ppm: Ppm = Field(default=440_000, description="rebound odds below which a losing position is closed")
    recovery_patience_n: int = Field(
        default=6, ge=1, le=500, description="forecasts in a row with low odds before recovery acts"
    )

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
    cluster_cap_ppm: Ppm = Field(default=80_000, description="exposure of one correlation cluster")
    cluster_cap_e8: Cap = Field(default=0, description="exposure of one cluster, absolute; 0 for none")
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
            DrawdownTier(drawdown_ppm=150_000, size_ppm=250_000, allow_entry=True, allow_reentry=False),
            DrawdownTier(drawdown_ppm=200_000, size_ppm=0, allow_entry=False, allow_reentry=False),
        ),
        description="NORMAL, DD10, DD15, HALT20",
    )

    fees: tuple[FeeTier, ...] = Field(
        default=_kraken_fees(), min_length=1, max_length=FEE_TIERS, description="fee schedule by 30-day volume"
    )
    maker_entry: bool = Field(default=False, description="enter with a resting order at the decision price")
    half_spread_ppm: int = Field(default=200, ge=0, le=100_000, description="half the assumed spread")
    slippage_ppm: int = Field(default=300, ge=0, le=100_000, description="fixed slippage per side")
    impact_ppm: int = Field(default=100_000, ge=0, le=1_000_000, description="share of hourly range paid at full participation")
    margin_ppm: int = Field(default=2_000, ge=0, le=1_000_000, description="what an entry must expect beyond its round trip")
    limit_ppm: int = Field(default=10_000, ge=0, le=200_000, description="worst price of a buy above the decision price")
    participation_ppm: int = Field(default=10_000, ge=1, le=100_000, description="share of a bar's volume that may be filled")
    liquidity_ppm: int = Field(
        default=50_000, ge=1, le=1_000_000, description="share of the mean hourly turnover an entry may take"
    )
    spread_max_ppm: int = Field(default=5_000, ge=0, le=1_000_000, description="widest spread of a fresh quote")
    quote_age_max_t: int = Field(default=60, ge=1, le=3_600, description="age at which a quote no longer counts, seconds")
    skew_max_ms: int = Field(default=2_000, ge=0, le=600_000, description="clock skew that stops entries")
    bar_age_max_t: int = Field(default=1_800, ge=0, le=86_400, description="oldest bar an entry may act on, seconds")
    forecast_age_max_t: int = Field(default=6 * 3_600, ge=0, le=30 * 86_400, description="oldest usable forecast, seconds")
    order_ttl_t: int = Field(default=2 * 3_600, ge=60, le=7 * 86_400, description="life of an order, seconds")
    retry_t: int = Field(default=60, ge=1, le=3_600, description="delay before the first retry, doubled for each next one")
    retries_max_n: int = Field(default=3, ge=0, le=10, description="retries of an order that the venue rejected")
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
        if self.severe_release_ppm > self.severe_loss_ppm:
            raise ValueError("recovery mode must end at a smaller loss than it begins")
        if self.recovery_exit_ppm > self.recovery_hold_ppm:
            raise ValueError("the odds that close a losing position must not exceed those that hold it")
        if self.take_near_ppm > self.reentry_near_ppm:
            raise ValueError("the near return that buys back must not lie below the one that takes profit")
        volumes = [fee.volume_e8 for fee in self.fees]
        if volumes[0] != 0 or volumes != sorted(set(volumes)):
            raise ValueError("fee tiers must begin at volume 0 and rise")
        takers = [fee.taker_ppm for fee in self.fees]
        if takers != sorted(takers, reverse=True) or any(fee.maker_ppm > fee.taker_ppm for fee in self.fees):
            raise ValueError("a fee tier must not be dearer than the one before it, nor maker dearer than taker")
        return self

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes that the digest covers."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_hex(self.canonical())

    def to_record(self, pairs: Sequence[PairRules]) -> npt.NDArray[np.void]:
        """Return the POLICY record [1] for instruments 0 .. len(pairs)-1.

        Raises:
            UsageError: more instruments than the core's capacity.
        """
        if len(pairs) > INSTRUMENTS:
            raise UsageError(
                f"{len(pairs)} instruments", expected=f"at most {INSTRUMENTS}", action="choose fewer symbols"
            )  # fmt: skip
        record = np.zeros(1, POLICY)
        rules = record[0]["rules"]
        renamed = {
            "positions_max_n": self.positions_max,
            "severe_max_n": self.severe_max,
            "maker_entry_n": int(self.maker_entry),
        }
        for name in rules.dtype.names or ():
            rules[name] = renamed[name] if name in renamed else getattr(self, name)
        for k, tier in enumerate(self.tiers):
            record[0]["tiers"][k] = (tier.drawdown_ppm, tier.size_ppm, int(tier.allow_entry), int(tier.allow_reentry))
        for k, quote in enumerate(self.quote_caps):
            record[0]["quotes"][k] = (quote.cap_ppm, quote.cap_e8)
        for k, fee in enumerate(self.fees):
            record[0]["fees"][k] = (fee.volume_e8, fee.maker_ppm, fee.taker_ppm)
        for i, pair in enumerate(pairs):
            record[0]["instruments"][i] = (1, pair.quote_id, pair.lot_e8, pair.tick_e8, pair.qty_min_e8, pair.cost_min_e8)
        for i in range(len(pairs), INSTRUMENTS):
            record[0]["instruments"][i] = (0, USD, 1, 1, 1, 0)
        return record


class ProfileVersion(BaseModel):
    """One version of a profile as a file: the profile, why it was made, and the chain it continues."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_n: Literal[1] = 1
    profile: RiskProfile
    policy_digest: str = Field(pattern=HEX, description="digest of the profile: what decisions and runs refer to")
    note: str = Field(min_length=1, max_length=1_000, description="why this version was made")
    derived_from: str = Field(default="", description="NAME@VERSION of the profile that version 1 began as")
    previous_digest: str = Field(
        pattern=f"{HEX}|^$", description="entry digest of the version before; of the origin for version 1"
    )
    entry_digest: str = Field(pattern=HEX, description="SHA-256 of the canonical JSON of all fields above")

    @classmethod
    def seal(cls, profile: RiskProfile, note: str, previous_digest: str = "", derived_from: str = "") -> ProfileVersion:
        """Return a version with its digests filled in."""
        bare = cls(
            profile=profile,
            policy_digest=profile.digest,
            note=note,
            derived_from=derived_from,
            previous_digest=previous_digest,
            entry_digest="0" * 64,
        )
        return bare.model_copy(update={"entry_digest": bare.computed_digest()})

    def computed_digest(self) -> str:
        """Return what `entry_digest` must be."""
        return sha256_hex(canonical_json(self.model_dump(mode="json", exclude={"entry_digest"})))

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes of the file, with a final newline."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"


def parse_version(content: bytes, source: str) -> ProfileVersion:
    """Return the profile version that a file holds.

    Args:
        content: the bytes of the file.
        source: what the messages call it.

    Raises:
        DataError: not a profile version, or a value out of bounds.
        VerificationError: the content does not match its digests, or is not in canonical form.
    """
    try:
        found = ProfileVersion.model_validate_json(content)
    except ValidationError as e:
        raise DataError(
            f"{source}: {first_problem(e)}",
            expected="a profile version in canonical JSON within the bounds of the schema",
            action="see `ballast policy show --schema`; make versions with `ballast policy set`",
        ) from e
    for name, stored, computed in (
        ("policy_digest", found.policy_digest, found.profile.digest),
        ("entry_digest", found.entry_digest, found.computed_digest()),
        ("the file's bytes", sha256_hex(content), sha256_hex(found.canonical())),
    ):
        if stored != computed:
            raise VerificationError(
                f"{source}: {name} is {stored}",
                expected=computed,
                action="the file was changed after it was written: restore it from a backup, and never edit a version by hand",
            )
    return found


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation in words: field, what was got, and what is allowed."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    got = f", got {given!r}" if isinstance(given, int | str) else ""
    return f"{where}: {message}{got}" if where else message


PRESETS: Final = {
    name: parse_version((Path(__file__).parent / "profiles" / f"{name}.json").read_bytes(), f"preset {name}")
    for name in ("conservative", "balanced", "aggressive")
}
"""The presets of this release, by name, from the most to the least careful."""
PROFILES: Final = {name: version.profile for name, version in PRESETS.items()}


def load_profile(name: str) -> RiskProfile:
    """Return a governed profile by name.

    Raises:
        UsageError: no such profile.
    """
    if name not in PROFILES:
        raise UsageError(f"profile {name!r}", expected=f"one of {', '.join(PROFILES)}", action="name an existing profile")
    return PROFILES[name]
