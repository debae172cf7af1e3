"""The reference of the control API, made from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from runtime.adapters.live_reader import LiveReader
from runtime.control.app import Sources, create_app
from runtime.control.routes import FAR
from runtime.control.security import Sessions
from runtime.control.settings import ControlSettings
from runtime.trading.commands import Command, Receipt

Json = dict[str, Any]  # a JSON document: its shape is OpenAPI's, not ours
TAGS: Final = {"process": "The process", "portfolio": "The portfolio", "decisions": "Decisions", "commands": "Commands"}
INTRO: Final = """\
The control API of a running daemon: loopback only, JSON. Its address and launch token stand in `HOME/runtime/endpoint.json`, which only
its owner can read. Why it is as it is: [ADR 0019](../adr/0019-control-api.md). The same as a machine reads it: `GET /openapi.json`.

Money, prices and quantities (`_e8`) are decimal integers as text, since JSON numbers end at 2**53; `_t` is seconds and `_ms` milliseconds
since 1970-01-01 UTC, `_ppm` 1e-6, `_ppb` 1e-9, `_n` a count; beside each `_id` stands its name.

## Credentials

- **Tools** send `Authorization: Bearer <launch token>`; the journal says that `cli` did it.
- **Browsers** exchange the launch token for a cookie (`POST /session`: HttpOnly, SameSite=Strict) and send `X-CSRF-Token` with every
  write; the journal says `operator:` and the beginning of the session's hash. A session ends after half an hour without a request, and
  after twelve hours in any case.
- `Host` must be `127.0.0.1`, `localhost` or `[::1]` with the port; `Origin`, where there is one, must be ours. There are no CORS headers.
- Every command carries an `Idempotency-Key` of its own making, 8 to 64 of `A-Z a-z 0-9 _ -`: the same key is carried out once and answers
  the same receipt, also after a restart. After 504 the outcome is not known: repeat the request with the same key.

## Failures

Every failure is a [Problem](#problem). Beside what an address lists:

| status | meaning |
| --- | --- |
"""
EVENTS: Final = """\
Each event is named `head`, has the number of the last block as its id, and carries a [StreamEvent](#streamevent): a state, not a change,
so that a slow client gets the newest one and misses nothing that matters. While nothing changes a comment comes every two seconds.
"""


def api_page() -> str:
    """Return the reference page."""
    document = openapi_document()
    lines = [INTRO.rstrip("\n")]
    common = _common()
    lines += [f"| {status} | {words} |" for status, words in common.items()]
    for tag, heading in TAGS.items():
        lines += ["", f"## {heading}"]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if operation["tags"] == [tag]:
                    lines += _operation(path, method, operation, common)
    lines += ["", "## Shapes", "", "In alphabetical order. A field that may be null says so."]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _shape(name, schema)
    return "\n".join([*lines, ""])


def openapi_document() -> Json:
    """Return the OpenAPI document of an API that nobody serves."""

    def nobody(_: Command) -> Future[Receipt]:
        return Future()

    here, settings = Path(), ControlSettings()
    sources = Sources(lambda: None, nobody, LiveReader(here), here, here, lambda: 0)
    app = create_app(sources, Sessions("", lambda: 0, settings), settings)
    return app.openapi()


def _common() -> dict[str, str]:
    """Return the failures that every address may have, by status."""
    from runtime.control.schema import COMMON, FOR_READS, FOR_WRITES

    return dict(sorted({**COMMON, **{s: f"{w} (writes)" for s, w in FOR_WRITES.items()}, **FOR_READS}.items()))


def _operation(path: str, method: str, operation: Json, common: dict[str, str]) -> Iterator[str]:
    yield from ("", f"### {method.upper()} {path}", "", f"{operation['summary']}.")
    if path == "/events":
        yield from ("", EVENTS.rstrip("\n"))
    body = operation.get("requestBody")
    if body is not None:
        yield from ("", f"Body: {_kind(body['content']['application/json']['schema'])}.")
    parameters = [p for p in operation.get("parameters", ()) if p["name"] != "Idempotency-Key"]
    if parameters:
        yield from ("", "| parameter | in | type | meaning |", "| --- | --- | --- | --- |")
        for p in parameters:
            needed = "" if not p["required"] or p["in"] == "path" else ", needed"
            yield f"| `{p['name']}` | {p['in']} | {_kind(p['schema'])}{needed} | {_words(p)} |"
    yield ""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if status == "200":
            kinds = [f"{_kind(c['schema'])}" if kind == "application/json" else f"`{kind}`" for kind, c in content.items()]
            yield f"Answers {', '.join(kinds)}."
        elif status not in common:
            yield f"{status}: {response['description']}."


def _shape(name: str, schema: Json) -> Iterator[str]:
    yield from ("", f"### {name}", "", schema.get("description", "").partition("\n\n")[0])
    yield from ("", "| field | type | meaning |", "| --- | --- | --- |")
    for field, about in schema.get("properties", {}).items():
        optional = "" if field in schema.get("required", ()) else ", may be left out" if "default" in about else ""
        yield f"| `{field}` | {_kind(about)}{optional} | {_words(about)} |"


def _words(about: Json) -> str:
    return str(about.get("description", "")).replace("|", "\\|").replace("\n", " ")


def _kind(schema: Json) -> str:
    """Return the type of a value in words, with its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items") or {"type": "several kinds"}
        return f"list of {_kind(items)}"
    if kind == "string" and schema.get("pattern", "").startswith("^(0|-?"):
        return "integer as text"
    low, high = schema.get("minimum"), schema.get("maximum")
    high = None if high == FAR else high
    if low is not None and high is not None:
        return f"{kind}, {low:,} to {high:,}"
    return f"{kind}, {low:,} or more" if low is not None else str(kind)
