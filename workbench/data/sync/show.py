"""How results and status look to people: tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbench.data.bars import interval_seconds
from workbench.data.sync.run import SeriesResult, SyncResult
from workbench.data.sync.status import SeriesStatus, SyncStatus
from workbench.data.universe.versions import iso

FAILED = "bold red"
NEWS = "yellow"
WIDE = 100
"""Columns of a window with room to spare."""


def show_result(console: Console, title: str, result: SyncResult) -> None:
    """Show what a backfill or sync did: a line per series, then failures, then the sums."""
    rows = [
        (
            s.series,
            f"{s.read_n:,}",
            f"{s.added_n:,}",
            f"{s.late_n:,}",
            f"{s.changed_n:,}",
            _at(s.scanned_until_t),
            s.verdict,
        )
        for s in result.series
    ]
    names = ("series", "read", "added", "late", "changed", "read until", "")
    styles = [_style(s) for s in result.series]
    _print(console, title, names, rows, styles, right=range(1, 5))
    show_failures(console, [(s.series, f"{s.detail}; {s.action}") for s in result.failed])
    for s in result.series:
        if s.withdrawn_n:
            console.print(Text.assemble(("note ", NEWS), f"{s.series}: {s.detail}"), soft_wrap=True)
    console.print(sums(result))


def _style(s: SeriesResult) -> str:
    quiet = s.verdict in {"skipped", "absent"}
    return FAILED if s.verdict == "failed" else "dim" if quiet else NEWS if s.late_n or s.changed_n or s.withdrawn_n else ""


def sums(result: SyncResult) -> str:
    """Return the one line that sums a backfill or sync up."""
    added, late = sum(s.added_n for s in result.series), sum(s.late_n for s in result.series)
    changed = sum(s.changed_n for s in result.series)
    done = sum(s.verdict == "ok" for s in result.series)
    rate = sum(s.read_n for s in result.series) / result.elapsed_s if result.elapsed_s else 0.0
    evidence = f", {late:,} late and {changed:,} restated (new versions with evidence)" if late or changed else ""
    return (
        f"{done} of {len(result.series)} series whole, {added:,} bars added{evidence}; "
        f"{result.calls_n:,} calls in {result.elapsed_s:.1f} s, {rate:,.0f} bars/s"
    )


def show_status(console: Console, status: SyncStatus) -> None:
    """Show where every series and account stands."""
    if not status.series:
        console.print("The lake is empty: `ballast data backfill` or `ballast data import` fills it.")
    for (where, source), group in groupby(sorted(status.series, key=_shelf), key=_shelf):
        series = list(group)
        title = f"{where} from {source}" if source else f"{where}, imported"
        names = ("symbol", "bars", "missing", "ver", "first", "last bar", "read until", "behind")
        rows = [_status_row(s) for s in series]
        styles = [FAILED if s.verdict == "failed" else "" for s in series]
        _print(console, title, names, rows, styles, right=(1, 2, 3, 7))
    show_failures(console, [(s.series, s.detail) for s in status.series if s.verdict == "failed"])
    if status.accounts:
        cells = [
            (
                a.account,
                f"{a.ok_n:,}",
                f"{a.retried_n:,}",
                f"{a.failed_n:,}",
                "no limit" if a.left_n is None else f"{a.left_n:.1f}",
                "" if a.rate_per_s is None else f"{a.rate_per_s:g}",
            )
            for a in status.accounts
        ]
        heads = ("account", "ok", "retried", "failed", "left now", "calls/s")
        _print(console, "Calls today (UTC), of every run", heads, cells, [""] * len(cells), right=range(1, 6))
    console.print(f"lake digest {status.lake_digest}", soft_wrap=True)


def age_text(seconds: int) -> str:
    """Return a length of time in one number: `40 s`, `12 m`, `5 h`, `3 d`."""
    for size, unit, most in ((1, "s", 90), (60, "m", 90), (3_600, "h", 48)):
        if seconds < size * most:
            return f"{max(0, seconds) // size} {unit}"
    return f"{seconds // 86_400} d"


def _status_row(s: SeriesStatus) -> tuple[str, ...]:
    fresh = s.tail_age_s is not None and s.tail_age_s < interval_seconds(s.series.split("/")[1])
    return (
        s.series.rpartition("/")[2],
        f"{s.bars_n:,}",
        f"{s.missing_n:,}",
        str(s.versions_n),
        _at(s.first_t)[:10],
        _at(s.last_t),
        _at(s.scanned_until_t).partition("-")[2] or "-",
        "-" if s.tail_age_s is None else "fresh" if fresh else age_text(s.tail_age_s),
    )


def show_failures(console: Console, failures: Sequence[tuple[str, str]]) -> None:
    """Show each message once, with the series it stands for."""
    by_message: dict[str, list[str]] = {}
    for series, message in failures:
        by_message.setdefault(message, []).append(series)
    for message, keys in by_message.items():
        named = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        console.print(Text.assemble(("failed ", FAILED), f"{named}: {message}"), soft_wrap=True)


def _shelf(s: SeriesStatus) -> tuple[str, str]:
    """Return what series are shown together: venue and interval, and source."""
    return s.series.rpartition("/")[0], s.source


def _print(
    console: Console,
    title: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str],
    *,
    right: Sequence[int],
) -> None:
    """Print a table that is as narrow as its numbers let it be, with more air where the window has room."""
    air_n = 2 if console.width >= WIDE else 0
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD, show_edge=False)
    table.padding = (0, air_n, 0, 0)
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i in right else "left", no_wrap=True, overflow="fold")
    for row, style in zip(rows, styles, strict=True):
        table.add_row(*row, style=style)
    console.print(table)
    console.print()


def _at(at_t: int | None) -> str:
    return "-" if at_t is None else iso(at_t).replace("T", " ").removesuffix("Z")
