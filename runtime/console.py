"""What every command shares: output streams, progress bars, and the one error boundary.

Streams: stdout carries the result (with `--json` exactly one JSON object), stderr carries everything else. A command that
fails under `--json` before it printed its object gets `{"error": {...}}` on stdout instead, so that a caller always parses
one object; the message for people still goes to stderr. Exit codes: docs/reference/exit-codes.md.

rich is imported inside the functions, so that importing this module costs nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, TextIO

import typer

from runtime.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, BallastError, UsageError
from runtime.progress import Report

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
    from rich.progress import Progress, TaskID
    from rich.text import Text

DEBUG_VARIABLE: Final = "BALLAST_DEBUG"
JSON_OPTION: Final = "--json"
PIPE_COLUMNS: Final = 120
MESSAGE_CHARS_MAX: Final = 400
PLAIN_INTERVAL_S: Final = 5.0
"""Seconds between two progress lines of one stage when stderr is not a terminal."""


class _Streams:
    """Remembers whether the caller wants one JSON object, and whether it has been printed."""

    wants_json = False
    printed_json = False


class _Stop:
    """Remembers that a person asked to stop: an exception raised inside a destructor or a weak-reference callback is lost."""

    asked = False


class Stopped(Exception):
    """Not an error: Ctrl-C is how a server or daemon ends, so nothing was interrupted. Exit code 130 all the same."""


class _Printable:
    """Something to print whose control characters are shown and not sent: file names and venues' words are not ours."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for part in console.render(self._inner, options):
            yield part if part.control else Segment(printable(part.text), part.style)


class _PrintableHook:
    """Wraps whatever a console is given; what rich itself sends, such as cursor movements, is left alone."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return the renderables, each of them wrapped."""
        from rich.control import Control

        return [r if isinstance(r, Control) else _Printable(r) for r in renderables]


def printable(text: str) -> str:
    """Return the text with every control character but the line break written out as Python writes it.

    Marks that turn text around and halves of characters (a file name that is not UTF-8) count as such.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\u00a0" else c.encode("unicode_escape").decode() for c in text)


def stderr_console() -> Console:
    """Return a rich console on stderr: for tables, notes and progress, never for a result that is parsed."""
    return _console(sys.stderr, stderr=True)


def stdout_console() -> Console:
    """Return a rich console on stdout: for the tables a person asked for (without `--json`)."""
    return _console(sys.stdout, stderr=False)


def _console(stream: TextIO, *, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, width=_width(stream), soft_wrap=not stream.isatty())
    console.push_render_hook(_PrintableHook())  # type: ignore[arg-type]  # rich asks for its own base class, imported too early
    return console


def _width(stream: TextIO) -> int | None:
    """Return None where the terminal or COLUMNS says how wide it is; a log or pipe has no width of its own."""
    return None if stream.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS


def print_json(value: Mapping[str, object]) -> None:
    """Print the one JSON object of a command on stdout.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON cannot carry.
    """
    _Streams.printed_json = True
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


# ---- progress --------------------------------------------------------------------------------------------------


class _Bars:
    """One rich bar per stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=None)
        self._progress.update(self._tasks[stage], completed=done, total=total or None)


class _Lines:
    """One line when a stage begins and ends, and every few seconds between: for logs and pipes."""

    def __init__(self) -> None:
        self._began_s: dict[str, float] = {}
        self._printed_s: dict[str, float] = {}
        self._ended: set[str] = set()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        began_s = self._began_s.setdefault(stage, now_s)
        ended = total > 0 and done >= total
        if stage in self._ended or (not ended and now_s - self._printed_s.get(stage, -PLAIN_INTERVAL_S) < PLAIN_INTERVAL_S):
            return
        self._printed_s[stage] = now_s
        if ended:
            self._ended.add(stage)
        amount = f"{done}/{total}" if total else str(done)
        seconds = f" in {now_s - began_s:.1f} s" if ended else ""
        print(f"{stage}: {amount}{seconds}", file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Report]:
    """Yield a `Report` that draws bars on stderr, or prints plain lines when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield _stoppable(_Lines())
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr_console()) as bars:
        yield _stoppable(_Bars(bars))


def _stoppable(report: Report) -> Report:
    """Return a report that is also the safe point where a Ctrl-C that got lost is raised again."""

    def tell(stage: str, done: int, total: int) -> None:
        check_stop()
        report(stage, done, total)

    return tell


def check_stop() -> None:
    """Raise a Ctrl-C again that Python lost; a safe point for loops of the main thread.

    Raises:
        KeyboardInterrupt: a person asked to stop.
    """
    if _Stop.asked and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


# ---- the error boundary ----------------------------------------------------------------------------------------


def run(function: Callable[[], object], arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every failure becomes one message.

    `arguments` are those of the command line (default: of this process); `--json` among them makes a failure one JSON object.
    An int that `function` returns is the exit code (typer returns one when a command raised `typer.Exit`); anything
    else is success. SIGTERM is treated like Ctrl-C, so that `finally` blocks remove partial files. A Ctrl-C always ends in
    exit code 130, also when Python lost the exception on its way.
    """
    _Streams.printed_json = False
    _Streams.wants_json = JSON_OPTION in (sys.argv[1:] if arguments is None else arguments)
    with _stop_signals():
        code = _guarded(function)
        return _interrupted() if _Stop.asked and code != EXIT_INTERRUPTED else code


