"""Profiles as flat settings: every value once, differences with their direction, assignments within bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from runtime.errors import UsageError
from runtime.fields import GROUPS
from runtime.policy import PRESETS, FeeTier, QuoteCap, RiskProfile
from runtime.profiles.leaves import IDENTITY, Change, change, differences, json_schema, leaves

BASE = RiskProfile()


def test_the_leaves_are_all_the_values() -> None:
    found = {leaf.path: leaf.value for leaf in leaves(BASE)}
    plain = {name for name in RiskProfile.model_fields if name not in {"quote_caps", "tiers", "fees"}}
    assert set(found) == plain | {f"quote_caps.{q}.{f}" for q in ("USD", "CAD", "USDC") for f in ("cap_ppm", "cap_e8")} | {
        f"tiers.{t}.{f}"
        for t in ("NORMAL", "DD10", "DD15", "HALT20")
        for f in ("drawdown_ppm", "size_ppm", "allow_entry", "allow_reentry")
    } | {f"fees.{k}.{f}" for k in range(10) for f in ("volume_e8", "maker_ppm", "taker_ppm")}
    assert found["tiers.DD10.size_ppm"] == 500_000
    assert found["fees.0.taker_ppm"] == 4_000


def test_the_schema_is_ready_for_an_editor() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    groups = schema["x-groups"]
    assert isinstance(groups, list)
    assert [group["name"] for group in groups if isinstance(group, dict)] == [name for name in GROUPS if name != "pair"]


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("base_ppm=3%", Change.LOOSENS),
        ("base_ppm=1%", Change.TIGHTENS),
        ("margin_ppm=0", Change.LOOSENS),
        ("margin_ppm=0.3%", Change.TIGHTENS),
        ("entry_persist_n=3", Change.TIGHTENS),
        ("negative_ret_ppm=-3_000", Change.LOOSENS),
        ("horizon_t=3600", Change.NEUTRAL),
        ("maker_entry=true", Change.NEUTRAL),
        ("total_cap_e8=100", Change.TIGHTENS),
        ("quote_caps.CAD.cap_e8=100", Change.TIGHTENS),
        ("quote_caps.USDC.cap_ppm=100%", Change.LOOSENS),
        ("tiers.DD15.allow_entry=false", Change.TIGHTENS),
        ("tiers.DD15.allow_reentry=true", Change.LOOSENS),
        ("tiers.DD10.drawdown_ppm=12%", Change.LOOSENS),
        ("fees.0.taker_ppm=4100", Change.TIGHTENS),
        ("vol_target_ppb=2.4%", Change.LOOSENS),
    ],
)
def test_an_assignment_changes_one_setting_in_its_direction(assignment: str, expected: Change) -> None:
    made = change(BASE, [assignment], "me", "mine")
    (found,) = differences(BASE, made)
    assert (found.path, found.change) == (assignment.partition("=")[0], expected)
    (back,) = differences(made, BASE)
    opposite = {Change.LOOSENS: Change.TIGHTENS, Change.TIGHTENS: Change.LOOSENS}
    assert back.change == opposite.get(expected, expected)
    assert (back.old, back.new) == (found.new, found.old)


def test_no_absolute_cap_is_looser_than_any() -> None:
    capped = change(BASE, ["total_cap_e8=500"], "me", "mine")
    looser = change(BASE, ["total_cap_e8=600"], "me", "mine")
    assert [d.change for d in differences(capped, looser)] == [Change.LOOSENS]
    assert [d.change for d in differences(capped, BASE)] == [Change.LOOSENS]


def test_presets_only_loosen_from_one_to_the_next() -> None:
    ordered = [version.profile for version in PRESETS.values()]
    for careful, bolder in pairwise(ordered):
        assert {d.change for d in differences(careful, bolder)} == {Change.LOOSENS}
        assert careful.tiers == bolder.tiers


def test_a_list_of_another_length_shows_what_came_and_went() -> None:
    short = BASE.model_copy(update={"fees": BASE.fees[:-1]})
    found = differences(BASE, short)
    assert [(d.path, d.new, d.change) for d in found] == [
        (f"fees.9.{f}", None, Change.NEUTRAL) for f in ("volume_e8", "maker_ppm", "taker_ppm")
    ]
    assert [d.old for d in differences(short, BASE)] == [None] * 3


def test_identity_is_no_difference() -> None:
    assert differences(BASE, BASE.model_copy(update={"name": "x", "version": 7, "author": "y", "created_t": 1})) == []


def test_values_in_every_spelling() -> None:
    made = change(BASE, ["total_cap_ppm=12.3456%", "base_ppm=15_000", "take_near_ppm=-2000", "maker_entry=true"], "me", "mine")
    assert (made.total_cap_ppm, made.base_ppm, made.take_near_ppm, made.maker_entry) == (123_456, 15_000, -2_000, True)
    assert (made.author, made.name) == ("me", "mine")


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["base_pm=1"], "no setting 'base_pm'.*perhaps base_ppm"),
        (["base_ppm"], "FIELD=VALUE"),
        (["base_ppm=1", "base_ppm=2"], "base_ppm twice"),
        (["base_ppm=one"], "an integer in ppm, or an exact percentage"),
        (["base_ppm=1.5"], "an integer in ppm"),
        (["base_ppm=0.00001%"], "exact percentage"),
        (["base_ppm="], "an integer"),
        (["base_ppm=1_"], "an integer"),
        (["order_ttl_t=5%"], "an integer in s"),
        (["maker_entry=1"], "true or false"),
        (["base_ppm=101%"], r"got 1010000.*0 to 1000000 \(ppm\): entry size"),
        (["positions_max=0"], "1 to 32"),
        (["tiers.DD10.size_ppm=-1"], "0 to 1000000"),
        (["cost_min_e8=0"], "no setting"),
        (["tiers.DD20.size_ppm=1"], "no setting"),
        (["fees.10.taker_ppm=1"], "no setting"),
        (["author=x"], "no setting"),
        (["strong_prob_ppm=1"], "probability cut-offs must rise.*every rule"),
        (["tiers.DD10.size_ppm=100000"], "deeper drawdown tier"),
    ],
)
def test_what_is_wrong_is_said(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        change(BASE, assignments, "me", "mine")


def test_what_set_fills_in_is_no_setting() -> None:
    assert set(IDENTITY) <= {leaf.path for leaf in leaves(BASE)}
    assert QuoteCap(cap_ppm=0).cap_e8 == 0
    assert FeeTier(volume_e8=0, maker_ppm=0, taker_ppm=0).taker_ppm == 0
