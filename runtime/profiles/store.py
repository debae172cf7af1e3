"""One's own profiles: append-only versions under HOME/profiles/NAME/vNNN.json, each chained to the one before.

A version is created once and never replaced. Loading reads the whole chain of a profile and refuses any file that does not match
its digests, its place or its predecessor. What no chain can show by itself is a chain rewritten from some version to its end, or
cut at its end: a run's genesis carries its whole profile and digest, and thereby shows that too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from runtime.errors import DataError, GateError, UsageError, VerificationError
from runtime.files import create_bytes
from runtime.policy import PRESETS, ProfileVersion, RiskProfile, parse_version
from runtime.ports import Clock

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
FILE: Final = re.compile(r"v(\d{3,})\.json")


def profiles_path(home: Path) -> Path:
    """Return the folder of one's own profiles."""
    return home / "profiles"


def own_names(home: Path) -> list[str]:
    """Return the names of one's own profiles, in alphabetical order."""
    folder = profiles_path(home)
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def versions(home: Path, name: str) -> list[ProfileVersion]:
    """Return every version of a profile, oldest first; a preset has the one of this release.

    Raises:
        UsageError: no profile has this name.
        DataError: a file is not a profile version.
        VerificationError: a file was changed, moved, removed from the middle, or does not continue the chain.
    """
    if name in PRESETS:
        if name in own_names(home):
            raise VerificationError(
                f"{profiles_path(home) / name} takes the name of a preset",
                expected="presets to come from the release alone",
                action="move the folder away",
            )
        return [PRESETS[name]]
    if not NAME.fullmatch(name) or name not in own_names(home):
        known = ", ".join([*PRESETS, *own_names(home)])
        raise UsageError(f"profile {name!r}", expected=f"one of {known}", action="list them with `ballast policy list`")
    folder = profiles_path(home) / name
    chain: list[ProfileVersion] = []
    numbered = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue  # what a killed writer left behind
        match = FILE.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path} in a profile's folder", expected="v001.json, v002.json …", action="move it away")
        numbered.append((int(match[1]), path))
    if not numbered:
        raise DataError(f"{folder} is empty", expected="v001.json", action="restore it from a backup, or remove the folder")
    for expected, (number, path) in enumerate(sorted(numbered), 1):
        if number != expected:
            raise VerificationError(
                f"{folder}: version {expected} is missing",
                expected="every version from 1 on",
                action="restore it from a backup",
            )
        chain.append(_continue(name, chain, path))
    return chain


def _continue(name: str, chain: list[ProfileVersion], path: Path) -> ProfileVersion:
    """Return the version that a file holds, which must follow the chain so far."""
    found = parse_version(path.read_bytes(), str(path))
    profile = found.profile
    if (profile.name, profile.version) != (name, len(chain) + 1):
        raise VerificationError(
            f"{path} holds {profile.name}@{profile.version}",
            expected=f"{name}@{len(chain) + 1}",
            action="the file was moved or renamed: restore the folder from a backup",
        )
    if chain and found.previous_digest != chain[-1].entry_digest:
        raise VerificationError(
            f"{path} continues {found.previous_digest}",
            expected=f"the entry digest of the version before, {chain[-1].entry_digest}",
            action="a version was replaced: restore the folder from a backup",
        )
    if chain and profile.created_t < chain[-1].profile.created_t:
        raise VerificationError(
            f"{path} was written at {profile.created_t}",
            expected=f"not before the version it continues, {chain[-1].profile.created_t}",
            action="restore the folder from a backup",
        )
    return found


