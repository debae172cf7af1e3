from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from runtime.core.records import INSTRUMENTS, POLICY
from runtime.errors import DataError, UsageError, VerificationError
from runtime.fields import DRAWDOWN_TIER, FEE_TIER, GROUPS, PAIR_RULES, QUOTE_CAP, SETTINGS, UNITS, About
from runtime.policy import (
    AMOUNT_MAX_E8,
    PRESETS,
    DrawdownTier,
    FeeTier,
    PairRules,
    ProfileVersion,
    QuoteCap,
    RiskProfile,
    load_profile,
    parse_version,
)


def test_every_rule_of_the_core_comes_from_the_profile() -> None:
    rules = set(POLICY["rules"].names)
    assert rules - set(RiskProfile.model_fields) == {"positions_max_n", "severe_max_n", "maker_entry_n"}


def test_the_record_carries_the_profile() -> None:
    profile = RiskProfile(margin_ppm=1_234, positions_max=3, severe_max=2, maker_entry=True)
    record = profile.to_record([PairRules(lot_e8=7)] * 2)[0]
    assert int(record["rules"]["margin_ppm"]) == 1_234
    assert [int(record["rules"][name]) for name in ("positions_max_n", "severe_max_n", "maker_entry_n")] == [3, 2, 1]
    assert [int(i["enabled_n"]) for i in record["instruments"]] == [1, 1] + [0] * (INSTRUMENTS - 2)
    assert int(record["instruments"][1]["lot_e8"]) == 7


def test_the_digest_covers_every_field() -> None:
    base = RiskProfile()
    seen = {base.digest}
    for name, field in RiskProfile.model_fields.items():
        value = getattr(base, name)
        if field.annotation is int or type(value) is int:
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
        {"recovery_exit_ppm": 500_001},
        {"take_near_ppm": 1_001},
        {"severe_release_ppm": 120_001},
        {"total_cap_e8": AMOUNT_MAX_E8 + 1},
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


# ---- presets and versions -----------------------------------------------------------------------------------------


def test_the_presets_are_the_ones_of_the_release() -> None:
    assert {name: version.policy_digest for name, version in PRESETS.items()} == {
        "conservative": "f60eff7cb7d72608edb5a61804bbeaa7701832a1795e0061b6004db77911c5b2",
        "balanced": "08f32557ec8499fd2b4f58ed98e877282c5fbb9996ecbba8e4d80be8d394fae5",
        "aggressive": "0573382f226a98b8617f55052a50f7b1eb877bf1188383e036b240deb7038764",
    }
    for name, version in PRESETS.items():
        assert load_profile(name) == version.profile
        assert (version.profile.name, version.profile.version) == (name, 1)
        assert version.note
    assert load_profile("conservative") == RiskProfile()


def test_a_version_survives_its_file() -> None:
    version = ProfileVersion.seal(RiskProfile(name="mine", total_cap_e8=AMOUNT_MAX_E8), "a note", "a" * 64, "conservative@1")
    assert parse_version(version.canonical(), "x") == version


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        (b'"base_ppm":20000', b'"base_ppm":30000', VerificationError, "policy_digest"),
        (b'"note":"a', b'"note":"b', VerificationError, "entry_digest"),
        (b'"previous_digest":""', b'"previous_digest":"' + b"0" * 64 + b'"', VerificationError, "entry_digest"),
        (b"{", b"{ ", VerificationError, "the file's bytes"),
        (b'"base_ppm":20000', b'"base_ppm":20000,"base_ppm":20000', VerificationError, "the file's bytes"),
        (b'"base_ppm":20000', b'"base_ppm":2000000', DataError, "profile.base_ppm: .* got 2000000"),
        (b'"base_ppm":20000', b'"base_ppm":"20000"', DataError, "profile.base_ppm"),
        (b'"format_n":1', b'"format_n":2', DataError, "format_n"),
        (b'"format_n":1', b'"format_n":1,"more":1', DataError, "more"),
        (b"{", b"", DataError, "Invalid JSON"),
    ],
)
def test_a_changed_file_is_refused(old: bytes, new: bytes, kind: type[Exception], message: str) -> None:
    content = ProfileVersion.seal(RiskProfile(), "a note").canonical()
    assert content.count(old) >= 1
    with pytest.raises(kind, match=message):
        parse_version(content.replace(old, new, 1), "x.json")


def test_every_flip_in_a_file_is_detected() -> None:
    content = ProfileVersion.seal(RiskProfile(), "a note").canonical()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1
        with pytest.raises((DataError, VerificationError)):
            parse_version(bytes(damaged), "x.json")


# ---- the schema ---------------------------------------------------------------------------------------------------

MODELS: list[tuple[type[BaseModel], dict[str, About]]] = [
    (RiskProfile, SETTINGS), (PairRules, PAIR_RULES), (QuoteCap, QUOTE_CAP), (DrawdownTier, DRAWDOWN_TIER), (FeeTier, FEE_TIER),
]  # fmt: skip


@pytest.mark.parametrize(("model", "settings"), MODELS, ids=lambda m: getattr(m, "__name__", ""))
def test_every_setting_says_what_an_editor_needs(model: type[BaseModel], settings: dict[str, About]) -> None:
    properties = model.model_json_schema()["properties"]
    assert set(properties) == set(settings)
    titles = [field["title"] for field in properties.values()]
    assert len(titles) == len(set(titles))
    for name, field in properties.items():
        about = settings[name]
        assert field["description"], name
        assert about.unit in UNITS
        assert about.group in GROUPS
        assert UNITS[about.unit] in field["title"]
        assert (field["x-unit"], field["x-group"], field["x-risk"]) == (about.unit, about.group, about.risk.value)
        if field.get("type") == "integer":
            assert "minimum" in field, name
            suffix = name.rpartition("_")[2]
            assert {"ppm": "ppm", "ppb": "ppb", "t": "s", "ms": "ms"}.get(suffix, about.unit) == about.unit
            assert (suffix == "e8") == about.unit.startswith("e8")
    json.dumps(properties)


def test_the_presets_ship_in_the_wheel(repository: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    shipped = {str(file.distribution_path) for file in WheelBuilder(str(repository)).recurse_included_files()}
    assert {f"runtime/profiles/{name}.json" for name in PRESETS} <= shipped
