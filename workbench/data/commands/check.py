"""What `ballast data check` does beyond the gates: the rows of findings, and the live gates' clocks and watermarks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from runtime.adapters.clock import SystemClock
from runtime.errors import UsageError
from runtime.progress import Report, silent
from workbench.data.bars import Bars
from workbench.data.checks.check import CheckResult, Live, check_files, check_lake
from workbench.data.commands.tables import plain_table
from workbench.data.providers import read_series
from workbench.data.providers.files import FileProvider
from workbench.data.quality.live import ask_clocks
from workbench.data.quality.rows import BarRow, rows_of
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, iso, load_universe

now_s = SystemClock().now_s
"""This machine's clock; tests set another."""
sleep = time.sleep
"""Waits between two attempts to ask a venue; tests do not."""
KRAKEN = "kraken-spot"
SIMULATED = "simulated"


def run_check(
    home: Path,
    path: Path | None,
    venue: str | None,
    interval: str | None,
    symbols: Sequence[str],
    accepted: Sequence[str],
    rows: Sequence[str],
    *,
    live: bool = False,
    report: Report = silent,
) -> tuple[CheckResult, list[BarRow]]:
    """Check files or the lake, and return the bars of the findings that `rows` names.

    Raises:
        UsageError: `live` or `symbols` with files, or a name in `rows` that covers no finding.
        BallastError: what `check_files` and `check_lake` raise, or the venue's clock cannot be asked.
    """
    if path is None:
        asked = live_inputs(home, venue) if live else None
        wanted = venue_symbols(home, symbols)
        result = check_lake(home, venue=venue, interval=interval, symbols=wanted, accepted=accepted, live=asked, report=report)
        return result, rows_of(result.findings, rows, lambda key: _from_lake(home, key))
    if live or symbols:
        raise UsageError(
            "--live or --symbol with PATH", expected="one of the two", action="leave PATH out to check series of the lake"
        )
    provider = FileProvider(path, venue=venue, interval=interval)
    result = check_files(provider, accepted=accepted, now_t=int(now_s()), report=report)
    refs = {r.key: r for r in provider.series()} if rows else {}
    return result, rows_of(result.findings, rows, lambda key: read_series(provider, refs[key]) if key in refs else None)


def venue_symbols(home: Path, names: Sequence[str]) -> list[str]:
    """Return the symbols of the lake's series that names stand for, each an asset (`BTC`, with its former tickers) or a symbol itself.

    Raises:
        UsageError: the lake has no series of a name.
    """
    universe = load_universe()
    held = [(e.symbol, universe.resolve(e.venue, e.symbol)) for e in Lake(home).catalog().entries] if names else []
    wanted: list[str] = []
    for name in names:
        found = {s for s, listing in held if name.upper() == s.upper() or (listing and listing.asset == name.upper())}
        if not found:
            raise UsageError(
                f"the lake has no series of {name}",
                expected="an asset such as BTC, or a venue's symbol such as BTCUSDT",
                action="see `ballast data list`",
            )
        wanted += sorted(found)
    return wanted


def _from_lake(home: Path, key: str) -> Bars | None:
    lake = Lake(home)
    entry = lake.catalog().get(key)
    return None if entry is None else lake.read(key, entry.current.segments)


def live_inputs(home: Path, venue: str | None = None) -> Live:
    """Ask the clocks and the synchronisation's state about every venue of the lake that is kept up to date.

    Raises:
        EnvironmentFailure: a venue with a clock cannot be reached.
    """
    from workbench.data.providers.kraken import KrakenProvider
    from workbench.data.sync.state import SyncState

    held = sorted({e.venue for e in Lake(home).catalog().entries if venue in (None, e.venue)})
    venues = [v for v in held if v != SIMULATED and not v.endswith(SECOND_SOURCE_SUFFIX)]
    asked = {v: KrakenProvider(sleep=sleep).server_time_t if v == KRAKEN else None for v in venues}
    clocks = {v: ask_clocks(now_s, ask) for v, ask in asked.items()}
    marks: dict[str, int] = {}
    if SyncState.exists(home):
        with SyncState(home, clock=now_s, writable=False) as state:
            for mark in state.watermarks():
                marks[mark.series] = max(mark.scanned_until_t, marks.get(mark.series, 0))
    return Live(clocks=clocks, watermarks=marks)


def show_rows(console: Console, rows: Sequence[BarRow]) -> None:
    """Show the bars of findings, each finding's under its name."""
    if not rows:
        return
    cells = [
        (
            r.finding,
            r.role,
            r.series,
            iso(r.open_t),
            *(_number(v) for v in (r.open, r.high, r.low, r.close, r.volume, r.trades)),
        )
        for r in rows
    ]
    columns = ("finding", "bar", "series", "opened", "open", "high", "low", "close", "volume", "trades")
    console.print(plain_table(f"{len(rows)} bars", columns, cells))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"
