"""The settings of the daemon: HOME/runtime/settings.toml, overridden by the environment, overridden by options. No secrets.

None of them decides: what decides is governed (the profile) or fixed in the genesis. Their digest stands in each SESSION note, so that
the journal shows under which settings it was written.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from runtime.canonical import canonical_json, sha256_hex
from runtime.core.records import E8
from runtime.errors import DataError, UsageError
from runtime.ops.lock import runtime_path
from runtime.policy import first_problem
from runtime.trading.settings import TradingSettings

SETTINGS_NAME: Final = "settings.toml"
KRAKEN_URL: Final = "https://api.kraken.com"
VENUE_VARIABLE: Final = "BALLAST_KRAKEN_URL"
"""The variable that `ballast kraken serve` prints and that the data providers read too."""
VARIABLES: Final = {
    "venue": VENUE_VARIABLE,
    "account_id": "BALLAST_RUNTIME_ACCOUNT_ID",
    "profile": "BALLAST_RUNTIME_PROFILE",
    "port": "BALLAST_RUNTIME_PORT",
}
"""Setting -> the environment variable that overrides the file."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
PROFILE: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}(?:@[1-9][0-9]{0,8})?")
Amount = Annotated[str, Field(pattern=r"^(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,8})?$")]


class StartCash(BaseModel):
    """What a new paper account begins with, by quote currency, in decimal text. Quote ids follow this order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    USD: Amount = Field(default="10000", description="decimal text, up to eight decimals")
    CAD: Amount = "0"
    USDC: Amount = "0"

    def amounts_e8(self) -> tuple[int, ...]:
        """Return the amounts in 1e-8 units by quote id."""
        return tuple(_e8(amount) for amount in (self.USD, self.CAD, self.USDC))


class LogSettings(BaseModel):
    """How much log is kept, and how much is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    bytes_max: int = Field(default=10_000_000, ge=10_000, le=1_000_000_000, description="size at which a file is rotated")
    files_n: int = Field(default=5, ge=1, le=100, description="rotated files that are kept")


class RuntimeSettings(BaseModel):
    """Everything an operator may set about the daemon."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    venue: str = Field(default=KRAKEN_URL, max_length=200, description="base address of the venue's REST interface")
    account_id: int = Field(default=1, ge=1, le=2**31 - 1, description="which paper account; each has a chain of its own")
    profile: str = Field(default="conservative", description="profile a new account begins with: NAME or NAME@VERSION")
    port: int = Field(default=0, ge=0, le=65_535, description="port of the control API on 127.0.0.1; 0 takes a free one")
    start_cash: StartCash = StartCash()
    trading: TradingSettings = TradingSettings()
    log: LogSettings = LogSettings()

    @field_validator("venue")
    @classmethod
    def _venue_is_an_address(cls, venue: str) -> str:
        return venue_address(venue)

    @field_validator("profile")
    @classmethod
    def _profile_is_a_name(cls, profile: str) -> str:
        if not PROFILE.fullmatch(profile):
            raise ValueError("must be NAME or NAME@VERSION")
        return profile

    @property
    def simulated(self) -> bool:
        """Whether the venue is anything but Kraken's public address."""
        return self.venue != KRAKEN_URL

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))

    @classmethod
    def load(cls, home: Path, options: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings of a home folder.

        Args:
            home: the home folder; a missing file means the defaults.
            options: what the command line says; `None` says nothing.
            environment: variables of the process, by the names in `VARIABLES`.

        Raises:
            DataError: the file is not TOML, or a setting in it is wrong; the message names file and setting.
            UsageError: an option or a variable is wrong; the message names it.
        """
        path = runtime_path(home) / SETTINGS_NAME
        found = _read(path)
        _validated(cls, found, str(path))
        for name, variable in VARIABLES.items():
            if environment.get(variable):
                found[name] = _number(environment[variable]) if name in ("account_id", "port") else environment[variable]
                _validated(cls, found, variable)
        for name, value in options.items():
            if value is not None:
                found[name] = value
                _validated(cls, found, f"--{name.replace('_', '-')}")
        return cls.model_validate(found)


def venue_address(venue: str) -> str:
    """Return a venue's base address in its one form.

    Raises:
        ValueError: it is no address, carries what may be a secret, or is plain HTTP to another machine.
    """
    if not venue.isprintable() or any(c.isspace() for c in venue):
        raise ValueError("must be an address without spaces")
    try:
        parts = urlsplit(venue)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise ValueError("must be an address such as https://api.kraken.com") from e
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("must begin with https:// (http:// on this machine)")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValueError("must be scheme, host and port alone: no user, path or query")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ValueError("plain http is for this machine only (127.0.0.1); use https")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port is not None else ''}"


def _e8(amount: str) -> int:
    whole, _, part = amount.partition(".")
    return int(whole) * E8 + int(part.ljust(8, "0") or "0")


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else text


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise DataError(
            f"cannot read {path}: {e}", expected="TOML, as docs/reference/runtime-settings.md shows", action="correct the file"
        ) from e


def _validated(cls: type[RuntimeSettings], found: Mapping[str, object], source: str) -> None:
    try:
        cls.model_validate(found)
    except ValidationError as e:
        kind = DataError if source.endswith(SETTINGS_NAME) else UsageError
        raise kind(
            f"{source}: {first_problem(e)}",
            expected="a setting within its bounds",
            action="see docs/reference/runtime-settings.md",
        ) from e
