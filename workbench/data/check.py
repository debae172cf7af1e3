"""Run every quality gate over series, in the lake or still in files, and collect what they find; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from runtime.errors import DataError, UsageError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.findings import Finding, FindingSummary, accept, blocking, finding, summarise
from workbench.data.gates import (
    Series,
    form_findings,
    history_findings,
    second_source_findings,
    stale_findings,
    unclosed,
    unclosed_findings,
)
from workbench.data.lake import Lake
from workbench.data.providers import BarProvider, read_series
from workbench.data.universe import SECOND_SOURCE_SUFFIX, Universe, load_universe

SeriesKey = tuple[str, str, str]
"""Venue, interval, venue symbol."""


class CheckedSeries(BaseModel):
    """What a series holds."""

    model_config = ConfigDict(frozen=True)

    series: str
    rows: int
    first_t: int
    last_t: int


class CheckResult(BaseModel):
    """Every series looked at and every finding."""

    model_config = ConfigDict(frozen=True)

    series: tuple[CheckedSeries, ...]
    findings: tuple[Finding, ...]

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own idiom
    @property
    def verdict(self) -> Literal["clean", "accepted", "blocked"]:
        """Return `blocked` when a finding stands in the way of a dataset."""
        if blocking(self.findings):
            return "blocked"
        return "accepted" if any(f.accepted for f in self.findings) else "clean"

    def summary(self) -> list[FindingSummary]:
        """Return one row per gate and series."""
        return summarise(self.findings, by_series=True)


def check_lake(
    home: Path,
    *,
    venue: str | None = None,
    interval: str | None = None,
    symbols: Sequence[str] = (),
    accepted: Sequence[str] = (),
    report: Report = silent,
) -> CheckResult:
    """Check series of the lake, file contents against their digests included.

    Args:
        home: the home folder.
        venue: keeps one venue.
        interval: keeps one interval.
        symbols: keeps these venue symbols.
        accepted: findings accepted by name, for this verdict only.
        report: told per series.

    Raises:
        DataError: the lake has no such series.
        VerificationError: a file of the lake was altered.
    """
    lake = Lake(home)
    entries = [
        e
        for e in lake.catalog().entries
        if venue in (None, e.venue) and interval in (None, e.interval) and (not symbols or e.symbol in symbols)
    ]
    if not entries:
        raise DataError(
            "the lake has no such series",
            expected="imported bars",
            action="import them with `ballast data import`, or see `ballast data list`",
        )
    bars: dict[SeriesKey, Bars] = {}
    opened: dict[SeriesKey, tuple[int, ...]] = {}
    for i, e in enumerate(entries):
        report("read lake", i, len(entries))
        key = (e.venue, e.interval, e.symbol)
        bars[key], opened[key] = lake.read(e.key, e.current.segments), e.current.unclosed_t
    report("read lake", len(entries), len(entries))
    return _check(bars, opened, [], accepted, report)


def check_files(
    provider: BarProvider,
    *,
    accepted: Sequence[str] = (),
    universe: Universe | None = None,
    report: Report = silent,
) -> CheckResult:
    """Check a provider's series before they are imported; what cannot be read is a finding too.

    Raises:
        BallastError: the source itself is missing or holds nothing.
    """
    universe = universe or load_universe()
    refs = provider.series()
    bars: dict[SeriesKey, Bars] = {}
    opened: dict[SeriesKey, tuple[int, ...]] = {}
    findings: list[Finding] = []
    for i, ref in enumerate(refs):
        report("read bars", i, len(refs))
        if universe.resolve(ref.venue, ref.symbol) is None:
            findings.append(
                finding(
                    "unknown_symbol", ref.symbol, ref.key, 0, 0, 0, f"{ref.origin}: not in universe {universe.version}: skipped"
                )
            )
            continue
        key = (ref.venue, ref.interval, ref.symbol)
        try:
            bars[key] = read_series(provider, ref)
        except DataError as e:
            findings.append(finding("schema", ref.symbol, ref.key, 0, 0, 0, e.got))
            continue
        opened[key] = unclosed(bars[key], interval_seconds(ref.interval), vouched=provider.closed)
    report("read bars", len(refs), len(refs))
    return _check(bars, opened, findings, accepted, report)


def _check(
    bars: dict[SeriesKey, Bars],
    opened: dict[SeriesKey, tuple[int, ...]],
    findings: list[Finding],
    accepted: Sequence[str],
    report: Report,
) -> CheckResult:
    newest: dict[tuple[str, str], int] = {}
    for (venue, interval, _), b in bars.items():
        newest[venue, interval] = max(int(b.t.max()), newest.get((venue, interval), 0))
    found = list(findings)
    for i, (key, b) in enumerate(bars.items()):
        report("run quality gates", i, len(bars))
        venue, interval, symbol = key
        names = Series(symbol, "/".join(key), interval_seconds(interval))
        malformed = form_findings(b, names)
        found += malformed
        if malformed:
            continue  # the history gates need well-formed bars
        found += history_findings(b, names) + unclosed_findings(opened[key], names)
        found += stale_findings(int(b.t[-1]), newest[venue, interval], names)
        other = bars.get((venue + SECOND_SOURCE_SUFFIX, interval, symbol))
        if other is not None and not form_findings(other, names):
            found += second_source_findings(b, other, names)
    report("run quality gates", len(bars), len(bars))
    rows = [
        CheckedSeries(series="/".join(k), rows=len(b), first_t=int(b.t.min()), last_t=int(b.t.max())) for k, b in bars.items()
    ]
    return CheckResult(series=tuple(rows), findings=tuple(accept(found, accepted)))


def only_venue(home: Path, interval: str) -> str:
    """Return the one venue of the lake with series of an interval, second sources aside.

    Raises:
        DataError: the lake has none.
        UsageError: it has several, so the caller must choose.
    """
    venues = sorted(
        {e.venue for e in Lake(home).catalog().entries if e.interval == interval and not e.venue.endswith(SECOND_SOURCE_SUFFIX)}
    )
    if not venues:
        raise DataError(
            f"the lake has no {interval} bars", expected="imported bars", action="import them with `ballast data import`"
        )
    if len(venues) > 1:
        raise UsageError(
            f"the lake has {interval} bars of {', '.join(venues)}", expected="one venue", action="choose one with --venue"
        )
    return venues[0]
