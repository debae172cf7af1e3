"""`ballast data backfill`, `sync` and `status`: fill the lake from a provider, keep it current, and say where it stands.

Only typer and the standard library are imported here, so that `ballast --help` stays fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.adapters.clock import SystemClock
from runtime.console import check_stop, iso_time, print_json, stderr_console, stdout_console, time_option
from runtime.errors import EXIT_OK, BallastError, UsageError
from runtime.home import home_path

if TYPE_CHECKING:
    from workbench.data.sync.jobs import Asked, Job
    from workbench.data.sync.run import SyncResult, Watch

    Ended = SyncResult | BallastError
    """How one round of a loop ended."""

WORKERS_N: Final = 4
WORKERS_MAX: Final = 32
CLOCK: Final = SystemClock()
NAP_S: Final = 1.0
"""A loop looks this often whether somebody asked it to stop."""

Home = Annotated[Path | None, typer.Option("--out", "--home", help="Home folder (default: BALLAST_HOME, else ./out).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Exchange = Annotated[str | None, typer.Option("--exchange", help="With --provider ccxt: its exchange, such as binance.")]
Url = Annotated[str | None, typer.Option("--url", help="Base address instead of the provider's own.")]
PathOption = Annotated[Path | None, typer.Option("--path", help="With a provider of files: the folder or archive.")]
Intervals = Annotated[list[str] | None, typer.Option("--interval", help="Bar length (1m 5m 15m 1h 4h 1d); may be repeated.")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", help="Assets, such as BTC; may be repeated; default all.")]
Quote = Annotated[str | None, typer.Option("--quote", help="Quote currency (default USD).")]
Venue = Annotated[str | None, typer.Option("--venue", help="Venue, where a provider has several.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=WORKERS_MAX, help="Series read at once, within the rate budget.")]


def backfill(
    provider: Annotated[str, typer.Option("--provider", help="Name of a provider (`ballast data providers` lists them).")],
    exchange: Exchange = None,
    url: Url = None,
    path: PathOption = None,
    interval: Intervals = None,
    symbol: Symbols = None,
    quote: Quote = None,
    venue: Venue = None,
    since: Annotated[
        str | None, typer.Option("--since", help="First bar, such as 2024-01-01; default the source's beginning.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Bars before this time; default all closed ones.")] = None,
    workers: Workers = WORKERS_N,
    out: Home = None,
    json: Json = False,
) -> None:
    """Fill the lake with a provider's history; after any interruption, run it again and it goes on."""
    from workbench.data.sync.display import watching
    from workbench.data.sync.jobs import backfill as run

    since_t, until_t = time_option(since, "--since"), time_option(until, "--until")
    if since_t is not None and until_t is not None and since_t >= until_t:
        raise UsageError(f"--since {since} --until {until}", expected="a beginning before the end", action="correct the times")
    asked = _asked(provider, exchange, url, path, quote, venue, interval or ["1h"], symbol)
    with watching() as watch:
        result = run(_job(home_path(out), workers, watch), asked, since_t, until_t)
    _show("Backfill", result, json)


def sync(
    provider: Annotated[
        str | None, typer.Option("--provider", help="Only this provider; default every one used before.")
    ] = None,
    exchange: Exchange = None,
    url: Url = None,
    path: PathOption = None,
    interval: Intervals = None,
    symbol: Symbols = None,
    quote: Quote = None,
    venue: Venue = None,
    every: Annotated[
        float | None, typer.Option("--every", min=1.0, help="Seconds from round to round; without it, one round.")
    ] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="With --every: end after this many rounds.")] = None,
    workers: Workers = WORKERS_N,
    out: Home = None,
    json: Json = False,
) -> None:
    """Bring what is new of the series that were backfilled; late and restated bars become new versions with evidence."""
    if provider is None and (exchange or url or path or quote or venue):
        raise UsageError(
            "--exchange, --url, --path, --quote or --venue without --provider", expected="--provider NAME", action="name it too"
        )
    asked = _asked(provider or "", exchange, url, path, quote, venue, interval or [], symbol)
    if every is None:
        if rounds is not None:
            raise UsageError("--rounds without --every", expected="--every SECONDS", action="give both, or neither")
        _show("Sync", _one_round(home_path(out), workers, asked), json)
        return
    if json and rounds is None:
        raise UsageError(
            "--every with --json, without --rounds",
            expected="an end after which the one JSON object is printed",
            action="give --rounds, or let a timer run `ballast data sync --json` once each time",
        )
    done = loop(lambda: _one_round(home_path(out), workers, asked), every, rounds)
    if json:
        print_json({"rounds": [_plain(result) for result in done]})
    last = done[-1]
    if last.exit_code != EXIT_OK:
        raise typer.Exit(last.exit_code)


