"""Where the time of a run goes: functions by their own time, as the interpreter's profiler sees them."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from pathlib import Path
from typing import Final, NamedTuple, cast

from runtime.engine import RunInputs
from tools.bench import ours

TOP_N: Final = 16
ROOT: Final = Path(__file__).resolve().parents[2]


class Spot(NamedTuple):
    """One function: where it is, how often it was called, and its own time."""

    where: str
    calls_n: int
    own_s: float
    share: float


def measure(inputs: RunInputs) -> list[Spot]:
    """Return the functions of a run that take most time of their own, the profiler's burden on small calls included."""
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        profiler.enable()
        ours.run_into(inputs, Path(folder))
        profiler.disable()
    table = cast("dict[tuple[str, int, str], tuple[int, int, float, float, object]]", vars(pstats.Stats(profiler))["stats"])
    total_s = sum(own_s for _, _, own_s, _, _ in table.values())
    rows = sorted(table.items(), key=lambda item: -item[1][2])[:TOP_N]
    return [Spot(name_of(*place), calls_n, own_s, own_s / total_s) for place, (_, calls_n, own_s, _, _) in rows]


def name_of(file: str, _line: int, function: str) -> str:
    """Return a function's name with its module, free of any path of this machine."""
    if file == "~":
        return function.strip("<>")
    path = Path(file)
    inside = path.is_relative_to(ROOT) and "site-packages" not in path.parts
    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") if inside else path.stem
    return f"{module}.{function}"
