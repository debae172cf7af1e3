"""Mutation testing on toys: what is planted, what is killed, what is called survived, and when the tool is content."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tools import mutate
from tools.mutants import Mutant, mutants
from tools.mutate import Result, findings

TOY = '''
LIMIT = 7
NAME = "no number"

@core
def clip(value: int, unit: int) -> int:
    """Return something."""
    total = 0
    for k in range(1, 3):
        if value > LIMIT and k != unit:
            total += value // unit
    if total < 0:
        raise ValueError("never")
    return imin(total, unit)
'''


def test_every_kind_of_defect_is_planted() -> None:
    found = mutants("toy.py", TOY)
    kinds = Counter(m.operator for m in found)
    assert set(kinds) == {"constant", "comparison", "and/or", "drop condition", "negate condition", "arithmetic", "drop statement",
                          "boundary", "call", "return value"}  # fmt: skip
    assert {m.function for m in found} == {"LIMIT", "clip"}
    assert "toy.py clip: if total < 0: => if total <= 0:" in {m.identity for m in found}
    assert "toy.py clip: total += value // unit => pass" in {m.identity for m in found}


def test_every_mutant_is_another_program_under_its_own_name() -> None:
    everything = mutate.all_mutants()
    assert len(everything) > 900
    assert len({m.identity for m in everything}) == len(everything)
    assert len({(m.file, m.function, m.source) for m in everything}) == len(everything)
    for mutant in everything:
        compile(ast.parse(mutant.source), mutant.file, "exec")


def test_every_explained_survivor_is_a_mutant_with_a_reason() -> None:
    """What is explained but no longer a mutant is found here, long before a whole run."""
    explained = mutate.read_survivors()
    assert set(explained) <= {m.identity for m in mutate.all_mutants()}
    assert all(len(reason) > 20 for reason in explained.values())
    for file in mutate.FILES:
        own = [m for m in mutate.all_mutants() if m.file == file]
        assert sum(m.identity in explained for m in own) <= (1 - mutate.SHARE_MIN) * len(own)


def toy(outcome: str, line: str = "a => b", file: str = "toy.py") -> Result:
    before, _, after = line.partition(" => ")
    return Result(Mutant(file, "f", "constant", before, after, 1, ""), outcome, "", 0.1)


def test_the_tool_is_content_only_with_explained_survivors() -> None:
    killed = [toy("killed", f"{i} => 0") for i in range(9)] + [toy("timeout", "9 => 0")]
    assert findings(killed, {}, whole=True) == []
    one = [*killed, toy("survived", "x => y")]
    assert findings(one, {"toy.py f: x => y": "equal"}, whole=True) == []
    assert findings(one, {}, whole=True) == ["survived without an explanation: toy.py f: x => y"]
    assert findings(killed, {"toy.py f: 3 => 0": "equal"}, whole=True) == ["explained, but killed: toy.py f: 3 => 0"]
    assert findings(killed, {"toy.py f: z => 0": "equal"}, whole=True) == ["explained, but gone: toy.py f: z => 0"]
    assert findings(killed, {"toy.py f: z => 0": "equal"}, whole=False) == [], "part of a run cannot know what is gone"
    assert findings([toy("broken")], {}, whole=False) == ["the tool failed on toy.py f: a => b"]
    few = [toy("killed"), *(toy("survived", f"{i} => 0") for i in range(2))]
    explained = {r.mutant.identity: "equal" for r in few[1:]}
    assert findings(few, explained, whole=True) == ["toy.py: 1 of 3 killed, fewer than 90%"]


def test_real_mutants_are_killed_or_survive(tmp_path: Path) -> None:
    """The whole way: a copy of the sources, the server, a child for each mutant; one that never ends is stopped."""
    mutate.copy_sources(tmp_path)
    chosen = [m for m in mutate.all_mutants() if (m.file, m.function) == ("fixed.py", "imin")]
    endless = Mutant(
        "lots.py", "close_lots", "constant", "a", "b", 1, "def close_lots(*words):\n    while True:\n        pass\n"
    )
    unknown = Mutant("lots.py", "no_such_function", "constant", "a", "b", 1, "x = 1")
    tests = ("tests/unit/runtime/core/test_fixed.py", "tests/unit/runtime/core/test_lots.py")
    results = {r.mutant.identity: r for r in mutate.run([*chosen, endless, unknown], tmp_path, 2, tests, seconds_max=8)}
    assert results[endless.identity].outcome == "timeout"
    assert results[unknown.identity].outcome == "broken"
    survived = {name for name in (m.identity for m in chosen) if results[name].outcome == "survived"}
    assert survived == {name for name in mutate.read_survivors() if " imin: " in name}
    assert all("test_the_smaller_and_the_larger" in r.by for r in results.values() if r.outcome == "killed")


def test_a_run_over_failing_tests_is_refused(tmp_path: Path) -> None:
    mutate.copy_sources(tmp_path)
    broken = tmp_path / "tests/unit/runtime/core/test_lots.py"
    broken.write_text("def test_no():\n    assert False\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="the tests fail without any mutant"):
        list(mutate.run(mutants("lots.py", "X = 1"), tmp_path, 2, ("tests/unit/runtime/core/test_lots.py",)))
