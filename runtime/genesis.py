"""The first block of a run: what the run is about, in canonical JSON."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from runtime.canonical import canonical_json
from runtime.core import digest
from runtime.policy import PairRules, RiskProfile

Hex = Field(pattern=r"^[0-9a-f]{64}$")
JOURNALED: Final = "0" * 64
"""What the genesis of a paper or live chain gives as digest of bars, forecasts and memberships: they come block by block."""


class Bundle(BaseModel):
    """What made the forecasts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    bundle_hash: str = Hex
    feature_set_hash: str = Hex
    model_hashes: tuple[str, ...]


class Deposit(BaseModel):
    """Cash that enters the account before the first bar."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    quote_id: int = Field(ge=0, le=2)
    amount_e8: str = Field(pattern=r"^[1-9][0-9]{0,17}$", description="integer as text: JSON numbers end at 2**53")


class Genesis(BaseModel):
    """Everything that fixes a run before its first event. No clock, path or host enters it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_n: Literal[1] = 1
    account_id: int = Field(ge=1)
    mode_id: int = Field(ge=1, le=3)
    source: str
    simulated: bool
    symbols: tuple[str, ...]
    interval_t: int = Field(ge=60)
    first_t: int
    last_t: int
    universe_version: str
    dataset_hash: str = Hex
    bars_digest: str = Hex
    forecasts_digest: str = Hex
    clusters_digest: str = Hex
    bundle: Bundle
    profile: RiskProfile
    policy_digest: str = Hex
    pairs: tuple[PairRules, ...]
    deposits: tuple[Deposit, ...]
    core_digest: str = Hex

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes stored in the journal."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def hash(self) -> bytes:
        """The 32 bytes that block 1 names as its predecessor."""
        return digest.genesis_hash(self.canonical())
