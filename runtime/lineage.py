"""Where a run's inputs come from: the hook through which a replay follows them back to the lake and the models.

Studies, models and the lake belong to research, which the runtime does not import: whoever knows them registers one function
under the entry point group `ballast.lineage`. It computes a run's bars, clusters, features and forecasts again from the
sources that the run names, and compares each with what the genesis names.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NamedTuple

from runtime.difference import Failure
from runtime.engine import RunInputs
from runtime.errors import EnvironmentFailure
from runtime.progress import Report

GROUP: Final = "ballast.lineage"


class LineageBreak(NamedTuple):
    """The first thing in the lineage that is not what the genesis names.

    Attributes:
        failure: what it is; its class holds when source and platform are those that made the run.
        computed: it was computed again and came out otherwise, so that another source or platform explains it; otherwise it
            is a file that is missing or damaged.
    """

    failure: Failure
    computed: bool


Tracer = Callable[[Path, RunInputs, Report], LineageBreak | None]
"""`(home, inputs, report)`: the verified inputs of a run, and the home folder with its sources; `None` when all agree."""


def installed_tracer() -> Tracer:
    """Return the registered tracer.

    Raises:
        EnvironmentFailure: there is none, several are, or it cannot be imported.
    """
    found = list(entry_points(group=GROUP))
    problem = f"{len(found)} packages follow lineages: {', '.join(entry.value for entry in found) or 'none'}"
    if len(found) == 1:
        try:
            tracer: Tracer = found[0].load()
        except (ImportError, AttributeError) as e:
            problem = f"{found[0].value} cannot be loaded: {e}"
        else:
            return tracer
    raise EnvironmentFailure(
        problem,
        expected=f"one function under the entry point group {GROUP}",
        action="install the research extra (for this repository: make install), or replay with --level decisions",
    )