def find_version(home: Path, name: str, version: int | None = None) -> ProfileVersion:
    """Return a version of a preset or of one's own profile, by default the newest.

    Args:
        name: NAME or NAME@VERSION.
        version: wins over a version in the name.

    Raises:
        UsageError: no such profile or version; otherwise as `versions`.
    """
    name, _, suffix = name.partition("@")
    if version is None and suffix:
        if not re.fullmatch(r"[0-9]{1,9}", suffix):
            raise UsageError(f"version {suffix!r}", expected="NAME@NUMBER", action="list versions with `ballast policy list`")
        version = int(suffix)
    chain = versions(home, name)
    wanted = len(chain) if version is None else version
    for found in chain:
        if found.profile.version == wanted:
            return found
    raise UsageError(
        f"{name}@{wanted}", expected=f"a version from 1 to {len(chain)}", action="list them with `ballast policy list`"
    )


def origin_of(home: Path, name: str, derive_from: str | None) -> ProfileVersion:
    """Return what the next version of a profile starts from: its newest version, or the origin of a new profile.

    Raises:
        UsageError: a preset's name, a malformed name, an origin for a profile that exists, or none for one that does not.
    """
    if name in PRESETS:
        raise UsageError(
            f"{name} is a preset of this release and never changes",
            expected="a name of your own",
            action=f"ballast policy set my-{name} FIELD=VALUE … --from {name} --author … --note …",
        )
    if not NAME.fullmatch(name):
        raise UsageError(
            f"profile name {name!r}",
            expected="1 to 40 lower-case letters, digits, - or _, a letter first",
            action="choose another name",
        )
    exists = name in own_names(home)
    if exists and derive_from is not None:
        raise UsageError(
            f"profile {name} exists", expected="--from only for a new name", action="leave --from out, or choose another name"
        )
    if not exists and derive_from is None:
        known = ", ".join([*PRESETS, *own_names(home)])
        raise UsageError(
            f"no profile {name}",
            expected=f"--from for a new profile: one of {known}",
            action=f"add --from {next(iter(PRESETS))}",
        )
    return find_version(home, derive_from if derive_from is not None else name)


def append_version(home: Path, origin: ProfileVersion, profile: RiskProfile, note: str, clock: Clock) -> ProfileVersion:
    """Create the next version of a profile and return it; nothing is replaced, and two writers cannot both succeed.

    Args:
        home: the home folder.
        origin: what `origin_of` returned.
        profile: the new values under the profile's own name; version and time are set here.
        note: why, in a sentence.
        clock: when; never before the version it continues.

    Raises:
        GateError: nothing but name, author and time differs, or somebody else made this version meanwhile.
        EnvironmentFailure: the folder cannot be written.
    """
    same = profile.name == origin.profile.name
    number = origin.profile.version + 1 if same else 1
    now_t = max(clock.now_t(), origin.profile.created_t) if same else clock.now_t()
    ours = profile.model_copy(update={"version": number, "created_t": now_t})
    if same and same_rules(ours, origin.profile):
        raise GateError(
            f"{profile.name}@{origin.profile.version} has these values already",
            expected="a version that changes something",
            action="show it with `ballast policy show`; nothing was written",
        )
    derived = "" if same else f"{origin.profile.name}@{origin.profile.version}"
    return create_version(home, ProfileVersion.seal(ours, note, origin.entry_digest, derived))


def same_rules(a: RiskProfile, b: RiskProfile) -> bool:
    """Return whether nothing but name, version, author and time differs."""
    identity = {"name", "version", "author", "created_t"}
    return a.model_dump(exclude=identity) == b.model_dump(exclude=identity)


def create_version(home: Path, made: ProfileVersion) -> ProfileVersion:
    """Create the file of a sealed version and return it; nothing is replaced.

    Raises:
        GateError: somebody else made this version meanwhile.
        EnvironmentFailure: the folder cannot be written.
    """
    target = profiles_path(home) / made.profile.name / f"v{made.profile.version:03d}.json"
    try:
        create_bytes(target, made.canonical())
    except FileExistsError as e:
        raise GateError(
            f"{target} was made by somebody else meanwhile",
            expected="to be the next version",
            action="look at it with `ballast policy diff`, then set your change again",
        ) from e
    return made
