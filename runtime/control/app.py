"""The application: which address answers what. Every route is a few lines around `reads`, `decisions`, `writes` and `demand`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from runtime.control.answers import Answers, Stamp, forever
from runtime.control.demand import Demand
from runtime.control.events import Hub
from runtime.control.guard import Guard, Refused, asked
from runtime.control.metrics import RequestCounts, ViewCollector
from runtime.control.models import Problem
from runtime.control.reads import VERSION
from runtime.control.schema import describe
from runtime.control.security import Place, Sessions
from runtime.control.writes import Keys
from runtime.errors import BallastError
from runtime.trading.view import RuntimeView

if TYPE_CHECKING:
    from runtime.adapters.live_reader import LiveReader
    from runtime.control.settings import ControlSettings
    from runtime.control.writes import Submit

JSON: Final = "application/json"
STATUS_OF: Final = {"usage": 422, "gate": 409, "data": 404}
"""Kind of a failure -> status; everything else says that something around us is not as it must be: 503."""
TABLES_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sources:
    """Where answers come from and commands go to.

    Attributes:
        view: the desk's latest view, from any thread; `None` while there is no desk yet.
        submit: hands a command to the desk, from any thread.
        tables: the live tables.
        home, run_dir: home folder, and folder of the run.
        now_t: the wall clock, seconds UTC.
    """

    view: Callable[[], RuntimeView | None]
    submit: Submit
    tables: LiveReader
    home: Path
    run_dir: Path
    now_t: Callable[[], int]


@dataclass(slots=True)
class Desk:
    """What the routes share: sources, settings, and what is kept between requests. Used by one event loop alone."""

    sources: Sources
    settings: ControlSettings
    sessions: Sessions
    registry: CollectorRegistry
    hub: Hub
    demand: Demand
    answers: Answers = field(default_factory=Answers)
    keys: Keys = field(default_factory=Keys)
    _view: RuntimeView | None = None
    _view_n: int = 0
    _tables_n: int = 0

    def view(self) -> RuntimeView:
        """Return the desk as it stands.

        Raises:
            Refused: there is none yet.
        """
        found = self.sources.view()
        if found is None:
            problem = Problem(kind="busy", got="the desk is starting", expected="a desk", action="ask again in a moment")
            raise Refused(503, problem, [(b"retry-after", b"1")])
        if found is not self._view:
            self._view, self._view_n = found, self._view_n + 1
        return found

    async def of_view(self, request: Request, make: Callable[[RuntimeView], BaseModel]) -> Response:
        """Answer from the view; made once for each view."""
        view = self.view()

        async def content() -> bytes:
            return _json(make(view))

        return await self._answer(request, self._view_stamp, content)

    async def of_tables(self, request: Request, make: Callable[[LiveReader, RuntimeView], BaseModel]) -> Response:
        """Answer from the live tables, read in a thread; made once for each block that they take in."""
        view, tables = self.view(), self.sources.tables

        async def content() -> bytes:
            return await run_in_threadpool(lambda: _json(make(tables, view)))

        return await self._answer(request, self._tables_stamp, content)

    async def of_worker(self, request: Request, make: Callable[[], Awaitable[bytes]]) -> Response:
        """Answer from a worker; what is decided never changes, so it is made once."""
        return await self._answer(request, forever, make)

    async def _answer(self, request: Request, stamp: Stamp, make: Callable[[], Awaitable[bytes]]) -> Response:
        route = str(request.scope["route"].path)
        key = asked(request.scope["path"], request.scope["query_string"])
        return Response(await self.answers.get(key, route, stamp, make), media_type=JSON)

    def _view_stamp(self) -> int:
        self.view()
        return self._view_n

    def _tables_stamp(self) -> int:
        return self._tables_n

    async def follow_tables(self) -> None:
        """Notice when the live tables take blocks in."""
        while True:
            with suppress(BallastError):  # not there yet: whoever reads them is told
                self._tables_n = (await run_in_threadpool(self.sources.tables.watermark)).seq_n
            await asyncio.sleep(TABLES_POLL_S)


def guarded(app: FastAPI, place: Place, sessions: Sessions, settings: ControlSettings) -> Guard:
    """Return what is served: the application behind its guard, with what it answers when it breaks.

    Args:
        app: of `create_app`.
        place: the address it is served at.
        sessions, settings: as for `create_app`.
    """
    desk: Desk = app.state.desk
    return Guard(app, place, sessions, settings, RequestCounts(desk.registry), desk.answers.ready)


def create_app(sources: Sources, sessions: Sessions, settings: ControlSettings) -> FastAPI:
    """Return the application, to be served behind its guard alone.

    Args:
        sources: where answers come from and commands go to.
        sessions: who may call.
        settings: bounds.
    """
    from runtime.control.routes import add_routes

    registry = CollectorRegistry()
    registry.register(ViewCollector(sources.view))
    hub = Hub(sources.view, settings.poll_s, settings.heartbeat_s, settings.streams_max_n)
    desk = Desk(sources, settings, sessions, registry, hub, Demand(settings.demand_queue_n, settings.demand_s))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(hub.watch()), asyncio.create_task(desk.follow_tables())]
        try:
            yield
        finally:
            hub.close()
            await desk.demand.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(title="Ballast control API", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.desk = desk
    _add_handlers(app)
    add_routes(app, desk)
    describe(app)
    return app


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, e: Refused) -> Response:
        headers = {name.decode(): value.decode() for name, value in e.headers}
        return Response(_json(e.problem), e.status, headers, JSON)

    @app.exception_handler(BallastError)
    async def failed(_: Request, e: BallastError) -> Response:
        status = STATUS_OF.get(e.kind, 503)
        problem = Problem(kind=e.kind if status != 404 else "not-found", got=e.got, expected=e.expected, action=e.action)
        return Response(_json(problem), status, {"retry-after": "2"} if status == 503 else None, JSON)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, e: RequestValidationError) -> Response:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        problem = Problem(
            kind="usage", got=f"{where}: {first['msg']}", expected="a request within the schema", action=SEE_SCHEMA
        )
        return Response(_json(problem), 422, None, JSON)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, e: HTTPException) -> Response:
        got = f"{request.method} {request.url.path}: {e.detail}"
        kind = "not-found" if e.status_code == 404 else "usage"
        problem = Problem(kind=kind, got=got[:300], expected="an address and method of the schema", action=SEE_SCHEMA)
        return Response(_json(problem), e.status_code, dict(e.headers or {}), JSON)

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        problem = Problem(kind="invariant", got="a defect of the API", expected="an answer", action="report it with the log")
        return Response(_json(problem), 500, None, JSON)


SEE_SCHEMA: Final = "see GET /openapi.json, or docs/reference/api.md"


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(by_alias=True).encode("utf-8", "backslashreplace")
