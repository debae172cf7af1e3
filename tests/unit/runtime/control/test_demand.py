"""Explanations come from a process of their own, one at a time, and end whatever happens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.control.demand import WORKER, Demand
from runtime.control.demand_worker import Reply, Task
from runtime.control.guard import Refused
from tests.support.control import Served

TASK = Task(kind="gates", home="h", run_dir="r", signal_id=1, seq_n=2, symbol="S", gate_id=0)


SAY = "say = lambda **reply: print(json.dumps(reply), flush=True)"


def worker(code: str) -> tuple[str, ...]:
    """Return a command that runs some Python for each task in place of the worker."""
    return (
        sys.executable,
        "-c",
        f"import json, os, sys, time\n{SAY}\nfor line in sys.stdin:\n    task = json.loads(line)\n    {code}",
    )


def answers(demand: Demand, times: int = 1) -> list[Any]:
    """Ask a few times, one after the other; return the answers and refusals."""

    async def ask() -> list[Any]:
        found: list[Any] = []
        for _ in range(times):
            found += await asyncio.gather(demand.answer(TASK), return_exceptions=True)
        await demand.end()
        return found

    return asyncio.run(ask())


def refused(demand: Demand) -> Refused:
    """Ask once, and return why not."""
    (found,) = answers(demand)
    assert isinstance(found, Refused)
    return found


def test_what_the_worker_says_is_the_answer() -> None:
    assert answers(Demand(1, 20.0, worker("say(answer=str(task['seq_n']))"))) == [b"2"]


def test_one_process_answers_many_until_it_is_not_asked_for_a_while() -> None:
    first, second = answers(Demand(1, 20.0, worker("say(answer=str(os.getpid()))")), 2)
    assert first == second

    async def pause() -> tuple[bytes, bytes]:
        demand = Demand(1, 20.0, worker("say(answer=str(os.getpid()))"), idle_s=0.05)
        before = await demand.answer(TASK)
        await asyncio.sleep(0.3)
        after = await demand.answer(TASK)
        await demand.end()
        return before, after

    before, after = asyncio.run(pause())
    assert before != after


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [("data", 404, "not-found"), ("verification", 409, "verification"), ("invariant", 503, "invariant")],
)
def test_a_failure_of_the_worker_is_told_in_its_words(kind: str, status: int, told: str) -> None:
    found = refused(Demand(1, 20.0, worker(f"say(failed=dict(kind={kind!r}, got='g', expected='e', action='a'))")))
    assert (found.status, found.problem.kind, found.problem.got) == (status, told, "g")


@pytest.mark.parametrize(
    "code", ["sys.exit(9)", "print('half an', end='', flush=True); sys.exit(9)", "print('x' * 2**25, flush=True)"]
)
def test_a_worker_that_breaks_is_no_answer_and_makes_room_for_another(code: str) -> None:
    found = answers(Demand(1, 20.0, worker(code)), 2)
    assert [(e.status, e.headers) for e in found] == [(503, [(b"retry-after", b"2")])] * 2


def test_a_worker_that_takes_too_long_is_ended_and_its_late_reply_is_nobodys() -> None:
    slow = Demand(1, 0.5, worker("time.sleep(2 if os.path.exists(task['home']) else 0); say(answer=task['home'])"))

    async def ask() -> list[Any]:
        found: list[Any] = await asyncio.gather(slow.answer(TASK.model_copy(update={"home": "/"})), return_exceptions=True)
        slow._limit_s = 20.0
        found.append(await slow.answer(TASK))
        await slow.end()
        return found

    late, prompt = asyncio.run(ask())
    assert late.status == 504
    assert prompt == b"h"


def test_the_queue_is_bounded() -> None:
    async def ask() -> list[Any]:
        demand = Demand(2, 20.0, worker("time.sleep(0.3); say(answer='1')"))
        found = await asyncio.gather(*(demand.answer(TASK) for _ in range(4)), return_exceptions=True)
        await demand.end()
        return found

    found = asyncio.run(ask())
    busy = [e for e in found if isinstance(e, Refused)]
    assert len(busy) == 2
    assert {(e.status, e.problem.kind) for e in busy} == {(503, "busy")}
    assert [f for f in found if not isinstance(f, Refused)] == [b"1", b"1"]


def test_closing_ends_what_is_under_way() -> None:
    async def ask() -> list[Any]:
        demand = Demand(1, 60.0, worker("time.sleep(60)"))
        asked = asyncio.create_task(demand.answer(TASK))
        await asyncio.sleep(0.2)
        await demand.end()
        return await asyncio.gather(asked, return_exceptions=True)

    (found,) = asyncio.run(asyncio.wait_for(ask(), 20))
    assert isinstance(found, Refused)
    assert found.status == 503


def test_the_worker_ends_with_whoever_asks(tmp_path: Path) -> None:
    """A daemon that is killed leaves no process behind: its end of the pipe closes."""
    with subprocess.Popen([*WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(TASK.model_copy(update={"run_dir": str(tmp_path)}).model_dump_json().encode() + b"\n")
        process.stdin.flush()
        reply = Reply.model_validate_json(process.stdout.readline())
        assert reply.failed is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_decision_without_its_bundle_has_no_contributions(api: Served) -> None:
    answer = api.ask("GET", "/decisions/1/contributions")
    assert answer.status == 404
    assert "is not here" in str(answer.json()["got"])


def test_only_decisions_are_explained(api: Served) -> None:
    for what in ("gates", "contributions"):
        assert api.ask("GET", f"/decisions/999999/{what}").status == 404