def _guarded(function: Callable[[], object]) -> int:
    try:
        result = function()
    except BallastError as e:
        return _fail(e.kind, e.got, e.expected, e.action, e.exit_code)
    except Stopped:
        return _ended()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except typer.Exit as e:
        return e.exit_code
    except SystemExit as e:  # a package's command has said its last word itself
        return e.code if type(e.code) is int else EXIT_BUG if e.code else EXIT_OK
    except typer.TyperException as e:
        return _wrong_usage(e)
    # The last boundary of the process: whatever reaches it is a bug, and the person must get a message, not a dump.
    except Exception as e:  # noqa: BLE001
        return _unexpected(e)
    return _code_of(result)


def _code_of(result: object) -> int:
    if result == EXIT_INTERRUPTED and type(result) is int:  # typer turned Ctrl-C into Exit(130)
        return _interrupted()
    return result if type(result) is int else EXIT_OK


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt and be remembered, until the block ends."""
    _Stop.asked = False
    if threading.current_thread() is not threading.main_thread():
        yield  # an embedding program or a test: its owner decides about signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hook = sys.unraisablehook

    def report_unraisable(lost: sys.UnraisableHookArgs) -> None:
        if not (_Stop.asked and lost.exc_type is KeyboardInterrupt):
            hook(lost)

    sys.unraisablehook = report_unraisable
    for number, handler in before.items():
        if handler is not signal.SIG_IGN or number == signal.SIGTERM:  # whoever started us may want Ctrl-C to be ignored
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python
        sys.unraisablehook = hook


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Ask to stop, once: a second signal has Python's own effect, wherever the work is."""
    _Stop.asked = True
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise KeyboardInterrupt


def _fail(kind: str, got: str, expected: str, action: str, exit_code: int) -> int:
    from rich.text import Text

    message = Text.assemble((f"{kind}: ", "bold red"), got)
    if expected:
        message.append(f"\n  expected: {expected}")
    message.append(f"\n  do next:  {action}")
    _say(message)
    if _Streams.wants_json and not _Streams.printed_json:
        print_json({"error": {"kind": kind, "got": got, "expected": expected, "action": action, "exit_code": exit_code}})
    return exit_code


def _say(message: Text) -> None:
    """Print what ended a command; where stderr cannot be written (a file on a full disk) its exit code says what is left to say."""
    try:
        stderr_console().print(message, soft_wrap=True)
        sys.stderr.flush()
    except OSError:
        # or Python ends with 120, since what is buffered cannot go
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _ended() -> int:
    """Say that a server ended because a person asked it to: nothing was left unfinished."""
    from rich.text import Text

    _say(Text("stopped"))
    return EXIT_INTERRUPTED


def _interrupted() -> int:
    got = "stopped by Ctrl-C or SIGTERM; unfinished files were removed"
    return _fail("interrupted", got, "", "run it again", EXIT_INTERRUPTED)


def _wrong_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context and message == context.get_help():  # a group without a sub-command: the page itself is the answer
        print(message, file=sys.stderr)
        return EXIT_USAGE
    path = context.command_path if context else "ballast"
    usage = " ".join(context.get_usage().split()) if context else "a valid command line"
    return _fail("usage", message, usage, f"see `{path} --help`", error.exit_code)


def _short(text: str) -> str:
    """Return the beginning of a foreign message; the whole of it is in the traceback."""
    return text if len(text) <= MESSAGE_CHARS_MAX else f"{text[:MESSAGE_CHARS_MAX]} …"


def _unexpected(error: Exception) -> int:
    trace = "".join(traceback.format_exception(error))
    got = f"unexpected {type(error).__name__}: {_short(str(error))}"
    expected = "no such failure: this is a bug in ballast"
    if os.environ.get(DEBUG_VARIABLE) == "1":
        print(trace, file=sys.stderr)
        return _fail("bug", got, expected, "report the traceback above", EXIT_BUG)
    try:
        with tempfile.NamedTemporaryFile("w", prefix="ballast-crash-", suffix=".txt", delete=False, encoding="utf-8") as f:
            f.write(trace)
    except OSError:
        return _fail("bug", got, expected, f"run it again with {DEBUG_VARIABLE}=1 to see the traceback", EXIT_BUG)
    return _fail("bug", got, expected, f"report the traceback in {f.name} (or set {DEBUG_VARIABLE}=1)", EXIT_BUG)


def time_option(text: str | None, option: str) -> int | None:
    """Return seconds UTC of `2024-12-31` or `2024-12-31T12:00Z`, `None` for no text; without a zone it is UTC, as all times here.

    Raises:
        UsageError: it is no time; `option` is named.
    """
    if not text:
        return None
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise UsageError(
            f"{option} {text!r}",
            expected="a UTC time such as 2024-12-31 or 2024-12-31T12:00",
            action="write it in ISO 8601, in UTC",
        ) from e
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def iso_time(at_t: int) -> str:
    """Return seconds UTC as `2024-12-31T12:00Z`, the form that `time_option` reads."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%dT%H:%MZ")
