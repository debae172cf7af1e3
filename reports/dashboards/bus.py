"""The channel of a page: one hidden model carries changed values as JSON to the browser, another carries what the operator does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Final

from bokeh.models import Div, TextInput
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MESSAGE_CHARS_MAX: Final = 2_000


class Filter(BaseModel):
    """What the timeline shows; empty text means all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asset: str = Field(default="", max_length=40)
    gate: str = Field(default="", max_length=40)
    hours: str = Field(default="", pattern=r"^[0-9]{0,4}$")
    action: str = Field(default="", max_length=20)


class Message(BaseModel):
    """What a page may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    theme: str = Field(default="", pattern=r"^(light|dark)?$")
    filter: Filter | None = None
    move: int = Field(default=0, ge=-100, le=100)
    explain: bool = False


class Bus:
    """Sends only what changed.

    Args:
        on_message: called with what the page asks for; anything malformed is dropped.
        shown: values that the first response carries.
    """

    def __init__(self, on_message: Callable[[Message], None], shown: Mapping[str, str]) -> None:
        self.out = Div(text="", visible=False, name="ballast_bus")
        self.command = TextInput(value="", visible=False, name="ballast_command")
        self._on_message = on_message
        self._shown = dict(shown)
        self._n = 0
        self.command.on_change("value", self._received)

    def send(self, values: Mapping[str, str], age_ms: int, why: str = "", **extra: object) -> None:
        """Send the values that differ from what the page shows.

        Args:
            values: by key.
            age_ms: since the daemon last answered; the page's watchdog lives on it.
            why: the daemon does not answer.
            extra: what a page's own script listens for.
        """
        changed = {key: value for key, value in values.items() if self._shown.get(key) != value and key != "age"}
        self._shown.update(changed)
        self._n += 1
        message = {"n": self._n, "v": changed, "age_ms": age_ms, "sent_ms": int(time.time() * 1000), "why": why, **extra}
        self.out.text = json.dumps(message)

    def _received(self, _name: str, _old: str, new: str) -> None:
        if not new or len(new) > MESSAGE_CHARS_MAX:
            return
        try:
            message = Message.model_validate_json(new)
        except ValidationError:
            return
        self._on_message(message)
