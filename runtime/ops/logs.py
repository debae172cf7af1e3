"""The daemon's log: one JSON object on a line, rotated by size, and no secret in it.

Every record, of ours and of any library, passes one processor (`redact`) after everything else was put into it, tracebacks
included. It hides by name (a field or `name=value` called token, secret, signature …), by form (an Authorization or Cookie header, a
private key, a key or signature of the venue), and by value: what `hide` was told is hidden wherever it turns up.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

import structlog

from runtime.errors import EnvironmentFailure
from runtime.ops.lock import runtime_path

LOG_NAME: Final = "daemon.log"
HIDDEN: Final = "[redacted]"
DEPTH_MAX: Final = 12
TEXT_MAX: Final = 20_000
"""Longest text that is written; a longer one is cut, and says so."""

CHATTY: Final = ("uvicorn", "asyncio", "ccxt")
"""Libraries of which only warnings are of interest."""
NAME_MAX: Final = 200

_WORDS: Final = (
    r"(?:api|private|public|secret|access|signing|session|launch)[_.-]?key|api[_.-]?sign|apikey|secret|token|passw(?:or)?d|passphrase"
    r"|passcode|credentials?|authori[sz]ation|auth|cookies?|set[_.-]cookie|csrf|xsrf|signature|otp|nonce|private|bearer"
)
NAME: Final = re.compile(
    rf"(?:^|[^a-z])(?:{_WORDS})s?(?:$|[^a-z])|(?:secret|token|password|passphrase|signature|apikey|cookie)", re.IGNORECASE
)
"""A field with such a name is hidden whole."""
_SNAKE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_NAMED: Final = (
    r"(?:(?:api|secret|private|access|public|signing|session|launch|encryption)[_.-]?keys?|(?<![a-z])keys?|[_.-]sign|apisign|secrets?|tokens?"
    r"|passw(?:or)?ds?|passphrases?|credentials?|csrf|signatures?|otp|nonce)"
)
_TEXTS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(?<=://)[^\s/@:]{0,200}:[^\s/@]{1,500}(?=@)"), HIDDEN),
    (
        re.compile(
            r"\b((?:set-)?cookie|(?:proxy-)?authorization)\b(\\{0,8}[\"']?\s{0,8}[:=,]\s{0,8}\\{0,8}[\"']?)[^\r\n\"'\\]+",
            re.IGNORECASE,
        ),
        rf"\g<1>\g<2>{HIDDEN}",
    ),
    (re.compile(r"\b(bearer|basic|digest)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE), rf"\g<1> {HIDDEN}"),
    (
        re.compile(
            rf"({_NAMED})(\\{{0,8}}[\"']?\s{{0,8}}(?:=>|[:=,(])\s{{0,8}}b?)"
            r"(?:(\\{0,8}[\"']).{0,1000}?\3|\\{0,8}[\"']?[^\s,;&)}\]\"'\\]+)",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\g<1>\g<2>{HIDDEN}",
    ),
    (re.compile(r"(?<![A-Za-z0-9+/=_-])(?:[A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{56})(?![A-Za-z0-9+/=_-])"), HIDDEN),
)
"""Forms of secrets inside text. Every repetition is bounded: hostile text must not make a pattern slow.

The last one: a secret or signature of the venue (64 bytes in base64), and one of its keys."""


class Redaction:
    """Hides secrets in whatever is about to be written."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def hide(self, secret: str) -> None:
        """Hide a value wherever it turns up from now on."""
        if len(secret) >= 8 and secret not in self._values:
            self._values = tuple(sorted({*self._values, secret}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._values:
            text = text.replace(secret, HIDDEN)
        if len(text) > TEXT_MAX:
            text = f"{text[:TEXT_MAX]} … ({len(text)} characters)"
        for pattern, instead in _TEXTS:
            text = pattern.sub(instead, text)
        return text

    def value(self, value: object, depth: int = 0) -> object:
        """Return a value without secrets, made of what JSON has: anything else becomes its redacted text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value).decode("utf-8", "backslashreplace"))
        if depth < DEPTH_MAX:
            if isinstance(value, Mapping):
                return {self.text(str(key)): self.field(key, inner, depth) for key, inner in value.items()}
            if isinstance(value, tuple) and hasattr(value, "_asdict"):
                return {str(key): self.field(key, inner, depth) for key, inner in value._asdict().items()}
            if isinstance(value, list | tuple | set | frozenset):
                return self._items(list(value), depth)
        return self.text(repr(value))

    def field(self, key: object, value: object, depth: int = 0) -> object:
        """Return a field's value, hidden whole when the field's name says that it is a secret."""
        name = _SNAKE.sub("_", key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key))[:NAME_MAX]
        return HIDDEN if NAME.search(name) and value not in (None, "") else self.value(value, depth + 1)

    def _items(self, items: list[object], depth: int) -> list[object]:
        """Return items without secrets; a pair whose first half names a secret is a header or a field."""
        if len(items) == 2 and isinstance(items[0], str | bytes) and self.field(items[0], "x", depth) == HIDDEN:
            return [self.value(items[0], depth + 1), HIDDEN]
        return [self.value(item, depth + 1) for item in items]


REDACTION: Final = Redaction()
"""The one of this process: what it was told to hide stays hidden in every log."""


def redact(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Return the event without secrets: the last processor before the line is made."""
    return {REDACTION.text(key): value if key == "timestamp" else REDACTION.field(key, value) for key, value in event.items()}


def log_path(home: Path) -> Path:
    """Return where a daemon of this home writes its log."""
    return runtime_path(home) / LOG_NAME


class PrivateRotatingFile(RotatingFileHandler):
    """A rotating file that only its owner can read; a full disk ends no program and prints no traceback over its words."""

    _told = False

    def _open(self):  # type: ignore[no-untyped-def]  # the type is a private generic of the standard library
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600))
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  the base class says so
        """Say once that a line could not be written; what the program itself has to say goes on below it."""
        if not self._told:
            self._told = True
            with suppress(OSError):
                print(f"the log {self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


def configure(home: Path, *, bytes_max: int, files_n: int, level: str, to_stderr: bool = False) -> None:
    """Send every log record of this process, structlog's and the standard library's, to the daemon's log.

    Args:
        home: the home folder.
        bytes_max: size at which a file is rotated.
        files_n: rotated files that are kept.
        level: least severe level that is written.
        to_stderr: write to the terminal as well.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redact,
            structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False),
        ],
    )
    path = log_path(home)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handlers: list[logging.Handler] = [PrivateRotatingFile(path, maxBytes=bytes_max, backupCount=files_n, encoding="utf-8")]
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write {path}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk, or choose another folder with --home",
        ) from e
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def tail(home: Path, lines_n: int) -> list[str]:
    """Return the last lines of the log, none when there is no log."""
    try:
        with log_path(home).open("rb") as f:
            size = f.seek(0, 2)
            f.seek(max(0, size - 64 * 1024))
            return f.read().decode("utf-8", "replace").splitlines()[-lines_n:]
    except OSError:
        return []
