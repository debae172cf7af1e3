"""What a study is asked to do: validated, bounded, and hashed into the study's name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from runtime.canonical import digest
from runtime.policy import PROFILES
from workbench.data.datasets.manifests import load_manifest

STUDY_VERSION: Final = 1
"""Raise it when the same spec on the same data is meant to give another result."""
ID_LENGTH: Final = 12
CORE_HORIZONS: Final = 3
Horizon = Literal[1, 4, 24, 72]


class StudySpec(BaseModel):
    """Parameters of a walk-forward study. Two equal specs give the same bytes; the dataset is named by its full hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str = Field(pattern=r"^[0-9a-f]{64}$", description="dataset hash")
    horizons_h: Annotated[tuple[Horizon, ...], Field(strict=False)] = Field(
        default=(4, 24, 72), min_length=CORE_HORIZONS, description="label horizons in hours; the core acts on the longest three"
    )
    grid_h: Literal[1, 2, 4, 8, 12, 24] = Field(default=4, description="hours between two decisions of the model")
    folds_n: int = Field(default=8, ge=2, le=24, description="walk-forward folds; their test windows tile the tested time")
    first_test: str = Field(
        default="",
        pattern=r"^(\d{4}-\d{2}-\d{2})?$",
        description="first day of the first test window (UTC); empty: after 40 % of the data",
    )
    train_rule: Literal["expanding", "rolling"] = Field(
        default="expanding", description="train on all the past, or a rolling window"
    )
    rolling_days: int = Field(default=730, ge=180, le=3650, description="length of a rolling training window in days")
    seed: int = Field(default=7, ge=0, le=2**31 - 1, description="seed of models and samples")
    profile: str = Field(default="conservative", description="governed risk profile")
    initial_cash_usd: int = Field(default=100_000, ge=100, le=10_000_000, description="cash at the start, USD")

    @model_validator(mode="after")
    def _consistent(self) -> StudySpec:
        if list(self.horizons_h) != sorted(set(self.horizons_h)):
            raise ValueError(f"horizons_h must be different and ascending, got {list(self.horizons_h)}")
        if self.profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(sorted(PROFILES))}, got {self.profile!r}")
        return self

    @field_validator("first_test")
    @classmethod
    def _a_day(cls, value: str) -> str:
        if value:
            _day_t(value)
        return value

    def first_test_t(self) -> int | None:
        """Return the time of `first_test`, seconds UTC; None when it is left to the data."""
        return _day_t(self.first_test) if self.first_test else None

    @property
    def core_horizons_h(self) -> tuple[int, int, int]:
        """Return the near, main and far horizon of the decision core."""
        near, main, far = self.horizons_h[-CORE_HORIZONS:]
        return near, main, far

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of all parameters and the version of their meaning."""
        return digest({"study": STUDY_VERSION, "spec": self.model_dump(mode="json")})

    @property
    def study_id(self) -> str:
        """Return the name of the study's folder."""
        return self.digest[:ID_LENGTH]


def _day_t(day: str) -> int:
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())


def resolve_dataset(home: Path, name: str = "latest") -> str:
    """Return the full hash of a dataset named by hash, unique prefix or `latest`.

    Raises:
        DataError, UsageError: there is no such dataset.
    """
    return load_manifest(home, name).dataset_hash
