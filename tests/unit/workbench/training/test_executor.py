"""The executor: task order, failures, dead workers, Ctrl-C, and settings from the environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure, UsageError
from workbench.training.executor import (
    Executor,
    InProcessExecutor,
    ProcessExecutor,
    executor_for,
    executor_from_environment,
)

EXECUTORS = [InProcessExecutor(), ProcessExecutor(2)]


def _slow_square(value: int) -> int:
    time.sleep(0.02 * (5 - value))  # the first tasks end last
    return value * value


def _fail_on_two(value: int) -> int:
    if value == 2:
        raise UsageError("two", expected="another number", action="leave it out")
    return value


def _die(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results_come_in_the_order_of_the_tasks(executor: Executor) -> None:
    assert list(executor.map(_slow_square, [0, 1, 2, 3, 4])) == [0, 1, 4, 9, 16]
    assert list(executor.map(_slow_square, [])) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_first_failure_reaches_the_caller_as_it_was(executor: Executor) -> None:
    results = executor.map(_fail_on_two, [0, 1, 2, 3])
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(UsageError, match="two"):
        next(results)


def test_a_dead_worker_is_named_as_such() -> None:
    with pytest.raises(EnvironmentFailure, match="worker process died"):
        list(ProcessExecutor(2).map(_die, [1, 2]))


def test_closing_the_iterator_stops_the_workers() -> None:
    results = ProcessExecutor(2).map(time.sleep, [0, 60, 60, 60])
    assert next(results) is None
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]  map is a generator
    assert time.monotonic() - began < 10


def test_ctrl_c_ends_the_parent_and_every_worker(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        "from workbench.training.executor import ProcessExecutor\n"
        "def work(n):\n"
        "    print('pid', os.getpid(), flush=True)\n"
        "    time.sleep(300)\n"
        "if __name__ == '__main__':\n"
        "    list(ProcessExecutor(2).map(work, [1, 2, 3, 4]))\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    pids = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)
    process.stdout.close()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("asked", "expected"), [("1", InProcessExecutor()), ("3", ProcessExecutor(3))])
def test_the_environment_says_how_many_workers(monkeypatch: pytest.MonkeyPatch, asked: str, expected: Executor) -> None:
    monkeypatch.setenv("BALLAST_WORKERS", asked)
    assert executor_from_environment() == expected


@pytest.mark.parametrize("asked", ["0", "65", "two", "-1", "1.5"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("BALLAST_WORKERS", asked)
    with pytest.raises(UsageError, match="64"):
        executor_from_environment()


def test_without_a_wish_there_is_at_least_one_worker() -> None:
    assert 1 <= executor_from_environment().workers_n <= 8
    with pytest.raises(UsageError):
        executor_for(0)
