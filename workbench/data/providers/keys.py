"""API keys of data providers: from the environment, else from the keyring of the operating system. Never stored, never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from runtime.errors import EnvironmentFailure

SERVICE: Final = "ballast"


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where one provider's key is looked for: an environment variable, then the keyring entry of service `ballast`."""

    name: str
    variable: str


COINAPI: Final = KeyPlace("coinapi", "BALLAST_COINAPI_KEY")


class Key:
    """A secret that no message, log or repr shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Key(hidden)"

    def reveal(self) -> str:
        """Return the text, for the header of a request alone."""
        return self._text


def find_key(place: KeyPlace) -> Key | None:
    """Return a provider's key, or None where there is none."""
    text = os.environ.get(place.variable, "").strip() or (_from_keyring(place) or "").strip()
    return Key(text) if text else None


def need_key(place: KeyPlace) -> Key:
    """Return a provider's key.

    Raises:
        EnvironmentFailure: there is none, or it holds characters no key has.
    """
    key = find_key(place)
    wrong = "no key" if key is None else "" if key.reveal().isascii() and key.reveal().isprintable() else "an unreadable key"
    if key is None or wrong:
        raise EnvironmentFailure(
            f"{wrong} for {place.name}",
            expected=f"a key in the keyring (service {SERVICE}, name {place.name}) or in {place.variable}",
            action=f"store it with `keyring set {SERVICE} {place.name}`, or set {place.variable} for this command",
        )
    return key


def _from_keyring(place: KeyPlace) -> str | None:
    import keyring
    import keyring.errors

    try:
        return keyring.get_password(SERVICE, place.name)
    except keyring.errors.KeyringError:  # no keyring on this machine, or it is locked: the environment is the other place
        return None
