"""The base address of a provider that a person may choose: it is put on record, so nothing secret may be in it."""

from __future__ import annotations

import os
from typing import Final

from runtime.errors import UsageError

URL_OPTION: Final = "--url"
_SECRET: Final = (("@", "a user or a password (what stands before an @)"), ("?", "a query"), ("#", "a fragment"))
"""A query may hold a key or a token under any name, and a base address needs none."""


def checked_address(url: str, name: str = URL_OPTION) -> str:
    """Return a base address in which there is no place for a secret.

    Args:
        url: as given.
        name: the option or variable it comes from, for the message; the address itself is never repeated.

    Raises:
        UsageError: it holds a user, a password, a query or a fragment.
    """
    for sign, words in _SECRET:
        if sign in url:
            raise UsageError(
                f"{name} with {words} in it",
                expected="an address such as https://host:port/path: it is put on record, and credentials never are",
                action="leave it out; a key belongs into the variable or keyring that `ballast data providers` names",
            )
    return url


def base_address(url: str | None, variable: str) -> str | None:
    """Return the address given, else the one in an environment variable, else None.

    Raises:
        UsageError: it holds what could be a secret.
    """
    if url:
        return checked_address(url)
    found = os.environ.get(variable)
    return checked_address(found, variable) if found else None
