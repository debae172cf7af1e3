"""Import: read everything, check everything, then commit all of it or nothing.

Idempotent on the natural key (venue, interval, symbol, opening time): importing the same bars again changes no byte of the
lake; newer bars extend the series; bars that arrive late make a new version, with evidence. Bars that differ from those on record are a correction: it
needs a reason, and the version keeps old and new values. One exception needs none: a bar that may have been cut while it was
still forming (`gates.unclosed`); the bar of a download that went past it counts, in whichever order the two arrive.

A file of the lake that is missing or damaged is written anew by an import that brings its bars again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from runtime.errors import BallastError, DataError, GateError, VerificationError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds, joined
from workbench.data.providers import BarProvider, SeriesRef, read_series
from workbench.data.quality.findings import Finding, finding
from workbench.data.quality.gates import Series, form_findings
from workbench.data.store.catalog import Catalog, Entry
from workbench.data.store.merge import Arrival, ImportedSeries, bring, first_version
from workbench.data.store.segments import Piece, Segment, split
from workbench.data.universe.versions import Universe, load_universe

UNTOUCHED: Final = "; nothing was imported"
"""Ends the advice of every import that was refused."""


class ImportResult(BaseModel):
    """What an import did."""

    model_config = ConfigDict(frozen=True)

    source: str
    series: tuple[ImportedSeries, ...]
    findings: tuple[Finding, ...]

    @property
    def changed_n(self) -> int:
        """Return the number of series that got a new version."""
        return sum(not s.unchanged for s in self.series)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Bars of one series that a sync brings.

    Attributes:
        ref: whose bars.
        bars: ordered by time; may be empty.
        source: the provider's name.
        closed: the provider vouches that every bar had closed.
    """

    ref: SeriesRef
    bars: Bars
    source: str
    closed: bool


@dataclass(frozen=True, slots=True)
class Received:
    """Bars of a source, read and checked, not yet imported; it is the `Shelf` of these bars and no others.

    Attributes:
        provider: where they come from.
        refs: the series of known symbols.
        bars: their bars by key.
        pieces: the same, cut into segments.
        skipped: a finding per series of an unknown symbol.
    """

    provider: BarProvider
    refs: tuple[SeriesRef, ...]
    bars: Mapping[str, Bars]
    pieces: Mapping[str, Sequence[Piece]]
    skipped: tuple[Finding, ...]

    def catalog(self) -> Catalog:
        """Return the catalog a lake would have that never held anything else."""
        entries = []
        for ref in sorted(self.refs, key=lambda r: r.key):
            version = first_version(ref, self.provider.name, self.provider.closed, self.bars[ref.key], self.pieces[ref.key])
            entries.append(Entry(venue=ref.venue, interval=ref.interval, symbol=ref.symbol, versions=(version,)))
        return Catalog(entries=tuple(entries))

    def read(self, key: str, segments: Sequence[Segment]) -> Bars:
        """Return the bars of segments of a series."""
        held = {p.segment: p.bars for p in self.pieces.get(key, ())}
        missing = [s.period for s in segments if s not in held]
        if missing:
            raise VerificationError(
                f"{key}: no such bars of {missing[0]}", expected="bars of this source", action="read it again"
            )
        return joined([held[s] for s in segments])


def import_bars(
    home: Path,
    provider: BarProvider,
    *,
    series: Sequence[SeriesRef] | None = None,
    correction: str = "",
    universe: Universe | None = None,
    now_t: int | None = None,
    report: Report = silent,
) -> ImportResult:
    """Import series of a provider into the lake.

    Args:
        home: the home folder.
        provider: where the bars come from.
        series: which of its series; default all.
        correction: why bars on record may change; empty = they may not.
        universe: whose symbols are imported; others are skipped by name with a finding.
        now_t: the clock, seconds UTC, that no bar may be ahead of; None = no clock is asked.
        report: told per series.

    Raises:
        DataError: a source cannot be read, or none of its symbols is known.
        GateError: bars are malformed, or bars on record would change without a reason. Nothing was changed.
        VerificationError: a lake file is damaged, and these bars are not the ones it held.
        EnvironmentFailure: the lake cannot be written.
    """
    received = receive(provider, series=series, universe=universe, now_t=now_t, report=report)
    return import_received(home, received, correction, report=report)


