"""Bars enter the core as exact integers, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.records import BAR, INSTRUMENTS
from runtime.errors import DataError
from runtime.inference.panel import BarPanel
from runtime.inference.quantise import RATIO_MAX_PPM, VOLUME_MAX_E4, bars_to_core, to_ppm
from tests.support.panels import make_panel


def one_bar(opened: float, high: float, low: float, close: float, volume: float) -> BarPanel:
    fields = [np.array([[value]]) for value in (opened, high, low, close, volume)]
    return BarPanel(("BTC",), 3_600, np.array([7_200], np.int64), *fields)


def test_prices_and_volumes_round_as_stated() -> None:
    bars, close_t = bars_to_core(one_bar(1.000000005, 1.000000016, 0.999999994, 1.000000014, 2.99999), ("BTC",))
    assert bars.dtype == BAR
    assert bars.shape == (1, INSTRUMENTS)
    assert bars[0, 0].item() == (100_000_000, 100_000_002, 99_999_999, 100_000_001, 29_999, 1)
    assert close_t.tolist() == [10_800]


def test_published_decimals_are_met_exactly() -> None:
    for text in ("0.00000834", "68999.99", "0.07", "123456.78901234", "0.29", "999999.99999999"):
        bars, _ = bars_to_core(one_bar(float(text), float(text), float(text), float(text), 1.0), ("BTC",))
        whole, _, decimals = text.partition(".")
        assert bars["close_e8"][0, 0] == int(whole + decimals.ljust(8, "0"))


def test_round_trip_of_a_panel_with_holes() -> None:
    panel = make_panel(1_500, 5, seed=8)
    bars, close_t = bars_to_core(panel, panel.symbols)
    present = ~np.isnan(panel.close)
    assert (bars["present_n"][:, :5] == present).all()
    assert (bars["close_e8"][:, :5][present] / 1e8 == panel.close[present]).all()
    assert (bars["low_e8"][:, :5][present] / 1e8 == panel.low[present]).all()
    assert (np.abs(bars["volume_e4"][:, :5][present] / 1e4 - panel.volume[present]) <= 1e-4).all()
    for name in BAR.names or ():
        assert not bars[name][:, :5][~present].any()
        assert not bars[name][:, 5:].any()
    assert (close_t == panel.open_t + 3_600).all()


def test_instruments_follow_the_given_symbols() -> None:
    panel = make_panel(50, 3, holes=False)
    bars, _ = bars_to_core(panel, ("SOL", "NONE", "BTC"))
    assert (bars["close_e8"][:, 0] / 1e8 == panel.close[:, 2]).all()
    assert not bars["present_n"][:, 1].any()
    assert (bars["close_e8"][:, 2] / 1e8 == panel.close[:, 0]).all()


def test_a_bar_that_lacks_a_field_is_absent() -> None:
    panel = make_panel(10, 3, holes=False)
    for i, values in enumerate((panel.open, panel.high, panel.low, panel.close, panel.volume)):
        values[i, 1] = np.nan if i % 2 else np.inf
    bars, _ = bars_to_core(panel, panel.symbols)
    assert bars["present_n"][:, 1].tolist() == [0] * 5 + [1] * 5


def test_huge_volumes_saturate() -> None:
    bars, _ = bars_to_core(one_bar(1.0, 1.0, 1.0, 1.0, 1e18), ("BTC",))
    assert bars["volume_e4"][0, 0] == VOLUME_MAX_E4


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        ((-1.0, 1.0, -1.0, 1.0, 1.0), "price"), ((1e-9, 1.0, 1e-9, 1.0, 1.0), "price"), ((1e11, 1e11, 1.0, 1.0, 1.0), "price"),
        ((1.0, 1.0, 1.0, 1.0, -1.0), "volume"), ((2.0, 1.5, 1.0, 1.2, 1.0), "outside"), ((1.0, 2.0, 1.0, 0.9, 1.0), "outside"),
    ],
)  # fmt: skip
def test_bars_the_core_could_not_carry_are_refused(bar: tuple[float, float, float, float, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        bars_to_core(one_bar(*bar), ("BTC",))


def test_too_many_or_repeated_symbols_are_refused() -> None:
    panel = make_panel(5, 3)
    for symbols in (tuple(f"S{i}" for i in range(INSTRUMENTS + 1)), ("BTC", "BTC")):
        with pytest.raises(DataError, match="symbols"):
            bars_to_core(panel, symbols)


def test_ratios_round_half_even_and_saturate() -> None:
    found = to_ppm(np.array([0.0000005, 0.0000015, -0.0000005, 0.1, 1e9, -1e9]))
    assert found.tolist() == [0, 2, 0, 100_000, RATIO_MAX_PPM, -RATIO_MAX_PPM]
