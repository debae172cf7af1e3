"""`ballast runtime`: the daemon that trades on paper: run it, start and stop it in the background, look at it, steer it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.console import Stopped, print_json, progress, stderr_console, stdout_console
from runtime.errors import EnvironmentFailure, GateError, UsageError

if TYPE_CHECKING:
    from runtime.ops.api_client import ControlClient, JsonObject
    from runtime.settings import RuntimeSettings

runtime: Final = typer.Typer(
    name="runtime",
    help="The daemon that trades on paper, on live market data.",
    no_args_is_help=True,
    add_completion=False,
)
Home = Annotated[Path | None, typer.Option("--home", help="Home folder [env BALLAST_HOME, ./out].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Mode = Annotated[str, typer.Option("--mode", help="paper; live comes with a later version.")]
Venue = Annotated[str | None, typer.Option("--venue", help="Address of the venue [env BALLAST_KRAKEN_URL, Kraken's].")]
Account = Annotated[int | None, typer.Option("--account", help="Paper account; a new number makes a new one [1].")]
Profile = Annotated[str | None, typer.Option("--profile", help="Profile a new account begins with: NAME or NAME@VERSION.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of the control API on 127.0.0.1; 0 takes a free one [0].")]
COMMAND_BYTES: Final = 16


@runtime.callback()
def root() -> None:
    """The daemon that trades on paper: live market data, the decision core, simulated fills against the real book."""


@runtime.command()
def run(
    *,
    mode: Mode = "paper",
    venue: Venue = None,
    account: Account = None,
    profile: Profile = None,
    port: Port = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Run in the foreground until Ctrl-C, SIGTERM or a halt.

    Exit code 0: stopped by SIGTERM. 130: by Ctrl-C. 4: a gate (no active bundle, another venue's account). 5: the chain does not fit.
    6: venue, disk or lock. 70: a broken invariant; the evidence is kept.
    """
    _require_paper(mode)
    _require_extra()
    folder, settings = _settings(home, venue, account, profile, port)
    from runtime.daemon import Ready
    from runtime.daemon import run as run_daemon

    def announce(ready: Ready) -> None:
        if json:
            print_json(ready._asdict())
        else:
            console = stderr_console()
            console.print(f"{ready.run_id}: {mode} trading on {settings.venue}; Ctrl-C ends it", soft_wrap=True)
            console.print(
                f"  control API  {ready.url} (the launch token is in {folder / 'runtime' / 'endpoint.json'})", soft_wrap=True
            )
            console.print(f"  log          {folder / 'runtime' / 'daemon.log'}", soft_wrap=True)

    with progress() as report:
        number = run_daemon(folder, settings, announce, report)
    if number == signal.SIGINT:
        raise Stopped


