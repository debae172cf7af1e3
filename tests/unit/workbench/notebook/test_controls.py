from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from runtime.errors import InvariantError
from workbench.notebook.controls import controls


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    dataset: str
    venue: Literal["kraken", "binance"]
    horizons: tuple[Literal[1, 4, 24, 72], ...]
    seed: int = Field(ge=0, le=2**31 - 1)
    folds: int = Field(ge=2, le=40, description="number of folds")
    fee: float = Field(ge=0, le=0.01)
    quick: bool


GIVEN = Spec(dataset="ab12", venue="binance", horizons=(4, 24), seed=7, folds=12, fee=0.004, quick=True)


def test_every_control_keeps_the_given_value() -> None:
    chosen = controls(GIVEN).value
    assert Spec(**{**chosen, "horizons": tuple(chosen["horizons"])}) == GIVEN


def test_bounds_come_from_the_spec() -> None:
    widgets = controls(GIVEN).elements
    assert (widgets["folds"].start, widgets["folds"].stop) == (2, 40)
    assert (widgets["seed"].start, widgets["seed"].stop) == (0, 2**31 - 1)
    assert widgets["folds"].text.find("number of folds") >= 0


def test_fixed_fields_have_no_control() -> None:
    assert "dataset" not in controls(GIVEN, fixed=("dataset",)).value


def test_a_field_without_a_control_is_named() -> None:
    class Odd(BaseModel):
        table: dict[str, int]

    with pytest.raises(InvariantError, match="dict"):
        controls(Odd(table={}))
