"""A desk whose core is followed by the books of the export's verifier: two implementations, one row for each row."""

from __future__ import annotations

from collections import deque

import numpy as np

from runtime.core.records import BAR, BY_NAME, CLUSTER, FORECAST, INSTRUMENTS
from runtime.ops import verify_export as v
from runtime.policy import PairRules, RiskProfile
from tests.support.desk import E8, Desk

Rows = dict[str, list[tuple[int, ...]]]


class Mirror(Desk):
    """Applies every event to the core and to the verifier's books, which get the core's signals as wishes."""

    def __init__(self, profile: RiskProfile | None = None, cash_e8: int = 100_000 * E8, pair: PairRules | None = None) -> None:
        pairs = [(pair or PairRules()).model_dump(mode="json")] * 3
        genesis = {
            "account_id": 1, "mode_id": 1, "interval_t": 3_600, "deposits": [], "pairs": pairs,
            "profile": (profile or RiskProfile()).model_dump(mode="json"),
        }  # fmt: skip
        self.books = v.Books(v.Profile(genesis))
        super().__init__(profile, cash_e8, pair)

    def event(self, kind: int, bars: np.ndarray | None = None, forecasts: np.ndarray | None = None, **fields: int) -> None:
        """Apply one event to both and compare all rows that it makes."""
        before = self._counts()
        super().event(kind, bars, forecasts, **fields)
        self._follow(before, bars, forecasts, None)

    def clusters(self, membership: np.ndarray, version: int) -> None:
        """Take in a membership in both."""
        before = self._counts()
        super().clusters(membership, version)
        self._follow(before, None, None, membership)

    def last_event(self) -> tuple[int, ...]:
        """Return the last event, in the order of `verify_export.EVENT`."""
        event: tuple[int, ...] = self.out.event[int(self.out.n[0]["event"]) - 1].item()
        return event

    def _counts(self) -> dict[str, int]:
        return {name: int(self.out.n[0][name]) for name in BY_NAME}

    def _follow(
        self, before: dict[str, int], bars: np.ndarray | None, forecasts: np.ndarray | None, clusters: np.ndarray | None
    ) -> None:
        made: Rows = {
            name: [row.item() for row in getattr(self.out, name)[first : int(self.out.n[0][name])]]
            for name, first in before.items()
        }
        self.apply(self.last_event(), flat(bars, BAR), flat(forecasts, FORECAST), flat(clusters, CLUSTER), made["trade_signal"])
        for name, rows in made.items():
            assert self.books.rows[name] == rows, name

    def apply(
        self, event: tuple[int, ...], bars: tuple[int, ...] = (), forecasts: tuple[int, ...] = (),
        clusters: tuple[int, ...] = (), signals: list[tuple[int, ...]] | None = None,
    ) -> None:  # fmt: skip
        """Apply an event to the verifier's books alone, with signals that a forger may have chosen."""
        self.books.wishes = deque(signals or ())
        for rows in self.books.rows.values():
            rows.clear()
        self.books.apply(event, bars, forecasts, clusters)


def flat(rows: np.ndarray | None, dtype: np.dtype[np.void]) -> tuple[int, ...]:
    """Return records [INSTRUMENTS] as the integers that the verifier reads from an archive."""
    if rows is None:
        return ()
    assert rows.shape == (INSTRUMENTS,)
    assert rows.dtype == dtype
    return tuple(np.ascontiguousarray(rows).view("<i8").tolist())
