"""What clients of the control API send, and what they get back about the profile."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from runtime.control.models import Answer, ProfileRef
from runtime.policy import HEX, ProfileVersion, RiskProfile

REASON: str = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
"""One line that prints: no control characters, no marks that turn text around."""


class Request(BaseModel):
    """Base of all requests: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OpenSession(Request):
    """Exchange the launch token for a session cookie."""

    launch_token: str = Field(min_length=1, max_length=200, description="from the endpoint file of the daemon")


class Reason(Request):
    """Why, in a sentence; it is journaled."""

    reason: str = Field(default="", max_length=500, pattern=REASON, description="one line, journaled with the actor")


class KillSwitch(Reason):
    """Throw or release the kill switch."""

    on: bool = Field(description="true: throw it, no new risk; false: release it")
    confirm: Literal["HALT", "RELEASE"] = Field(description="HALT to throw it, RELEASE to release it")

    @model_validator(mode="after")
    def _meant(self) -> KillSwitch:
        if self.confirm != ("HALT" if self.on else "RELEASE"):
            raise ValueError('confirm must be "HALT" to throw the kill switch and "RELEASE" to release it')
        return self


class ProfileUpdate(Request):
    """Govern by another profile from the next block on: a stored version as it is, or settings that become the next version."""

    version: ProfileVersion | None = Field(
        default=None, description="a version of the store of profiles, whole: it governs with its own number and digest"
    )
    profile: RiskProfile | None = Field(
        default=None,
        description="instead: all settings; the store numbers and dates them as the next version of that name, and keeps it",
    )
    note: str = Field(min_length=1, max_length=500, pattern=REASON, description="why, in a sentence; journaled")
    base_digest: str = Field(pattern=HEX, description="policy digest that the change was made from: the one in force")

    @model_validator(mode="after")
    def _one(self) -> ProfileUpdate:
        if (self.version is None) == (self.profile is None):
            raise ValueError("give either version, a stored one, or profile, the settings of a new one")
        return self


class BundleChoice(Reason):
    """Forecast with another bundle from the next block on."""

    bundle_hash: str = Field(pattern=HEX, description="bundle hash or manifest digest of a bundle that is here")


class ProfileOut(Answer):
    """The profile in force, and the schema that a settings editor is made from."""

    current: ProfileRef = Field(description="name, version and digest")
    profile: RiskProfile = Field(description="all settings")
    schema_: dict[str, JsonValue] = Field(
        alias="schema", description="JSON Schema with bounds, units (x-unit), groups (x-group) and directions of risk (x-risk)"
    )
