"""The spec: strict, bounded, and hashed into the study's name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from workbench.study import StudySpec

DATASET = "a" * 64


def test_the_defaults_are_those_of_the_research() -> None:
    spec = StudySpec(dataset=DATASET)
    assert spec.horizons_h == spec.core_horizons_h == (4, 24, 72)
    assert (spec.grid_h, spec.seed, spec.profile, spec.initial_cash_usd) == (4, 7, "conservative", 100_000)
    assert spec.first_test_t() is None


def test_a_fourth_horizon_is_measured_but_the_core_acts_on_the_longest_three() -> None:
    spec = StudySpec(dataset=DATASET, horizons_h=[1, 4, 24, 72])  # type: ignore[arg-type]  lists come from papermill
    assert spec.core_horizons_h == (4, 24, 72)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "latest"), ("horizons_h", [4, 24]), ("horizons_h", [24, 4, 72]), ("horizons_h", [4, 24, 48]),
        ("grid_h", 3), ("folds_n", 1), ("folds_n", 2.0), ("folds_n", "8"), ("first_test", "2022-13-01"), ("first_test", "soon"),
        ("train_rule", "all"), ("seed", -1), ("profile", "reckless"), ("initial_cash_usd", 1), ("leverage", 3),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        StudySpec.model_validate({"dataset": DATASET, field: value})


def test_equal_specs_share_a_name_and_any_change_gives_another() -> None:
    spec = StudySpec(dataset=DATASET)
    assert spec.study_id == StudySpec(dataset=DATASET, seed=7).study_id == spec.digest[:12]
    others = [{"seed": 8}, {"folds_n": 9}, {"first_test": "2022-01-01"}, {"train_rule": "rolling"}, {"dataset": "b" * 64}]
    names = {StudySpec.model_validate({"dataset": DATASET, **other}).study_id for other in others}
    assert len(names | {spec.study_id}) == len(others) + 1
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    assert StudySpec(dataset=DATASET, first_test="2022-01-01").first_test_t() == 1_640_995_200
