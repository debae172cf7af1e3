"""The one place that decides how functions compile and where compiled code is kept.

Numba's cache looks at the file of the cached function only: a changed callee would be served stale. So the
cache directory is keyed by the content of every compiled source, the compiler's versions and its switches.
`NUMBA_DISABLE_JIT=1` runs the very same functions as plain Python. This module must be imported before numba.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

BOUNDSCHECK: Final = os.environ.get("BALLAST_BOUNDSCHECK") == "1"
COMPILED_SOURCES: Final = ("core", "inference", "jit.py")
DECIDING_SOURCES: Final = (*COMPILED_SOURCES, "canonical.py", "desk.py", "engine.py", "event.py", "genesis.py", "policy.py")
"""What a run's blocks follow from: the compiled core, and what feeds it and hashes what it writes."""


def compiled_source_digest() -> str:
    """Return the SHA-256 of every source file that is compiled, in path order."""
    return _source_digest(COMPILED_SOURCES)


def deciding_source_digest() -> str:
    """Return the SHA-256 of every source file that a run's blocks follow from: what its genesis calls `core_digest`."""
    return _source_digest(DECIDING_SOURCES)


def _source_digest(names: tuple[str, ...]) -> str:
    root = Path(__file__).parent
    h = hashlib.sha256()
    for name in names:
        entry = root / name
        for path in sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]:
            content = path.read_bytes()
            h.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
            h.update(content)
    return h.hexdigest()


def _set_cache_dir() -> None:
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    base = os.environ.get("BALLAST_CACHE_DIR") or str(Path.home() / ".cache" / "ballast")
    switches = repr(
        (
            compiled_source_digest(),
            version("numba"),
            version("llvmlite"),
            version("numpy"),
            BOUNDSCHECK,
            os.environ.get("NUMBA_CPU_NAME"),
            os.environ.get("NUMBA_CPU_FEATURES"),
        )
    )
    key = hashlib.sha256(switches.encode()).hexdigest()[:16]
    os.environ["NUMBA_CACHE_DIR"] = str(Path(base) / f"numba-{key}")


_set_cache_dir()

# Where scipy is installed numba would load it to look at its version: the runtime must be the same with and without it.
_without_scipy = "scipy" not in sys.modules
if _without_scipy:
    sys.modules["scipy"] = cast("ModuleType", None)
import numba  # noqa: E402  the cache directory must be chosen before numba reads its configuration

if _without_scipy:
    del sys.modules["scipy"]


def core(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a pure function (nopython, cached, no fastmath); the undecorated function is its specification."""
    compiled = numba.njit(cache=True, boundscheck=BOUNDSCHECK, error_model="python", fastmath=False)(function)
    return cast("Callable[P, R]", compiled)


def replaced_when_compiled(specification: Callable[..., R]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated factory as the compiled counterpart of a plain Python specification."""
    from numba.extending import overload

    return cast("Callable[[Callable[..., Any]], Callable[..., Any]]", overload(specification))
