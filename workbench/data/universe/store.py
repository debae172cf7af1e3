"""Universe versions and the record each has: those that ship with the package, and one's own in `HOME/universes`.

A version is never edited. One of one's own is a file `HOME/universes/VERSION.json`: canonical JSON with the TOML text as it was
given, who added it, when, why, which version it takes the place of, and the digest of all of this. It is created once and never
replaced; every load verifies it.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.canonical import canonical_json, digest
from runtime.errors import DataError, GateError, UsageError, VerificationError
from runtime.files import create_bytes
from workbench.data.universe.checks import VERSION_NAME, problems
from workbench.data.universe.versions import Universe, load_universe, parse_universe, shipped_versions

RECORDS_NAME: Final = "universe_records.toml"
TEXT_MAX: Final = 1_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionRecord(_Frozen):
    """Who decided a version, when and why.

    Attributes:
        version: its name.
        digest: of its content (`Universe.digest`).
        author, decided_on, reason: who, when (UTC), why.
        supersedes: the version it takes the place of; empty for the first.
        shipped: it came with the package.
    """

    version: str
    digest: str
    author: str
    decided_on: date
    reason: str
    supersedes: str
    shipped: bool


class _ShippedRecord(_Frozen):
    version: str
    digest: str
    file_sha256: str
    author: str
    decided_on: date
    reason: str
    supersedes: str


class _OwnFile(_Frozen):
    """The content of `HOME/universes/VERSION.json`."""

    record_sha256: str
    version: str
    digest: str
    author: str
    written_t: int
    reason: str
    supersedes: str
    supersedes_digest: str
    toml: str

    def computed(self) -> str:
        """Return the digest this record has."""
        return digest(self.model_dump(mode="json", exclude={"record_sha256"}))


def universes_dir(home: Path) -> Path:
    """Return the folder of one's own versions."""
    return home / "universes"


def own_versions(home: Path) -> tuple[str, ...]:
    """Return the names of one's own versions, in alphabetical order."""
    folder = universes_dir(home)
    return tuple(sorted(p.stem for p in folder.glob("*.json") if not p.name.startswith("."))) if folder.is_dir() else ()


def shipped_records() -> tuple[_ShippedRecord, ...]:
    """Return the records of the versions that ship with the package."""
    text = Path(__file__).with_name(RECORDS_NAME).read_text(encoding="utf-8")
    return tuple(_ShippedRecord.model_validate(r) for r in tomllib.loads(text)["records"])


def find_universe(home: Path, name: str = "v1") -> tuple[Universe, VersionRecord]:
    """Return a version by name, verified against its record.

    Raises:
        UsageError: no version has this name.
        VerificationError: it does not match its record, or takes the name of one that ships.
        DataError: its file is not one this version of ballast wrote.
    """
    if name in shipped_versions():
        if name in own_versions(home):
            raise VerificationError(
                f"{universes_dir(home) / name}.json takes the name of a version that ships",
                expected="versions of the release to come from the release alone",
                action="move the file away",
            )
        return _shipped(name)
    if name not in own_versions(home):
        raise UsageError(
            f"no universe version {name!r}",
            expected="one of " + ", ".join((*shipped_versions(), *own_versions(home))),
            action="list them with `ballast universe list`, or add yours with `ballast universe add`",
        )
    return _own(home, name)


def universe_of(home: Path, name: str, universe_digest: str) -> Universe:
    """Return the version that a manifest names.

    Raises:
        UsageError, VerificationError, DataError: as `find_universe`; or the version has another digest than the manifest says.
    """
    universe, _ = find_universe(home, name)
    if universe.digest != universe_digest:
        raise VerificationError(
            f"universe {name} has the digest {universe.digest}",
            expected=f"{universe_digest}, as the manifest says",
            action="restore that version, or build the dataset again",
        )
    return universe


def _shipped(name: str) -> tuple[Universe, VersionRecord]:
    universe = load_universe(name)
    record = next((r for r in shipped_records() if r.version == name), None)
    if record is None or record.digest != universe.digest:
        raise VerificationError(
            f"universe {name} has the digest {universe.digest}",
            expected="a record with this digest" if record is None else record.digest,
            action="install this release again: its files do not belong together",
        )
    return universe, VersionRecord(**record.model_dump(exclude={"file_sha256"}), shipped=True)


