"""What the server answers itself: the login link, the two commands of an operator, static files, and pages with their policy."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Final

from panel.io.server import DocHandler
from tornado.web import RequestHandler, StaticFileHandler

from reports.dashboards import markup
from reports.dashboards.client import RequestRefused, RuntimeUnreachable
from reports.dashboards.overview_values import banner_of, head_values
from reports.dashboards.pages import CSRF_PLACE, KILL_COMMAND, RELEASE_COMMAND, THEME_COOKIE, Site
from reports.dashboards.palette import theme_of
from reports.dashboards.shapes import Status

REASON_CHARS_MAX: Final = 300
QUIET: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
COMMANDS: Final = {"/halt": (True, "HALT"), "/release": (False, "RELEASE")}


def policy(nonce: str, host: str) -> str:
    """Return the content security policy of a page: nothing from elsewhere, no inline script without the nonce, no eval.

    Args:
        nonce: of this response.
        host: of this request, checked before; the socket of Panel is on it.
    """
    scripts = f"script-src 'self' 'nonce-{nonce}'" if nonce else "script-src 'self'"
    return (
        f"default-src 'none'; {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


class Common(RequestHandler):
    """Base of our handlers; the guard has let the request in."""

    site: Site

    def initialize(self, site: Site) -> None:
        """Take what all handlers share."""
        self.site = site

    def set_default_headers(self) -> None:
        """Keep answers out of caches, and types as they are said."""
        for name, value in QUIET.items():
            self.set_header(name, value)

    def session(self) -> str:
        """Return the session of the request; empty when there is none."""
        return self.site.door.session(self.request.headers.get("Cookie", "")) or ""


class Root(Common):
    """`/` is the overview."""

    def get(self) -> None:
        """Answer with the address of the overview."""
        self.redirect("/overview")


class Login(Common):
    """`/login?token=...` opens a session and takes the token out of the address bar."""

    def get(self) -> None:
        """Exchange the launch token for a cookie."""
        session = self.site.door.enter(self.get_query_argument("token", ""))
        if session is None:
            self.set_status(401)
            self.set_header("Content-Security-Policy", "default-src 'none'")
            self.finish("Open the dashboards with the link that the command `ballast dashboard` printed.")
            return
        self.set_cookie(self.site.door.cookie, session, httponly=True, samesite="Strict", path="/")
        self.redirect("/overview")


class Alive(Common):
    """`/alive`: whether this server reaches a runtime; one bit, for the page that waits for it."""

    def get(self) -> None:
        """Answer it."""
        self.finish({"runtime": self.site.follower.snapshot is not None and self.site.follower.age_ms() < 8_000})


class Command(Common):
    """`/halt` and `/release`: a plain form, which works while the page's live connection does not."""

    async def post(self) -> None:
        """Carry the command to the control API and say what became of it."""
        on, word = COMMANDS[self.request.path]
        if not self.site.door.same_csrf(self.session(), self.get_body_argument("csrf", "")):
            self._say(403, "the form belongs to another session: load the page again")
            return
        if not on and self.get_body_argument("confirm", "") != word:
            self._say(422, f"type {word} to confirm")
            return
        reason = " ".join(self.get_body_argument("reason", "").split())[:REASON_CHARS_MAX]
        body: dict[str, str | bool] = {"on": on, "confirm": word, "reason": reason}
        try:
            receipt = await self.site.client.command("/runtime/kill", body, self.get_body_argument("key", ""))
            status = await self.site.client.read(Status, "/runtime/status")
        except RuntimeUnreachable as e:
            self._say(503, f"{e} The outcome is unknown; sending it again is safe")
        except RequestRefused as e:
            self._say(409, str(e))
        else:
            self.site.follower.wake()
            done = "thrown" if on else "released"
            self._say(200, f"Kill switch {done} in block {receipt.seq_n:,}", status)

    def _say(self, code: int, message: str, status: Status | None = None) -> None:
        """Answer a script with JSON, a browser without one with the page it came from."""
        self.set_status(code)
        if "application/json" in self.request.headers.get("Accept", ""):
            shown = self._values(status) if status is not None else {}
            banner = markup.banner_values(banner_of(status)) if status is not None else None
            self.finish(json.dumps({"message": message, "v": shown, "banner": banner, "key": str(uuid.uuid4())}))
        elif code == 200:
            self.redirect("/overview", status=303)
        else:
            self.set_header("Content-Security-Policy", "default-src 'none'")
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            command = KILL_COMMAND if COMMANDS[self.request.path][0] else RELEASE_COMMAND
            self.finish(f"Not confirmed: {message}.\nIn a terminal: {command}\n")

    def _values(self, status: Status) -> dict[str, str]:
        snapshot = self.site.follower.snapshot
        if snapshot is None:
            return {"killed": "1" if status.switches.kill_on else "0"}
        values = head_values(replace(snapshot, status=status), self.site.follower)
        return {key: values[key] for key in ("killed", "health", "health.s")}


class Static(StaticFileHandler):
    """Our own files; an address that carries the edition never changes its content."""

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002  the base class passes it
        """Let browsers keep what is addressed by edition."""
        self.set_header("Cache-Control", "max-age=31536000, immutable" if "v" in self.request.arguments else "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


def page_handler(site: Site) -> type[DocHandler]:
    """Return the handler of pages: reads ahead, waits for a runtime, and gives each response a policy and a nonce."""

    class PageHandler(DocHandler):
        """A page of Panel behind our policy."""

        async def get(self, *_args: object, **_kwargs: object) -> None:
            """Answer with the page, or with the one that waits when no runtime has answered yet."""
            follower = site.follower
            if follower.snapshot is None or follower.age_ms() > 60_000:
                self._offline(follower.reason)
                return
            if self.request.path == "/decisions":
                await site.read_ahead(self.get_query_argument("id", ""))
            await DocHandler.get(self)  # type: ignore[misc]  # a coroutine, whatever its base class says

        def write(self, chunk: Any) -> None:
            """Write a page with its nonce, or anything else as it is."""
            if isinstance(chunk, str) and "<html" in chunk:
                nonce = secrets.token_urlsafe(18)
                session = site.door.session(self.request.headers.get("Cookie", "")) or ""
                chunk = chunk.replace("<script", f'<script nonce="{nonce}"').replace(CSRF_PLACE, site.door.csrf(session))
                self.set_header("Content-Security-Policy", policy(nonce, self.request.host))
                for name, value in QUIET.items():
                    self.set_header(name, value)
            super().write(chunk)

        def _offline(self, reason: str) -> None:
            theme = theme_of(self.get_cookie(THEME_COOKIE) or "")
            self.set_status(503)
            self.set_header("Retry-After", "1")
            self.finish(markup.render("offline.html", theme=theme, reason=reason, edition=markup.edition()))

        def compute_etag(self) -> None:
            """Send no digest of a page that is never the same."""

        def prepare(self) -> Awaitable[None] | None:
            """Leave the checks to the guard."""
            return None

    return PageHandler
