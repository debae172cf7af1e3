from __future__ import annotations

import pytest
from pydantic import ValidationError

from runtime.core.records import INSTRUMENTS, POLICY
from runtime.errors import UsageError
from runtime.policy import DrawdownTier, PairRules, RiskProfile, load_profile


def test_every_rule_of_the_core_comes_from_the_profile() -> None:
    rules = set(POLICY["rules"].names)
    assert rules - set(RiskProfile.model_fields) == {"positions_max_n"}


def test_the_record_carries_the_profile() -> None:
    profile = RiskProfile(margin_ppm=1_234, positions_max=3)
    record = profile.to_record([PairRules(lot_e8=7)] * 2)[0]
    assert int(record["rules"]["margin_ppm"]) == 1_234
    assert int(record["rules"]["positions_max_n"]) == 3
    assert [int(i["enabled_n"]) for i in record["instruments"]] == [1, 1] + [0] * (INSTRUMENTS - 2)
    assert int(record["instruments"][1]["lot_e8"]) == 7


def test_the_digest_covers_every_field() -> None:
    base = RiskProfile()
    seen = {base.digest}
    for name, field in RiskProfile.model_fields.items():
        if field.annotation is int or name in ("base_ppm", "derisk_ppm"):
            value = getattr(base, name)
            changed = base.model_copy(update={name: value + 1})
            assert changed.digest not in seen, name
            seen.add(changed.digest)


@pytest.mark.parametrize(
    "fields",
    [
        {"margin_ppm": -1},
        {"margin_ppm": 1.5},
        {"unknown": 1},
        {"positive_prob_ppm": 570_000},
        {"strong_ret_ppm": 1_000},
        {"positions_max": 33},
        {"tiers": (DrawdownTier(drawdown_ppm=0, size_ppm=1, allow_entry=True),) * 4},
    ],
)
def test_profiles_out_of_bounds_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RiskProfile(**fields)


def test_unknown_profile_and_too_many_instruments() -> None:
    with pytest.raises(UsageError, match="conservative"):
        load_profile("bold")
    with pytest.raises(UsageError, match="at most"):
        RiskProfile().to_record([PairRules()] * (INSTRUMENTS + 1))
