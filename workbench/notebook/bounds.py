"""The bounds of a notebook's parameters, checked before a kernel starts and before anything is written.

A notebook validates its parameters itself, but naming the dataset comes first there, and that may fill the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from pydantic import BaseModel, ValidationError

from workbench.notebook import failures
from workbench.notebook.parameters import Value

SPECS: Final[dict[str, str]] = {"walk_forward.py": "workbench.study.spec:StudySpec"}
"""Source name -> the spec its parameters fill; any other notebook is checked by its own cells alone."""
PLACEHOLDER: Final = "0" * 64
"""Stands for the dataset, which has no hash before it exists."""


def require_bounds(source_name: str, values: Mapping[str, Value]) -> None:
    """Raise `UsageError` when a notebook's effective parameters do not make a valid spec, whatever the dataset."""
    target = SPECS.get(source_name)
    if target is None:
        return
    module, _, name = target.partition(":")
    spec: type[BaseModel] = getattr(import_module(module), name)
    try:
        spec.model_validate({**values, "dataset": PLACEHOLDER})
    except ValidationError as e:
        raise failures.out_of_bounds(str(e)) from e
