"""A pytest plugin that collects once and then runs the tests in one forked child for each mutant.

The parent has imported and collected everything; a child exchanges the code object of one function (every module that imported the
function holds the same object) and runs the tests until one fails. With the JIT off a compiled function is a plain function, so
nothing is imported or compiled again: a mutant costs a fork and the tests up to the first that fails.

Used by `tools.mutate` only: `python -m pytest -p tools.mutate_server`, in a copy of the sources, with `BALLAST_MUTANTS` naming a
JSON file of mutants. Answers are JSON lines on the file descriptor `BALLAST_MUTATE_FD`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Final

import pytest

BASELINE: Final = -1
"""Number of the run without a change: it must pass, or no answer means anything."""
SURVIVED, KILLED, BROKEN = 0, 1, 2


@dataclass(slots=True)
class Child:
    """One running mutant: its number, process, start, and the pipe that names the test that failed."""

    number: int
    pid: int
    started: float
    pipe: int


class Failures:
    """Remembers the first failed test of a child."""

    first: str = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of the first failure."""
        if report.failed and not self.first:
            self.first = report.nodeid


def apply(mutant: dict[str, str]) -> None:
    """Put one mutant into the loaded modules.

    Raises:
        LookupError: the module has no such function.
    """
    module = import_module(f"runtime.core.{mutant['file'].removesuffix('.py')}")
    code = compile(mutant["source"], mutant["file"], "exec")
    old = getattr(module, mutant["function"])
    if isinstance(old, FunctionType):
        codes = [c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == mutant["function"]]
        if len(codes) != 1:
            raise LookupError(mutant["function"])
        old.__code__ = codes[0]
        return
    names = dict(vars(module))
    exec(code, names)  # noqa: S102  a changed constant of our own source text
    for holder in [m for name, m in sys.modules.items() if name.startswith("runtime.")]:
        _exchange(holder, mutant["function"], old, names[mutant["function"]])


def _exchange(holder: ModuleType, name: str, old: object, new: object) -> None:
    if holder.__dict__.get(name) == old:
        setattr(holder, name, new)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run every mutant in a child and report; takes the place of pytest's own loop."""
    todo: list[dict[str, str]] = json.loads(Path(os.environ["BALLAST_MUTANTS"]).read_text("utf-8"))
    answers = int(os.environ["BALLAST_MUTATE_FD"])
    seconds_max = float(os.environ["BALLAST_MUTATE_SECONDS"])
    workers = int(os.environ["BALLAST_MUTATE_WORKERS"])
    running: dict[int, Child] = {}
    selector = selectors.DefaultSelector()
    waiting = iter([BASELINE, *range(len(todo))])
    number = next(waiting, None)
    while number is not None or running:
        while number is not None and len(running) < (1 if BASELINE in {c.number for c in running.values()} else workers):
            child = _start(session, number, todo)
            running[child.pipe] = child
            selector.register(child.pipe, selectors.EVENT_READ)
            number = next(waiting, None)
        for key, _ in selector.select(timeout=0.2):
            _report(answers, running.pop(key.fd), selector)
        for child in list(running.values()):
            if time.monotonic() - child.started > seconds_max and child.number != BASELINE:
                os.kill(child.pid, signal.SIGKILL)  # its pipe closes, and the next round reports it
    return True


def _start(session: pytest.Session, number: int, todo: list[dict[str, str]]) -> Child:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return Child(number, pid, time.monotonic(), read)
    os.close(read)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    status = BROKEN
    try:
        mutant = None if number == BASELINE else todo[number]
        if mutant is not None:
            apply(mutant)
        failed = _run(session, mutant["file"] if mutant else "")
        os.write(write, failed.encode()[:4_000])
        status = KILLED if failed else SURVIVED
    finally:  # whatever happens, a child never returns into the parent's pytest
        os._exit(status)


def _run(session: pytest.Session, file: str) -> str:
    """Run the tests, those of the changed module first, and return the name of the first that fails."""
    own = f"test_{file}"
    items = sorted(session.items, key=lambda item: item.path.name != own)
    failures = Failures()
    session.config.pluginmanager.register(failures)
    for i, item in enumerate(items):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=items[i + 1] if i + 1 < len(items) else None)
        if failures.first:
            break
    return failures.first


def _report(answers: int, child: Child, selector: selectors.BaseSelector) -> None:
    by = os.read(child.pipe, 4_096).decode()
    _, status = os.waitpid(child.pid, 0)
    selector.unregister(child.pipe)
    os.close(child.pipe)
    code = os.waitstatus_to_exitcode(status)
    outcome = {SURVIVED: "survived", KILLED: "killed", -signal.SIGKILL: "timeout"}.get(code, "broken")
    seconds = round(time.monotonic() - child.started, 3)
    line = {"number": child.number, "outcome": outcome, "by": by, "seconds": seconds}
    os.write(answers, json.dumps(line).encode() + b"\n")
