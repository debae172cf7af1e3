"""What the compiler made of the core's functions: the type of every variable of every compiled signature.

Compiled code that comes from Numba's cache has lost its types, so this runs in a process with an empty cache:
`python -m tests.support.typed` prints one line per finding and, last, how much it looked at.
"""

from __future__ import annotations

import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

NOT_INTEGERS = re.compile(r"\b(?:float|complex)\d+")
NOT_64_BITS = re.compile(r"\bint(?:8|16|32)\b")
UNSIGNED = re.compile(r"\buint\d+")
WORDS_ALLOWED = "runtime.core.fixed"
"""The one module whose 128-bit arithmetic is made of unsigned words."""


def modules() -> list[ModuleType]:
    """Return every module of the core."""
    package = import_module("runtime.core")
    return [import_module(f"runtime.core.{found.name}") for found in pkgutil.iter_modules(package.__path__)]


def compiled(module: ModuleType) -> Iterator[tuple[str, Any, Any]]:
    """Yield (function, signature, compile result) of what a module's own functions were compiled to."""
    from numba.core.registry import CPUDispatcher

    for name, value in vars(module).items():
        if isinstance(value, CPUDispatcher) and value.py_func.__module__ == module.__name__:
            for signature, result in value.overloads.items():
                yield f"{module.__name__}.{name}", signature, result


def counterparts() -> Iterator[tuple[str, Any, Any]]:
    """Yield the same of the compiled counterparts of plain Python specifications."""
    from numba.core.typing.templates import builtin_registry

    for template in builtin_registry.functions:
        factory = getattr(template, "_overload_func", None)
        if factory is not None and str(factory.__module__).startswith("runtime.core."):
            for dispatcher, _ in [entry for entry in template._impl_cache.values() if entry is not None]:
                for signature, result in dispatcher.overloads.items():
                    yield f"{factory.__module__}.{factory.__name__}", signature, result


def findings(name: str, signature: Any, result: Any) -> Iterator[str]:
    """Yield what is not a 64-bit integer among a signature's arguments, variables and result."""
    annotation = result.type_annotation
    types = {"return": result.signature.return_type, **{f"argument {i}": t for i, t in enumerate(signature)}}
    if not hasattr(annotation, "typemap"):
        yield f"{name}: no types, it came from the cache"
        return
    for variable, found in {**types, **annotation.typemap}.items():
        text = str(found)
        wrong = NOT_INTEGERS.search(text) or NOT_64_BITS.search(text)
        if wrong is None and not name.startswith(WORDS_ALLOWED):
            wrong = UNSIGNED.search(text)
        if wrong:
            yield f"{name}: {variable} is {wrong.group()}"


def exercise() -> None:
    """Compile the whole core by running it: a sweep, single steps, the order book, and what only live trading calls."""
    import numpy as np

    from runtime.core import codes as c
    from runtime.core import simulate
    from runtime.engine import iterate_blocks
    from tests.support.desk import E8, Desk
    from tests.support.markets import random_inputs

    for _ in iterate_blocks(random_inputs(9, hours=60)):
        pass
    desk = Desk()
    desk.event(c.EV_HEARTBEAT)
    prices, quantities = np.array([100 * E8], np.int64), np.array([E8], np.int64)
    simulate.match_book(desk.policy[0], desk.states[0], 0, prices, quantities)


def planted() -> list[str]:
    """Return what is found in a function with a division, and in one with an unsigned word outside `fixed`."""
    import numpy as np

    from runtime.jit import core

    @core
    def half(a: int) -> int:
        return int(a / 2)

    @core
    def word(a: int) -> int:
        return int(np.uint64(a))

    found = []
    for name, function in (("half", half), ("word", word)):
        function(3)
        for signature, result in function.overloads.items():  # type: ignore[attr-defined]
            found += [f"{line}" for line in findings(f"planted.{name}", signature, result)]
    return found


def main() -> int:
    """Print findings, functions that were never compiled, and counts as JSON."""
    from numba.core.registry import CPUDispatcher

    exercise()
    looked_at = [entry for module in modules() for entry in compiled(module)] + list(counterparts())
    names = {name for name, _, _ in looked_at}
    every = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, CPUDispatcher) and value.py_func.__module__ == module.__name__
    }
    report = {
        "findings": sorted({line for entry in looked_at for line in findings(*entry)}),
        "never_compiled": sorted(every - names),
        "planted": planted(),
        "signatures_n": len(looked_at),
        "variables_n": sum(len(getattr(result.type_annotation, "typemap", ())) for _, _, result in looked_at),
        "counterparts": sorted({name for name, _, _ in counterparts()}),
    }
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
