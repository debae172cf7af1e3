"""`ballast kraken`: a local Kraken made from real files, for paper drills, tests and accelerated runs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import Stopped, print_json, progress, stderr_console, time_option
from runtime.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from runtime.adapters.local_kraken.limits import RateRule
    from runtime.adapters.local_kraken.server import Venue

kraken = typer.Typer(name="kraken", help="Run a local Kraken made from real files.", no_args_is_help=True)


@kraken.callback()
def root() -> None:
    """Run a local Kraken made from real files: public REST and WebSocket v2 on a loopback port, with virtual time and faults."""


@kraken.command()
def serve(
    *,
    data: Annotated[list[Path], typer.Option("--data", help="Folder with bars, trades or book captures; may be repeated.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything that is not on file.")] = 0,
    speed: Annotated[float | None, typer.Option("--speed", help="Virtual seconds in a real second [1].")] = None,
    stepped: Annotated[bool, typer.Option("--stepped", help="Time stands until POST /control/advance.")] = False,
    start: Annotated[str | None, typer.Option("--start", help="Virtual time to begin at, ISO [the end of the data].")] = None,
    pair: Annotated[list[str] | None, typer.Option("--pair", help="Altname to serve, XBTUSD; may be repeated [all].")] = None,
    quote: Annotated[
        list[str] | None,
        typer.Option("--quote", help="Quote that USDT bars of a binance folder stand for; may be repeated [USD]."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", help="KIND[@PLACE]:every=N|p=PPM|next=N; may be repeated (docs/reference/local-kraken.md)."),
    ] = None,
    rate: Annotated[
        str, typer.Option("--rate", help="Public rate limit in real time, BURST/SECONDS_PER_CALL, as 15/1; default none.")
    ] = "",
    batch_ms: Annotated[
        int, typer.Option("--batch-ms", min=0, help="Join WebSocket messages to virtual steps; 0: each trade.")
    ] = 0,
    unconstrained: Annotated[
        bool,
        typer.Option(
            "--unconstrained", help="Hourly books of endless depth without a spread, at the open of the hour in progress."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object when it is ready.")] = False,
) -> None:
    """Serve public REST (/0/public), WebSocket v2 (/v2) and the control interface (/control) until Ctrl-C.

    Exit code 2: a wrong option. 3: nothing to replay, or a wrong file. 6: aiohttp is missing, or the port is taken. SIGTERM ends it
    with 0, Ctrl-C with 130.
    """
    _require_aiohttp()
    from runtime.adapters.local_kraken.faults import FaultPlan, parse_switch
    from runtime.adapters.local_kraken.ladder import BookShape
    from runtime.adapters.local_kraken.market import LocalMarket, iso_ns
    from runtime.adapters.local_kraken.records import NS
    from runtime.adapters.local_kraken.server import Settings, Venue, run_until_signal

    if stepped and speed is not None:
        raise UsageError("--stepped and --speed", expected="one of them", action="leave one out")
    settings = Settings(
        speed=0.0 if stepped else 1.0 if speed is None else speed, rate=_rate(rate), rate_on_wall_clock=True, batch_ms=batch_ms
    )
    faults = FaultPlan(seed)
    for text in fault or []:
        faults.add(parse_switch(text))
    start_t = time_option(start, "--start")
    with progress() as report:
        market = LocalMarket.open(
            data,
            seed=seed,
            start_ns=None if start_t is None else start_t * NS,
            stand_in_for=quote or ["USD"],
            pairs=pair or None,
            shape=BookShape.unconstraining() if unconstrained else None,
            report=report,
        )
    if start_t is not None and not market.first_ns <= start_t * NS <= market.last_ns + 1:
        raise UsageError(
            f"--start {start}: there is no data at that time",
            expected=f"a time from {iso_ns(market.first_ns)} to {iso_ns(market.last_ns)}, where the data begins and ends",
            action="choose a time between, or leave --start out to begin at the end",
        )
    number = asyncio.run(
        run_until_signal(lambda: Venue(market, faults, settings), port, lambda url, venue: _announce(url, venue, json))
    )
    if number == signal.SIGINT:
        raise Stopped


def _require_aiohttp() -> None:
    try:
        import aiohttp  # noqa: F401  asked for here, so that its absence has a message of its own
    except ImportError as e:
        raise EnvironmentFailure(
            "aiohttp is not installed", expected="the extra `venue`", action="pip install 'ballast[venue]', or make install"
        ) from e


def _rate(text: str) -> RateRule | None:
    from runtime.adapters.local_kraken.limits import RateRule
    from runtime.adapters.local_kraken.records import NS

    if not text:
        return None
    burst, _, seconds = text.partition("/")
    try:
        rule = RateRule(int(burst), int(float(seconds) * NS))
    except (ValueError, OverflowError):
        rule = RateRule(0, 0)
    if rule.burst_n < 1 or rule.call_ns < 1:
        raise UsageError(
            f"the rate {text!r}", expected="BURST/SECONDS_PER_CALL, both above zero", action="for example --rate 15/1"
        )
    return rule


def _announce(url: str, venue: Venue, json: bool) -> None:
    """Say where the venue is and how a client gets there."""
    from runtime.adapters.local_kraken.market import iso_ns

    socket_url = url.replace("http://", "ws://") + "/v2"
    now = iso_ns(venue.market.now_ns)
    if json:
        pairs = [pair.altname for pair in venue.market.pairs]
        print_json({"url": url, "websocket_url": socket_url, "now": now, "speed": venue.clock.speed, "pairs": pairs})
        return
    console = stderr_console()
    time = f"at {venue.clock.speed:g} times real time" if venue.clock.speed else "until POST /control/advance"
    console.print(f"local Kraken: {len(venue.market.pairs)} pairs, virtual time {now} {time}; Ctrl-C ends it")
    console.print(f"  REST       {url}/0/public/Time")
    console.print(f"  WebSocket  {socket_url}")
    console.print(f"  control    {url}/control/status")
    console.print(f"  Ballast    export BALLAST_KRAKEN_URL={url}")
    console.print(
        f'  ccxt       exchange.urls["api"] = {{"public": "{url}", "private": "{url}", "ws": {{"publicV2": "{socket_url}"}}}}'
    )