def _own(home: Path, name: str) -> tuple[Universe, VersionRecord]:
    path = universes_dir(home) / f"{name}.json"
    try:
        stored = _OwnFile.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as e:
        raise DataError(
            f"{path.name}: {str(e).splitlines()[0]}", expected="a universe version", action="restore it from a backup"
        ) from e
    universe = parse_universe(stored.toml, path.name)
    expected = {"record_sha256": stored.computed(), "version": universe.version, "digest": universe.digest}
    found = {key: getattr(stored, key) for key in expected}
    if found != expected or stored.version != name:
        key = next((k for k in expected if found[k] != expected[k]), "version")
        raise VerificationError(
            f"universe {name} was altered: {key} {found[key]}",
            expected=expected[key] if found[key] != expected[key] else name,
            action="restore it from a backup; a change is a new version (`ballast universe add`)",
        )
    before, _ = find_universe(home, stored.supersedes)
    if before.digest != stored.supersedes_digest:
        raise VerificationError(
            f"universe {stored.supersedes} has the digest {before.digest}",
            expected=f"{stored.supersedes_digest}, which {name} took the place of",
            action="restore it from a backup",
        )
    record = VersionRecord(
        version=name,
        digest=stored.digest,
        author=stored.author,
        decided_on=datetime.fromtimestamp(stored.written_t, UTC).date(),
        reason=stored.reason,
        supersedes=stored.supersedes,
        shipped=False,
    )
    return universe, record


def read_candidate(file: Path) -> tuple[Universe, str]:
    """Return the universe in a file and its text.

    Raises:
        DataError: it cannot be read, is not a universe, or breaks a rule; every broken rule is named.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"cannot read {file}: {e}", expected="a readable TOML file", action="correct the path") from e
    universe = parse_universe(text, file.name)
    wrong = problems(universe)
    if wrong:
        raise DataError(
            f"{file.name}: {'; '.join(wrong[:8])}" + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""),
            expected="a version without contradictions",
            action="correct the file; see docs/reference/universe.md",
        )
    return universe, text


def add_universe(
    home: Path, file: Path, *, author: str, reason: str, now_t: int, supersedes: str = ""
) -> tuple[Universe, VersionRecord]:
    """Add a version of one's own with its record; nothing is ever replaced.

    Args:
        home: the home folder.
        file: TOML in the form of `universe_v1.toml`, with a version name of its own.
        author, reason: who adds it, and why.
        now_t: the time now, seconds UTC.
        supersedes: the version it takes the place of; default the newest: the one added last, else the last that ships.

    Raises:
        UsageError: the name is taken or no name, or author or reason say nothing.
        DataError: the file is no valid universe.
        GateError: its content is that of a version on record: a change without a change.
        VerificationError: a version on record was altered.
    """
    for option, text in (("--author", author), ("--reason", reason)):
        if not text.strip() or len(text) > TEXT_MAX or not text.isprintable():
            raise UsageError(
                f"{option} {text!r:.80}", expected=f"1 to {TEXT_MAX} characters on one line", action="say who and why"
            )
    universe, text = read_candidate(file)
    known = {name: find_universe(home, name)[0] for name in (*shipped_versions(), *own_versions(home))}
    if universe.version in known or not VERSION_NAME.fullmatch(universe.version):
        raise UsageError(
            f"version {universe.version!r} exists",
            expected="a new name; versions are " + ", ".join(known),
            action="a change is a new version: give the file another `version`",
        )
    same = next((n for n, u in known.items() if _content(u) == _content(universe)), None)
    if same is not None:
        raise GateError(
            f"{file.name} says what {same} says", expected="a version that differs", action=f"use {same}: `--universe {same}`"
        )
    before = supersedes or newest_version(home)
    if before not in known:
        raise UsageError(f"--supersedes {before}", expected="one of " + ", ".join(known), action="choose a version on record")
    unsigned = _OwnFile(
        record_sha256="",
        version=universe.version,
        digest=universe.digest,
        author=author,
        written_t=now_t,
        reason=reason,
        supersedes=before,
        supersedes_digest=known[before].digest,
        toml=text,
    )
    stored = unsigned.model_copy(update={"record_sha256": unsigned.computed()})
    try:
        create_bytes(universes_dir(home) / f"{universe.version}.json", canonical_json(stored.model_dump(mode="json")))
    except FileExistsError as e:
        raise UsageError(f"version {universe.version!r} exists", expected="a new name", action="choose another") from e
    return find_universe(home, universe.version)


def newest_version(home: Path) -> str:
    """Return the version that nothing takes the place of: the one added last, else the last that ships."""
    own = own_versions(home)
    if not own:
        return shipped_versions()[-1]
    written = {
        name: _OwnFile.model_validate_json((universes_dir(home) / f"{name}.json").read_bytes()).written_t for name in own
    }
    return max(own, key=lambda n: (written[n], n))


def _content(universe: Universe) -> str:
    return digest(universe.model_dump(mode="json", exclude={"version"}))
