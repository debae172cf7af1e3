"""The float side gives the same bits compiled or not, on any processor level, and its source cannot do otherwise."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests.support.inference_digests import digests

PACKAGE: Final = Path(__file__).resolve().parents[4] / "runtime" / "inference"
SOURCES: Final = sorted(PACKAGE.glob("*.py"))

FORBIDDEN: Final = {
    # bits differ between mathematics libraries and vector levels
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "power", "float_power", "cbrt", "hypot", "sin", "cos", "tan",
    "tanh", "sinh", "cosh", "arctan", "arcsin", "arccos", "atan", "atan2", "erf", "gamma", "lgamma", "logaddexp", "sinc",
    # order of additions is the library's (pairwise, SIMD, BLAS)
    "sum", "mean", "average", "std", "var", "prod", "dot", "vdot", "inner", "outer", "matmul", "einsum", "tensordot", "convolve",
    "correlate", "cov", "corrcoef", "nansum", "nanmean", "nanstd", "nanvar", "nanprod", "cumprod", "trapezoid", "linalg", "fft",
    "reduce", "accumulate", "reduceat", "percentile", "quantile", "median", "fsum", "fma", "polyfit", "interp",
    # not a function of the inputs
    "random", "time", "perf_counter", "now", "environ", "getenv", "urandom", "seed", "default_rng",
}  # fmt: skip
FORBIDDEN_IMPORTS: Final = {
    "time", "random", "os", "sys", "datetime", "pathlib", "io", "socket", "logging", "threading", "lightgbm", "sklearn", "pandas",
    "polars", "scipy", "numba", "secrets", "uuid", "subprocess",
}  # fmt: skip
ALLOWED_CALLS: Final = {("context", "exp")}
"""`decimal` rounds exp correctly on every machine."""


def violations(source: str) -> list[str]:
    """Return what a source of the float side must not contain, one line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in FORBIDDEN and (owner, node.attr) not in ALLOWED_CALLS:
                found.append(f"{line}: .{node.attr}")
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}
            if isinstance(node.func, ast.Name) and name in {"sum", "pow", "open"}:
                found.append(f"{line}: {name}()")
            if name == "cumsum" and keywords.get("dtype") != "np.int64":
                found.append(f"{line}: cumsum of floats")
            if {"fastmath", "parallel"} & set(keywords):
                found.append(f"{line}: {sorted(keywords)}")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow | ast.MatMult):
            found.append(f"{line}: {type(node.op).__name__}")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{line}: import {m}" for m in modules if m.split(".")[0] in FORBIDDEN_IMPORTS]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_sources_hold_portable_arithmetic_only(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "np.exp(x)", "math.log(x)", "x.sum()", "np.mean(x)", "sum(x)", "x ** 2", "a @ b", "np.cumsum(x)", "np.dot(a, b)",
        "np.add.reduce(x)", "import random", "from datetime import datetime", "x **= 2", "njit(fastmath=True)(f)", "import numba",
    ],
)  # fmt: skip
def test_the_lint_catches_what_is_planted(planted: str) -> None:
    assert violations(planted)


def in_another_environment(**variables: str) -> dict[str, str]:
    """Return the digests as a fresh process with these environment variables computes them."""
    # runtime.jit has set the compiler's cache folder for this process; the other one must choose its own
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.support.inference_digests"],
        cwd=PACKAGE.parent.parent,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return {str(name): str(value) for name, value in json.loads(result.stdout).items()}


def test_digests_are_on_record() -> None:
    """Pinned from another machine's view: a change here changes every study that is on record."""
    assert {name: value[:12] for name, value in digests().items()} == {
        "features": "acca56755084",
        "usable": "5d7a0d14405e",
        "raw_scores": "6ab0fd6a7616",
        "predicted": "0c74ee34bd40",
        "trend": "1ae5057470e5",
        "forecasts": "35b9c40d6d99",
        "bars": "1a6a07336fa3",
    }


def test_compiled_or_not_gives_the_same_bits() -> None:
    assert in_another_environment(NUMBA_DISABLE_JIT="1") == digests()


def test_other_hash_seeds_give_the_same_bits() -> None:
    assert in_another_environment(PYTHONHASHSEED="12345") == digests()


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_other_vector_levels_give_the_same_bits(keep: int) -> None:
    levels = list(np._core._multiarray_umath.__cpu_dispatch__)  # type: ignore[attr-defined]
    active = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    disabled = [name for name in levels if active.get(name)][keep:]
    if not disabled:
        pytest.skip("this processor has no such vector level")
    assert in_another_environment(NPY_DISABLE_CPU_FEATURES=" ".join(disabled)) == digests()


@pytest.mark.slow
def test_code_for_a_generic_processor_gives_the_same_bits(tmp_path: Path) -> None:
    found = in_another_environment(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", BALLAST_CACHE_DIR=str(tmp_path))
    assert found == digests()


@pytest.mark.slow
def test_reading_outside_an_array_never_happens(tmp_path: Path) -> None:
    assert in_another_environment(BALLAST_BOUNDSCHECK="1", BALLAST_CACHE_DIR=str(tmp_path)) == digests()
