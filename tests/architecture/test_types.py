"""The compiled core computes with 64-bit integers only: what the compiler inferred is read, not what the source seems to say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLANTED = {"float64": "half", "uint64": "word"}


@pytest.fixture(scope="module")
def report(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the types of every compiled function, from a process that compiles them (half a minute)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.typed"],
        cwd=repository,
        env={k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
        | {"NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("numba"))},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_compiled_function_of_the_core_has_a_float_or_a_short_or_unsigned_integer(report: dict[str, Any]) -> None:
    assert report["findings"] == []
    assert report["never_compiled"] == [], "a function that the audit's run does not reach is not audited"
    assert report["signatures_n"] >= 80
    assert report["variables_n"] > 3_000
    assert report["counterparts"] == ["runtime.core.fixed._compiled_add", "runtime.core.fixed._compiled_mul_div"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("wrong", "function"), PLANTED.items())
def test_a_planted_division_or_word_is_found(report: dict[str, Any], wrong: str, function: str) -> None:
    assert any(line.startswith(f"planted.{function}") and wrong in line for line in report["planted"]), report["planted"]
