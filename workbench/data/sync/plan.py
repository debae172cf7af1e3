"""What to read of each series: the spans of time that the watermarks leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from workbench.data.bars import interval_seconds
from workbench.data.providers import BarProvider, SeriesRef
from workbench.data.store.catalog import Catalog
from workbench.data.sync.state import SyncState, Watermark

OVERLAP_BARS: Final = 48
"""Bars that a sync reads again before its watermark, to meet late and restated ones."""


@dataclass(frozen=True, slots=True)
class Span:
    """Opening times [since_t, until_t) to read, seconds UTC; since_t None = the source's beginning, until_t None = now.

    `front` is a span before the one on record: it counts only when it was read whole, for a watermark has no hole.
    """

    since_t: int | None
    until_t: int | None
    front: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One series to read: its open spans, what is on record (None: nothing), and how many bars the lake has."""

    source: str
    provider: BarProvider
    ref: SeriesRef
    spans: tuple[Span, ...]
    mark: Watermark | None
    rows_n: int


def plan_backfill(
    state: SyncState,
    catalog: Catalog,
    source: str,
    provider: BarProvider,
    refs: Sequence[SeriesRef],
    since_t: int | None,
    until_t: int | None,
) -> list[Task]:
    """Return what a backfill from `since_t` (None = the beginning) to `until_t` (None = now) still has to read."""
    tasks = []
    for ref in refs:
        mark, rows_n = _on_record(state, catalog, source, ref)
        spans = [Span(since_t, until_t)] if mark is None else _open(mark, since_t, until_t)
        tasks.append(Task(source, provider, ref, tuple(spans), mark, rows_n))
    return tasks


def plan_sync(
    state: SyncState,
    catalog: Catalog,
    source: str,
    provider: BarProvider,
    refs: Sequence[SeriesRef],
    overlap_n: int = OVERLAP_BARS,
) -> list[Task]:
    """Return what is new since the watermarks, with the last `overlap_n` bars before them again.

    A series that was never read is read from its beginning.
    """
    tasks = []
    for ref in refs:
        mark, rows_n = _on_record(state, catalog, source, ref)
        if mark is None:
            tasks.append(Task(source, provider, ref, (Span(None, None),), None, rows_n))
            continue
        since_t = mark.scanned_until_t - overlap_n * interval_seconds(ref.interval)
        if mark.scanned_from_t is not None:
            since_t = max(since_t, mark.scanned_from_t)
        tasks.append(Task(source, provider, ref, (Span(since_t, None),), mark, rows_n))
    return tasks


def _open(mark: Watermark, since_t: int | None, until_t: int | None) -> list[Span]:
    """Return what a watermark leaves open of [since_t, until_t)."""
    spans = []
    begin_t = mark.scanned_until_t if mark.scanned_from_t is None else mark.scanned_from_t
    if (not mark.whole) if since_t is None else since_t < begin_t:
        spans.append(Span(since_t, begin_t, front=True))
    if until_t is None or until_t > mark.scanned_until_t:
        spans.append(Span(mark.scanned_until_t, until_t))
    return spans


def _on_record(state: SyncState, catalog: Catalog, source: str, ref: SeriesRef) -> tuple[Watermark | None, int]:
    """Return a series' watermark and its bars in the lake; a watermark of a lake that had more bars counts for nothing."""
    entry = catalog.get(ref.key)
    rows_n = entry.current.rows if entry else 0
    mark = state.watermark(source, ref.key)
    if mark is not None and rows_n < mark.bars_n:  # the lake was removed, or brought back from an older copy
        state.forget(source, ref.key)
        mark = None
    return mark, rows_n
