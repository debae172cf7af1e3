"""Who may call: launch token, sessions with CSRF tokens, Host and Origin. No network and no framework in here.

Secrets are 256 random bits and compared in constant time. Sessions live in this process alone and end with it; kept are the
SHA-256 of cookies, never cookies.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from runtime.control.settings import ControlSettings

COOKIE: Final = "ballast_session"
TOKEN_BYTES: Final = 32
WINDOW_T: Final = 60
SAME_PLACE: Final = frozenset({"same-origin", "none"})
"""What a browser says of a request that our own page, or the person, made."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: `actor` is what the journal will say; `csrf` is empty for a bearer of the launch token."""

    actor: str
    csrf: str = ""
    session_key: bytes = b""


@dataclass(slots=True)
class _Session:
    caller: Caller
    expires_t: int
    used_t: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session: the cookie's value is told once, here."""

    cookie: str
    csrf: str
    expires_t: int


def same_secret(given: str, known: str) -> bool:
    """Compare two secrets in a time that says nothing about either, their lengths included."""
    return hmac.compare_digest(_key(given), _key(known))


class Failures:
    """Counts wrong credentials of the last minute.

    What is right is let through at any time: another program on this machine must not be able to lock the operator out of the
    kill switch, and 256 bits cannot be guessed at any rate.
    """

    def __init__(self, now_t: Callable[[], int], most_n: int) -> None:
        self._now_t, self._most_n = now_t, most_n
        self._times: deque[int] = deque(maxlen=most_n)

    def too_many(self) -> bool:
        """Note one more, and return whether there were too many before it."""
        now_t = self._now_t()
        full = len(self._times) == self._most_n and now_t - self._times[0] < WINDOW_T
        self._times.append(now_t)
        return full


class Sessions:
    """The open sessions of browsers.

    Args:
        launch_token: what opens one; it is also accepted as a bearer, for tools that can read the endpoint file.
        now_t: the wall clock, seconds UTC.
        settings: lifetimes and numbers.
    """

    def __init__(self, launch_token: str, now_t: Callable[[], int], settings: ControlSettings) -> None:
        self._launch_token, self._now_t, self._settings = launch_token, now_t, settings
        self._open: OrderedDict[bytes, _Session] = OrderedDict()
        self.failures = Failures(now_t, settings.failures_max_n)

    def opens(self, token: str) -> bool:
        """Return whether this is the launch token."""
        return same_secret(token, self._launch_token)

    def open(self) -> Opened:
        """Open a session; whoever calls has checked the launch token."""
        cookie, csrf = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
        key = _key(cookie)
        now_t = self._now_t()
        expires_t = now_t + self._settings.session_max_t
        self._drop_ended(now_t)
        while len(self._open) >= self._settings.sessions_max_n:
            self._open.popitem(last=False)
        self._open[key] = _Session(Caller(f"operator:{key.hex()[:8]}", csrf, key), expires_t, now_t)
        return Opened(cookie, csrf, expires_t)

    def bearer(self, token: str) -> Caller | None:
        """Return the caller that shows the launch token itself."""
        return Caller("cli") if self.opens(token) else None

    def of_cookie(self, cookie: str) -> Caller | None:
        """Return the caller of a session that has not ended, and count this as a use of it."""
        key = _key(cookie)
        if not self.lives(key):
            return None
        session = self._open[key]
        session.used_t = self._now_t()
        self._open.move_to_end(key)
        return session.caller

    def lives(self, key: bytes) -> bool:
        """Return whether a session has not ended."""
        self._drop_ended(self._now_t())
        return key in self._open

    def _drop_ended(self, now_t: int) -> None:
        idle_t = self._settings.session_idle_t
        ended = [key for key, s in self._open.items() if now_t >= s.expires_t or now_t - s.used_t >= idle_t]
        for key in ended:
            del self._open[key]


class Place:
    """The one address that requests must be for, and pages must come from: what stops DNS rebinding and foreign pages."""

    def __init__(self, port: int) -> None:
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    def fault(self, hosts: list[str], origins: list[str], fetch_sites: list[str]) -> str:
        """Return what is wrong with the Host, Origin and Sec-Fetch-Site headers of a request, or nothing."""
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return f"Host {', '.join(hosts)[:100] or 'missing'!s}"
        if len(origins) > 1 or (origins and origins[0].lower() not in self._origins):
            return f"Origin {', '.join(origins)[:100]}"
        if any(site not in SAME_PLACE for site in fetch_sites):
            return f"a request of another page (Sec-Fetch-Site {', '.join(fetch_sites)[:100]})"
        return ""

    def __str__(self) -> str:
        """Return the addresses in words."""
        return ", ".join(sorted(self._hosts))


def cookie_of(headers: list[str]) -> str:
    """Return the session cookie of Cookie headers; empty when there is none, or more than one."""
    pairs = (pair.strip().partition("=") for header in headers for pair in header.split(";"))
    found = [value for name, _, value in pairs if name == COOKIE]
    return found[0] if len(found) == 1 else ""


def _key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