@runtime.command()
def start(
    *,
    mode: Mode = "paper",
    venue: Venue = None,
    account: Account = None,
    profile: Profile = None,
    port: Port = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Start it in the background and wait until it trades; when it does not, show why, with its exit code."""
    _require_paper(mode)
    _require_extra()
    from runtime.ops.lock import holder
    from runtime.ops.process import start_detached

    folder, _ = _settings(home, venue, account, profile, port)
    found = holder(folder)
    if found is not None:
        raise EnvironmentFailure(
            f"a daemon already runs in {folder}: process {found.pid}",
            expected="one daemon in a home folder",
            action="look at it with `ballast runtime status`, or end it with `ballast runtime stop`",
        )
    options = {"--venue": venue, "--account": account, "--profile": profile, "--port": port}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    with progress() as report:
        started = start_detached(folder, ["--mode", mode, "--home", str(folder.absolute()), *given], report)
    if json:
        print_json(
            {"started": True, "pid": started.endpoint.pid, "url": started.endpoint.url, "seconds": round(started.seconds, 3)}
        )
        return
    console = stdout_console()
    console.print(
        f"started process {started.endpoint.pid} in {started.seconds:.1f} s; control API {started.endpoint.url}", soft_wrap=True
    )
    console.print("see `ballast runtime status`; `ballast dashboard` shows it in a browser")


@runtime.command()
def stop(*, home: Home = None, json: Json = False) -> None:
    """End the daemon: it journals the end of its session and is gone within five seconds. Open positions stay as they are."""
    from runtime.home import home_path
    from runtime.ops.process import stop as stop_daemon

    stopped = stop_daemon(home_path(home))
    if json:
        seconds = None if stopped is None else round(stopped.seconds, 3)
        print_json({"stopped": stopped is not None, "pid": stopped and stopped.holder.pid, "seconds": seconds})
    elif stopped is None:
        stdout_console().print(f"no daemon runs in {home_path(home)}", soft_wrap=True)
    else:
        stdout_console().print(f"process {stopped.holder.pid} ended after {stopped.seconds:.2f} s")


@runtime.command()
def status(*, home: Home = None, json: Json = False) -> None:
    """Show mode, health, head, feed, profile and paper days on one screen; from the journals when no daemon runs."""
    from runtime.commands.runtime_screen import print_running, print_stopped
    from runtime.home import home_path
    from runtime.ops.api_client import ControlClient
    from runtime.ops.endpoint import read_endpoint
    from runtime.ops.idle import idle_accounts
    from runtime.ops.lock import holder

    folder = home_path(home)
    found = holder(folder)
    if found is None:
        idle = idle_accounts(folder)
        if json:
            print_json({"running": False, "accounts": [account.model_dump(mode="json") for account in idle]})
        else:
            print_stopped(folder, idle)
        return
    endpoint = read_endpoint(folder)
    if endpoint is None or endpoint.pid != found.pid:
        about: JsonObject = {"state": "starting"}
    else:
        about = ControlClient(endpoint).get("/runtime/status")
    if json:
        print_json({"running": True, "pid": found.pid, "url": endpoint.url if endpoint else None, **about})
    else:
        print_running(found.pid, endpoint.url if endpoint else "", about)


@runtime.command()
def kill(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence; it is journaled.")],
    release: Annotated[bool, typer.Option("--release", help="Release the kill switch instead.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Throw the kill switch: no new risk, resting orders are withdrawn; positions stay until they are sold."""
    from runtime.home import home_path

    body: JsonObject = {"on": not release, "confirm": "RELEASE" if release else "HALT", "reason": _words(reason)}
    client = _client(home_path(home))
    before = _killed(client)
    done = "kill switch released" if release else "kill switch thrown"
    receipt = client.post("/runtime/kill", body, _command_id())
    _told(receipt, f"{done}, which it was already" if before and not release else done, json)


@runtime.command()
def profile(
    name: Annotated[str, typer.Argument(help="NAME, NAME@VERSION, or a version's file (v002.json).")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence; it is journaled.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Govern the running account by a stored profile version, from the next block on; an older one, or a preset, may govern again."""
    from runtime.home import home_path
    from runtime.policy import parse_version
    from runtime.profiles.store import find_version

    folder = home_path(home)
    if name.endswith(".json"):
        try:
            version = parse_version(Path(name).read_bytes(), name)
        except OSError as e:
            raise UsageError(
                f"cannot read {name}: {e.strerror}", expected="a profile version", action="correct the path"
            ) from e
    else:
        version = find_version(folder, name)
    client = _client(folder)
    base = client.get("/runtime/status").get("profile")
    body = {
        "version": version.model_dump(mode="json"),
        "note": _words(reason),
        "base_digest": base.get("policy_digest", "") if isinstance(base, dict) else "",
    }
    receipt = client.post("/risk/profile/update", body, _command_id())
    governs = receipt.get("profile")
    if not isinstance(governs, dict):
        raise EnvironmentFailure(
            f"block {receipt.get('seq_n')} does not say which profile governs",
            expected="a receipt of this version's control API",
            action="see `ballast runtime status`",
        )
    _told(receipt, f"{governs.get('name')}@{governs.get('version')} governs, digest {governs.get('policy_digest')}", json)


@runtime.command()
def units(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="systemd or launchd.")],
    *,
    home: Home = None,
    json: Json = False,
) -> None:
    """Print a service unit that starts the daemon with your session: a systemd user unit or a launchd agent."""
    import os
    import sys

    import runtime.jit  # noqa: F401  importing it chooses the cache folder
    from runtime.home import home_path
    from runtime.ops.units import Place, launchd_plist, systemd_unit

    makers = {"systemd": systemd_unit, "launchd": launchd_plist}
    if system not in makers:
        raise UsageError(f"units for {system!r}", expected="systemd or launchd", action="name one of the two")
    cache = Path(os.environ["NUMBA_CACHE_DIR"]).parent
    text = makers[system](Place(Path(sys.executable).absolute(), home_path(home).absolute(), cache.absolute()))
    if json:
        print_json({"system": system, "unit": text})
    else:
        typer.echo(text, nl=False)


# ---- helpers ---------------------------------------------------------------------------------------------------


def _require_paper(mode: str) -> None:
    if mode == "live":
        raise GateError(
            "live trading is not in this version",
            expected="paper; live will ask for a validated key, 30 completed paper days in the journal, and a typed confirmation",
            action="trade on paper with --mode paper; `ballast runtime status` counts the days",
        )
    if mode != "paper":
        raise UsageError(f"--mode {mode!r}", expected="paper", action="leave --mode out, or say paper")


def _require_extra() -> None:
    from importlib.util import find_spec

    missing = [
        name
        for name in ("ccxt", "cryptography", "fastapi", "httpx", "prometheus_client", "structlog", "uvicorn")
        if not find_spec(name)
    ]
    if missing:
        raise EnvironmentFailure(
            f"the daemon needs {', '.join(missing)}",
            expected="the extra `runtime`",
            action="pip install 'ballast[runtime]', or make install",
        )


def _settings(
    home: Path | None, venue: str | None, account: int | None, profile: str | None, port: int | None
) -> tuple[Path, RuntimeSettings]:
    from runtime.home import check_home, home_path
    from runtime.settings import RuntimeSettings

    folder = home_path(home)
    check_home(folder)
    return folder, RuntimeSettings.load(folder, {"venue": venue, "account_id": account, "profile": profile, "port": port})


def _client(home: Path) -> ControlClient:
    from runtime.ops.api_client import ControlClient
    from runtime.ops.endpoint import read_endpoint
    from runtime.ops.lock import holder

    found, endpoint = holder(home), read_endpoint(home)
    if found is None or endpoint is None or endpoint.pid != found.pid:
        raise EnvironmentFailure(
            f"no daemon trades in {home}", expected="a running daemon", action="start one with `ballast runtime start`"
        )
    return ControlClient(endpoint)


def _killed(client: ControlClient) -> bool:
    """Return whether the kill switch is on; where that cannot be read, throwing it must not wait for it."""
    try:
        switches = client.get("/runtime/status").get("switches")
    except EnvironmentFailure:
        return False
    return isinstance(switches, dict) and switches.get("kill_on") is True


def _command_id() -> str:
    from secrets import token_hex

    return f"cli-{token_hex(COMMAND_BYTES)}"


def _words(text: str) -> str:
    if not text.strip() or len(text) > 500 or not text.isprintable():
        raise UsageError(f"--reason {text!r:.100}", expected="1 to 500 characters that print, on one line", action="say why")
    return text


def _told(receipt: JsonObject, done: str, json: bool) -> None:
    if json:
        print_json(receipt)
    else:
        stdout_console().print(f"{done}: block {receipt.get('seq_n')}; {receipt.get('reason') or 'accepted'}", soft_wrap=True)