def status(out: Home = None, json: Json = False) -> None:
    """Show where every series stands: bars, gaps, versions, watermark, age; and the calls made today."""
    from workbench.data.sync.status import sync_status

    found = sync_status(home_path(out), CLOCK.now_s)
    if json:
        print_json(found.model_dump(mode="json"))
        return
    from workbench.data.sync.show import show_status

    show_status(stdout_console(), found)


def loop(
    one_round: Callable[[], SyncResult],
    every_s: float,
    rounds_n: int | None,
    *,
    clock: Callable[[], float] = CLOCK.now_s,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Ended]:
    """Run rounds at fixed times until somebody stops it, or `rounds_n` of them; return how each ended.

    A round that fails is told on stderr and the next one tries again. A round that takes longer than the time between two is
    followed at once by the next, never by two.

    Args:
        one_round: runs one.
        every_s: seconds from the beginning of a round to that of the next.
        rounds_n: None = until a Ctrl-C.
        clock, sleep: injected by tests.
    """
    done: list[Ended] = []
    due_s = clock()
    while True:
        try:
            ended: Ended = one_round()
        except BallastError as e:
            ended = e
        _tell(ended)
        done = [*done, ended] if rounds_n is not None else [ended]
        if rounds_n is not None and len(done) >= rounds_n:
            return done
        due_s = max(due_s + every_s, clock())
        while (left_s := due_s - clock()) > 0:
            check_stop()
            sleep(min(left_s, NAP_S))


def _one_round(home: Path, workers_n: int, asked: Asked) -> SyncResult:
    from workbench.data.sync.display import watching
    from workbench.data.sync.jobs import sync as run

    with watching() as watch:
        return run(_job(home, workers_n, watch), asked)


def _tell(ended: Ended) -> None:
    """Say on stderr how a round of a loop ended."""
    console = stderr_console()
    stamp = iso_time(CLOCK.now_t())
    if isinstance(ended, BallastError):
        console.print(f"{stamp} {ended.kind}: {ended.got}; {ended.action}", soft_wrap=True, markup=False)
        return
    from workbench.data.sync.show import show_failures, sums

    show_failures(console, [(s.series, f"{s.detail}; {s.action}") for s in ended.failed])
    console.print(f"{stamp} {sums(ended)}", soft_wrap=True, markup=False)


def _plain(ended: Ended) -> dict[str, object]:
    if isinstance(ended, BallastError):
        error = {"kind": ended.kind, "got": ended.got, "expected": ended.expected, "action": ended.action}
        return {"error": error | {"exit_code": ended.exit_code}}
    return ended.model_dump(mode="json") | {"exit_code": ended.exit_code}


def _asked(
    provider: str,
    exchange: str | None,
    url: str | None,
    path: Path | None,
    quote: str | None,
    venue: str | None,
    intervals: Sequence[str],
    symbols: Sequence[str] | None,
) -> Asked:
    from workbench.data.bars import interval_seconds
    from workbench.data.providers.address import checked_address
    from workbench.data.sync.jobs import Asked

    if url:
        checked_address(url)
    for interval in intervals:
        interval_seconds(interval)  # refuses an unknown one
    kind, _, argument = provider.partition(":")
    place = str(path.resolve()) if path else None
    given = {"exchange": exchange or argument, "url": url, "path": place, "quote": quote, "venue": venue}
    options = {name: value for name, value in given.items() if value}
    return Asked(kind, options, tuple(dict.fromkeys(intervals)), tuple(s.upper() for s in symbols or ()))


def _job(home: Path, workers_n: int, watch: Watch) -> Job:
    from workbench.data.sync.jobs import Job
    from workbench.data.sync.opening import open_provider

    return Job(home, open_provider, workers_n, watch, CLOCK.now_s)


def _show(title: str, result: SyncResult, json: bool) -> None:
    if json:
        print_json(_plain(result))
    else:
        from workbench.data.sync.show import show_result

        show_result(stdout_console(), title, result)
    if result.exit_code != EXIT_OK:
        raise typer.Exit(result.exit_code)
