"""`ballast policy`: the governed profiles: look at them, compare them, make the next version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.console import print_json, stdout_console
from runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.policy import ProfileVersion
    from runtime.profiles.leaves import Difference

policy: Final = typer.Typer(
    name="policy",
    help="Governed risk and strategy profiles: the presets, and versions of your own.",
    no_args_is_help=True,
    add_completion=False,
)
Home = Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
CHANGE_STYLES: Final = {"loosens": "bold red", "tightens": "green", "not decidable": "dim"}


@policy.command()
def show(
    name: Annotated[str, typer.Argument(help="Preset or own profile: NAME or NAME@VERSION.")] = "conservative",
    *,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Version [the newest].")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema instead: bounds, help, units, groups.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Show every setting of a profile with its bounds, by group."""
    from runtime.home import home_path
    from runtime.profiles.leaves import json_schema
    from runtime.profiles.store import find_version

    if schema:
        print_json(json_schema())
        return
    if version is not None and "@" in name:
        raise UsageError(f"{name} together with --version", expected="one version", action="leave one of the two out")
    found = find_version(home_path(home), name, version)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        _print_profile(found)


@policy.command("list")
def list_(*, home: Home = None, json: Json = False) -> None:
    """List the presets and every version of your own profiles."""
    from runtime.home import home_path
    from runtime.policy import PRESETS
    from runtime.profiles.store import own_names, versions

    folder = home_path(home)
    found = [version for name in (*PRESETS, *own_names(folder)) for version in versions(folder, name)]
    if json:
        print_json({"home": str(folder), "profiles": [_summary(version) for version in found]})
        return
    rows = []
    for version in found:
        about = _summary(version)
        rows.append([str(about[key]) for key in ("profile", "kind", "written", "author", "policy_digest", "note")])
        rows[-1][4] = rows[-1][4][:12]
    _print_table(("profile", "kind", "written (UTC)", "author", "digest", "note"), rows)


@policy.command()
def diff(
    a: Annotated[str, typer.Argument(help="The older one: NAME, NAME@VERSION or a file.")],
    b: Annotated[str, typer.Argument(help="The newer one: NAME, NAME@VERSION or a file.")],
    *,
    home: Home = None,
    json: Json = False,
) -> None:
    """List the settings in which two profiles differ, and whether each change loosens or tightens risk."""
    from runtime.home import home_path
    from runtime.profiles.leaves import differences

    folder = home_path(home)
    old, new = _open(folder, a), _open(folder, b)
    found = differences(old.profile, new.profile)
    counts = {word: sum(d.change.value == word for d in found) for word in CHANGE_STYLES}
    if json:
        print_json({
            "old": _summary(old), "new": _summary(new), "counts": counts,
            "differences": [{**d._asdict(), "change": d.change.value} for d in found],
        })  # fmt: skip
        return
    if found:
        _print_differences(found)
    summary = ", ".join(f"{n} {word}" for word, n in counts.items())
    stdout_console().print(f"{_label(old)} -> {_label(new)}: {summary if found else 'no difference'}")


@policy.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A profile version (v001.json), or a bare profile as JSON.")],
    *,
    json: Json = False,
) -> None:
    """Check a file against the schema, its bounds, its rules and its digests.

    Exit code 0: valid. Exit code 3: not a profile, or out of bounds. Exit code 5: changed after it was written.
    """
    found = _read(file)
    if json:
        print_json({"valid": True, **_summary(found)})
    else:
        stdout_console().print(f"valid: {_label(found)}, digest {found.policy_digest}", soft_wrap=True)


