"""Everything the quality page prints, put together from its inputs: the templates themselves compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reports.static.numbers import count, measure, plural, utc
from reports.static.quality import heatmap, words
from reports.static.quality.facts import Inputs, SeriesFacts
from workbench.data.checks.reconcile import Reconciled
from workbench.data.quality.findings import GATES, Finding
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX

GAPS_SHOWN_N: Final = 100
WORST_SHOWN_N: Final = 8
CHANGES_SHOWN_N: Final = 25
SEVERITIES: Final = {
    "fatal": "malformed bars, never accepted",
    "blocking": "blocks a dataset until accepted by name",
    "note": "blocks nothing",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One series in the heat map and in the table."""

    name: str
    label: str
    asset: str
    rows_n: int
    expected_n: int
    missing_n: int
    gaps_n: int
    zero_n: int
    first_t: int
    last_t: int
    versions_n: int
    late_n: int
    changed_n: int
    stand_n: int
    findings_n: int
    share: str
    says: str
    cells: tuple[heatmap.Cell, ...]
    marks: tuple[heatmap.Mark, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The series of one venue and interval: what a dataset would be made of.

    Attributes:
        second_source: it only checks another venue's bars.
        first_until_t, until_t: when the newest bar closed of the series that ends first, and of the one that ends last.
        gates: gates with findings that stand in the way, and how many.
    """

    name: str
    venue: str
    interval: str
    simulated: bool
    second_source: bool
    rows: tuple[Row, ...]
    rows_n: int
    first_until_t: int
    until_t: int
    share: str
    stand_n: int
    gates: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class GapRow:
    """One hole."""

    series: str
    first_t: int
    last_t: int
    bars_n: int
    state: str
    certificate: str


@dataclass(frozen=True, slots=True)
class GateRow:
    """What one gate found, and its worst findings."""

    gate: str
    meaning: str
    severity: str
    findings_n: int
    series_n: int
    rows_n: int
    accepted_n: int
    stand_n: int
    worst: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of a series that has more than one, or that carries evidence."""

    series: str
    number: int
    current: bool
    sha256: str
    rows_n: int
    first_t: int
    last_t: int
    late_n: int
    changed_n: int
    reason: str
    sources: tuple[str, ...]
    changes: tuple[tuple[int, str, str, str, str], ...]
    changes_more_n: int
    late: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One quality report."""

    title: str
    simulated: bool
    some_simulated: bool
    verdict: words.Verdict
    lake_digest: str
    as_of_t: int
    facts: tuple[tuple[str, str], ...]
    unit: str
    columns_n: int
    ticks: tuple[heatmap.Tick, ...]
    groups: tuple[Group, ...]
    map_says: str
    gaps: tuple[GapRow, ...]
    gaps_n: int
    gaps_more_n: int
    gaps_more_bars_n: int
    gates: tuple[GateRow, ...]
    reconciled: tuple[Reconciled, ...]
    versions: tuple[VersionRow, ...]
    commands: tuple[str, ...]


def build(inputs: Inputs) -> Page:
    """Return the page's content."""
    first_t, last_t = min(int(s.t[0]) for s in inputs.series), max(int(s.t[-1]) for s in inputs.series)
    unit, grid = heatmap.columns(first_t, last_t)
    holes = _gaps(inputs)
    groups = _groups(inputs, grid)
    simulated = [s.simulated for s in inputs.series]
    return Page(
        title=" ".join(x for x in (inputs.venue, inputs.interval) if x) or "whole lake",
        simulated=all(simulated),
        some_simulated=any(simulated),
        verdict=words.verdict(inputs),
        lake_digest=inputs.lake_digest,
        as_of_t=_as_of_t(inputs),
        facts=_facts(inputs),
        unit=unit,
        columns_n=len(grid),
        ticks=heatmap.ticks(unit, grid),
        groups=groups,
        map_says=words.map_says(inputs),
        gaps=tuple(holes[:GAPS_SHOWN_N]),
        gaps_n=len(holes),
        gaps_more_n=len(holes[GAPS_SHOWN_N:]),
        gaps_more_bars_n=sum(g.bars_n for g in holes[GAPS_SHOWN_N:]),
        gates=_gates(inputs),
        reconciled=inputs.reconciled,
        versions=tuple(_versions(inputs.series)),
        commands=_commands(inputs),
    )


def _as_of_t(inputs: Inputs) -> int:
    """Return when the newest bar closed; a second source counts only where there is nothing else."""
    closes = [(s.entry.venue.endswith(SECOND_SOURCE_SUFFIX), int(s.t[-1]) + s.interval_t) for s in inputs.series]
    return max((t for second, t in closes if not second), default=max(t for _, t in closes))


def _facts(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    findings = inputs.check.findings
    venues = sorted({s.entry.venue for s in inputs.series})
    by_severity = {k: sum(f.severity == k for f in findings) for k in SEVERITIES}
    told = ", ".join(f"{count(n)} {k}" for k, n in by_severity.items() if n) or "none"
    accepted = sum(f.accepted for f in findings)
    holes = sum(len(s.gaps) for s in inputs.series)
    return (
        (
            "Series",
            f"{len(inputs.series)}"
            + ("" if len(inputs.series) == inputs.lake_series_n else f" of {inputs.lake_series_n} in the lake"),
        ),
        ("Assets", count(len({s.asset for s in inputs.series if s.asset}))),
        ("Bars", count(sum(len(s.t) for s in inputs.series))),
        ("Missing inside", f"{count(sum(s.missing_n for s in inputs.series))} in {plural(holes, 'gap')}"),
        ("Findings", told + (f"; {count(accepted)} accepted" if accepted else "")),
        ("Venues", ", ".join(venues)),
    )


def _groups(inputs: Inputs, grid: Sequence[heatmap.Column]) -> tuple[Group, ...]:
    found: dict[tuple[str, str], list[SeriesFacts]] = {}
    for s in inputs.series:
        found.setdefault((s.entry.venue, s.entry.interval), []).append(s)
    return tuple(_group(venue, interval, rows, grid) for (venue, interval), rows in found.items())


def _group(venue: str, interval: str, series: Sequence[SeriesFacts], grid: Sequence[heatmap.Column]) -> Group:
    stand = [f for s in series for f in s.findings if heatmap.stands(f)]
    gates = tuple((g, n) for g in GATES if (n := sum(f.gate == g for f in stand)))
    there_n = sum(len(s.t) for s in series)
    closes = [int(s.t[-1]) + s.interval_t for s in series]
    return Group(
        name=f"{venue} {interval}", venue=venue, interval=interval, simulated=series[0].simulated, second_source=venue.endswith(SECOND_SOURCE_SUFFIX),
        rows=tuple(_row(s, grid) for s in series),
        rows_n=there_n, first_until_t=min(closes), until_t=max(closes), share=words.share_text(there_n, sum(s.expected_n for s in series)),
        stand_n=len(stand), gates=gates,
    )  # fmt: skip


def _row(s: SeriesFacts, grid: Sequence[heatmap.Column]) -> Row:
    versions = s.entry.versions
    stand_n = sum(heatmap.stands(f) for f in s.findings)
    share = words.share_text(len(s.t), s.expected_n)
    first_t, last_t = int(s.t[0]), int(s.t[-1])
    return Row(
        name=s.entry.key, label=s.entry.symbol, asset=s.asset,
        rows_n=len(s.t), expected_n=s.expected_n, missing_n=s.missing_n, gaps_n=len(s.gaps), zero_n=s.zero_n,
        first_t=first_t, last_t=last_t,
        versions_n=len(versions), late_n=sum(v.late_n for v in versions), changed_n=sum(v.changed_n for v in versions),
        stand_n=stand_n, findings_n=len(s.findings),
        share=share,
        says=f"{s.entry.key}: {utc(first_t)} to {utc(last_t)}, {share} of {count(s.expected_n)} bars, {plural(len(s.gaps), 'gap')}, "
        f"{plural(len(s.findings), 'finding')}",
        cells=heatmap.cells(s.t, s.interval_t, grid, s.gaps, _settled(s)),
        marks=heatmap.marks(s.findings, grid),
    )  # fmt: skip


def _settled(s: SeriesFacts) -> frozenset[int]:
    return frozenset(f.first_t for f in s.findings if f.gate == "gap" and not heatmap.stands(f))


def _gaps(inputs: Inputs) -> list[GapRow]:
    """Return every hole, longest in time first."""
    found = []
    for s in inputs.series:
        by_start = {f.first_t: f for f in s.findings if f.gate == "gap"}
        for a, z, n in s.gaps:
            f = by_start[a]
            state = "certified" if f.certificate else "blocks" if heatmap.stands(f) else "accepted"
            found.append((n * s.interval_t, GapRow(s.entry.key, a, z, n, state, _certificate(f, inputs))))
    found.sort(key=lambda pair: (-pair[0], pair[1].series, pair[1].first_t))
    return [row for _, row in found]


def _certificate(f: Finding, inputs: Inputs) -> str:
    """Return who certified a gap, why and on what evidence, or nothing."""
    c = inputs.certificates.get(f.certificate)
    if c is None:
        return ""
    evidence = "; ".join(f"{e.kind}: {e.text}" for e in c.evidence)
    return f"{c.reason} ({c.author}; {evidence}; certificate {c.digest[:12]})"


def _gates(inputs: Inputs) -> tuple[GateRow, ...]:
    rows = []
    for gate, (severity, meaning) in GATES.items():
        group = [f for f in inputs.check.findings if f.gate == gate]
        if not group:
            continue
        worst = sorted(group, key=lambda f: (f.accepted, -inputs.width.get(f, 0.0), -f.rows_n, f.series, f.first_t))
        rows.append(
            GateRow(
                gate, meaning, severity, len(group), len({f.series for f in group}), sum(f.rows_n for f in group),
                sum(f.accepted for f in group), sum(heatmap.stands(f) for f in group), tuple(worst[:WORST_SHOWN_N]),
            )
        )  # fmt: skip
    order = list(SEVERITIES)
    return tuple(sorted(rows, key=lambda r: (order.index(r.severity), -r.stand_n, list(GATES).index(r.gate))))


def _versions(series: Sequence[SeriesFacts]) -> list[VersionRow]:
    """Return the versions of every series that ever changed."""
    rows = []
    for s in series:
        versions = s.entry.versions
        if len(versions) == 1 and not (versions[0].late_n or versions[0].changed_n):
            continue
        for i, v in enumerate(versions):
            changes = tuple((c.open_t, c.column, f"{c.old:.12g}", f"{c.new:.12g}", bp_text(c.old, c.new)) for c in v.changes)
            rows.append(
                VersionRow(
                    s.entry.key, i + 1, i == len(versions) - 1, v.sha256, v.rows, v.first_t, v.last_t, v.late_n, v.changed_n,
                    v.reason, v.sources, changes[:CHANGES_SHOWN_N], len(changes[CHANGES_SHOWN_N:]),
                    tuple(f"{utc(x.first_t)} to {utc(x.last_t)} ({count(x.bars_n)})" if x.bars_n > 1 else utc(x.first_t) for x in v.late[:CHANGES_SHOWN_N]),
                )
            )  # fmt: skip
    return rows


def bp_text(old: float, new: float) -> str:
    """Return a change in basis points with its sign, or nothing when there is no base."""
    return measure((new / old - 1.0) * 10_000.0, 1, sign=True) if old else ""


def _commands(inputs: Inputs) -> tuple[str, ...]:
    chosen = (("venue", inputs.venue), ("interval", inputs.interval))
    options = "".join(f" --{name} {value}" for name, value in chosen if value)
    pairs = [f"ballast data reconcile {r.a} {r.b} --interval {r.interval}" for r in inputs.reconciled]
    return (f"ballast data check{options} --json", f"ballast quality{options}", *pairs)
