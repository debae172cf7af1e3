"""Import: read everything, check everything, then commit all of it or nothing.

Idempotent on the natural key (venue, interval, symbol, opening time): importing the same bars again changes no byte of the
lake; importing newer bars makes a new version that holds both. Bars that differ from those on record are a correction: it
needs a reason, and the version keeps old and new values. One exception needs none: a bar that may have been cut while it was
still forming (`gates.unclosed`); the bar of a download that went past it counts, in whichever order the two arrive.

A file of the lake that is missing or damaged is written anew by an import that brings its bars again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.errors import BallastError, DataError, GateError, VerificationError
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds
from workbench.data.findings import Finding, finding
from workbench.data.gates import Series, form_findings, unclosed
from workbench.data.lake import Catalog, Change, Commit, Entry, Lake, Version, bars_path
from workbench.data.providers import BarProvider, SeriesRef, read_series
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
    restored: bool = False
    """A missing or damaged file of the series was written anew."""


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
class Received:
    """Bars of a source, read and checked, not yet imported; it is the `Shelf` of these bars and no others.

    Attributes:
        provider: where they come from.
        refs: the series of known symbols.
        bars: their bars by key.
        skipped: a finding per series of an unknown symbol.
    """

    provider: BarProvider
    refs: tuple[SeriesRef, ...]
    bars: Mapping[str, Bars]
    skipped: tuple[Finding, ...]

    def catalog(self) -> Catalog:
        """Return the catalog a lake would have that never held anything else."""
        entries = []
        for ref in sorted(self.refs, key=lambda r: r.key):
            version = _first_version(ref, self.provider, self.bars[ref.key])
            entries.append(Entry(venue=ref.venue, interval=ref.interval, symbol=ref.symbol, versions=(version,)))
        return Catalog(entries=tuple(entries))

    def read(self, path: str, sha256: str) -> Bars:
        """Return the bars of the series a path names."""
        bars = self.bars[path.removeprefix("bars/").rsplit("/", 1)[0]]
        if bars.digest != sha256:
            raise VerificationError(f"bars with digest {bars.digest}", expected=sha256, action="read the source again")
        return bars


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
        VerificationError: a lake file is damaged, and these bars are not the ones it held.
        EnvironmentFailure: the lake cannot be written.
    """
    return import_received(home, receive(provider, series=series, universe=universe, report=report), correction, report=report)


def receive(
    provider: BarProvider,
    *,
    series: Sequence[SeriesRef] | None = None,
    universe: Universe | None = None,
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
    return Received(provider, tuple(known), _read_all(provider, known, report), tuple(skipped))


def import_received(
    home: Path, received: Received, correction: str = "", *, exact: bool = False, report: Report = silent
) -> ImportResult:
    """Import what was received.

    Args:
        home: the home folder.
        received: bars, read and checked.
        correction: why bars on record may change; empty = they may not.
        exact: also keep a file of each series as received, beside the one merged with bars on record, so that a dataset of
            exactly these bars can be loaded.
        report: told when it writes.

    Raises:
        GateError, VerificationError, EnvironmentFailure: as `import_bars`.
    """
    lake = Lake(home)
    with lake.locked():
        report("write lake", 0, 1)
        commit, done = _plan(lake, received, correction, exact)
        if commit.entries or commit.files:
            lake.commit(commit)
        report("write lake", 1, 1)
    return ImportResult(source=received.provider.name, series=tuple(done), findings=received.skipped)


def _read_all(provider: BarProvider, refs: Sequence[SeriesRef], report: Report) -> dict[str, Bars]:
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


def _plan(lake: Lake, received: Received, correction: str, exact: bool) -> tuple[Commit, list[ImportedSeries]]:
    catalog, commit, done = lake.catalog(), Commit(), []
    for ref in received.refs:
        incoming, entry = received.bars[ref.key], catalog.get(ref.key)
        old = _on_record(lake, entry, incoming, commit) if entry else None
        new, version = _next_version(ref, received.provider, entry, old, incoming, correction)
        unchanged = version is None
        if version is not None:
            versions = (*(entry.versions if entry else ()), version)
            commit.entries[ref.key] = Entry(venue=ref.venue, interval=ref.interval, symbol=ref.symbol, versions=versions)
            _require(lake, commit, ref.key, new)
        restored = entry is not None and entry.path in commit.files
        earlier = {v.sha256 for v in entry.versions[:-1]} if entry else set()
        if (exact or incoming.digest in earlier) and (old is None or incoming.digest != old.digest):
            added = _require(lake, commit, ref.key, incoming)
            restored |= added and incoming.digest in earlier
        if entry is not None and restored:
            commit.entries.setdefault(ref.key, entry)
        done.append(
            ImportedSeries(
                series=ref.key,
                origin=ref.origin,
                rows=len(new),
                added_n=version.added_n if version else 0,
                changed_n=version.changed_n if version else 0,
                sha256=new.digest,
                unchanged=unchanged,
                restored=restored,
            )
        )
    return commit, done


def _require(lake: Lake, commit: Commit, key: str, bars: Bars) -> bool:
    """Have a file written unless the lake holds it; return whether it is to be written."""
    sha256 = bars.digest
    path = bars_path(key, sha256)
    if path not in commit.files and lake.holds(path, sha256):
        return False
    commit.files[path] = bars
    return True


def _on_record(lake: Lake, entry: Entry, incoming: Bars, commit: Commit) -> Bars:
    """Return a series' bars on record; when their file is lost but the import brings the same bars, have it written anew."""
    try:
        return lake.read(entry.path, entry.current.sha256)
    except VerificationError:
        for bars in _restorations(lake, entry, incoming):
            if bars.digest == entry.current.sha256:
                commit.files[entry.path] = bars
                return bars
        raise


def _restorations(lake: Lake, entry: Entry, incoming: Bars) -> Iterator[Bars]:
    """Yield what a lost file may have held: the import's bars, those of its range, or an earlier version with them."""
    yield incoming
    ranged = incoming.take((incoming.t >= entry.current.first_t) & (incoming.t <= entry.current.last_t))
    yield ranged
    for version in reversed(entry.versions[:-1]):
        path = bars_path(entry.key, version.sha256)
        if lake.holds(path, version.sha256):
            yield _merge(lake.read(path, version.sha256), ranged)


def _next_version(
    ref: SeriesRef,
    provider: BarProvider,
    entry: Entry | None,
    old: Bars | None,
    incoming: Bars,
    correction: str,
) -> tuple[Bars, Version | None]:
    """Return the series after the import and its new version, or the old series and None when nothing changes."""
    if entry is None or old is None:
        return incoming, _first_version(ref, provider, incoming)
    open_bars = unclosed(incoming, interval_seconds(ref.interval), vouched=provider.closed)
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
            action="use another home with --out, or record the new values with `ballast data import --correction REASON`; "
            "nothing was imported",
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


def _first_version(ref: SeriesRef, provider: BarProvider, bars: Bars) -> Version:
    open_bars = unclosed(bars, interval_seconds(ref.interval), vouched=provider.closed)
    return _version(ref, provider, bars, open_bars, len(bars), 0, "", ())


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
