"""The simulated market behind the provider port."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.progress import Report, silent
from workbench.data.bars import Bars
from workbench.data.providers import SeriesRef
from workbench.data.simulate import ASSETS, DEFAULT_SEED, HOURS, simulate

VENUE = "simulated"


class SimulatedProvider:
    """Hourly bars of `workbench.data.simulate`, made once, on the first read."""

    name = "simulated"
    closed = True

    def __init__(self, seed: int = DEFAULT_SEED, hours: int = HOURS, report: Report = silent) -> None:
        self._seed, self._hours, self._report = seed, hours, report
        self._bars: dict[str, Bars] = {}

    def series(self) -> Sequence[SeriesRef]:
        """Return one hourly series per asset that is listed within the simulated hours."""
        origin = f"seed {self._seed}, {self._hours} hours"
        listed = sorted(a.name for a in ASSETS if a.listed_h < self._hours)
        return [SeriesRef(VENUE, "1h", f"{name}USD", origin, name) for name in listed]

    def read(self, ref: SeriesRef) -> Bars:
        """Return the simulated bars of one asset."""
        if not self._bars:
            self._bars = simulate(self._seed, self._hours, self._report).bars
        return self._bars[ref.locator]
