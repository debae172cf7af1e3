"""Import: read everything, check everything, then commit all of it or nothing.

Idempotent on the natural key (venue, interval, symbol, opening time): importing the same bars again changes no byte of the
lake; importing newer bars makes a new version that holds both. Bars that differ from those on record are a correction: it
needs a reason, and the version keeps old and new values. One exception needs none: a bar that may have been cut while it was
still forming (`gates.unclosed`); the bar of a download that went past it counts, in whichever order the two arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.errors import BallastError, DataError, GateError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.findings import Finding, finding
from workbench.data.gates import Series, form_findings, unclosed
from workbench.data.lake import Change, Commit, Entry, Lake, Version
from workbench.data.providers import BarProvider, SeriesRef
from workbench.data.universe import Universe, iso, load_universe

CHANGES_KEPT = 100
COMPLETED = "the bar had not closed when it was first imported"


class ImportedSeries(BaseModel):
    """What the import did with one series."""

    model_config = ConfigDict(frozen=True)

    series: str
    origin: str
    rows: int
    added_n: int
    changed_n: int
    sha256: str
    unchanged: bool


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


def import_bars(
    home: Path,
    provider: BarProvider,
    *,
    series: Sequence[SeriesRef] | None = None,
    correction: str = "",
    universe: Universe | None = None,
    report: Report = silent,
) -> ImportResult:
    """Import series of a provider into the lake.

    Args:
        home: the home folder.
        provider: where the bars come from.
        series: which of its series; default all.
        correction: why bars on record may change; empty = they may not.
        universe: whose symbols are imported; others are skipped by name with a finding.
        report: told per series.

    Raises:
        DataError: a source cannot be read, or none of its symbols is known.
        GateError: bars are malformed, or bars on record would change without a reason. Nothing was changed.
        EnvironmentFailure: the lake cannot be written.
    """
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
            f"{r.origin}: {r.symbol} at {r.venue} is not in universe {universe.version}: skipped",
        )
        for r in refs
        if r not in known
    ]
    if not known:
        raise DataError(
            f"no known symbol among {', '.join(r.origin for r in refs[:5])}" + (", ..." if len(refs) > 5 else ""),
            expected=f"symbols of universe {universe.version}, such as {universe.symbol(refs[0].venue, 'BTC')} at {refs[0].venue}",
            action="rename the file to the venue's symbol, or choose another folder",
        )
    bars = _read_all(provider, known, report)
    lake = Lake(home)
    with lake.locked():
        report("write lake", 0, 1)
        commit, done = _plan(lake, provider, known, bars, correction)
        if commit.entries:
            lake.commit(commit)
        report("write lake", 1, 1)
    return ImportResult(source=provider.name, series=tuple(done), findings=tuple(skipped))


def _read_all(provider: BarProvider, refs: Sequence[SeriesRef], report: Report) -> dict[str, Bars]:
    """Read and check every series; one message tells all that is wrong."""
    bars: dict[str, Bars] = {}
    unreadable: list[BallastError] = []
    malformed: list[Finding] = []
    for i, ref in enumerate(refs):
        report("read and check bars", i, len(refs))
        try:
            bars[ref.key] = provider.read(ref)
        except DataError as e:
            unreadable.append(e)
            continue
        malformed += form_findings(bars[ref.key], Series(ref.symbol, ref.key, interval_seconds(ref.interval)))
    report("read and check bars", len(refs), len(refs))
    if unreadable:
        first = unreadable[0]
        more = f" (and {len(unreadable) - 1} more files)" if len(unreadable) > 1 else ""
        raise DataError(first.got + more, expected=first.expected, action=first.action + "; nothing was imported")
    if malformed:
        raise GateError(
            "; ".join(f"{f.gate} in {f.series}: {f.detail}" for f in malformed[:5]) + ("; ..." if len(malformed) > 5 else ""),
            expected="well-formed bars in every file",
            action="fix or remove the files; nothing was imported",
        )
    return bars


def _plan(
    lake: Lake,
    provider: BarProvider,
    refs: Sequence[SeriesRef],
    bars: dict[str, Bars],
    correction: str,
) -> tuple[Commit, list[ImportedSeries]]:
    catalog, commit, done = lake.catalog(), Commit(), []
    for ref in refs:
        entry = catalog.get(ref.key)
        old = lake.read(entry.path, entry.current.sha256) if entry else None
        new, version = _next_version(ref, provider, entry, old, bars[ref.key], correction)
        unchanged = version is None
        if version is not None:
            versions = (*(entry.versions if entry else ()), version)
            commit.entries[ref.key] = Entry(venue=ref.venue, interval=ref.interval, symbol=ref.symbol, versions=versions)
            commit.bars[ref.key] = new
        done.append(
            ImportedSeries(
                series=ref.key,
                origin=ref.origin,
                rows=len(new),
                added_n=version.added_n if version else 0,
                changed_n=version.changed_n if version else 0,
                sha256=new.digest,
                unchanged=unchanged,
            )
        )
    return commit, done


def _next_version(
    ref: SeriesRef,
    provider: BarProvider,
    entry: Entry | None,
    old: Bars | None,
    incoming: Bars,
    correction: str,
) -> tuple[Bars, Version | None]:
    """Return the series after the import and its new version, or the old series and None when nothing changes."""
    open_bars = unclosed(incoming, interval_seconds(ref.interval), vouched=provider.closed)
    if entry is None or old is None:
        return incoming, _version(ref, provider, incoming, open_bars, len(incoming), 0, "", ())
    was_open = set(entry.current.unclosed_t)
    # The lake may know the end of a bar that was still forming when this older file was made.
    settled = np.isin(incoming.t, [t for t in open_bars if t not in was_open and bool((old.t == t).any())])
    if bool(settled.any()):
        incoming, open_bars = incoming.take(~settled), ()
    if len(incoming) == 0:
        return old, None
    changes, changed_n = _changes(old, incoming)
    stays_open = {int(t) for t in was_open if not bool((incoming.t == t).any())} | set(open_bars)
    reason = correction
    if changed_n and {c.open_t for c in changes} <= was_open:
        reason = reason or COMPLETED
    elif changed_n and not correction:
        c = changes[0]
        raise GateError(
            f"{ref.key}: {changed_n} bars differ from those on record; first {iso(c.open_t)} {c.column} {c.old:g}, now {c.new:g}",
            expected="bars on record do not change silently",
            action="give the reason with --correction to record a new version; nothing was imported",
        )
    merged = _merge(old, incoming)
    if merged.digest == old.digest and stays_open == was_open:
        return old, None
    return merged, _version(
        ref,
        provider,
        merged,
        tuple(sorted(stays_open)),
        len(merged) - len(old),
        changed_n,
        reason if changed_n else "",
        changes[:CHANGES_KEPT],
    )


def _version(
    ref: SeriesRef,
    provider: BarProvider,
    bars: Bars,
    unclosed_t: tuple[int, ...],
    added_n: int,
    changed_n: int,
    reason: str,
    changes: Sequence[Change],
) -> Version:
    return Version(
        sha256=bars.digest,
        file_sha256="",
        rows=len(bars),
        first_t=int(bars.t[0]),
        last_t=int(bars.t[-1]),
        source=f"{provider.name}: {ref.origin}",
        unclosed_t=unclosed_t,
        added_n=added_n,
        changed_n=changed_n,
        reason=reason,
        changes=tuple(changes),
    )


def _changes(old: Bars, new: Bars) -> tuple[list[Change], int]:
    """Return every changed value of bars both have, in time order, and the number of changed bars."""
    _, a, b = np.intersect1d(old.t, new.t, assume_unique=True, return_indices=True)
    theirs = dict(new.columns())
    changes, rows = [], np.zeros(len(a), dtype=np.bool_)
    for name, values in old.columns():
        if name not in theirs:
            continue
        different = values[a] != theirs[name][b]
        rows |= different
        changes += [
            Change(open_t=int(old.t[a[i]]), column=name, old=float(values[a[i]]), new=float(theirs[name][b[i]]))
            for i in np.flatnonzero(different)[:CHANGES_KEPT]
        ]
    return sorted(changes, key=lambda c: (c.open_t, c.column)), int(rows.sum())


def _merge(old: Bars, new: Bars) -> Bars:
    """Return all bars of both; where both have one, the newer import's. `trades` stays only if both have it."""
    kept = old.take(~np.isin(old.t, new.t))
    order = np.argsort(np.concatenate((kept.t, new.t)), kind="stable")

    def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.concatenate((a, b))[order])

    trades = None if old.trades is None or new.trades is None else join(kept.trades, new.trades)  # type: ignore[arg-type]  # kept has them
    return Bars(
        join(kept.t, new.t),
        join(kept.open, new.open),
        join(kept.high, new.high),
        join(kept.low, new.low),
        join(kept.close, new.close),
        join(kept.volume, new.volume),
        trades,
    )
