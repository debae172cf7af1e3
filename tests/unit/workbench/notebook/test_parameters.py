from __future__ import annotations

import pytest

from runtime.errors import DataError, UsageError
from workbench.notebook.parameters import declared, effective, from_text

CELL = """
symbol: str = "BTC"  # which asset
window: int = 10
fee: float = 0.5  # per trade
quick: bool = False
hours: list[int] = [4, 24]
names: list[str] = []
"""


def test_declared_reads_types_defaults_and_help() -> None:
    found = declared(CELL)
    assert [(p.name, p.type_text, p.default, p.help) for p in found] == [
        ("symbol", "str", "BTC", "which asset"),
        ("window", "int", 10, ""),
        ("fee", "float", 0.5, "per trade"),
        ("quick", "bool", False, ""),
        ("hours", "list[int]", [4, 24], ""),
        ("names", "list[str]", [], ""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "window = 10",
        "window: int",
        "window: int = 5 + 5",
        "window: int = '10'",
        "window: float = True",
        "window: dict = {}",
        "window: list[bool] = [True]",
        "hours: list[int] = [4, '24']",
        "import os",
        "print('x')",
        "window: int = int('3')",
    ],
)
def test_anything_but_annotated_literals_is_refused(line: str) -> None:
    with pytest.raises(DataError) as caught:
        declared(f"{line}\n")
    assert caught.value.got.startswith("the parameters cell contains")


def test_effective_fills_defaults_in_declared_order_and_widens_int_to_float() -> None:
    values = effective(declared(CELL), {"fee": 1, "window": 3})
    assert list(values) == ["symbol", "window", "fee", "quick", "hours", "names"]
    assert values["fee"] == 1.0
    assert type(values["fee"]) is float
    assert values["window"] == 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"widow": 3}, "unknown parameter widow"),
        ({"window": 3.0}, "window"),
        ({"window": "3"}, "window"),
        ({"window": True}, "window"),
        ({"symbol": 5}, "symbol"),
        ({"quick": 1}, "quick"),
        ({"hours": 4}, "hours"),
        ({"hours": [4.0]}, "hours"),
        ({"fee": None}, "fee"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused(given: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        effective(declared(CELL), given)


def test_texts_are_read_as_the_declared_types_say() -> None:
    read = from_text(
        declared(CELL), {"hours": "1,4", "names": "a, b", "quick": "True", "fee": "2", "symbol": "42", "window": "7"}
    )
    assert read == {"hours": [1, 4], "names": ["a", "b"], "quick": True, "fee": 2.0, "symbol": "42", "window": 7}
    assert from_text(declared(CELL), {"hours": "[1, 4]"}) == {"hours": [1, 4]}


@pytest.mark.parametrize(
    ("name", "text"), [("window", "ten"), ("window", "1.5"), ("quick", "yes"), ("hours", "4;5"), ("oops", "1")]
)
def test_texts_of_another_type_are_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        from_text(declared(CELL), {name: text})
