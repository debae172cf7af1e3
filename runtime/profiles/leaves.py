"""A profile as a flat list of settings, each under one dotted path: what is shown, set and compared.

`base_ppm`, `quote_caps.USD.cap_ppm`, `tiers.DD10.size_ppm`, `fees.0.taker_ppm`. Titles, units, bounds and directions come from the
model's JSON Schema, as in the editor that is generated from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, cast

from pydantic import BaseModel, JsonValue, ValidationError

from runtime.core.codes import QUOTE_NAMES, TIER_NAMES
from runtime.errors import UsageError
from runtime.fields import GROUPS, Risk
from runtime.policy import DrawdownTier, FeeTier, QuoteCap, RiskProfile, first_problem

Scalar = int | str
LISTS: Final[dict[str, tuple[type[BaseModel], tuple[str, ...]]]] = {
    "quote_caps": (QuoteCap, tuple(QUOTE_NAMES.values())),
    "tiers": (DrawdownTier, tuple(TIER_NAMES.values())),
    "fees": (FeeTier, ()),
}
"""Lists of a profile -> model of an element, names of the elements (empty: their numbers)."""
IDENTITY: Final = ("name", "version", "author", "created_t")
"""What `ballast policy set` fills in by itself."""


class Setting(NamedTuple):
    """What the schema says about one setting."""

    title: str
    help: str
    unit: str
    group: str
    risk: Risk
    zero_is_none: bool
    minimum: int | None
    maximum: int | None


class Leaf(NamedTuple):
    """One setting of one profile."""

    path: str
    value: Scalar
    about: Setting


class Change(StrEnum):
    """What a change does to risk."""

    LOOSENS = "loosens"
    TIGHTENS = "tightens"
    NEUTRAL = "not decidable"


class Difference(NamedTuple):
    """One setting in which two profiles differ; None where a profile has no such element."""

    path: str
    title: str
    unit: str
    old: Scalar | None
    new: Scalar | None
    change: Change


def json_schema() -> dict[str, JsonValue]:
    """Return the JSON Schema of a profile (draft 2020-12) with groups, units and directions for a generated editor."""
    schema: dict[str, JsonValue] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= RiskProfile.model_json_schema()
    schema["x-groups"] = [{"name": name, "title": title} for name, title in GROUPS.items() if name != "pair"]
    return schema


def _settings(model: type[BaseModel]) -> dict[str, Setting]:
    found = {}
    for name, raw in model.model_json_schema()["properties"].items():
        found[name] = Setting(
            raw["title"], raw["description"], raw["x-unit"], raw["x-group"], Risk(raw["x-risk"]), "x-zero" in raw,
            raw.get("minimum"), raw.get("maximum"),
        )  # fmt: skip
    return found


TOP: Final = _settings(RiskProfile)
ELEMENTS: Final = {name: _settings(model) for name, (model, _) in LISTS.items()}


def leaves(profile: RiskProfile) -> Iterator[Leaf]:
    """Yield every setting of a profile, by group and then in the order of the model."""
    order = list(GROUPS)
    for name, about in sorted(TOP.items(), key=lambda item: order.index(item[1].group)):
        value = getattr(profile, name)
        if name not in LISTS:
            yield Leaf(name, value, about)
            continue
        labels = LISTS[name][1]
        for i, element in enumerate(value):
            label = labels[i] if labels else str(i)
            for inner, inner_about in ELEMENTS[name].items():
                yield Leaf(f"{name}.{label}.{inner}", getattr(element, inner), inner_about)


# ---- comparing -------------------------------------------------------------------------------------------------


def differences(old: RiskProfile, new: RiskProfile) -> list[Difference]:
    """Return the settings in which two profiles differ, identity excluded."""
    before = {leaf.path: leaf for leaf in leaves(old) if leaf.path not in IDENTITY}
    after = {leaf.path: leaf for leaf in leaves(new) if leaf.path not in IDENTITY}
    found = []
    for path in [*before, *(path for path in after if path not in before)]:
        a, b = before.get(path), after.get(path)
        if a is None or b is None or a.value != b.value:
            about = (a or after[path]).about
            values = (a.value if a else None, b.value if b else None)
            found.append(Difference(path, about.title, about.unit, *values, _change(about, *values)))
    return found


def _change(about: Setting, old: Scalar | None, new: Scalar | None) -> Change:
    if about.risk is Risk.DEPENDS or not isinstance(old, int) or not isinstance(new, int):
        return Change.NEUTRAL
    higher = new > old
    if about.zero_is_none and 0 in (old, new):
        higher = new == 0
    return Change.LOOSENS if higher == (about.risk is Risk.LOOSENS) else Change.TIGHTENS


# ---- changing --------------------------------------------------------------------------------------------------


def change(profile: RiskProfile, assignments: Sequence[str], author: str, name: str) -> RiskProfile:
    """Return a profile with `PATH=VALUE` assignments applied, under a name and author; the whole is validated.

    A value is an integer (`20_000`), `true` or `false`, or for ppm and ppb an exact percentage (`15%`).

    Raises:
        UsageError: no such setting, a setting twice, a value that is none, or a profile out of bounds.
    """
    raw = profile.model_dump(mode="json")
    paths = {leaf.path: leaf for leaf in leaves(profile) if leaf.path not in IDENTITY}
    seen = set()
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        leaf = paths.get(path)
        if not equals or leaf is None or path in seen:
            raise _wrong_assignment(assignment, path, list(paths), repeated=path in seen)
        seen.add(path)
        _assign(raw, path, _value(leaf, text))
    raw["author"], raw["name"] = author, name
    try:
        return RiskProfile.model_validate_json(json.dumps(raw))
    except ValidationError as e:
        raise UsageError(
            first_problem(e), expected=_bounds(e), action="see bounds and help with `ballast policy show --schema`"
        ) from e


def _wrong_assignment(assignment: str, path: str, paths: list[str], *, repeated: bool) -> UsageError:
    from difflib import get_close_matches

    if repeated:
        return UsageError(f"{path} twice", expected="each setting once", action="leave one of the two out")
    if "=" not in assignment:
        return UsageError(f"{assignment!r}", expected="FIELD=VALUE", action="for example total_cap_ppm=15%")
    near = get_close_matches(path, paths, 3)
    hint = f"perhaps {', '.join(near)}" if near else "a setting of the profile"
    return UsageError(f"no setting {path!r}", expected=hint, action="list them with `ballast policy show`")


def _bounds(error: ValidationError) -> str:
    path = [str(part) for part in error.errors(include_url=False)[0]["loc"]]
    about = TOP.get(path[0]) if len(path) == 1 else ELEMENTS.get(path[0], {}).get(path[-1]) if path else None
    if about is None or about.minimum is None:
        return "a profile that keeps every rule of the schema"
    upper = f"{about.minimum} to {about.maximum}" if about.maximum is not None else f"{about.minimum} or more"
    return f"{upper} ({about.unit}): {about.help}"


def _value(leaf: Leaf, text: str) -> Scalar:
    """Return the value that a text spells for a setting."""
    if isinstance(leaf.value, bool):
        if text not in {"true", "false"}:
            raise UsageError(f"{leaf.path}={text}", expected="true or false", action="correct the value")
        return text == "true"
    percent = re.fullmatch(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)%", text)
    if percent and leaf.about.unit in {"ppm", "ppb"}:
        scaled = Decimal(percent[1]) * (10_000 if leaf.about.unit == "ppm" else 10_000_000)
        if scaled == int(scaled):
            return int(scaled)
    elif re.fullmatch(r"-?[0-9][0-9_]{0,30}", text) and not text.endswith("_"):
        return int(text.replace("_", ""))
    raise UsageError(
        f"{leaf.path}={text}",
        expected=f"an integer in {leaf.about.unit}" + (", or an exact percentage" if leaf.about.unit in {"ppm", "ppb"} else ""),
        action="correct the value",
    )


def _assign(raw: dict[str, JsonValue], path: str, value: Scalar) -> None:
    """Set one value; the path is one of `leaves`."""
    name, *rest = path.split(".")
    if not rest:
        raw[name] = value
        return
    label, inner = rest
    labels = LISTS[name][1]
    rows = cast("list[dict[str, JsonValue]]", raw[name])
    rows[labels.index(label) if labels else int(label)][inner] = value
