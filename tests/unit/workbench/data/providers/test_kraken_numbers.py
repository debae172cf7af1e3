from __future__ import annotations

import pytest

from workbench.data.providers.calls import CallFailure, Cause
from workbench.data.providers.kraken_rest import _trades


@pytest.mark.parametrize(
    "value", ["1e999", "1e999999", "9" * 40, "1e11", "1_000.5", " 1", "1\n", "\u0661", "+1", ".5", "1.", "nan", "0x1"]
)
def test_a_number_that_no_bar_can_hold_is_an_answer_in_an_unknown_form(value: str) -> None:
    row: list[object] = ["100.0", value, 1, "b", "m", "", 7]
    with pytest.raises(CallFailure) as caught:
        _trades({"XXBTZUSD": [row], "last": "1000000000"}, {"XXBTZUSD"})
    assert caught.value.cause is Cause.FORM


@pytest.mark.parametrize("price", ["1_000.5", " 1", "\u0661", "inf", ""])
def test_only_plain_decimals_are_prices(price: str) -> None:
    row: list[object] = [price, "1.0", 1, "b", "m", "", 7]
    with pytest.raises(CallFailure) as caught:
        _trades({"XXBTZUSD": [row], "last": "1000000000"}, {"XXBTZUSD"})
    assert caught.value.cause is Cause.FORM
