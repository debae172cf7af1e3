from __future__ import annotations

from runtime.adapters.clock import ManualClock, SystemClock


def test_the_systems_clock_moves_forward_in_both_its_readings() -> None:
    clock = SystemClock()
    first = clock.now_t()
    second = clock.now_s()
    assert first <= second <= clock.now_t() + 1


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(5)
    assert (clock.now_t(), clock.now_t()) == (5, 5)
    clock.at_t = 9
    assert clock.now_t() == 9
