"""Merging bars that arrive with the bars on record: growth, late bars, corrections, and lost files that come back.

Idempotent on the natural key (venue, interval, symbol, opening time). Only the segments an arrival touches are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.errors import GateError, InvariantError, VerificationError
from runtime.inference.panel import Ints
from workbench.data.bars import Bars, interval_seconds, joined
from workbench.data.providers import SeriesRef
from workbench.data.quality.gates import unclosed
from workbench.data.store.catalog import Change, Entry, Late, Version
from workbench.data.store.lake import Commit, Lake
from workbench.data.store.segments import Piece, Segment, cut, piece, series_digest
from workbench.data.universe.versions import iso

EVIDENCE_KEPT: Final = 100
COMPLETED: Final = "the bar had not closed when it was first imported"


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
    late_n: int = 0
    """Bars between the first and the last on record that arrived only now; also counted in `added_n`."""
    restored: bool = False
    """A missing or damaged file of the series was written anew."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Well-formed bars of one series on their way into the lake, and the same bars cut into segments."""

    key: str
    ref: SeriesRef
    source: str
    closed: bool
    bars: Bars
    pieces: Sequence[Piece]


def bring(home: Path, arrivals: Sequence[Arrival], reason: str, *, exact: bool) -> list[ImportedSeries]:
    """Merge arrivals with the lake and commit what changes, all of it or nothing."""
    lake = Lake(home)
    with lake.locked():
        catalog, commit = lake.catalog(), Commit()
        done = [_bring_one(lake, catalog.get(a.key), a, reason, exact, commit) for a in arrivals]
        if commit.entries or commit.files:
            lake.commit(commit)
    return done


def _bring_one(lake: Lake, entry: Entry | None, a: Arrival, reason: str, exact: bool, commit: Commit) -> ImportedSeries:
    """Plan one series: put its new version and the files to be written into the commit."""
    merge = _merge(lake, entry, a, reason, commit)
    if merge.version is not None:
        earlier, version = entry.versions if entry else (), merge.version
        if earlier and not version.late_n and not version.changed_n:
            earlier, version = earlier[:-1], _grown(earlier[-1], version)
        commit.entries[a.key] = Entry(
            venue=a.ref.venue, interval=a.ref.interval, symbol=a.ref.symbol, versions=(*earlier, version)
        )
    for made in merge.pieces:
        _require(lake, commit, a.key, made)
    known = {s for v in (entry.versions if entry else ()) for s in v.segments}
    read = set(entry.current.segments) if entry else set()  # those of the arrival's periods, verified by the merge
    for given in a.pieces:
        if given.segment not in read and (exact or given.segment in known):
            _require(lake, commit, a.key, given)
    restored = any(s.path(a.key) in commit.files for s in known)
    if entry is not None and restored:
        commit.entries.setdefault(a.key, entry)
    current = commit.entries[a.key].current if a.key in commit.entries else entry.current if entry else None
    if current is None:
        raise InvariantError(f"{a.key}: no version", expected="one after every import", action="report this")
    return ImportedSeries(
        series=a.key,
        origin=a.ref.origin,
        rows=current.rows,
        added_n=merge.added_n,
        late_n=merge.late_n,
        changed_n=merge.changed_n,
        sha256=current.sha256,
        unchanged=merge.version is None,
        restored=restored,
    )


@dataclass(frozen=True, slots=True)
class _Merge:
    """What an arrival does to a series: the new version (None: nothing) and its new pieces."""

    version: Version | None
    pieces: Sequence[Piece]
    added_n: int = 0
    late_n: int = 0
    changed_n: int = 0


def _grown(before: Version, version: Version) -> Version:
    """Return a version that takes the place of the one before it: that one's evidence stays."""
    kept = {name: getattr(before, name) for name in ("late_n", "changed_n", "reason", "late", "changes")}
    return version.model_copy(update=kept)


def _merge(lake: Lake, entry: Entry | None, a: Arrival, correction: str, commit: Commit) -> _Merge:
    """Merge an arrival with the bars on record, segment by segment; segments it does not touch are not read."""
    if entry is None:
        return _Merge(first_version(a.ref, a.source, a.closed, a.bars, a.pieces), a.pieces, added_n=len(a.bars))
    now = entry.current
    touched = {p.segment.period for p in a.pieces}
    old = {s.period: _on_record(lake, entry, s, a, commit) for s in now.segments if s.period in touched}
    incoming, open_bars = _settle(a, now, old)
    if len(incoming) == 0:
        return _Merge(None, ())
    parts = dict(cut(incoming, a.ref.interval))
    changes: list[Change] = []
    changed_n = 0
    for period, bars in parts.items():
        if period in old:
            found, n = _changes(old[period], bars)
            changes, changed_n = changes + found, changed_n + n
    reason = _reason(a.key, changes, changed_n, set(now.unclosed_t), correction)
    fresh = incoming.t[~np.isin(incoming.t, np.concatenate([np.empty(0, np.int64), *(b.t for b in old.values())]))]
    late = fresh[(fresh > now.first_t) & (fresh < now.last_t)]
    merged = {period: _union(old[period], bars) if period in old else bars for period, bars in parts.items()}
    pieces = [piece(period, bars) for period, bars in merged.items()]
    segments = {s.period: s for s in now.segments} | {p.segment.period: p.segment for p in pieces}
    stays_open = {t for t in now.unclosed_t if not bool((incoming.t == t).any())} | set(open_bars)
    ordered = tuple(sorted(segments.values(), key=lambda s: s.first_t))
    version = Version(
        sha256=series_digest(ordered),
        segments=ordered,
        rows=sum(s.rows for s in ordered),
        first_t=ordered[0].first_t,
        last_t=ordered[-1].last_t,
        sources=tuple(sorted({*now.sources, f"{a.source}: {a.ref.origin}"})),
        unclosed_t=tuple(sorted(stays_open)),
        late_n=len(late),
        changed_n=changed_n,
        reason=reason,
        late=tuple(_late(late, interval_seconds(a.ref.interval))),
        changes=tuple(sorted(changes, key=lambda c: (c.open_t, c.column))[:EVIDENCE_KEPT]),
    )
    if version.sha256 == now.sha256 and stays_open == set(now.unclosed_t):
        return _Merge(None, ())
    return _Merge(version, pieces, version.rows - now.rows, len(late), changed_n)


