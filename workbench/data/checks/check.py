"""Run every quality gate over series, in the lake or still in files, and collect what they find; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from runtime.errors import DataError, UsageError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.providers import BarProvider, read_series
from workbench.data.quality.certificates import Certificate, certify_findings, load_certificates
from workbench.data.quality.findings import Finding, FindingSummary, accept, blocking, finding, summarise
from workbench.data.quality.gates import (
    Series,
    form_findings,
    history_findings,
    second_source_findings,
    stale_findings,
    unclosed,
    unclosed_findings,
)
from workbench.data.quality.live import Clock, clock_findings, live_findings
from workbench.data.quality.second_source import judge_moves
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

SeriesKey = tuple[str, str, str]
"""Venue, interval, venue symbol."""


@dataclass(frozen=True, slots=True)
class Live:
    """What the live gates need to know.

    Attributes:
        clocks: by venue that is kept up to date.
        watermarks: per series, what the synchronisation asked for (`Page.until_t`), seconds UTC.
    """

    clocks: Mapping[str, Clock]
    watermarks: Mapping[str, int]


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
    live: Live | None = None,
    report: Report = silent,
) -> CheckResult:
    """Check series of the lake, file contents against their digests included.

    Args:
        home: the home folder.
        venue: keeps one venue.
        interval: keeps one interval.
        symbols: keeps these venue symbols.
        accepted: findings accepted by name, for this verdict only.
        live: what the clocks and the synchronisation say, for the live gates; None = history only.
        report: told per series.

    Raises:
        DataError: the lake has no such series.
        VerificationError: a file of the lake or a gap certificate was altered.
    """
    lake = Lake(home)
    catalog = lake.catalog()
    entries = [
        e
        for e in catalog.entries
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
    found = [] if live is None else _live_findings(bars, opened, live)
    seconds = {}
    for venue_, interval_, symbol_ in bars:  # a choice of series does not take their second sources away
        second = catalog.get(f"{venue_}{SECOND_SOURCE_SUFFIX}/{interval_}/{symbol_}")
        if second is not None and (second.venue, second.interval, second.symbol) not in bars:
            seconds[second.venue, second.interval, second.symbol] = lake.read(second.key, second.current.segments)
    return _check(bars, opened, found, accepted, report, load_certificates(home), seconds=seconds)


def _live_findings(bars: Mapping[SeriesKey, Bars], opened: Mapping[SeriesKey, tuple[int, ...]], live: Live) -> list[Finding]:
    """Return what the clocks say about every series that is kept up to date; second sources and simulations are not."""
    found = [
        f for venue in sorted({v for v, _, _ in bars} & set(live.clocks)) for f in clock_findings(venue, live.clocks[venue])
    ]
    for (venue, interval, symbol), b in bars.items():
        if venue in live.clocks and len(b):
            key = f"{venue}/{interval}/{symbol}"
            names = Series(symbol, key, interval_seconds(interval))
            found += live_findings(
                names,
                int(b.t.max()),
                live.clocks[venue],
                watermark_t=live.watermarks.get(key),
                unclosed_t=opened[venue, interval, symbol],
            )
    return found


def check_files(
    provider: BarProvider,
    *,
    accepted: Sequence[str] = (),
    universe: Universe | None = None,
    now_t: int | None = None,
    report: Report = silent,
) -> CheckResult:
    """Check a provider's series before they are imported; what cannot be read is a finding too.

    Args:
        provider: where the bars come from.
        accepted: findings accepted by name, for this verdict only.
        universe: whose symbols are checked; others are skipped with a finding.
        now_t: the clock, seconds UTC, that no bar may be ahead of; None = no clock is asked.
        report: told per series.

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
                    "unknown_symbol",
                    ref.symbol,
                    ref.key,
                    0,
                    0,
                    0,
                    f"{ref.key} ({ref.origin}) is not in universe {universe.version}: skipped",
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
    return _check(bars, opened, findings, accepted, report, now_t=now_t)


def _check(
    bars: dict[SeriesKey, Bars],
    opened: dict[SeriesKey, tuple[int, ...]],
    findings: list[Finding],
    accepted: Sequence[str],
    report: Report,
    certificates: Sequence[Certificate] = (),
    now_t: int | None = None,
    seconds: Mapping[SeriesKey, Bars] = MappingProxyType({}),
) -> CheckResult:
    newest: dict[tuple[str, str], int] = {}
    for (venue, interval, _), b in bars.items():
        newest[venue, interval] = max(int(b.t.max()), newest.get((venue, interval), 0))
    found = list(findings)
    for i, (key, b) in enumerate(bars.items()):
        report("run quality gates", i, len(bars))
        venue, interval, symbol = key
        names = Series(symbol, "/".join(key), interval_seconds(interval))
        malformed = form_findings(b, names, now_t)
        found += malformed
        if malformed:
            continue  # the history gates need well-formed bars
        history = history_findings(b, names) + unclosed_findings(opened[key], names)
        history += stale_findings(int(b.t[-1]), newest[venue, interval], names)
        second = (venue + SECOND_SOURCE_SUFFIX, interval, symbol)
        other = bars.get(second, seconds.get(second))
        if other is not None and not form_findings(other, names):
            history = judge_moves(history, b, other, names.interval_t) + second_source_findings(b, other, names)
        found += history
    report("run quality gates", len(bars), len(bars))
    rows = [
        CheckedSeries(series="/".join(k), rows=len(b), first_t=int(b.t.min()), last_t=int(b.t.max())) for k, b in bars.items()
    ]
    return CheckResult(series=tuple(rows), findings=tuple(certify_findings(accept(found, accepted), certificates)))


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
