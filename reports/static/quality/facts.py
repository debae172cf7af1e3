"""What the quality report is about: every series of the lake that was asked for, what the gates found, and how sources agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.checks.check import CheckResult, check_lake
from workbench.data.checks.reconcile import Reconciled, reconcile_venues, source_pairs
from workbench.data.providers.simulated import VENUE as SIMULATED
from workbench.data.quality.certificates import Certificate, load_certificates
from workbench.data.quality.findings import Finding
from workbench.data.quality.gates import gaps
from workbench.data.store.catalog import Entry
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

WORST_BARS_N: Final = 3
RATIO_GATES: Final = ("wick", "jump", "wick_contradicted", "jump_contradicted")
"""Gates whose findings are one bar each: the worst is the one with the widest range of prices."""


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """One series: counts that the page prints, and what the heat map needs.

    Attributes:
        entry: the series in the catalog, with its versions.
        asset: name in the universe; empty when it has none.
        t: opening times.
        gaps: first and last missing opening time, and bars, in time order.
        zero_n: bars without volume.
        findings: of this series.
    """

    entry: Entry
    asset: str
    t: np.ndarray
    gaps: tuple[tuple[int, int, int], ...]
    zero_n: int
    findings: tuple[Finding, ...]

    @property
    def missing_n(self) -> int:
        """Return the bars missing between the first and the last one."""
        return sum(n for _, _, n in self.gaps)

    @property
    def expected_n(self) -> int:
        """Return the bars a series without a hole would have from its first to its last one."""
        return len(self.t) + self.missing_n

    @property
    def interval_t(self) -> int:
        """Return seconds per bar."""
        return interval_seconds(self.entry.interval)

    @property
    def simulated(self) -> bool:
        """Return whether a generator invented the bars."""
        return self.entry.venue == SIMULATED


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything the page shows.

    Attributes:
        venue, interval: which part of the lake; None = all.
        series: in the order of the universe within each venue and interval.
        check: the gates' result over exactly these series.
        width: by finding, the ratio of the highest to the lowest price around it, for gates that are about one bar.
        reconciled: sources beside each other.
        certificates: by digest, those of the home.
        lake_digest: of the whole lake.
        lake_series_n: series the lake holds.
    """

    venue: str | None
    interval: str | None
    series: tuple[SeriesFacts, ...]
    check: CheckResult
    width: Mapping[Finding, float]
    reconciled: tuple[Reconciled, ...]
    certificates: Mapping[str, Certificate]
    lake_digest: str
    lake_series_n: int


def read_inputs(
    home: Path,
    *,
    venue: str | None = None,
    interval: str | None = None,
    accepted: Sequence[str] = (),
    universe: Universe | None = None,
    report: Report = silent,
) -> Inputs:
    """Read the lake, run the gates and reconcile the sources; nothing is written.

    Args:
        home: the home folder.
        venue: keeps one venue; its second source still checks it.
        interval: keeps one interval.
        accepted: findings accepted by name, for this page only.
        universe: default version v1.
        report: told per stage.

    Raises:
        DataError: the lake has no such series.
        VerificationError: a file of the lake, or a gap certificate, was altered.
    """
    universe = universe or load_universe()
    lake = Lake(home)
    catalog = lake.catalog()
    check = check_lake(home, venue=venue, interval=interval, accepted=accepted, report=report)
    by_series: dict[str, list[Finding]] = {}
    for f in check.findings:
        by_series.setdefault(f.series, []).append(f)
    held = {e.key: e for e in catalog.entries}
    rows, width = [], dict[Finding, float]()
    for i, checked in enumerate(check.series):
        report("count bars", i, len(check.series))
        entry = held[checked.series]
        bars = lake.read(entry.key, entry.current.segments)
        found = tuple(by_series.get(entry.key, ()))
        width |= {f: _width(f, bars) for f in found if f.gate in RATIO_GATES}
        rows.append(_facts(entry, bars, found, universe))
    report("count bars", len(check.series), len(check.series))
    rows.sort(key=lambda s: (s.entry.venue, -s.interval_t, _position(s.asset, universe), s.entry.symbol))
    pairs = [
        p for p in source_pairs(catalog.entries, universe) if interval in (None, p[2]) and (venue is None or venue in p[:2])
    ]
    pairs.sort(key=lambda p: (not p[1].endswith(SECOND_SOURCE_SUFFIX), interval_seconds(p[2]), p))
    return Inputs(
        venue=venue,
        interval=interval,
        series=tuple(rows),
        check=check,
        width=width,
        reconciled=tuple(
            reconcile_venues(home, a, b, step, worst_n=WORST_BARS_N, universe=universe, report=report) for a, b, step in pairs
        ),
        certificates={c.digest: c for c in load_certificates(home)},
        lake_digest=lake.digest(),
        lake_series_n=len(catalog.entries),
    )


def _facts(entry: Entry, bars: Bars, found: tuple[Finding, ...], universe: Universe) -> SeriesFacts:
    listing = universe.resolve(entry.venue, entry.symbol)
    return SeriesFacts(
        entry=entry,
        asset=listing.asset if listing else "",
        t=bars.t,
        gaps=tuple(gaps(bars.t, interval_seconds(entry.interval))),
        zero_n=int((bars.volume == 0.0).sum()),
        findings=found,
    )


def _position(asset: str, universe: Universe) -> int:
    return universe.assets.index(asset) if asset in universe.assets else len(universe.assets)


def _width(f: Finding, bars: Bars) -> float:
    """Return the highest over the lowest price of a bar and the close before it; 0.0 when there is no such bar."""
    i = int(np.searchsorted(bars.t, f.first_t))
    if i >= len(bars) or int(bars.t[i]) != f.first_t:
        return 0.0
    prices = [float(x[i]) for x in (bars.open, bars.high, bars.low, bars.close)]
    if f.gate.startswith("jump") and i:
        prices.append(float(bars.close[i - 1]))
    return max(prices) / min(prices)
