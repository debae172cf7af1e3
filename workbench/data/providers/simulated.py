"""The simulated market behind the provider port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.progress import Report, silent
from workbench.data.bars import INTERVALS, Bars, within
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.simulate import ASSETS, DEFAULT_SEED, HOURS, simulate

VENUE = "simulated"


class SimulatedProvider:
    """Hourly bars of `workbench.data.providers.simulate`, made once, on the first read."""

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

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        """Yield the simulated bars of one asset in one page."""
        if not self._bars:
            self._bars = simulate(self._seed, self._hours, self._report).bars
        bars = self._bars[ref.locator]
        end_t = int(bars.t[-1]) + INTERVALS[ref.interval]
        yield Page(within(bars, since_t, until_t), end_t if until_t is None else min(end_t, until_t))
