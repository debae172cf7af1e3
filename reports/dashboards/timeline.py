"""The held decisions as one table for all sessions, and how it is filtered: text made once per decision, choices as column tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from reports.dashboards import words
from reports.dashboards.bus import Filter
from reports.dashboards.decision_shapes import Signal

SHOWN: Final = ("time", "pair", "act", "why", "outlook", "p_up", "edge", "size")
KINDS: Final = {"ENTER": "entries", "REENTER": "entries", "REALISE": "sales", "DERISK": "sales", "EXIT": "sales"}
COLUMNS: Final = ("id", *SHOWN, "asset", "kind", "gate", "at_t")


def row_of(signal: Signal) -> tuple[str | int, ...]:
    """Return one decision by `COLUMNS`."""
    glyph, word, _ = words.action(signal.action, refused=signal.refused)
    return (
        signal.signal_id,
        words.moment(signal.at_t),
        f"{signal.symbol}/{signal.quote}",
        f"{glyph} {word}",
        words.gate(signal.gate) if signal.refused else words.reason(signal.reason),
        words.outlook(signal.outlook)[1],
        words.probability(signal.prob_ppm) if signal.prob_ppm else words.NONE,
        words.basis_points(signal.edge_ppm) if signal.prob_ppm else words.NONE,
        words.NONE if signal.refused or signal.sized_e8 == 0 else words.money(signal.sized_e8),
        signal.symbol,
        "refused" if signal.refused else KINDS.get(signal.action, "holds"),
        signal.gate,
        signal.at_t,
    )


class Frames:
    """Keeps the table of the last snapshot's decisions; new ones are put on top, nothing else is made again."""

    def __init__(self) -> None:
        self._signals: Sequence[Signal] = ()
        self._frame = pd.DataFrame([], columns=list(COLUMNS))

    def of(self, signals: Sequence[Signal]) -> pd.DataFrame:
        """Return the table of decisions, newest first.

        Args:
            signals: newest first.
        """
        if signals is self._signals:
            return self._frame
        last = self._signals[0] if self._signals else None
        fresh_n = next((n for n, s in enumerate(signals) if s is last), len(signals))  # another run has none of the old ones
        fresh = pd.DataFrame([row_of(s) for s in signals[:fresh_n]], columns=list(COLUMNS))
        kept_n = len(signals) - fresh_n
        self._frame = (
            pd.concat([fresh, self._frame.iloc[:kept_n]], ignore_index=True)
            if kept_n and fresh_n
            else (self._frame.iloc[:kept_n] if kept_n else fresh)
        )
        self._signals = signals
        return self._frame


def filtered(frame: pd.DataFrame, choice: Filter, now_t: int) -> pd.DataFrame:
    """Return the rows that a filter keeps, numbered anew.

    Args:
        frame: by `COLUMNS`.
        choice: of the page.
        now_t: what "last hours" count from.
    """
    keep = pd.Series(True, index=frame.index)
    if choice.asset:
        keep &= frame["asset"] == choice.asset
    if choice.gate == "refused":
        keep &= frame["kind"] == "refused"
    elif choice.gate:
        keep &= frame["gate"] == choice.gate
    if choice.action:
        keep &= frame["kind"] == choice.action
    if choice.hours:
        keep &= frame["at_t"] > now_t - int(choice.hours) * 3600
    return frame[keep].reset_index(drop=True)
