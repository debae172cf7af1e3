"""marimo controls made from a spec: their ranges come from the same bounds that validate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

from runtime.errors import InvariantError

if TYPE_CHECKING:
    import marimo as mo
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

SLIDER_STEPS_MAX: Final = 200
"""A longer range is easier to type than to drag."""


def controls(
    given: BaseModel, fixed: tuple[str, ...] = (), choices: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> mo.ui.dictionary:
    """Return one widget per field of a validated spec, each set to the field's value.

    Args:
        given: the validated spec of the run.
        fixed: fields that get no widget (the caller passes them on unchanged).
        choices: what a field of names may hold, where only the data tell (the assets of a dataset).

    Raises:
        InvariantError: under papermill, a widget does not give back the value it was set to: the run would differ from
            its parameters.
    """
    import marimo as mo

    # marimo forbids reading a widget in the cell that makes it; under papermill, where it matters, nothing does
    readable = mo.app_meta().mode is None
    widgets = {}
    for name, field in type(given).model_fields.items():
        if name in fixed:
            continue
        value = getattr(given, name)
        label = field.description or name
        widget = _chooser(choices[name], label, value) if name in choices else _widget(field, label, value)
        if readable and _plain(widget.value) != _plain(value):
            raise InvariantError(
                f"the control for {name} turned {value!r} into {widget.value!r}",
                expected="a control that keeps the given value",
                action="name the field in `fixed`, or correct its bounds",
            )
        widgets[name] = widget
    return mo.ui.dictionary(widgets)


def bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    """Return the inclusive lower and upper bound of a field; None where it has none."""
    low = next((m.ge for m in field.metadata if getattr(m, "ge", None) is not None), None)
    high = next((m.le for m in field.metadata if getattr(m, "le", None) is not None), None)
    return low, high


def _chooser(choices: Sequence[str], label: str, value: Any) -> Any:
    import marimo as mo

    return mo.ui.multiselect(list(choices), value=list(value), label=label)


def _widget(field: FieldInfo, label: str, value: Any) -> Any:
    import marimo as mo

    annotation = field.annotation
    low, high = bounds(field)
    if get_origin(annotation) is Literal:
        choices = {str(choice): choice for choice in get_args(annotation)}
        return mo.ui.dropdown(choices, value=str(value), label=label, allow_select_none=False)
    if item_choices := _item_choices(annotation):
        choices = {str(choice): choice for choice in item_choices}
        return mo.ui.multiselect(choices, value=[str(v) for v in value], label=label)
    if annotation is bool:
        return mo.ui.switch(value, label=label)
    if annotation is int and low is not None and high is not None and high - low <= SLIDER_STEPS_MAX:
        return mo.ui.slider(int(low), int(high), 1, value=value, label=label, show_value=True, debounce=True)
    if annotation in (int, float):
        return mo.ui.number(low, high, step=1 if annotation is int else None, value=value, label=label, debounce=True)
    if annotation is str:
        return mo.ui.text(value, label=label)
    raise InvariantError(
        f"no control for a field of type {annotation}",
        expected="Literal, bool, int, float, str or a tuple of Literal",
        action="name the field in `fixed`",
    )


def _item_choices(annotation: Any) -> tuple[Any, ...]:
    """Return the choices of `tuple[Literal[...], ...]` or `list[Literal[...]]`, else nothing."""
    if get_origin(annotation) not in (tuple, list):
        return ()
    item = get_args(annotation)[0]
    return get_args(item) if get_origin(item) is Literal else ()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
