"""What an operator's command becomes: one event, or a refusal that says why."""

from __future__ import annotations

from typing import NamedTuple

from runtime import event as events
from runtime.core.codes import KILL_INTERNAL, KILL_OPERATOR, SWITCH_HALT, SWITCH_KILL, SWITCH_RELEASE_TIER, TIER_HALT20
from runtime.desk import Desk
from runtime.event import BundleNote, Event, Note, SessionNote
from runtime.policy import RiskProfile
from runtime.trading.commands import (
    ActivateBundle,
    Command,
    Halt,
    Kill,
    ReleaseTier,
    StartTrading,
    StopTrading,
    UpdateProfile,
)


class Refused(NamedTuple):
    """Why a command is not carried out."""

    reason: str


def event_of(command: Command, desk: Desk, at_t: int, session: SessionNote, *, running: bool) -> Event | Refused:
    """Return the event that a command is. A bundle's needs the loaded bundle: see `bundle_event`.

    Args:
        command: what is asked.
        desk: as it stands.
        at_t: time of the event.
        session: what this process is.
        running: whether trading runs.
    """
    note = Note(actor=command.actor, reason=command.reason, command_id=command.command_id)
    match command:
        case StartTrading() | StopTrading():
            starts = isinstance(command, StartTrading)
            if starts == running:
                return Refused("trading runs already" if running else "trading is stopped already")
            return session_event(at_t, note, session, "start" if starts else "stop")
        case UpdateProfile():
            return _policy_event(command, desk.profile, at_t, note)
        case ActivateBundle():
            return Refused("the bundle is not loaded")
        case Kill() | Halt() | ReleaseTier():
            return _switch_event(command, desk, at_t, note)


def _switch_event(command: Kill | Halt | ReleaseTier, desk: Desk, at_t: int, note: Note) -> Event | Refused:
    if isinstance(command, Halt):
        return events.control(at_t, SWITCH_HALT, int(command.on), note)
    if isinstance(command, ReleaseTier):
        if desk.state[0]["desk"]["tier_id"] != TIER_HALT20:
            return Refused("the drawdown tier is not HALT20: every other tier is left by recovering")
        return events.control(at_t, SWITCH_RELEASE_TIER, 0, note)
    if not command.on and desk.state[0]["desk"]["kill_n"] == 0:
        return Refused("the kill switch is off already: nothing to release")
    if command.on and not KILL_OPERATOR <= command.cause <= KILL_INTERNAL:
        return Refused(f"unknown cause {command.cause}")
    return events.control(at_t, SWITCH_KILL, command.cause if command.on else 0, note)


def session_event(at_t: int, note: Note, session: SessionNote, cause: str) -> Event:
    """Return the start or stop of trading by this process."""
    told = note.model_copy(update={"session": session.model_copy(update={"cause": cause})})
    return events.session(at_t, told, started=cause != "stop")


def bundle_event(command: ActivateBundle, bundle: BundleNote, at_t: int, bundles_n: int) -> Event:
    """Return the activation of a loaded bundle."""
    note = Note(actor=command.actor, reason=command.reason, command_id=command.command_id, bundle=bundle)
    return events.bundle(at_t, bundles_n + 1, note)


def _policy_event(command: UpdateProfile, current: RiskProfile, at_t: int, note: Note) -> Event | Refused:
    """Return the change of profile, which must be made from the one in force; the version governs as it was sealed."""
    version = command.version
    profile = version.profile
    if command.base_digest != current.digest:
        return Refused(
            f"made from {command.base_digest[:12] or 'nothing'}, but {current.digest[:12]} is in force: look at it first"
        )
    if version.policy_digest != profile.digest or version.entry_digest != version.computed_digest():
        return Refused("the version's digests are not its own")
    if version.policy_digest == current.digest:
        return Refused(f"{profile.name}@{profile.version} governs already: nothing to do")
    return events.policy(at_t, note.model_copy(update={"profile": version}))
