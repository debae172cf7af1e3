"""Numbers and comparisons in words."""

from __future__ import annotations

import pytest

from runtime.control.words import KILL_NAMES, compared, shown
from runtime.core import codes as c


@pytest.mark.parametrize(
    ("scale", "value", "said"),
    [
        ("e8", 123_456_789_000_000, "1,234,567.89"), ("e8", -1, "-0.00000001"), ("e8", 0, "0"), ("e8", 10**10, "100"),
        ("e8", -(10**12), "-10,000"), ("e4", 15_000, "1.5"), ("ppm", 10_000, "1 %"), ("ppm", -25, "-0.0025 %"), ("ppm", 10**7, "1,000 %"),
        ("t", 3_661, "1 h 1 min 1 s"), ("t", 0, "0 s"), ("t", -60, "-1 min"), ("ms", 2_500, "2,500 ms"), ("n", 12_345, "12,345"),
    ],
)  # fmt: skip
def test_a_number_is_said_with_its_unit(scale: str, value: int, said: str) -> None:
    assert shown(scale, value) == said


@pytest.mark.parametrize("gate", [gate for gate in c.GATE_NAMES if gate != c.G_PASS])
@pytest.mark.parametrize("value", [0, 1])
def test_every_gate_has_a_sentence_of_its_own(gate: int, value: int) -> None:
    said = {compared(gate, scale, 7, value) for scale in ("n", "e8", "ppm")}
    assert not any(sentence.startswith("value ") for sentence in said)


def test_sentences_say_which_way() -> None:
    assert compared(c.G_KILL, "n", 0, c.KILL_DATA) == "the kill switch is thrown (data)"
    assert compared(c.G_KILL, "n", 0, 0) == "the kill switch is off"
    assert compared(c.G_COST, "ppm", 5_200, 4_000) == "expected gross return 0.4 % must exceed 0.52 %: round trip and margin"
    assert compared(c.G_FRESHNESS, "t", 1_800, 4_000) == "age of the data 1 h 6 min 40 s, oldest that counts 30 min"
    assert compared(c.G_TOTAL, "e8", 2 * 10**11, 10**11) == "total exposure 1,000, cap 2,000"
    assert compared(99, "n", 1, 2) == "value 2, limit 1"


def test_every_cause_of_the_kill_switch_has_a_name() -> None:
    causes = {value for name, value in vars(c).items() if name.startswith("KILL_")}
    assert set(KILL_NAMES) == causes | {0}
