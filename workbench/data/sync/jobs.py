"""The jobs behind the commands: which providers to ask, for which series, and under which name they are remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.errors import BallastError, UsageError
from runtime.progress import Report
from workbench.data.datasets.prune import prune_lake
from workbench.data.providers import BarProvider, SeriesRef
from workbench.data.providers.calls import CallLedger
from workbench.data.store.lake import Lake
from workbench.data.sync.board import Pulse
from workbench.data.sync.plan import OVERLAP_BARS, Task, plan_backfill, plan_sync
from workbench.data.sync.reader import Stop
from workbench.data.sync.run import SeriesResult, SyncResult, Watch, only_one, run_tasks, sweep_lake
from workbench.data.sync.state import Clock, Source, SyncState
from workbench.data.sync.writer import BATCH_S
from workbench.data.universe.versions import load_universe

USD: Final = "USD"
GONE: Final = "absent"
"""Verdict on a series that was read before and that its source no longer lists; no failure."""
SKIPPED: Final = "skipped"
"""Verdict on a series whose symbol is not in the universe; no failure."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for.

    Attributes:
        kind: name the provider is registered under; empty (in a sync) = all that were read before.
        options: `exchange`, `url`, `quote`, `path`, `venue`, as far as given.
        intervals, symbols: bar lengths by name and assets of the universe; empty = the provider's own, or all.
    """

    kind: str
    options: Mapping[str, str]
    intervals: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()


Open = Callable[[Asked, str, CallLedger, Callable[[float], None], Report], BarProvider]
"""Makes a provider of (what was asked, one interval, ledger, sleep, report)."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where and how a job works.

    Attributes:
        home: the home folder.
        open: makes providers.
        workers_n: series read at once.
        watch: told how far it is.
        clock: seconds since 1970 UTC.
        overlap_n: bars that a sync reads again.
        batch_s: seconds from one commit to the next.
    """

    home: Path
    open: Open
    workers_n: int
    watch: Watch
    clock: Clock
    overlap_n: int = OVERLAP_BARS
    batch_s: float = BATCH_S


def source_name(provider: BarProvider, options: Mapping[str, str]) -> str:
    """Return the name a source is remembered under: the provider's, with the quote where it is not USD."""
    quote = options.get("quote", USD)
    return provider.name if quote == USD else f"{provider.name} {quote}"


def backfill(job: Job, asked: Asked, since_t: int | None, until_t: int | None) -> SyncResult:
    """Read the history of a provider's series into the lake, going on from where an earlier backfill stopped.

    Args:
        job: where and how.
        asked: provider and series.
        since_t, until_t: opening times wanted, seconds UTC; None = the source's beginning, and now.

    Raises:
        BallastError: the provider, the lake or the state file cannot be used. One series' failure is in the result.
    """
    with only_one(job.home):
        sweep_lake(job.home)
        catalog = Lake(job.home).catalog()
        stop, pulse = Stop(), Pulse()
        with SyncState(job.home, clock=job.clock) as state:
            state.forgive()
            tasks: list[Task] = []
            skipped: list[SeriesResult] = []
            for interval in asked.intervals:
                provider = job.open(asked, interval, state, stop.sleep, pulse.report)
                name = source_name(provider, asked.options)
                refs, unknown = _known(name, provider.series())
                skipped += [*unknown, *_not_listed(name, asked.symbols, interval, refs)]
                state.remember(Source(name, asked.kind, asked.options))
                tasks += plan_backfill(state, catalog, name, provider, refs, since_t, until_t)
            result = run_tasks(
                job.home,
                state,
                tasks,
                title="backfill",
                workers_n=job.workers_n,
                stop=stop,
                pulse=pulse,
                watch=job.watch,
                batch_s=job.batch_s,
            )
        return result.model_copy(update={"series": (*result.series, *skipped), "pruned_n": _prune(job)})


def sync(job: Job, asked: Asked) -> SyncResult:
    """Read what is new since the watermarks, with the bars just before them again; corrections become versions with evidence.

    Args:
        job: where and how.
        asked: without a provider, every series read before (of the given intervals and symbols). With a provider and intervals
            or symbols, exactly those, also when they were never read.

    Raises:
        UsageError: nothing was read before.
        BallastError: no provider, or the lake or the state file, can be used. One series' failure is in the result.
    """
    with only_one(job.home):
        sweep_lake(job.home)
        catalog = Lake(job.home).catalog()
        stop, pulse = Stop(), Pulse()
        with SyncState(job.home, clock=job.clock) as state:
            state.forgive()
            tasks, lost = _sync_tasks(
                job, asked, state, stop, pulse, lambda n, p, r: plan_sync(state, catalog, n, p, r, job.overlap_n)
            )
            result = run_tasks(
                job.home,
                state,
                tasks,
                title="sync",
                workers_n=job.workers_n,
                stop=stop,
                pulse=pulse,
                restate=True,
                watch=job.watch,
                batch_s=job.batch_s,
            )
            for s in lost:
                state.ended(s.source, s.series, s.verdict, s.detail)
        return result.model_copy(update={"series": (*result.series, *lost), "pruned_n": _prune(job)})


