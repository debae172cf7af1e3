"""Which version a profile update means: a stored one, or the next one, which is stored before it governs.

What governs is always in the store of profiles under the number and digest it governs by, so that journal and store never disagree.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from runtime.adapters.live_reader import NoteRow
from runtime.control.write_models import ProfileUpdate
from runtime.core.codes import EV_POLICY
from runtime.errors import GateError, UsageError
from runtime.policy import PRESETS, ProfileVersion, RiskProfile
from runtime.profiles.store import NAME, create_version, find_version, own_names, same_rules

KEPT_N: Final = 1_000
Notes = Callable[[], Sequence[NoteRow]]


class Updates:
    """Which version each Idempotency-Key means: once found it stays, so that repeating a request never makes another one.

    Args:
        home: whose store of profiles it is.
        notes: the newest notes of the journal, newest first.
        now_t: the wall clock, seconds UTC.
    """

    def __init__(self, home: Path, notes: Notes, now_t: Callable[[], int]) -> None:
        self._home, self._notes, self._now_t = home, notes, now_t
        self._known: OrderedDict[str, ProfileVersion] = OrderedDict()

    def version(self, key: str, update: ProfileUpdate, current: RiskProfile) -> ProfileVersion:
        """Return the version that an update means; a new one is in the store when this returns.

        Args:
            key: Idempotency-Key of the request.
            update: what is asked.
            current: the profile in force.

        Raises:
            UsageError: the name of a preset, no name of a profile, or no such version.
            GateError: made from another profile than the one in force, nothing to do, or the store has another version.
        """
        found = self._known.get(key) or self._journaled(key) or self._wanted(update, current)
        self._known[key] = found
        while len(self._known) > KEPT_N:
            self._known.popitem(last=False)
        return found

    def _journaled(self, key: str) -> ProfileVersion | None:
        """Return the version of a key that was carried out before this process began."""
        for note in self._notes():
            if note.kind_id == EV_POLICY and note.command_id == key:
                return _version_of(note)
        return None

    def _wanted(self, update: ProfileUpdate, current: RiskProfile) -> ProfileVersion:
        if update.base_digest != current.digest:
            raise GateError(
                f"made from {update.base_digest[:12]}, but {current.digest[:12]} is in force: look at it first",
                expected="a change of the profile in force",
                action="read the profile again, then decide anew",
            )
        if update.version is not None:
            return self._stored(update.version)
        if update.profile is None:
            raise UsageError("no profile", expected="a version or a profile", action="give one of the two")
        return self._next(update.profile, update.note, current)

    def _stored(self, version: ProfileVersion) -> ProfileVersion:
        """Return a version that the store has exactly so."""
        name = f"{version.profile.name}@{version.profile.version}"
        if find_version(self._home, name) != version:
            raise GateError(
                f"{name} of the store is another one than this",
                expected="a version as the store has it, with its digests",
                action="see `ballast policy show`, and apply it by its name",
            )
        return version

    def _next(self, wanted: RiskProfile, note: str, current: RiskProfile) -> ProfileVersion:
        """Return the next version of a name; it is the newest one where that has these settings already."""
        if wanted.name in PRESETS or not NAME.fullmatch(wanted.name):
            preset = wanted.name in PRESETS
            raise UsageError(
                f"profile.name: {wanted.name!r} is {'a preset, which never changes' if preset else 'no name'}",
                expected="a name of your own: 1 to 40 lower-case letters, digits, - or _, a letter first",
                action=f"call it my-{wanted.name}" if preset else "choose another name",
            )
        if same_rules(wanted, current):
            raise GateError(
                f"{current.name}@{current.version} governs by these settings already: nothing to do",
                expected="settings that change something",
                action="nothing was written",
            )
        known = wanted.name in own_names(self._home)
        if wanted.name == current.name and not (known and self._in_store(current)):
            raise GateError(
                f"{current.name}@{current.version}, which governs, is not in the store of profiles",
                expected="a store that has what governs",
                action="choose another name",
            )
        origin = _Origin(current.created_t, self._entry_digest(current), f"{current.name}@{current.version}", 0)
        if known:
            newest = find_version(self._home, wanted.name)
            if same_rules(wanted, newest.profile):
                return newest
            origin = _Origin(newest.profile.created_t, newest.entry_digest, "", newest.profile.version)
        values = {"version": origin.version_n + 1, "created_t": max(self._now_t(), origin.created_t)}
        made = ProfileVersion.seal(wanted.model_copy(update=values), note, origin.entry_digest, origin.derived_from)
        return create_version(self._home, made)

    def _in_store(self, profile: RiskProfile) -> ProfileVersion | None:
        """Return the stored version that a profile is, if there is one."""
        try:
            found = find_version(self._home, profile.name, profile.version)
        except UsageError:
            return None
        return found if found.policy_digest == profile.digest else None

    def _entry_digest(self, profile: RiskProfile) -> str:
        """Return the entry digest of the profile in force; empty when it began as a bare profile."""
        stored = self._in_store(profile)
        if stored is not None:
            return stored.entry_digest
        for note in self._notes():
            if note.kind_id == EV_POLICY:
                found = _version_of(note)
                return found.entry_digest if found is not None and found.policy_digest == profile.digest else ""
        return ""


class _Origin(NamedTuple):
    """What a new version continues: the newest of its name, or for a new name the profile in force."""

    created_t: int
    entry_digest: str
    derived_from: str
    version_n: int


def _version_of(note: NoteRow) -> ProfileVersion | None:
    try:
        return ProfileVersion.model_validate_json(note.body)
    except ValidationError:
        return None