def receive(
    provider: BarProvider,
    *,
    series: Sequence[SeriesRef] | None = None,
    universe: Universe | None = None,
    now_t: int | None = None,
    report: Report = silent,
) -> Received:
    """Read and check series of a provider; nothing is written. See `import_bars`."""
    universe = universe or load_universe()
    refs = list(provider.series() if series is None else series)
    known = [r for r in refs if universe.resolve(r.venue, r.symbol) is not None]
    skipped = [
        finding(
            "unknown_symbol",
            r.symbol,
            r.key,
            0,
            0,
            0,
            f"{r.key} ({r.origin}) is not in universe {universe.version}: skipped",
        )
        for r in refs
        if r not in known
    ]
    if not known:
        raise DataError(
            f"no known symbol among {', '.join(r.origin for r in refs[:5])}" + (", ..." if len(refs) > 5 else ""),
            expected=f"symbols of universe {universe.version}, such as {universe.symbol(refs[0].venue, 'BTC')} at {refs[0].venue}",
            action="rename the files to the venue's symbols, say whose they are (`--venue`: one of "
            + ", ".join(sorted(set(universe.venues) - {"simulated"}))
            + "), or choose another folder",
        )
    bars = _read_all(provider, known, now_t, report)
    pieces = {r.key: split(bars[r.key], r.interval) for r in known}
    return Received(provider, tuple(known), bars, pieces, tuple(skipped))


def import_received(
    home: Path, received: Received, correction: str = "", *, exact: bool = False, report: Report = silent
) -> ImportResult:
    """Import what was received.

    Args:
        home: the home folder.
        received: bars, read and checked.
        correction: why bars on record may change; empty = they may not.
        exact: also keep the segments of each series as received, beside those merged with bars on record, so that a dataset of
            exactly these bars can be loaded.
        report: told when it writes.

    Raises:
        GateError, VerificationError, EnvironmentFailure: as `import_bars`.
    """
    provider = received.provider
    arrivals = [
        Arrival(r.key, r, provider.name, provider.closed, received.bars[r.key], received.pieces[r.key]) for r in received.refs
    ]
    report("write lake", 0, 1)
    done = bring(home, arrivals, correction, exact=exact)
    report("write lake", 1, 1)
    return ImportResult(source=provider.name, series=tuple(done), findings=received.skipped)


def absorb(home: Path, deliveries: Sequence[Delivery], *, restatement: str = "") -> list[ImportedSeries]:
    """Add bars of several series to the lake in one commit; the same bars again change nothing.

    Args:
        home: the home folder.
        deliveries: bars, each of another series; those without bars are left out.
        restatement: why bars on record may change; empty = they may not.

    Raises:
        GateError: bars are malformed, or bars on record would change without a reason. Nothing was changed.
        VerificationError: a lake file is damaged, and these bars are not the ones it held.
        EnvironmentFailure: the lake is locked or cannot be written.
    """
    filled = [d for d in deliveries if len(d.bars)]
    _refuse(
        [f for d in filled for f in form_findings(d.bars, Series(d.ref.symbol, d.ref.key, interval_seconds(d.ref.interval)))]
    )
    arrivals = [Arrival(d.ref.key, d.ref, d.source, d.closed, d.bars, split(d.bars, d.ref.interval)) for d in filled]
    return bring(home, arrivals, restatement, exact=False) if arrivals else []


def _read_all(provider: BarProvider, refs: Sequence[SeriesRef], now_t: int | None, report: Report) -> dict[str, Bars]:
    """Read and check every series; one message tells all that is wrong."""
    bars: dict[str, Bars] = {}
    unreadable: list[BallastError] = []
    malformed: list[Finding] = []
    for i, ref in enumerate(refs):
        report("read and check bars", i, len(refs))
        try:
            bars[ref.key] = read_series(provider, ref)
        except DataError as e:
            unreadable.append(e)
            continue
        malformed += form_findings(bars[ref.key], Series(ref.symbol, ref.key, interval_seconds(ref.interval)), now_t)
    report("read and check bars", len(refs), len(refs))
    if unreadable:
        first = unreadable[0]
        more = f" (and {len(unreadable) - 1} more files)" if len(unreadable) > 1 else ""
        action = first.action.removesuffix(UNTOUCHED) + UNTOUCHED  # some providers say it already
        raise DataError(first.got + more, expected=first.expected, action=action)
    _refuse(malformed)
    return bars


def _refuse(malformed: Sequence[Finding]) -> None:
    if malformed:
        raise GateError(
            "; ".join(f"{f.gate} in {f.series}: {f.detail}" for f in malformed[:5]) + ("; ..." if len(malformed) > 5 else ""),
            expected="well-formed bars in every file",
            action="fix or remove the files" + UNTOUCHED,
        )
