"""`ballast divergence`: why a paper run did not end where a backtest of the same period ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.console import iso_time, print_json, progress, stdout_console, time_option
from runtime.errors import EXIT_VERIFY, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.divergence.attribution import Divergence, OrderDifference, Outcome

DAY_T: Final = 86_400
E8: Final = 100_000_000
MEANING: Final = {
    "data": "bars, quotes and forecasts as they were seen live",
    "restart": "hours that ended while the daemon was down or stopped",
    "operator": "switches, profiles, bundles, corrections of cash",
    "latency": "times of decisions, fills and expiries",
    "fill": "prices and quantities of the book, the venue's answers",
    "fee": "maker or taker, later fee schedules",
    "mark": "last quotes of the unfinished hour, against the last bars' closes",
}


def divergence(
    run: Annotated[str, typer.Argument(help="Paper run: id, unique beginning of it, path, `latest` or `paper`.")],
    *,
    day: Annotated[str, typer.Option("--day", help="One day, UTC: 2026-11-23.")] = "",
    from_: Annotated[str, typer.Option("--from", help="Begin, ISO 8601, UTC.")] = "",
    to: Annotated[str, typer.Option("--to", help="End, not included, ISO 8601, UTC.")] = "",
    bars: Annotated[bool, typer.Option(help="Compare with the bars of record beside the journal.")] = True,
    limit: Annotated[int, typer.Option(min=0, help="Orders shown in the table; 0 shows all, also the equal ones.")] = 30,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a period of a paper run as a backtest and explain every difference by cause, to the last unit of money.

    Exit code 0: DIVERGENCE EXPLAINED: TRUE. Exit code 5: the journal has no parity, or something is left unexplained.
    """
    from runtime.divergence.run import compare_run
    from runtime.home import find_run, home_path

    since_t, until_t = _period(day, from_, to)
    folder = home_path(home)
    run_dir = find_run(folder, run)
    with progress() as report:
        found = compare_run(run_dir, folder, since_t, until_t, report, bars=bars)
    if json:
        print_json({**found.model_dump(mode="json"), "explained": found.explained})
    else:
        _print(found, limit)
    if not found.explained:
        raise typer.Exit(EXIT_VERIFY)


def _period(day: str, from_: str, to: str) -> tuple[int, int]:
    """Return the bounds in seconds UTC."""
    if day and (from_ or to):
        raise UsageError("--day together with --from or --to", expected="one way to name the period", action="leave one out")
    since_t, until_t = time_option(day or from_, "--day" if day else "--from") or 0, time_option(to, "--to")
    if day:
        since_t -= since_t % DAY_T
        until_t = since_t + DAY_T
    if until_t is not None and until_t <= since_t:
        raise UsageError(
            f"a period from {from_ or 'the start'} to {to}", expected="--to after --from", action="correct one of them"
        )
    return since_t, 2**62 if until_t is None else until_t


def _print(found: Divergence, limit: int) -> None:
    from rich.text import Text

    console = stdout_console()
    style = "bold green" if found.explained else "bold red"
    console.print(Text(f"DIVERGENCE EXPLAINED: {'TRUE' if found.explained else 'FALSE'}", style=style))
    parity = "TRUE" if found.parity else f"FALSE: {found.parity_detail}"
    rows = [("run", found.run_id), ("period", f"{iso_time(found.since_t)} to {iso_time(found.until_t)}"), ("parity", parity)]
    if found.causes:
        rows += [
            ("backtest", _money(found.backtest_value_e8)),
            ("paper", _money(found.paper_value_e8)),
            ("difference", _money(found.paper_value_e8 - found.backtest_value_e8, signed=True)),
            ("unexplained", _money(found.remainder_e8)),
            ("records", _records(found)),
        ]
    rows += [("note", line) for line in _notes(found)]
    for name, value in rows:
        console.print(Text(f"  {name:<16}{value}"), soft_wrap=True)
    if found.causes:
        _print_causes(found)
        _print_orders(found, limit)


