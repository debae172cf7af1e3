"""What a governed notebook shows of itself under its own MIME types, so that every runtime and reader finds it again."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel

from runtime.canonical import canonical_json, digest

RESULT_MIME: Final = "application/vnd.ballast.result+json"
SPEC_MIME: Final = "application/vnd.ballast.spec+json"
SHOWN_MAX: Final = 100
"""Characters of a value in the table for people; the whole of it is under the MIME type."""
GOVERNED_MIMES: Final = (RESULT_MIME, SPEC_MIME)

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


class _Shown:
    """A JSON object with a digest, shown as a small table for people and under a MIME type of its own for programs."""

    mime: str
    title: str

    def __init__(self, content: Mapping[str, Json]) -> None:
        # through the canonical form and back: what is shown is exactly what is hashed, tuples and all
        self.content: dict[str, Json] = json.loads(canonical_json(content))
        self.sha256: Final = digest(self.content)

    def __getitem__(self, key: str) -> Json:
        return self.content[key]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:  # noqa: ARG002  IPython's call
        """Return the representations for IPython and marimo."""
        text = f"{self.title} sha256 {self.sha256}\n{json.dumps(self.content, indent=1, sort_keys=True)}"
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th><td>{html.escape(_short(value))}</td></tr>"
            for key, value in self.content.items()
        )
        page = f"<table>{rows}</table><small>{self.title} sha256 <code>{self.sha256}</code></small>"
        return {self.mime: self.content, "text/plain": text, "text/html": page}


class Result(_Shown):
    """The result of a governed notebook: its digest is compared across kernels, with the pins, and by nbval."""

    mime = RESULT_MIME
    title = "result"

    @classmethod
    def from_json(cls, content: bytes) -> Result:
        """Return the result whose content is a JSON object."""
        return cls(json.loads(content))


class ShownSpec(_Shown):
    """The validated spec of a governed notebook: its digest is the effective-parameter digest of the receipt."""

    mime = SPEC_MIME
    title = "spec"


def show_spec(spec: BaseModel) -> ShownSpec:
    """Return the view of a validated spec."""
    return ShownSpec(spec.model_dump(mode="json"))


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if len(text) <= SHOWN_MAX:
        return text
    return f"{len(value)} entries" if isinstance(value, list | dict) else f"{text[:SHOWN_MAX]}..."
