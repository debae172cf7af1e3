"""The control interface of a running venue: virtual time, faults, status, connections. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.adapters.local_kraken.faults import parse_switch
from runtime.adapters.local_kraken.limits import RateRule
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.rest import Mode
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.adapters.local_kraken.server import Venue

Json = dict[str, object]
BY_S_MAX: Final = 1e12
NOW_WAIT_S: Final = 10.0
"""How long `GET /control/now?after_ns=N` waits for a time that stands still, in real time."""
TIME_NS_MAX: Final = 253_402_300_799 * NS
"""The end of the year 9999."""


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Advance(_Command):
    """Move time on: to a time, or by seconds. One of the three."""

    to_ns: int | None = None
    to: datetime | None = None
    by_s: float | None = None
    flush: bool = True
    """Whether the answer waits until every WebSocket message was written; else until it was queued."""

    def target_ns(self, now_ns: int) -> int:
        """Return the time to go to.

        Raises:
            UsageError: none or several of the three are given, the time is out of bounds or has no zone.
        """
        given = [value for value in (self.to_ns, self.to, self.by_s) if value is not None]
        if len(given) != 1 or (self.to is not None and self.to.tzinfo is None):
            raise UsageError("no single time", expected='one of "to_ns", "to" (ISO with zone), "by_s"', action="give one")
        if self.by_s is not None:
            target_ns = now_ns + int(self.by_s * NS) if 0 <= self.by_s <= BY_S_MAX else -1
        elif self.to is not None:
            target_ns = int(self.to.replace(microsecond=0).timestamp()) * NS + self.to.microsecond * 1_000
        else:
            target_ns = self.to_ns or 0
        if not now_ns <= target_ns <= TIME_NS_MAX:
            raise UsageError(
                f"the time {target_ns} ns", expected=f"not before the virtual time, {now_ns} ns", action="time never goes back"
            )
        return target_ns


class Speed(_Command):
    """Let time run."""

    speed: float


class Faults(_Command):
    """Turn switches on, in the form of the command line."""

    add: list[str]


class Status(_Command):
    """Change the venue's mode, or its rate limit (`burst_n` 0 removes it)."""

    mode: Mode | None = None
    burst_n: int | None = None
    call_ns: int = NS


class Control:
    """The routes below /control."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def add_routes(self, app: web.Application) -> None:
        """Add them."""
        app.router.add_get("/control/now", self._now_after)
        app.router.add_post("/control/advance", _answering(self._advance))
        app.router.add_post("/control/speed", _answering(self._speed))
        app.router.add_get("/control/faults", _answering(self._faults))
        app.router.add_post("/control/faults", _answering(self._add_faults))
        app.router.add_delete("/control/faults", _answering(self._clear_faults))
        app.router.add_get("/control/status", _answering(self._status))
        app.router.add_post("/control/status", _answering(self._set_status))
        app.router.add_post("/control/drop", _answering(self._drop))

    async def _now_after(self, request: web.Request) -> web.StreamResponse:
        """Answer the time; with `after_ns` once it has passed that, or stands still for a while."""
        after = request.query.get("after_ns", "")
        if after.lstrip("-").isdecimal():
            await self._venue.passed(int(after), NOW_WAIT_S)
        elif after:
            return web.json_response({"error": f"after_ns {after!r}: a whole number of nanoseconds is expected"}, status=400)
        return web.json_response(await self._now(b""))

    async def _now(self, _body: bytes) -> Json:
        now_ns = self._venue.tick()
        iso = datetime.fromtimestamp(now_ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"now_ns": now_ns, "now": iso, "speed": self._venue.clock.speed}

    async def _advance(self, body: bytes) -> Json:
        venue = self._venue
        wanted = Advance.model_validate_json(body)
        await venue.advance(wanted.target_ns(venue.tick()), flush=wanted.flush)
        return await self._now(b"")

    async def _speed(self, body: bytes) -> Json:
        self._venue.clock.set_speed(Speed.model_validate_json(body).speed)
        self._venue.wake()
        return await self._now(b"")

    async def _faults(self, _body: bytes) -> Json:
        faults = self._venue.faults
        switches = [
            {
                "fault": s.fault.value,
                "place": s.place,
                "every_n": s.every_n,
                "probability_ppm": s.probability_ppm,
                "next_n": s.next_n,
            }
            for s in faults.switches
        ]
        return {"seed": faults.seed, "switches": switches, "injected": faults.counts()}

    async def _add_faults(self, body: bytes) -> Json:
        for switch in [parse_switch(text) for text in Faults.model_validate_json(body).add]:
            self._venue.faults.add(switch)
        return await self._faults(b"")

    async def _clear_faults(self, _body: bytes) -> Json:
        self._venue.faults.clear()
        return await self._faults(b"")

    async def _status(self, _body: bytes) -> Json:
        venue = self._venue
        return {
            "mode": venue.rest.mode.value,
            "pairs": [pair.altname for pair in venue.market.pairs],
            "first_ns": venue.market.first_ns,
            "last_ns": venue.market.last_ns,
            "seed": venue.market.seed,
            "calls": dict(sorted(venue.rest.calls.items())),
            "refused_n": venue.rest.limit.refused_n,
            "connections_n": len(venue.hub.connections),
            "messages_n": venue.hub.queued_n,
        }

    async def _set_status(self, body: bytes) -> Json:
        wanted, rest = Status.model_validate_json(body), self._venue.rest
        if wanted.mode is not None:
            rest.mode = wanted.mode
            self._venue.hub.announce(wanted.mode.value)
        if wanted.burst_n is not None:
            rest.limit.rule = RateRule(wanted.burst_n, wanted.call_ns) if wanted.burst_n > 0 else None
        return await self._status(b"")

    async def _drop(self, _body: bytes) -> Json:
        return {"dropped_n": self._venue.hub.drop_all()}


def _answering(method: Callable[[bytes], Awaitable[Json]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that answers with what a method returns; a wrong command is a 400 with the reason."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await method(await request.read()))
        except ValidationError as e:
            return web.json_response({"error": str(e)}, status=400)
        except UsageError as e:
            return web.json_response({"error": str(e)}, status=400)

    return handle
