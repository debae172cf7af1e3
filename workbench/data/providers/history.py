"""What the providers of deep history share: which symbols they ask for, which rows they accept, which page must come twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from workbench.data.providers.calls import CallFailure, Cause
from workbench.data.universe.versions import Universe

EARLIEST_T: Final = 1_262_304_000
"""2010-01-01: before any exchange."""


class Wanted(NamedTuple):
    """A symbol to ask for: in the venue's own words, and its two parts."""

    symbol: str
    base: str
    quote: str


def wanted_symbols(universe: Universe, venue: str, assets: Sequence[str] | None, quote: str) -> list[Wanted]:
    """Return the symbols of the assets at a venue, former tickers included, ordered.

    Args:
        universe: whose assets.
        venue: its name in the universe.
        assets: only these; None = all that the venue maps.
        quote: quote currency the prices stand for.

    Raises:
        UsageError: one of the assets is not in the universe or not at the venue.
    """
    at = universe.venue(venue)
    theirs = next((name for name, stands_for in at.quotes.items() if stands_for == quote), "")
    mapped = [a for a in universe.assets if a not in at.absent and theirs] if assets is None else list(assets)
    found = [Wanted(universe.symbol(venue, a, quote), a, theirs) for a in mapped]
    for rename in universe.renames:
        former = Wanted(f"{rename.former}{theirs}", rename.former, theirs)
        if rename.asset in mapped and universe.resolve(venue, former.symbol) is not None:
            found.append(former)
    return sorted(found)


def checked(rows: Sequence[Sequence[float]], columns_n: int, since_t: int, step_t: int) -> np.ndarray:
    """Return rows as float64 [N, columns_n]: t in seconds, open, high, low, close, volume and more.

    Raises:
        CallFailure: rows are off their grid, out of order, older than asked for, or hold a value no bar has.
    """
    table = np.array(rows, dtype=np.float64).reshape(-1, columns_n)
    t = table[:, 0]
    if bool((t % step_t != 0).any()) or bool((np.diff(t) <= 0).any()):
        raise CallFailure(Cause.FORM, "bars off their grid or out of order")
    if len(t) and t[0] < since_t:
        raise CallFailure(Cause.FORM, "bars older than those asked for")
    if bool((table[:, 1:5] <= 0).any()) or bool((table[:, 5:] < 0).any()):
        raise CallFailure(Cause.FORM, "a price of zero, or a volume or count below zero")
    return table


def gapless(rows: np.ndarray, since_t: int, step_t: int) -> bool:
    """Return whether rows begin at `since_t` and follow one another without a hole."""
    return len(rows) > 0 and rows[0, 0] == since_t and bool((np.diff(rows[:, 0]) == step_t).all())
