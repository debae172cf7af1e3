"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know: bodies, credentials, common failures."""

from __future__ import annotations

from typing import Any, Final, cast

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from runtime.control import write_models as w
from runtime.control.events import StreamEvent
from runtime.control.models import Problem
from runtime.control.security import COOKIE

REF: Final = "#/components/schemas/{model}"
BODIES: Final = (w.OpenSession, w.Reason, w.KillSwitch, w.ProfileUpdate, w.BundleChoice)
DESCRIPTION: Final = (
    "The control API of a running daemon, on loopback only. Money, prices and quantities (`_e8`) are decimal integers as text; `_t` "
    "is seconds and `_ms` milliseconds UTC, `_ppm` 1e-6, `_n` a count; beside each `_id` stands its name."
)
COMMON: Final = {
    "401": "no or wrong credentials", "403": "another Host or Origin, or no CSRF token", "422": "not within the schema",
    "429": "too many wrong credentials", "503": "there is no desk yet, or something around it fails; see Retry-After",
}  # fmt: skip
FOR_WRITES: Final = {"413": "body too large", "415": "not application/json"}
FOR_READS: Final = {"400": "a body where there is none"}
OPEN: Final = ("/healthz", "/session")

Json = dict[str, Any]  # a JSON document: its shape is OpenAPI's, not ours


def request_body(model: type[BaseModel]) -> Json:
    """Return what a route's documentation says of its body; the body itself is validated from its bytes."""
    reference = {"$ref": REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def describe(app: FastAPI) -> None:
    """Complete the application's OpenAPI document."""
    derived = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(derived())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of extending it


def _completed(document: Json) -> Json:
    document["info"]["description"] = DESCRIPTION
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, made = models_json_schema([(model, "validation") for model in (*BODIES, Problem, StreamEvent)], ref_template=REF)
    for name, schema in made["$defs"].items():
        schemas.setdefault(name, schema)
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["securitySchemes"] = {
        "launchToken": {"type": "http", "scheme": "bearer", "description": "from the endpoint file of the daemon (0600)"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "from POST /session; writes need X-CSRF-Token",
        },
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete(path, method, cast("Json", operation))
    return document


def _complete(path: str, method: str, operation: Json) -> None:
    if path not in OPEN:
        operation["security"] = [{"launchToken": []}, {"session": []}]
    failures = COMMON | (FOR_WRITES if method == "post" else FOR_READS)
    if path == "/healthz":
        failures = {status: failures[status] for status in ("400", "403")}
    content = {"application/json": {"schema": {"$ref": REF.format(model=Problem.__name__)}}}
    for status, words in failures.items():
        found = operation["responses"].get(status, {})
        if status == "422" or "content" not in found:
            operation["responses"][status] = {"description": words, "content": content}
    if "422" not in failures:
        operation["responses"].pop("422", None)
    operation["responses"] = dict(sorted(operation["responses"].items()))