Plan = Callable[[str, BarProvider, Sequence[SeriesRef]], list[Task]]


def _sync_tasks(
    job: Job, asked: Asked, state: SyncState, stop: Stop, pulse: Pulse, plan: Plan
) -> tuple[list[Task], list[SeriesResult]]:
    """Return what to read, and what became of the series whose provider cannot be asked or no longer lists them."""
    followed = _followed(state)
    chosen = bool(asked.kind) and bool(asked.intervals or asked.symbols)
    tasks: list[Task] = []
    lost: list[SeriesResult] = []
    failures: list[BallastError] = []
    for source in _sources(asked, state):
        keys = sorted(followed.get(source.name, ()))
        intervals = asked.intervals or tuple(dict.fromkeys(key.split("/")[1] for key in keys)) or ("1h",) * chosen
        for interval in intervals:
            wanted = {key for key in keys if key.split("/")[1] == interval}
            try:
                provider = job.open(
                    Asked(source.kind, source.options, (interval,), asked.symbols), interval, state, stop.sleep, pulse.report
                )
                refs, _ = _known(source.name, provider.series())
            except BallastError as e:
                failures.append(e)
                lost += [_lost(source.name, key, "failed", e.got, e.action, e.exit_code) for key in sorted(wanted)]
                continue
            name = source_name(provider, source.options)
            state.remember(Source(name, source.kind, source.options))
            tasks += plan(name, provider, [r for r in refs if chosen or r.key in wanted])
            if not asked.symbols:
                gone = sorted(wanted - {r.key for r in refs})
                lost += [_lost(name, key, GONE, f"{name} no longer lists it", "", 0) for key in gone]
    if failures and not tasks:
        raise failures[0]
    if not tasks and not lost:
        raise UsageError(
            "nothing to sync: no such series was read before",
            expected="series that a backfill has begun",
            action="begin with `ballast data backfill --provider NAME`; `ballast data status` lists what there is",
        )
    return tasks, lost


def _sources(asked: Asked, state: SyncState) -> Iterable[Source]:
    """Return the sources to ask: those on record, or the one given (as on record, where it was asked for before)."""
    on_record = state.sources()
    if not asked.kind:
        return on_record
    identity = {"exchange": "", "venue": "", "quote": USD}  # a source may move to another address or folder, and stays the same
    same = [
        Source(s.name, s.kind, {**s.options, **asked.options})
        for s in on_record
        if s.kind == asked.kind and all(s.options.get(n, d) == asked.options.get(n, d) for n, d in identity.items())
    ]
    return same or [Source("", asked.kind, asked.options)]


def _followed(state: SyncState) -> dict[str, set[str]]:
    """Return the series ever begun, by source; one that failed before its first bar is among them."""
    found: dict[str, set[str]] = {}
    begun = [(m.source, m.series) for m in state.watermarks()] + [(o.source, o.series) for o in state.outcomes()]
    for source, series in begun:
        found.setdefault(source, set()).add(series)
    return found


def _known(source: str, refs: Sequence[SeriesRef]) -> tuple[list[SeriesRef], list[SeriesResult]]:
    """Return the series whose symbols the universe knows, and what is said of the others."""
    universe = load_universe()
    known = [r for r in refs if universe.resolve(r.venue, r.symbol) is not None]
    detail = f"not in universe {universe.version}"
    return known, [_lost(source, r.key, SKIPPED, detail, "", 0) for r in refs if r not in known]


def _not_listed(source: str, symbols: Sequence[str], interval: str, refs: Sequence[SeriesRef]) -> list[SeriesResult]:
    """Return what is said of assets that were asked for by name and that the source does not list."""
    universe = load_universe()
    listed = {listing.asset for r in refs if (listing := universe.resolve(r.venue, r.symbol)) is not None}
    venue = refs[0].venue if refs else source
    return [
        _lost(source, f"{venue}/{interval}/{asset}", GONE, f"{source} does not list it", "", 0)
        for asset in symbols
        if asset not in listed
    ]


def _prune(job: Job) -> int:
    """Remove files of the lake that growth has replaced; return how many."""
    try:
        return len(prune_lake(job.home, now_s=job.clock()))
    except BallastError:  # the lake is busy, or a dataset is damaged: nothing was removed, and `ballast data prune` says why
        return 0


def _lost(source: str, series: str, verdict: str, detail: str, action: str, exit_code: int) -> SeriesResult:
    return SeriesResult(
        series=series,
        source=source,
        verdict=verdict,
        read_n=0,
        added_n=0,
        late_n=0,
        changed_n=0,
        rows_n=0,
        scanned_until_t=None,
        detail=detail,
        action=action,
        exit_code=exit_code,
    )
