"""The addresses of the API and what each answers; see docs/reference/api.md, which is made from this."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar, cast

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from runtime.adapters.live_reader import Filters, LiveReader
from runtime.control import decision_models as d
from runtime.control import decisions, reads
from runtime.control import models as m
from runtime.control import write_models as w
from runtime.control.app import Desk
from runtime.control.demand_worker import Task, bundle_here
from runtime.control.guard import Refused, too_many_failures, unauthorised
from runtime.control.metrics import exposition
from runtime.control.profile_updates import Updates
from runtime.control.schema import request_body
from runtime.control.security import COOKIE, Caller
from runtime.control.writes import carry_out
from runtime.errors import DataError
from runtime.policy import first_problem
from runtime.profiles.leaves import json_schema
from runtime.trading import commands as c
from runtime.trading.view import RuntimeView

FAR: Final = 2**53
"""Larger than any time, block or number of a signal: what JSON carries exactly, and SQLite takes."""
Body = TypeVar("Body", bound=BaseModel)
Time = Annotated[int | None, Query(ge=0, le=FAR, description="seconds UTC, included")]
SignalId = Annotated[int, Path(ge=1, le=FAR, description="number of the signal")]
Names = Annotated[list[str] | None, Query(max_length=40, description="names as in the answer; may be given several times")]
Limit = Annotated[int, Query(ge=1, le=5_000, description="candles at most, the newest")]
Points = Annotated[int, Query(ge=4, le=5_000, description="points at most, about")]
Symbol = Annotated[str, Path(max_length=40, description="asset, as in the status")]
Key = Annotated[
    str, Header(alias="Idempotency-Key", pattern=r"^[A-Za-z0-9_-]{8,64}$", description="the same key is carried out once")
]
Responses = dict[int | str, dict[str, Any]]  # OpenAPI's own shape, as FastAPI takes it
CONFLICT: Final[Responses] = {
    409: {"model": m.Problem, "description": "the desk refused it, or the key was used for another request"}
}
UNKNOWN: Final[Responses] = {504: {"model": m.Problem, "description": "outcome unknown: repeat with the same key"}}
WRITE: Final[Responses] = {**CONFLICT, **UNKNOWN}
MISSING: Final[Responses] = {404: {"model": m.Problem, "description": "no such thing"}}
DEMAND: Final[Responses] = {
    **MISSING,
    409: {"model": m.Problem, "description": "what is computed again is not what was journaled"},
    **UNKNOWN,
}


def add_routes(app: FastAPI, desk: Desk) -> None:
    """Add every address to the application."""
    _add_process(app, desk)
    _add_portfolio(app, desk)
    _add_decisions(app, desk)
    _add_commands(app, desk)


def _add_process(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz", tags=["process"], summary="Whether the process answers (no credentials)")
    async def healthz() -> m.Health:
        return m.Health(status="ok")

    @app.get(
        "/metrics", tags=["process"], summary="Metrics in Prometheus' text format", response_class=Response, responses=TEXT
    )
    async def metrics() -> Response:
        return Response(exposition(desk.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @app.post(
        "/session", tags=["process"], summary="Open a session: launch token in, cookie out", response_model=m.SessionOpened,
        openapi_extra=request_body(w.OpenSession), responses=UNAUTHORISED,
    )  # fmt: skip
    async def session(request: Request, response: Response) -> m.SessionOpened:
        body = await _body(request, w.OpenSession)
        if not desk.sessions.opens(body.launch_token):
            if desk.sessions.failures.too_many():
                raise too_many_failures()
            raise Refused(401, unauthorised("a wrong launch token"))
        opened = desk.sessions.open()
        response.set_cookie(
            COOKIE, opened.cookie, max_age=desk.settings.session_max_t, path="/", httponly=True, samesite="strict"
        )
        return m.SessionOpened(csrf=opened.csrf, expires_t=opened.expires_t, idle_t=desk.settings.session_idle_t)

    @app.get("/runtime/status", tags=["process"], summary="Process and desk at a glance", response_model=m.Status)
    async def status(request: Request) -> Response:
        return await desk.of_view(request, reads.status)

    @app.get(
        "/events", tags=["process"], summary="Server-sent events: the desk whenever it changes", response_class=Response,
        responses=STREAM,
    )  # fmt: skip
    async def events(
        request: Request,
        last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40, description="id of the last event")] = None,
    ) -> Response:
        if desk.hub.full:
            problem = m.Problem(kind="busy", got="too many event streams", expected="a free one", action="close one, ask again")
            raise Refused(503, problem, [(b"retry-after", b"5")])
        after_n = int(last) if last is not None and re.fullmatch(r"[0-9]{1,18}", last) else -1
        key = _caller(request).session_key
        stream = desk.hub.stream(after_n, lambda: not key or desk.sessions.lives(key))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def _add_portfolio(app: FastAPI, desk: Desk) -> None:
    @app.get("/portfolio/summary", tags=["portfolio"], summary="Equity, exposure and caps", response_model=m.Summary)
    async def summary(request: Request) -> Response:
        return await desk.of_view(request, reads.summary)

    @app.get("/portfolio/assets", tags=["portfolio"], summary="Every instrument", response_model=m.Assets)
    async def assets(request: Request) -> Response:
        return await desk.of_view(request, reads.assets)

    @app.get("/portfolio/equity", tags=["portfolio"], summary="Equity over time", response_model=m.Equity)
    async def equity(request: Request, since_t: Time = None, until_t: Time = None, points: Points = 500) -> Response:
        return await desk.of_tables(request, lambda tables, _: decisions.equity(tables, since_t or 0, until_t, points))

    @app.get("/predictions/latest", tags=["portfolio"], summary="The last forecasts", response_model=m.Predictions)
    async def predictions(request: Request) -> Response:
        return await desk.of_view(request, reads.predictions)

    @app.get(
        "/assets/{symbol}/candles", tags=["portfolio"], summary="Candles with fills and refusals", response_model=d.Candles
    )
    async def candles(
        request: Request,
        symbol: Symbol,
        since_t: Time = None,
        limit: Limit = 500,
    ) -> Response:
        return await desk.of_tables(request, lambda tables, view: decisions.candles(tables, view, symbol, since_t or 0, limit))

    @app.get("/risk/profile", tags=["portfolio"], summary="The profile in force, and its schema", response_model=w.ProfileOut)
    async def profile(request: Request) -> Response:
        return await desk.of_view(
            request,
            lambda view: w.ProfileOut(current=reads.profile_ref(view), profile=view.profile, schema=json_schema()),
        )


def _add_decisions(app: FastAPI, desk: Desk) -> None:
    @app.get("/decisions/timeline", tags=["decisions"], summary="Decisions, newest first", response_model=d.Timeline)
    async def timeline(
        request: Request,
        asset: Names = None,
        action: Names = None,
        gate: Names = None,
        outlook: Names = None,
        reason: Names = None,
        refused: Annotated[bool | None, Query(description="only those that a gate refused, or only the others")] = None,
        since_t: Time = None,
        until_t: Time = None,
        cursor: Annotated[int | None, Query(ge=1, le=FAR, description="of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=1_000, description="decisions at most")] = 100,
    ) -> Response:
        def read(tables: LiveReader, view: RuntimeView) -> d.Timeline:
            gates = decisions.chosen("gate", gate or ())
            if refused is not None:
                wanted = decisions.REFUSING if refused else (decisions.PASSING,)
                gates = tuple(code for code in wanted if not gates or code in gates) or (-1,)
            filters = Filters(
                decisions.instruments(view.symbols, asset or ()), decisions.chosen("action", action or ()), gates,
                decisions.chosen("outlook", outlook or ()), decisions.chosen("reason", reason or ()), since_t, until_t,
            )  # fmt: skip
            return decisions.timeline(tables, view, filters, cursor, limit)

        return await desk.of_tables(request, read)

    @app.get(
        "/decisions/{signal_id}", tags=["decisions"], summary="One decision and all that came of it",
        response_model=d.DecisionOut, responses=MISSING,
    )  # fmt: skip
    async def decision(request: Request, signal_id: SignalId) -> Response:
        return await desk.of_tables(request, lambda tables, view: decisions.decision(decisions.found(tables, signal_id), view))

    @app.get(
        "/decisions/{signal_id}/gates", tags=["decisions"], summary="Every gate with its numbers, recomputed on demand",
        response_model=d.Gates, responses=DEMAND,
    )  # fmt: skip
    async def gates(request: Request, signal_id: SignalId) -> Response:
        return await desk.of_worker(request, lambda: _explained(desk, "gates", signal_id))

    @app.get(
        "/decisions/{signal_id}/contributions", tags=["decisions"], summary="Exact contributions of the features, on demand",
        response_model=d.Contributions, responses=DEMAND,
    )  # fmt: skip
    async def contributions(request: Request, signal_id: SignalId) -> Response:
        return await desk.of_worker(request, lambda: _explained(desk, "contributions", signal_id))


async def _explained(desk: Desk, kind: str, signal_id: int) -> bytes:
    view, sources = desk.view(), desk.sources
    found = await run_in_threadpool(decisions.found, sources.tables, signal_id)
    task: dict[str, object] = {
        "kind": kind, "home": str(sources.home), "run_dir": str(sources.run_dir), "signal_id": signal_id,
        "seq_n": found.block.seq_n, "symbol": view.symbols[found.signal["instrument_id"]],
        "gate_id": found.signal["gate_id"], "symbols": view.symbols, "interval_t": view.genesis.interval_t,
    }  # fmt: skip
    if kind == "contributions":
        forecast, bundle = found.forecast, decisions.governing_bundle(found)
        if forecast is None:
            raise DataError(
                f"decision {signal_id} acted on no forecast", expected="a decision on a forecast", action="choose another one"
            )
        task |= {
            "forecast_t": forecast.at_t, "feature_digest": forecast.feature_digest.hex(), "bundle_hash": bundle.bundle_hash,
            "bundle_id": bundle.manifest_digest or bundle.bundle_hash,
            "prob_ppm": tuple(forecast.values[f"prob_{name}_ppm"] for name in ("near", "main", "far")),
        }  # fmt: skip
    return await desk.demand.answer(Task.model_validate(task))


def _add_commands(app: FastAPI, desk: Desk) -> None:
    sources = desk.sources
    updates = Updates(sources.home, lambda: sources.tables.notes(1_000), sources.now_t)

    async def send(request: Request, key: str, model: type[Body], make: Callable[[Body, str], c.Command]) -> m.Receipt:
        body = await _body(request, model)
        desk.view()  # no command before there is a desk
        desk.keys.claim(key, request.url.path, await request.body())
        return await carry_out(make(body, _caller(request).actor), desk.sources.submit, desk.settings.receipt_s)

    @app.post(
        "/runtime/start", tags=["commands"], summary="Let market events in again", responses=WRITE,
        openapi_extra=request_body(w.Reason),
    )  # fmt: skip
    async def start(request: Request, key: Key) -> m.Receipt:
        return await send(
            request, key, w.Reason, lambda body, actor: c.StartTrading(actor=actor, command_id=key, reason=body.reason)
        )

    @app.post(
        "/runtime/stop", tags=["commands"], summary="Let no market event in; process and API stay", responses=WRITE,
        openapi_extra=request_body(w.Reason),
    )  # fmt: skip
    async def stop(request: Request, key: Key) -> m.Receipt:
        return await send(
            request, key, w.Reason, lambda body, actor: c.StopTrading(actor=actor, command_id=key, reason=body.reason)
        )

    @app.post(
        "/runtime/kill", tags=["commands"], summary="Throw or release the kill switch", responses=WRITE,
        openapi_extra=request_body(w.KillSwitch),
    )  # fmt: skip
    async def kill(request: Request, key: Key) -> m.Receipt:
        return await send(
            request, key, w.KillSwitch, lambda body, actor: c.Kill(actor=actor, command_id=key, reason=body.reason, on=body.on)
        )

    @app.post(
        "/risk/profile/update", tags=["commands"], summary="Govern by another profile from the next block on", responses=WRITE,
        openapi_extra=request_body(w.ProfileUpdate),
    )  # fmt: skip
    async def update(request: Request, key: Key) -> m.Receipt:
        def command(body: w.ProfileUpdate, actor: str) -> c.Command:
            version = updates.version(key, body, desk.view().profile)
            return c.UpdateProfile(actor=actor, command_id=key, reason=body.note, version=version, base_digest=body.base_digest)

        return await send(request, key, w.ProfileUpdate, command)

    @app.post(
        "/bundle/activate", tags=["commands"], summary="Forecast with another bundle from the next block on",
        responses={**WRITE, **MISSING}, openapi_extra=request_body(w.BundleChoice),
    )  # fmt: skip
    async def activate(request: Request, key: Key) -> m.Receipt:
        def command(body: w.BundleChoice, actor: str) -> c.Command:
            path = bundle_here(desk.sources.home, body.bundle_hash)
            return c.ActivateBundle(actor=actor, command_id=key, reason=body.reason, path=path)

        return await send(request, key, w.BundleChoice, command)


async def _body(request: Request, model: type[Body]) -> Body:
    """Return the request's body, validated from its bytes: strict types, bounded nesting.

    Raises:
        Refused: 422, with the first problem in words.
    """
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as e:
        got = first_problem(e)[:400].encode("ascii", "backslashreplace").decode()
        problem = m.Problem(kind="usage", got=got, expected="a body within the schema", action="correct it; nothing was done")
        raise Refused(422, problem) from e


def _caller(request: Request) -> Caller:
    """Return who calls, as the guard found: it lets nobody else reach these routes."""
    return cast("Caller", request.scope["caller"])


TEXT: Final[Responses] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
STREAM: Final[Responses] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    503: {"model": m.Problem, "description": "too many streams"},
}
UNAUTHORISED: Final[Responses] = {401: {"model": m.Problem, "description": "a wrong launch token"}}
