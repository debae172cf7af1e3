"""The reference page of the daemon's settings, made from the model."""

from __future__ import annotations

import json
from typing import Final

from pydantic import BaseModel

from runtime.settings import VARIABLES, RuntimeSettings

OPTIONS: Final = {"venue": "--venue", "account_id": "--account", "profile": "--profile", "port": "--port"}
COMMENT_COLUMN: Final = 36
INTRODUCTION: Final = """\
`HOME/runtime/settings.toml`. Every setting has a default, so the file may be missing or name a few. The environment overrides the
file, an option of `ballast runtime run` or `start` overrides the environment. A mistake stops the start with exit code 3 (the file) or 2
(a variable or option), naming the setting. These settings say how the daemon listens; what decides is the governed
[profile](policy.md). Their digest stands in the note of every SESSION event.

There are no secrets in it: an address with a user, a password or a query is refused. All settings with their defaults:
"""
ACCOUNT: Final = """\
What belongs to an account is fixed when it is made: its kind of venue, symbols, pair rules, start cash. `profile` and `start_cash` are read
for a new account only; later the profile changes by `ballast runtime profile`, as an event. An account that was begun on a
simulated venue is refused on the real one, and the other way round: choose another `account_id`.

A venue that is not `https://api.kraken.com` makes the account a simulated one for good. Its days never count as paper days.
"""


def settings_page() -> str:
    """Return the page without its head line."""
    lines = list(_table(RuntimeSettings(), RuntimeSettings))
    overridden = [f"| `{name}` | `{variable}` | `{OPTIONS[name]}` |" for name, variable in VARIABLES.items()]
    return "\n".join([
        "# Settings of the daemon", "", INTRODUCTION, "```toml", *lines, "```", "", "| setting | environment | option |",
        "| --- | --- | --- |", *overridden, "", ACCOUNT,
    ])  # fmt: skip


def _table(values: BaseModel, model: type[BaseModel], name: str = "") -> list[str]:
    """Return the TOML of a table: its own settings first, then the tables below it."""
    lines, below = [f"\n[{name}]"] if name else [], []
    for field, about in model.model_fields.items():
        value = getattr(values, field)
        if isinstance(value, BaseModel):
            below += _table(value, type(value), field)
            continue
        setting = f"{field} = {json.dumps(value)}"
        lines.append(f"{setting:<{COMMENT_COLUMN}} # {about.description}" if about.description else setting)
    return lines + below
