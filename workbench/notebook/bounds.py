"""The bounds of a notebook's parameters, checked before a kernel starts and before anything is written.

A notebook validates its parameters itself, but naming the dataset comes first there, and that may fill the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final, NamedTuple

from pydantic import BaseModel, ValidationError

from workbench.notebook import failures
from workbench.notebook.parameters import Value


class Bounds(NamedTuple):
    """The spec that a notebook's parameters fill: where it is, and which of them name datasets."""

    spec: str
    datasets: tuple[str, ...] = ("dataset",)


SPECS: Final[dict[str, Bounds]] = {
    "walk_forward.py": Bounds("workbench.study.spec:StudySpec"),
    "explore_data.py": Bounds("workbench.data.view.explore:ExploreSpec", ("dataset", "second")),
}
"""By source name; any other notebook is checked by its own cells alone."""
PLACEHOLDER: Final = "0" * 64
"""Stands for a dataset, which has no hash before it exists; an empty name stays empty."""


def require_bounds(source_name: str, values: Mapping[str, Value]) -> None:
    """Raise `UsageError` when a notebook's effective parameters do not make a valid spec, whatever the dataset."""
    target = SPECS.get(source_name)
    if target is None:
        return
    module, _, name = target.spec.partition(":")
    spec: type[BaseModel] = getattr(import_module(module), name)
    named = {field: PLACEHOLDER for field in target.datasets if values.get(field)}
    try:
        spec.model_validate({**values, **named})
    except ValidationError as e:
        raise failures.out_of_bounds(str(e)) from e