def _settle(a: Arrival, now: Version, old: Mapping[str, Bars]) -> tuple[Bars, tuple[int, ...]]:
    """Return the arrival without a bar that the lake knows the end of, and its bars that may not have closed."""
    open_bars = unclosed(a.bars, interval_seconds(a.ref.interval), vouched=a.closed)
    settled = [t for t in open_bars if t not in now.unclosed_t and any(bool((b.t == t).any()) for b in old.values())]
    if not settled:
        return a.bars, open_bars
    return a.bars.take(~np.isin(a.bars.t, settled)), tuple(t for t in open_bars if t not in settled)


def _reason(key: str, changes: Sequence[Change], changed_n: int, was_open: set[int], correction: str) -> str:
    """Return why bars change, empty when none does.

    Raises:
        GateError: they change, and nobody says why.
    """
    if not changed_n:
        return ""
    if correction or {c.open_t for c in changes} <= was_open:
        return correction or COMPLETED
    c = min(changes, key=lambda c: c.open_t)
    raise GateError(
        f"{key}: {changed_n} bars differ from those on record; first {iso(c.open_t)} {c.column} {c.old:g}, now {c.new:g}",
        expected="bars on record do not change silently",
        action="use another home with --out, or record the new values with `ballast data import --correction REASON`; "
        "nothing was imported",
    )


def _late(t: Ints, interval_t: int) -> list[Late]:
    """Return the runs of late bars, the first ones only."""
    if len(t) == 0:
        return []
    starts = np.flatnonzero(np.concatenate(([True], np.diff(t) > interval_t)))
    ends = np.append(starts[1:], len(t))
    return [Late(first_t=int(t[i]), last_t=int(t[j - 1]), bars_n=int(j - i)) for i, j in zip(starts, ends, strict=True)][
        :EVIDENCE_KEPT
    ]


def _require(lake: Lake, commit: Commit, key: str, wanted: Piece) -> None:
    """Have a segment's file written unless the lake holds it."""
    path = wanted.segment.path(key)
    if path not in commit.files and not lake.holds(key, wanted.segment):
        commit.files[path] = wanted.bars


def _on_record(lake: Lake, entry: Entry, segment: Segment, a: Arrival, commit: Commit) -> Bars:
    """Return a segment's bars on record; when their file is lost but the arrival brings the same bars, have it written anew."""
    try:
        return lake.read(entry.key, (segment,))
    except VerificationError:
        for bars in _restorations(lake, entry, segment, a):
            if len(bars) and bars.digest == segment.sha256:
                commit.files[segment.path(entry.key)] = bars
                return bars
        raise


def _restorations(lake: Lake, entry: Entry, segment: Segment, a: Arrival) -> Iterator[Bars]:
    """Yield what a lost file may have held: the arrival's bars of its period, those of its range, or an earlier version with them."""
    (whole,) = [p.bars for p in a.pieces if p.segment.period == segment.period]
    yield whole
    ranged = whole.take((whole.t >= segment.first_t) & (whole.t <= segment.last_t))
    yield ranged
    for version in reversed(entry.versions[:-1]):
        for earlier in version.segments:
            if earlier.period == segment.period and lake.holds(entry.key, earlier):
                yield _union(lake.read(entry.key, (earlier,)), ranged)


def first_version(ref: SeriesRef, source: str, closed: bool, bars: Bars, pieces: Sequence[Piece]) -> Version:
    """Return the version of a series that had none."""
    segments = tuple(p.segment for p in pieces)
    return Version(
        sha256=series_digest(segments),
        segments=segments,
        rows=len(bars),
        first_t=int(bars.t[0]),
        last_t=int(bars.t[-1]),
        sources=(f"{source}: {ref.origin}",),
        unclosed_t=unclosed(bars, interval_seconds(ref.interval), vouched=closed),
    )


def _changes(old: Bars, new: Bars) -> tuple[list[Change], int]:
    """Return the first changed values of bars both have, column by column, and the number of changed bars."""
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
            for i in np.flatnonzero(different)[:EVIDENCE_KEPT]
        ]
    return changes, int(rows.sum())


def _union(old: Bars, new: Bars) -> Bars:
    """Return all bars of both in time order; where both have one, the new one. `trades` stays only if both have it."""
    both = joined([old.take(~np.isin(old.t, new.t)), new])
    return both if bool((np.diff(both.t) > 0).all()) else both.take(np.argsort(both.t, kind="stable"))