def _records(found: Divergence) -> str:
    if found.equal:
        return "every record is the backtest's (acknowledgements left out)"
    differing = [table for table in found.tables if table.first]
    return f"{len(differing)} of {len(found.tables)} tables differ; {differing[0].table}, {differing[0].first}"


def _notes(found: Divergence) -> list[str]:
    hours = found.hours
    told = (
        (hours.late, "taken in after a restart"),
        (hours.overdue, "taken in too late to decide on, without a restart: the machine slept, or the venue was silent"),
        (hours.missed, "never taken in, the daemon was down"),
        (hours.absent, "never taken in although the daemon was up"), (hours.changed, "with bars that are otherwise on record"),
        (hours.unknown, "that nothing has on record: the backtest lacks them, too"),
        (hours.unmade, f"whose forecasts cannot be made again{f' ({found.forecasts})' if found.forecasts else ''}"),
    )  # fmt: skip
    lines = [f"{n} hour{'s' if n > 1 else ''} {what}" for n, what in told if n]
    if found.left_out_n:
        lines.append(
            f"{found.left_out_n} events, such as withdrawals of cash that the backtest does not have, are not in the backtest"
        )
    return lines


def _print_causes(found: Divergence) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (
        ("cause", "left"),
        ("amount", "right"),
        ("orders", "right"),
        ("value after it", "right"),
        ("what", "left"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=name != "what")
    for cause in found.causes:
        amount = _money(cause.amount_e8, signed=True)
        table.add_row(cause.cause, amount, str(cause.orders_n), _money(cause.value_e8), MEANING[cause.cause])
    total = found.paper_value_e8 - found.backtest_value_e8
    table.add_row("sum", _money(total, signed=True), "", _money(found.paper_value_e8), "paper less backtest")
    stdout_console().print(table)


def _print_orders(found: Divergence, limit: int) -> None:
    from rich import box
    from rich.table import Table

    from runtime.console import stderr_console

    chosen = [order for order in found.orders if order.causes or limit == 0]
    shown = chosen[:limit] if limit else chosen
    if not shown:
        stdout_console().print(f"{len(found.orders)} orders, the same in both runs")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="orders: backtest, then paper", title_justify="left")
    for name in ("decided", "asset", "side", "quantity", "price", "fee", "first fill", "causes"):
        table.add_column(name, justify="right" if name in {"quantity", "price", "fee"} else "left", overflow="fold")
    for order in shown:
        _add_order(table.add_row, order)
    stdout_console().print(table)
    if len(shown) < len(chosen):
        stderr_console().print(f"{len(shown)} of {len(chosen)} differing orders; --limit 0 and --json show all")


def _add_order(add_row: Callable[..., None], order: OrderDifference) -> None:
    for n, outcome in enumerate((order.backtest, order.paper)):
        names = (order.symbol, order.side) if n == 0 else ("", "")
        add_row(_decided(outcome), *names, *_outcome(outcome), ", ".join(order.causes) if n == 0 else "")


def _decided(outcome: Outcome | None) -> str:
    return iso_time(outcome.decided_t) if outcome is not None else "-"


def _outcome(outcome: Outcome | None) -> tuple[str, str, str, str]:
    if outcome is None:
        return "no order", "", "", ""
    if not outcome.filled_e8:
        return "unfilled", "", "", ""
    return (
        _money(outcome.filled_e8), _money(outcome.price_e8), _money(outcome.fee_e8),
        iso_time(outcome.first_fill_t),
    )  # fmt: skip


def _money(value_e8: int, *, signed: bool = False) -> str:
    """Return an exact decimal of 1e-8 units."""
    sign = "-" if value_e8 < 0 else "+" if signed and value_e8 > 0 else ""
    whole, rest = divmod(abs(value_e8), E8)
    return f"{sign}{whole:,}.{rest:08d}"
