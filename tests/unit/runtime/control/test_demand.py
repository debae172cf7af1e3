"""Explanations come from a process of their own, one at a time, and end whatever happens."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from runtime.control.demand import Demand
from runtime.control.demand_worker import Task
from runtime.control.guard import Refused
from tests.support.control import Served

TASK = Task(kind="gates", home="h", run_dir="r", signal_id=1, seq_n=2, symbol="S", gate_id=0)


def worker(code: str) -> tuple[str, ...]:
    """Return a command that runs some Python in place of the worker."""
    return (sys.executable, "-c", f"import sys, json, time; task = json.load(sys.stdin); {code}")


def answer(demand: Demand) -> bytes:
    """Ask once."""
    return asyncio.run(demand.answer(TASK))


def refused(demand: Demand) -> Refused:
    """Ask once, and return why not."""
    with pytest.raises(Refused) as e:
        answer(demand)
    return e.value


def test_what_the_worker_prints_is_the_answer() -> None:
    assert answer(Demand(1, 20.0, worker("print(task['seq_n'], end='')"))) == b"2"


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [("data", 404, "not-found"), ("verification", 409, "verification"), ("invariant", 503, "invariant")],
)
def test_a_failure_of_the_worker_is_told_in_its_words(kind: str, status: int, told: str) -> None:
    failed = f"print(json.dumps(dict(kind={kind!r}, got='g', expected='e', action='a'))); sys.exit(3)"
    found = refused(Demand(1, 20.0, worker(failed)))
    assert (found.status, found.problem.kind, found.problem.got) == (status, told, "g")


def test_a_worker_that_breaks_is_no_answer() -> None:
    found = refused(Demand(1, 20.0, worker("print('half an'); sys.exit(9)")))
    assert (found.status, found.headers) == (503, [(b"retry-after", b"2")])


def test_a_worker_that_takes_too_long_is_ended() -> None:
    assert refused(Demand(1, 0.3, worker("time.sleep(60)"))).status == 504


def test_the_queue_is_bounded() -> None:
    async def ask() -> list[Any]:
        demand = Demand(2, 20.0, worker("time.sleep(0.3); print('1')"))
        return await asyncio.gather(*(demand.answer(TASK) for _ in range(4)), return_exceptions=True)

    found = asyncio.run(ask())
    busy = [e for e in found if isinstance(e, Refused)]
    assert len(busy) == 2
    assert {(e.status, e.problem.kind) for e in busy} == {(503, "busy")}
    assert [f for f in found if not isinstance(f, Refused)] == [b"1\n", b"1\n"]


def test_closing_ends_what_is_under_way() -> None:
    async def ask() -> object:
        demand = Demand(1, 60.0, worker("time.sleep(60)"))
        asked = asyncio.create_task(demand.answer(TASK))
        await asyncio.sleep(0.2)
        demand.close()
        return await asyncio.gather(asked, return_exceptions=True)

    (found,) = asyncio.run(asyncio.wait_for(ask(), 20))  # type: ignore[misc]
    assert isinstance(found, Refused)
    assert found.status == 503


def test_a_decision_without_its_bundle_has_no_contributions(api: Served) -> None:
    answer = api.ask("GET", "/decisions/1/contributions")
    assert answer.status == 404
    assert "is not here" in str(answer.json()["got"])


def test_only_decisions_are_explained(api: Served) -> None:
    for what in ("gates", "contributions"):
        assert api.ask("GET", f"/decisions/999999/{what}").status == 404
