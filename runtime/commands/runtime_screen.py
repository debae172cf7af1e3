"""The one screen of `ballast runtime status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.console import iso_time, stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from runtime.ops.idle import IdleAccount

COLOURS: Final = {"running": "bold green", "starting": "yellow", "stopped": "yellow", "halted": "bold red"}
SYMBOLS_SHOWN: Final = 8


def print_running(pid: int, url: str, about: Mapping[str, object]) -> None:
    """Print what a running daemon says of itself."""
    from rich.text import Text

    state = str(about.get("state", "starting"))
    table = _table()
    table.add_row("state", Text(state, COLOURS.get(state, "bold")))
    for reason in _list(about.get("reasons")):
        table.add_row("why", Text(str(reason), "yellow"))
    table.add_row("process", f"{pid}, control API {url or 'not there yet'}")
    if "head" in about:
        for name, words in (*_account(about), *_health(about), *_governed(about)):
            table.add_row(name, words)
    stdout_console().print(table)


def print_stopped(home: Path, found: Sequence[IdleAccount]) -> None:
    """Print what the journals tell while no daemon runs."""
    console = stdout_console()
    console.print(f"no daemon runs in {home}", soft_wrap=True)
    if not found:
        console.print("no paper account yet: `ballast runtime start` makes one from the active bundle")
    for account in found:
        table = _table()
        table.add_row(
            "account", f"{account.account_id}{' SIMULATED' if account.simulated else ''}, {account.symbols_n} symbols"
        )
        table.add_row("run", account.run_id)
        if account.problem:
            table.add_row("problem", account.problem)
        else:
            last = f", the last at {iso_time(account.last_t)}" if account.last_t else ""
            table.add_row("journal", f"{account.seq_n} blocks{last}")
            table.add_row("last session", account.ended)
            table.add_row("paper days", f"{account.completed_days_n} completed")
        console.print()
        console.print(table)


def _table() -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _account(about: Mapping[str, object]) -> list[tuple[str, str]]:
    head, symbols, paper = _part(about, "head"), [str(s) for s in _list(about.get("symbols"))], _part(about, "paper_days")
    more = len(symbols) - SYMBOLS_SHOWN
    shown = " ".join(symbols[:SYMBOLS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    simulated = " SIMULATED" if about.get("simulated") else ""
    days = f"{paper.get('completed_n')} of {paper.get('required_n')} completed"
    return [
        ("account", f"{about.get('account_id')}, {about.get('mode')}{simulated}, clock of the {about.get('clock')}"),
        ("run", str(about.get("run_id"))),
        ("symbols", shown),
        ("journal", f"block {head.get('seq_n')} at {_time(about.get('now_t'))}, {str(head.get('block_hash'))[:12]}"),
        ("paper days", f"{days}; {paper['reason']}" if paper.get("reason") else days),
    ]


def _health(about: Mapping[str, object]) -> list[tuple[str, str]]:
    feed, latency, switches = _part(about, "feed"), _part(about, "latency"), _part(about, "switches")
    stale = ", ".join(str(s) for s in _list(feed.get("stale")))
    counts = ", ".join(f"{feed.get(f'{name}_n')} {name}" for name in ("gaps", "checksum", "late", "duplicate", "reconnects"))
    on = [f"kill switch ({switches.get('kill')})"] if switches.get("kill_on") else []
    on += ["entry halt"] if switches.get("halt_on") else []
    return [
        (
            "feed",
            f"{'connected' if feed.get('connected') else 'NOT CONNECTED'}, venue {feed.get('venue_mode')}, skew {feed.get('skew_ms')} ms",
        ),
        ("last bar", _time(feed.get("last_bar_t"))),
        ("faults", counts + (f"; no usable book: {stale}" if stale else "")),
        ("latency", f"p50 {latency.get('p50_ms')} ms, p99 {latency.get('p99_ms')} ms over {latency.get('blocks_n')} blocks"),
        ("switches", ", ".join(on) or "none on"),
    ]


def _governed(about: Mapping[str, object]) -> list[tuple[str, str]]:
    profile, bundle = _part(about, "profile"), _part(about, "bundle")
    return [
        ("drawdown tier", str(about.get("tier"))),
        ("profile", f"{profile.get('name')}@{profile.get('version')}, digest {str(profile.get('policy_digest'))[:12]}"),
        ("bundle", f"{bundle.get('name')} {str(bundle.get('bundle_hash'))[:12]}, signed by {str(bundle.get('signer'))[:12]}"),
        ("running since", f"{_time(about.get('started_t'))}, ballast {about.get('version')}"),
    ]


def _part(about: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = about.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _time(value: object) -> str:
    if not isinstance(value, int) or value <= 0:
        return "none yet"
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
