"""What happens when in a paper run: jumps of the clock, faults that happen once each, kills. A function of the seed."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from runtime.adapters.local_kraken.faults import Fault, Switch

JUMP_HOURS_MAX: Final = 4


class Once(Switch):
    """A fault that happens in one call of its place: the one after `skip_n` others."""

    skip_n = 0

    def spent(self) -> bool:
        """Return whether it has happened."""
        return self.called_n > self.skip_n

    def acts(self, seed: int, position_n: int) -> bool:
        """Count a call."""
        self.called_n += 1
        return self.called_n == self.skip_n + 1


def once(fault: Fault, place: str, skip_n: int) -> Once:
    """Return a fault that happens once."""
    switch = Once(fault, place, next_n=1)
    switch.skip_n = skip_n
    return switch


class Step(NamedTuple):
    """What happens in one step of the venue's time.

    Attributes:
        hours_n: how far it goes; more than one is a jump of the clock.
        faults: what breaks in it.
        kill_after: when the daemon is killed: in parts of a usual step's duration; `None`: never.
    """

    hours_n: int
    faults: tuple[tuple[Fault, str, int], ...] = ()
    kill_after: float | None = None


def schedule(
    seed: int, hours_n: int, *, faults_n: int, kills_n: int, kinds: tuple[tuple[Fault, str], ...], symbols_n: int
) -> list[Step]:
    """Return the steps of a run: the jumps of the clock are the same whatever else is asked for, so that two runs can be compared."""
    rng = np.random.Generator(np.random.PCG64(seed))
    lengths: list[int] = []
    while (left := hours_n - sum(lengths)) > 0:
        jump = len(lengths) > 4 and rng.random() < 0.02
        lengths.append(min(int(rng.integers(2, JUMP_HOURS_MAX + 1)) if jump else 1, left))
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    kills = dict.fromkeys(rng.choice(np.arange(1, len(lengths)), kills_n, replace=False).tolist(), 0.0)
    broken: list[list[tuple[Fault, str, int]]] = [[] for _ in lengths]
    planned_n = 0
    while planned_n < faults_n:
        fault, place = kinds[int(rng.integers(0, len(kinds)))] if planned_n >= len(kinds) else kinds[planned_n]
        step = broken[int(rng.integers(1, len(lengths)))]
        asked = [(fault, place, int(rng.integers(0, symbols_n)) if fault.startswith("ws-") else 0)]
        if place == "OHLC":  # a call that can fail: the candle is lost on the WebSocket
            asked.append((Fault.WS_GAP, "ohlc", int(rng.integers(0, symbols_n))))
        step += asked
        planned_n += len(asked)
    return [
        Step(length, tuple(broken[i]), float(rng.random() * 1.3) if i in kills else None) for i, length in enumerate(lengths)
    ]
