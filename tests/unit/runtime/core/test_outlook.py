from __future__ import annotations

import numpy as np
import pytest

from runtime.core import codes as c
from runtime.core import outlook
from runtime.core.records import BAR, FORECAST, STATE
from runtime.policy import RiskProfile

RULES = RiskProfile().to_record([])[0]["rules"]


def forecast(prob: int, main: int, far: int, valid: int = 1) -> np.void:
    row = np.zeros(1, FORECAST)
    row[0] = (prob, prob, prob, 0, main, far, 0, valid)
    return row[0]


@pytest.mark.parametrize(
    ("prob", "main", "far", "expected"),
    [
        (560_000, 15_000, 0, c.STRONG_POSITIVE),
        (559_999, 15_000, 0, c.POSITIVE),
        (560_000, 14_999, 0, c.POSITIVE),
        (530_000, 0, 4_000, c.POSITIVE),
        (529_999, 4_000, 4_000, c.NEUTRAL),
        (530_000, 3_999, 3_999, c.NEUTRAL),
        (700_000, 50_000, -1, c.NEUTRAL),
        (470_000, -2_000, 0, c.NEGATIVE),
        (470_001, -2_000, 0, c.NEUTRAL),
        (470_000, -1_999, 0, c.NEUTRAL),
        (440_000, 0, -6_000, c.STRONG_NEGATIVE),
        (440_001, 0, -6_000, c.NEGATIVE),
        (440_000, 0, -5_999, c.NEGATIVE),
    ],
)
def test_cut_offs(prob: int, main: int, far: int, expected: int) -> None:
    assert outlook.classify(RULES, forecast(prob, main, far)) == expected


def test_without_a_forecast_the_outlook_is_neutral() -> None:
    assert outlook.classify(RULES, forecast(900_000, 90_000, 90_000, valid=0)) == c.NEUTRAL


def classes(sequence: list[int], entry_n: int = 2, exit_n: int = 2) -> list[int]:
    rules = RiskProfile(entry_persist_n=entry_n, exit_persist_n=exit_n).to_record([])[0]["rules"]
    position = np.zeros(1, STATE)[0]["positions"][0]
    seen = []
    for raw in sequence:
        outlook.persist(rules, position, raw)
        seen.append(int(position["outlook_id"]))
    return seen


def test_a_class_needs_consecutive_confirmations() -> None:
    assert classes([1, 0, 1, 1]) == [0, 0, 0, 1]
    assert classes([1, 1, -1, -1]) == [0, 1, 1, -1]
    assert classes([2, 2, 2], entry_n=3) == [0, 0, 2]


def test_a_flickering_view_is_confirmed_as_its_weaker_class() -> None:
    assert classes([2, 1]) == [0, 1]
    assert classes([1, 2]) == [0, 1]
    assert classes([-2, -1]) == [0, -1]


def test_exit_and_entry_persist_apart() -> None:
    assert classes([1, -1], entry_n=1, exit_n=1) == [1, -1]
    assert classes([1, 1, 1, -2], entry_n=3, exit_n=1) == [0, 0, 1, -2]


def test_volatility_is_the_decaying_mean_of_the_true_range() -> None:
    position = np.zeros(1, STATE)[0]["positions"][0]
    bar = np.zeros(1, BAR)
    bar[0] = (100, 103, 99, 102, 1, 1)
    outlook.observe_bar(RULES, position, bar[0], 3_600)
    assert (int(position["mark_e8"]), int(position["mark_t"]), int(position["vol_ppb"])) == (102, 3_600, 0)
    bar[0] = (102, 104, 101, 103, 1, 1)
    outlook.observe_bar(RULES, position, bar[0], 7_200)
    first = 3 * 10**9 // 102
    assert int(position["vol_ppb"]) == first
    bar[0] = (90, 95, 90, 92, 1, 1)  # a gap down counts from the previous close
    outlook.observe_bar(RULES, position, bar[0], 10_800)
    assert int(position["vol_ppb"]) == first + ((13 * 10**9 // 103 - first) * 20_000) // 10**6
