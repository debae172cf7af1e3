"""The held decisions: filtered fast, and extended without making them again."""

from __future__ import annotations

import random
import time

from reports.dashboards.bus import Filter
from reports.dashboards.decision_shapes import Signal
from reports.dashboards.timeline import Frames, filtered

ROWS_N = 10_000
FILTER_S_MAX = 0.1
CHOICES = (
    ("ENTER", True, "COST"),
    ("ENTER", False, "PASS"),
    ("HOLD", False, "PASS"),
    ("EXIT", False, "PASS"),
    ("EXIT", True, "FRESHNESS"),
)


def signals(first_n: int, last_n: int) -> tuple[Signal, ...]:
    """Return made-up decisions, newest first."""
    chance = random.Random(first_n)
    made = []
    for n in range(last_n, first_n - 1, -1):
        action, refused, gate = chance.choice(CHOICES)
        numbers = dict.fromkeys(Signal.model_fields, 1)
        words = {"action": action, "refused": refused, "gate": gate, "symbol": f"S{n % 30}", "quote": "USD", "outlook": "POSITIVE",
                 "raw_outlook": "POSITIVE", "reason": "NONE", "words": "w", "tier": "NORMAL", "signal_id": n, "at_t": n * 60}  # fmt: skip
        made.append(Signal.model_validate(numbers | words))
    return tuple(made)


def test_ten_thousand_rows_are_filtered_in_a_tenth_of_a_second() -> None:
    held = signals(1, ROWS_N)
    frame = Frames().of(held)
    now_t = ROWS_N * 60
    choices = (
        Filter(asset="S3"), Filter(gate="refused"), Filter(gate="COST", asset="S3"), Filter(action="entries", hours="24"), Filter(),
    )  # fmt: skip
    for choice in choices:
        took_s = []
        for _ in range(3):
            began_s = time.perf_counter()
            rows = filtered(frame, choice, now_t)
            took_s.append(time.perf_counter() - began_s)
        assert min(took_s) < FILTER_S_MAX
        expected = [
            s.signal_id for s in held
            if choice.asset in ("", s.symbol)
            and (not choice.gate or (s.refused if choice.gate == "refused" else s.gate == choice.gate))
            and (not choice.action or (s.action == "ENTER" and not s.refused))
            and (not choice.hours or s.at_t > now_t - int(choice.hours) * 3600)
        ]  # fmt: skip
        assert rows["id"].tolist() == expected
        assert expected


def test_new_decisions_are_put_on_top_and_old_ones_fall_off() -> None:
    frames = Frames()
    held = signals(1, 50)
    frames.of(held)
    now = (*signals(51, 60), *held[:40])
    frame = frames.of(now)
    assert frame["id"].tolist() == [s.signal_id for s in now]
    assert frames.of(now) is frame
    other = signals(1, 5)
    assert frames.of(other)["id"].tolist() == [5, 4, 3, 2, 1], "another run begins anew"
    assert frames.of(())["id"].tolist() == []