@policy.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="Your profile; not a preset.")],
    assignments: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE...", help="For example total_cap_ppm=15%.")],
    *,
    author: Annotated[str, typer.Option("--author", help="Who is responsible for this version.")],
    note: Annotated[str, typer.Option("--note", help="Why it is made, in a sentence.")],
    derive_from: Annotated[
        str | None, typer.Option("--from", help="What a new profile begins as: NAME or NAME@VERSION.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Make the next version of a profile of your own; nothing is ever replaced.

    A field is a path as `ballast policy show` lists it: base_ppm, quote_caps.USD.cap_ppm, tiers.DD10.size_ppm, fees.0.taker_ppm.
    """
    from runtime.adapters.clock import SystemClock
    from runtime.home import home_path
    from runtime.profiles.leaves import change, differences
    from runtime.profiles.store import append_version, origin_of

    for option, text, limit in (("--author", author, 80), ("--note", note, 1_000)):
        if not text.strip() or len(text) > limit:
            raise UsageError(f"{option} {text!r:.100}", expected=f"1 to {limit} characters", action="say who and why")
        if not text.isprintable():  # it will be shown on terminals: no escapes, line breaks or marks that turn text around
            raise UsageError(
                f"{option} {ascii(text)[:100]}",
                expected="characters that print, on one line",
                action="leave control characters out",
            )
    folder = home_path(home)
    origin = origin_of(folder, name, derive_from)
    wanted = change(origin.profile, assignments, author, name)
    made = append_version(folder, origin, wanted, note, SystemClock())
    found = differences(origin.profile, made.profile)
    if json:
        print_json({
            **_summary(made), "origin": _summary(origin),
            "differences": [{**d._asdict(), "change": d.change.value} for d in found],
        })  # fmt: skip
        return
    _print_differences(found)
    stdout_console().print(f"made {_label(made)}, digest {made.policy_digest}", soft_wrap=True)


# ---- helpers ---------------------------------------------------------------------------------------------------


def _open(home: Path, name: str) -> ProfileVersion:
    """Return a profile by name, or from a file where the argument looks like one."""
    from runtime.profiles.store import find_version

    return _read(Path(name)) if name.endswith(".json") else find_version(home, name)


def _read(file: Path) -> ProfileVersion:
    """Return the profile version in a file; a bare profile is accepted as well, since it has no digests to check."""
    from json import JSONDecodeError, loads

    from pydantic import ValidationError

    from runtime.policy import ProfileVersion, RiskProfile, first_problem, parse_version

    try:
        content = file.read_bytes()
        raw = loads(content)
    except OSError as e:
        raise DataError(f"cannot read {file}: {e.strerror}", expected="a readable file", action="correct the path") from e
    except (JSONDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DataError(f"{file} is not JSON: {e}", expected="a profile as JSON", action="correct the file") from e
    if not isinstance(raw, dict) or "entry_digest" in raw or "profile" in raw:
        return parse_version(content, str(file))
    try:
        return ProfileVersion.seal(RiskProfile.model_validate_json(content), f"bare profile in {file.name}")
    except ValidationError as e:
        raise DataError(
            f"{file}: {first_problem(e)}",
            expected="a profile within the bounds of the schema",
            action="see `ballast policy show --schema`",
        ) from e


def _label(version: ProfileVersion) -> str:
    return f"{version.profile.name}@{version.profile.version}"


def _summary(version: ProfileVersion) -> dict[str, object]:
    from datetime import UTC, datetime

    from runtime.policy import PRESETS

    profile = version.profile
    preset = PRESETS.get(profile.name)
    return {
        "profile": _label(version),
        "kind": "preset" if preset and preset.entry_digest == version.entry_digest else "own",
        "written": datetime.fromtimestamp(profile.created_t, UTC).strftime("%Y-%m-%d %H:%M"),
        "author": profile.author,
        "note": version.note,
        "policy_digest": version.policy_digest,
        "entry_digest": version.entry_digest,
        "previous_digest": version.previous_digest,
        "derived_from": version.derived_from,
    }


def _shown(value: int | str | None, unit: str) -> str:
    """Return a value as a person reads it: the stored number, and the percentage or amount it stands for."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if unit in {"ppm", "ppb"}:
        return f"{value:,} = {value / (10_000 if unit == 'ppm' else 10_000_000):g} %"
    if unit.startswith("e8"):
        return f"{value:,} = {value / 100_000_000:,g}" if value else "0"
    return f"{value:,}"


def _print_profile(version: ProfileVersion) -> None:
    from rich.text import Text

    from runtime.fields import GROUPS
    from runtime.profiles.leaves import leaves

    console = stdout_console()
    for key, value in _summary(version).items():
        if value != "":
            console.print(Text(f"  {key:<16}{value}"), soft_wrap=True)
    for group, heading in GROUPS.items():
        rows = [
            [leaf.path, _shown(leaf.value, leaf.about.unit), _bounds(leaf.about.minimum, leaf.about.maximum), leaf.about.unit,
             leaf.about.help]
            for leaf in leaves(version.profile)
            if leaf.about.group == group and group != "identity"
        ]  # fmt: skip
        if rows:
            console.print(Text(f"\n{heading}", style="bold"))
            _print_table(("field", "value", "bounds", "unit", "meaning"), rows)


def _bounds(minimum: int | None, maximum: int | None) -> str:
    if minimum is None and maximum is None:
        return ""
    return f"{minimum:,} to {maximum:,}" if maximum is not None else f"{minimum:,} or more"


def _print_differences(found: Sequence[Difference]) -> None:
    rows = [[d.path, _shown(d.old, d.unit), _shown(d.new, d.unit), d.unit, d.change.value] for d in found]
    _print_table(("field", "old", "new", "unit", "risk"), rows, {4: CHANGE_STYLES})


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]], styles: dict[int, dict[str, str]] | None = None) -> None:
    """Print rows; pipes get full lines whatever the width."""
    import sys

    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = stdout_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(
            Text(name), overflow="fold", no_wrap=i < 2, justify="right" if name in {"value", "old", "new"} else "left"
        )
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(i, {}).get(cell, "")) for i, cell in enumerate(row)))
    if not sys.stdout.isatty():
        console.width = max(console.width, sum(max(map(len, column)) + 3 for column in zip(names, *rows, strict=True)))
    console.print(table)
