"""Where the lake and its sources stand: read only, from the catalog and the state file."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workbench.data.bars import interval_seconds
from workbench.data.store.catalog import Entry
from workbench.data.store.lake import Lake
from workbench.data.sync.state import Clock, SyncState


class SeriesStatus(BaseModel):
    """One series; times are seconds UTC.

    Attributes:
        series: `venue/interval/SYMBOL`.
        source: whose watermark it is; empty where the series was only imported.
        bars_n, first_t, last_t, versions_n: of the lake; 0 and None where it has no bar yet.
        missing_n: intervals between first and last without a bar. A quiet market has such; they are on record, never filled.
        scanned_from_t, scanned_until_t: the watermark; None = nothing was read.
        tail_age_s: from the close of the last bar to now.
        verdict, detail, tried_t: how the last attempt ended; empty where there was none.
    """

    model_config = ConfigDict(frozen=True)

    series: str
    source: str
    bars_n: int
    first_t: int | None
    last_t: int | None
    versions_n: int
    missing_n: int
    scanned_from_t: int | None
    scanned_until_t: int | None
    tail_age_s: int | None
    verdict: str
    detail: str
    tried_t: int | None


class AccountStatus(BaseModel):
    """One rate budget: calls of today (UTC) by outcome, calls left now (None: no limit), calls a second."""

    model_config = ConfigDict(frozen=True)

    account: str
    ok_n: int
    retried_n: int
    failed_n: int
    left_n: float | None
    rate_per_s: float | None


class SyncStatus(BaseModel):
    """Everything `ballast data status` shows."""

    model_config = ConfigDict(frozen=True)

    now_t: int
    lake_digest: str
    series: tuple[SeriesStatus, ...]
    accounts: tuple[AccountStatus, ...]


def sync_status(home: Path, clock: Clock) -> SyncStatus:
    """Return where every series and account stands.

    Raises:
        DataError: lake or state are of another version.
        EnvironmentFailure: the state file cannot be read.
    """
    lake, now_t = Lake(home), int(clock())
    entries = {e.key: e for e in lake.catalog().entries}
    digest = lake.digest()
    if not SyncState.exists(home):
        series = [_series(key, "", entry, now_t) for key, entry in entries.items()]
        return SyncStatus(now_t=now_t, lake_digest=digest, series=tuple(series), accounts=())
    with SyncState(home, clock=clock, writable=False) as state:
        marks = {(m.source, m.series): m for m in state.watermarks()}
        outcomes = {(o.source, o.series): o for o in state.outcomes()}
        accounts = _accounts(state)
    followed = sorted({*marks, *outcomes}, key=lambda k: (k[1], k[0]))
    found = []
    for source, key in followed:
        mark, outcome = marks.get((source, key)), outcomes.get((source, key))
        base = _series(key, source, entries.get(key), now_t)
        found.append(
            base.model_copy(
                update={
                    "scanned_from_t": mark.scanned_from_t if mark else None,
                    "scanned_until_t": mark.scanned_until_t if mark else None,
                    "verdict": outcome.verdict if outcome else "",
                    "detail": outcome.detail if outcome else "",
                    "tried_t": outcome.at_t if outcome else None,
                }
            )
        )
    read = {key for _, key in followed}
    found += [_series(key, "", entry, now_t) for key, entry in entries.items() if key not in read]
    return SyncStatus(now_t=now_t, lake_digest=digest, series=tuple(found), accounts=tuple(accounts))


def _series(key: str, source: str, entry: Entry | None, now_t: int) -> SeriesStatus:
    step, current = interval_seconds(key.split("/")[1]), entry.current if entry else None
    return SeriesStatus(
        series=key,
        source=source,
        bars_n=current.rows if current else 0,
        first_t=current.first_t if current else None,
        last_t=current.last_t if current else None,
        versions_n=len(entry.versions) if entry else 0,
        missing_n=(current.last_t - current.first_t) // step + 1 - current.rows if current else 0,
        scanned_from_t=None,
        scanned_until_t=None,
        tail_age_s=now_t - (current.last_t + step) if current else None,
        verdict="",
        detail="",
        tried_t=None,
    )


def _accounts(state: SyncState) -> list[AccountStatus]:
    budgets = {b.account: b for b in state.budgets()}
    counts: dict[str, dict[str, int]] = {name: {} for name in budgets}
    for c in state.calls_today():
        by_outcome = counts.setdefault(c.account, {})
        by_outcome[c.outcome] = by_outcome.get(c.outcome, 0) + c.calls_n
    return [
        AccountStatus(
            account=name,
            ok_n=n.get("ok", 0),
            retried_n=n.get("retried", 0),
            failed_n=n.get("failed", 0),
            left_n=round(max(0.0, budgets[name].left_n), 3) if name in budgets else None,
            rate_per_s=budgets[name].rate_per_s if name in budgets else None,
        )
        for name, n in sorted(counts.items())
    ]
